"""Bridges: real samplers and optimisers, against integrals done on a grid."""

import json
import re
import sys
import warnings
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st

import bijectree as bt
from bijectree import tfb, tfd
from bijectree.inference.diagnostics import diagnose

GOLDEN = json.loads((Path(__file__).parent / "golden" / "eight_schools.json").read_text())
Y, SIGMA = (np.array(GOLDEN[name], float) for name in ("y", "sigma"))

# Samplers and the likelihoods below promote as users' code does.
pytestmark = pytest.mark.jax_defaults


# Two posteriors whose moments are known without a sampler.


def schools():
    """Eight schools, non-centred, and the exact mean and sd of mu and tau."""
    model = {"mu": jnp.zeros(()), "tau": jnp.ones(()), "z": jnp.zeros(8)}
    rules = {
        "mu": tfd.Normal(0.0, 5.0),
        "tau": tfd.HalfCauchy(0.0, 5.0),
        "z": tfd.Normal(0.0, 1.0),
    }

    def log_likelihood(model, y, sigma):
        return (
            tfd.Normal(model["mu"] + model["tau"] * model["z"], sigma).log_prob(y).sum()
        )

    prior = bt.by_path(model, rules)
    reparam = bt.Reparam(model, bt.spec_from_prior(model, prior))
    posterior = bt.Posterior(reparam, log_likelihood, prior=prior)

    # The schools' effects integrate out: y ~ normal(mu, sqrt(sigma² + tau²)).
    mu = np.linspace(-30, 40, 701)[:, None]
    log_tau = np.linspace(-12, 7, 951)[None]
    tau = np.exp(log_tau)
    log_p = st.norm(0, 5).logpdf(mu) + st.halfcauchy(0, 5).logpdf(tau) + log_tau
    for y, sigma in zip(Y, SIGMA, strict=True):
        log_p = log_p + st.norm(mu, np.hypot(sigma, tau)).logpdf(y)
    return (
        posterior,
        (jnp.asarray(Y), jnp.asarray(SIGMA)),
        moments(log_p, {"mu": mu + 0 * tau, "tau": tau + 0 * mu}),
    )


def shares():
    """The weights of a mixture of known parts, and their exact mean and sd."""
    rng = np.random.default_rng(0)
    y = np.concatenate([rng.normal(m, 1.0, n) for m, n in ((-2, 10), (0, 6), (3, 20))])
    parts = st.norm([-2, 0, 3], 1.0).pdf(y[:, None])
    model = {"weights": jnp.ones(3) / 3}
    prior = {"weights": tfd.Dirichlet([1.0, 2.0, 1.5])}

    def log_likelihood(model, parts):
        return jnp.log(parts @ model["weights"]).sum()

    reparam = bt.Reparam(model, bt.spec_from_prior(model, prior))
    posterior = bt.Posterior(reparam, log_likelihood, prior=prior)

    grid = (np.arange(400) + 0.5) / 400
    a, b = grid[:, None], grid[None]
    inside = a + b < 1
    w = np.stack(np.broadcast_arrays(a, b, np.where(inside, 1 - a - b, 0.5)))
    log_p = np.log(np.einsum("nk,kij->nij", parts, w)).sum(0)
    log_p += np.tensordot([0.0, 1.0, 0.5], np.log(w), axes=1)
    log_p = np.where(inside, log_p, -np.inf)
    return (
        posterior,
        (jnp.asarray(parts),),
        moments(log_p, {f"weights.{k}": w[k] for k in range(3)}),
    )


def moments(log_p, values):
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    means = {name: (p * x).sum() for name, x in values.items()}
    return {
        name: (means[name], np.sqrt((p * (x - means[name]) ** 2).sum()))
        for name, x in values.items()
    }


# Three samplers.


def by_blackjax(posterior, data, key):
    return bt.sample_blackjax(
        posterior, key, *data, target_acceptance=0.95, progress=False
    )


