"""The numbers for which TFP's classes are not one to one, or have no log-det.

A class of the table of facts keeps its promises for numbers that its formula allows: a
scale of 0 maps everything to one value, and a negative softness turns a half-line over.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from ..substrate import class_in_recipes, tfb
from .facts import register_limit


def _must_be(test: Callable[[np.ndarray], Any], words: str) -> Callable[[Any], str]:
    def why(value: Any) -> str:
        return "" if np.all(test(value)) else words

    return why


_NOT_ZERO = _must_be(lambda x: np.isfinite(x) & (x != 0), "finite and not 0")
_POSITIVE = _must_be(lambda x: np.isfinite(x) & (x > 0), "finite and positive")
_NOT_NEGATIVE = _must_be(lambda x: np.isfinite(x) & (x >= 0), "finite and not negative")
_FINITE = _must_be(np.isfinite, "finite")
_DIAGONAL = _must_be(
    lambda x: np.diagonal(x, axis1=-2, axis2=-1) != 0, "without a 0 on its diagonal"
)
_DIRECTION = _must_be(lambda x: np.any(x != 0, axis=-1), "a vector other than 0")


def _numbers(**expected: Callable[[Any], str]) -> Callable[[Any], str]:
    """A test of a bijector's numbers, by attribute, where they are given."""

    def why(bijector: Any) -> str:
        for name, test in expected.items():
            value = _value(bijector, name)
            words = "" if value is None else test(value)
            if words:
                return f"{name} must be {words}, got {_text(value)}"
        return ""

    return why


def _value(bijector: Any, name: str) -> np.ndarray | None:
    """A number of a bijector; `None` where there is none, or it has no value here."""
    value = getattr(bijector, name, None)
    if value is None:  # some keep what they were given, and no attribute of it
        value = getattr(bijector, "parameters", {}).get(name)
    if value is None or isinstance(value, (Tracer, jax.ShapeDtypeStruct)):
        return None
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError):
        return None


def _text(value: Any) -> str:
    return " ".join(np.array2string(value, precision=4, threshold=6).split())


def _in_order(bijector: Any) -> str:
    low, high = _value(bijector, "low"), _value(bijector, "high")
    low, high = (d if x is None else x for x, d in ((low, 0.0), (high, 1.0)))
    both = getattr(bijector, "low", None), getattr(bijector, "high", None)
    if any(isinstance(x, Tracer) for x in both) or np.all(low < high):
        return ""
    return f"low must be less than high, got {_text(low)} and {_text(high)}"


def _clip(bijector: Any) -> str:
    either = _numbers(hinge_softness=_POSITIVE)(bijector)
    if either or _value(bijector, "low") is None or _value(bijector, "high") is None:
        return either
    return _in_order(bijector)


def _bins(bijector: Any) -> str:
    """The bins of a spline fill one interval on both sides, and no slope is 0."""
    names = ("bin_widths", "bin_heights", "knot_slopes")
    why = _numbers(**dict.fromkeys(names, _POSITIVE))(bijector)
    widths, heights = (_value(bijector, name) for name in names[:2])
    if why or widths is None or heights is None:
        return why
    wide, high = widths.sum(axis=-1), heights.sum(axis=-1)
    if np.allclose(wide, high, rtol=1e-4):
        return ""
    return f"bin_widths and bin_heights must sum to the same, got {wide} and {high}"


_WRONG_FOR: Mapping[type, Callable[[Any], str]] = {
    tfb.Scale: _numbers(scale=_NOT_ZERO, log_scale=_FINITE),
    tfb.Shift: _numbers(shift=_FINITE),
    tfb.ScaleMatvecDiag: lambda b: _numbers(diag=_NOT_ZERO)(b.scale),
    tfb.ScaleMatvecTriL: lambda b: _numbers(tril=_DIAGONAL)(b.scale),
    tfb.ScaleMatvecLU: _numbers(lower_upper=_DIAGONAL),
    tfb.Householder: _numbers(reflection_axis=_DIRECTION),
    tfb.Softplus: _numbers(hinge_softness=_POSITIVE, low=_FINITE),
    tfb.Sigmoid: _in_order,
    tfb.SoftClip: _clip,
    tfb.Power: _numbers(power=_NOT_ZERO),
    tfb.SinhArcsinh: _numbers(skewness=_FINITE, tailweight=_POSITIVE),
    tfb.RationalQuadraticSpline: _bins,
    tfb.GumbelCDF: _numbers(loc=_FINITE, scale=_POSITIVE),
    tfb.MoyalCDF: _numbers(loc=_FINITE, scale=_POSITIVE),
    tfb.FrechetCDF: _numbers(loc=_FINITE, scale=_POSITIVE, concentration=_POSITIVE),
    tfb.GompertzCDF: _numbers(concentration=_POSITIVE, rate=_POSITIVE),
    tfb.KumaraswamyCDF: _numbers(concentration1=_POSITIVE, concentration0=_POSITIVE),
    tfb.RayleighCDF: _numbers(scale=_POSITIVE),
    tfb.ShiftedGompertzCDF: _numbers(concentration=_POSITIVE, rate=_POSITIVE),
    tfb.WeibullCDF: _numbers(scale=_POSITIVE, concentration=_POSITIVE),
    tfb.GeneralizedExtremeValueCDF: _numbers(loc=_FINITE, scale=_POSITIVE),
}

for _cls, _why in _WRONG_FOR.items():
    register_limit(_cls, _why)
    register_limit(class_in_recipes(_cls), _why)

# The class that `tfb.LambertWTail` puts between shifts and scales.
TAIL_OF_LAMBERT_W: Any = getattr(
    sys.modules[tfb.LambertWTail.__module__], "_HeavyTailOnly", None
)
if TAIL_OF_LAMBERT_W is not None:
    register_limit(TAIL_OF_LAMBERT_W, _numbers(tailweight=_NOT_NEGATIVE))
