"""Densities of a leaf from its free coordinates, where the leaf has run out of numbers.

Most of Gamma(0.01) lies below the smallest number of float32, and much of Beta(0.1, 0.1)
within half an ulp of 1. The densities that have poles at the ends of their support, or
tails that outgrow a dtype, are written here in the distances from those ends, which the
free coordinates still tell. They equal the distributions' own `log_prob`.

Sources: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, vols. 1 and
2; Kotz, Balakrishnan and Johnson, Continuous Multivariate Distributions, vol. 1, ch. 49;
Maddison et al. 2017 (arXiv 1611.00712), eqs. 10 and 24.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import betaln, gammaln
from jaxtyping import Array

from ..constraints import (
    EdgeDistances,
    edge_distances,
    exp_continued,
    factor_of,
    knows_edges,
    log_parts_of,
    support,
)
from ..numerics import softplus
from .facts import library_and_name
from .matrices_at_free import MATRIX_DENSITIES

_HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)


def _log1p_exp(x: Array) -> Array:
    return softplus(x)[0]


# Densities on the half-line, of the logarithm of the distance from its end.


def _gamma(x: EdgeDistances, a: Any, rate: Any) -> Array:
    normal = a * jnp.log(rate) - gammaln(a)
    return normal + (a - 1) * x.log_above(0.0) - rate * x.value


def _inverse_gamma(x: EdgeDistances, a: Any, scale: Any) -> Array:
    log_x = x.log_above(0.0)
    normal = a * jnp.log(scale) - gammaln(a)
    return normal - (a + 1) * log_x - scale * exp_continued(-log_x)


def _chi(x: EdgeDistances, df: Any) -> Array:
    log_x = x.log_above(0.0)
    normal = (1 - 0.5 * df) * math.log(2) - gammaln(0.5 * df)
    return normal + (df - 1) * log_x - 0.5 * exp_continued(2 * log_x)


def _weibull(x: EdgeDistances, a: Any, scale: Any) -> Array:
    u = x.log_above(0.0) - jnp.log(scale)
    return jnp.log(a) - jnp.log(scale) + (a - 1) * u - exp_continued(a * u)


def _log_normal(x: EdgeDistances, loc: Any, scale: Any) -> Array:
    log_x = x.log_above(0.0)
    return -log_x - jnp.log(scale) - _HALF_LOG_2_PI - 0.5 * ((log_x - loc) / scale) ** 2


def _log_logistic(x: EdgeDistances, loc: Any, scale: Any) -> Array:
    log_x = x.log_above(0.0)
    z = (log_x - loc) / scale
    return -log_x - jnp.log(scale) - z - 2 * _log1p_exp(-z)


def _half_cauchy(x: EdgeDistances, loc: Any, scale: Any) -> Array:
    u = x.log_above(loc) - jnp.log(scale)
    return math.log(2 / math.pi) - jnp.log(scale) - _log1p_exp(2 * u)


def _half_student_t(x: EdgeDistances, df: Any, loc: Any, scale: Any) -> Array:
    u = x.log_above(loc) - jnp.log(scale)
    normal = math.log(2) + gammaln(0.5 * (df + 1)) - gammaln(0.5 * df)
    normal = normal - 0.5 * jnp.log(math.pi * df) - jnp.log(scale)
    return normal - 0.5 * (df + 1) * _log1p_exp(2 * u - jnp.log(df))


def _pareto(x: EdgeDistances, a: Any, scale: Any) -> Array:
    log_scale = jnp.log(scale)
    log_x = jnp.logaddexp(log_scale, x.log_above(scale))
    return jnp.log(a) + a * log_scale - (a + 1) * log_x


def _dagum(x: EdgeDistances, a: Any, sharpness: Any, scale: Any) -> Array:
    log_x = x.log_above(0.0)
    z = sharpness * (log_x - jnp.log(scale))
    return jnp.log(sharpness) + jnp.log(a) - log_x + a * z - (a + 1) * _log1p_exp(z)


def _gamma_gamma(x: EdgeDistances, a: Any, mixing: Any, rate: Any) -> Array:
    log_x, log_rate = x.log_above(0.0), jnp.log(rate)
    tail = (a + mixing) * jnp.logaddexp(log_x, log_rate)
    return mixing * log_rate - betaln(a, mixing) + (a - 1) * log_x - tail


def _levy(x: EdgeDistances, loc: Any, scale: Any) -> Array:
    log_x = x.log_above(loc)
    normal = 0.5 * jnp.log(scale) - _HALF_LOG_2_PI
    return normal - 1.5 * log_x - 0.5 * scale * exp_continued(-log_x)


def _inverse_gaussian(x: EdgeDistances, loc: Any, a: Any) -> Array:
    log_x = x.log_above(0.0)
    # (x − μ)² / (μ x) = 4 sinh² ½v of v = log x/μ, which overflows nowhere so.
    v = log_x - jnp.log(loc)
    near = jnp.abs(v) < 1
    middle = 4 * jnp.square(jnp.sinh(0.5 * jnp.where(near, v, 0)))
    far = exp_continued(v) + exp_continued(-v) - 2
    normal = 0.5 * jnp.log(a) - _HALF_LOG_2_PI
    return normal - 1.5 * log_x - 0.5 * a / loc * jnp.where(near, middle, far)


# Densities on the unit interval.


def _beta(x: EdgeDistances, a: Any, b: Any) -> Array:
    return (a - 1) * x.log_above(0.0) + (b - 1) * x.log_below(1.0) - betaln(a, b)


def _kumaraswamy(x: EdgeDistances, a: Any, b: Any) -> Array:
    """The density a·b·xᵃ⁻¹(1 − xᵃ)ᵇ⁻¹."""
    log_x, log_rest = x.log_above(0.0), x.log_below(1.0)
    # Near 1 both −log x and 1 − xᵃ are lost in rounding, but for their leading terms.
    near = log_rest < _TINY
    log_minus_log = jnp.where(near, log_rest, jnp.log(-jnp.where(near, -1, log_x)))
    log_t = jnp.log(a) + log_minus_log
    near = log_t < _TINY
    rest = jnp.log(-jnp.expm1(-jnp.exp(jnp.where(near, 0, log_t))))
    rest = jnp.where(near, log_t, rest)
    return jnp.log(a) + jnp.log(b) + (a - 1) * log_x + (b - 1) * rest


# e to this is below the rounding of any dtype.
_TINY = -37.0


def _logit_normal(x: EdgeDistances, loc: Any, scale: Any) -> Array:
    log_x, log_rest = x.log_above(0.0), x.log_below(1.0)
    z = (log_x - log_rest - loc) / scale
    return -log_x - log_rest - jnp.log(scale) - _HALF_LOG_2_PI - 0.5 * z**2


def _relaxed_bernoulli(x: EdgeDistances, temperature: Any, logits: Any) -> Array:
    log_x, log_rest = x.log_above(0.0), x.log_below(1.0)
    z = temperature * (log_x - log_rest) - logits
    return jnp.log(temperature) - log_x - log_rest - z - 2 * _log1p_exp(-z)


# Densities on the simplex, of the logarithms of the parts.


def _dirichlet(log_x: Array, a: Any) -> Array:
    normal = gammaln(jnp.sum(a, axis=-1)) - jnp.sum(gammaln(a), axis=-1)
    return normal + jnp.sum((a - 1) * log_x, axis=-1)


def _relaxed_categorical(log_x: Array, temperature: Any, logits: Any) -> Array:
    size, t = log_x.shape[-1], jnp.asarray(temperature)
    scores = logits - t[..., None] * log_x
    return (
        math.lgamma(size)
        + (size - 1) * jnp.log(t)
        + jnp.sum(scores - log_x, axis=-1)
        - size * jax.nn.logsumexp(scores, axis=-1)
    )


def _attributes(*names: str) -> Callable[[Any], tuple[Any, ...]]:
    return lambda d: tuple(getattr(d, name) for name in names)


def _rate(d: Any) -> Any:
    return jnp.exp(d.log_rate) if d.rate is None else d.rate


def _logits(d: Any) -> Any:
    return d.logits_parameter()


_CONCENTRATIONS = _beta, _attributes("concentration1", "concentration0")
_LOC_AND_SCALE = _attributes("loc", "scale")

# The density of each class, by library and name, and its parameters from an instance.
_DENSITIES: dict[tuple[str, str], tuple[Callable[..., Array], Callable]] = {
    **{
        ("tensorflow_probability", name): density
        for name, density in {
            "Beta": _CONCENTRATIONS,
            "Chi": (_chi, _attributes("df")),
            "Chi2": (_gamma, lambda d: (0.5 * d.df, jnp.asarray(0.5, d.df.dtype))),
            "Dirichlet": (_dirichlet, _attributes("concentration")),
            "Gamma": (_gamma, lambda d: (d.concentration, _rate(d))),
            "HalfCauchy": (_half_cauchy, _LOC_AND_SCALE),
            "HalfStudentT": (_half_student_t, _attributes("df", "loc", "scale")),
            "GammaGamma": (
                _gamma_gamma,
                _attributes("concentration", "mixing_concentration", "mixing_rate"),
            ),
            "InverseGaussian": (_inverse_gaussian, _attributes("loc", "concentration")),
            "InverseGamma": (_inverse_gamma, _attributes("concentration", "scale")),
            "Kumaraswamy": (
                _kumaraswamy,
                _attributes("concentration1", "concentration0"),
            ),
            "LogLogistic": (_log_logistic, _LOC_AND_SCALE),
            "LogNormal": (_log_normal, _LOC_AND_SCALE),
            "LogitNormal": (_logit_normal, _LOC_AND_SCALE),
            "Pareto": (_pareto, _attributes("concentration", "scale")),
            "RelaxedBernoulli": (
                _relaxed_bernoulli,
                lambda d: (d.temperature, _logits(d)),
            ),
            "RelaxedOneHotCategorical": (
                _relaxed_categorical,
                lambda d: (d.temperature, _logits(d)),
            ),
            "Weibull": (_weibull, _attributes("concentration", "scale")),
        }.items()
    },
    **{
        ("numpyro", name): density
        for name, density in {
            "Beta": _CONCENTRATIONS,
            "BetaProportion": _CONCENTRATIONS,
            "Chi2": (_gamma, _attributes("concentration", "rate")),
            "Dirichlet": (_dirichlet, _attributes("concentration")),
            "Gamma": (_gamma, _attributes("concentration", "rate")),
            "Dagum": (_dagum, _attributes("concentration", "sharpness", "scale")),
            "HalfCauchy": (_half_cauchy, lambda d: (0.0, d.scale)),
            "Levy": (_levy, _LOC_AND_SCALE),
            "InverseGamma": (
                _inverse_gamma,
                lambda d: (d.base_dist.concentration, d.base_dist.rate),
            ),
            "Kumaraswamy": (
                _kumaraswamy,
                _attributes("concentration1", "concentration0"),
            ),
            "LogNormal": (_log_normal, _LOC_AND_SCALE),
            "Pareto": (_pareto, _attributes("alpha", "scale")),
            "RelaxedBernoulliLogits": (
                _relaxed_bernoulli,
                _attributes("temperature", "logits"),
            ),
            "Weibull": (_weibull, _attributes("concentration", "scale")),
        }.items()
    },
    ("distrax", "Beta"): (_beta, _attributes("alpha", "beta")),
    ("distrax", "Dirichlet"): (_dirichlet, _attributes("concentration")),
    ("distrax", "Gamma"): (_gamma, _attributes("concentration", "rate")),
}


# Distributions that sum the density of another one, and the attribute that holds it.
_SUMS = {
    ("tensorflow_probability", "BatchBroadcast"): "distribution",
    ("tensorflow_probability", "Independent"): "distribution",
    ("tensorflow_probability", "Sample"): "distribution",
    ("numpyro", "ExpandedDistribution"): "base_dist",
    ("numpyro", "Independent"): "base_dist",
    ("distrax", "Independent"): "distribution",
}


def unwrapped(distribution: Any) -> Any:
    """The distribution whose densities are summed over the elements of a leaf."""
    key = library_and_name(distribution)
    while key in _SUMS:
        inner = getattr(distribution, _SUMS[key])
        if key[1] == "Sample" and len(inner.batch_shape):
            return distribution  # its parameters stand before the axes of the sample
        distribution, key = inner, library_and_name(inner)
    return distribution


def knows_at_free(distribution: Any, bijector: Any) -> bool:
    """Whether `log_prob_at_free` gives the density of a leaf with a bijector."""
    own = unwrapped(distribution)
    key = library_and_name(own)
    if not knows_edges(bijector):
        return False
    if key in MATRIX_DENSITIES:
        of_factor = getattr(own, "input_output_cholesky", False)
        return support(bijector).tag is MATRIX_DENSITIES[key][2] and not of_factor
    if key not in _DENSITIES or bijector.inverse_min_event_ndims == 2:
        return False
    of_parts = _DENSITIES[key][0] in (_dirichlet, _relaxed_categorical)
    return of_parts == (bijector.inverse_min_event_ndims == 1)


def log_prob_at_free(distribution: Any, bijector: Any, free: Array) -> Array:
    """The log-density of a leaf, summed, from its free coordinates.

    Args:
        distribution: with `bijector`, one that `knows_at_free`; its numbers in the dtype
            of `free`.
        bijector: of the leaf.
        free: the leaf's free coordinates.

    Returns:
        A scalar: the log-density of the leaf in its own coordinates, without a log-det.
    """
    distribution = unwrapped(distribution)
    key = library_and_name(distribution)
    density, parameters = (MATRIX_DENSITIES.get(key) or _DENSITIES[key])[:2]
    where: Any = edge_distances(bijector, free)
    if where is None:
        where = log_parts_of(bijector, free)
    if where is None:
        where = factor_of(bijector, free)
    return jnp.sum(density(where, *parameters(distribution)))
