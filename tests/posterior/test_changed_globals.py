"""Answers are those to what a user's functions read when they are asked for."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bijectree as bt
from bijectree import tfd

pytestmark = [
    pytest.mark.jax_defaults,
    pytest.mark.filterwarnings("ignore:the chains do not agree"),
    pytest.mark.filterwarnings("ignore:too few independent draws"),
]

SCALE = 1.0
Y = jnp.array([1.0, 1.2])
MODEL = {"a": jnp.array(1.0), "b": jnp.array(0.5)}


def log_likelihood(m):
    return jnp.sum(tfd.Normal(m["b"], 1.0).log_prob(Y))


def log_prior(m):
    return tfd.Normal(SCALE, 1.0).log_prob(m["b"]) - m["a"]


def upper(m):
    return bt.interval(0.0, SCALE * m["a"])


def below(m):
    return tfd.Uniform(0.0, SCALE * m["a"])


class Line(eqx.Module):
    slope: jax.Array

    def predict(self):
        return SCALE * self.slope


def by_method(m):
    return jnp.sum(tfd.Normal(m.predict(), 1.0).log_prob(Y))


def hierarchy():
    spec = {"a": bt.positive(), "b": bt.dependent(upper)}
    prior = {"a": tfd.Gamma(50.0, 50.0), "b": bt.dependent(below)}
    return bt.Posterior(bt.Reparam(MODEL, spec), None, prior)


def by_likelihood():
    reparam = bt.Reparam(MODEL, {"a": bt.positive(), "b": None})
    return bt.Posterior(reparam, log_likelihood, {"a": tfd.Gamma(2.0, 2.0), "b": None})


@pytest.fixture(params=["the same posterior", "one made again"])
def again(request):
    """The posterior after a change: that from before, or another of the same parts."""
    return lambda posterior, make: posterior if "same" in request.param else make()


def test_mode_and_evidence_of_new_data(again, monkeypatch):
    posterior = by_likelihood()
    before = bt.find_map(posterior, MODEL), bt.laplace(posterior, MODEL)
    np.testing.assert_allclose(before[0].model["b"], 1.1, rtol=1e-5)
    monkeypatch.setitem(globals(), "Y", jnp.array([5.0, 5.2, 4.8]))
    posterior = again(posterior, by_likelihood)
    found = bt.find_map(posterior, MODEL), bt.laplace(posterior, MODEL)
    np.testing.assert_allclose(found[0].model["b"], 5.0, rtol=1e-5)
    # The density is normal in b, of which n observations have the Hessian n.
    ratio = found[1].log_evidence - before[1].log_evidence
    density = [
        tfd.Normal(mean, 1.0).log_prob(y).sum() + 0.5 * np.log(2 * np.pi / y.size)
        for mean, y in ((1.1, jnp.array([1.0, 1.2])), (5.0, Y))
    ]
    np.testing.assert_allclose(ratio, density[1] - density[0], rtol=1e-4)


def test_draws_of_new_data(again, monkeypatch):
    posterior = by_likelihood()
    options = {"chains": 2, "draws": 150, "warm_up": 150, "progress": False}
    key = jax.random.key(0)
    bt.sample(posterior, key, **options)
    monkeypatch.setitem(globals(), "Y", jnp.full(100, 5.0))
    draws = bt.sample(again(posterior, by_likelihood), key, **options)
    np.testing.assert_allclose(draws.models["b"].mean(), 5.0, atol=0.1)


def test_starts_of_new_data(again, monkeypatch):
    posterior = by_likelihood()
    posterior.initial(jax.random.key(0))
    monkeypatch.setitem(globals(), "Y", jnp.array([jnp.nan]))
    with pytest.raises(ValueError, match="likelihood"):
        again(posterior, by_likelihood).initial(jax.random.key(0))


def test_priors_and_bijectors_of_new_numbers(again, monkeypatch):
    posterior, u = hierarchy(), jnp.array([0.5, 0.5])
    key = jax.random.key(0)
    drawn, made = posterior.sample_prior(key, 50), posterior.prior_transform(u)
    monkeypatch.setitem(globals(), "SCALE", 10.0)
    posterior = again(posterior, hierarchy)
    now = posterior.sample_prior(key, 50), posterior.prior_transform(u)
    np.testing.assert_allclose(now[0]["b"], 10 * drawn["b"], rtol=1e-5)
    np.testing.assert_allclose(now[1]["b"], 10 * made["b"], rtol=1e-5)
    mode = bt.find_map(posterior, MODEL, jacobian=True).model
    np.testing.assert_allclose(mode["b"] / mode["a"], 5.0, rtol=1e-3)  # sigmoid(0) = 1/2


def test_a_prior_that_is_a_function(again, monkeypatch):
    def make():
        return bt.Posterior(
            bt.Reparam(MODEL, {"a": bt.positive(), "b": None}), None, log_prior
        )

    posterior = make()
    bt.find_map(posterior, MODEL, jacobian=True)
    monkeypatch.setitem(globals(), "SCALE", 10.0)
    mode = bt.find_map(again(posterior, make), MODEL, jacobian=True)
    np.testing.assert_allclose(mode.model["b"], 10.0, rtol=1e-5)


def test_a_method_of_the_model(again, monkeypatch):
    model = Line(jnp.array(1.0))

    def make():
        return bt.Posterior(bt.Reparam(model, None), by_method)

    posterior = make()
    bt.find_map(posterior, model)
    monkeypatch.setitem(globals(), "SCALE", 2.0)
    mode = bt.find_map(again(posterior, make), model)
    np.testing.assert_allclose(mode.model.slope, 0.55, rtol=1e-5)


def test_a_function_in_the_model_is_the_same_whatever_it_reads(again, monkeypatch):
    model = {"act": scaled, "w": jnp.array(2.0)}

    def make():
        def log_likelihood(m):
            return -((m["act"](m["w"]) - 3.0) ** 2)

        reparam = bt.Reparam(model, {"act": None, "w": bt.positive()})
        return bt.Posterior(reparam, log_likelihood, {"act": None, "w": None})

    posterior = make()
    bt.find_map(posterior, model)
    monkeypatch.setitem(globals(), "SCALE", 2.0)
    posterior = again(posterior, make)
    assert bt.check(posterior.reparam, model).ok
    np.testing.assert_allclose(bt.find_map(posterior, model).model["w"], 1.5, rtol=1e-4)
    with pytest.raises(ValueError, match="bind again"):
        posterior.reparam.inverse({**model, "act": jnp.sin})


GRID = jnp.arange(3.0)


def curve(m):
    return m["b"] * GRID


def noisy(m, key):
    return m["b"] * GRID + 0.0 * jax.random.normal(key, GRID.shape)


def test_predictions_on_another_grid(monkeypatch):
    draws = bt.sample(
        by_likelihood(), jax.random.key(0), chains=2, draws=20, warm_up=20, progress=False
    )
    key = jax.random.key(1)
    draws.map(curve), draws.predict(noisy, key)
    monkeypatch.setitem(globals(), "GRID", jnp.arange(3.0, 8.0))
    expected = draws.models["b"][..., None] * GRID
    np.testing.assert_allclose(draws.map(curve), expected, rtol=1e-6)
    np.testing.assert_allclose(draws.predict(noisy, key), expected, rtol=1e-6)


def test_nothing_is_traced_again_where_nothing_has_changed():
    seen = []

    def listen(event, *_, **__):
        seen.append(event)

    first = bt.find_map(by_likelihood(), MODEL)
    jax.monitoring.register_event_duration_secs_listener(listen)
    second = bt.find_map(by_likelihood(), MODEL)
    jax.monitoring.unregister_event_duration_listener(listen)
    assert not [event for event in seen if event.endswith("backend_compile_duration")]
    np.testing.assert_array_equal(first.model["b"], second.model["b"])


class Rate:
    """A distribution of a user's own, which is no pytree."""

    event_shape = batch_shape = ()

    def log_prob(self, x):
        return jnp.log(SCALE) - SCALE * x


