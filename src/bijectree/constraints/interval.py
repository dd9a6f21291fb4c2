"""Numbers between two bounds."""

import math
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from ..numerics import hyperbolic, pick
from ..substrate import Number, tfb
from .arguments import _concrete, _one_of, _real_number, finite_number, require_above
from .elementwise import Elementwise
from .facts import MapOfNumbers, known
from .normal_cdf import IntervalByNormalCDF
from .ranges import Range, number_of


def _between(x: Array, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Value and log-det of lower + (upper − lower)σ(x).

    The log-det log w − |x| − 2 log1p(exp(−|x|)) is written log(w/4) − 2 log cosh(x/2):
    the same numbers without the cancellation near x = 0. Each end of the interval is
    approached by subtracting from it.
    """
    _, log_cosh, tail = hyperbolic(0.5 * x)
    width = upper - lower
    part = width * tail
    # A sum, since XLA's CPU compiler would fill an array with the factor 2.
    log_det = jnp.log(0.25 * width) - lax.add(log_cosh, log_cosh)
    return pick(x < 0, lower + part, upper - part), log_det


def _between_inverse(y: Array, lower: Array, upper: Array) -> Array:
    width = upper - lower
    return jnp.log((y - lower) / width) - jnp.log((upper - y) / width)


@known(MapOfNumbers(lambda b: Range(number_of(b.lower), number_of(b.upper))))
class Interval(Elementwise):
    """lower + (upper − lower)σ(x); an infinite bound makes a half line or the line."""

    def __init__(self, lower: Number, upper: Number, name: str = "interval"):
        parameters = dict(locals())
        self.lower = lower
        self.upper = upper
        super().__init__(parameters)

    def _bounds(self, x: Array) -> tuple[Array, Array, Array, Array]:
        """The bounds, with 0 and 1 for infinite ones, and which are finite."""
        lower, upper = self.lower.like(x), self.upper.like(x)
        above, below = lax.is_finite(lower), lax.is_finite(upper)
        return (
            pick(above, lower, pick(below, upper - 1, 0)),
            pick(below, upper, pick(above, lower + 1, 1)),
            above,
            below,
        )

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        lower, upper, above, below = self._bounds(x)
        inside, inside_log_det = _between(x, lower, upper)
        both, unbounded = above & below, ~above & ~below
        # The exponential must not overflow where it is not used: its slope would be NaN.
        step = lax.exp(pick(both | unbounded, 0, x))
        half = pick(above, lower + step, upper - step)
        value = pick(both, inside, pick(unbounded, x, half))
        log_det = pick(unbounded, 0, x)
        return value, pick(both, inside_log_det, log_det)

    def _inverse(self, y: Array) -> Array:
        lower, upper, above, below = self._bounds(y)
        both, unbounded = above & below, ~above & ~below
        inside = _between_inverse(jnp.where(both, y, 0.5 * (lower + upper)), lower, upper)
        step = jnp.where(above, y - lower, upper - y)
        half = jnp.log(jnp.where(both | unbounded, 1, step))
        return jnp.where(both, inside, jnp.where(unbounded, y, half))


def interval(
    lower: Float[ArrayLike, "..."],
    upper: Float[ArrayLike, "..."],
    *,
    via: Literal["logistic", "normal_cdf"] = "logistic",
) -> tfb.Bijector:
    """Numbers between two bounds, x = lower + (upper − lower)·σ(y).

    σ is the logistic function; the log-det is log(upper − lower) − |y| −
    2 log(1 + exp(−|y|)). Where a bound is infinite, that element falls back to
    `greater_than`, `less_than` or `real`. Each end is approached to the last digit of
    the bound: in (0, 1) and float32 the value is 1 from y = 17.4, in float64 from 36.8.

    Args:
        lower: the lower bound, a number or an array that broadcasts against the leaf,
            −inf allowed. It may change without retracing, and may be traced.
        upper: the upper bound, likewise; inf allowed.
        via: `"normal_cdf"` for x = lower + (upper − lower)·Φ(y), of the standard normal
            distribution function, with the log-det log(upper − lower) − y²/2 −
            ½ log 2π; a uniform density is normal in y. Both bounds must be finite. In
            (0, 1) and float32 the value is 1 from y = 5.5, in float64 from 8.3.

    Returns:
        A bijector of each element by itself. Source: Stan, "Lower and upper bounded
        scalar".

    Raises:
        ValueError: `via` is neither, a bound is NaN (with `"normal_cdf"`: or infinite),
            the shapes do not broadcast, or `upper` does not
            exceed `lower` somewhere. Traced bounds are not checked.

    Example:
        >>> import bijectree as bt
        >>> print(bt.interval(-1.0, 3.0).forward(0.0))
        1.0
    """
    _one_of(via, "via", ("logistic", "normal_cdf"))
    low, high = _real_number(lower, "lower"), _real_number(upper, "upper")
    for name, bound, forbidden in (("lower", low, math.inf), ("upper", high, -math.inf)):
        value = _concrete(bound)
        if value is not None and np.any(np.isnan(value[0]) | (value[0] == forbidden)):
            shown = value[0]
            raise ValueError(f"{name} must not be NaN or {forbidden}, got {shown}")
    require_above(low, high)
    if via == "normal_cdf":
        for name, bound in (("lower", low), ("upper", high)):
            finite_number(bound, name, 'via="normal_cdf" takes no infinite bound')
        return IntervalByNormalCDF(low, high)
    return Interval(low, high)


def unit_interval() -> tfb.Bijector:
    """Numbers between 0 and 1, x = σ(y): `interval(0, 1)`.

    The log-det is −|y| − 2 log(1 + exp(−|y|)).

    Returns:
        A bijector of each element by itself. Source: Stan, "Lower and upper bounded
        scalar".

    Example:
        >>> import bijectree as bt
        >>> print(bt.unit_interval().forward(0.0))
        0.5
    """
    return interval(0.0, 1.0)
