"""A leaf mapped by a bijector of its kind: value, log-det, inverse, membership."""

import dataclasses
import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Inexact

from .contexts import _jit, at_once, exactly
from .fused import FusedBijector, _fused
from .kind import Kind
from .links import _counts_entries, _links, scales_evenly
from .tfp import tfb


def cast_numbers(numbers: tuple[Any, ...], dtype: Any) -> tuple[Array, ...]:
    """Cast real numbers of a bijector to the dtype of the arithmetic."""
    arrays = (jnp.asarray(n) for n in numbers)
    return tuple(
        n if jnp.issubdtype(n.dtype, jnp.complexfloating) else n.astype(dtype)
        for n in arrays
    )


def _cast_to_own_dtype(bijector: Any, x: Array) -> Array:
    """Cast values to the dtype of a bijector, if it still has one.

    `cast_numbers` does not reach numbers that TFP keeps as Python lists.
    """
    dtype = bijector.dtype
    if dtype is not None and not jnp.issubdtype(dtype, jnp.inexact):
        raise ValueError(
            f"{bijector.name} computes in {np.dtype(dtype)}, to which the leaf would be "
            "rounded; give its parameters as floats"
        )
    return x if dtype is None else x.astype(dtype)


def _narrowest(bijector: Any, dtype: Any) -> np.dtype:
    """The least precise dtype that a bijector computes in, given leaves of `dtype`."""
    if type(bijector) is tfb.Chain:
        parts = [_narrowest(part, dtype) for part in bijector.bijectors]
    else:
        own = bijector.dtype
        parts = [] if own is None or not jnp.issubdtype(own, jnp.floating) else [own]
    return min((np.dtype(d) for d in (dtype, *parts)), key=lambda d: d.itemsize)


def _invert_links(bijector: Any, y: Array) -> Array:
    for link in reversed(_links(bijector)):
        y = link.inverse(_cast_to_own_dtype(link, y))
    return y


def _map_links(bijector: Any, x: Array) -> tuple[Array, Array]:
    """Map by all links: the value, and the log-det summed over all events of `x`."""
    total, dtype = None, x.dtype
    coordinates = x.size
    for link in _links(bijector):
        size = x.size
        lost = _auxiliary_coordinates(link, x.shape)
        x, log_det = _map_link(link, x)
        if coordinates < size and _counts_entries(link):
            log_det = log_det * _minimal_fraction(link, coordinates, size)
        coordinates = min(coordinates - lost, x.size)
        log_det = log_det.astype(dtype)
        total = log_det if total is None else total + log_det
    return x, jnp.zeros((), dtype) if total is None else total


def _auxiliary_coordinates(link: Any, shape: tuple[int, ...]) -> int:
    """How many of a link's free coordinates are no dimensions of its set."""
    lost = getattr(link, "auxiliary_coordinates", 0)
    return lost and lost * math.prod(shape[: len(shape) - link.forward_min_event_ndims])


def _minimal_fraction(link: Any, coordinates: int, entries: int) -> float:
    """The fraction of a log-det over all entries that is that in minimal coordinates."""
    if not scales_evenly(link):
        raise ValueError(
            f"{link.name} comes after a map onto a set with fewer free coordinates than "
            f"entries ({coordinates} for {entries}), as a simplex is, where its log-det "
            f"would count all {entries}. Only tfb.Shift and tfb.Scale of one number may "
            "follow; put other maps before it, or write one bijector of the whole"
        )
    return coordinates / entries


def _map_link(bijector: Any, x: Array) -> tuple[Array, Array]:
    if isinstance(bijector, FusedBijector):
        y, log_det = bijector._forward_and_log_det(x)
        return y, jnp.sum(log_det)
    if type(bijector) in _fused:
        y, log_det = _fused[type(bijector)](bijector, x)
        return y, jnp.sum(log_det)
    x = _cast_to_own_dtype(bijector, x)
    y = bijector.forward(x)
    return y, bijector.forward_log_det_jacobian(x, event_ndims=jnp.ndim(x))


def _has_nothing_to_map(kind: Kind) -> bool:
    """Whether a map of single elements has none, at which some of TFP's fail."""
    return not kind.event_ndims and not math.prod(kind.shape)


