"""Every density of TFP, NumPyro and distrax at a leaf that it fits: right, or refused.

    python -m benchmarks.sweep_priors

writes `sweep_priors.md` beside this file. Each distribution is the prior of one leaf, whose
bijector `bt.spec_from_prior` finds. Its density over free coordinates integrates to 1: by
quadrature where there is one coordinate. By its library's own draws it does as well, which
holds the draws to the density: with q a normal distribution over free coordinates, narrower
than the draws, the mean of q/p over draws of p is 1. distrax is left out where it is not
installed.
"""

import argparse
import dataclasses
import importlib.metadata
import importlib.util
import inspect
import math
import pathlib
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as nd
from numpyro.distributions import constraints

import bijectree as bt
from bijectree import tfb, tfd
from bijectree.numerics import run_in_numpy
from bijectree.priors import sample_in_numpy, split

HERE = pathlib.Path(__file__).parent
PRECISIONS = (np.float32, np.float64)
_DRAWS = 4000
# Of an integral by quadrature, as the package promises; of a mean over draws, beside five
# of its standard errors.
_MASS, _MEAN = 1e-3, 0.01
# A log-density below which nothing is seen of a distribution.
_UNSEEN = -20.0
_HALF = np.float32([0.5, 0.5])
_ZEROS, _ONES = np.zeros(2, np.float32), np.ones(2, np.float32)
_MATRIX = np.float32([[1.5, 0.0], [0.4, 0.8]])
_COVARIANCE = _MATRIX @ _MATRIX.T
_PARTS = np.float32([0.7, 1.5, 2.5])
_PLACES = np.float32([[0.0], [1.0]])
_t = nd.transforms


def _operator(matrix: Any) -> Any:
    """A linear operator of TFP, which exports its classes in another module."""
    from tensorflow_probability.substrates.jax import tf2jax

    return tf2jax.linalg.LinearOperatorLowerTriangular(matrix)


def _kernel() -> Any:
    from tensorflow_probability.substrates.jax.math import psd_kernels

    return psd_kernels.ExponentiatedQuadratic(np.float32(1.0), np.float32(0.7))


def _given() -> dict[str, Any]:
    """What is known of a process, for its regression."""
    return {
        "index_points": _PLACES,
        "observation_index_points": np.float32([[0.4]]),
        "observations": np.float32([0.3]),
        "observation_noise_variance": np.float32(0.1),
    }


def _state_space() -> Any:
    return tfd.LinearGaussianStateSpaceModel(
        num_timesteps=2,
        transition_matrix=np.float32([[0.7]]),
        transition_noise=tfd.MultivariateNormalDiag(scale_diag=np.float32([0.5])),
        observation_matrix=np.float32([[1.0]]),
        observation_noise=tfd.MultivariateNormalDiag(scale_diag=np.float32([0.3])),
        initial_state_prior=tfd.MultivariateNormalDiag(scale_diag=np.float32([1.0])),
    )


