"""Scalar maps in 60 digits, and how far a float is from them."""

from collections.abc import Callable

import mpmath as mp
import numpy as np

mp.mp.dps = 60

_MAGNITUDES = (1e-300, 1e-8, 1, 9.1, 17, 19.1, 37, 50, 88, 104, 700, 746, 1e4)
GRID = (0.0, *(sign * m for m in _MAGNITUDES for sign in (1, -1)))

LOWER, UPPER = -1.25, 2.5  # bounds that float32 holds exactly


def _sigmoid(y: mp.mpf) -> mp.mpf:
    return 1 / (1 + mp.exp(-y)) if y > 0 else mp.exp(y) / (1 + mp.exp(y))


def _softplus(y: mp.mpf) -> mp.mpf:
    return mp.log1p(mp.exp(y)) if y < 0 else y + mp.log1p(mp.exp(-y))


def _log_sigmoid(y: mp.mpf) -> mp.mpf:
    return -_softplus(-y)


def _log_slope(y: mp.mpf) -> mp.mpf:
    """log σ'(y)."""
    return _log_sigmoid(y) + _log_sigmoid(-y)


def _log_cosh(y: mp.mpf) -> mp.mpf:
    return mp.log1p(2 * mp.sinh(y / 2) ** 2)


def _between(y: mp.mpf) -> mp.mpf:
    return LOWER + (mp.mpf(UPPER) - LOWER) * _sigmoid(y)


# Of each: the value, the log-det, and the derivative of the log-det.
FUNCTIONS: dict[str, tuple[Callable, Callable, Callable]] = {
    "exp": (mp.exp, lambda y: y, lambda y: mp.mpf(1)),
    "lower": (lambda y: LOWER + mp.exp(y), lambda y: y, lambda y: mp.mpf(1)),
    "upper": (lambda y: UPPER - mp.exp(y), lambda y: y, lambda y: mp.mpf(1)),
    "softplus": (_softplus, _log_sigmoid, lambda y: _sigmoid(-y)),
    "sigmoid": (_sigmoid, _log_slope, lambda y: -mp.tanh(y / 2)),
    "interval": (
        _between,
        lambda y: mp.log(mp.mpf(UPPER) - LOWER) + _log_slope(y),
        lambda y: -mp.tanh(y / 2),
    ),
    "tanh": (mp.tanh, lambda y: -2 * _log_cosh(y), lambda y: -2 * mp.tanh(y)),
}


def grid(dtype: type) -> np.ndarray:
    """The points of `GRID` that `dtype` holds as normal numbers."""
    tiny = np.finfo(dtype).tiny
    return np.array([y for y in GRID if y == 0 or abs(y) >= tiny], dtype)


def ulps(got: float, true: mp.mpf, dtype: type, scale: float = 0.0) -> float:
    """The error in units in the last place; NaN where `dtype` has no normal number.

    There, 0 and inf are right, and a subnormal: XLA flushes those to 0 on the CPU. The
    place is that of `scale` if it is the larger: a bound minus exp(y) is no better than
    the rounding of the bound.
    """
    limits = np.finfo(dtype)
    if true == 0:
        return 0.0 if got == 0 else np.inf
    if abs(true) < limits.tiny or abs(true) > limits.max:
        small = abs(true) < limits.tiny
        saturated = abs(got) < limits.tiny if small else np.isinf(got)
        return np.nan if saturated else np.inf
    if not np.isfinite(got):
        return np.inf
    unit = float(np.spacing(dtype(max(abs(float(true)), scale))))
    return float(abs(mp.mpf(float(got)) - true) / mp.mpf(unit))


def worst(
    got: np.ndarray, points: np.ndarray, exact: Callable, scale: float = 0.0
) -> float:
    """The largest error over the points, in ulp."""
    dtype = points.dtype.type
    errors = [
        ulps(float(g), mp.mpf(exact(mp.mpf(float(y)))), dtype, scale)
        for g, y in zip(got, points, strict=True)
    ]
    return float(np.nanmax(errors))