@_jit
def forward_and_log_det(
    kind: Kind, numbers: tuple[Any, ...], free: Inexact[Array, "..."]
) -> tuple[Inexact[Array, "..."], Float[Array, ""]]:
    """Map a leaf from free to model coordinates; the log-det is one scalar."""
    if _has_nothing_to_map(kind):
        return jnp.zeros(kind.shape, kind.dtype), jnp.zeros((), kind.compute_dtype)
    with exactly(), at_once(kind):
        bijector = kind.recipe.build(cast_numbers(numbers, kind.compute_dtype))
        y, log_det = _map_links(bijector, free.astype(kind.compute_dtype))
        return y.astype(kind.dtype), log_det.astype(kind.compute_dtype)


@_jit
def forward(kind: Kind, numbers: tuple[Any, ...], free: Inexact[Array, "..."]) -> Array:
    """Map a leaf from free to model coordinates."""
    return forward_and_log_det(kind, numbers, free)[0]


@_jit
def inverse(kind: Kind, numbers: tuple[Any, ...], leaf: Inexact[Array, "..."]) -> Array:
    """Map a leaf from model to free coordinates."""
    if _has_nothing_to_map(kind):
        return jnp.zeros(kind.free_shape, kind.dtype)
    with exactly(), at_once(kind):
        bijector = kind.recipe.build(cast_numbers(numbers, kind.compute_dtype))
        return _invert_links(bijector, leaf.astype(kind.compute_dtype)).astype(kind.dtype)


# How far a value may be from the one it maps back to, by the bytes of its dtype: a
# simplex sums to 1 only to within rounding. Stan's CONSTRAINT_TOLERANCE for float64.
ROUND_TRIP_TOLERANCE = {8: 1e-8, 4: 1e-5, 2: 2e-2, 1: 2e-1}


@_jit
def inverse_and_outside(
    kind: Kind, numbers: tuple[Any, ...], leaf: Inexact[Array, "..."]
) -> tuple[Array, Bool[Array, "..."]]:
    """Map a leaf to free coordinates and say which of its events are off the support.

    The test holds for any bijector: the free value is finite and maps back to the same
    value. "The same" is to within a relative tolerance (1e-8 in float64, as in Stan)
    and the effect of rounding the free value, measured by moving it that much.
    """
    exact = dataclasses.replace(kind, dtype=kind.compute_dtype)
    bijector = kind.recipe.build(cast_numbers(numbers, kind.compute_dtype))
    compute_dtype = _narrowest(bijector, kind.compute_dtype)
    y = leaf.astype(kind.compute_dtype)
    x = inverse(exact, numbers, y)
    back = forward(exact, numbers, x)
    # Some 32 ulp, so that the map's own rounding does not hide the move.
    step = 32 * float(jnp.finfo(compute_dtype).eps) * (1 + jnp.abs(x))
    signs = jnp.where(jnp.arange(x.size) % 2 == 0, 1, -1).astype(x.dtype)
    spread = jnp.zeros((), y.dtype)
    for moved in (x + step, x + step * signs.reshape(x.shape)):
        move = jnp.abs(forward(exact, numbers, moved) - back)
        spread = jnp.maximum(spread, jnp.where(jnp.isnan(move), 0, move))

    event = tuple(range(y.ndim - kind.event_ndims, y.ndim))
    size = jnp.max(jnp.abs(y), axis=event, keepdims=True, initial=0.0)
    spread = jnp.max(spread, axis=event, keepdims=True, initial=0.0)
    itemsize = min(kind.dtype.itemsize, compute_dtype.itemsize)
    tolerance = ROUND_TRIP_TOLERANCE[itemsize] * size + 2 * spread
    same = jnp.all(jnp.abs(back - y) <= tolerance, axis=event)
    free = x.astype(kind.dtype)
    finite = jnp.isfinite(free)
    if finite.shape[: same.ndim] == same.shape:
        finite = jnp.all(finite, axis=tuple(range(same.ndim, finite.ndim)))
    else:
        finite = jnp.all(finite)
    return free, ~(same & finite)