TFP: dict[str, Callable[[], Any]] = {
    "Autoregressive": lambda: tfd.Autoregressive(
        lambda x: tfd.Independent(tfd.Normal(0.5 * x, 1.0), 1), _ZEROS, 2
    ),
    "BatchBroadcast": lambda: tfd.BatchBroadcast(tfd.Gamma(2.0, 1.0), 2),
    "BatchConcat": lambda: tfd.BatchConcat(
        [tfd.Normal(_ZEROS, 1.0), tfd.Normal(_ONES, 2.0)], 0
    ),
    "BatchConcat of Poisson": lambda: tfd.BatchConcat(
        [tfd.Poisson(_ONES), tfd.Poisson(_ONES)], 0
    ),
    "BatchReshape": lambda: tfd.BatchReshape(tfd.Beta(_ONES, 2.0), [2, 1]),
    "Bates": lambda: tfd.Bates(3.0),
    "Bernoulli": lambda: tfd.Bernoulli(probs=0.3),
    "Beta": lambda: tfd.Beta(0.867, 3.03),
    "Beta with poles": lambda: tfd.Beta(0.1, 0.1),
    "BetaBinomial": lambda: tfd.BetaBinomial(3.0, 1.0, 2.0),
    "BetaQuotient": lambda: tfd.BetaQuotient(2.0, 3.0, 2.0, 3.0),
    "Binomial": lambda: tfd.Binomial(3.0, probs=0.3),
    "Blockwise": lambda: tfd.Blockwise([tfd.Normal(0.0, 1.0), tfd.Normal(0.0, 2.0)]),
    "Categorical": lambda: tfd.Categorical(probs=_HALF),
    "Cauchy": lambda: tfd.Cauchy(0.3, 2.0),
    "Chi": lambda: tfd.Chi(3.0),
    "Chi2": lambda: tfd.Chi2(3.0),
    "CholeskyLKJ": lambda: tfd.CholeskyLKJ(2, 1.5),
    "CholeskyLKJ of 3": lambda: tfd.CholeskyLKJ(3, 1.5),
    "ContinuousBernoulli": lambda: tfd.ContinuousBernoulli(probs=0.3),
    "DeterminantalPointProcess": lambda: tfd.DeterminantalPointProcess(
        _ONES, np.eye(2, dtype=np.float32)
    ),
    "Deterministic": lambda: tfd.Deterministic(1.0),
    "Dirichlet": lambda: tfd.Dirichlet(_PARTS),
    "DirichletMultinomial": lambda: tfd.DirichletMultinomial(3.0, _PARTS),
    "DoublesidedMaxwell": lambda: tfd.DoublesidedMaxwell(0.2, 1.5),
    "Empirical": lambda: tfd.Empirical(np.float32([0.0, 1.0, 2.0])),
    "ExpGamma": lambda: tfd.ExpGamma(2.0, 1.5),
    "ExpInverseGamma": lambda: tfd.ExpInverseGamma(2.0, 1.5),
    "ExpRelaxedOneHotCategorical": lambda: tfd.ExpRelaxedOneHotCategorical(
        0.7, probs=_HALF
    ),
    "Exponential": lambda: tfd.Exponential(1.5),
    "ExponentiallyModifiedGaussian": lambda: tfd.ExponentiallyModifiedGaussian(
        0.2, 1.0, 1.5
    ),
    "FiniteDiscrete": lambda: tfd.FiniteDiscrete(_ONES * [0, 1], probs=_HALF),
    "FlatDirichlet": lambda: tfd.FlatDirichlet([3]),
    "Gamma": lambda: tfd.Gamma(2.5, 1.5),
    "Gamma with a pole": lambda: tfd.Gamma(0.01, 1.0),
    "GammaGamma": lambda: tfd.GammaGamma(2.0, 3.0, 1.0),
    "GaussianProcess": lambda: tfd.GaussianProcess(
        _kernel(), _PLACES, observation_noise_variance=np.float32(0.1)
    ),
    "GaussianProcessRegressionModel": lambda: tfd.GaussianProcessRegressionModel(
        _kernel(), **_given()
    ),
    "GeneralizedExtremeValue": lambda: tfd.GeneralizedExtremeValue(0.1, 1.0, 0.5),
    "GeneralizedExtremeValue, below": lambda: tfd.GeneralizedExtremeValue(0.1, 1.0, -0.5),
    "GeneralizedExtremeValue of 0": lambda: tfd.GeneralizedExtremeValue(0.1, 1.0, 0.0),
    "GeneralizedNormal": lambda: tfd.GeneralizedNormal(0.1, 1.0, 1.5),
    "GeneralizedPareto": lambda: tfd.GeneralizedPareto(1.0, 2.0, 0.5),
    "GeneralizedPareto, bounded": lambda: tfd.GeneralizedPareto(1.0, 2.0, -0.5),
    "Geometric": lambda: tfd.Geometric(probs=0.3),
    "Gumbel": lambda: tfd.Gumbel(0.1, 1.5),
    "HalfCauchy": lambda: tfd.HalfCauchy(1.0, 2.0),
    "HalfNormal": lambda: tfd.HalfNormal(2.0),
    "HalfStudentT": lambda: tfd.HalfStudentT(3.0, 1.0, 2.0),
    "HiddenMarkovModel": lambda: tfd.HiddenMarkovModel(
        tfd.Categorical(probs=_HALF),
        tfd.Categorical(probs=np.float32([[0.8, 0.2], [0.3, 0.7]])),
        tfd.Normal(_ZEROS + np.float32([-1.0, 1.0]), 1.0),
        2,
    ),
    "Horseshoe": lambda: tfd.Horseshoe(1.0),
    "Independent": lambda: tfd.Independent(tfd.Gamma(_ONES, 1.0), 1),
    "Inflated": lambda: tfd.Inflated(tfd.Normal(0.0, 1.0), 0.3),
    "InverseGamma": lambda: tfd.InverseGamma(3.0, 2.0),
    "InverseGaussian": lambda: tfd.InverseGaussian(1.0, 2.0),
    "JohnsonSU": lambda: tfd.JohnsonSU(0.3, 1.2, 0.1, 1.5),
    "JointDistributionSequential": lambda: tfd.JointDistributionSequential(
        [tfd.Normal(0.0, 1.0), tfd.Normal(0.0, 1.0)]
    ),
    "Kumaraswamy": lambda: tfd.Kumaraswamy(1.5, 2.5),
    "LKJ": lambda: tfd.LKJ(2, 1.5),
    "LKJ of 3": lambda: tfd.LKJ(3, 1.5),
    "LambertWDistribution": lambda: tfd.LambertWDistribution(
        tfd.Normal(0.0, 1.0), 0.1, 1.0, 0.2
    ),
    "LambertWNormal": lambda: tfd.LambertWNormal(0.1, 1.0, 0.2),
    "Laplace": lambda: tfd.Laplace(0.1, 1.5),
    "LinearGaussianStateSpaceModel": _state_space,
    "LogLogistic": lambda: tfd.LogLogistic(0.1, 0.5),
    "LogNormal": lambda: tfd.LogNormal(0.1, 0.7),
    "Logistic": lambda: tfd.Logistic(0.1, 1.5),
    "LogitNormal": lambda: tfd.LogitNormal(0.1, 1.5),
    "MarkovChain": lambda: tfd.MarkovChain(
        tfd.Normal(0.0, 1.0), lambda _, x: tfd.Normal(0.7 * x, 0.5), 2
    ),
    "MarkovChain of Poisson": lambda: tfd.MarkovChain(
        tfd.Poisson(1.0), lambda _, x: tfd.Poisson(1.0 + x), 2
    ),
    "Masked": lambda: tfd.Masked(tfd.Normal(_ZEROS, 1.0), np.array([True, True])),
    "MatrixNormalLinearOperator": lambda: tfd.MatrixNormalLinearOperator(
        np.zeros((2, 2), np.float32), _operator(_MATRIX), _operator(_MATRIX)
    ),
    "MatrixTLinearOperator": lambda: tfd.MatrixTLinearOperator(
        np.float32(5.0),
        np.zeros((2, 2), np.float32),
        _operator(_MATRIX),
        _operator(_MATRIX),
    ),
    "Mixture": lambda: tfd.Mixture(
        tfd.Categorical(probs=_HALF), [tfd.Gamma(3.0, 1.0), tfd.LogNormal(0.0, 1.0)]
    ),
    "Mixture of unlike supports": lambda: tfd.Mixture(
        tfd.Categorical(probs=_HALF), [tfd.Gamma(3.0, 1.0), tfd.Normal(0.0, 1.0)]
    ),
    "MixtureSameFamily": lambda: tfd.MixtureSameFamily(
        tfd.Categorical(probs=_HALF), tfd.Normal(np.float32([-1.0, 2.0]), 1.0)
    ),
    "Moyal": lambda: tfd.Moyal(0.1, 1.5),
    "Multinomial": lambda: tfd.Multinomial(3.0, probs=_HALF),
    "MultivariateNormalDiag": lambda: tfd.MultivariateNormalDiag(_ZEROS, _ONES),
    "MultivariateNormalDiagPlusLowRank": lambda: tfd.MultivariateNormalDiagPlusLowRank(
        _ZEROS, _ONES, scale_perturb_factor=_ONES[:, None]
    ),
    "MultivariateNormalDiagPlusLowRankCovariance": (
        lambda: tfd.MultivariateNormalDiagPlusLowRankCovariance(
            _ZEROS, _ONES, _ONES[:, None]
        )
    ),
    "MultivariateNormalFullCovariance": lambda: tfd.MultivariateNormalFullCovariance(
        _ZEROS, _COVARIANCE
    ),
    "MultivariateNormalLinearOperator": lambda: tfd.MultivariateNormalLinearOperator(
        _ZEROS, _operator(_MATRIX)
    ),
    "MultivariateNormalTriL": lambda: tfd.MultivariateNormalTriL(_ZEROS, _MATRIX),
    "MultivariateStudentTLinearOperator": lambda: tfd.MultivariateStudentTLinearOperator(
        np.float32(4.0), _ZEROS, _operator(_MATRIX)
    ),
    "NegativeBinomial": lambda: tfd.NegativeBinomial(2.0, probs=0.5),
    "NoncentralChi2": lambda: tfd.NoncentralChi2(3.0, 1.0),
    "Normal": lambda: tfd.Normal(0.1, 1.5),
    "NormalInverseGaussian": lambda: tfd.NormalInverseGaussian(0.1, 1.0, 1.5, 0.5),
    "OneHotCategorical": lambda: tfd.OneHotCategorical(probs=_HALF),
    "OrderedLogistic": lambda: tfd.OrderedLogistic(_ONES * [0, 1], 0.3),
    "PERT": lambda: tfd.PERT(-1.0, 0.5, 3.0),
    "Pareto": lambda: tfd.Pareto(2.5, 1.5),
    "PlackettLuce": lambda: tfd.PlackettLuce(_PARTS),
    "Poisson": lambda: tfd.Poisson(2.0),
    "PoissonLogNormalQuadratureCompound": (
        lambda: tfd.PoissonLogNormalQuadratureCompound(0.1, 0.5)
    ),
    "PowerSpherical": lambda: tfd.PowerSpherical(np.float32([0.0, 0.6, 0.8]), 2.0),
    "ProbitBernoulli": lambda: tfd.ProbitBernoulli(probs=0.3),
    "QuantizedDistribution": lambda: tfd.QuantizedDistribution(tfd.Normal(0.0, 5.0)),
    "RelaxedBernoulli": lambda: tfd.RelaxedBernoulli(0.7, probs=0.3),
    "RelaxedOneHotCategorical": lambda: tfd.RelaxedOneHotCategorical(
        0.7, probs=np.float32([0.2, 0.3, 0.5])
    ),
    "Sample": lambda: tfd.Sample(tfd.LogNormal(0.1, 0.5), 2),
    "SigmoidBeta": lambda: tfd.SigmoidBeta(2.0, 1.5),
    "SinhArcsinh": lambda: tfd.SinhArcsinh(0.1, 1.5, 0.3, 0.8),
    "SinhArcsinh of Exponential": lambda: tfd.SinhArcsinh(
        0.1, 1.5, 0.3, 0.8, distribution=tfd.Exponential(1.0)
    ),
    "Skellam": lambda: tfd.Skellam(1.0, 2.0),
    "SphericalUniform": lambda: tfd.SphericalUniform(3),
    "StoppingRatioLogistic": lambda: tfd.StoppingRatioLogistic(_ONES * [0, 1], 0.3),
    "StudentT": lambda: tfd.StudentT(3.0, 0.1, 1.5),
    "StudentTProcess": lambda: tfd.StudentTProcess(
        np.float32(5.0),
        _kernel(),
        _PLACES,
        observation_noise_variance=np.float32(0.1),
    ),
    "StudentTProcessRegressionModel": lambda: tfd.StudentTProcessRegressionModel(
        np.float32(5.0), _kernel(), **_given()
    ),
    "TransformedDistribution": lambda: tfd.TransformedDistribution(
        tfd.Normal(0.1, 0.5), tfb.Softplus()
    ),
    "TransformedDistribution, even": lambda: tfd.TransformedDistribution(
        tfd.Normal(0.5, 1.0), tfb.Square()
    ),
    "TransformedDistribution of Dirichlet by Cumsum": lambda: tfd.TransformedDistribution(
        tfd.Dirichlet(_PARTS), tfb.Cumsum()
    ),
    "TransformedDistribution of Dirichlet by Scale": lambda: tfd.TransformedDistribution(
        tfd.Dirichlet(_PARTS), tfb.Scale(2.0)
    ),
    "TransformedDistribution of Dirichlet by two Scales": lambda: (
        tfd.TransformedDistribution(
            tfd.TransformedDistribution(tfd.Dirichlet(_PARTS), tfb.Scale(2.0)),
            tfb.Scale(3.0),
        )
    ),
    "TransformedDistribution of CholeskyLKJ by TransformDiagonal": lambda: (
        tfd.TransformedDistribution(
            tfd.CholeskyLKJ(3, 1.5), tfb.TransformDiagonal(tfb.Exp())
        )
    ),
    "TransformedDistribution, ordered": lambda: tfd.TransformedDistribution(
        tfd.MultivariateNormalDiag(_ZEROS, _ONES), tfb.Ascending()
    ),
    "Triangular": lambda: tfd.Triangular(-1.0, 3.0, 0.5),
    "TruncatedCauchy": lambda: tfd.TruncatedCauchy(0.1, 1.0, -1.0, 3.0),
    "TruncatedNormal": lambda: tfd.TruncatedNormal(0.1, 1.0, -1.0, 3.0),
    "TwoPieceNormal": lambda: tfd.TwoPieceNormal(0.1, 1.5, 0.7),
    "TwoPieceStudentT": lambda: tfd.TwoPieceStudentT(4.0, 0.1, 1.5, 0.7),
    "Uniform": lambda: tfd.Uniform(-1.0, 3.0),
    "VariationalGaussianProcess": lambda: tfd.VariationalGaussianProcess(
        _kernel(),
        _PLACES,
        np.float32([[0.5]]),
        np.zeros(1, np.float32),
        np.eye(1, dtype=np.float32),
        observation_noise_variance=np.float32(0.1),
    ),
    "VectorDeterministic": lambda: tfd.VectorDeterministic(_ONES),
    "VonMises": lambda: tfd.VonMises(0.4, 1.5),
    "VonMisesFisher": lambda: tfd.VonMisesFisher(np.float32([0.0, 0.6, 0.8]), 2.0),
    "Weibull": lambda: tfd.Weibull(1.5, 2.0),
    "WishartLinearOperator": lambda: tfd.WishartLinearOperator(
        np.float32(4.0), _operator(_MATRIX)
    ),
    "WishartTriL": lambda: tfd.WishartTriL(4.0, _MATRIX),
    "ZeroInflatedNegativeBinomial": lambda: tfd.ZeroInflatedNegativeBinomial(
        0.3, total_count=2.0, probs=0.5
    ),
    "Zipf": lambda: tfd.Zipf(3.0),
}


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
    "MaskedDistribution": lambda: nd.Normal(0.1, 1.5).mask(True),
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