def by_numpyro(posterior, data, key):
    infer = pytest.importorskip("numpyro.infer")
    nuts = infer.NUTS(potential_fn=bt.potential_fn(posterior, *data))
    mcmc = infer.MCMC(
        nuts,
        num_warmup=500,
        num_samples=1000,
        num_chains=4,
        chain_method="vectorized",
        progress_bar=False,
    )
    starts = jax.vmap(posterior.reparam.ravel)(posterior.initial(key, *data, n=4))
    mcmc.run(key, init_params=starts, extra_fields=("diverging",))
    stats = mcmc.get_extra_fields(group_by_chain=True)
    return bt.Draws(posterior, mcmc.get_samples(group_by_chain=True), stats)


def by_tfp(posterior, data, key):
    from bijectree._tfp import tfp

    kernel = tfp.mcmc.DualAveragingStepSizeAdaptation(
        tfp.mcmc.HamiltonianMonteCarlo(
            bt.target_log_prob_fn(posterior, *data),
            step_size=jnp.full((4, 1), 0.2),
            num_leapfrog_steps=8,
        ),
        num_adaptation_steps=800,
    )
    starts = jax.vmap(posterior.reparam.ravel)(posterior.initial(key, *data, n=4))

    @jax.jit
    def run(starts, key):
        return tfp.mcmc.sample_chain(
            2000,
            current_state=starts,
            kernel=kernel,
            num_burnin_steps=1000,
            trace_fn=None,
            seed=key,
        )

    return bt.Draws(posterior, run(starts, key).swapaxes(0, 1))


@pytest.mark.slow
# TFP's kernels use what newer JAX is about to drop.
@pytest.mark.filterwarnings("ignore:shape requires ndarray:DeprecationWarning")
@pytest.mark.parametrize("make", [schools, shares], ids=lambda make: make.__name__)
@pytest.mark.parametrize(
    "sample", [by_blackjax, by_numpyro, by_tfp], ids=lambda sample: sample.__name__
)
def test_a_sampler_finds_the_moments_of_the_posterior(make, sample, getkey):
    if sample is by_blackjax:
        pytest.importorskip("blackjax")
    with jax.enable_x64(True):
        posterior, data, exact = make()
        draws = sample(posterior, data, getkey())
        summary = draws.summary()
        values = draws._variables()
        for name, (mean, sd) in exact.items():
            found = summary[name]
            path, *index = name.split(".")
            x = values[path][(..., *map(int, index))].ravel()
            assert found.ess > 300, name
            error = found.sd / np.sqrt(found.ess)
            assert abs(found.mean - mean) < 4 * error, (name, found, mean)
            # The error of a standard deviation, from that of the variance.
            error = 0.5 * found.sd * np.sqrt((st.kurtosis(x, fisher=False)) / found.ess)
            assert abs(found.sd - sd) < 4 * error, (name, found, sd)
        # The expected score is zero: a density without its log-det fails this.
        score = jax.vmap(jax.vmap(jax.grad(bt.target_log_prob_fn(posterior, *data))))
        gradients = np.asarray(score(draws.vectors))
        _, ess = diagnose(gradients)
        flat = gradients.reshape(-1, posterior.dim)
        assert np.all(np.abs(flat.mean(0)) < 4 * flat.std(0) / np.sqrt(ess))


# BlackJAX.


def scale_model(spec=None, log_likelihood=None):
    model = {"scale": jnp.array(1.0)}
    reparam = bt.Reparam(model, spec if spec is not None else tfb.Exp())
    return bt.Posterior(reparam, log_likelihood, tfd.Gamma(3.0, 2.0))


@pytest.mark.slow
def test_an_equal_posterior_is_sampled_without_a_new_trace(getkey):
    pytest.importorskip("blackjax")
    traces = []

    def log_likelihood(model, y):
        traces.append(None)
        return tfd.Normal(0.0, model["scale"]).log_prob(y).sum()

    for n in range(2):
        posterior = scale_model(log_likelihood=log_likelihood)
        y = jnp.arange(3.0) + n
        draws = bt.sample_blackjax(
            posterior,
            getkey(),
            y,
            warm_up=200,
            draws=410,
            target_acceptance=0.95,
            progress=False,
        )
        if n == 0:
            before = len(traces)
    assert len(traces) == before
    assert draws.vectors.shape == (4, 410, 1)
    assert draws.stats["n_steps"].shape == (4, 410)


