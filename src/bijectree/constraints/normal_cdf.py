"""Numbers between two bounds by the normal distribution function."""

import math

import jax.numpy as jnp
from jax.scipy.special import log_ndtr, ndtr, ndtri
from jaxtyping import Array

from ..substrate import Number
from .elementwise import Elementwise
from .facts import MapOfNumbers, known
from .ranges import Range, number_of

_LOG_ROOT_2PI = 0.5 * math.log(2.0 * math.pi)


@known(MapOfNumbers(lambda b: Range(number_of(b.lower), number_of(b.upper))))
class IntervalByNormalCDF(Elementwise):
    """lower + (upper − lower)Φ(x), of the standard normal distribution function Φ.

    Each end of the interval is approached by subtracting from it.
    """

    def __init__(
        self,
        lower: Number,
        upper: Number,
        via: str = "normal_cdf",
        name: str = "interval",
    ):
        parameters = dict(locals())
        self.lower = lower
        self.upper = upper
        super().__init__(parameters)

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        lower, upper = self.lower.like(x), self.upper.like(x)
        width = upper - lower
        part = width * ndtr(jnp.where(x < 0, x, -x))
        log_det = jnp.log(width) - _LOG_ROOT_2PI - 0.5 * x * x
        return jnp.where(x < 0, lower + part, upper - part), log_det

    def _inverse(self, y: Array) -> Array:
        lower, upper = self.lower.like(y), self.upper.like(y)
        above, below = (y - lower) / (upper - lower), (upper - y) / (upper - lower)
        near_lower = above < below
        tail = ndtri(jnp.where(near_lower, above, below))
        return jnp.where(near_lower, tail, -tail)


def log_distances(bijector: IntervalByNormalCDF, x: Array) -> tuple[Array, Array]:
    """The logarithms of what values are above the lower and below the upper bound."""
    log_width = jnp.log(bijector.upper.like(x) - bijector.lower.like(x))
    return log_width + log_ndtr(x), log_width + log_ndtr(-x)
