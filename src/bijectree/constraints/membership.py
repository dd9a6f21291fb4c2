"""Whether arrays are members of sets of vectors and matrices."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..substrate import ROUND_TRIP_TOLERANCE
from .ranges import Range

Predicate = Callable[[Array], Array]


def _tolerance(x: Array) -> float:
    """How far from 1 a sum, a norm or a correlation's diagonal may be."""
    return ROUND_TRIP_TOLERANCE[x.dtype.itemsize]


def _whole_event(truth: Array, ndims: int) -> Array:
    """Whether all entries of each event are true; an event has so many axes."""
    return jnp.all(truth, axis=tuple(range(truth.ndim - ndims, truth.ndim)))


def _finite(ndims: int, x: Array) -> Array:
    return _whole_event(jnp.isfinite(x), ndims)


def _increasing(interval: Range, axis: int, x: Array) -> Array:
    rising = _whole_event(jnp.diff(x, axis=axis) > 0, -axis)
    return rising & _whole_event(interval.contains(x), -axis)


def _sums_to_one(axis: int, x: Array) -> Array:
    total = jnp.sum(x, axis=axis, keepdims=True)
    inside = (x > 0) & (jnp.abs(total - 1) <= _tolerance(x))
    return _whole_event(inside, -axis)


def _sum_to_one_in_groups(sizes: tuple[int, ...], x: Array) -> Array:
    group = np.repeat(np.arange(len(sizes)), sizes)
    totals = jax.ops.segment_sum(jnp.moveaxis(x, -1, 0), group, len(sizes))
    near = jnp.all(jnp.abs(totals - 1) <= _tolerance(x), axis=0)
    return _whole_event(x > 0, 1) & near


def _sums_to_zero(axes: tuple[int, ...], x: Array) -> Array:
    inside = jnp.isfinite(x)
    for axis in axes:
        total = jnp.sum(x, axis=axis, keepdims=True)
        size = jnp.sum(jnp.abs(x), axis=axis, keepdims=True)
        inside = inside & (jnp.abs(total) <= _tolerance(x) * size)
    return _whole_event(inside, -min(axes))


def _unit_norm(x: Array) -> Array:
    return jnp.abs(jnp.sqrt(jnp.sum(x * x, axis=-1)) - 1) <= _tolerance(x)


def _angle(half: Any, x: Array) -> Array:
    """Whether angles are within half a turn from 0, in the unit of `half`."""
    half = jnp.asarray(half).astype(x.dtype)
    return (x > -half) & (x <= half)


def _triangular(diagonal: Predicate, x: Array) -> Array:
    lower = _whole_event(jnp.isfinite(x) & (x == jnp.tril(x)), 2)
    return lower & _whole_event(diagonal(jnp.diagonal(x, axis1=-2, axis2=-1)), 1)


def _correlation_factor(x: Array) -> Array:
    return _triangular(lambda d: d > 0, x) & _whole_event(_unit_norm(x), 1)


def _positive_matrix(x: Array) -> Array:
    size = jnp.max(jnp.abs(x), axis=(-2, -1), keepdims=True, initial=0.0)
    symmetric = jnp.abs(x - jnp.swapaxes(x, -1, -2)) <= _tolerance(x) * size
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    factor = jnp.linalg.cholesky(wide, symmetrize_input=True)
    return _whole_event(symmetric, 2) & _whole_event(jnp.isfinite(factor), 2)


def _correlation(x: Array) -> Array:
    diagonal = jnp.diagonal(x, axis1=-2, axis2=-1)
    ones = jnp.abs(diagonal - 1) <= _tolerance(x)
    return _positive_matrix(x) & _whole_event(ones, 1)
