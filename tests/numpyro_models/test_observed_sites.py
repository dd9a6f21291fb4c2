"""The likelihood of a model taken over: its terms, its data, and new data."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.contrib.control_flow import scan
from numpyro.infer import Predictive
from numpyro.infer.util import log_likelihood
from numpyro_zoo import ZOO, eight_schools

import bijectree as bt

pytestmark = pytest.mark.jax_defaults  # NumPyro promotes dtypes and ranks itself

SIGMA, EFFECTS = ZOO["eight schools"][1]
SCHOOLS = {"mu": jnp.array(1.0), "tau": jnp.array(2.0), "theta": jnp.arange(8.0)}


def test_the_terms_are_numpyro_s_one_for_each_observation():
    posterior = bt.from_numpyro(eight_schools, SIGMA, EFFECTS)
    likelihood = posterior.likelihood
    terms = likelihood.terms(SCHOOLS)
    batched = jax.tree.map(lambda x: x[None], SCHOOLS)
    due = log_likelihood(eight_schools, batched, SIGMA, EFFECTS)
    np.testing.assert_allclose(terms["y"], due["y"][0], rtol=1e-5)
    assert likelihood.names == ("y",)
    np.testing.assert_allclose(likelihood.observed["y"], EFFECTS, rtol=1e-6)
    assert likelihood.factors(SCHOOLS) == {}


def test_factors_count_and_are_no_observations():
    function, args = ZOO["ordinal"]
    posterior = bt.from_numpyro(function, *args)
    model = {"cuts": jnp.array([-1.0, 0.3, 2.0]), "slope": jnp.array(0.4)}
    likelihood = posterior.likelihood
    assert likelihood.names == ("levels",)
    assert set(likelihood.observed) == {"levels"}
    due = dist.Normal(0, 2).log_prob(model["cuts"]).sum()
    np.testing.assert_allclose(likelihood.factors(model)["cuts_prior"], due, rtol=1e-5)
    total = likelihood.terms(model)["levels"].sum() + due
    np.testing.assert_allclose(posterior.log_likelihood(model), total, rtol=1e-5)


def test_data_beside_those_of_the_model_are_refused():
    posterior = bt.from_numpyro(eight_schools, SIGMA, EFFECTS)
    free = posterior.reparam.inverse(SCHOOLS)
    with pytest.raises(TypeError, match="1 data given to the likelihood"):
        posterior.log_density(free, EFFECTS)
    with pytest.raises(TypeError, match="1 data given to the likelihood"):
        posterior.likelihood.sample(SCHOOLS, jax.random.key(0), EFFECTS)


def test_new_data_have_the_law_of_the_observed_sites():
    posterior = bt.from_numpyro(eight_schools, SIGMA, EFFECTS)
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = jax.vmap(lambda key: posterior.likelihood.sample(SCHOOLS, key))(keys)["y"]
    error = SIGMA / np.sqrt(4000)
    assert np.all(np.abs(drawn.mean(0) - SCHOOLS["theta"]) < 4.5 * error)
    np.testing.assert_allclose(drawn.std(0), SIGMA, rtol=0.06)


def test_new_data_have_the_shape_of_those_observed():
    for name in ("between", "zero inflated"):
        function, args = ZOO[name]
        posterior = bt.from_numpyro(function, *args)
        model = posterior.reparam.forward(posterior.initial(jax.random.key(0)))
        drawn = posterior.likelihood.sample(model, jax.random.key(1))
        shapes = {name: x.shape for name, x in posterior.likelihood.observed.items()}
        assert {name: x.shape for name, x in drawn.items()} == shapes
        first = next(iter(drawn.values()))
        assert np.unique(first).size > 1


def remembering(y):
    share = numpyro.sample("share", dist.Uniform(-1, 1))

    def step(last, _):
        now = numpyro.sample("y", dist.Normal(share * last, 1.0))
        return now, None

    with handlers.condition(data={"y": y}):
        scan(step, 0.0, jnp.arange(len(y)))


def test_in_a_scan_new_data_follow_on_new_data():
    posterior = bt.from_numpyro(remembering, jnp.full(6, 100.0))
    keys = jax.random.split(jax.random.key(0), 6000)
    sample = posterior.likelihood.sample
    model = {"share": jnp.array(0.8)}
    drawn = jax.vmap(lambda key: sample(model, key))(keys)["y"]
    due = np.cumsum(0.64 ** np.arange(6))
    np.testing.assert_allclose(drawn.var(0), due, rtol=0.09)
    assert np.all(np.abs(drawn.mean(0)) < 5 * np.sqrt(due / 6000))


def walking(y):
    start = numpyro.sample("start", dist.Normal(3.0, 0.5))

    def step(last, value):
        now = numpyro.sample("x", dist.Normal(last, 0.7))
        numpyro.sample("y", dist.Normal(now, 1.0), obs=value)
        return now, None

    scan(step, start, y)


def test_a_site_of_a_scan_is_drawn_from_its_prior():
    posterior = bt.from_numpyro(walking, jnp.full(5, 100.0))
    drawn = posterior.sample_prior(jax.random.key(0), 6000)
    due = 0.25 + 0.49 * np.arange(1, 6)
    np.testing.assert_allclose(drawn["x"].var(0), due, rtol=0.09)
    assert np.all(np.abs(drawn["x"].mean(0) - 3.0) < 5 * np.sqrt(due / 6000))
    apart = drawn["x"][:, 0] - drawn["start"]
    np.testing.assert_allclose(apart.var(), 0.49, rtol=0.09)


def test_a_model_of_new_data_is_calibrated():
    """Normal numbers: the predictions that are known without a sampler."""

    def model(y):
        m = numpyro.sample("m", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(m, 1.0), obs=y)

    y = np.array([0.5, 1.5, 1.0], np.float32)
    posterior = bt.from_numpyro(model, y)
    random = np.random.default_rng(0)
    exact = 0.75 + 0.5 * random.standard_normal((4, 1000, 1)).astype(np.float32)
    draws = bt.Draws(posterior, jnp.asarray(exact))
    new = draws.predict(posterior.likelihood.sample, jax.random.key(0))["y"]
    assert new.shape == (4, 1000, 3)
    np.testing.assert_allclose(new.mean(), 0.75, atol=0.06)
    np.testing.assert_allclose(new.var(axis=(0, 1)), 1.25, rtol=0.1)
    flat = {name: x.reshape(-1, *x.shape[2:]) for name, x in draws.models.items()}
    theirs = Predictive(model, flat)(jax.random.key(1), None)["y"]
    np.testing.assert_allclose(theirs.var(), 1.25, rtol=0.1)


@pytest.mark.slow
def test_the_posterior_of_a_model_taken_over_is_sampled():
    def model(y):
        m = numpyro.sample("m", dist.Normal(0.0, 10.0))
        numpyro.sample("y", dist.Normal(m, 2.0), obs=y)

    y = np.array([0.5, 1.5, 4.0, 2.0], np.float32)
    posterior = bt.from_numpyro(model, y)
    draws = bt.sample(posterior, jax.random.key(0), progress=False)
    precision = 1 / 100 + 4 / 4
    mean, sd = y.sum() / 4 / precision, precision**-0.5
    found = np.asarray(draws.models["m"])
    assert abs(found.mean() - mean) < 0.1 * sd
    np.testing.assert_allclose(found.std(), sd, rtol=0.05)


def test_plates_are_the_axes_of_arviz_data():
    pytest.importorskip("arviz")

    def model(x, y):
        scale = numpyro.sample("scale", dist.HalfNormal(1.0))
        with numpyro.plate("group", 3):
            w = numpyro.sample("w", dist.Dirichlet(jnp.ones(2)))
        with numpyro.plate("day", 4, dim=-1), numpyro.plate("place", 2, dim=-2):
            z = numpyro.sample("z", dist.Normal(0.0, scale))
            numpyro.sample("y", dist.Normal(z + w[0, 0] * x, 1.0), obs=y)

    posterior = bt.from_numpyro(model, jnp.ones(4), jnp.zeros((2, 4)))
    draws = bt.Draws(posterior, jnp.zeros((1, 5, posterior.dim)))
    data = draws.to_arviz(prior_draws=7)
    of_draws = ("chain", "draw")
    assert data["posterior"]["w"].dims == (*of_draws, "group", "w_dim_1")
    assert data["prior"]["z"].dims == (*of_draws, "place", "day")
    for group in ("log_likelihood", "posterior_predictive", "prior_predictive"):
        assert data[group]["y"].dims == (*of_draws, "place", "day")
    assert data["observed_data"]["y"].dims == ("place", "day")


def test_observations_that_are_broadcast_are_warned_of():
    pytest.importorskip("arviz")

    def model(x, y=None):
        m = numpyro.sample("m", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(m * x, 1.0), obs=y)

    x = jnp.ones(3)
    posterior = bt.from_numpyro(model, x, jnp.zeros((3, 1)))
    draws = bt.Draws(posterior, jnp.zeros((1, 5, 1)))
    with pytest.warns(UserWarning, match=r"'y' of shape \(3, 1\) has log-dens.*\(3, 3\)"):
        draws.to_arviz(prior_draws=7)
    nothing = bt.from_numpyro(model, x)
    draws = bt.Draws(nothing, jnp.zeros((1, 5, 4)))
    with pytest.raises(ValueError, match="'log_likelihood': the model observes nothing"):
        draws.to_arviz(groups=["log_likelihood"])