LIBRARIES = {"TFP": TFP, "NumPyro": NUMPYRO, "distrax": distrax_cases()}
_CANNOT_BE_A_PRIOR = {
    "TFP": {
        "AutoCompositeTensorDistribution": "is a base class",
        "Distribution": "is a base class",
        **dict.fromkeys(
            (
                *("JointDistribution", "JointDistributionCoroutine"),
                *("JointDistributionCoroutineAutoBatched", "JointDistributionNamed"),
                "JointDistributionNamedAutoBatched",
                "JointDistributionSequentialAutoBatched",
            ),
            "has several parts, as JointDistributionSequential has",
        ),
    },
    "NumPyro": {"Distribution": "is a base class"},
}


@dataclasses.dataclass(frozen=True)
class Found:
    """What came of one prior at one leaf.

    Attributes:
        verdict: "right", "warned", "refused", or "WRONG", which is a defect.
        why: what a refusal or a warning says, or what is wrong.
        how: by what it was found right.
    """

    verdict: str
    why: str = ""
    how: str = ""


def classes_without_a_case() -> list[str]:
    """The classes that TFP and NumPyro export and this sweep does not build."""
    missing = []
    for library, module in (("TFP", tfd), ("NumPyro", nd)):
        built = {name.split(",")[0].split(" ")[0] for name in LIBRARIES[library]}
        built |= _CANNOT_BE_A_PRIOR[library].keys()
        for name in dir(module):
            cls = getattr(module, name)
            if inspect.isclass(cls) and issubclass(cls, module.Distribution):
                missing += [] if name in built else [f"{library} {name}"]
    return missing


