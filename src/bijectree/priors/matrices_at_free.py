"""Densities of matrices from the Cholesky factor that the free coordinates tell.

A correlation of tanh 10 is 1 in float32, where the determinant of the matrix is 0 and
has no logarithm; and the Cholesky factor of a rounded matrix loses its small entries.
The densities are written here for the factor that the free coordinates give. They equal
the distributions' own `log_prob`.

Sources: Lewandowski, Kurowicka and Joe 2009, Journal of Multivariate Analysis 100, eq.
16; Gelman et al., Bayesian Data Analysis, 3rd edition, table A.1.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, multigammaln
from jaxtyping import Array

from ..constraints import MatrixFactor, SetTag

Density = Callable[..., Array]


def _lkj_normal(size: int, eta: Array) -> Array:
    """The logarithm of the integral of det(R)^(η − 1) over correlation matrices."""
    k = np.arange(1, size)
    one = jnp.asarray(eta)[..., None]
    terms = gammaln(one + (0.5 * (size - 1 - k)).astype(one.dtype))
    terms = terms - gammaln(one + 0.5 * (size - 1))
    return jnp.sum(terms, axis=-1) + 0.25 * size * (size - 1) * math.log(math.pi)


def _lkj(x: MatrixFactor, eta: Array) -> Array:
    log_det = 2 * jnp.sum(x.log_diagonal, axis=-1)
    return (eta - 1) * log_det - _lkj_normal(x.log_diagonal.shape[-1], eta)


def _lkj_factor(x: MatrixFactor, eta: Array) -> Array:
    size = x.log_diagonal.shape[-1]
    below = jnp.arange(size - 1, -1, -1, dtype=x.log_diagonal.dtype)
    jacobian = jnp.sum(below * x.log_diagonal, axis=-1)
    return _lkj(x, eta) + jacobian


def _to_factors(x: MatrixFactor) -> Array:
    """The log-det of L Lᵀ in the lower triangle, in that of L."""
    size = x.log_diagonal.shape[-1]
    weight = jnp.arange(size, 0, -1, dtype=x.log_diagonal.dtype)
    return size * math.log(2) + jnp.sum(weight * x.log_diagonal, axis=-1)


def _log_diagonal(factor: Array) -> Array:
    return jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1))


def _normal(size: int, df: Array) -> Array:
    return 0.5 * size * math.log(2) * df + multigammaln(0.5 * df, size)


def _solve(factor: Array, right: Array) -> Array:
    batch = jnp.broadcast_shapes(factor.shape[:-2], right.shape[:-2])
    factor, right = (
        jnp.broadcast_to(m, (*batch, *m.shape[-2:])) for m in (factor, right)
    )
    return jax.scipy.linalg.solve_triangular(factor, right, lower=True)


def _wishart(x: MatrixFactor, df: Array, scale: Array) -> Array:
    size = x.log_diagonal.shape[-1]
    trace = jnp.sum(jnp.square(_solve(scale, x.continued())), axis=(-2, -1))
    log_det = jnp.sum(x.log_diagonal, axis=-1)
    scale_log_det = jnp.sum(_log_diagonal(scale), axis=-1)
    normal = df * scale_log_det + _normal(size, df)
    return (df - size - 1) * log_det - 0.5 * trace - normal


def _inverse_wishart(x: MatrixFactor, df: Array, scale: Array) -> Array:
    size, factor = x.log_diagonal.shape[-1], x.continued()

    def trace(factor: Array) -> Array:
        return jnp.sum(jnp.square(_solve(factor, scale)), axis=(-2, -1))

    # The trace of Ψ X⁻¹ overflows where X is nearly singular, as ∞ − ∞ in parts; before
    # it, the products within its gradient do.
    most = jnp.sqrt(jnp.finfo(factor.dtype).max)
    inside = jax.lax.stop_gradient(trace(factor)) < most
    eye = jnp.eye(size, dtype=factor.dtype)
    found = trace(jnp.where(inside[..., None, None], factor, eye))
    found = jnp.where(inside, found, jnp.inf)
    log_det = jnp.sum(x.log_diagonal, axis=-1)
    scale_log_det = jnp.sum(_log_diagonal(scale), axis=-1)
    normal = _normal(size, df) - df * scale_log_det
    return -(df + size + 1) * log_det - 0.5 * found - normal


def _of_factors(density: Density) -> Density:
    """A density of positive definite matrices as that of their Cholesky factors."""

    def of_factor(x: MatrixFactor, *numbers: Any) -> Array:
        return density(x, *numbers) + _to_factors(x)

    return of_factor


def _numbers(*names: str) -> Callable[[Any], tuple[Any, ...]]:
    return lambda d: tuple(getattr(d, name) for name in names)


_SCALED = _numbers("concentration", "scale_tril")

# The density of each class, by library and name; its parameters from an instance; the
# set on which it is.
MATRIX_DENSITIES: dict[tuple[str, str], tuple[Density, Callable, SetTag]] = {
    ("tensorflow_probability", "LKJ"): (
        _lkj,
        _numbers("concentration"),
        SetTag.CORR_MATRIX,
    ),
    ("tensorflow_probability", "CholeskyLKJ"): (
        _lkj_factor,
        _numbers("concentration"),
        SetTag.CORR_CHOLESKY,
    ),
    ("tensorflow_probability", "WishartTriL"): (
        _wishart,
        _numbers("df", "scale_tril"),
        SetTag.POSITIVE_DEFINITE,
    ),
    ("numpyro", "LKJ"): (_lkj, _numbers("concentration"), SetTag.CORR_MATRIX),
    ("numpyro", "LKJCholesky"): (
        _lkj_factor,
        _numbers("concentration"),
        SetTag.CORR_CHOLESKY,
    ),
    ("numpyro", "Wishart"): (_wishart, _SCALED, SetTag.POSITIVE_DEFINITE),
    ("numpyro", "WishartCholesky"): (
        _of_factors(_wishart),
        _SCALED,
        SetTag.TRIANGULAR,
    ),
    ("numpyro", "InverseWishart"): (
        _inverse_wishart,
        _SCALED,
        SetTag.POSITIVE_DEFINITE,
    ),
    ("numpyro", "InverseWishartCholesky"): (
        _of_factors(_inverse_wishart),
        _SCALED,
        SetTag.TRIANGULAR,
    ),
}
