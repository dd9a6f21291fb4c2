"""`fit_flow`: on a funnel, on what it cannot better, and as an ordinary Reparam."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fitted import assert_same_density, assert_stored

import bijectree as bt
from bijectree import tfd

# Samplers and the likelihoods below promote as users' code does.
pytestmark = pytest.mark.jax_defaults


def funnel(n=3):
    """A funnel in its centred coordinates, narrower than Neal's."""
    model = {"scale": jnp.ones(()), "x": jnp.zeros(n)}

    def log_prior(model):
        x = tfd.Normal(0.0, model["scale"]).log_prob(model["x"]).sum()
        return tfd.LogNormal(0.0, 1.0).log_prob(model["scale"]) + x

    spec = {"scale": bt.positive(), "x": None}
    return bt.Posterior(bt.Reparam(model, spec), None, log_prior)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(kind, marks=pytest.mark.slow)
        for kind in ("autoregressive", "coupling")
    ],
)
def fitted(request):
    with jax.enable_x64(True):
        posterior = funnel()
        return posterior, *bt.fit_flow(
            posterior,
            jax.random.key(0),
            flow=request.param,
            steps=2000,
            learning_rate=0.02,
            width=8,
            progress=False,
        )


def test_the_funnel_is_straightened(fitted):
    _, _, report = fitted
    assert report.fisher_after < 0.5 * report.fisher_before
    assert report.trace[-1] > report.trace[0]
    assert max(report.trace) > -1.0  # the evidence is 1, its logarithm 0
    assert max(report.trace) < 0.1
    assert report.gradients > 400 * 16


def test_the_density_is_the_same(fitted):
    posterior, reparam, _ = fitted
    with jax.enable_x64(True):
        model = {"scale": jnp.array(0.7), "x": jnp.array([0.1, -0.4, 1.0])}
        two, log_dets = assert_same_density(posterior, reparam, model)

        def vector(z):
            model = reparam.forward(reparam.unravel(z))
            return jnp.concatenate([jnp.log(model["scale"])[None], model["x"]])

        jacobian = jax.jacobian(vector)(reparam.ravel(two))
        np.testing.assert_allclose(
            np.linalg.slogdet(jacobian)[1], log_dets, rtol=0, atol=1e-10
        )


def test_it_is_an_ordinary_reparam(fitted):
    posterior, reparam, report = fitted
    with jax.enable_x64(True):
        model = {"scale": jnp.array(0.7), "x": jnp.array([0.1, -0.4, 1.0])}
        free = reparam.inverse(model)
        back = reparam.forward(free)
        np.testing.assert_allclose(back["x"], model["x"], rtol=1e-10)
        assert reparam.labels == posterior.reparam.labels
        bt.check(reparam, model).raise_if_failed()
        assert_stored(reparam, free)
        assert "fit_flow" in str(report)


@pytest.mark.slow
def test_never_worse_than_what_was_given():
    """Coordinates that are already right: a flow of one step of noise is sent back."""
    reparam = bt.Reparam({"x": jnp.zeros(3)}, None)
    posterior = bt.Posterior(reparam, None, tfd.Normal(0.0, 1.0))
    found, report = bt.fit_flow(
        posterior,
        jax.random.key(0),
        steps=50,
        samples=1,
        learning_rate=1.0,
        progress=False,
    )
    assert found is reparam
    assert report.fisher_after == report.fisher_before
    assert "these are returned" in str(report)


@pytest.mark.slow
def test_a_mode_that_the_flow_missed_sends_it_back():
    def log_density(model):
        near = (-0.5 * jnp.sum((model["x"] - at) ** 2) for at in (-4.0, 4.0))
        return jnp.logaddexp(*near)

    reparam = bt.Reparam({"x": jnp.zeros(2)}, None)
    posterior = bt.Posterior(reparam, log_density)
    found, report = bt.fit_flow(posterior, jax.random.key(2), progress=False)
    assert found is reparam
    assert "worse" in str(report)


@pytest.mark.slow
def test_it_stops_early_and_shows_how_far_it_is(capsys):
    posterior = bt.Posterior(
        bt.Reparam({"x": jnp.zeros(2)}, None), None, tfd.Normal(0.0, 1.0)
    )
    _, report = bt.fit_flow(
        posterior, jax.random.key(0), layers=1, width=4, steps=5000, patience=2
    )
    assert len(report.trace) < 50
    shown = capsys.readouterr().err
    assert "evidence bound" in shown
    assert "100%" in shown


def test_a_flow_of_another_sort():
    with pytest.raises(ValueError, match="flow must be .* got 'planar'"):
        bt.fit_flow(funnel(), jax.random.key(0), flow="planar")
