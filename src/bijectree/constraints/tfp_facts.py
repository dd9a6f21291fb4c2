"""What is known of TFP's classes, in one table.

What this table says was measured by `benchmarks/sweep_bijectors.py`. TFP's methods are
documented by class; where a class is said to be one to one follows from its formula.
"""

import math
from typing import Any

import numpy as np

from ..substrate import class_in_recipes, tfb
from . import sets
from .facts import (
    Answer,
    Image,
    MapOfArrays,
    MapOfNumbers,
    MapOfSets,
    MapOntoSet,
    register_fact,
)
from .ranges import POSITIVE, REALS, UNIT, Range, number_of
from .sets import SetTag, Support
from .support import knowledge_of
from .tfp_numbers import TAIL_OF_LAMBERT_W

# Maps of single elements.


def _reals(bijector: Any) -> Range:
    return REALS


def _positive(bijector: Any) -> Range:
    return POSITIVE


def _negative(bijector: Any) -> Range:
    return Range(-math.inf, 0.0)


def _unit(bijector: Any) -> Range:
    return UNIT


def _above(attribute: str, otherwise: float = 0.0) -> Any:
    return lambda b: Range(number_of(getattr(b, attribute), otherwise), math.inf)


def _exp(bijector: Any, xp: Any, x: Any) -> Any:
    return xp.exp(x)


def _log(bijector: Any, xp: Any, x: Any) -> Any:
    return xp.log(x)


def _expm1(bijector: Any, xp: Any, x: Any) -> Any:
    return xp.expm1(x)


def _log1p(bijector: Any, xp: Any, x: Any) -> Any:
    return xp.log1p(x)


def _scale_of(bijector: Any, xp: Any) -> Any:
    if bijector.log_scale is not None:
        return xp.exp(number_of(bijector.log_scale))
    return number_of(bijector.scale)


def _softplus(bijector: Any, xp: Any, x: Any) -> Any:
    softness = number_of(bijector.hinge_softness, 1.0)
    return number_of(bijector.low) + softness * xp.logaddexp(x / softness, 0.0)


def _softplus_inverse(bijector: Any, xp: Any, y: Any) -> Any:
    softness = number_of(bijector.hinge_softness, 1.0)
    y = (y - number_of(bijector.low)) / softness
    return softness * (y + xp.log(-xp.expm1(-y)))


def _sinh_arcsinh(bijector: Any, xp: Any, x: Any) -> Any:
    skewness, weight = number_of(bijector.skewness), number_of(bijector.tailweight)
    # TFP scales so that 2 is mapped to 2 where there is no skewness.
    scale = 2 / xp.sinh(math.asinh(2) * weight)
    return scale * xp.sinh((xp.arcsinh(x) + skewness) * weight)


def _sinh_arcsinh_inverse(bijector: Any, xp: Any, y: Any) -> Any:
    skewness, weight = number_of(bijector.skewness), number_of(bijector.tailweight)
    scale = 2 / xp.sinh(math.asinh(2) * weight)
    return xp.sinh(xp.arcsinh(y / scale) / weight - skewness)


def _softsign(bijector: Any, xp: Any, x: Any) -> Any:
    return xp.where(xp.isinf(x), xp.sign(x), x / (1 + xp.abs(x)))


def _bounds(bijector: Any) -> tuple[Any, Any]:
    return number_of(bijector.low), number_of(bijector.high, 1.0)


def _sigmoid(bijector: Any, xp: Any, x: Any) -> Any:
    low, high = _bounds(bijector)
    return low + (high - low) / (1 + xp.exp(-x))


def _logit(bijector: Any, xp: Any, y: Any) -> Any:
    low, high = _bounds(bijector)
    return xp.log(y - low) - xp.log(high - y)


def _domain_of_power(bijector: Any) -> Range:
    """All numbers for an odd power, else the positive ones."""
    power = number_of(bijector.power)
    odd = (power % 2 == 1) & (power > 0)
    return Range(_where(power, odd, -math.inf, 0.0), math.inf)


def _where(like: Any, test: Any, a: float, b: float) -> Any:
    """`where` of bounds; NaN, which nothing is known to lie within, of a traced test."""
    return np.where(test, a, b) if isinstance(like, np.ndarray) else math.nan


def _root(bijector: Any, xp: Any, y: Any) -> Any:
    return xp.sign(y) * xp.abs(y) ** (1 / number_of(bijector.power))


