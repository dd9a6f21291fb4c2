"""Which distributions are known to give the density that they say.

`benchmarks/sweep_priors.py` integrates each class that is listed here, over free
coordinates, and holds it to its own draws. What is not listed is verified when a
Posterior is made, as is what is made of something that is not.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ..constraints import SetTag, interval_of, knowledge_of, support
from ..substrate import tfb
from . import lookup

# Classes that the sweep has found right, by library.
_PROVEN: dict[str, frozenset[str]] = {
    "bijectree": frozenset(("DensityOfModel", "DirichletOfParts")),
    "tensorflow_probability": frozenset(
        """Beta Cauchy Chi Chi2 CholeskyLKJ ContinuousBernoulli Dirichlet
        DoublesidedMaxwell ExpGamma ExpInverseGamma Exponential
        ExponentiallyModifiedGaussian FlatDirichlet Gamma GammaGamma GaussianProcess
        GaussianProcessRegressionModel GeneralizedExtremeValue GeneralizedNormal
        GeneralizedPareto Gumbel HalfCauchy HalfNormal HalfStudentT Horseshoe InverseGamma
        InverseGaussian JohnsonSU Kumaraswamy LKJ LambertWNormal Laplace
        LinearGaussianStateSpaceModel LogLogistic LogNormal Logistic LogitNormal
        MatrixNormalLinearOperator MatrixTLinearOperator Moyal MultivariateNormalDiag
        MultivariateNormalDiagPlusLowRank MultivariateNormalDiagPlusLowRankCovariance
        MultivariateNormalFullCovariance MultivariateNormalLinearOperator
        MultivariateNormalTriL MultivariateStudentTLinearOperator NoncentralChi2 Normal
        NormalInverseGaussian PERT Pareto PowerSpherical RelaxedBernoulli
        RelaxedOneHotCategorical SigmoidBeta SphericalUniform StudentT StudentTProcess
        StudentTProcessRegressionModel Triangular TruncatedCauchy TruncatedNormal
        TwoPieceNormal TwoPieceStudentT Uniform VariationalGaussianProcess VonMises
        VonMisesFisher Weibull WishartLinearOperator WishartTriL""".split()
    ),
    "numpyro": frozenset(
        """AsymmetricLaplace AsymmetricLaplaceQuantile Beta BetaProportion CAR Cauchy Chi2
        CirculantNormal Dagum Dirichlet DoublyTruncatedPowerLaw Exponential Gamma
        GaussianCopulaBeta GaussianRandomWalk GaussianStateSpace Gompertz Gumbel
        HalfCauchy HalfNormal ImproperUniform InverseGamma InverseWishart
        InverseWishartCholesky Kumaraswamy LKJ LKJCholesky Laplace LeftTruncatedGamma Levy
        LogNormal LogUniform Logistic LowRankMultivariateNormal LowerTruncatedPowerLaw
        MatrixNormal MultivariateNormal MultivariateStudentT Normal Pareto
        ProjectedNormal RelaxedBernoulliLogits RightTruncatedGamma SineBivariateVonMises
        SoftLaplace StudentT TruncatedPolyaGamma TwoSidedTruncatedGamma Uniform VonMises
        Weibull Wishart WishartCholesky ZeroSumNormal""".split()
    ),
    "distrax": frozenset(
        """Beta Dirichlet Gamma Gumbel Laplace LogStddevNormal Logistic
        MultivariateNormalDiag MultivariateNormalDiagPlusLowRank
        MultivariateNormalFromBijector MultivariateNormalFullCovariance
        MultivariateNormalTri Normal Uniform VonMises""".split()
    ),
}

# Classes that are right if their parts are, and the attributes that hold the parts.
_MADE_OF: dict[tuple[str, str], tuple[str, ...]] = {
    ("tensorflow_probability", "BatchBroadcast"): ("distribution",),
    ("tensorflow_probability", "BatchConcat"): ("distributions",),
    ("tensorflow_probability", "BatchReshape"): ("distribution",),
    ("tensorflow_probability", "Independent"): ("distribution",),
    ("tensorflow_probability", "Masked"): ("distribution",),
    ("tensorflow_probability", "Mixture"): ("components",),
    ("tensorflow_probability", "MixtureSameFamily"): ("components_distribution",),
    ("tensorflow_probability", "Sample"): ("distribution",),
    ("numpyro", "ExpandedDistribution"): ("base_dist",),
    ("numpyro", "FoldedDistribution"): ("base_dist",),
    ("numpyro", "GaussianCopula"): ("marginal_dist",),
    ("numpyro", "Independent"): ("base_dist",),
    ("numpyro", "LeftTruncatedDistribution"): ("base_dist",),
    ("numpyro", "MaskedDistribution"): ("base_dist",),
    ("numpyro", "MixtureGeneral"): ("component_distributions",),
    ("numpyro", "MixtureSameFamily"): ("component_distribution",),
    ("numpyro", "RightTruncatedDistribution"): ("base_dist",),
    ("numpyro", "TwoSidedTruncatedDistribution"): ("base_dist",),
    ("bijectree", "Counted"): ("distribution",),
    ("distrax", "Independent"): ("distribution",),
    ("distrax", "MixtureOfTwo"): ("_component_a", "_component_b"),
    ("distrax", "MixtureSameFamily"): ("components_distribution",),
}

# Attributes that hold a part of a distribution: its values are the part's, or start from
# them.
_PARTS = (
    *("distribution", "distributions", "base_dist", "marginal_dist"),
    *("components", "components_distribution", "component_distribution"),
    *("component_distributions", "initial_state_prior", "observation_distribution"),
)


def library_and_name(x: Any) -> tuple[str, str]:
    """The package of an object's class, and its name."""
    return type(x).__module__.split(".")[0], type(x).__name__.removeprefix("_")


