"""Value and log-det at once for TFP's own maps of single elements."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from ..numerics import hyperbolic, softplus
from ..substrate import fused, tfb
from .interval import _between


@fused(tfb.Exp)
def _exp_pair(bijector: Any, x: Array) -> tuple[Array, Array]:
    return jnp.exp(x), x


@fused(tfb.Softplus)
def _softplus_pair(bijector: Any, x: Array) -> tuple[Array, Array]:
    softness = bijector.hinge_softness
    if softness is None:
        value, log_det = softplus(x)
    else:
        softness = jnp.asarray(softness).astype(x.dtype)
        value, log_det = softplus(x / softness)
        value = softness * value
    if bijector.low is not None:
        value = value + jnp.asarray(bijector.low).astype(x.dtype)
    return value, log_det


@fused(tfb.Sigmoid)
def _sigmoid_pair(bijector: Any, x: Array) -> tuple[Array, Array]:
    low = 0.0 if bijector.low is None else bijector.low
    high = 1.0 if bijector.high is None else bijector.high
    low, high = (jnp.asarray(bound).astype(x.dtype) for bound in (low, high))
    return _between(x, low, high)


@fused(tfb.Tanh)
def _tanh_pair(bijector: Any, x: Array) -> tuple[Array, Array]:
    value, log_cosh, _ = hyperbolic(x)
    return value, -2 * log_cosh
