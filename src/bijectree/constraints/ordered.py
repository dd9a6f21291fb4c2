"""Vectors whose entries increase."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..substrate import tfb
from . import sets
from .facts import MapOntoSet, known
from .ranges import POSITIVE
from .reshaping import _SameShape


def _cumulate(steps: Array) -> Array:
    """Cumulative sums along the last axis that never decrease after the first.

    A parallel sum may round the k-th partial sum above the next.
    """
    sums = jnp.cumsum(steps, axis=-1)
    highest = jax.lax.cummax(jax.lax.stop_gradient(sums), axis=sums.ndim - 1)
    return sums + jax.lax.stop_gradient(jnp.where(highest > sums, highest - sums, 0))


@known(MapOntoSet(lambda b: sets.increasing()))
class Ordered(_SameShape):
    """x₁ = y₁, xₖ = xₖ₋₁ + exp(yₖ)."""

    def __init__(self, name: str = "ordered_vector"):
        parameters = dict(locals())
        super().__init__(parameters)

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        first, rest = x[..., :1], x[..., 1:]
        steps = jnp.concatenate([first, jnp.exp(rest)], axis=-1)
        return _cumulate(steps), jnp.sum(rest, axis=-1)

    def _inverse(self, y: Array) -> Array:
        return jnp.concatenate([y[..., :1], jnp.log(jnp.diff(y, axis=-1))], axis=-1)


@known(MapOntoSet(lambda b: sets.increasing(POSITIVE)))
class PositiveOrdered(_SameShape):
    """xₖ = xₖ₋₁ + exp(yₖ), from x₀ = 0."""

    def __init__(self, name: str = "positive_ordered_vector"):
        parameters = dict(locals())
        super().__init__(parameters)

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        return _cumulate(jnp.exp(x)), jnp.sum(x, axis=-1)

    def _inverse(self, y: Array) -> Array:
        steps = jnp.concatenate([y[..., :1], jnp.diff(y, axis=-1)], axis=-1)
        return jnp.log(steps)


def ordered_vector() -> tfb.Bijector:
    """Increasing vectors of K numbers, from K free coordinates.

    x₁ = y₁ and xₖ = xₖ₋₁ + exp(yₖ); the log-det is Σ yₖ over k ≥ 2. Neighbours are
    equal where exp(yₖ) is below the rounding of xₖ₋₁.

    Returns:
        A bijector of the last axis; leading axes are batches. Source: Stan, "Ordered
        vector".

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> print(bt.ordered_vector().forward(jnp.array([-2.0, 0.0, 0.0])))
        [-2. -1.  0.]
    """
    return Ordered()


def positive_ordered_vector() -> tfb.Bijector:
    """Increasing vectors of K positive numbers, from K free coordinates.

    xₖ = xₖ₋₁ + exp(yₖ) with x₀ = 0; the log-det is Σ yₖ.

    Returns:
        A bijector of the last axis; leading axes are batches. Source: Stan, "Positive
        ordered vector".

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> print(bt.positive_ordered_vector().forward(jnp.zeros(3)))
        [1. 2. 3.]
    """
    return PositiveOrdered()
