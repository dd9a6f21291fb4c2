"""`calibrate`: what is right is calibrated, and what is wrong is seen."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sampled import scale_model

import bijectree as bt
from bijectree import tfd

# Samplers and the likelihoods below promote as users' code does.
pytestmark = pytest.mark.jax_defaults

CHEAP = {"warm_up": 100, "progress": False}
MODEL = {"mean": jnp.zeros(()), "scale": jnp.ones(())}
REPARAM = bt.Reparam(MODEL, {"mean": None, "scale": bt.positive()})
TRACES = []


def log_likelihood(model, y):
    TRACES.append(None)
    return tfd.Normal(model["mean"], 1.0).log_prob(y).sum()


def prior(model, factor=1.0):
    scale = tfd.LogNormal(0.0, factor).log_prob(model["scale"])
    return scale + tfd.Normal(0.0, factor * model["scale"]).log_prob(model["mean"])


def without_jacobian(model):
    # The log-det of `positive` is the logarithm of the number.
    return prior(model) - jnp.log(model["scale"])


def twice_as_wide(model):
    return prior(model, factor=2.0)


def maker(prior):
    posterior = bt.Posterior(REPARAM, log_likelihood, prior)

    @jax.jit
    def simulate(key):
        one, two, three = jax.random.split(key, 3)
        scale = jnp.exp(jax.random.normal(one))
        mean = scale * jax.random.normal(two)
        return {"mean": mean, "scale": scale}, mean + jax.random.normal(three, (3,))

    def make(key):
        truth, y = simulate(key)
        return truth, posterior, (y,)

    return make


@pytest.mark.slow
def test_a_right_posterior_is_calibrated_by_one_set_of_programs():
    make = maker(prior)
    bt.calibrate(make, jax.random.key(8), n=20, **CHEAP)
    before = len(TRACES)
    found = bt.calibrate(make, jax.random.key(0), n=120, **CHEAP)
    assert len(TRACES) == before
    assert list(found.ranks) == ["mean", "scale", "log-prior", "log-likelihood"]
    assert found.n == 120
    assert min(found.p_values.values()) > 1e-3
    assert (found.ess >= 99).all()
    assert not found.outside.any()


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [without_jacobian, twice_as_wide])
def test_a_wrong_posterior_is_seen(wrong):
    found = bt.calibrate(maker(wrong), jax.random.key(0), n=120, **CHEAP)
    assert found.p_value < 1e-3


@pytest.mark.slow
def test_ctrl_c_gives_the_simulations_so_far():
    make, calls = maker(prior), []

    def stopped(key):
        calls.append(None)
        if len(calls) > 22:
            raise KeyboardInterrupt
        return make(key)

    with pytest.warns(UserWarning, match="these are 22 of 200 simulations"):
        found = bt.calibrate(stopped, jax.random.key(0), draws=9, **CHEAP)
    assert found.n == 22
    again = bt.calibrate(make, jax.random.key(0), n=22, draws=9, **CHEAP)
    for name, ranks in found.ranks.items():
        np.testing.assert_array_equal(ranks, again.ranks[name])
    del calls[:19]
    with pytest.raises(KeyboardInterrupt):
        bt.calibrate(stopped, jax.random.key(0), draws=9, **CHEAP)


class Parts(NamedTuple):
    correlation: jax.Array
    empty: jax.Array


class Module(eqx.Module):
    parts: Parts
    copy: jax.Array
    held: jax.Array
    one: jax.Array
    shares: jax.Array
    name: str = eqx.field(static=True)


@pytest.mark.slow
# TFP's sampler of correlation matrices.
@pytest.mark.filterwarnings(
    "ignore:shape requires ndarray:DeprecationWarning",
    "ignore:Explicitly requested dtype int64",
)
def test_what_never_varies_is_left_out_and_each_number_counts_once(precision):
    one = jnp.ones((), precision)
    lkj, shares = tfd.LKJ(3, 2 * one), tfd.Dirichlet(jnp.ones(3, precision))
    model = Module(
        parts=Parts(jnp.eye(3, dtype=precision), jnp.zeros((0,), precision)),
        copy=one,
        held=jnp.ones(2, precision),
        one=jnp.ones((1,), precision),
        shares=jnp.full(3, 1 / 3, precision),
        name="a",
    )
    rules = {
        "parts.correlation": bt.corr_matrix(),
        "parts.empty": None,
        "copy": bt.tied("one", lambda x: x[0]),
        "held": bt.frozen,
        "one": bt.positive(),
        "shares": bt.simplex(),
    }
    priors = {"parts.correlation": lkj, "one": tfd.Gamma(3 * one, one), "shares": shares}
    reparam = bt.Reparam(model, bt.by_path(model, rules))
    posterior = bt.Posterior(reparam, None, bt.by_path(model, priors))

    def make(key):
        keys = jax.random.split(key, 3)
        rate = priors["one"].sample(1, seed=keys[0])
        where = lambda m: (m.parts.correlation, m.one, m.copy, m.shares)  # noqa: E731
        values = (lkj.sample(seed=keys[1]), rate, rate[0], shares.sample(seed=keys[2]))
        return eqx.tree_at(where, model, values), posterior, ()

    found = bt.calibrate(make, jax.random.key(0), n=20, draws=9, **CHEAP)
    halves = ["1.0", "2.0", "2.1"], ["0.1", "0.2", "1.2"]
    names = [*found.ranks]
    assert sorted(names[:3]) in [
        sorted(f"parts.correlation.{i}" for i in half) for half in halves
    ]
    assert names[3:] == ["one.0", "shares.0", "shares.1", "shares.2", "log-prior"]
    assert found.p_value > 1e-3


@pytest.mark.slow
def test_a_truth_outside_of_its_support_is_counted():
    reparam = bt.Reparam(jnp.array(0.5), bt.interval(-1.0, 1.0))
    posterior = bt.Posterior(reparam, None, tfd.Uniform(-1.0, 1.0))

    def make(key):
        return 4 * jax.random.normal(key), posterior, ()

    found = bt.calibrate(make, jax.random.key(0), n=20, draws=9, **CHEAP)
    # The density of a truth outside is zero.
    assert list(found.ranks) == ["model", "log-prior"]
    assert found.outside.sum() > 10
    assert "outside the support" in str(found)


@pytest.mark.slow
def test_another_program_for_each_simulation_is_warned_of():
    make = maker(prior)

    def closing(key):
        truth, _, (y,) = make(key)
        posterior = bt.Posterior(REPARAM, lambda model: log_likelihood(model, y), prior)
        return truth, posterior, ()

    with pytest.raises(UserWarning, match="Define the log-likelihood"):
        bt.calibrate(closing, jax.random.key(0), n=20, draws=9, **CHEAP)


def calibrated(make, **options):
    return bt.calibrate(make, jax.random.key(0), progress=False, **options)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"n": 19}, "`n` must be at least 20, got 19"),
        ({"n": 2.5, "draws": 0, "thin": 0}, r"`n` .*\n.*`draws` .* got 0\n.*`thin`"),
        ({"chains": True}, "`chains` must be an integer"),
    ],
)
def test_numbers_out_of_range_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        calibrated(maker(prior), **options)


def test_options_that_sample_does_not_have_are_refused():
    with pytest.raises(TypeError, match=r"`warmup` is not one of .*warm_up\n.*`resume`"):
        calibrated(maker(prior), warmup=3, resume=None)
    with pytest.raises(TypeError, match="must be a function key -> .* got int 3"):
        calibrated(3)


MODEL_OF_ONE = {"scale": jnp.array(1.0)}


@pytest.mark.parametrize(
    ("made", "match"),
    [
        (None, r"return \(truth, posterior, data\), got None"),
        ((MODEL_OF_ONE, scale_model()), r"return \(truth, posterior, data\), got"),
        ((scale_model(), MODEL_OF_ONE, ()), r"second must be a .*\n.* first must be a"),
        ((MODEL_OF_ONE, scale_model(), jnp.ones(3)), r"a tuple of .* as \(y,\), got"),
        ((MODEL_OF_ONE, scale_model(), [jnp.ones(3)]), r"a tuple of .* as \(y,\), got"),
    ],
    ids=["nothing", "two", "exchanged", "an array", "a list"],
)
def test_what_make_must_return_is_said(made, match):
    with pytest.raises(TypeError, match=match) as caught:
        calibrated(lambda key: made)
    (note,) = caught.value.__notes__
    assert "in simulation 0 of 200" in note


@pytest.mark.parametrize(
    ("truth", "match"),
    [
        ({"scale": jnp.ones(2)}, "'scale': got"),
        ({"other": jnp.ones(())}, "other"),
        ({"scale": jnp.array(jnp.nan)}, r"NaN has no rank.*\n.*'scale'"),
    ],
)
def test_a_truth_unlike_the_model_is_refused(truth, match):
    with pytest.raises(ValueError, match=match):
        calibrated(lambda key: (truth, scale_model(), ()))


def test_a_held_number_of_another_value_is_refused():
    model = {"held": jnp.ones(()), "scale": jnp.ones(())}
    reparam = bt.Reparam(model, {"held": bt.frozen, "scale": bt.positive()})
    priors = {"held": None, "scale": tfd.HalfNormal(1.0)}
    posterior = bt.Posterior(reparam, None, priors)
    truth = {**model, "held": jnp.array(2.0)}
    with pytest.raises(ValueError, match=r"'held' \(frozen\): bound with 1., got 2."):
        calibrated(lambda key: (truth, posterior, ()))
