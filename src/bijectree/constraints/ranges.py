"""The open interval that a map of single elements has as its range."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array

from ..substrate import Number, describe_number, tfb
from .affine import Affine
from .half_line import GreaterThan, LessThan, Positive
from .interval import Interval


@dataclasses.dataclass(frozen=True)
class Range:
    """The open interval of each element; the bounds may be arrays or traced."""

    lower: Any
    upper: Any

    @property
    def everything(self) -> bool:
        """Whether it is known to be the whole line."""
        return self.is_from(-math.inf) and self.is_to(math.inf)

    def is_from(self, bound: float) -> bool:
        """Whether all elements are known to start at a bound."""
        return not _traced(self.lower) and bool(np.all(self.lower == bound))

    def is_to(self, bound: float) -> bool:
        """Whether all elements are known to end at a bound."""
        return not _traced(self.upper) and bool(np.all(self.upper == bound))

    @property
    def positive(self) -> bool:
        """Whether it is known to be that of the positive numbers."""
        return self.is_from(0) and self.is_to(math.inf)

    def within(self, lower: float, upper: float) -> bool:
        """Whether it is known to lie between two numbers."""
        known = not _traced(self.lower, self.upper)
        return known and bool(np.all(self.lower >= lower) & np.all(self.upper <= upper))

    def same_as(self, other: "Range") -> bool:
        """Whether another interval is known to have the same bounds."""
        pairs = ((self.lower, other.lower), (self.upper, other.upper))
        return all(
            a is b or (not _traced(a, b) and np.array_equal(a, b)) for a, b in pairs
        )

    @property
    def description(self) -> str:
        """The interval in words."""
        lower, upper = describe_number(self.lower), describe_number(self.upper)
        if self.everything:
            return "all real numbers"
        if self.positive:
            return "positive numbers"
        if self.is_to(math.inf):
            return f"numbers greater than {lower}"
        if self.is_from(-math.inf):
            return f"numbers less than {upper}"
        return f"numbers between {lower} and {upper}"

    def contains(self, x: Array) -> Array:
        """Whether each number is strictly inside, in its own dtype."""
        lower, upper = (jnp.asarray(b).astype(x.dtype) for b in (self.lower, self.upper))
        return jnp.isfinite(x) & (x > lower) & (x < upper)


def _traced(*numbers: Any) -> bool:
    return any(isinstance(n, Tracer) for n in numbers)


def _value(number: Any, otherwise: float = 0.0) -> Any:
    """A bijector's number as a float64 array, or as it is while traced."""
    number = number.value if isinstance(number, Number) else number
    if number is None:
        return otherwise
    return number if _traced(number) else np.asarray(number).astype(np.float64)


def _monotone(function: Callable, *, decreasing: bool = False) -> Callable:
    """A map of ranges from a map of numbers `(bijector, array module, x) -> y`."""

    def image(bijector: Any, base: Range) -> Range:
        traced = _traced(base.lower, base.upper, *jax.tree.leaves(bijector))
        ends = [
            function(bijector, jnp if traced else np, e) for e in (base.lower, base.upper)
        ]
        return Range(*(reversed(ends) if decreasing else ends))

    return image


def _scaled(scale: Any, base: Range) -> Range:
    xp = jnp if _traced(scale, base.lower, base.upper) else np
    a, b = scale * base.lower, scale * base.upper
    return Range(xp.minimum(a, b), xp.maximum(a, b))


def _scale_of(bijector: Any) -> Any:
    if bijector.log_scale is not None:
        log = _value(bijector.log_scale)
        return jnp.exp(log) if _traced(log) else np.exp(log)
    return _value(bijector.scale)


def _scale(bijector: Any, base: Range) -> Range:
    return _scaled(_scale_of(bijector), base)


def _affine(bijector: Any, base: Range) -> Range:
    stretched = _scaled(_value(bijector.scale), base)
    loc = _value(bijector.loc)
    return Range(stretched.lower + loc, stretched.upper + loc)


def _half_line(bijector: Any, xp: Any, x: Any) -> Any:
    return xp.exp(x) if bijector.via == "exp" else xp.logaddexp(x, 0.0)


def _sigmoid(x: Any, xp: Any, lower: Any, upper: Any) -> Any:
    return lower + (upper - lower) / (1 + xp.exp(-x))


def _softplus(bijector: Any, xp: Any, x: Any) -> Any:
    softness = _value(bijector.hinge_softness, 1.0)
    return _value(bijector.low) + softness * xp.logaddexp(x / softness, 0.0)


def _interval(bijector: Any, base: Range) -> Range | None:
    if not base.everything:
        return None
    return Range(_value(bijector.lower), _value(bijector.upper))


def _onto(lower: float, upper: float) -> Callable:
    """A map that covers (lower, upper) from all it takes."""
    return lambda bijector, base: Range(lower, upper) if base.everything else None


def _power(bijector: Any, base: Range) -> Range | None:
    """x^p: of all numbers for odd p > 0, else TFP defines it for positive x."""
    power = _value(bijector.power)
    if _traced(base.lower, base.upper, power):
        return None
    odd = np.mod(power, 2) == 1
    if np.any(odd & (power < 0) & (base.lower < 0) & (base.upper > 0)):
        return None  # two half-lines
    lower = np.where(odd, base.lower, 0.0) if base.everything else base.lower
    if np.any(~odd & (lower < 0)):
        return None
    if np.all(power == 0):
        return Range(np.exp(base.lower), np.exp(base.upper))
    a, b = np.power(lower, power), np.power(base.upper, power)
    return Range(np.minimum(a, b), np.maximum(a, b))