def look(make: Callable[[], Any], dtype: Any) -> Found:
    """Give a leaf a prior, and hold the density over free coordinates to 1."""
    try:
        distribution = make()
    except (ValueError, TypeError, NotImplementedError) as error:
        return Found("refused", f"its library does not build it: {error}")
    shape = (*_ints(distribution.batch_shape), *_ints(distribution.event_shape))
    model = {"x": jax.ShapeDtypeStruct(shape, dtype)}
    prior = {"x": distribution}
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            spec = bt.spec_from_prior(model, prior)
            posterior = bt.Posterior(bt.Reparam(model, spec), None, prior)
        except (ValueError, TypeError) as error:
            return Found("refused", _reason(error))
    ours = [str(w.message) for w in heard if "the prior" in str(w.message)]
    if ours:
        return Found("warned", ours[0])
    try:
        return _measure(posterior, spec["x"], distribution, np.dtype(dtype))
    except Exception as error:  # noqa: BLE001  what was accepted must not raise, whatever
        return Found(
            "WRONG", f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
        )


def _ints(shape: Any) -> tuple[int, ...]:
    try:
        return tuple(int(n) for n in shape)
    except (TypeError, ValueError):  # a shape of several parts
        return ()


def _reason(error: Exception) -> str:
    """The refusal without the leaf's path."""
    text = " ".join(str(error).split())
    return text.partition("'x': ")[2] or text