def parts_of(distribution: Any, attributes: tuple[str, ...] = _PARTS) -> list[Any]:
    """The parts of a distribution: the distributions that it is made of."""
    found = []
    for attribute in attributes:
        value = lookup.read(distribution, attribute)
        for part in value if isinstance(value, (list, tuple)) else [value]:
            if hasattr(part, "log_prob"):
                found.append(part)
    return found


def is_proven(distribution: Any) -> bool:
    """Whether a distribution, and all that it is made of, is known to be right."""
    if lookup.is_registered(distribution):  # with a bijector of which nothing is known
        return False
    library, name = key = library_and_name(distribution)
    if name in _PROVEN.get(library, ()):
        return True
    if key in _MADE_OF:
        parts = made_of(distribution)
        return bool(parts) and all(map(is_proven, parts))
    transformed = name in (
        "TransformedDistribution",
        "LambertWDistribution",
        "SinhArcsinh",
    )
    if library == "tensorflow_probability" and transformed:
        return is_proven(distribution.distribution) and _is_proven_map(distribution)
    if key == ("numpyro", "TransformedDistribution"):
        known = lookup.known_bijector(distribution) is not None
        return is_proven(distribution.base_dist) and known
    return False


def made_of(distribution: Any) -> list[Any]:
    """The parts of a distribution that is right if they are; none of any other."""
    return parts_of(distribution, _MADE_OF.get(library_and_name(distribution), ()))


def _is_proven_map(distribution: Any) -> bool:
    """Whether the log-det of TFP's bijector is known to be right for what it maps."""
    chart = lookup.known_bijector(distribution.distribution)
    if chart is None:
        return False
    given = support(chart)
    # On sets with fewer dimensions than entries, TFP's log-dets count all entries.
    unmoved = type(distribution.bijector) in (tfb.Identity, tfb.Shift)
    known = given.tag not in (SetTag.ANGLES, SetTag.UNKNOWN)
    proven = knowledge_of(distribution.bijector, given).proven
    return (given.solid or unmoved) and known and proven


def wrong_by_value(distribution: Any) -> str:
    """Why a distribution of a class that is right is wrong for the numbers that it has.

    Returns:
        Why, and what to use instead; "" if nothing is known against it.
    """
    library, name = library_and_name(distribution)
    if (library, name) == ("tensorflow_probability", "GeneralizedExtremeValue"):
        shape = distribution.concentration
        if not isinstance(shape, Tracer) and np.any(np.asarray(shape) == 0):
            return (
                "TFP's density is 0 on a part of the line where the concentration is 0; "
                "use tfd.Gumbel there"
            )
    if (library, name) == ("numpyro", "FoldedDistribution"):
        base = distribution.base_dist
        chart = lookup.known_bijector(base)
        span = None if chart is None else interval_of(chart)
        if span is None or not span.everything:
            return (
                "it adds the densities of x and −x, and that of its base distribution, "
                f"{type(base).__name__}, need not be 0 off its support; fold one of all "
                "real numbers"
            )
    return ""


# Densities with poles at the ends of their support, or tails that outgrow any dtype, for
# some of their parameters.
_OUTGROWING = frozenset(
    """Beta BetaProportion Chi Chi2 CholeskyLKJ Dagum Dirichlet DoublyTruncatedPowerLaw
    Gamma GammaGamma GeneralizedPareto HalfCauchy HalfStudentT InverseGamma InverseWishart
    InverseWishartCholesky Kumaraswamy LKJ LKJCholesky LeftTruncatedGamma Levy LogLogistic
    LogNormal LogUniform LogitNormal LowerTruncatedPowerLaw Pareto RelaxedBernoulli
    RelaxedBernoulliLogits RelaxedOneHotCategorical TransformedDistribution Weibull
    WishartCholesky WishartLinearOperator WishartTriL Wishart""".split()
)


def may_outgrow(distribution: Any) -> bool:
    """Whether a distribution may have mass where a dtype has no numbers."""
    library, name = library_and_name(distribution)
    if library not in _PROVEN:
        return True
    parts = parts_of(distribution)
    return name in _OUTGROWING or any(map(may_outgrow, parts))


def has_traced_numbers(tree: Any) -> bool:
    """Whether numbers in a tree, or what is computed of them here, are not known."""
    leaves = (*jax.tree.leaves(tree), jnp.zeros(()))
    return any(isinstance(x, Tracer) for x in leaves)
