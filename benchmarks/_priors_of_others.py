"""One distribution of each of NumPyro's and distrax's classes, or several.

For `sweep_priors`.
"""

import importlib.util
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as nd
from numpyro.distributions import constraints

_HALF = np.float32([0.5, 0.5])
_ZEROS, _ONES = np.zeros(2, np.float32), np.ones(2, np.float32)
_MATRIX = np.float32([[1.5, 0.0], [0.4, 0.8]])
_COVARIANCE = _MATRIX @ _MATRIX.T
_PARTS = np.float32([0.7, 1.5, 2.5])
_t = nd.transforms


def _mixing() -> Any:
    return nd.Categorical(probs=jnp.asarray(_HALF))


NUMPYRO: dict[str, Callable[[], Any]] = {
    "AsymmetricLaplace": lambda: nd.AsymmetricLaplace(0.1, 1.5, 1.2),
    "AsymmetricLaplaceQuantile": lambda: nd.AsymmetricLaplaceQuantile(0.1, 1.5, 0.3),
    "BernoulliLogits": lambda: nd.BernoulliLogits(0.3),
    "BernoulliProbs": lambda: nd.BernoulliProbs(0.3),
    "Beta": lambda: nd.Beta(0.867, 3.03),
    "BetaBinomial": lambda: nd.BetaBinomial(1.0, 2.0, 3),
    "BetaNegativeBinomial": lambda: nd.BetaNegativeBinomial(1.0, 2.0, 3),
    "BetaProportion": lambda: nd.BetaProportion(0.3, 4.0),
    "BinomialLogits": lambda: nd.BinomialLogits(0.3, 3),
    "BinomialProbs": lambda: nd.BinomialProbs(0.3, 3),
    "CAR": lambda: nd.CAR(_ZEROS, 0.3, 2.0, jnp.array([[0.0, 1.0], [1.0, 0.0]])),
    "CategoricalLogits": lambda: nd.CategoricalLogits(jnp.zeros(2)),
    "CategoricalProbs": _mixing,
    "Cauchy": lambda: nd.Cauchy(0.1, 1.5),
    "Chi2": lambda: nd.Chi2(3.0),
    "CirculantNormal": lambda: nd.CirculantNormal(
        jnp.zeros(3), covariance_row=jnp.array([1.0, 0.2, 0.2])
    ),
    "Dagum": lambda: nd.Dagum(2.0, 1.5, 1.0),
    "Delta": lambda: nd.Delta(1.0),
    "Dirichlet": lambda: nd.Dirichlet(jnp.asarray(_PARTS)),
    "DirichletMultinomial": lambda: nd.DirichletMultinomial(jnp.asarray(_PARTS), 3),
    "DiscreteUniform": lambda: nd.DiscreteUniform(0, 3),
    "DoublyTruncatedPowerLaw": lambda: nd.DoublyTruncatedPowerLaw(-1.5, 1.0, 3.0),
    "EulerMaruyama": lambda: nd.EulerMaruyama(
        jnp.array([0.0, 0.1, 0.2]), lambda x, t: (-x, 1.0), nd.Normal(0.0, 1.0)
    ),
    "ExpandedDistribution": lambda: nd.Gamma(2.0, 1.5).expand([2]),
    "Exponential": lambda: nd.Exponential(1.5),
    "FoldedDistribution": lambda: nd.FoldedDistribution(nd.Normal(0.5, 1.0)),
    "FoldedDistribution of Gamma": lambda: nd.FoldedDistribution(nd.Gamma(2.0, 1.0)),
    "Gamma": lambda: nd.Gamma(2.5, 1.5),
    "GammaPoisson": lambda: nd.GammaPoisson(2.0, 1.5),
    "GaussianCopula": lambda: nd.GaussianCopula(
        nd.Gamma(2.0, 1.5), correlation_cholesky=jnp.array([[1.0, 0.0], [0.6, 0.8]])
    ),
    "GaussianCopulaBeta": lambda: nd.GaussianCopulaBeta(
        2.0, 1.5, correlation_cholesky=jnp.array([[1.0, 0.0], [0.6, 0.8]])
    ),
    "GaussianRandomWalk": lambda: nd.GaussianRandomWalk(0.7, 2),
    "GaussianStateSpace": lambda: nd.GaussianStateSpace(
        2, jnp.array([[0.7]]), covariance_matrix=jnp.array([[0.5]])
    ),
    "GeometricLogits": lambda: nd.GeometricLogits(0.3),
    "GeometricProbs": lambda: nd.GeometricProbs(0.3),
    "Gompertz": lambda: nd.Gompertz(1.0, 1.5),
    "Gumbel": lambda: nd.Gumbel(0.1, 1.5),
    "HalfCauchy": lambda: nd.HalfCauchy(2.0),
    "HalfNormal": lambda: nd.HalfNormal(2.0),
    "HurdleGamma": lambda: nd.HurdleGamma(0.3, 2.0, 1.5),
    "HurdleLogNormal": lambda: nd.HurdleLogNormal(0.3, 0.1, 1.5),
    "HurdleLogits": lambda: nd.HurdleLogits(nd.Poisson(2.0), gate_logits=0.3),
    "HurdlePoisson": lambda: nd.HurdlePoisson(0.3, 2.0),
    "HurdleProbs": lambda: nd.HurdleProbs(nd.Poisson(2.0), gate=0.3),
    "ImproperUniform": lambda: nd.ImproperUniform(constraints.positive, (), ()),
    "Independent": lambda: nd.Gamma(jnp.ones(2), 1.5).to_event(1),
    "IntervalCensoredDistribution": lambda: nd.IntervalCensoredDistribution(
        nd.Normal(0.0, 1.0), jnp.array(0), jnp.array(0)
    ),
    "InverseGamma": lambda: nd.InverseGamma(3.0, 2.0),
    "InverseWishart": lambda: nd.InverseWishart(
        5.0, scale_matrix=jnp.asarray(_COVARIANCE)
    ),
    "InverseWishartCholesky": lambda: nd.InverseWishartCholesky(
        5.0, scale_matrix=jnp.asarray(_COVARIANCE)
    ),
    "Kumaraswamy": lambda: nd.Kumaraswamy(1.5, 2.5),
    "LKJ": lambda: nd.LKJ(2, 1.5),
    "LKJ of 3": lambda: nd.LKJ(3, 1.5),
    "LKJCholesky": lambda: nd.LKJCholesky(2, 1.5),
    "LKJCholesky of 3": lambda: nd.LKJCholesky(3, 1.5),
    "Laplace": lambda: nd.Laplace(0.1, 1.5),
    "LeftCensoredDistribution": lambda: nd.LeftCensoredDistribution(
        nd.Normal(0.0, 1.0), jnp.array(0)
    ),
    "LeftTruncatedDistribution": lambda: nd.LeftTruncatedDistribution(
        nd.Normal(0.0, 1.0), 0.5
    ),
    "LeftTruncatedGamma": lambda: nd.LeftTruncatedGamma(nd.Gamma(2.0, 1.5), 0.5),
    "Levy": lambda: nd.Levy(1.0, 2.0),
    "LogNormal": lambda: nd.LogNormal(0.1, 0.7),
    "LogUniform": lambda: nd.LogUniform(1.0, 3.0),
    "Logistic": lambda: nd.Logistic(0.1, 1.5),
    "LowRankMultivariateNormal": lambda: nd.LowRankMultivariateNormal(
        jnp.zeros(2), jnp.ones((2, 1)), jnp.ones(2)
    ),
    "LowerTruncatedPowerLaw": lambda: nd.LowerTruncatedPowerLaw(-2.5, 1.0),
    "MaskedDistribution": lambda: nd.Normal(0.1, 1.5).mask(np.array(1) > 0),
    "MatrixNormal": lambda: nd.MatrixNormal(
        jnp.zeros((2, 2)), jnp.asarray(_MATRIX), jnp.asarray(_MATRIX)
    ),
    "MixtureGeneral": lambda: nd.MixtureGeneral(
        _mixing(), [nd.Gamma(3.0, 1.0), nd.LogNormal(0.0, 1.0)]
    ),
    "MixtureGeneral of unlike supports": lambda: nd.MixtureGeneral(
        _mixing(),
        [nd.Gamma(3.0, 1.0), nd.Normal(0.0, 1.0)],
        support=constraints.real,
    ),
    "MixtureSameFamily": lambda: nd.MixtureSameFamily(
        _mixing(), nd.Normal(jnp.array([-1.0, 2.0]), 1.0)
    ),
    "MultinomialLogits": lambda: nd.MultinomialLogits(jnp.zeros(2), 3),
    "MultinomialProbs": lambda: nd.MultinomialProbs(jnp.asarray(_HALF), 3),
    "MultivariateNormal": lambda: nd.MultivariateNormal(
        jnp.zeros(2), scale_tril=jnp.asarray(_MATRIX)
    ),
    "MultivariateStudentT": lambda: nd.MultivariateStudentT(
        4.0, jnp.zeros(2), jnp.asarray(_MATRIX)
    ),
    "NegativeBinomial2": lambda: nd.NegativeBinomial2(2.0, 1.5),
    "NegativeBinomialLogits": lambda: nd.NegativeBinomialLogits(2.0, 0.3),
    "NegativeBinomialProbs": lambda: nd.NegativeBinomialProbs(2.0, 0.3),
    "Normal": lambda: nd.Normal(0.1, 1.5),
    "OrderedLogistic": lambda: nd.OrderedLogistic(0.3, jnp.array([0.0, 1.0])),
    "Pareto": lambda: nd.Pareto(1.5, 2.5),
    "Poisson": lambda: nd.Poisson(2.0),
    "ProjectedNormal": lambda: nd.ProjectedNormal(jnp.array([0.3, 0.6, 0.8])),
    "RelaxedBernoulliLogits": lambda: nd.RelaxedBernoulliLogits(0.7, 0.3),
    "RightCensoredDistribution": lambda: nd.RightCensoredDistribution(
        nd.Normal(0.0, 1.0), jnp.array(0)
    ),
    "RightTruncatedDistribution": lambda: nd.RightTruncatedDistribution(
        nd.Normal(0.0, 1.0), 0.5
    ),
    "RightTruncatedGamma": lambda: nd.RightTruncatedGamma(nd.Gamma(2.0, 1.5), 1.5),
    "SineBivariateVonMises": lambda: nd.SineBivariateVonMises(0.1, 0.2, 1.5, 2.0, 0.5),
    "SineSkewed": lambda: nd.SineSkewed(
        nd.SineBivariateVonMises(0.1, 0.2, 1.5, 2.0, 0.5), jnp.array([0.2, 0.1])
    ),
    "SoftLaplace": lambda: nd.SoftLaplace(0.1, 1.5),
    "StudentT": lambda: nd.StudentT(3.0, 0.1, 1.5),
    "TransformedDistribution": lambda: nd.TransformedDistribution(
        nd.Normal(0.1, 0.5), _t.SoftplusTransform()
    ),
    "TransformedDistribution, even": lambda: nd.TransformedDistribution(
        nd.Normal(0.5, 1.0), _t.PowerTransform(2.0)
    ),
    "TransformedDistribution, absolute": lambda: nd.TransformedDistribution(
        nd.Normal(0.5, 1.0), _t.AbsTransform()
    ),
    "TransformedDistribution of Dirichlet": lambda: nd.TransformedDistribution(
        nd.Dirichlet(jnp.asarray(_PARTS)), _t.AffineTransform(0.0, 2.0)
    ),
    "TransformedDistribution, ordered": lambda: nd.TransformedDistribution(
        nd.Normal(jnp.zeros(2), 1.0).to_event(1), _t.OrderedTransform()
    ),
    "TruncatedCauchy": lambda: nd.TruncatedCauchy(0.1, 1.0, low=-1.0, high=3.0),
    "TruncatedNormal": lambda: nd.TruncatedNormal(0.1, 1.0, low=-1.0, high=3.0),
    "TruncatedPolyaGamma": lambda: nd.TruncatedPolyaGamma(),
    "TwoSidedTruncatedDistribution": lambda: nd.TwoSidedTruncatedDistribution(
        nd.Normal(0.0, 1.0), -1.0, 2.0
    ),
    "TwoSidedTruncatedGamma": lambda: nd.TwoSidedTruncatedGamma(
        nd.Gamma(2.0, 1.5), 0.5, 2.0
    ),
    "Uniform": lambda: nd.Uniform(-1.0, 3.0),
    "Unit": lambda: nd.Unit(jnp.array(0.3)),
    "VonMises": lambda: nd.VonMises(0.4, 1.5),
    "Weibull": lambda: nd.Weibull(2.0, 1.5),
    "Wishart": lambda: nd.Wishart(4.0, scale_matrix=jnp.asarray(_COVARIANCE)),
    "WishartCholesky": lambda: nd.WishartCholesky(
        4.0, scale_matrix=jnp.asarray(_COVARIANCE)
    ),
    "ZeroInflatedLogits": lambda: nd.ZeroInflatedLogits(nd.Poisson(2.0), gate_logits=0.3),
    "ZeroInflatedPoisson": lambda: nd.ZeroInflatedPoisson(0.3, 2.0),
    "ZeroInflatedProbs": lambda: nd.ZeroInflatedProbs(nd.Poisson(2.0), gate=0.3),
    "ZeroSumNormal": lambda: nd.ZeroSumNormal(1.5, (3,)),
}