def _measure(posterior: Any, spec: Any, distribution: Any, dtype: np.dtype) -> Found:
    flat = posterior.flat()
    said: list[str] = []
    shape = (*distribution.batch_shape, *distribution.event_shape)
    normal = _of_the_radius(spec, shape)

    def densities(y: np.ndarray) -> np.ndarray:
        program = jax.make_jaxpr(jax.vmap(with_leaf))(y.astype(dtype))
        found, leaf = run_in_numpy(program, y.astype(dtype))
        finite = np.isfinite(leaf.reshape(len(y), -1)).all(axis=1)
        # Where a leaf has overflowed, a library need not know the density.
        overflown = np.isnan(found) & ~finite
        return np.where(overflown, -np.inf, found.astype(np.float64)) - normal

    def with_leaf(y: Any) -> tuple[Any, Any]:
        return flat.log_density(y), flat.forward(y)["x"]

    if isinstance(distribution, (nd.ImproperUniform, nd.Unit)):
        return Found("right", how="is not normalised, and says so")
    recipe, numbers = split(distribution)
    draws = sample_in_numpy(recipe, numbers, (_DRAWS, *shape))
    if flat.dim == 1 or (flat.dim == 2 and draws is None):
        total, fault = _quadrature(densities, flat.dim)
        if fault or abs(total - 1) > _MASS:
            return Found("WRONG", fault or f"it integrates to {total:.6g}")
        said.append(f"mass {total:.5f}")
    if draws is None:
        return Found("right" if said else "WRONG", "" if said else "no draws", *said)
    free = _free(posterior.reparam, spec, draws.astype(dtype))
    free = free[np.isfinite(free).all(axis=1)]  # others lie where the dtype ends
    log_q = _narrower(free)
    near = np.isfinite(log_q)
    ratio = np.zeros(_DRAWS)
    ratio[: near.sum()] = np.exp(log_q[near] - densities(free[near]))
    mean, error = ratio.mean(), ratio.std() / math.sqrt(_DRAWS)
    if not abs(mean - 1) <= _MEAN + 5 * error:
        return Found("WRONG", f"by its draws the mass is {1 / mean:.4g}")
    said.append(f"draws {mean:.3f} ± {error:.3f}")
    return Found("right", how=", ".join(said))


