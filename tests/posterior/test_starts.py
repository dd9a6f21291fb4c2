"""Where samplers and optimisers start."""

from io import StringIO

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lines import line

import bijectree as bt
from bijectree import tfd
from bijectree.posterior import find_starts, starts

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


def _a_quarter_is_finite(traces=None):
    model = {"a": jnp.zeros(2), "b": jnp.ones(())}

    def log_likelihood(model):
        if traces is not None:
            traces.write(".")
        inside = model["a"][0] > 1
        return jnp.where(inside, -jnp.sum(model["a"] ** 2), -jnp.inf) - model["b"]

    spec = bt.by_path(model, {"b": bt.positive()})
    prior = {"a": tfd.Normal(0.0, 2.0), "b": tfd.HalfNormal(1.0)}
    return bt.Posterior(bt.Reparam(model, spec), log_likelihood, prior)


@pytest.mark.parametrize("start", ["uniform", "prior"])
def test_a_start_depends_on_its_key_and_number_alone(start, getkey, monkeypatch):
    posterior, key = _a_quarter_is_finite(), getkey()
    options = {"start": start, "jitter": 0.1, "tries": 1000}
    many = posterior.initial(key, n=9, **options)
    assert len(np.unique(many["a"][:, 0])) == 9
    one = posterior.initial(key, **options)
    two = posterior.initial(key, n=2, **options)
    # What is made in several runs of the program is what is made in one.
    monkeypatch.setattr(starts, "_STARTS", 4)
    parts = posterior.initial(key, n=9, **options)
    for name, rows in many.items():
        np.testing.assert_array_equal(one[name], rows[0])
        np.testing.assert_array_equal(two[name], rows[:2])
        np.testing.assert_array_equal(parts[name], rows)
    assert posterior.initial(key, n=0, **options)["a"].shape == (0, 2)


def test_any_number_of_starts_is_found_by_one_program_with_one_gradient(getkey):
    traces = StringIO()  # a list would be read, and seem to change
    posterior = _a_quarter_is_finite(traces)
    for n in (4, 7, None, 300):
        posterior.initial(getkey(), n=n)
    model = {"a": jnp.full(2, 1.5), "b": jnp.ones(())}
    posterior.initial(getkey(), start=model)
    assert traces.tell() == 1
    # To compile random numbers takes as long as the density, so jitter has a program.
    for jitter in (0.01, 0.1):
        posterior.initial(getkey(), start=model, jitter=jitter, n=3)
    assert traces.tell() == 2


def test_starts_say_how_many_gradients_they_took(getkey):
    posterior = _a_quarter_is_finite()
    model = {"a": jnp.full(2, 1.5), "b": jnp.ones(())}
    assert find_starts(posterior, getkey(), (), start=model, n=5).gradients == 5
    found = find_starts(posterior, getkey(), (), n=300)
    assert 300 * 3 < found.gradients < 300 * 5
    flat, _, data = line(prior=False)
    assert find_starts(flat, getkey(), data, n=3).gradients == 3


def test_a_start_that_fails_is_told_of_whichever_it_is(getkey):
    posterior = _a_quarter_is_finite()
    with pytest.raises(ValueError, match="the log-likelihood is -inf"):
        posterior.initial(getkey(), n=200, tries=3)
    outside = {"a": jnp.zeros(2), "b": jnp.ones(())}
    with pytest.raises(ValueError, match="gradient in 1 try; at the last one"):
        posterior.initial(getkey(), start=outside, n=2)


def test_starts_of_leaves_of_any_kind_and_of_none(getkey):
    model = {"z": jnp.ones(2, complex), "h": jnp.ones((), jnp.bfloat16), "e": jnp.ones(0)}

    def log_likelihood(m):
        return -jnp.sum(jnp.abs(m["z"]) ** 2) - m["h"].astype(jnp.float32) ** 2

    posterior = bt.Posterior(bt.Reparam(model, None), log_likelihood)
    free = posterior.initial(getkey(), n=3)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), free) == {
        "z": ((3, 2), model["z"].dtype),
        "h": ((3,), jnp.bfloat16),
        "e": ((3, 0), model["e"].dtype),
    }
    nothing = bt.Posterior(bt.Reparam(model, bt.frozen), log_likelihood)
    assert nothing.initial(getkey(), n=3) == {"z": None, "h": None, "e": None}


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


def test_a_start_that_cannot_be_is_refused(getkey):
    posterior, _, data = line()
    with pytest.raises(ValueError, match="expected 'uniform', 'prior' or a model"):
        posterior.initial(getkey(), *data, start="sideways")
    function = bt.Posterior(posterior.reparam, None, lambda m: -(m.slope**2))
    with pytest.raises(ValueError, match="which cannot be drawn from"):
        function.initial(getkey(), start="prior")


@pytest.mark.parametrize("count", [-1, 2.5, "4", True])
def test_counts_that_cannot_be_are_refused(count, getkey):
    posterior, _, data = line()
    with pytest.raises(ValueError, match="`n` must be an integer of at least 0, got"):
        posterior.initial(getkey(), *data, n=count)
    with pytest.raises(ValueError, match="`tries` must be an integer of at least 1"):
        posterior.initial(getkey(), *data, tries=count)
    with pytest.raises(ValueError, match="`tries` must be an integer of at least 1"):
        posterior.initial(getkey(), *data, tries=0)


def test_data_without_a_likelihood_are_refused():
    posterior = bt.Posterior(
        bt.Reparam({"a": jnp.ones(2)}, None), None, tfd.Normal(0.0, 1.0)
    )
    free = {"a": jnp.zeros(2)}
    posterior.log_density(free)
    with pytest.raises(ValueError, match="1 data given to a Posterior without a log-lik"):
        posterior.log_density(free, jnp.ones(3))
