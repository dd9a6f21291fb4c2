"""Which objects are transforms of another package, and the bijector of each."""

from typing import Any

import jax
import numpy as np

from ..substrate import BIND_ERRORS, Number, split, tfb
from .distrax import DISTRAX
from .flowjax import FLOWJAX
from .numpyro import NUMPYRO
from .wrapped import Calls, Foreign

# How transforms are called, by the package and the name of their base class.
_BASES = {
    ("distrax", "Bijector"): DISTRAX,
    ("flowjax", "AbstractBijection"): FLOWJAX,
    ("numpyro", "Transform"): NUMPYRO,
}


def _calls(cls: type) -> Calls | None:
    for base in cls.__mro__:
        found = _BASES.get((base.__module__.partition(".")[0], base.__name__))
        if found is not None:
            return found
    return None


def is_transform_class(cls: type) -> bool:
    """Whether a class is one of transforms of distrax, flowjax or NumPyro."""
    return _calls(cls) is not None


def is_transform(x: Any) -> bool:
    """Whether `x` is a transform of distrax, flowjax or NumPyro."""
    return _calls(type(x)) is not None


def is_constraint(x: Any) -> bool:
    """Whether `x` is one of NumPyro's constraints."""
    return any(
        cls.__name__ == "Constraint" and cls.__module__.partition(".")[0] == "numpyro"
        for cls in type(x).__mro__
    )


def as_bijector(x: Any) -> Any:
    """A transform of another package as a TFP bijector; anything else as it is.

    Raises:
        ValueError: it cannot map one leaf, being conditional, not one to one, or no
            pytree that JAX can look into.
    """
    calls = _calls(type(x))
    return x if calls is None else _wrap(x, calls)


def _wrap(transform: Any, calls: Calls) -> tfb.Bijector:
    cls = type(transform).__name__.lstrip("_")
    name = f"{calls.package}.{cls}"
    try:
        fault = calls.fault(transform)
        if not fault:
            ndims = calls.event_ndims(transform)
            if calls.numbers_are_leaves:
                transform = jax.tree.map(_as_number, transform)
            recipe, numbers = split(transform)
            return Foreign(tuple(map(Number, numbers)), recipe, calls, *ndims, name)
    except BIND_ERRORS as error:
        said = f": {error}" if str(error) else ""
        fault = f"JAX or its own methods raised {type(error).__name__}{said}"
    raise ValueError(f"{name} cannot be a bijector of a leaf: {fault}")


def _as_number(leaf: Any) -> Any:
    """A Python float as a float64 number, which may change without a new trace."""
    return np.asarray(leaf, np.float64) if type(leaf) is float else leaf