def distrax_cases() -> dict[str, Callable[[], Any]]:
    """Those of distrax, if it is installed."""
    if importlib.util.find_spec("distrax") is None:
        return {}
    import distrax as dx

    return {
        "Bernoulli": lambda: dx.Bernoulli(probs=0.3),
        "Beta": lambda: dx.Beta(0.867, 3.03),
        "Categorical": lambda: dx.Categorical(probs=_HALF),
        "CategoricalUniform": lambda: dx.CategoricalUniform(
            low=0.0, high=1.0, logits=_ZEROS
        ),
        "Clipped": lambda: dx.Clipped(dx.Normal(0.0, 1.0), -1.0, 1.0),
        "Deterministic": lambda: dx.Deterministic(1.0),
        "Dirichlet": lambda: dx.Dirichlet(_PARTS),
        "Gamma": lambda: dx.Gamma(2.5, 1.5),
        "Gumbel": lambda: dx.Gumbel(0.1, 1.5),
        "Independent": lambda: dx.Independent(dx.Normal(_ZEROS, 1.0), 1),
        "Laplace": lambda: dx.Laplace(0.1, 1.5),
        "LogStddevNormal": lambda: dx.LogStddevNormal(0.1, 0.5),
        "Logistic": lambda: dx.Logistic(0.1, 1.5),
        "MixtureOfTwo": lambda: dx.MixtureOfTwo(
            0.3, dx.Normal(0.0, 1.0), dx.Normal(1.0, 2.0)
        ),
        "MixtureSameFamily": lambda: dx.MixtureSameFamily(
            dx.Categorical(probs=_HALF), dx.Normal(np.float32([-1.0, 2.0]), 1.0)
        ),
        "Multinomial": lambda: dx.Multinomial(3, probs=_HALF),
        "MultivariateNormalDiag": lambda: dx.MultivariateNormalDiag(_ZEROS, _ONES),
        "MultivariateNormalFullCovariance": (
            lambda: dx.MultivariateNormalFullCovariance(_ZEROS, _COVARIANCE)
        ),
        "MultivariateNormalTri": lambda: dx.MultivariateNormalTri(_ZEROS, _MATRIX),
        "Normal": lambda: dx.Normal(0.1, 1.5),
        "OneHotCategorical": lambda: dx.OneHotCategorical(probs=_HALF),
        "Quantized": lambda: dx.Quantized(dx.Normal(0.0, 5.0)),
        "Transformed": lambda: dx.Transformed(dx.Normal(0.1, 0.5), dx.Sigmoid()),
        "Transformed by Chain": lambda: dx.Transformed(
            dx.Normal(0.1, 0.5), dx.Chain([dx.ScalarAffine(1.0, 2.0), dx.Sigmoid()])
        ),
        "Uniform": lambda: dx.Uniform(-1.0, 3.0),
        "VonMises": lambda: dx.VonMises(0.4, 1.5),
    }