def test_numbers_of_chains_and_draws_are_checked():
    pytest.importorskip("blackjax")
    with pytest.raises(ValueError, match=r"`chains` must .* got 0\n.*`draws` .* got 2.5"):
        bt.sample_blackjax(scale_model(), jax.random.key(0), chains=0, draws=2.5)


def test_a_model_without_coordinates_is_not_sampled():
    reparam = bt.Reparam({"a": jnp.ones(3)}, bt.frozen)
    posterior = bt.Posterior(reparam, lambda m: -m["a"].sum())
    with pytest.raises(ValueError, match="sample_blackjax: .* no free coordinates"):
        bt.sample_blackjax(posterior, jax.random.key(0))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.* transitions diverged")
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=str)
def test_half_precision_is_sampled_in_single(dtype, getkey):
    reparam = bt.Reparam({"a": jnp.ones(3, dtype)}, bt.positive())
    prior = tfd.HalfNormal(jnp.ones((), dtype))
    posterior = bt.Posterior(reparam, None, prior)
    draws = bt.sample_blackjax(posterior, getkey(), progress=False)
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
        draws = bt.sample_blackjax(posterior, getkey(), warm_up=100, draws=100)
    assert draws.stats["diverging"].sum() > 0
    shown = capsys.readouterr()
    assert "divergences" in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("blackjax", lambda p: bt.sample_blackjax(p, jax.random.key(0))),
        ("arviz", lambda p: bt.Draws(p, jnp.zeros((2, 10, 1))).to_arviz()),
    ],
)
def test_a_missing_library_is_named_with_its_extra(monkeypatch, name, call):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf'{name} is not .*"bijectree\[blackjax\]"'):
        call(scale_model())


# Modes.

COORDINATES = {
    "exp": tfb.Exp(),
    "softplus": tfb.Softplus(),
    "above": bt.greater_than(0.0, via="softplus"),
    "chain": tfb.Chain([tfb.Exp(), tfb.Scale(3.0)]),
}


@pytest.mark.parametrize("spec", COORDINATES.values(), ids=COORDINATES)
def test_neither_the_map_nor_the_posterior_moves_with_the_bijector(spec):
    with jax.enable_x64(True):
        posterior = scale_model(spec)
        model = {"scale": jnp.array(0.3)}
        mode = bt.find_map(posterior, model)
        assert mode.converged
        np.testing.assert_allclose(mode.model["scale"], (3 - 1) / 2, rtol=1e-7)
        written = st.gamma(3, scale=1 / 2).logpdf(1.0)
        np.testing.assert_allclose(mode.log_density, written, rtol=1e-12)
        # With the Jacobian the density of any free coordinate integrates to the same.
        flat = posterior.flat()
        grid = jnp.linspace(-40, 40, 40_001)[:, None]
        density = jnp.exp(jax.vmap(flat.log_density)(grid)) * (grid[1] - grid[0])
        scale = jax.vmap(flat.forward)(grid)["scale"]
        for power, exact in ((0, 1.0), (1, 1.5), (2, 3.0)):
            np.testing.assert_allclose((density * scale**power).sum(), exact, rtol=1e-6)


@pytest.mark.slow
def test_the_mode_of_free_coordinates_does_move():
    with jax.enable_x64(True):
        model = {"scale": jnp.array(0.3)}
        found = [
            float(bt.find_map(scale_model(spec), model, jacobian=True).model["scale"])
            for spec in (tfb.Exp(), tfb.Softplus())
        ]
    np.testing.assert_allclose(found[0], 3 / 2, rtol=1e-7)  # of the log of the scale
    assert abs(found[1] - found[0]) > 0.05