def _domain_of_power_transform(bijector: Any) -> Range:
    """The interval in which 1 + c x is positive."""
    power = float(bijector.power)
    end = -1 / power if power else 0.0
    return Range(end if power > 0 else -math.inf, end if power < 0 else math.inf)


def _domain_of_extreme_value(bijector: Any) -> Range:
    """The interval in which 1 + c (x − loc) / scale is positive."""
    c = number_of(bijector.concentration)
    if not isinstance(c, np.ndarray):
        return Range(math.nan, math.nan)
    with np.errstate(all="ignore"):
        end = number_of(bijector.loc) - number_of(bijector.scale) / c
    return Range(np.where(c > 0, end, -math.inf), np.where(c < 0, end, math.inf))


_MAPS_OF_NUMBERS = {
    tfb.Exp: MapOfNumbers(_positive, end=_exp, inverse_end=_log),
    tfb.Log: MapOfNumbers(_reals, _positive, _log, _exp),
    tfb.Expm1: MapOfNumbers(
        lambda b: Range(-1.0, math.inf), end=_expm1, inverse_end=_log1p
    ),
    tfb.Log1p: MapOfNumbers(_reals, lambda b: Range(-1.0, math.inf), _log1p, _expm1),
    tfb.Shift: MapOfNumbers(
        _reals,
        end=lambda b, xp, x: x + number_of(b.shift),
        inverse_end=lambda b, xp, y: y - number_of(b.shift),
    ),
    tfb.Scale: MapOfNumbers(
        _reals,
        end=lambda b, xp, x: x * _scale_of(b, xp),
        inverse_end=lambda b, xp, y: y / _scale_of(b, xp),
    ),
    tfb.Softplus: MapOfNumbers(
        _above("low"), end=_softplus, inverse_end=_softplus_inverse
    ),
    tfb.Sigmoid: MapOfNumbers(
        lambda b: Range(*_bounds(b)), end=_sigmoid, inverse_end=_logit
    ),
    tfb.Tanh: MapOfNumbers(
        lambda b: Range(-1.0, 1.0),
        end=lambda b, xp, x: xp.tanh(x),
        inverse_end=lambda b, xp, y: xp.arctanh(y),
    ),
    tfb.Sinh: MapOfNumbers(
        _reals,
        end=lambda b, xp, x: xp.sinh(x),
        inverse_end=lambda b, xp, y: xp.arcsinh(y),
    ),
    tfb.Square: MapOfNumbers(
        _positive, _positive, lambda b, xp, x: x * x, lambda b, xp, y: xp.sqrt(y)
    ),
    tfb.Power: MapOfNumbers(
        _domain_of_power,
        _domain_of_power,
        lambda b, xp, x: xp.power(x, number_of(b.power)),
        _root,
    ),
    tfb.PowerTransform: MapOfNumbers(_positive, _domain_of_power_transform),
    tfb.SoftClip: MapOfNumbers(
        lambda b: Range(number_of(b.low, -math.inf), number_of(b.high, math.inf))
    ),
    tfb.Softsign: MapOfNumbers(
        lambda b: Range(-1.0, 1.0),
        end=_softsign,
        inverse_end=lambda b, xp, y: y / (1 - xp.abs(y)),
    ),
    tfb.SinhArcsinh: MapOfNumbers(
        _reals, end=_sinh_arcsinh, inverse_end=_sinh_arcsinh_inverse
    ),
    tfb.RationalQuadraticSpline: MapOfNumbers(_reals),
    tfb.NormalCDF: MapOfNumbers(_unit),
    tfb.GumbelCDF: MapOfNumbers(_unit),
    tfb.MoyalCDF: MapOfNumbers(_unit),
    tfb.FrechetCDF: MapOfNumbers(_unit, _above("loc")),
    tfb.GompertzCDF: MapOfNumbers(_unit, _positive),
    tfb.KumaraswamyCDF: MapOfNumbers(_unit, _unit),
    tfb.RayleighCDF: MapOfNumbers(_unit, _positive),
    tfb.ShiftedGompertzCDF: MapOfNumbers(_unit, _positive),
    tfb.WeibullCDF: MapOfNumbers(_unit, _positive),
    tfb.GeneralizedExtremeValueCDF: MapOfNumbers(_unit, _domain_of_extreme_value),
}


def _identity(bijector: Any, base: Support) -> Answer:
    return Image(base)


