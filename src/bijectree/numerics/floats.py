"""Floats in their order, and sums that are rounded to their dtype."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


def add_exactly(a: Array, b: Array) -> Array:
    """The sum, rounded to the dtype wherever XLA computes it.

    XLA computes in float32 for narrower dtypes and may skip the rounding between two
    operations, but not a `reduce_precision` of float32.
    """
    info = jnp.finfo(a.dtype)
    if info.bits >= 32:
        return a + b
    total = a.astype(jnp.float32) + b.astype(jnp.float32)
    rounded = jax.lax.reduce_precision(total, info.nexp, info.nmant)
    if info.nexp < 8:
        # `reduce_precision` flushes float16's subnormal numbers, which the conversion
        # keeps.
        unit = float(info.smallest_subnormal)
        small = jnp.round(total / jnp.float32(unit)) * jnp.float32(unit)
        rounded = jnp.where(jnp.abs(total) < float(info.tiny), small, rounded)
    return rounded.astype(a.dtype)


def largest_number(dtype: Any) -> Array:
    """A number so near the largest that nothing which is to reach it overflows.

    A sum that reaches the number is rounded. So is its logarithm, and an error of one
    last place in that becomes, by exp, as many of the number as the logarithm is large.
    """
    info = jnp.finfo(dtype)
    wide = info if info.bits >= 32 else jnp.finfo(jnp.float32)  # halves are mapped in it
    logarithm = math.log(float(wide.max))
    margin = 4 * max(float(info.eps), float(wide.eps) * logarithm)
    return jnp.asarray(float(info.max) * (1 - margin), dtype)


def minus_zero(step: Array) -> Array:
    """−0.0 in the dtype of a step: adding it changes no bit of any number."""
    return jnp.asarray(-0.0, step.dtype)


def clip_between(x: Array, lowest: Array | None, highest: Array | None) -> Array:
    """Numbers, or the nearest of the bounds, which are about the largest if not given."""
    largest = largest_number(x.dtype)
    return jnp.clip(
        x,
        -largest if lowest is None else lowest,
        largest if highest is None else highest,
    )


def step_between(
    start: Array,
    target: Array,
    lowest: Array | None,
    highest: Array | None,
    *,
    far: bool = True,
) -> Array:
    """The step from `start` to `target`, or to the bound nearest to it.

    `start` plus the step, rounded, is between `lowest` and `highest`, both included.
    Where it falls short of a bound since the difference was rounded, the next float is
    past the exact difference; rounding is monotone, so the sum with it does not. A step
    of no length is −0.0, which changes no bit.

    Args:
        start: a number inside.
        target: any number.
        lowest: the bounds, or `None` where there is none.
        highest: as `lowest`.
        far: whether the numbers may be so far apart that their difference overflows.
    """
    step = -add_exactly(start, -clip_between(target, lowest, highest))
    if far:
        step = clip_between(step, None, None)
    end = add_exactly(start, step)
    if lowest is not None:
        step = jnp.where(end < lowest, next_above(step), step)
    if highest is not None:
        step = jnp.where(end > highest, -next_above(-step), step)
    return step


def next_above(x: Array) -> Array:
    """The next float above one that is not zero."""
    integer, _ = int_layout(x.dtype)
    bits = jax.lax.bitcast_convert_type(x, integer)
    bits = jnp.where(bits < 0, bits - integer(1), bits + integer(1))
    return jax.lax.bitcast_convert_type(bits, x.dtype)


# The functions below count floats in their order, without the subnormal ones, which XLA
# may flush.


def int_layout(dtype: Any) -> tuple[Any, Any]:
    """The integers as wide as a float dtype, and how many subnormals ordinals skip."""
    info = jnp.finfo(dtype)
    integer = {16: np.int16, 32: np.int32, 64: np.int64}[info.bits]
    return integer, integer((1 << info.nmant) - 1)


def ordinal(x: Array) -> Array:
    """The place of a float in the order of its dtype, 0 for both zeros."""
    integer, skipped = int_layout(x.dtype)
    bits = jax.lax.bitcast_convert_type(x, integer)
    size = jnp.maximum((bits & np.iinfo(integer).max) - skipped, integer(0))
    return jnp.where(bits < 0, -size, size)


def from_ordinal(ordinal: Array, dtype: Any) -> Array:
    """The float at a place in the order of a dtype."""
    integer, skipped = int_layout(dtype)
    size = jnp.abs(ordinal)
    bits = jnp.where(size > 0, size + skipped, integer(0)).astype(integer)
    x = jax.lax.bitcast_convert_type(bits, dtype)
    return jnp.where(ordinal < 0, -x, x)


def flushed(x: np.ndarray) -> np.ndarray:
    """Floats with 0 for the subnormal ones, as XLA's CPU code takes them.

    Half precision is computed in float32, in which those of float16 are normal.
    """
    dtype = np.float32 if x.dtype.itemsize < 4 else x.dtype
    return np.where(np.abs(x) < jnp.finfo(dtype).tiny, 0 * x, x)
