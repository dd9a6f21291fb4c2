"""`sample`: arguments, divergences, half precision, progress."""

import os
import subprocess
import sys
import warnings
from io import StringIO
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sampled import COLOUR, scale_model

import bijectree as bt
from bijectree import tfd

# Samplers and the likelihoods below promote as users' code does.
pytestmark = pytest.mark.jax_defaults


@pytest.mark.slow
def test_an_equal_posterior_is_sampled_without_a_new_trace(getkey):
    pytest.importorskip("blackjax")
    traces = StringIO()  # a list would be read, and seem to change

    def log_likelihood(model, y):
        traces.write(".")
        return tfd.Normal(0.0, model["scale"]).log_prob(y).sum()

    for n in range(2):
        posterior = scale_model(log_likelihood=log_likelihood)
        y = jnp.arange(3.0) + n
        draws = bt.sample(
            posterior,
            getkey(),
            y,
            warm_up=200,
            draws=410,
            target_acceptance=0.95,
            progress=False,
        )
        if n == 0:
            before = traces.tell()
    assert traces.tell() == before
    assert draws.vectors.shape == (4, 410, 1)
    assert draws.stats["n_steps"].shape == (4, 410)


def test_numbers_of_chains_and_draws_are_checked():
    pytest.importorskip("blackjax")
    with pytest.raises(ValueError, match=r"`chains` must .* got 0\n.*`draws` .* got 2.5"):
        bt.sample(scale_model(), jax.random.key(0), chains=0, draws=2.5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"chains": "four"}, "`chains` must be an integer of at least 1, got 'four'"),
        ({"warm_up": True}, "`warm_up` must be"),
        ({"max_tree_depth": 0}, "`max_tree_depth` must be"),
        ({"target_acceptance": 1.0}, "`target_acceptance` must lie between 0 and 1"),
        ({"coordinates": "best"}, "`coordinates` must be 'learned' or 'given'"),
    ],
    ids=lambda x: None,
)
def test_what_cannot_be_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        bt.sample(scale_model(), jax.random.key(0), **options)


def test_it_runs_on_the_host():
    posterior = scale_model()
    for transform in (jax.jit, jax.vmap):
        with pytest.raises(TypeError, match="sample: called under jit.* Call it outside"):
            transform(lambda key: bt.sample(posterior, key).vectors)(
                jax.random.split(jax.random.key(0), 2)
            )
    with pytest.raises(TypeError, match="expected a bt.Posterior, got"):
        bt.sample(lambda model: 0.0, jax.random.key(0))


def test_a_model_without_coordinates_is_not_sampled():
    reparam = bt.Reparam({"a": jnp.ones(3)}, bt.frozen)
    posterior = bt.Posterior(reparam, lambda m: -m["a"].sum())
    with pytest.raises(ValueError, match="sample: .* no free coordinates"):
        bt.sample(posterior, jax.random.key(0))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.* transitions diverged")
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=str)
def test_half_precision_is_sampled_in_single(dtype, getkey):
    reparam = bt.Reparam({"a": jnp.ones(3, dtype)}, bt.positive())
    prior = tfd.HalfNormal(jnp.ones((), dtype))
    posterior = bt.Posterior(reparam, None, prior)
    draws = bt.sample(posterior, getkey(), progress=False)
    assert draws.vectors.dtype == np.float32
    assert draws.models["a"].dtype == dtype
    means = np.asarray(draws.models["a"], np.float64).mean(axis=(0, 1))
    np.testing.assert_allclose(means, np.sqrt(2 / np.pi), atol=0.06)


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:the chains do not agree", "ignore:too few independent"
)
def test_divergences_are_counted_and_warned_of(getkey, capsys):
    pytest.importorskip("blackjax")
    model = {"x": jnp.zeros(()), "v": jnp.zeros(())}

    def funnel(model):
        narrow = tfd.Normal(0.0, jnp.exp(model["v"])).log_prob(model["x"])
        return narrow + tfd.Normal(0.0, 3.0).log_prob(model["v"])

    posterior = bt.Posterior(bt.Reparam(model, None), funnel)
    with pytest.warns(UserWarning, match="of 400 transitions diverged"):
        draws = bt.sample(posterior, getkey(), warm_up=100, draws=100)
    assert draws.stats["diverging"].sum() > 0
    shown = capsys.readouterr()
    assert "divergences" in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("blackjax", lambda p: bt.sample(p, jax.random.key(0))),
        ("arviz", lambda p: bt.Draws(p, jnp.zeros((2, 10, 1))).to_arviz()),
        ("arviz_stats", lambda p: bt.calibrate(lambda key: None, jax.random.key(0))),
    ],
)
def test_a_missing_library_is_named_with_its_extra(monkeypatch, name, call):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf'{name} is not .*"bijectree\[blackjax\]"'):
        call(scale_model())


@pytest.mark.slow
def test_sampling_shows_its_progress(plain_environment, capsys, getkey):
    pytest.importorskip("blackjax")

    def sample(**options):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            bt.sample(scale_model(), key, warm_up=50, draws=20, chains=2, **options)
        shown = capsys.readouterr()
        assert shown.out == ""
        return shown.err

    key = getkey()
    capsys.readouterr()
    assert sample(progress=False) == ""
    plain = sample()
    assert "\x1b" not in plain
    for expected in ("warm-up", "sampling", "100%"):
        assert expected in plain
    plain_environment.setenv("FORCE_COLOR", "1")
    assert COLOUR.search(sample())
    plain_environment.setenv("NO_COLOR", "1")
    assert not COLOUR.search(sample())


@pytest.mark.slow
def test_a_second_process_compiles_nothing(tmp_path):
    """Programs and their keys depend on no hash seed, address or order of a set."""
    script = Path(__file__).parents[1] / "cached_programs.py"
    found = []
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONWARNINGS": "ignore"}
        command = [sys.executable, str(script), str(tmp_path)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found.append(dict(line.split() for line in done.stdout.splitlines()))
    first, second = found
    assert int(first["misses"]) > 20
    assert second["misses"] == "0"
    assert int(second["hits"]) > 20
