"""`FlatPosterior`: the parts of a density over vectors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

import bijectree as bt
from bijectree import tfd


@pytest.mark.jax_defaults
def test_prior_and_likelihood_add_up(precision, getkey):
    model = {"tau": jnp.array(1.0), "theta": jnp.zeros(4)}
    tree = {
        "tau": tfd.HalfCauchy(0.0, 2.0),
        "theta": bt.dependent(lambda m: tfd.Normal(0.0, m["tau"])),
    }
    spec = {"tau": bt.positive(), "theta": bt.location_scale(0.0, "tau")}

    def log_likelihood(m, y):
        return tfd.Normal(m["theta"], 1.0).log_prob(y).sum()

    flat = bt.Posterior(bt.Reparam(model, spec), log_likelihood, tree).flat()
    y = jnp.ones(4)
    vectors = jax.random.normal(getkey(), (3, 5), precision)

    @jax.jit
    @jax.vmap
    def parts(x):
        prior = jax.value_and_grad(flat.log_prior)(x)
        likelihood = jax.value_and_grad(flat.log_likelihood)(x, y)
        return prior, likelihood, jax.value_and_grad(flat.log_density)(x, y)

    prior, likelihood, both = parts(vectors)
    for a, b, c in zip(prior, likelihood, both, strict=True):
        np.testing.assert_allclose(a + b, c, rtol=1e-5, atol=1e-5)
        assert a.dtype == b.dtype == precision
    # Without a likelihood the prior is all, the log-det with it.
    alone = bt.Posterior(bt.Reparam(model, spec), None, tree)
    np.testing.assert_array_equal(
        alone.flat().log_prior(vectors[0]), alone.flat().log_density(vectors[0])
    )
    assert alone.flat().log_likelihood(vectors[0]) == 0


# A prior of one number, a log-likelihood of it, and the integral of both together.
ONE_NUMBER = {
    "interval": (
        lambda: tfd.Uniform(-1.0, 2.0),
        lambda x: tfd.Normal(0.75 * jnp.ones_like(x), 0.5 * jnp.ones_like(x)).log_prob(x),
        np.diff(stats.norm(0.75, 0.5).cdf([-1.0, 2.0]))[0] / 3.0,
    ),
    "unit-interval": (
        lambda: tfd.Beta(2.0, 3.0),
        lambda x: tfd.Binomial(12.0, probs=x).log_prob(9.0),
        stats.betabinom(12, 2.0, 3.0).pmf(9),
    ),
    "positive": (
        lambda: tfd.Gamma(2.0, 0.5),
        lambda x: tfd.Poisson(x).log_prob(4.0),
        stats.nbinom(2, 0.5 / 1.5).pmf(4),
    ),
}


@pytest.mark.jax_defaults
@pytest.mark.parametrize("name", ONE_NUMBER)
def test_the_parts_integrate_to_one_and_to_the_evidence(name):
    make, log_likelihood, evidence = ONE_NUMBER[name]
    with jax.enable_x64(True):
        model, prior = {"x": jnp.array(0.5)}, {"x": make()}
        reparam = bt.Reparam(model, bt.spec_from_prior(model, prior))
        flat = bt.Posterior(reparam, lambda m: log_likelihood(m["x"]), prior).flat()
        grid = jnp.linspace(-40.0, 40.0, 4001)
        log_prior = jax.vmap(flat.log_prior)(grid[:, None])
        both = log_prior + jax.vmap(flat.log_likelihood)(grid[:, None])
        found = [np.exp(x).sum() * (grid[1] - grid[0]) for x in (log_prior, both)]
        np.testing.assert_allclose(found, [1.0, evidence], rtol=1e-9)


@pytest.mark.jax_defaults
def test_the_parts_of_a_hierarchy_integrate_to_one_and_to_the_evidence():
    def given_tau(tau):
        return np.exp(-tau) * stats.norm(0.0, np.hypot(tau, 1.0)).pdf(1.5)

    evidence, _ = integrate.quad(given_tau, 0.0, np.inf, epsrel=1e-11)
    with jax.enable_x64(True):
        model = {"tau": jnp.array(1.0), "theta": jnp.array(0.0)}
        prior = {
            "tau": tfd.Exponential(1.0),
            "theta": bt.dependent(lambda m: tfd.Normal(0.0, m["tau"])),
        }
        reparam = bt.Reparam(model, bt.spec_from_prior(model, prior, noncentred=True))
        flat = bt.Posterior(
            reparam, lambda m: tfd.Normal(m["theta"], 1.0).log_prob(1.5), prior
        ).flat()
        first, second = jnp.linspace(-40.0, 10.0, 501), jnp.linspace(-10.0, 10.0, 201)
        plane = jnp.stack(jnp.meshgrid(first, second), axis=-1).reshape(-1, 2)
        log_prior = jax.vmap(flat.log_prior)(plane)
        both = log_prior + jax.vmap(flat.log_likelihood)(plane)
        cell = (first[1] - first[0]) * (second[1] - second[0])
        found = [np.exp(x).sum() * cell for x in (log_prior, both)]
        np.testing.assert_allclose(found, [1.0, evidence], rtol=1e-8)
