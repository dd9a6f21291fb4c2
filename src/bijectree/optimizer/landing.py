"""The step of a leaf to where its free coordinates are, inside its support."""

import functools
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from .. import substrate
from ..constraints import Add, interval_of, nearest_inside, step_inside
from ..numerics import add_exactly
from ..substrate import Kind


def sum_of(start: Array, step: Array) -> Array:
    """The sum that `optax.apply_updates` computes."""
    if jnp.issubdtype(start.dtype, jnp.complexfloating):
        return start + step
    return add_exactly(start, step)


@substrate.in_auto_axes
def step_of_leaf(
    kind: Kind, numbers: tuple[Any, ...], start: Array, *more: Array
) -> tuple[Array, None]:
    """The step of a leaf from its start to its target, inside its support.

    Args:
        kind: of the leaf.
        numbers: of its bijector.
        start: the leaf.
        *more: the target, the target of the step before, and the free coordinates.
    """
    add = functools.partial(add_exactly, start)
    return step_with(add, kind, numbers, start, *more)


def step_with(
    add: Add,
    kind: Kind,
    numbers: tuple[Any, ...],
    start: Array,
    target: Array,
    before: Array,
    free: Array,
) -> tuple[Array, None]:
    """`step_of_leaf`, where the sum is rounded by `add`."""
    bijector = kind.recipe.build(numbers)
    lost = _overflows(kind, numbers, target, free)
    if not kind.elementwise:
        target = jnp.where(lost, start, target)
    end = nearest_inside(bijector, target)
    # A target that an earlier sum did not reach is still to be reached, also where it is
    # the number nearest to the boundary.
    close = (end == target) & _is_close(kind, numbers, start, end, free)
    if kind.elementwise:
        # A step of no length is −0.0 also where it is not said to be still.
        still = lost | ((target == before) & close)
    else:
        still = (target == before) & (close | (end == start))
    return step_inside(bijector, start, target, still, add), None


def _overflows(kind: Kind, numbers: tuple[Any, ...], target: Array, free: Array) -> Array:
    """Whether finite free coordinates of an event are mapped to NaN.

    They are where the map takes infinity from infinity, and then no number inside is
    nearest. Where a number of the bijector is NaN, its events are rightly NaN.
    """
    known = [jnp.asarray(n) for n in numbers]
    sound = [~jnp.isnan(n).any() for n in known if jnp.issubdtype(n.dtype, jnp.inexact)]
    lost = jnp.isnan(target)
    if kind.elementwise:
        return lost & jnp.isfinite(free) & jnp.all(jnp.asarray(sound))
    batch = target.ndim - kind.event_ndims
    lost = jnp.any(lost, axis=tuple(range(batch, target.ndim)), keepdims=True)
    finite = jnp.isfinite(free)
    if free.shape[:batch] == target.shape[:batch]:
        finite = jnp.all(finite, axis=tuple(range(batch, free.ndim)))
        finite = jnp.expand_dims(finite, tuple(range(batch, target.ndim)))
    else:
        finite = jnp.all(finite)
    return lost & finite & jnp.all(jnp.asarray(sound))


def _is_close(
    kind: Kind, numbers: tuple[Any, ...], start: Array, target: Array, free: Array
) -> Array:
    """Whether a start differs from a target by no more than the rounding of `free`.

    The last start of a free coordinate x is worth about x last places of the number that
    it is mapped to, or of the bounds or other numbers of the bijector; where a map has
    saturated, of no more than the largest exponential that float64 holds has.
    """
    with substrate.standard_promotion():
        size, reach = jnp.abs(start) + jnp.abs(target), 1 + jnp.abs(free)
        interval = interval_of(kind.recipe.build(numbers))
        if interval is None or interval.everything:
            known = [x for x in map(jnp.asarray, numbers) if x.dtype != bool]
            ends = [jnp.max(jnp.abs(x), initial=0) for x in known]
        else:
            ends = [jnp.abs(interval.lower), jnp.abs(interval.upper)]
        for end in ends:
            size += jnp.where(jnp.isfinite(end), end, 0).astype(size.dtype)
        if not kind.elementwise:
            event = tuple(range(start.ndim - kind.event_ndims, start.ndim))
            size = jnp.max(size, axis=event, keepdims=True, initial=0)
            reach = jnp.max(reach, initial=1)
        last_places = 8 * float(jnp.finfo(start.dtype).eps)
        share = last_places * jnp.minimum(reach, min(1024, 0.25 / last_places))
        return jnp.abs(start - target) <= share * size
