"""Gradients pulled back to free coordinates, kept finite where a map overflows."""

import jax.numpy as jnp
from jaxtyping import Array

from ..substrate import Kind


def bounded(kind: Kind, pulled: Array, gradient: Array) -> Array:
    """A gradient that was pulled back, kept finite where the slope of a leaf overflows.

    An event whose gradient is zero stays where it is; a finite gradient is not made
    infinite.
    """
    finite = by_event(kind, jnp.isfinite(gradient))
    pulled = jnp.where(finite, _finite(pulled), pulled)
    return jnp.where(by_event(kind, gradient == 0), jnp.zeros_like(pulled), pulled)


def bounded_by_all(pulled: Array, gradients: list[Array]) -> Array:
    """`bounded`, where the gradients of several leaves are pulled back to one.

    Where zero times an infinite slope is a term of a sum, there is no telling which: the
    free coordinate stays.
    """
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(g)) for g in gradients]))
    known = jnp.where(jnp.isnan(pulled), jnp.zeros_like(pulled), _finite(pulled))
    return jnp.where(finite, known, pulled)


def _finite(x: Array) -> Array:
    """Gradients so bounded that their squares do not overflow, as Adam sums them.

    An infinite second moment would hold a coordinate where it is for good. In float16
    ordinary gradients have larger squares, and it is the largest number that bounds them.
    """
    info = jnp.finfo(x.dtype)
    bound = float(info.max) if info.nexp < 8 else 0.5 * float(info.max) ** 0.5
    return jnp.clip(x, -bound, bound)


def by_event(kind: Kind, truth: Array) -> Array:
    """Whether all of an event is true, in the shape of its free coordinates."""
    if kind.elementwise:
        return truth
    batch = truth.ndim - kind.event_ndims
    whole = jnp.all(truth, axis=tuple(range(batch, truth.ndim)))
    if kind.free_shape[:batch] != whole.shape:
        return jnp.all(whole)
    return jnp.expand_dims(whole, tuple(range(batch, len(kind.free_shape))))
