"""Where samplers and optimisers start."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lines import line

import bijectree as bt
from bijectree import tfd

# Starts.


@pytest.mark.parametrize("start", ["uniform", "prior"])
def test_starts_are_finite_and_as_many_as_asked_for(start, getkey, precision):
    posterior, _, data = line(dtype=precision)
    free = posterior.initial(getkey(), *data, start=start, n=3)
    assert jax.tree.map(jnp.shape, free).slope == (3,)
    assert len(np.unique(free.slope)) == 3
    assert free.slope.dtype == precision
    values = jax.vmap(lambda f: posterior.log_density(f, *data))(free)
    assert jnp.isfinite(values).all()
    one = posterior.initial(getkey(), *data, start=start)
    assert one.slope.shape == ()


@pytest.mark.slow
def test_starts_from_the_prior_have_its_distribution(getkey):
    model = {"a": jnp.ones((5, 2)), "p": jnp.ones((4, 3)) / 3}
    centre = jnp.arange(5.0)[:, None] * 10
    prior = {"a": tfd.Normal(centre, 0.1), "p": tfd.Dirichlet([5.0, 3.0, 2.0])}
    reparam = bt.Reparam(model, {"a": None, "p": bt.simplex()})
    posterior = bt.Posterior(reparam, None, prior)
    free = posterior.initial(getkey(), start="prior", n=500)
    drawn = jax.vmap(reparam.forward)(free)
    np.testing.assert_allclose(drawn["a"].mean(0), np.tile(centre, (1, 2)), atol=0.03)
    np.testing.assert_allclose(drawn["p"].mean((0, 1)), [0.5, 0.3, 0.2], atol=0.04)
    apart = np.corrcoef(drawn["a"].reshape(500, 10), rowvar=False) - np.eye(10)
    assert np.abs(apart).max() < 0.25


def test_a_start_at_a_model_is_that_model_or_near_it(getkey):
    posterior, free, data = line()
    model = posterior.reparam.forward(free)
    same = posterior.initial(getkey(), *data, start=model)
    assert same.slope == free.slope
    near = posterior.initial(getkey(), *data, start=model, jitter=0.01, n=2)
    assert 0 < jnp.abs(near.slope - free.slope).max() < 0.1
    outside = eqx.tree_at(lambda m: m.scale, model, jnp.array(-1.0))
    with pytest.raises(bt.SupportError, match="scale"):
        posterior.initial(getkey(), *data, start=outside)


def test_starts_are_tried_again_until_finite(getkey):
    model = {"a": jnp.zeros(())}

    def log_likelihood(model):  # finite in a quarter of the starts
        return jnp.where(model["a"] > 1, -(model["a"] ** 2), -jnp.inf)

    posterior = bt.Posterior(bt.Reparam(model, None), log_likelihood)
    free = posterior.initial(getkey(), n=8)
    assert jnp.all(free["a"] > 1)


def test_nan_in_the_data_is_named(getkey):
    posterior, _, (x, y) = line()
    y = y.at[2].set(jnp.nan)
    with pytest.raises(ValueError, match="no start with a finite log-density") as error:
        posterior.initial(getkey(), x, y, tries=3)
    text = str(error.value)
    assert "in 3 tries" in text
    assert "the log-likelihood is nan" in text
    assert "data[1] has 1 of 4 numbers that are not finite, the first (nan)" in text
    assert "the gradient at 'scale' is nan" in text


def test_the_leaf_whose_prior_or_gradient_is_not_finite_is_named(getkey):
    model = {"a": jnp.ones(2), "b": jnp.ones(())}
    reparam = bt.Reparam(model, None)
    with pytest.warns(UserWarning, match="'b' has the support: numbers between 3 and 4"):
        posterior = bt.Posterior(reparam, None, {"a": None, "b": tfd.Uniform(3.0, 4.0)})
    with pytest.raises(ValueError, match="the log-prior of 'b' is -inf"):
        posterior.initial(getkey())

    def kink(model):  # finite, with an infinite gradient at one element
        return jnp.sqrt(model["a"][1] * 0) + model["a"][0] + model["b"]

    with pytest.raises(ValueError, match=r"gradient at 'a' has 1 of 2 .*\[1\]") as error:
        bt.Posterior(reparam, kink).initial(getkey())
    assert "'b'" not in str(error.value)


def test_a_bijector_that_leaves_the_support_of_the_prior_is_warned_of():
    model = {"w": jnp.full(3, 1 / 3), "s": jnp.array(1.0)}
    prior = {"w": tfd.Dirichlet(jnp.ones(3)), "s": tfd.Gamma(2.0, 1.0)}
    spec = {"w": None, "s": bt.positive(via="softplus")}
    with pytest.warns(UserWarning, match=r"Dirichlet at 'w'.*sum to 1.*\(identity\)"):
        bt.Posterior(bt.Reparam(model, spec), None, prior)
    # Right ones, half-normals by a normal, and what is traced: warnings are errors here.
    bt.Posterior(bt.Reparam(model, bt.spec_from_prior(model, prior)), None, prior)
    positive = bt.Reparam({"s": model["s"]}, bt.positive())
    bt.Posterior(positive, None, {"s": tfd.Normal(0.0, 1.0)})
    jax.jit(lambda r: bt.Posterior(r, None, {"s": tfd.Normal(0.0, 1.0)}).dim)(positive)


def test_flat_coordinates_of_a_bounded_set_are_proper(getkey):
    model = {"p": jnp.array(0.5), "w": jnp.full(3, 1 / 3)}
    reparam = bt.Reparam(model, {"p": bt.unit_interval(), "w": bt.simplex()})
    bt.Posterior(reparam, lambda m: jnp.zeros(())).initial(getkey())


@pytest.mark.parametrize(
    "prior",
    [
        tfd.Poisson(2.0),
        tfd.Geometric(0.5),
        tfd.Deterministic(1.5),
        tfd.Independent(tfd.Poisson(2.0)),
    ],
    ids=lambda p: p.name,
)
def test_priors_without_a_density_are_refused(prior):
    reparam = bt.Reparam({"r": jnp.array(1.5)}, bt.positive())
    with pytest.raises(ValueError, match="at 'r'.* has no density there"):
        bt.Posterior(reparam, None, {"r": prior})


def test_coordinates_that_nothing_knows_of_are_reported(getkey):
    model = {"a": jnp.ones(3), "b": jnp.ones(())}
    reparam = bt.Reparam(model, bt.positive())
    log_likelihood = lambda m: -(m["a"][0] ** 2) - m["a"][2] ** 2  # noqa: E731
    prior = {"a": None, "b": tfd.HalfNormal(1.0)}
    with pytest.warns(UserWarning, match=r"no prior stands at 'a\.1', and .* improper"):
        bt.Posterior(reparam, log_likelihood, prior).initial(getkey())
    # A start where the likelihood is stationary says nothing.
    stationary = {"a": jnp.ones(3), "b": jnp.ones(())}
    known = lambda m: -jnp.sum((m["a"] - 1) ** 2)  # noqa: E731
    bt.Posterior(reparam, known, prior).initial(getkey(), start=stationary)
    # With a prior everywhere there is nothing to report: warnings are errors here.
    bt.Posterior(reparam, log_likelihood, tfd.HalfNormal(1.0)).initial(getkey())


def test_a_start_that_cannot_be_is_refused(getkey):
    posterior, _, data = line()
    with pytest.raises(ValueError, match="expected 'uniform', 'prior' or a model"):
        posterior.initial(getkey(), *data, start="sideways")
    function = bt.Posterior(posterior.reparam, None, lambda m: -(m.slope**2))
    with pytest.raises(ValueError, match="which cannot be drawn from"):
        function.initial(getkey(), start="prior")


def test_data_without_a_likelihood_are_refused():
    posterior = bt.Posterior(
        bt.Reparam({"a": jnp.ones(2)}, None), None, tfd.Normal(0.0, 1.0)
    )
    free = {"a": jnp.zeros(2)}
    posterior.log_density(free)
    with pytest.raises(ValueError, match="1 data given to a Posterior without a log-lik"):
        posterior.log_density(free, jnp.ones(3))
