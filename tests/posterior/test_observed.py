"""`observed`: one function for density, terms and predictions."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st
from jaxtyping import Array
from terms import Duck, dist

import bijectree as bt
from bijectree import tfd


class Line(eqx.Module):
    slope: Array
    sigma: Array


def line(m, x):
    return tfd.Normal(m.slope * x, m.sigma)


X, Y = np.linspace(0.0, 1.0, 5), np.array([0.1, 0.4, 0.8, 1.7, 2.2])


def posterior(likelihood):
    model = Line(jnp.array(2.0), jnp.array(0.5))
    return bt.Posterior(bt.Reparam(model, Line(None, bt.positive())), likelihood), model


@pytest.mark.jax_defaults
def test_density_terms_and_draws_are_those_of_one_distribution(precision, getkey):
    x, y = X.astype(precision), Y.astype(precision)
    likelihood = bt.observed(line, name="y")
    it, model = posterior(likelihood)
    plain, _ = posterior(lambda m, x, y: line(m, x).log_prob(y).sum())
    free = it.reparam.inverse(model)
    a, b = it.log_density(free, x, y), plain.log_density(free, x, y)
    assert a.dtype == precision
    np.testing.assert_array_equal(a, b)
    grads = [jax.jit(jax.grad(p.log_density))(free, x, y) for p in (it, plain)]
    for g, h in zip(*map(jax.tree.leaves, grads), strict=True):
        np.testing.assert_allclose(g, h, rtol=1e-5)
    terms = likelihood.terms(model, x, y)
    np.testing.assert_allclose(terms, st.norm(2 * X, 0.5).logpdf(Y), rtol=1e-5)
    keys = jax.random.split(getkey(), 4000)
    drawn = jax.vmap(lambda key: likelihood.sample(model, key, x))(keys)
    z = (np.asarray(drawn) - 2 * X) / 0.5
    assert st.kstest(z[:, 3], "norm").pvalue > 1e-4


@pytest.mark.jax_defaults
def test_events_counts_and_other_libraries():
    model = {"rate": jnp.array([1.0, 2.0, 3.0])}
    counts = np.array([0, 2, 4])
    expected = st.poisson([1.0, 2.0, 3.0]).logpmf(counts)
    for make in (
        lambda m: tfd.Poisson(m["rate"]),
        lambda m: dist.Poisson(m["rate"]),
        lambda m: dist.Poisson(m["rate"]).to_event(1),
        lambda m: tfd.Independent(tfd.Poisson(m["rate"]), 1),
    ):
        likelihood = bt.observed(make, name="counts")
        np.testing.assert_allclose(likelihood(model, counts), expected.sum(), rtol=1e-5)
        assert likelihood.sample(model, jax.random.key(0)).shape == (3,)
    shapes = bt.observed(lambda m: Duck(), name="y").terms(model, jnp.zeros(2)).shape
    assert shapes == (2,)


def test_data_of_another_shape_are_refused_with_both():
    it, model = posterior(bt.observed(line, name="y"))
    free = it.reparam.inverse(model)
    x = jnp.asarray(X)
    message = (
        r"observed 'y': the observed value has shape \(3,\), and Normal has shape \(5,"
    )
    with pytest.raises(ValueError, match=message):
        it.log_density(free, x, jnp.zeros(3))
    with pytest.raises(ValueError, match=r"has shape \(5,\), and Normal has shape \(\)"):
        jax.jit(it.log_density)(free, jnp.array(1.0), x)
    with pytest.raises(TypeError, match="'y': no data are given; the observed"):
        it.log_density(free)


def test_independent_data_of_one_distribution_are_as_the_error_says():
    values = jnp.array([0.3, -1.2, 2.0])

    def mixture(m):
        kinds = tfd.Categorical(probs=jnp.array([0.3, 0.7]))
        return tfd.MixtureSameFamily(kinds, tfd.Normal(m["loc"], 1.0))

    model = {"loc": jnp.array([-1.0, 2.0])}
    advised = r"tfd.BatchBroadcast\(distribution, \(3,\)\)"
    with pytest.raises(ValueError, match=advised):
        bt.observed(mixture, name="y")(model, values)
    many = bt.observed(lambda m: tfd.BatchBroadcast(mixture(m), (3,)), name="y")
    expected = 0.3 * st.norm(-1, 1).pdf(values) + 0.7 * st.norm(2, 1).pdf(values)
    np.testing.assert_allclose(many.terms(model, values), np.log(expected), rtol=1e-5)
    assert many.sample(model, jax.random.key(0)).shape == (3,)


def test_what_is_no_distribution_is_refused():
    with pytest.raises(TypeError, match="takes a function"):
        bt.observed(tfd.Normal(0.0, 1.0), name="y")
    with pytest.raises(TypeError, match="name must be a string"):
        bt.observed(line, name=3)
    it, model = posterior(bt.observed(lambda m, x: m.slope * x, name="y"))
    with pytest.raises(TypeError, match="'y': its function must return the distribution"):
        it.log_likelihood(model, jnp.ones(2), jnp.ones(2))


def test_a_posterior_hands_its_likelihood_back():
    likelihood = bt.observed(line, name="y")
    it, _ = posterior(likelihood)
    assert it.likelihood.name == "y"
    assert it.likelihood.function is line
    assert posterior(None)[0].likelihood is None


@pytest.mark.jax_defaults
def test_an_equal_posterior_does_not_retrace():
    traces = 0

    @eqx.filter_jit
    def density(posterior, free, x, y):
        nonlocal traces
        traces += 1
        return posterior.log_density(free, x, y)

    for _ in range(2):
        it, model = posterior(bt.observed(line, name="y"))
        density(it, it.reparam.inverse(model), jnp.asarray(X), jnp.asarray(Y))
    assert traces == 1


def test_other_data_than_the_function_takes_are_named():
    line = bt.observed(lambda m, x, scale: tfd.Normal(m * x, scale), name="y")
    x = jnp.ones(3)
    with pytest.raises(
        TypeError, match=r"takes \(m, x, scale\), and got the model and 1"
    ):
        line(jnp.array(1.0), x, x)
    assert line(jnp.array(1.0), x, 2.0 * x, x).shape == ()
