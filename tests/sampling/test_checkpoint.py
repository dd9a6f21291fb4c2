"""Checkpoints, `resume` and Ctrl-C: nothing is lost, and nothing is taken for another."""

import functools
import signal
import subprocess
import sys
import textwrap
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bijectree as bt
from bijectree import tfd
from bijectree.sampling import (
    chains as chains_module,
    checkpoint,
)
from bijectree.sampling.run import Run

pytestmark = [
    pytest.mark.jax_defaults,
    pytest.mark.filterwarnings("ignore:the chains do not", "ignore:too few independent"),
    pytest.mark.filterwarnings("ignore:. of .* transitions diverged"),
]

KEY = jax.random.key(3)
Y = jnp.array([0.3, -0.2, 1.0])


@functools.cache
def posterior(scale=1.0):
    model = {"mu": jnp.zeros(()), "tau": jnp.ones(()), "theta": jnp.zeros(3)}
    theta = bt.location_scale("mu", "tau")
    spec = {"mu": None, "tau": bt.positive(), "theta": theta}

    def prior(m):
        total = tfd.Normal(0.0, scale).log_prob(m["mu"])
        total += tfd.LogNormal(0.0, 1.0).log_prob(m["tau"])
        return total + tfd.Normal(m["mu"], m["tau"]).log_prob(m["theta"]).sum()

    def log_likelihood(m, y):
        return tfd.Normal(m["theta"], 0.5).log_prob(y).sum()

    return bt.Posterior(bt.Reparam(model, spec), log_likelihood, prior)


def sample(p=None, y=Y, key=KEY, **options):
    options = {"draws": 220, "warm_up": 60, "progress": False} | options
    return bt.sample(p or posterior(), key, y, **options)


def same(a, b):
    np.testing.assert_array_equal(a.vectors, b.vectors)
    for name, values in a.stats.items():
        np.testing.assert_array_equal(values, b.stats[name])


class Killed(Exception):  # noqa: N818
    """In place of a kill."""


def killed_after(monkeypatch, chunks, error=Killed):
    """Let a sampler die after so many chunks of draws."""
    add, done = Run.add, []

    def dying(self, *args):
        if len(done) == chunks:
            raise error
        done.append(None)
        add(self, *args)

    monkeypatch.setattr(Run, "add", dying)


@pytest.mark.parametrize("chunks", [0, 1, 3])
@pytest.mark.parametrize("coordinates", ["learned", "given"])
def test_a_killed_run_goes_on_bit_for_bit(tmp_path, monkeypatch, chunks, coordinates):
    whole = sample(coordinates=coordinates)
    file = tmp_path / "run.eqx"
    with monkeypatch.context() as patch:
        killed_after(patch, chunks)
        with pytest.raises(Killed):
            sample(checkpoint=file, coordinates=coordinates)
    before = file.read_bytes()
    again = sample(checkpoint=str(file), coordinates=coordinates)
    same(whole, again)
    assert file.read_bytes() != before
    # The warm-up was not run again, and its gradients are counted once.
    extra = again.report.gradients["starts"] - whole.report.gradients["starts"]
    assert extra == 4
    for part in ("warm-up", "draws"):
        assert again.report.gradients[part] == whole.report.gradients[part]
    # A run that is over is read back as it is.
    same(whole, sample(checkpoint=file, coordinates=coordinates))
    assert [path.name for path in tmp_path.iterdir()] == ["run.eqx"]


def test_a_file_of_another_call_is_refused_and_left(tmp_path):
    file = tmp_path / "run.eqx"
    sample(checkpoint=file)
    before = file.read_bytes()
    for options, words in (
        ({"key": jax.random.key(4)}, "`key` was"),
        ({"warm_up": 61, "target_acceptance": 0.7}, r"warm_up.*\n.*target_acceptance"),
        ({"chains": 2}, "`chains` was 4, and is 2 now"),
        ({"start": "prior"}, "`start` was 'uniform'"),
        ({"jitter": 0.5}, "`jitter` was 0.0"),
        ({"y": Y + 1}, "another posterior or of other data"),
        ({"p": posterior(2.0)}, "another posterior or of other data"),
    ):
        with pytest.raises(ValueError, match=words):
            sample(checkpoint=file, **options)
        assert file.read_bytes() == before


@pytest.mark.parametrize("part", [0, 10, 0.5, 0.99])
def test_a_cut_file_is_refused_and_left(tmp_path, part):
    file = tmp_path / "run.eqx"
    sample(checkpoint=file)
    whole = file.read_bytes()
    n = part if isinstance(part, int) else int(part * len(whole))
    file.write_bytes(whole[:n])
    with pytest.raises(ValueError, match="is no checkpoint .* cut off"):
        sample(checkpoint=file)
    assert file.read_bytes() == whole[:n]


