"""Distributions of NumPyro at sites whose numbers other sites set."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.distributions import constraints, transforms
from numpyro.infer.util import log_density

import bijectree as bt

pytestmark = pytest.mark.jax_defaults  # NumPyro promotes dtypes and ranks itself

SPD = np.array([[2.0, 0.3], [0.3, 1.0]])
NEXT = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])

# Each of a real number `a` and a positive one `b`.
MADE = {
    "AsymmetricLaplace": lambda a, b: dist.AsymmetricLaplace(a, b, 1.5),
    "Beta": lambda a, b: dist.Beta(b, 2.0),
    "BetaProportion": lambda a, b: dist.BetaProportion(0.4, b + 3),
    "CAR": lambda a, b: dist.CAR(jnp.full(3, a), 0.3, b, adj_matrix=NEXT),
    "Cauchy": lambda a, b: dist.Cauchy(a, b),
    "Chi2": lambda a, b: dist.Chi2(b),
    "Dirichlet": lambda a, b: dist.Dirichlet(jnp.array([1.0, 2.0, 3.0]) * b),
    "Exponential": lambda a, b: dist.Exponential(b),
    "Gamma": lambda a, b: dist.Gamma(2.0, b).expand([3]),
    "GaussianStateSpace": lambda a, b: dist.GaussianStateSpace(
        num_steps=4, transition_matrix=0.5 * jnp.eye(2), covariance_matrix=SPD * b
    ),
    "Gompertz": lambda a, b: dist.Gompertz(b, 1.0),
    "Gumbel": lambda a, b: dist.Gumbel(a, b),
    "HalfCauchy": lambda a, b: dist.HalfCauchy(b),
    "ImproperUniform": lambda a, b: dist.ImproperUniform(
        constraints.greater_than(a), (2,), ()
    ),
    "InverseGamma": lambda a, b: dist.InverseGamma(b + 1, 2.0),
    "Kumaraswamy": lambda a, b: dist.Kumaraswamy(b, 2.0),
    "Laplace": lambda a, b: dist.Laplace(a, b).expand([2]).to_event(1),
    "LeftTruncated": lambda a, b: dist.LeftTruncatedDistribution(
        dist.Cauchy(a, b), low=a - 1
    ),
    "LKJ": lambda a, b: dist.LKJ(3, b),
    "LKJCholesky": lambda a, b: dist.LKJCholesky(3, b),
    "LogNormal": lambda a, b: dist.LogNormal(a, b),
    "LogUniform": lambda a, b: dist.LogUniform(b, b + 2),
    "Logistic": lambda a, b: dist.Logistic(a, b),
    "LowRankMultivariateNormal": lambda a, b: dist.LowRankMultivariateNormal(
        jnp.array([a, 0.0]), jnp.ones((2, 1)) * b, jnp.ones(2)
    ),
    "MatrixNormal": lambda a, b: dist.MatrixNormal(
        jnp.full((2, 2), a), jnp.eye(2) * b, jnp.eye(2)
    ),
    "MixtureGeneral": lambda a, b: dist.MixtureGeneral(
        dist.Categorical(probs=jnp.array([0.3, 0.7])),
        [dist.Normal(a, 1.0), dist.Normal(0.0, b)],
    ),
    "MixtureSameFamily": lambda a, b: dist.MixtureSameFamily(
        dist.Categorical(probs=jnp.array([0.3, 0.7])),
        dist.Gamma(jnp.array([1.0, 2.0]), jnp.stack([b, b + 1])),
    ),
    "MultivariateNormal": lambda a, b: dist.MultivariateNormal(
        jnp.array([a, 1.0]), SPD * b
    ).expand([3]),
    "MultivariateStudentT": lambda a, b: dist.MultivariateStudentT(
        5.0, jnp.array([a, 1.0]), jnp.eye(2) * b
    ),
    "Normal": lambda a, b: dist.Normal(a, b).expand([2, 1, 3]).to_event(2),
    "Pareto": lambda a, b: dist.Pareto(b, 2.0),
    "ProjectedNormal": lambda a, b: dist.ProjectedNormal(jnp.array([a, b])),
    "RelaxedBernoulli": lambda a, b: dist.RelaxedBernoulli(b, logits=a),
    "RightTruncated": lambda a, b: dist.RightTruncatedDistribution(
        dist.Normal(a, b), high=a + 1
    ),
    "SoftLaplace": lambda a, b: dist.SoftLaplace(a, b),
    "StudentT": lambda a, b: dist.StudentT(b + 2, a, 2.0),
    "TransformedDistribution": lambda a, b: dist.TransformedDistribution(
        dist.Normal(0.0, 1.0), transforms.AffineTransform(a, b)
    ).expand([3]),
    "TransformedDistribution, two": lambda a, b: dist.TransformedDistribution(
        dist.Normal(a, 1.0),
        [transforms.ExpTransform(), transforms.AffineTransform(0.0, b)],
    ),
    "TransformedDistribution, bounds": lambda a, b: dist.TransformedDistribution(
        dist.Beta(2.0, 2.0),
        transforms.AffineTransform(a, b, domain=constraints.unit_interval),
    ),
    "TruncatedNormal": lambda a, b: dist.TruncatedNormal(a, b, low=a - 1, high=a + b),
    "TwoSidedTruncated": lambda a, b: dist.TwoSidedTruncatedDistribution(
        dist.Logistic(a, b), low=a - 1.0, high=a + 2.0
    ),
    "Uniform": lambda a, b: dist.Uniform(a, a + b).expand([2]).to_event(1),
    "VonMises": lambda a, b: dist.VonMises(a, b),
    "Weibull": lambda a, b: dist.Weibull(b, 2.0),
    "Wishart": lambda a, b: dist.Wishart(4.0, scale_matrix=SPD * b),
    "WishartCholesky": lambda a, b: dist.WishartCholesky(4.0, scale_matrix=SPD * b),
    "ZeroSumNormal": lambda a, b: dist.ZeroSumNormal(b, (4,)),
}
QUICK = ("MixtureGeneral", "TransformedDistribution, bounds", "TwoSidedTruncated", "CAR")
CASES = [
    pytest.param(name, id=name, marks=[] if name in QUICK else [pytest.mark.slow])
    for name in MADE
]


@pytest.mark.parametrize("name", CASES)
def test_a_distribution_that_sites_set_keeps_its_density_and_its_gradient(name):
    def model():
        a = numpyro.sample("a", dist.Normal(0.0, 1.0))
        b = numpyro.sample("b", dist.Gamma(3.0, 2.0))
        with numpyro.plate("plate", 2, dim=-4):
            numpyro.sample("x", MADE[name](a, b))

    with jax.enable_x64(True):
        posterior = bt.from_numpyro(model)
        random = np.random.default_rng(5)
        for _ in range(2):
            vector = jnp.asarray(0.7 * random.normal(size=posterior.dim))
            point = posterior.flat().forward(vector)
            got, slope = jax.value_and_grad(posterior.log_prior)(point)
            due, slopes = jax.value_and_grad(lambda m: log_density(model, (), {}, m)[0])(
                point
            )
            assert np.isfinite(due)
            np.testing.assert_allclose(got, due, rtol=1e-10, atol=1e-10)
            for site in ("a", "b", "x"):
                np.testing.assert_allclose(
                    slope[site], slopes[site], rtol=1e-8, atol=1e-9
                )