@pytest.mark.slow
def test_the_map_of_many_coordinates_in_single_precision():
    model = {"w": jnp.zeros((20, 3)), "s": jnp.ones(())}
    x = jax.random.normal(jax.random.key(0), (50, 20))
    truth = jnp.arange(60.0).reshape(20, 3) / 30

    def log_likelihood(model, x, y):
        return tfd.Normal(x @ model["w"], model["s"]).log_prob(y).sum()

    spec = bt.by_path(model, {"s": bt.positive()})
    prior = bt.by_path(model, {"w": tfd.Normal(0.0, 10.0)})
    posterior = bt.Posterior(bt.Reparam(model, spec), log_likelihood, prior)
    noise = jax.random.normal(jax.random.key(1), (50, 3))
    mode = bt.find_map(posterior, model, x, x @ truth + 0.1 * noise)
    assert mode.converged
    assert mode.model["w"].dtype == jnp.float32
    np.testing.assert_allclose(mode.model["w"], truth, atol=0.1)


@pytest.mark.parametrize("shape", [2.0, 5.0, 9.0, 20.0, 50.0])
def test_a_search_in_single_precision_ends_where_rounding_hides_the_rest(shape):
    posterior = bt.Posterior(
        bt.Reparam(jnp.array(1.0), bt.positive()), None, bt.tfd.Gamma(shape, shape / 3.0)
    )
    mode = bt.find_map(posterior, jnp.array(1.0), jacobian=True)  # warnings are errors
    assert mode.converged
    assert mode.steps < 100
    np.testing.assert_allclose(mode.model, 3.0, rtol=2e-3)


@pytest.mark.slow
def test_a_constant_does_not_end_the_search():
    centre, scale = jnp.array([1.0, 2.0, 3.0]), jnp.array([0.1, 1.0, 10.0])

    def normal(constant):
        def log_likelihood(m):
            return constant - 0.5 * jnp.sum(((m["x"] - centre) / scale) ** 2)

        return bt.Posterior(bt.Reparam({"x": jnp.zeros(3)}, None), log_likelihood)

    for constant in (0.0, -1e4):
        mode = bt.find_map(normal(constant), {"x": jnp.zeros(3)})
        error = (mode.model["x"] - centre) / scale
        assert jnp.abs(error).max() < (1e-3 if constant == 0.0 else 0.1)
    with pytest.warns(UserWarning, match=r"is rounded to 0\.12 in float32"):
        bt.find_map(normal(-1e6), {"x": centre + 0.1 * scale})


def test_a_regression_of_many_observations_in_single_precision():
    random = np.random.default_rng(0)
    x = random.uniform(0.0, 0.1, 20_000)
    y = 3.0 + 0.8 * x + 2.0 * random.standard_normal(20_000)
    truth = np.linalg.lstsq(np.stack([np.ones_like(x), x], 1), y)[0]
    covariance = 4.0 * np.linalg.inv(np.stack([np.ones_like(x), x]) @ np.c_[x**0, x])

    def log_likelihood(m, x, y):
        return bt.tfd.Normal(m["b"][0] + m["b"][1] * x, 2.0).log_prob(y).sum()

    model = {"b": jnp.zeros(2)}
    posterior = bt.Posterior(bt.Reparam(model, None), log_likelihood)
    mode = bt.find_map(posterior, model, jnp.asarray(x), jnp.asarray(y))
    off = np.asarray(mode.model["b"], np.float64) - truth
    assert off @ np.linalg.solve(covariance, off) < 0.15**2


def test_a_density_without_a_maximum_does_not_converge():
    posterior = bt.Posterior(
        bt.Reparam({"x": jnp.zeros(2)}, None), lambda m: jnp.sum(m["x"])
    )
    with pytest.warns(UserWarning, match="is not at a maximum"):
        mode = bt.find_map(posterior, {"x": jnp.zeros(2)})
    assert not mode.converged


@pytest.fixture
def plain_environment(monkeypatch):
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-9]")


def test_a_search_shows_its_progress_on_a_terminal_alone(plain_environment, capsys):
    posterior, model = scale_model(), {"scale": jnp.array(3.0)}
    bt.find_map(posterior, model)
    assert capsys.readouterr() == ("", "")
    plain_environment.setenv("FORCE_COLOR", "1")  # by which rich takes it for a terminal
    bt.find_map(posterior, model)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "search for the mode" in shown.err
    assert COLOUR.search(shown.err)
    plain_environment.setenv("NO_COLOR", "1")
    bt.find_map(posterior, model)
    assert not COLOUR.search(capsys.readouterr().err)


