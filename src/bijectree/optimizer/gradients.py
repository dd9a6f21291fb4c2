"""Gradients pulled back to free coordinates, kept finite where a map overflows."""

import jax.numpy as jnp
from jaxtyping import Array

from ..substrate import Kind


def bounded(kind: Kind, pulled: Array, gradient: Array) -> Array:
    """What was pulled back, as if where a leaf overflows its slope did not.

    An event whose gradient is zero stays where it is; a finite gradient is not made
    infinite.
    """
    finite = by_event(kind, jnp.isfinite(gradient))
    pulled = jnp.where(finite, _finite(pulled), pulled)
    return jnp.where(by_event(kind, gradient == 0), jnp.zeros_like(pulled), pulled)


def bounded_by_all(pulled: Array, gradients: list[Array]) -> Array:
    """The same where the gradients of several leaves are pulled back to one.

    Where zero times an infinite slope is a term of a sum, there is no telling which: the
    free coordinate stays.
    """
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(g)) for g in gradients]))
    known = jnp.where(jnp.isnan(pulled), jnp.zeros_like(pulled), _finite(pulled))
    return jnp.where(finite, known, pulled)


def _finite(x: Array) -> Array:
    largest = float(jnp.finfo(x.dtype).max)
    return jnp.clip(x, -largest, largest)


def by_event(kind: Kind, same: Array) -> Array:
    """Whether an event is the same throughout, in the shape of its free coordinates."""
    if kind.elementwise:
        return same
    batch = same.ndim - kind.event_ndims
    whole = jnp.all(same, axis=tuple(range(batch, same.ndim)))
    if kind.free_shape[:batch] != whole.shape:
        return jnp.all(whole)
    return jnp.expand_dims(whole, tuple(range(batch, len(kind.free_shape))))
