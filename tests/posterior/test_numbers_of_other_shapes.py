"""Leaves of one shape whose priors, or bijectors, have numbers of other shapes."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as nd
import pytest
import scipy.stats as st

import bijectree as bt
from bijectree import tfb, tfd

pytestmark = pytest.mark.jax_defaults  # TFP and NumPyro promote ranks themselves

_ZERO, _ONE = np.zeros(3, np.float32), np.ones(3, np.float32)
# One class of priors with numbers of unlike shapes, and with the density of a number.
PRIORS = {
    "gamma": (
        lambda one: tfd.Gamma(2.0 * one, 1.5),
        bt.positive(),
        st.gamma(2, scale=1 / 1.5),
    ),
    "laplace": (lambda one: tfd.Laplace(0.0, 2.0 * one), None, st.laplace(0, 2)),
    "normal": (lambda one: tfd.Normal(0.0 * one, one), None, st.norm()),
    "numpyro": (lambda one: nd.Normal(0.0 * one, one), None, st.norm()),
    "transformed": (
        lambda one: tfd.TransformedDistribution(
            tfd.Normal(0.0 * one, 1.0), tfb.Chain([tfb.Shift(2.0 * one), tfb.Exp()])
        ),
        bt.greater_than(2.0),
        st.lognorm(1.0, 2.0),
    ),
    "uniform": (
        lambda one: tfd.Uniform(-1.0 * one, 3.0),
        bt.interval(-1.0, 3.0),
        st.uniform(-1, 4),
    ),
}


@pytest.mark.parametrize("name", PRIORS)
def test_priors_with_numbers_of_other_shapes(name):
    make, spec, expected = PRIORS[name]
    one = jnp.float32(1.0)
    prior = {"a": make(one), "b": make(one), "c": make(_ONE), "d": make(_ONE)}
    model = {n: jnp.full(3, 2.5) for n in prior}
    reparam = bt.Reparam(model, spec)
    posterior = bt.Posterior(reparam, None, prior)
    due = 12 * expected.logpdf(2.5)

    @jax.jit
    def of_argument(posterior, model):
        return posterior.log_prior(model)

    np.testing.assert_allclose(of_argument(posterior, model), due, rtol=2e-5)
    np.testing.assert_allclose(jax.jit(posterior.log_prior)(model), due, rtol=2e-5)
    free = reparam.inverse(model)
    value, slope = jax.jit(jax.value_and_grad(posterior.log_density))(free)
    assert np.isfinite(value)
    np.testing.assert_allclose(slope["a"], slope["c"], rtol=1e-5)
    two = jax.tree.map(lambda x: jnp.stack([x, x]), free)
    np.testing.assert_allclose(
        jax.vmap(posterior.log_density)(two), [value, value], rtol=1e-6
    )


BIJECTORS = {
    "affine": lambda one: bt.affine(one, 2.0),
    "affine_scale": lambda one: bt.affine(1.0, 2.0 * one),
    "greater_than": lambda one: bt.greater_than(-1.0 * one),
    "interval": lambda one: bt.interval(-1.0, 5.0 * one),
    "scale": lambda one: tfb.Scale(2.0 * one),
    "shift": lambda one: tfb.Chain([tfb.Shift(1.0 * one), tfb.Exp()]),
    "sigmoid": lambda one: tfb.Sigmoid(-1.0 * one, 5.0 * one),
    "softplus": lambda one: tfb.Softplus(0.5 * one),
}


@pytest.mark.parametrize("name", BIJECTORS)
def test_bijectors_with_numbers_of_other_shapes(name):
    make = BIJECTORS[name]
    one = jnp.float32(1.0)
    spec = {"a": make(one), "b": make(one), "c": make(_ONE), "d": make(_ONE)}
    reparam = bt.Reparam({n: jnp.full(3, 2.0) for n in spec}, spec)
    free = {n: jnp.array([0.1, -0.2, 0.4]) for n in spec}

    @jax.jit
    def both(reparam, free):
        return reparam.forward_and_log_det(free)

    model, log_det = both(reparam, free)
    alone = bt.Reparam({"a": jnp.full(3, 2.0)}, {"a": spec["a"]})
    one_model, one_log_det = alone.forward_and_log_det({"a": free["a"]})
    for x in model.values():
        np.testing.assert_allclose(x, one_model["a"], rtol=1e-6)
    np.testing.assert_allclose(log_det, 4 * one_log_det, rtol=1e-5)
    back = jax.jit(reparam.inverse)(model)
    for x in back.values():
        np.testing.assert_allclose(x, free["a"], atol=1e-5)


def test_modes_are_found():
    one = jnp.float32(1.0)
    prior = {
        "a": tfd.Normal(0.0, one),
        "b": tfd.Normal(0.0, one),
        "c": tfd.Normal(_ZERO, _ONE),
        "d": tfd.Normal(_ZERO, _ONE),
    }
    model = {n: jnp.full(3, 0.7) for n in prior}
    posterior = bt.Posterior(bt.Reparam(model, None), None, prior)
    mode = bt.find_map(posterior, model)
    for x in mode.model.values():
        np.testing.assert_allclose(x, 0.0, atol=1e-3)
    assert bt.laplace(posterior, model).mean.shape == (12,)