def _reciprocal(bijector: Any, base: Support) -> Answer:
    if base.everything or base.tag is SetTag.NOT_ZERO:
        return Image(sets.NOT_ZERO)
    for fact in (_RECIPROCAL_OF_POSITIVE, _RECIPROCAL_OF_NEGATIVE):
        if base.entries.within(fact.onto(bijector)):
            return fact.forward(bijector, base)
    return None


_RECIPROCAL_OF_POSITIVE = MapOfNumbers(_positive, _positive, lambda b, xp, x: 1 / x)
# 1/−0.0 is −inf, the end of a negative range.
_RECIPROCAL_OF_NEGATIVE = MapOfNumbers(
    _negative, _negative, lambda b, xp, x: -1 / xp.abs(x)
)


# Maps of vectors and matrices.


def _outer_product(bijector: Any, base: Support) -> Answer:
    """L Lᵀ. TFP's log-det counts every entry of the triangle."""
    if base.tag is SetTag.CORR_CHOLESKY:
        return Image(sets.CORR_MATRIX, minimal=False)
    # A tall factor, or one whose diagonal may be negative, is not the only one with its
    # product.
    square = base.tag is SetTag.TRIANGULAR and base.details == (None,)
    if square and base.of is not None and base.of.entries.within(POSITIVE):
        return Image(sets.outer_products(base))
    return None


def _cholesky(bijector: Any, base: Support) -> Answer:
    if base.tag is SetTag.CORR_MATRIX:
        return Image(sets.CORR_CHOLESKY, minimal=False)
    if base.tag is SetTag.POSITIVE_DEFINITE:
        factors = sets.triangular(sets.numbers(POSITIVE))
        return Image(factors if base.of is None else base.of)
    return None


def _diagonal(bijector: Any, base: Support) -> Answer:
    if base.tag is not SetTag.TRIANGULAR or base.of is None:
        return None
    found = knowledge_of(bijector.diag_bijector, base.of)
    if found.fault:
        return found.fault
    if not found.proven or found.image is None or found.image.event_ndims:
        return None
    return Image(sets.triangular(found.image, *base.details))


_ALL_TRIANGULAR = sets.triangular(sets.numbers(REALS))


def _fill(bijector: Any, base: Support) -> Answer:
    if bijector._upper:
        return None
    return MapOntoSet(lambda b: _ALL_TRIANGULAR).forward(bijector, base)


def _pick(bijector: Any, base: Support) -> Answer:
    if bijector._upper:
        return None
    return MapOntoSet(lambda b: _ALL_TRIANGULAR).inverse(bijector, base)


def _unknown(bijector: Any, base: Support) -> Answer:
    return None


_MAPS_OF_ARRAYS = {
    tfb.Identity: MapOfSets(_identity, _identity),
    tfb.Reciprocal: MapOfSets(_reciprocal, _reciprocal),
    **dict.fromkeys(
        (
            *(tfb.Permute, tfb.Cumsum, tfb.Transpose, tfb.Reshape, tfb.Householder),
            *(tfb.ScaleMatvecDiag, tfb.ScaleMatvecTriL, tfb.ScaleMatvecLU),
        ),
        MapOfArrays(),
    ),
    tfb.Ascending: MapOntoSet(lambda b: sets.increasing()),
    tfb.IteratedSigmoidCentered: MapOntoSet(lambda b: sets.simplex_along(-1)),
    # The log-dets of these two are in the measure of the space around the set.
    tfb.SoftmaxCentered: MapOntoSet(lambda b: sets.simplex_along(-1), minimal=False),
    tfb.UnitVector: MapOntoSet(lambda b: sets.UNIT_VECTORS, minimal=False),
    tfb.CorrelationCholesky: MapOntoSet(lambda b: sets.CORR_CHOLESKY),
    tfb.CholeskyOuterProduct: MapOfSets(_outer_product, _cholesky),
    tfb.TransformDiagonal: MapOfSets(_diagonal, _unknown),
    tfb.FillTriangular: MapOfSets(_fill, _pick),
}


for _cls, _fact in (*_MAPS_OF_NUMBERS.items(), *_MAPS_OF_ARRAYS.items()):
    register_fact(_cls, _fact)
    register_fact(class_in_recipes(_cls), _fact)
if TAIL_OF_LAMBERT_W is not None:
    register_fact(TAIL_OF_LAMBERT_W, MapOfNumbers(_reals))
