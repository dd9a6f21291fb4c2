"""`laplace`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st

import bijectree as bt
from bijectree import tfd

# Samplers and the likelihoods below promote as users' code does.
pytestmark = pytest.mark.jax_defaults


# Laplace.


def test_the_laplace_approximation_of_a_normal_posterior_is_exact(getkey):
    with jax.enable_x64(True):
        model = {"w": jnp.zeros(3), "fixed": jnp.ones(2)}
        x = jax.random.normal(getkey(), (12, 3))
        y = jax.random.normal(getkey(), (12,))

        def log_likelihood(model, x, y):
            return tfd.Normal(x @ model["w"], 0.5).log_prob(y).sum()

        spec = bt.by_path(model, {"fixed": bt.frozen})
        prior = bt.by_path(model, {"w": tfd.Normal(0.0, 2.0)})
        posterior = bt.Posterior(bt.Reparam(model, spec), log_likelihood, prior)
        found = bt.laplace(posterior, model, x, y)
        x, y = np.asarray(x), np.asarray(y)
        covariance = np.linalg.inv(x.T @ x / 0.25 + np.eye(3) / 4)
        np.testing.assert_allclose(
            found.scale_tril, np.linalg.cholesky(covariance), rtol=1e-9, atol=1e-12
        )
        np.testing.assert_allclose(found.mean, covariance @ x.T @ y / 0.25, rtol=1e-6)
        marginal = st.multivariate_normal(np.zeros(12), 0.25 * np.eye(12) + 4 * x @ x.T)
        np.testing.assert_allclose(found.log_evidence, marginal.logpdf(y), rtol=1e-9)
        draws = found.sample(getkey(), 4000)
        assert draws.vectors.shape == (1, 4000, 3)
        np.testing.assert_allclose(
            np.cov(draws.vectors[0], rowvar=False),
            covariance,
            atol=0.1 * covariance.max(),
        )


def test_a_direction_without_curvature_is_named(getkey):
    model = {"a": jnp.zeros(()), "b": jnp.zeros(2)}
    posterior = bt.Posterior(
        bt.Reparam(model, None), lambda m: -(m["a"] ** 2) - (m["b"][0] ** 2)
    )
    with (
        pytest.warns(UserWarning, match=r"no prior stands at 'b\.1'"),
        pytest.raises(ValueError, match=r"does not fall away from its mode along 'b\.1'"),
    ):
        bt.laplace(posterior, model)