def of_own_class():
    reparam = bt.Reparam({"b": jnp.array(0.5)}, bt.positive())
    return bt.Posterior(reparam, None, {"b": Rate()}, verify=False)


def scaled(x):
    return SCALE * x


def of_own_map():
    spec = bt.tfb.Inline(
        forward_fn=scaled,
        inverse_fn=lambda y: y / SCALE,
        forward_log_det_jacobian_fn=lambda x: jnp.log(SCALE) + 0 * x,
        forward_min_event_ndims=0,
    )
    return bt.Posterior(bt.Reparam({"b": jnp.array(0.5)}, spec), None, {"b": None})


def test_a_distribution_of_a_user_s_own_class(again, monkeypatch):
    posterior = of_own_class()
    # With the log-det the mode of an exponential is at 1 / rate.
    mode = bt.find_map(posterior, {"b": jnp.array(0.5)}, jacobian=True).model["b"]
    np.testing.assert_allclose(mode, 1.0, rtol=2e-3)
    monkeypatch.setitem(globals(), "SCALE", 4.0)
    posterior = again(posterior, of_own_class)
    free = {"b": jnp.log(jnp.array(0.5))}
    density = posterior.log_density(free, jacobian=False)
    np.testing.assert_allclose(density, np.log(4.0) - 2.0, rtol=1e-5)
    mode = bt.find_map(posterior, {"b": jnp.array(0.5)}, jacobian=True).model["b"]
    np.testing.assert_allclose(mode, 0.25, rtol=2e-3)


