"""A normalising flow of a vector, as a TFP bijector of masked affine layers.

The *degree* of a coordinate says which others it may depend on: those of lower degree
(Germain et al. 2015, "MADE: Masked autoencoder for distribution estimation").
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..substrate import FusedBijector, Number

FlowKind = Literal["autoregressive", "coupling"]

# The log-scale of a layer is at most so large, of either sign.
_STEEPEST = 8.0


class Weights(NamedTuple):
    """The conditioners of all layers; the first axis is that of the layers.

    Each gives a shift and a log-scale (the axis of two) to every coordinate, from other
    coordinates: by one hidden layer, and linearly past it.
    """

    hidden: Float[Array, "layers width dim"]
    hidden_bias: Float[Array, "layers width"]
    out: Float[Array, "layers 2 dim width"]
    out_bias: Float[Array, "layers 2 dim"]
    past: Float[Array, "layers 2 dim dim"]


class Flow(FusedBijector):
    """Layers x = shift(z) + exp(log_scale(z))·z, with the order reversed between them.

    A log-scale is between −8 and 8.

    A mask lets a coordinate depend on those before it (Kingma et al. 2016, "Improved
    variational inference with inverse autoregressive flow"), or the second half on the
    first (Dinh et al. 2017, "Density estimation using Real NVP"), so that the Jacobian of
    a layer is triangular.

    Args:
        weights: the conditioners, one `Number` each.
        kind: "autoregressive" or "coupling".
    """

    def __init__(self, weights: tuple[Number, ...], kind: str, name: str = "flow"):
        parameters = dict(locals())
        self.weights = weights
        self.kind = kind
        super().__init__(
            forward_min_event_ndims=1,
            validate_args=False,
            parameters=parameters,
            name=name,
        )

    def _layers(self, x: Array) -> Weights:
        return masked(Weights(*(weight.like(x) for weight in self.weights)), self.kind)

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        return flow_and_log_det(self._layers(x), x)

    def _inverse(self, y: Array) -> Array:
        degree = _degrees(self.kind, y.shape[-1])

        def undo(y: Array, layer: Weights) -> tuple[Array, None]:
            y = y[..., ::-1]

            # A pass settles the coordinates of one degree from those of lower ones. The
            # others stay 0: if one overflowed, a weight of 0 would make NaN of it.
            def settle(i: int, z: Array) -> Array:
                shift, log_scale = _condition(layer, z)
                return jnp.where(degree == i, (y - shift) * jnp.exp(-log_scale), z)

            passes = degree.max() + 1
            return jax.lax.fori_loop(0, passes, settle, jnp.zeros_like(y)), None

        return jax.lax.scan(undo, y, self._layers(y), reverse=True)[0]


def flow_and_log_det(weights: Weights, x: Array) -> tuple[Array, Array]:
    """Map vectors by masked weights, with the log-det."""

    def layer(carry: tuple[Array, Array], layer: Weights) -> tuple[Any, None]:
        z, log_det = carry
        shift, log_scale = _condition(layer, z)
        z = shift + jnp.exp(log_scale) * z
        return (z[..., ::-1], log_det + jnp.sum(log_scale, axis=-1)), None

    return jax.lax.scan(layer, (x, jnp.zeros_like(x[..., 0])), weights)[0]


def new_weights(
    key: PRNGKeyArray, dim: int, layers: int, width: int, dtype: Any
) -> Weights:
    """Weights of a flow that does nothing yet, but for the order of coordinates."""
    scale = dim**-0.5
    return Weights(
        scale * jax.random.normal(key, (layers, width, dim), dtype),
        jnp.zeros((layers, width), dtype),
        jnp.zeros((layers, 2, dim, width), dtype),
        jnp.zeros((layers, 2, dim), dtype),
        jnp.zeros((layers, 2, dim, dim), dtype),
    )


def masked(weights: Weights, kind: str) -> Weights:
    """Weights without those by which a coordinate would depend on a later one."""
    width, dim = weights.hidden.shape[-2:]
    degree = _degrees(kind, dim)
    # A hidden unit has a degree too: coordinates up to that enter it, and it enters those
    # of higher degree.
    unit = (
        degree[np.arange(width) % max(1, dim - 1)]
        if kind != "coupling"
        else np.zeros(width)
    )
    sees = unit[:, None] >= degree[None]
    seen = degree[:, None] > unit[None]
    before = degree[:, None] > degree[None]
    moves = degree > 0 if kind == "coupling" else degree >= 0
    return weights._replace(
        hidden=weights.hidden * jnp.asarray(sees, weights.hidden.dtype),
        out=weights.out * jnp.asarray(seen, weights.out.dtype),
        out_bias=weights.out_bias * jnp.asarray(moves, weights.out_bias.dtype),
        past=weights.past * jnp.asarray(before, weights.past.dtype),
    )


def _degrees(kind: str, dim: int) -> Int[np.ndarray, " dim"]:
    """The degree of each coordinate."""
    order = np.arange(dim)
    return (order >= dim // 2).astype(int) if kind == "coupling" else order


@jax.default_matmul_precision("highest")
def _condition(layer: Weights, z: Array) -> tuple[Array, Array]:
    """The shift and the log-scale of each coordinate."""
    hidden = jax.nn.silu(z @ layer.hidden.T + layer.hidden_bias)
    shift, log_scale = (
        hidden @ layer.out[i].T + layer.out_bias[i] + z @ layer.past[i].T
        for i in range(2)
    )
    # The log-scale is bounded, so that the inverse of a finite vector does not overflow.
    return shift, _STEEPEST * jnp.tanh(log_scale / _STEEPEST)
