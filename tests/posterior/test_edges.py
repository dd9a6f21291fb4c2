"""Densities where a leaf has saturated onto the edge of its support."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bijectree as bt
from bijectree import tfd
from bijectree.posterior import Target
from bijectree.priors.distribution import FINITE_AT_THE_EDGE

# Densities with a pole at the edge of the support, at free values where the leaf is on
# that edge in float32; with the log-density there, where it is not astronomical.
SATURATED = {
    "beta": (lambda: tfd.Beta(0.5, 0.5), 17.5, -0.5 * 17.5 - np.log(np.pi)),
    "beta_far": (lambda: tfd.Beta(0.5, 0.5), 60.0, None),
    "beta_low": (lambda: tfd.Beta(0.5, 0.5), -95.0, None),
    "gamma": (lambda: tfd.Gamma(0.5, 1.0), -95.0, -0.5 * 95 - 0.5 * np.log(np.pi)),
    "weibull": (lambda: tfd.Weibull(0.5, 1.0), -95.0, -0.5 * 95 + np.log(0.5)),
    "chi2": (lambda: tfd.Chi2(1.0), -95.0, -0.5 * 95 - 0.5 * np.log(2 * np.pi)),
    "kumaraswamy": (lambda: tfd.Kumaraswamy(0.5, 0.5), -95.0, None),
    "logit_normal": (lambda: tfd.LogitNormal(0.0, 1.0), 18.0, None),
    "inverse_gamma": (lambda: tfd.InverseGamma(2.0, 1.0), -95.0, None),
    "dirichlet": (lambda: tfd.Dirichlet([0.5, 0.5]), 95.0, None),
    "cholesky_lkj": (lambda: tfd.CholeskyLKJ(2, 0.25), 30.0, None),
}


@pytest.mark.jax_defaults  # TFP promotes ranks
@pytest.mark.parametrize(
    ("prior", "free"),
    [
        (tfd.HalfCauchy(3.14159, 2.0), -6.0),
        (tfd.Pareto(2.0, 3.14159), -6.0),
        (tfd.Uniform(3.14159, 4.0), -20.0),
        (tfd.Uniform(3.0, 3.24), 20.0),
    ],
    ids=["half_cauchy", "pareto", "uniform", "uniform_above"],
)
def test_a_bound_that_bfloat16_rounds_out_of_the_support_is_on_its_edge(prior, free):
    model = {"x": jnp.array(3.5, jnp.bfloat16)}
    reparam = bt.Reparam(model, bt.spec_from_prior(model, {"x": prior}))
    posterior = bt.Posterior(reparam, None, prior={"x": prior})
    value, gradient = jax.value_and_grad(posterior.log_density)(
        {"x": jnp.array(free, jnp.bfloat16)}
    )
    assert np.isfinite(value)
    assert np.isfinite(gradient["x"])


@pytest.mark.jax_defaults  # TFP promotes ranks
@pytest.mark.parametrize(
    "prior",
    [
        tfd.HalfCauchy(0.0, 2.0),
        tfd.HalfNormal(2.0),
        tfd.HalfStudentT(3.0, 0.0, 2.0),
    ],
    ids=lambda prior: type(prior).__name__,
)
def test_where_a_density_without_a_pole_ends(prior):
    assert type(prior) in FINITE_AT_THE_EDGE
    value, gradient = jax.value_and_grad(prior.log_prob)(jnp.zeros(()))
    assert np.isfinite(value)
    assert np.isfinite(gradient)


@pytest.mark.jax_defaults  # TFP promotes ranks
@pytest.mark.parametrize("name", SATURATED)
def test_the_density_is_never_infinite_where_a_leaf_saturates(name):
    make, place, expected = SATURATED[name]
    shape = (*make().batch_shape, *make().event_shape)
    model, prior = {"x": jnp.zeros(shape)}, {"x": make()}
    reparam = bt.Reparam(model, bt.spec_from_prior(model, prior))
    flat = bt.Posterior(reparam, None, prior).flat()
    for sign in (1.0, -1.0) if shape else (1.0,):
        value, gradient = jax.jit(jax.value_and_grad(flat.log_density))(
            jnp.array([sign * place], jnp.float32)
        )
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
    if expected is not None:  # the leaf is where the dtype ends, not quite where it is
        np.testing.assert_allclose(value, expected, atol=8)


@pytest.mark.jax_defaults  # TFP promotes ranks
def test_a_pole_within_the_support_is_not_a_place_to_be():
    model, prior = {"x": jnp.zeros(())}, {"x": tfd.Horseshoe(1.0)}
    posterior = bt.Posterior(bt.Reparam(model, None), None, prior)
    assert posterior.log_density(model) == -jnp.inf


def test_bounds_of_a_prior_have_a_gradient_where_a_leaf_is_on_the_edge():
    model = {"x": jnp.zeros(())}

    def value(high):
        prior = {"x": tfd.Uniform(0.0, high)}
        reparam = bt.Reparam(model, bt.interval(0.0, high))
        return bt.Posterior(reparam, None, prior).log_prior({"x": jnp.array(2.0)})

    np.testing.assert_allclose(jax.grad(value)(2.0), -0.5)


@jax.tree_util.register_pytree_node_class
class Table:
    """Data that check themselves whenever they are made, as `gpjax.Dataset` does."""

    def __init__(self, x, y, name="table"):
        if x.shape[0] != y.shape[0] or x.dtype != y.dtype:
            raise ValueError("x and y do not fit")
        self.x, self.y, self.name = x, y, name

    def tree_flatten(self):
        return (self.x, self.y), self.name

    @classmethod
    def tree_unflatten(cls, name, children):
        return cls(*children, name)


@pytest.mark.jax_defaults
@pytest.mark.filterwarnings(
    "ignore:the chains do not agree", "ignore:too few independent"
)
def test_data_may_check_themselves_when_they_are_made():
    model = {"slope": jnp.array(0.5), "sigma": jnp.array(1.0)}
    priors = {"slope": tfd.Normal(0.0, 5.0), "sigma": tfd.HalfNormal(1.0)}

    def log_likelihood(model, table, weight):
        assert table.name == "table"
        expected = model["slope"] * table.x
        each = tfd.Normal(expected, model["sigma"]).log_prob(table.y)
        return weight["of all"] * each.sum()

    reparam = bt.Reparam(model, bt.spec_from_prior(model, priors))
    posterior = bt.Posterior(reparam, log_likelihood, priors)
    x = jnp.linspace(-1.0, 1.0, 20)
    data = Table(x, 2 * x + 0.1 * jnp.sin(40 * x)), {"of all": 1.0}
    mode = bt.find_map(posterior, model, *data)
    assert jnp.isclose(mode.model["slope"], 2.0, atol=0.1)
    shown = posterior.log_density(reparam.inverse(model), *data)
    assert jnp.isclose(
        Target(posterior, data)(reparam.ravel(reparam.inverse(model))), shown
    )
    assert bt.laplace(posterior, model, *data).mean.shape == (2,)
    key = jax.random.key(0)
    fitted, _ = bt.fit_affine(posterior, key, *data, start=model)
    assert fitted.dim == 2
    draws = bt.sample(
        posterior, key, *data, chains=2, draws=20, warm_up=50, progress=False
    )
    assert draws.vectors.shape == (2, 20, 2)