def test_other_files_are_refused(tmp_path):
    file = tmp_path / "run.eqx"
    file.write_text("my thesis")
    with pytest.raises(ValueError, match="is no checkpoint"):
        sample(checkpoint=file)
    assert file.read_text() == "my thesis"
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    with pytest.raises(ValueError, match="is no checkpoint"):
        sample(checkpoint=tmp_path / "other.npz")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        sample(checkpoint=tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder"):
        sample(checkpoint=tmp_path / "nowhere" / "run.eqx")


def test_a_full_disk_leaves_the_last_good_file_and_sampling_goes_on(
    tmp_path, monkeypatch
):
    file = tmp_path / "run.eqx"
    write, calls = np.savez, []

    def full(*args, **kwargs):
        calls.append(None)
        if len(calls) > 2:
            raise OSError(28, "No space left on device")
        write(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.np, "savez", full)
        with pytest.warns(UserWarning, match="No space left .* goes on"):
            draws = sample(checkpoint=file)
    assert draws.vectors.shape[1] == 220
    assert [path.name for path in tmp_path.iterdir()] == ["run.eqx"]
    same(draws, sample(checkpoint=file))


def test_ctrl_c_gives_back_the_draws_so_far(monkeypatch, tmp_path):
    whole, file = sample(), tmp_path / "run.eqx"
    with monkeypatch.context() as patch:
        killed_after(patch, 2, KeyboardInterrupt)
        with pytest.warns(UserWarning, match="these are 100 of 220 draws"):
            draws = sample(checkpoint=file)
    np.testing.assert_array_equal(draws.vectors, whole.vectors[:, :100])
    same(whole, sample(checkpoint=file))
    with monkeypatch.context() as patch:
        killed_after(patch, 0, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            sample()


def test_resume_goes_on_as_it_was_tuned():
    for coordinates in ("learned", "given"):
        draws = sample(coordinates=coordinates)
        more = sample(resume=draws, key=jax.random.key(7), draws=100)
        assert more.vectors.shape == (4, 100, 5)
        assert more.report.step_size == draws.report.step_size
        assert more.report.gradients["warm-up"] == 0
        joined = draws.join(more)
        assert joined.vectors.shape == (4, 320, 5)
        assert joined.gradients == draws.gradients + more.gradients
        log_density = more.posterior.flat().log_density
        density = [log_density(vector, Y) for vector in more.vectors[:, -1]]
        np.testing.assert_allclose(more.stats["lp"][:, -1], density, rtol=1e-4)


def test_resume_with_the_same_key_gives_new_draws_that_join_in_order():
    draws = sample(draws=50)
    more = sample(resume=draws, draws=50)
    last = sample(resume=more, draws=50)
    for a, b in ((draws, more), (more, last), (draws, last)):
        assert not np.any(np.isclose(a.vectors, b.vectors).all(axis=-1))
    assert draws.join(more).join(last).vectors.shape == (4, 150, 5)
    for a, b in ((draws, draws), (draws, last), (more, draws)):
        with pytest.raises(ValueError, match="do not go on from the last"):
            a.join(b)


@pytest.mark.parametrize("key", [jax.random.PRNGKey(0), jax.random.key(0, impl="rbg")])
def test_keys_of_other_kinds_serve(key):
    assert np.isfinite(sample(key=key, draws=20).vectors).all()


def held(value, high):
    model = {"x": jnp.full(2, 0.5), "held": jnp.asarray(value)}
    spec = {"x": bt.interval(0.0, high), "held": bt.frozen}

    def log_likelihood(m):
        return tfd.Normal(0.0, m["held"]).log_prob(m["x"]).sum()

    return bt.Posterior(bt.Reparam(model, spec), log_likelihood)


@pytest.mark.parametrize("coordinates", ["learned", "given"])
def test_resume_sees_what_is_held_and_where_bounds_are(coordinates):
    options = {"draws": 20, "warm_up": 30, "progress": False}
    draws = bt.sample(held(1.0, 2.0), KEY, coordinates=coordinates, **options)
    for other in (held(10.0, 2.0), held(1.0, 9.0)):
        with pytest.raises(ValueError, match="another posterior, or of other data"):
            bt.sample(other, KEY, resume=draws, **options)
    again = bt.sample(held(1.0, 2.0), KEY, resume=draws, **options)
    further = bt.sample(draws.posterior, KEY, resume=draws, **options)
    np.testing.assert_allclose(again.vectors, further.vectors, rtol=1e-3, atol=1e-3)


def test_numbers_of_numpy_serve_and_a_checkpoint_knows_what_it_goes_on_from(tmp_path):
    file, numbers = tmp_path / "run.eqx", {"draws": np.int32(20), "chains": np.int64(2)}
    draws = sample(checkpoint=file, target_acceptance=np.float32(0.9), **numbers)
    other = sample(key=jax.random.key(8), **numbers)
    more = tmp_path / "more.eqx"
    sample(resume=draws, checkpoint=more, draws=20)
    with pytest.raises(ValueError, match="`resume` was"):
        sample(resume=other, checkpoint=more, draws=20)


def test_draws_in_single_precision_go_on_in_double():
    draws = sample(draws=20)
    with jax.enable_x64(True):
        p = posterior.__wrapped__()
        more = sample(p, jnp.asarray(np.asarray(Y), jnp.float32), resume=draws, draws=20)
    assert more.vectors.dtype == np.float64


def test_what_is_no_key_is_refused():
    for key in (0, jax.random.split(KEY, 2), jnp.zeros(3)):
        with pytest.raises(TypeError, match="expected one key"):
            sample(key=key)


def test_resume_takes_draws_of_the_same_posterior_alone():
    draws = sample()
    with pytest.raises(ValueError, match="another posterior, or of other data"):
        sample(posterior(2.0), resume=draws)
    with pytest.raises(TypeError, match="`resume` must be a bt.Draws"):
        sample(resume=draws.vectors)
    bare = bt.Draws(draws.posterior, draws.vectors)
    with pytest.raises(ValueError, match="came from elsewhere"):
        sample(resume=bare)
    with pytest.raises(ValueError, match="do not go on"):
        draws.join(sample(key=jax.random.key(9)))


def test_one_core_and_several_give_the_same_draws(monkeypatch):
    several = sample()
    monkeypatch.setattr(chains_module, "_cores", lambda: 1)
    same(several, sample())


@pytest.mark.filterwarnings("ignore:.* transitions diverged")  # it is a funnel
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64], ids=["single", "double"])
def test_settings_of_this_thread_hold_in_those_of_the_chains(dtype):
    with jax.enable_x64(True):
        # A model in single precision goes with data in double.
        model = {"mu": jnp.zeros(3, dtype), "tau": jnp.ones((), dtype)}

        def log_likelihood(m, y):
            total = tfd.Normal(m["mu"], m["tau"]).log_prob(y).sum()
            return total - m["tau"] - jnp.sum(m["mu"] ** 2)

        reparam = bt.Reparam(model, {"mu": None, "tau": bt.positive()})
        y = jnp.linspace(0.0, 1.0, 3)
        draws = sample(bt.Posterior(reparam, log_likelihood), y)
        assert draws.vectors.dtype == np.float64
        assert draws.models["tau"].dtype == dtype
        free = draws.posterior.reparam.unravel(draws.vectors[0, -1])
        density = draws.posterior.log_density(free, y)
        np.testing.assert_allclose(draws.stats["lp"][0, -1], density, rtol=1e-4)


