"""One distribution of each of TFP's classes, or several, for `sweep_priors`."""

from collections.abc import Callable
from typing import Any

import numpy as np

from bijectree import tfb, tfd

_HALF = np.float32([0.5, 0.5])
_ZEROS, _ONES = np.zeros(2, np.float32), np.ones(2, np.float32)
_MATRIX = np.float32([[1.5, 0.0], [0.4, 0.8]])
_COVARIANCE = _MATRIX @ _MATRIX.T
_PARTS = np.float32([0.7, 1.5, 2.5])
_PLACES = np.float32([[0.0], [1.0]])


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
