"""Steps that end strictly inside a support, however the addition rounds."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from . import _matrices, _tfp, _vectors
from ._intervals import Range
from ._support import Support, interval_of, support
from ._tfp import tfb

Add = Callable[[Array], Array]


def step_inside(
    bijector: Any, place: Array, target: Array, still: Array, add: Add
) -> Array:
    """What to add to `place` so that it lands on `target`, inside a bijector's range.

    Where the target is on the boundary, since the map has saturated, it is the nearest
    number inside. Where the sum would round onto the boundary or over it, the step is
    the nearest one that does not. Sets of vectors and matrices keep what can be kept
    entry by entry (positive parts, an order); if the sum is still outside, the step is
    halved until it is not, and is 0 after as many halvings as the dtype has digits.

    Args:
        bijector: its range is the set; elements or events.
        place: where the parameters are, inside.
        target: where they should be, of the same shape and dtype.
        still: which elements do not move: their step is −0.0, which changes no bit.
        add: gives the parameters after a step, rounded as they will be.

    Returns:
        The step. NaN where the target is.
    """
    with _tfp._standard_promotion():
        interval = interval_of(bijector)
        if interval is not None:
            lowest, highest = _ends(interval, target.dtype)
            if interval.is_to(math.inf):
                highest = None
            if interval.is_from(-math.inf):
                lowest = None
            step = _reach(place, target, lowest, highest)
            return jnp.where(still, _nothing(step), step)
        target, lowest = _lift(bijector, target)
        step = _reach(place, target, lowest, None)
        return _shorten(support(bijector), add, jnp.where(still, _nothing(step), step))


def settle(bijector: Any, place: Array) -> Array:
    """Move numbers on the boundary of an interval to the nearest inside."""
    with _tfp._standard_promotion():
        interval = interval_of(bijector)
        if interval is None:
            return place
        ends = _ends(interval, place.dtype)
        for bound, inside in zip((interval.lower, interval.upper), ends, strict=True):
            place = jnp.where(_on(bound, inside, place), inside, place)
        return place


def off_the_edge(bijector: Any, place: Array, held_in: Any) -> Array:
    """Move numbers on a finite boundary of a bijector's range to the nearest inside.

    As `settle`, also for parts of a simplex and the diagonals of factors that are 0.
    Infinite numbers stay: a map that overflows has an infinite slope, which a gradient
    of 0 would make NaN.

    Args:
        bijector: its range is the set.
        place: numbers in the dtype of the arithmetic.
        held_in: the dtype that they were rounded to, in which a bound may be outside.
    """
    span = interval_of(bijector)
    if span is not None:
        lowest, highest = _ends(span, place.dtype)
        for bound, infinite, inside, outer in (
            (span.lower, span.is_from(-math.inf), lowest, jnp.minimum),
            (span.upper, span.is_to(math.inf), highest, jnp.maximum),
        ):
            if not infinite:
                bound = jnp.asarray(bound).astype(place.dtype)
                held = bound.astype(held_in).astype(place.dtype)
                edge = _on(outer(bound, held), inside, place) & jnp.isfinite(bound)
                place = jnp.where(edge, inside, place)
        return place
    tiny = jnp.asarray(jnp.finfo(place.dtype).tiny, place.dtype)
    edge = jnp.abs(place) < tiny
    if type(bijector) in _FACTORS:
        edge = edge & jnp.eye(*place.shape[-2:], dtype=bool)
    elif type(bijector) not in _PARTS:
        return place
    return jnp.where(edge, tiny, place)


def _on(bound: Any, inside: Array, place: Array) -> Array:
    """Whether numbers are on a bound, or between it and the nearest number inside.

    So subnormal ones are on a bound of 0 on a GPU too, and not only where XLA flushes
    them; but float16's are nowhere flushed.
    """
    bound = jnp.asarray(bound).astype(place.dtype)
    if jnp.finfo(place.dtype).nexp < 8:
        inside = bound
    return (place >= jnp.minimum(bound, inside)) & (place <= jnp.maximum(bound, inside))


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
        # float16's subnormal numbers, which that flushes and the conversion keeps
        unit = float(info.smallest_subnormal)
        small = jnp.round(total / jnp.float32(unit)) * jnp.float32(unit)
        rounded = jnp.where(jnp.abs(total) < float(info.tiny), small, rounded)
    return rounded.astype(a.dtype)


def _largest(dtype: Any) -> Array:
    """A number so near the largest that no sum which is to reach it overflows."""
    info = jnp.finfo(dtype)
    return jnp.asarray(info.max) * jnp.asarray(1 - 4 * info.eps, dtype)


def _nothing(step: Array) -> Array:
    return jnp.asarray(-0.0, step.dtype)


def _reach(
    place: Array, target: Array, lowest: Array | None, highest: Array | None
) -> Array:
    """The step to a number between `lowest` and `highest`, both of which are inside.

    Where the sum falls short of a bound since the difference was rounded, the next float
    is past the exact difference; rounding is monotone, so that sum does not fall short.
    """
    largest = _largest(target.dtype)
    target = jnp.clip(
        target,
        -largest if lowest is None else lowest,
        largest if highest is None else highest,
    )
    step = jnp.clip(add_exactly(target, -place), -largest, largest)
    end = add_exactly(place, step)
    if lowest is not None:
        step = jnp.where(end < lowest, _next_above(step), step)
    if highest is not None:
        step = jnp.where(end > highest, -_next_above(-step), step)
    return step


def _next_above(x: Array) -> Array:
    """The next float above one that is not zero."""
    integer, _ = _layout(x.dtype)
    bits = jax.lax.bitcast_convert_type(x, integer)
    bits = jnp.where(bits < 0, bits - integer(1), bits + integer(1))
    return jax.lax.bitcast_convert_type(bits, x.dtype)


def _ends(interval: Range, dtype: Any) -> tuple[Array, Array]:
    """The smallest and the largest number inside an open interval."""
    lower, upper = (
        jnp.asarray(b).astype(dtype) for b in (interval.lower, interval.upper)
    )
    return (
        _from_ordinal(_ordinal(lower) + 1, dtype),
        _from_ordinal(_ordinal(upper) - 1, dtype),
    )


# Floats in their order as integers, without the subnormal ones, which XLA may flush.


def _layout(dtype: Any) -> tuple[Any, Any]:
    """The integers as wide as a float dtype, and the ordinal before 'tiny'."""
    info = jnp.finfo(dtype)
    integer = {16: np.int16, 32: np.int32, 64: np.int64}[info.bits]
    return integer, integer((1 << info.nmant) - 1)


def _ordinal(x: Array) -> Array:
    integer, skipped = _layout(x.dtype)
    bits = jax.lax.bitcast_convert_type(x, integer)
    size = jnp.maximum((bits & np.iinfo(integer).max) - skipped, integer(0))
    return jnp.where(bits < 0, -size, size)


def _from_ordinal(ordinal: Array, dtype: Any) -> Array:
    integer, skipped = _layout(dtype)
    size = jnp.abs(ordinal)
    bits = jnp.where(size > 0, size + skipped, integer(0)).astype(integer)
    x = jax.lax.bitcast_convert_type(bits, dtype)
    return jnp.where(ordinal < 0, -x, x)


# Sets of vectors and matrices.

_PARTS = (_vectors.Simplex, tfb.SoftmaxCentered, tfb.IteratedSigmoidCentered)
_FACTORS = (_matrices.LowerCholesky, _matrices.CorrCholesky, tfb.CorrelationCholesky)
_ORDERED = (_vectors.Ordered, tfb.Ascending)


def _lift(bijector: Any, target: Array) -> tuple[Array, Array]:
    """Move a target that has saturated inside; and what each entry must not be below."""
    info = jnp.finfo(target.dtype)
    tiny, lowest = jnp.asarray(info.tiny), jnp.asarray(-info.max)
    if type(bijector) in _PARTS:
        lowest = jnp.broadcast_to(tiny, target.shape)
    elif type(bijector) in _FACTORS:
        diagonal = jnp.eye(*target.shape[-2:], dtype=bool)
        lowest = jnp.where(diagonal, tiny, lowest)
    elif type(bijector) in _ORDERED:
        target = _increase(target)
    elif type(bijector) is _vectors.PositiveOrdered:
        target = _increase(jnp.maximum(target, tiny))
        lowest = tiny
    return target, lowest


def _increase(x: Array) -> Array:
    """Move the entries of a vector that does not decrease apart, by one float each."""
    last = x.ndim - 1
    order = jnp.arange(x.shape[-1], dtype=_layout(x.dtype)[0])
    highest = _ordinal(_largest(x.dtype))
    place = jnp.clip(_ordinal(x), -highest, highest)
    place = jax.lax.cummax(place - order, axis=last) + order
    # the last ones may have been moved past the largest number
    room = highest - (x.shape[-1] - 1 - order)
    moved = _from_ordinal(jnp.minimum(place, room), x.dtype)
    return jnp.where(jnp.any(jnp.isnan(x), axis=-1, keepdims=True), x, moved)


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
        shorter = jnp.where(count < digits, 0.5 * step, _nothing(step))
        step = jnp.where(off, shorter, step)
        return count + 1, step, outside(step)

    def more(carry: tuple[Array, Array, Array]) -> Array:
        count, _, off = carry
        return (count <= digits) & jnp.any(off)

    start = (jnp.zeros((), jnp.int32), step, outside(step))
    return jax.lax.while_loop(more, halve, start)[1]