def test_a_bijector_of_a_user_s_own_functions(again, monkeypatch):
    posterior = of_own_map()
    free = {"b": jnp.array(1.0)}
    np.testing.assert_allclose(posterior.reparam.forward(free)["b"], 1.0)
    monkeypatch.setitem(globals(), "SCALE", 2.0)
    reparam = again(posterior, of_own_map).reparam
    model, log_det = reparam.forward_and_log_det(free)
    np.testing.assert_allclose(model["b"], 2.0)
    np.testing.assert_allclose(log_det, np.log(2.0), rtol=1e-6)
    np.testing.assert_allclose(reparam.inverse({"b": jnp.array(1.0)})["b"], 0.5)


def moved(m):
    inner = bt.tfb.Inline(
        forward_fn=scaled,
        inverse_fn=unscaled,
        forward_log_det_jacobian_fn=log_scale,
        forward_min_event_ndims=0,
    )
    return bt.tfb.Chain([bt.tfb.Shift(m["a"]), inner])


def unscaled(y):
    return y / SCALE


def log_scale(x):
    return jnp.log(SCALE) + 0 * x


def test_a_dependent_bijector_of_a_user_s_own_functions(again, monkeypatch):
    def make():
        spec = {"a": bt.positive(), "b": bt.dependent(moved)}
        return bt.Posterior(bt.Reparam(MODEL, spec), None, {"a": None, "b": None})

    posterior, free = make(), {"a": jnp.log(2.0), "b": jnp.array(1.0)}
    np.testing.assert_allclose(posterior.reparam.forward(free)["b"], 3.0, rtol=1e-6)
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    reparam = again(posterior, make).reparam
    model, log_det = reparam.forward_and_log_det(free)
    np.testing.assert_allclose(model["b"], 5.0, rtol=1e-6)
    np.testing.assert_allclose(log_det, np.log(2.0) + np.log(3.0), rtol=1e-6)
    np.testing.assert_allclose(reparam.inverse(model)["b"], 1.0, rtol=1e-5)
