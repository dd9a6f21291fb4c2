"""Compiled programs of a plan, which those of an equal plan and equal numbers share."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from ..reparam import Bound, Plan
from ..trees import is_spread

# More numbers than these are not fetched from a device to be compared.
_LARGE = 100_000
Functions = tuple[Callable[..., Any], ...]


def compiled(bound: Bound, missing: frozenset[int], functions: Functions) -> Functions:
    """Functions under `jit`, or those that were made for an equal plan.

    Args:
        bound: what the functions compute with.
        missing: the leaves that the parameters lack.
        functions: they differ by `bound` and `missing` alone.
    """
    numbers = tuple(tuple(map(_value, slot)) for slot in bound.numbers)
    known = all(n is not None for slot in numbers for n in slot)
    if not known or any(x is not None for x in bound.held):
        return tuple(map(jax.jit, functions))
    return _shared(_Key(bound.plan, missing, numbers, functions))


@dataclasses.dataclass(frozen=True)
class _Key:
    """What tells functions from others, and the functions themselves."""

    plan: Plan
    missing: frozenset[int]
    numbers: tuple[tuple[Any, ...], ...]
    functions: Functions = dataclasses.field(compare=False)


@functools.lru_cache(maxsize=32)
def _shared(key: _Key) -> Functions:
    return tuple(map(jax.jit, key.functions))


def _value(number: Any) -> Any:
    """What a program knows of a number; `None` if that is not to be compared."""
    unknown = isinstance(number, (Tracer, jax.ShapeDtypeStruct)) or is_spread(number)
    if unknown or math.prod(np.shape(number)) > _LARGE:
        return None
    array, weak = np.asarray(number), getattr(number, "weak_type", False)
    return type(number), array.shape, str(array.dtype), weak, array.tobytes()