def _quadrature(densities: Callable[..., Any], dim: int) -> tuple[float, str]:
    """The integral over one free coordinate or two, or what is wrong at a point."""
    count, reach = ((8000, 9.5), (300, 4.0))[dim - 1]  # even, for a pole may be at 0
    t = np.linspace(-reach, reach, count)
    y = np.stack(np.meshgrid(*[np.sinh(t)] * dim), axis=-1).reshape(-1, dim)
    values = densities(y)
    # A square that overflows is NaN, as is a correlation matrix that has become singular:
    # that matters where there is a density.
    seen = np.nan_to_num(values, nan=-np.inf)
    beside = np.maximum(np.roll(seen, 1), np.roll(seen, -1))
    bad = (values == np.inf) | (np.isnan(values) & (beside > _UNSEEN))
    if bad.any():
        return math.nan, f"its log-density is {values[bad][0]} at free {y[bad][0]}"
    slopes = np.sqrt(1 + y * y).prod(axis=1)
    mass = np.sum(np.exp(seen) * slopes)
    return float(mass) * (t[1] - t[0]) ** dim, ""


def _of_the_radius(spec: Any, shape: tuple[int, ...]) -> float:
    """The logarithm of what the auxiliary density of a unit vector's radius adds."""
    if not _is_sphere(spec):  # that of a circle, of two coordinates, integrates to 1
        return 0.0
    return (0.5 * shape[-1] - 1) * math.log(2) + math.lgamma(0.5 * shape[-1])


