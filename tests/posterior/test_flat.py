"""`FlatPosterior`: the parts of a density over vectors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
