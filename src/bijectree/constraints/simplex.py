"""Parts that sum to 1."""

import math
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..numerics import softplus
from ..substrate import tfb
from . import sets
from .arguments import _axis_from_end, _one_of
from .facts import MapOntoSet, known
from .reshaping import _AlongAxis
from .zero_sum import zero_sum_forward, zero_sum_inverse


def _ilr(y: Array) -> tuple[Array, Array]:
    """Softmax of an isometric zero-sum vector, and its log-det in the first K−1 parts."""
    z = zero_sum_forward(y)
    top = jax.lax.stop_gradient(jnp.max(z, axis=-1, keepdims=True))
    e = jnp.exp(z - top)
    total = jnp.sum(e, axis=-1, keepdims=True)
    size = z.shape[-1]
    # Σ log xᵢ = Σ zᵢ − K log Σ exp zᵢ, and the z sum to 0
    log_det = 0.5 * math.log(size) - size * (top + jnp.log(total))
    return e / total, log_det[..., 0]


def _log_stick_breaking(y: Array) -> Array:
    size = y.shape[-1] + 1
    offset = jnp.asarray(np.log(np.arange(size - 1, 0, -1.0)), y.dtype)
    minus_log_rest, log_part = softplus(y - offset)  # −log(1 − z) and log z
    zero = jnp.zeros_like(y, shape=(*y.shape[:-1], 1))
    log_stick = jnp.concatenate([zero, -jnp.cumsum(minus_log_rest, axis=-1)], axis=-1)
    return log_stick + jnp.concatenate([log_part, zero], axis=-1)


def _stick_breaking(y: Array) -> tuple[Array, Array]:
    log_x = _log_stick_breaking(y)
    # Σₖ log stickₖ + log zₖ + log(1 − zₖ): the last remainder is the last part
    return jnp.exp(log_x), jnp.sum(log_x, axis=-1)


def _log_additive(y: Array) -> Array:
    zero = jnp.zeros_like(y, shape=(*y.shape[:-1], 1))
    z = jnp.concatenate([y, zero], axis=-1)
    return z - jax.nn.logsumexp(z, axis=-1, keepdims=True)


def _additive(y: Array) -> tuple[Array, Array]:
    log_x = _log_additive(y)
    return jnp.exp(log_x), jnp.sum(log_x, axis=-1)


def _additive_inverse(x: Array) -> Array:
    log = jnp.log(x)
    return log[..., :-1] - log[..., -1:]


def _stick_breaking_inverse(x: Array) -> Array:
    size = x.shape[-1]
    offset = jnp.asarray(np.log(np.arange(size - 1, 0, -1.0)), x.dtype)
    # What is left of the stick is summed from its end, since 1 − Σx would cancel.
    rest = jax.lax.cumsum(x, axis=x.ndim - 1, reverse=True)[..., 1:]
    return jnp.log(x[..., :-1]) - jnp.log(rest) + offset


@known(MapOntoSet(lambda b: sets.simplex_along(b.axis)))
class Simplex(_AlongAxis):
    """Vectors of positive parts that sum to 1 along an axis."""

    def __init__(
        self,
        axis: int = -1,
        via: str = "ilr",
        order: tuple[int, ...] | None = None,
        name: str = "simplex",
    ):
        parameters = dict(locals())
        self.axis = axis
        self.via = via
        self.order = order
        super().__init__(parameters)

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        parts, log_det = _MAPS[self.via][0](x)
        parts = self.placed(parts)
        return jnp.moveaxis(parts, -1, self.axis), self._over_event(log_det)

    def _inverse(self, y: Array) -> Array:
        self._free_shape(y.shape)
        parts = jnp.moveaxis(y, self.axis, -1)
        if self.order is not None:
            parts = parts[..., np.asarray(self.order)]
        return _MAPS[self.via][1](parts)

    def placed(self, parts: Array) -> Array:
        """Parts along the last axis, each in its place, from those in `order`."""
        return parts if self.order is None else parts[..., np.argsort(self.order)]

    def _free_shape(self, model_shape: tuple[int, ...]) -> tuple[int, ...]:
        size = model_shape[len(model_shape) + self.axis]
        if self.order is not None and len(self.order) != size:
            raise ValueError(
                f"{self.name}: order has {len(self.order)} parts, and axis {self.axis} "
                f"of shape {model_shape} has {size}"
            )
        return super()._free_shape(model_shape)


def _ilr_inverse(x: Array) -> Array:
    log = jnp.log(x)
    return zero_sum_inverse(log - jnp.mean(log, axis=-1, keepdims=True))


def _log_ilr(y: Array) -> Array:
    z = zero_sum_forward(y)
    return z - jax.nn.logsumexp(z, axis=-1, keepdims=True)


# Of each map: parts and log-det, the inverse, and the logarithms of the parts.
_MAPS = {
    "ilr": (_ilr, _ilr_inverse, _log_ilr),
    "stick_breaking": (_stick_breaking, _stick_breaking_inverse, _log_stick_breaking),
    "additive_log_ratio": (_additive, _additive_inverse, _log_additive),
}


def log_parts(bijector: Simplex, y: Array) -> Array:
    """The logarithms of the parts that free coordinates map to, along the last axis."""
    return bijector.placed(_MAPS[bijector.via][2](y))


def simplex(
    *,
    axis: int = -1,
    via: Literal["ilr", "stick_breaking", "additive_log_ratio"] = "ilr",
    order: Sequence[int] | None = None,
) -> tfb.Bijector:
    """Vectors of K positive parts that sum to 1, from K − 1 free coordinates.

    By default the inverse of the isometric log-ratio transform: z is the zero-sum
    vector of y (see `zero_sum`), x = exp(z)/Σ exp(z), and the log-det in the chart of
    the first K − 1 parts is Σ log xᵢ + ½ log K (Stan, "Unit simplex", since 2.37;
    Egozcue et al. 2003, Mathematical Geology 35, eq. 20).

    With `via="stick_breaking"`, Stan's map before 2.37: a part zₖ =
    σ(yₖ − log(K − k)) of what is left of a stick of length 1; log-det Σ log xᵢ.

    With `via="additive_log_ratio"`, x = exp((y, 0))/(1 + Σ exp(y)): the last part is the
    reference of the others; log-det Σ log xᵢ (Aitchison 1982, Journal of the Royal
    Statistical Society B 44, section 4.2).

    A density over the parts integrates to 1 over free space, unlike through TFP's
    `SoftmaxCentered`, whose log-det is that of the embedding.

    Args:
        axis: the axis that sums to 1, counted from the end. The free array has it
            last: a column-stochastic matrix (`axis=-2`) of shape (K, M) has the free
            shape (M, K − 1), which is Stan's order.
        via: the map.
        order: the parts in the order in which the map takes them, as their places along
            the axis: the stick is broken for `order[0]` first, and `order[-1]` is the
            reference of the log-ratios. By default the order of the axis. The set and
            a density over it stay the same; the geometry in free coordinates does not.

    Returns:
        A bijector of the axes from `axis` on; those before are batches.

    Raises:
        ValueError: `axis` is not negative, `via` is unknown or `order` does not name
            each place once; on use, an empty axis, or one of another length than `order`.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> print(bt.simplex().forward(jnp.zeros(3)))
        [0.25 0.25 0.25 0.25]
    """
    _axis_from_end(axis)
    _one_of(via, "via", tuple(_MAPS))
    if order is not None:
        order = tuple(map(int, order))
        if sorted(order) != list(range(len(order))):
            raise ValueError(
                f"order must name each of the places 0, 1, … once, got {order}"
            )
    return Simplex(axis, via, order)