def _is_sphere(spec: Any) -> bool:
    return spec is not None and bt.support(spec).description == "unit vectors"


def _free(reparam: Any, spec: Any, draws: np.ndarray) -> np.ndarray:
    """The free coordinates of draws; with a radius drawn where there is one."""
    inverse = jax.vmap(lambda x: reparam.ravel(reparam.inverse({"x": x})))
    free = run_in_numpy(jax.make_jaxpr(inverse)(draws), draws)[0].astype(np.float64)
    random = np.random.default_rng(0)
    shape = draws.shape[1:]
    if reparam.dim > math.prod(shape):
        pairs = free.reshape(len(free), -1, 2)
        radius = np.sqrt(random.chisquare(2, pairs.shape[:2]))[..., None]
        return (pairs * radius).reshape(free.shape)
    if _is_sphere(spec):
        return free * np.sqrt(random.chisquare(shape[-1], len(free)))[:, None]
    return free


def _narrower(free: np.ndarray) -> np.ndarray:
    """The log-density at draws of another distribution, where most of them are.

    That is the uniform one between two quantiles for one coordinate, else a normal one.
    """
    if free.shape[1] == 1:
        low, high = np.quantile(free, (0.1, 0.9))
        inside = (free[:, 0] > low) & (free[:, 0] < high)
        return np.where(inside, -math.log(high - low), -np.inf)
    center = np.median(free, axis=0)
    low, high = np.quantile(free, (0.16, 0.84), axis=0)
    scale = np.maximum(0.5 * (high - low), 1e-12)
    inside = np.all(np.abs(free - center) < 3 * scale, axis=1)
    correlation = np.cov((free[inside] / scale).T) + 1e-6 * np.eye(len(scale))
    factor = 0.7 * scale[:, None] * np.linalg.cholesky(correlation)
    z = np.linalg.solve(factor, (free - center).T)
    log_q = -0.5 * np.sum(z * z, axis=0) - np.linalg.slogdet(factor)[1]
    return log_q - 0.5 * len(scale) * math.log(2 * math.pi)