def _root(bijector: Any, base: Range) -> Range | None:
    """x^(1/p), as `_power` of all numbers or of positive ones."""
    power = _value(bijector.power)
    if not base.everything or _traced(power):
        return None
    if np.any((np.mod(power, 2) == 1) & (power < 0)):
        return None
    return Range(np.where(np.mod(power, 2) == 1, -math.inf, 0.0), math.inf)


def _square(bijector: Any, base: Range) -> Range | None:
    lower = 0.0 if base.everything else base.lower
    if _traced(lower, base.upper) or np.any(lower < 0):
        return None
    return Range(np.square(lower), np.square(base.upper))


def _reciprocal(bijector: Any, base: Range) -> Range | None:
    if _traced(base.lower, base.upper) or np.any((base.lower < 0) & (base.upper > 0)):
        return None
    # 1/−0.0 is −inf, the end of a negative range
    upper = np.where(base.upper == 0, -0.0, base.upper)
    return Range(np.divide(1.0, upper), np.divide(1.0, base.lower))


_EXP = _monotone(lambda b, xp, x: xp.exp(x))


_LOG = _monotone(lambda b, xp, x: xp.log(x))


_EXPM1 = _monotone(lambda b, xp, x: xp.expm1(x))


_LOG1P = _monotone(lambda b, xp, x: xp.log1p(x))


ELEMENTWISE: dict[type, Callable[[Any, Range], Range | None]] = {
    tfb.Identity: lambda b, base: base,
    tfb.Exp: _EXP,
    tfb.Log: lambda b, base: base if base.everything else _LOG(b, base),
    tfb.Expm1: _EXPM1,
    tfb.Log1p: lambda b, base: base if base.everything else _LOG1P(b, base),
    tfb.Shift: _monotone(lambda b, xp, x: x + _value(b.shift)),
    tfb.Scale: _scale,
    tfb.Softplus: _monotone(_softplus),
    tfb.Sigmoid: _monotone(
        lambda b, xp, x: _sigmoid(x, xp, _value(b.low), _value(b.high, 1.0))
    ),
    tfb.Tanh: _monotone(lambda b, xp, x: xp.tanh(x)),
    tfb.Sinh: _monotone(lambda b, xp, x: xp.sinh(x)),
    tfb.Square: _square,
    tfb.Power: _power,
    tfb.Reciprocal: _reciprocal,
    tfb.PowerTransform: _onto(0.0, math.inf),
    tfb.Softsign: _onto(-1.0, 1.0),
    tfb.SinhArcsinh: _onto(-math.inf, math.inf),
    tfb.LambertWTail: _onto(-math.inf, math.inf),
    tfb.RationalQuadraticSpline: _onto(-math.inf, math.inf),
    tfb.NormalCDF: _onto(0.0, 1.0),
    tfb.FrechetCDF: _onto(0.0, 1.0),
    tfb.GompertzCDF: _onto(0.0, 1.0),
    tfb.GumbelCDF: _onto(0.0, 1.0),
    tfb.KumaraswamyCDF: _onto(0.0, 1.0),
    tfb.MoyalCDF: _onto(0.0, 1.0),
    tfb.RayleighCDF: _onto(0.0, 1.0),
    tfb.ShiftedGompertzCDF: _onto(0.0, 1.0),
    tfb.WeibullCDF: _onto(0.0, 1.0),
    Positive: _monotone(_half_line),
    GreaterThan: _monotone(lambda b, xp, x: _value(b.lower) + _half_line(b, xp, x)),
    LessThan: _monotone(
        lambda b, xp, x: _value(b.upper) - _half_line(b, xp, x), decreasing=True
    ),
    Interval: _interval,
    Affine: _affine,
}


# Of `Invert(...)`: the image under the inverse map.
INVERTED: dict[type, Callable[[Any, Range], Range | None]] = {
    tfb.Identity: lambda b, base: base,
    tfb.Exp: lambda b, base: base if base.everything else _LOG(b, base),
    tfb.Log: _EXP,
    tfb.Expm1: lambda b, base: base if base.everything else _LOG1P(b, base),
    tfb.Log1p: _EXPM1,
    tfb.Shift: _monotone(lambda b, xp, x: x - _value(b.shift)),
    tfb.Scale: lambda b, base: _scaled(1 / _scale_of(b), base),
    tfb.Square: _onto(0.0, math.inf),
    tfb.Power: _root,
    tfb.FrechetCDF: lambda b, base: (
        Range(_value(b.loc), math.inf) if base.everything else None
    ),
    tfb.GompertzCDF: _onto(0.0, math.inf),
    tfb.KumaraswamyCDF: _onto(0.0, 1.0),
    tfb.RayleighCDF: _onto(0.0, math.inf),
    tfb.ShiftedGompertzCDF: _onto(0.0, math.inf),
    tfb.WeibullCDF: _onto(0.0, math.inf),
    **{
        cls: _onto(-math.inf, math.inf)
        for cls in (
            *(tfb.Softplus, tfb.Sigmoid, tfb.Tanh, tfb.Sinh, tfb.Softsign),
            *(tfb.SinhArcsinh, tfb.NormalCDF, tfb.GumbelCDF, tfb.MoyalCDF),
            *(Positive, GreaterThan, LessThan),
            *(Interval, Affine),
        )
    },
}
