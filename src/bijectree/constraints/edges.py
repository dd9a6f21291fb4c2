"""How far a value is from the ends of its set, where the value itself is rounded.

In float32 exp(−200) is 0 and σ(30) is 1. From the free coordinate it is still known that
the one is e⁻²⁰⁰ above 0 and the other e⁻³⁰ below 1, which is all that a density with a
pole at an end asks for. So it is with a matrix that rounding has made singular, whose
determinant the free coordinates still tell.
"""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from ..numerics import softplus
from ..substrate import tfb
from .correlation import CorrCholesky, CorrCholeskyByAngles, CorrMatrix
from .covariance import LowerCholesky, PositiveDefinite, _lower_triangle
from .half_line import GreaterThan, LessThan, Positive, ScaledSoftplus
from .interval import Interval
from .normal_cdf import IntervalByNormalCDF, log_distances
from .simplex import Simplex, log_parts
from .tfp_pairs import _sigmoid_pair, _softplus_pair
from .triangles import _triangle_size


class EdgeDistances:
    """A value within an interval, by the logarithms of its distances from the ends.

    Args:
        free: the free coordinate.
        forward: gives the value at a free coordinate.
        lower: the lower end; `None` for −∞.
        log_above: the logarithm of what the value is above the lower end.
        upper: the upper end; `None` for ∞.
        log_below: the logarithm of what the value is below the upper end.
    """

    def __init__(
        self,
        free: Array,
        forward: Callable[[Array], Array],
        *,
        lower: Any = None,
        log_above: Any = None,
        upper: Any = None,
        log_below: Any = None,
    ):
        self._free, self._forward = free, forward
        self._lower, self._log_above = lower, log_above
        self._upper, self._log_below = upper, log_below

    @property
    def value(self) -> Array:
        """The value, rounded."""
        return self._forward(self._free)

    def log_above(self, end: Any) -> Array:
        """The logarithm of value − `end`; −∞ where that is negative."""
        return self._log(end, self._lower, self._log_above, lambda x: x - end)

    def log_below(self, end: Any) -> Array:
        """The logarithm of `end` − value; −∞ where that is negative."""
        return self._log(end, self._upper, self._log_below, lambda x: end - x)

    def _log(self, end: Any, own: Any, known: Any, difference: Callable) -> Array:
        if own is None:
            return _log(difference(self.value))
        if isinstance(end, float) and isinstance(own, float):
            return known if end == own else _log(difference(self.value))
        same = jnp.asarray(end) == own
        # The map must not overflow where it is not used: its slope there would be NaN.
        x = self._forward(jnp.where(same, 0, self._free))
        return jnp.where(same, known, _log(difference(x)))


def _log(distance: Array) -> Array:
    inside = distance > 0
    return jnp.where(inside, jnp.log(jnp.where(inside, distance, 1)), -jnp.inf)


def exp_continued(y: Array) -> Array:
    """Return exp y, continued by a tangent before it overflows.

    A density that falls with exp y is as good as 0 there, and keeps a slope that leads
    back.
    """
    inside = jnp.minimum(y, math.log(jnp.finfo(y.dtype).max) - 20)
    return jnp.exp(inside) * (1 + (y - inside))


def _log_softplus(y: Array) -> Array:
    """The logarithm of log(1 + exp y), which is y − exp(y)/2 far below 0."""
    far = y < (-16 if y.dtype.itemsize <= 4 else -36)
    return jnp.where(far, y, jnp.log(softplus(jnp.where(far, 0, y))[0]))


def _positive_map(b: Any) -> Callable[[Array], Array]:
    """The map of a half line, less its bound."""
    return exp_continued if b.via == "exp" else lambda y: softplus(y)[0]


def _half_line(via: str, y: Array) -> Array:
    """The logarithm of `_positive_map`."""
    return y if via == "exp" else _log_softplus(y)


def _above_zero(b: Any, y: Array) -> EdgeDistances:
    return EdgeDistances(y, _positive_map(b), lower=0.0, log_above=_half_line(b.via, y))


def _scaled(b: Any, y: Array) -> EdgeDistances:
    log_above = jnp.log(b.scale.like(y)) + _log_softplus(y)
    return EdgeDistances(y, _forward(b), lower=0.0, log_above=log_above)


def _above(b: Any, y: Array) -> EdgeDistances:
    lower, steps = b.lower.like(y), _positive_map(b)
    log_above = _half_line(b.via, y)
    return EdgeDistances(y, lambda y: lower + steps(y), lower=lower, log_above=log_above)


def _below(b: Any, y: Array) -> EdgeDistances:
    upper, steps = b.upper.like(y), _positive_map(b)
    log_below = _half_line(b.via, y)
    return EdgeDistances(y, lambda y: upper - steps(y), upper=upper, log_below=log_below)


def _between(forward: Callable, y: Array, lower: Array, upper: Array) -> EdgeDistances:
    minus_log_rest, log_part = softplus(y)  # −log σ(−y) and log σ(y)
    above, below = jnp.isfinite(lower), jnp.isfinite(upper)
    both = above & below
    log_width = jnp.log(jnp.where(both, upper - lower, 1))
    half = jnp.where(above, y, jnp.inf), jnp.where(below, y, jnp.inf)
    return EdgeDistances(
        y,
        forward,
        lower=lower,
        log_above=jnp.where(both, log_width + log_part, half[0]),
        upper=upper,
        log_below=jnp.where(both, log_width - minus_log_rest, half[1]),
    )