@pytest.mark.slow
def test_sampling_shows_its_progress(plain_environment, capsys, getkey):
    pytest.importorskip("blackjax")

    def sample(**options):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            bt.sample_blackjax(
                scale_model(), key, warm_up=50, draws=20, chains=2, **options
            )
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


def test_a_search_that_does_not_converge_says_where():
    model = {"a": jnp.array(1.0), "b": jnp.array(1.0)}
    posterior = bt.Posterior(
        bt.Reparam(model, bt.positive()), lambda m: 5 * m["a"] - m["b"] ** 2
    )
    with pytest.warns(UserWarning, match="stopped after .* largest at 'a'"):
        mode = bt.find_map(posterior, model, max_steps=20)
    assert not mode.converged


# Laplace.


def test_the_laplace_approximation_of_a_normal_posterior_is_exact(getkey):
    with jax.enable_x64(True):
        model = {"w": jnp.zeros(3), "fixed": jnp.ones(2)}
        x = jax.random.normal(getkey(), (12, 3))
        y = jax.random.normal(getkey(), (12,))

        def log_likelihood(model, x, y):
            return tfd.Normal(x @ model["w"], 0.5).log_prob(y).sum()

        spec = bt.by_path(model, {"fixed": bt.frozen})
        prior = bt.by_path(model, {"w": tfd.Normal(0.0, 2.0)})
        posterior = bt.Posterior(bt.Reparam(model, spec), log_likelihood, prior)
        found = bt.laplace(posterior, model, x, y)
        x, y = np.asarray(x), np.asarray(y)
        covariance = np.linalg.inv(x.T @ x / 0.25 + np.eye(3) / 4)
        np.testing.assert_allclose(
            found.scale_tril, np.linalg.cholesky(covariance), rtol=1e-9, atol=1e-12
        )
        np.testing.assert_allclose(found.mean, covariance @ x.T @ y / 0.25, rtol=1e-6)
        marginal = st.multivariate_normal(np.zeros(12), 0.25 * np.eye(12) + 4 * x @ x.T)
        np.testing.assert_allclose(found.log_evidence, marginal.logpdf(y), rtol=1e-9)
        draws = found.sample(getkey(), 4000)
        assert draws.vectors.shape == (1, 4000, 3)
        np.testing.assert_allclose(
            np.cov(draws.vectors[0], rowvar=False),
            covariance,
            atol=0.1 * covariance.max(),
        )


def test_a_direction_without_curvature_is_named(getkey):
    model = {"a": jnp.zeros(()), "b": jnp.zeros(2)}
    posterior = bt.Posterior(
        bt.Reparam(model, None), lambda m: -(m["a"] ** 2) - (m["b"][0] ** 2)
    )
    with (
        pytest.warns(UserWarning, match=r"no prior stands at 'b\.1'"),
        pytest.raises(ValueError, match=r"does not fall away from its mode along 'b\.1'"),
    ):
        bt.laplace(posterior, model)


# Draws.


class Named(eqx.Module):
    """A model with a leaf of each role."""

    weights: jax.Array
    scale: jax.Array
    held: jax.Array
    function: object


def named():
    model = Named(jnp.ones(3) / 3, jnp.array(1.0), jnp.zeros(2), jnp.tanh)
    rules = {"weights": bt.simplex(), "scale": bt.positive(), "held": bt.frozen}
    reparam = bt.Reparam(model, bt.by_path(model, rules))
    prior = {"weights": tfd.Dirichlet(jnp.ones(3)), "scale": tfd.LogNormal(0.0, 1.0)}
    return bt.Posterior(reparam, None, bt.by_path(model, prior))