SCRIPT = """
import sys, jax, jax.numpy as jnp, numpy as np, bijectree as bt
from bijectree import tfd
model = {"mu": jnp.zeros(20), "tau": jnp.ones(())}
spec = {"mu": None, "tau": bt.positive()}
prior = {"mu": tfd.Normal(0.0, 1.0), "tau": tfd.LogNormal(0.0, 1.0)}
def log_likelihood(m, y):
    return tfd.Normal(m["mu"], m["tau"]).log_prob(y).sum()
posterior = bt.Posterior(bt.Reparam(model, spec), log_likelihood, prior)
y = jnp.sin(jnp.arange(20.0))
draws = bt.sample(posterior, jax.random.key(0), y, draws=4000, warm_up=100,
                  checkpoint=sys.argv[1], progress=False)
np.save(sys.argv[2], draws.vectors)
"""


@pytest.mark.slow
def test_runs_killed_at_random_moments_go_on(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(SCRIPT))

    def start(file, out):
        arguments = [sys.executable, "-W", "ignore", str(script), str(file), str(out)]
        return subprocess.Popen(arguments)

    began = time.perf_counter()
    assert start(tmp_path / "whole.eqx", tmp_path / "whole.npy").wait() == 0
    length = time.perf_counter() - began
    whole = np.load(tmp_path / "whole.npy")
    rng = np.random.default_rng(0)
    for i in range(10):
        file, out = tmp_path / f"{i}.eqx", tmp_path / f"{i}.npy"
        process = start(file, out)
        time.sleep(rng.uniform(0.3, 1.0) * length)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert start(file, out).wait() == 0
        np.testing.assert_array_equal(np.load(out), whole)


def test_warnings_are_of_the_caller():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        bt.sample(posterior(), KEY, Y, draws=20, warm_up=30, progress=False)
    assert caught
    assert all(w.filename == __file__ for w in caught if w.category is UserWarning)
