"""`SupportError`: values outside the support of their bijectors."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array


class SupportError(ValueError):
    """Values of a model lie outside the support of their bijectors."""

    __module__ = "bijectree"  # as users import it, and as tracebacks name it


def _error_if(leaf: Array, mask: Array, message: str) -> Array:
    """A leaf, or an error; where there are several devices, NaN for it.

    What one of them raised would leave the others waiting for it. And `eqx.error_if`
    brings all that it is given to one device, so it gets a scalar.
    """
    wrong = mask.any()
    if jax.device_count() == 1:
        wrong = eqx.error_if(jnp.zeros((), bool), wrong, message)
    return jnp.where(wrong, jnp.asarray(jnp.nan, leaf.dtype), leaf)
