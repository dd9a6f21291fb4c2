"""Arguments of constraints: numbers, words and axes, checked."""

from typing import Any, Literal

import jax
import numpy as np
from jax.core import Tracer

from ..substrate import Number, describe_number

Via = Literal["exp", "softplus"]


def _real_number(value: Any, name: str) -> Number:
    """Hold a number or an array of them; `name` is the argument in messages."""
    if isinstance(value, Number):
        return value
    if isinstance(value, jax.Array):
        dtype = np.dtype("float64") if value.dtype == bool else value.dtype
        if not jax.numpy.issubdtype(dtype, np.floating):
            if jax.numpy.issubdtype(dtype, np.complexfloating):
                raise ValueError(f"{name} must be real, got dtype {dtype}")
            value = value.astype(float)
        return Number(value)
    array = np.array(value)
    if array.dtype.kind in "biu" or isinstance(value, (float, list, tuple)):
        array = array.astype(np.float64) if array.dtype.kind in "biuf" else array
    if not jax.numpy.issubdtype(array.dtype, np.floating):
        raise ValueError(f"{name} must be a real number or an array, got {value!r}")
    return Number(array)


def _concrete(*numbers: Number) -> tuple[np.ndarray, ...] | None:
    """The values of numbers in float64, or `None` while one of them is traced."""
    if any(isinstance(n.value, Tracer) for n in numbers):
        return None
    return tuple(np.asarray(n.value).astype(np.float64) for n in numbers)


def finite_number(value: Any, name: str, otherwise: str) -> Number:
    """A finite number, or an array of them; `otherwise` says what takes others."""
    number = _real_number(value, name)
    values = _concrete(number)
    if values is not None and not np.all(np.isfinite(values[0])):
        raise ValueError(
            f"{name} must be finite, got {describe_number(number)}; {otherwise}"
        )
    return number


def positive_number(value: Any, name: str) -> Number:
    """A positive finite number, or an array of them."""
    number = finite_number(value, name, "give a positive number")
    known = _concrete(number)
    if known is not None and not np.all(known[0] > 0):
        raise ValueError(f"{name} must be positive, got {describe_number(number)}")
    return number


def _one_of(value: Any, name: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        choices = " or ".join(repr(a) for a in allowed)
        raise ValueError(f"{name} must be {choices}, got {value!r}")


def _axis_from_end(axis: Any) -> None:
    if isinstance(axis, bool) or not isinstance(axis, int) or axis >= 0:
        raise ValueError(
            "axis must be a negative integer, counted from the end because leading "
            f"axes are batches; got {axis!r}"
        )


def require_above(lower: Number, upper: Number) -> None:
    """Raise if two bounds do not broadcast, or enclose nothing somewhere."""
    try:
        np.broadcast_shapes(np.shape(lower.value), np.shape(upper.value))
    except ValueError:
        raise ValueError(
            f"lower has shape {np.shape(lower.value)} and upper "
            f"{np.shape(upper.value)}, which do not broadcast"
        ) from None
    values = _concrete(lower, upper)
    if values is None:
        return
    below, above = np.broadcast_arrays(*values)
    if not np.all(above > below):
        at = tuple(int(i) for i in np.argwhere(~(above > below))[0])
        where = f" at index {at}" if at else ""
        raise ValueError(
            f"upper must exceed lower: lower is {below[at]:g} and upper is "
            f"{above[at]:g}{where}"
        )
