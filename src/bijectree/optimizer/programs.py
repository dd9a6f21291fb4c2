"""Compiled programs of a plan, which those of an equal plan and equal numbers share."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from ..reparam import Bound, LocationScale, Plan, Tied
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
    if not known or any(x is not None for x in bound.held) or not _is_fixed(bound):
        return tuple(map(jax.jit, functions))
    key = _Key(bound.plan, missing, numbers, bound, functions)
    found, its_bound = _shared(key)
    if any(map(_is_deleted, jax.tree_util.tree_leaves(its_bound.numbers))):
        # What its programs are traced with next is gone, such as by a donation.
        _shared.cache_clear()
        found, _ = _shared(key)
    return found


@dataclasses.dataclass(frozen=True)
class _Key:
    """What tells functions from others, and the functions themselves."""

    plan: Plan
    missing: frozenset[int]
    numbers: tuple[tuple[Any, ...], ...]
    bound: Bound = dataclasses.field(compare=False)
    functions: Functions = dataclasses.field(compare=False)


@functools.lru_cache(maxsize=32)
def _shared(key: _Key) -> tuple[Functions, Bound]:
    return tuple(map(jax.jit, key.functions)), key.bound


def _is_fixed(bound: Bound) -> bool:
    """Whether what is mapped how is told by the plan and the numbers alone.

    A user's function may read what is neither, such as a global that has another value
    when it is traced again. A bijector that is no JAX pytree may change its state, and
    may hold arrays, which would live as long as the programs.
    """
    rows = bound.plan.rows
    kinds = [row.kind for row in rows if row.kind] + [
        kind for kind, _ in bound.plan.outer
    ]
    if any(kind.recipe.opaque for kind in kinds):
        return False
    for row in rows:
        if row.function is None:
            continue
        function = row.function.build(bound.numbers[row.slot])
        if isinstance(function, LocationScale):
            if callable(function.loc) or callable(function.scale):
                return False
        elif not Tied(row.path, function).is_copy:
            return False
    return True


def _is_deleted(number: Any) -> bool:
    return isinstance(number, jax.Array) and number.is_deleted()


def _value(number: Any) -> Any:
    """What a program knows of a number; `None` if that is not to be compared."""
    unknown = isinstance(number, (Tracer, jax.ShapeDtypeStruct)) or is_spread(number)
    if unknown or math.prod(np.shape(number)) > _LARGE:
        return None
    array = np.asarray(number)
    # Its type has the dtype that it is traced in, whether it is weak, and its sharding.
    return type(number), jax.typeof(number), str(array.dtype), array.tobytes()