def test_draws_are_models(getkey):
    vectors = jax.random.normal(getkey(), (4, 50, 3))
    draws = bt.Draws(named(), vectors, {"lp": jnp.zeros((4, 50))})
    models = draws.models
    assert models.weights.shape == (4, 50, 3)
    assert models.held.shape == (4, 50, 2)
    assert models.function is jnp.tanh
    np.testing.assert_allclose(models.weights.sum(-1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(models.scale, np.exp(vectors[..., 2]), rtol=1e-5)
    predicted = draws.map(lambda m: m.function(m.weights * m.scale))
    assert predicted.shape == (4, 50, 3)
    assert list(draws.summary()) == ["weights.0", "weights.1", "weights.2", "scale"]


def test_draws_become_arviz_data(getkey):
    arviz = pytest.importorskip("arviz")
    stats = {"diverging": jnp.zeros((4, 50), bool), "lp": jnp.zeros((4, 50))}
    draws = bt.Draws(named(), jax.random.normal(getkey(), (4, 50, 3)), stats)
    data = draws.to_arviz()
    assert set(data["posterior"].data_vars) == {"weights", "scale"}
    assert set(data["sample_stats"].data_vars) == {"diverging", "lp"}
    weights = data["posterior"]["weights"]
    assert weights.dims == ("chain", "draw", "weights_dim_0")
    assert list(weights.coords["weights_dim_0"]) == [0, 1, 2]
    np.testing.assert_array_equal(weights, draws.models.weights)
    table = arviz.summary(data, round_to="none")
    assert list(table.index) == ["scale", *(f"weights[{i}]" for i in range(3))] or list(
        table.index
    ) == [*(f"weights[{i}]" for i in range(3)), "scale"]


@pytest.mark.parametrize("persistence", [0.0, 0.5, 0.9])
def test_r_hat_and_effective_sample_size_are_arvizs(persistence):
    arviz = pytest.importorskip("arviz")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 1000, 20))
    for t in range(1, 1000):
        x[:, t] += persistence * x[:, t - 1]
    x[0, :, 0] += 1.0
    r_hat, ess = diagnose(x)
    if int(arviz.__version__.split(".")[0]) >= 1:
        data = arviz.from_dict({"posterior": {"x": x}})
    else:
        data = arviz.from_dict(posterior={"x": x})
    expected = arviz.rhat(data)["x"], arviz.ess(data)["x"]
    np.testing.assert_allclose(r_hat, expected[0], rtol=1e-4)
    np.testing.assert_allclose(ess, expected[1], rtol=0.01)


def test_what_is_wrong_with_draws_is_said_in_plain_words(getkey):
    posterior = scale_model()
    vectors = jax.random.normal(getkey(), (4, 400, 1))
    assert bt.Draws(posterior, vectors).warnings() == []

    apart = vectors + jnp.arange(4.0)[:, None, None]
    (first, second) = bt.Draws(posterior, apart).warnings()
    assert first.startswith("the chains do not agree on 1 of 1 numbers: R-hat of 'scale'")
    assert second.startswith("too few independent draws of 1 of 1 numbers")

    stats = {"diverging": jnp.arange(1600).reshape(4, 400) < 3}
    (text,) = bt.Draws(posterior, vectors, stats).warnings()
    assert text.startswith("3 of 1600 transitions diverged")
    bad = bt.Draws(posterior, vectors.at[0, 0].set(jnp.nan))
    assert "1 free coordinates of the draws are not finite" in bad.warnings()
    assert "warning: 3 of 1600" in str(bt.Draws(posterior, vectors, stats))


def test_a_number_that_never_changes_is_no_cause_for_alarm(getkey):
    model = {"r": jnp.eye(2)}
    posterior = bt.Posterior(bt.Reparam(model, bt.corr_matrix()), None)
    draws = bt.Draws(posterior, jax.random.normal(getkey(), (4, 400, 1)))
    assert np.isnan(draws.summary()["r.0.0"].r_hat)
    assert draws.warnings() == []


def test_draws_of_the_wrong_shape_are_refused():
    with pytest.raises(ValueError, match=r"expected shape \(chains, draws, 1\)"):
        bt.Draws(scale_model(), jnp.zeros((4, 10, 2)))
    with pytest.raises(ValueError, match=r"stats\['lp'\]: expected leading axes"):
        bt.Draws(scale_model(), jnp.zeros((4, 10, 1)), {"lp": jnp.zeros(10)})
