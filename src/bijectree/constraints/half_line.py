"""Numbers on one side of a bound."""

import math
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from ..numerics import softplus, softplus_inverse
from ..substrate import Number, tfb
from .arguments import Via, _one_of, finite_number, positive_number
from .elementwise import Elementwise
from .facts import MapOfNumbers, known
from .ranges import POSITIVE, Range, number_of


def _half_line(x: Array, via: str) -> tuple[Array, Array]:
    return (jnp.exp(x), x) if via == "exp" else softplus(x)


def _half_line_inverse(y: Array, via: str) -> Array:
    return jnp.log(y) if via == "exp" else softplus_inverse(y)


def _end(bijector: Any, xp: Any, x: Any) -> Any:
    return xp.exp(x) if bijector.via == "exp" else xp.logaddexp(x, 0.0)


def _end_inverse(bijector: Any, xp: Any, y: Any) -> Any:
    return xp.log(y) if bijector.via == "exp" else y + xp.log(-xp.expm1(-y))


@known(MapOfNumbers(lambda b: POSITIVE, end=_end, inverse_end=_end_inverse))
class Positive(Elementwise):
    """exp(x), or log(1 + exp(x)) with `via="softplus"`."""

    def __init__(self, via: str = "exp", name: str = "positive"):
        parameters = dict(locals())
        self.via = via
        super().__init__(parameters)

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        return _half_line(x, self.via)

    def _inverse(self, y: Array) -> Array:
        return _half_line_inverse(y, self.via)


@known(
    MapOfNumbers(
        lambda b: POSITIVE,
        end=lambda b, xp, x: number_of(b.scale) * _end(b, xp, x),
        inverse_end=lambda b, xp, y: _end_inverse(b, xp, y / number_of(b.scale)),
    )
)
class ScaledSoftplus(Elementwise):
    """scale·log(1 + exp(x))."""

    def __init__(self, scale: Number, via: str = "softplus", name: str = "positive"):
        parameters = dict(locals())
        self.scale = scale
        self.via = via
        super().__init__(parameters)

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        scale = self.scale.like(x)
        value, log_det = softplus(x)
        return scale * value, jnp.log(scale) + log_det

    def _inverse(self, y: Array) -> Array:
        return softplus_inverse(y / self.scale.like(y))


@known(
    MapOfNumbers(
        lambda b: Range(number_of(b.lower), math.inf),
        end=lambda b, xp, x: number_of(b.lower) + _end(b, xp, x),
        inverse_end=lambda b, xp, y: _end_inverse(b, xp, y - number_of(b.lower)),
    )
)
class GreaterThan(Elementwise):
    """lower + exp(x), or with softplus."""

    def __init__(self, lower: Number, via: str = "exp", name: str = "greater_than"):
        parameters = dict(locals())
        self.lower = lower
        self.via = via
        super().__init__(parameters)

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        value, log_det = _half_line(x, self.via)
        return self.lower.like(x) + value, log_det

    def _inverse(self, y: Array) -> Array:
        return _half_line_inverse(y - self.lower.like(y), self.via)


@known(
    MapOfNumbers(
        lambda b: Range(-math.inf, number_of(b.upper)),
        end=lambda b, xp, x: number_of(b.upper) - _end(b, xp, x),
        inverse_end=lambda b, xp, y: _end_inverse(b, xp, number_of(b.upper) - y),
    )
)
class LessThan(Elementwise):
    """upper − exp(x), or with softplus."""

    def __init__(self, upper: Number, via: str = "exp", name: str = "less_than"):
        parameters = dict(locals())
        self.upper = upper
        self.via = via
        super().__init__(parameters)

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        value, log_det = _half_line(x, self.via)
        return self.upper.like(x) - value, log_det

    def _inverse(self, y: Array) -> Array:
        return _half_line_inverse(self.upper.like(y) - y, self.via)

    @classmethod
    def _is_increasing(cls) -> bool:
        return False


def positive(
    *, via: Via = "exp", scale: Float[ArrayLike, "..."] | None = None
) -> tfb.Bijector:
    """Positive numbers, x = exp(y).

    The log-det is y. In float32 the value underflows to 0 below y = −87.3 and
    overflows to inf above 88.7, in float64 below −708.4 and above 709.8 (XLA flushes
    subnormals); log-det and inverse know no such limit.

    Args:
        via: `"softplus"` for x = log(1 + exp(y)), which grows linearly, with the
            log-det −log(1 + exp(−y)).
        scale: with `"softplus"`, x = scale·log(1 + exp(y)), so that the map bends from
            an exponential to a line at about `scale`: a positive number, or an array that
            broadcasts against the leaf. It may change without retracing.

    Returns:
        A bijector of each element by itself. Source: Stan, "Lower bounded scalar".

    Raises:
        ValueError: `via` is unknown, `scale` is not positive or not finite, or is given
            with `"exp"`, where it would only move y.

    Example:
        >>> import bijectree as bt
        >>> print(bt.positive().forward(0.0))
        1.0
    """
    _one_of(via, "via", ("exp", "softplus"))
    if scale is None:
        return Positive(via)
    if via == "exp":
        raise ValueError('scale is for via="softplus": with "exp" it would only move y')
    number = positive_number(scale, "scale")
    return ScaledSoftplus(number)


def greater_than(lower: Float[ArrayLike, "..."], *, via: Via = "exp") -> tfb.Bijector:
    """Numbers above a bound, x = lower + exp(y).

    The log-det is y. The value is exactly `lower` once exp(y) is below its rounding.

    Args:
        lower: the bound, finite; a number or an array that broadcasts against the
            leaf. It may change without retracing, and may be traced.
        via: `"softplus"` for x = lower + log(1 + exp(y)).

    Returns:
        A bijector of each element by itself. Source: Stan, "Lower bounded scalar".

    Raises:
        ValueError: `lower` is not finite, or `via` is unknown.

    Example:
        >>> import bijectree as bt
        >>> print(bt.greater_than(2.0).forward(0.0))
        3.0
    """
    _one_of(via, "via", ("exp", "softplus"))
    mend = "interval(lower, upper) takes infinite bounds"
    return GreaterThan(finite_number(lower, "lower", mend), via)


def less_than(upper: Float[ArrayLike, "..."], *, via: Via = "exp") -> tfb.Bijector:
    """Numbers below a bound, x = upper − exp(y).

    The log-det is y. The map decreases in y, as Stan's does.

    Args:
        upper: the bound, finite; a number or an array that broadcasts against the
            leaf. It may change without retracing, and may be traced.
        via: `"softplus"` for x = upper − log(1 + exp(y)).

    Returns:
        A bijector of each element by itself. Source: Stan, "Upper bounded scalar".

    Raises:
        ValueError: `upper` is not finite, or `via` is unknown.

    Example:
        >>> import bijectree as bt
        >>> print(bt.less_than(2.0).forward(0.0))
        1.0
    """
    _one_of(via, "via", ("exp", "softplus"))
    mend = "interval(lower, upper) takes infinite bounds"
    return LessThan(finite_number(upper, "upper", mend), via)
