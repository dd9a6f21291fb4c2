"""Steps that end strictly inside a support, however the addition rounds."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from .. import substrate
from ..numerics import (
    clip_between,
    from_ordinal,
    int_layout,
    largest_number,
    minus_zero,
    ordinal,
    step_between,
)
from .ranges import POSITIVE, Range
from .sets import SetTag, Support
from .support import interval_of, support

Add = Callable[[Array], Array]


def step_inside(
    bijector: Any, start: Array, target: Array, still: Array, add: Add
) -> Array:
    """The step from `start` to `target`, or to where it ends inside a bijector's range.

    A target on the boundary, where the map has saturated, is replaced by the nearest
    number inside. Where the sum would round onto the boundary or over it, the step is
    the nearest one whose sum does not. Sets of vectors and matrices keep what can be
    kept entry by entry (positive parts, an order); if the sum is still outside, the step
    is halved until it is not, and is 0 after as many halvings as the dtype has digits.

    Args:
        bijector: its range is the set; elements or events.
        start: where the parameters are, inside.
        target: where they should be, of the same shape and dtype.
        still: which elements do not move: their step is −0.0, which changes no bit.
        add: gives the parameters after a step, rounded as they will be.

    Returns:
        The step. NaN where the target is.
    """
    with substrate.standard_promotion():
        inside = support(bijector)
        interval = inside.interval
        if interval is not None:
            far = not interval.within(POSITIVE)
            step = step_between(start, target, *_bounds(interval, target.dtype), far=far)
            return jnp.where(still, minus_zero(step), step)
        target, lowest, highest = _lift(inside, target)
        step = step_between(start, target, lowest, highest)
        return _shorten(inside, add, jnp.where(still, minus_zero(step), step))


def nearest_inside(bijector: Any, x: Array) -> Array:
    """The numbers where steps to `x` are to end, as far as one knows the set by entries.

    Of NaN it is NaN.
    """
    with substrate.standard_promotion():
        interval = interval_of(bijector)
        # Subnormal numbers of float16 are inside, though a step from elsewhere goes to
        # none.
        if interval is None or jnp.finfo(x.dtype).nexp < 8:
            return clip_between(snap_inside_interval(bijector, x), None, None)
        return clip_between(x, *_bounds(interval, x.dtype))


def snap_inside_interval(bijector: Any, x: Array) -> Array:
    """Move numbers on the boundary of an interval to the nearest inside."""
    with substrate.standard_promotion():
        interval = interval_of(bijector)
        if interval is None:
            return x
        ends = _ends(interval, x.dtype)
        for bound, inside in zip((interval.lower, interval.upper), ends, strict=True):
            x = jnp.where(_on(bound, inside, x), inside, x)
        return x


def snap_inside(bijector: Any, x: Array, rounded_to: Any) -> Array:
    """Move numbers on a finite boundary of a bijector's range to the nearest inside.

    This does as `snap_inside_interval`, and moves parts of a simplex and diagonals of
    factors that are 0 as well. Infinite numbers stay: a map that overflows has an
    infinite slope, which a gradient of 0 would make NaN.

    Args:
        bijector: its range is the set.
        x: numbers in the dtype of the arithmetic.
        rounded_to: the dtype that they were rounded to, in which a bound may be outside.
    """
    with substrate.standard_promotion():
        return _snapped(support(bijector), x, rounded_to)


def _snapped(inside: Support, x: Array, rounded_to: Any) -> Array:
    span = inside.interval
    if inside.everything:
        return x
    if span is not None:
        lowest, highest = _ends(span, x.dtype)
        for bound, infinite, nearest, outer in (
            (span.lower, span.is_from(-math.inf), lowest, jnp.minimum),
            (span.upper, span.is_to(math.inf), highest, jnp.maximum),
        ):
            if not infinite:
                bound = jnp.asarray(bound).astype(x.dtype)
                rounded = bound.astype(rounded_to).astype(x.dtype)
                edge = _on(outer(bound, rounded), nearest, x) & jnp.isfinite(bound)
                x = jnp.where(edge, nearest, x)
        return x
    tiny = jnp.asarray(jnp.finfo(x.dtype).tiny, x.dtype)
    edge = jnp.abs(x) < tiny
    if _is_factor(inside):
        edge = edge & jnp.eye(*x.shape[-2:], dtype=bool)
    elif inside.tag is not SetTag.SIMPLEX:
        return x
    return jnp.where(edge, tiny, x)


def _on(bound: Any, inside: Array, x: Array) -> Array:
    """Whether numbers are on a bound, or between it and the nearest number inside.

    Subnormal numbers are on a bound of 0 so, whether XLA flushes them or not. Float16's
    subnormal numbers are flushed nowhere, and are inside.
    """
    bound = jnp.asarray(bound).astype(x.dtype)
    if jnp.finfo(x.dtype).nexp < 8:
        inside = bound
    return (x >= jnp.minimum(bound, inside)) & (x <= jnp.maximum(bound, inside))


def _ends(interval: Range, dtype: Any) -> tuple[Array, Array]:
    """The smallest and the largest number inside an open interval."""
    lower, upper = (
        jnp.asarray(b).astype(dtype) for b in (interval.lower, interval.upper)
    )
    return (
        from_ordinal(ordinal(lower) + 1, dtype),
        from_ordinal(ordinal(upper) - 1, dtype),
    )


def _bounds(interval: Range, dtype: Any) -> tuple[Array | None, Array | None]:
    """The ends of an interval, or `None` where it is known to have none."""
    lowest, highest = _ends(interval, dtype)
    return (
        None if interval.is_from(-math.inf) else lowest,
        None if interval.is_to(math.inf) else highest,
    )


# The functions below are for sets of vectors and matrices.


def _is_factor(inside: Support) -> bool:
    """Whether all that is asked of the diagonal of a triangular matrix is its sign."""
    diagonal = inside.of if inside.tag is SetTag.TRIANGULAR else None
    positive = diagonal is not None and diagonal.entries.positive
    return positive or inside.tag is SetTag.CORR_CHOLESKY


def _lift(inside: Support, target: Array) -> tuple[Array, Array, Array | None]:
    """A target that has saturated, moved inside; and the bounds of its entries."""
    info = jnp.finfo(target.dtype)
    tiny, lowest, highest = jnp.asarray(info.tiny), jnp.asarray(-info.max), None
    if inside.tag is SetTag.SIMPLEX:
        lowest = jnp.broadcast_to(tiny, target.shape)
    elif _is_factor(inside):
        diagonal = jnp.eye(*target.shape[-2:], dtype=bool)
        lowest = jnp.where(diagonal, tiny, lowest)
    elif inside.tag is SetTag.INCREASING:
        largest = largest_number(target.dtype)
        ends = _ends(inside.entries, target.dtype)
        lowest, highest = (jnp.clip(end, -largest, largest) for end in ends)
        target = _increase(target, lowest, highest, inside.details[0])
    return target, lowest, highest


def _increase(x: Array, lowest: Array, highest: Array, axis: int) -> Array:
    """Move the entries of vectors that do not decrease apart, by one float each."""
    size = x.shape[axis]
    order = jnp.arange(size, dtype=int_layout(x.dtype)[0])
    order = order.reshape(size, *[1] * (-1 - axis))
    low, high = ordinal(lowest), ordinal(highest)
    rank = jax.lax.cummax(jnp.clip(ordinal(x), low, high) - order, axis=x.ndim + axis)
    # The last entries may have been moved past the highest number.
    moved = jnp.minimum(rank + order, high - (size - 1 - order))
    undefined = jnp.any(jnp.isnan(x), axis=axis, keepdims=True)
    return jnp.where(undefined, x, from_ordinal(moved, x.dtype))


def _shorten(inside: Support, add: Add, step: Array) -> Array:
    """Halve the steps of events that would end outside."""
    event = tuple(range(step.ndim - inside.event_ndims, step.ndim))
    digits = jnp.finfo(step.dtype).nmant + 1

    def outside(step: Array) -> Array:
        end = add(step)
        off = ~inside.contains(end) & ~jnp.any(jnp.isnan(end), axis=event)
        return jnp.expand_dims(off, event)

    def halve(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        count, step, off = carry
        shorter = jnp.where(count < digits, 0.5 * step, minus_zero(step))
        step = jnp.where(off, shorter, step)
        return count + 1, step, outside(step)

    def more(carry: tuple[Array, Array, Array]) -> Array:
        count, _, off = carry
        return (count <= digits) & jnp.any(off)

    start = (jnp.zeros((), jnp.int32), step, outside(step))
    return jax.lax.while_loop(more, halve, start)[1]