def _interval(b: Any, y: Array) -> EdgeDistances:
    return _between(_forward(b), y, b.lower.like(y), b.upper.like(y))


def _sigmoid(b: Any, y: Array) -> EdgeDistances:
    low, high = (0.0 if b.low is None else b.low), (1.0 if b.high is None else b.high)
    ends = (jnp.asarray(end).astype(y.dtype) for end in (low, high))
    return _between(lambda y: _sigmoid_pair(b, y)[0], y, *ends)


def _normal_cdf(b: Any, y: Array) -> EdgeDistances:
    log_above, log_below = log_distances(b, y)
    return EdgeDistances(
        y,
        _forward(b),
        lower=b.lower.like(y),
        log_above=log_above,
        upper=b.upper.like(y),
        log_below=log_below,
    )


def _exp(b: Any, y: Array) -> EdgeDistances:
    return EdgeDistances(y, exp_continued, lower=0.0, log_above=y)


def _softplus(b: Any, y: Array) -> EdgeDistances:
    def forward(y: Array) -> Array:
        return _softplus_pair(b, y)[0]

    if b.hinge_softness is None and b.low is None:
        return EdgeDistances(y, forward, lower=0.0, log_above=_log_softplus(y))
    softness = 1.0 if b.hinge_softness is None else b.hinge_softness
    softness = jnp.asarray(softness).astype(y.dtype)
    return EdgeDistances(
        y,
        forward,
        lower=jnp.asarray(0.0 if b.low is None else b.low).astype(y.dtype),
        log_above=jnp.log(softness) + _log_softplus(y / softness),
    )


def _forward(b: Any) -> Callable[[Array], Array]:
    return lambda y: b._forward_and_log_det(y)[0]


_EDGE_DISTANCES: dict[type, Callable[[Any, Array], EdgeDistances]] = {
    Positive: _above_zero,
    ScaledSoftplus: _scaled,
    GreaterThan: _above,
    LessThan: _below,
    Interval: _interval,
    IntervalByNormalCDF: _normal_cdf,
    tfb.Exp: _exp,
    tfb.Softplus: _softplus,
    tfb.Sigmoid: _sigmoid,
}


class MatrixFactor:
    """The Cholesky factor of a matrix, or the leaf itself where that is a factor.

    A matrix that is singular to rounding, or overflows, has a factor that does not.

    Args:
        log_diagonal: the logarithms of the factor's diagonal.
        triangle: the factor with those logarithms on its diagonal; `None` for factors
            of correlation matrices.
    """

    def __init__(self, log_diagonal: Array, triangle: Array | None = None):
        self.log_diagonal, self._triangle = log_diagonal, triangle

    def continued(self) -> Array:
        """The factor; its diagonal is continued before its square overflows."""
        assert self._triangle is not None
        info = jnp.finfo(self._triangle.dtype)
        most = 0.5 * math.log(info.max) - 10
        on_diagonal = jnp.eye(self._triangle.shape[-1], dtype=bool)
        inside = jnp.minimum(self.log_diagonal, most)
        diagonal = jnp.exp(inside) * (1 + (self.log_diagonal - inside))
        return jnp.where(on_diagonal, diagonal[..., None], self._triangle)


_CORRELATIONS = CorrMatrix, CorrCholesky, CorrCholeskyByAngles


def _has_factor(bijector: Any) -> bool:
    if type(bijector) is LowerCholesky:
        return bijector.shape is None or bijector.shape[0] == bijector.shape[1]
    return type(bijector) in (*_CORRELATIONS, PositiveDefinite)


def factor_of(bijector: Any, free: Array) -> MatrixFactor | None:
    """The Cholesky factor at free coordinates; `None` for other sets than matrices."""
    if not _has_factor(bijector):
        return None
    if type(bijector) in _CORRELATIONS:
        return MatrixFactor(bijector.log_diagonal(free))
    size = _triangle_size(free.shape[-1], bijector.name, diagonal=True)
    triangle = _lower_triangle(free, (size, size))
    return MatrixFactor(jnp.diagonal(triangle, axis1=-2, axis2=-1), triangle)


def knows_edges(bijector: Any) -> bool:
    """Whether a class of bijectors tells of a leaf what its rounded numbers do not."""
    known = type(bijector) in _EDGE_DISTANCES or _is_simplex(bijector)
    return known or _has_factor(bijector)


def _is_simplex(bijector: Any) -> bool:
    return type(bijector) is Simplex and bijector.axis == -1


def edge_distances(bijector: Any, free: Array) -> EdgeDistances | None:
    """The distances from the ends, at free coordinates; `None` if they are not known."""
    make = _EDGE_DISTANCES.get(type(bijector))
    return None if make is None else make(bijector, free)


def log_parts_of(bijector: Any, free: Array) -> Array | None:
    """The logarithms of the parts of a simplex; `None` for other sets."""
    return log_parts(bijector, free) if _is_simplex(bijector) else None