def sweep(
    libraries: Iterable[str] = tuple(LIBRARIES),
    names: Sequence[str] | None = None,
    precisions: Sequence[Any] = PRECISIONS,
) -> dict[tuple[str, str, str], Found]:
    """Look at each distribution at each precision."""
    found = {}
    with jax.enable_x64(True):
        for library in libraries:
            for name, make in LIBRARIES[library].items():
                if names is not None and name not in names:
                    continue
                for dtype in precisions:
                    key = library, name, np.dtype(dtype).name
                    import time

                    t0 = time.time()
                    found[key] = look(make, dtype)
                    print(f"{time.time() - t0:.1f}", key, found[key], flush=True)
    return found


_VERDICTS = ("right", "warned", "refused", "WRONG")


def as_table(found: dict[tuple[str, str, str], Found]) -> str:
    """The sweep as a page of Markdown."""
    dtypes = list(dict.fromkeys(dtype for _, _, dtype in found))
    count = {v: sum(f.verdict == v for f in found.values()) for v in _VERDICTS}
    packages = ("jax", "tfp-nightly", "numpyro", "distrax")
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in packages
        if importlib.util.find_spec(name.replace("tfp-nightly", "tensorflow_probability"))
    )
    rows = []
    for library, name in dict.fromkeys(key[:2] for key in found):
        ones = [found[library, name, dtype] for dtype in dtypes]
        verdicts = list(dict.fromkeys(one.verdict for one in ones))
        words = list(dict.fromkeys(_plain(one.why or one.how) for one in ones))
        rows.append(
            f"| {library} | {name} | {' / '.join(verdicts)} | {' / '.join(words)} |"
        )
    return "\n".join(
        [
            "# Every density of TFP, NumPyro and distrax, at a leaf that it fits",
            "",
            f"Written by `python -m benchmarks.sweep_priors` with {versions}, at leaves of "
            f"{' and '.join(dtypes)}: {count['right']} right, {count['warned']} accepted "
            f"with a warning, {count['refused']} refused, {count['WRONG']} wrong. Mass is "
            "an integral over the free coordinate; draws, the mean over the library's "
            "draws that is 1 where they are of that density. Two entries are those of the "
            "two precisions.",
            "",
            "| library | distribution | verdict | by what, or why |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return text.replace("|", "\\|").replace("*", "\\*").replace("<", "\\<")


def main() -> None:
    """Sweep, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweep_priors")
    parser.add_argument("--output", type=pathlib.Path, default=HERE)
    output = parser.parse_args().output / "sweep_priors.md"
    found = sweep()
    output.write_text(as_table(found))
    wrong = {key: f.why for key, f in found.items() if f.verdict == "WRONG"}
    print(f"{output}: {len(found)} leaves, {len(wrong)} wrong")
    for key, why in wrong.items():
        print(key, why)


if __name__ == "__main__":
    main()
