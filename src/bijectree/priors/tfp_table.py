"""The supports of TFP's distributions, by class."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ..constraints import (
    Range,
    circular,
    corr_cholesky,
    corr_matrix,
    interval,
    positive,
    positive_definite,
    real,
    simplex,
    sphere,
)
from ..substrate import tfb, tfd
from .composed import (
    _batch_reshape,
    _concatenated,
    _mixture,
    _mixture_same_family,
    _sample,
    _sinh_arcsinh,
    _support_of,
    _transformed,
    onto,
)
from .lookup import (
    _DISCRETE,
    _POINT,
    _POINT_MASS,
    _default,
    _refuse,
    _table,
    _wrong_density,
    bijector_for,
)


def _between(lower: str, upper: str) -> Callable[[Any], tfb.Bijector]:
    def make(prior: Any) -> tfb.Bijector:
        return onto(Range(_number(getattr(prior, lower)), _number(getattr(prior, upper))))

    return make


def _above(bound: str) -> Callable[[Any], tfb.Bijector]:
    return lambda prior: onto(Range(_number(getattr(prior, bound)), math.inf))


def _number(value: Any) -> Any:
    """An array in float64, as bounds are held, unless it is traced."""
    traced = isinstance(value, Tracer)
    return value if traced else np.asarray(value).astype(np.float64)


def _extreme_value(prior: Any) -> tfb.Bijector:
    """X > loc − scale/c for c > 0, below it for c < 0."""
    loc, scale, c = (_number(n) for n in (prior.loc, prior.scale, prior.concentration))
    end = loc - scale / jnp.where(c == 0, 1, c)
    lower, upper = jnp.where(c > 0, end, -math.inf), jnp.where(c < 0, end, math.inf)
    return onto(Range(_number(lower), _number(upper)))


def _generalized_pareto(prior: Any) -> tfb.Bijector:
    """X > loc, and below loc − scale/c for c < 0."""
    loc, scale, c = (_number(n) for n in (prior.loc, prior.scale, prior.concentration))
    end = loc - scale / jnp.where(c == 0, 1, c)
    return onto(Range(_number(loc + 0 * end), _number(jnp.where(c < 0, end, math.inf))))


def _matrix(make: Callable, instead: str) -> Callable[[Any], tfb.Bijector]:
    """A distribution of matrices, which may take and give their factors."""

    def maker(prior: Any) -> tfb.Bijector:
        if prior.input_output_cholesky:
            raise _wrong_density(
                prior,
                "with input_output_cholesky=True, log_prob takes a factor L but is the "
                f"density of the matrix L Lᵀ, without the Jacobian between; {instead}",
            )
        return make()

    return maker


def _group(make: Callable, names: str) -> None:
    """Register TFP's classes by name; an older TFP may lack one."""
    for name in names.split():
        if hasattr(tfd, name):
            _table[getattr(tfd, name)] = make


_group(
    lambda prior: real(),
    """Cauchy DoublesidedMaxwell ExpGamma ExpInverseGamma ExponentiallyModifiedGaussian
    GaussianProcess GaussianProcessRegressionModel GeneralizedNormal Gumbel Horseshoe
    JohnsonSU LambertWNormal Laplace LinearGaussianStateSpaceModel Logistic
    MatrixNormalLinearOperator MatrixTLinearOperator Moyal MultivariateNormalDiag
    MultivariateNormalDiagPlusLowRank MultivariateNormalDiagPlusLowRankCovariance
    MultivariateNormalFullCovariance MultivariateNormalLinearOperator
    MultivariateNormalTriL MultivariateStudentTLinearOperator Normal
    NormalInverseGaussian SigmoidBeta StudentT StudentTProcess
    StudentTProcessRegressionModel TwoPieceNormal TwoPieceStudentT
    VariationalGaussianProcess""",
)

_group(
    lambda prior: positive(),
    """Chi Chi2 Exponential Gamma GammaGamma HalfNormal InverseGamma
    InverseGaussian LogLogistic LogNormal NoncentralChi2 Weibull""",
)

_group(
    lambda prior: interval(0.0, 1.0),
    "Beta ContinuousBernoulli Kumaraswamy LogitNormal RelaxedBernoulli",
)

_group(
    _between("low", "high"),
    "PERT Triangular TruncatedCauchy TruncatedNormal Uniform",
)

_group(_above("loc"), "HalfCauchy HalfStudentT")

_group(_above("scale"), "Pareto")

_group(_extreme_value, "GeneralizedExtremeValue")

_group(_generalized_pareto, "GeneralizedPareto")

_group(
    lambda prior: simplex(),
    "Dirichlet FlatDirichlet RelaxedOneHotCategorical",
)

_group(
    _matrix(corr_matrix, "use tfd.CholeskyLKJ, which is the density of the factor"),
    "LKJ",
)

_group(lambda prior: corr_cholesky(), "CholeskyLKJ")

_group(
    _matrix(
        positive_definite,
        "leave it False, and let the leaf be the matrix rather than its factor",
    ),
    "WishartLinearOperator WishartTriL",
)

_group(lambda prior: circular(), "VonMises")

_group(lambda prior: sphere(), "PowerSpherical SphericalUniform VonMisesFisher")

_group(_support_of("distribution"), "BatchBroadcast Independent Masked")

_group(_sample, "Sample")

_group(_batch_reshape, "BatchReshape")

_group(_mixture_same_family, "MixtureSameFamily")

_group(lambda prior: _mixture(prior, list(prior.components)), "Mixture")

_group(_transformed, "TransformedDistribution LambertWDistribution")

_group(_concatenated, "BatchConcat")

_group(_sinh_arcsinh, "SinhArcsinh")


def _markov_chain(prior: Any) -> tfb.Bijector:
    """The bijector that TFP proposes, if the first state has a density."""
    bijector_for(prior.initial_state_prior)
    return _default(prior)


_group(_markov_chain, "MarkovChain")


def _wrong(why: str) -> Callable[[Any], tfb.Bijector]:
    def make(prior: Any) -> tfb.Bijector:
        raise _wrong_density(prior, why)

    return make


_group(
    _wrong("TFP's is NaN in the middle of its support, near 1"),
    "BetaQuotient",
)

_group(
    _wrong(
        "TFP's cannot be traced, so it has no gradient; give the leaf of each summand a "
        "tfd.Uniform"
    ),
    "Bates",
)

_group(_refuse(_POINT), "Deterministic VectorDeterministic")

_group(_refuse(_POINT_MASS), "Inflated Empirical")

_group(
    _refuse(
        "its values are logarithms of parts that sum to 1; give the parts a prior "
        "instead (RelaxedOneHotCategorical)"
    ),
    "ExpRelaxedOneHotCategorical",
)

_group(
    _refuse("it is the prior of several leaves; give each leaf its own"),
    """Blockwise JointDistribution JointDistributionCoroutine
    JointDistributionCoroutineAutoBatched JointDistributionNamed
    JointDistributionNamedAutoBatched JointDistributionSequential
    JointDistributionSequentialAutoBatched""",
)

_group(
    _refuse(_DISCRETE),
    """Bernoulli BetaBinomial Binomial Categorical DeterminantalPointProcess
    DirichletMultinomial FiniteDiscrete Geometric Multinomial NegativeBinomial
    OneHotCategorical OrderedLogistic PlackettLuce Poisson
    PoissonLogNormalQuadratureCompound ProbitBernoulli QuantizedDistribution Skellam
    StoppingRatioLogistic ZeroInflatedNegativeBinomial Zipf""",
)
