"""`Draws`."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sampled import scale_model

import bijectree as bt
from bijectree import tfd
from bijectree.inference.diagnostics import diagnose

# Samplers and the likelihoods below promote as users' code does.
pytestmark = pytest.mark.jax_defaults


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


def test_models_of_an_equal_posterior_are_not_compiled_anew(caplog):
    first, second = (bt.Draws(scale_model(), jnp.zeros((2, n, 1))) for n in (3, 3))
    assert first.models["scale"].shape == (2, 3)
    with jax.log_compiles():
        assert second.models["scale"].shape == (2, 3)
    assert "_map" not in caplog.text
    with jax.log_compiles():
        assert second.map(lambda model: 2 * model["scale"]).shape == (2, 3)
    assert "_map" in caplog.text


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


@pytest.mark.parametrize(("share", "told"), [(0.2, True), (0.004, False)])
def test_draws_that_are_rounded_to_one_number_are_told_of(share, told, getkey):
    posterior = bt.Posterior(
        bt.Reparam(
            {"x": jnp.full(2, 0.5), "y": jnp.ones(())},
            {"x": bt.interval(0.0, 1.0), "y": None},
        ),
        lambda model: 0.0,
    )
    vectors = jax.random.normal(getkey(), (2, 500, 3))
    at_one = np.arange(500) % round(1 / share) == 1
    vectors = vectors.at[:, at_one, 1].set(40.0 + jnp.arange(at_one.sum()))
    warnings = "\n".join(bt.Draws(posterior, vectors).warnings())
    assert (
        f"{2 * at_one.sum()} of 1000 draws of 'x.1' are one number, 1," in warnings
    ) == told
    assert ("rounding hides" in warnings) == told


def test_rejected_steps_are_not_rounding(getkey):
    posterior = bt.Posterior(bt.Reparam({"x": jnp.zeros(2)}, None), lambda model: 0.0)
    vectors = jnp.repeat(jax.random.normal(getkey(), (2, 20, 2)), 50, axis=1)
    assert "rounding" not in str(bt.Draws(posterior, vectors).warnings())


def floored(x):
    return jnp.maximum(x, 0.0)


# Models, specs, and the scale of normal draws, in which a number comes often and nothing
# is lost: it is said by others, or by what it is a function of.
NOTHING_LOST = {
    "factor of a correlation": ({"c": jnp.eye(3)}, {"c": bt.corr_cholesky()}, 1e-2),
    "nearly independent": ({"c": jnp.eye(3)}, {"c": bt.corr_cholesky()}, 1e-4),
    "largest part": ({"c": jnp.ones(3) / 3}, {"c": bt.simplex()}, 8.0),
    "matrix": ({"c": jnp.eye(3)}, {"c": bt.corr_matrix()}, 1e-4),
    "tied": (
        {"c": jnp.ones(2), "d": jnp.ones(2)},
        {"c": None, "d": bt.tied("c", floored)},
        1.0,
    ),
}
LOST = {
    "part of a simplex": ({"c": jnp.ones(3) / 3}, {"c": bt.simplex()}, 60.0),
    "correlation": ({"c": jnp.eye(2)}, {"c": bt.corr_matrix()}, 20.0),
    "diagonal": ({"c": jnp.eye(2)}, {"c": bt.positive_definite()}, 1e-8),
    "far away": ({"c": jnp.ones(2)}, {"c": bt.affine(1e7, 1.0)}, 1.0),
    "constant": ({"c": jnp.ones(2)}, {"c": bt.affine(1e8, 0.1)}, 1.0),
    "joint": (
        {"c": jnp.ones(2), "d": jnp.array(2.0)},
        dict.fromkeys("cd", bt.joint(bt.greater_than(-1e7))),
        1.0,
    ),
    "location": (
        {"c": jnp.array(0.0), "d": jnp.array(0.0)},
        {"c": bt.affine(1e7, 1e-3), "d": bt.location_scale("c", 1.0)},
        1.0,
    ),
}


@pytest.mark.parametrize("case", {**NOTHING_LOST, **LOST})
def test_only_what_draws_do_not_tell_is_rounded(case, getkey):
    model, spec, scale = {**NOTHING_LOST, **LOST}[case]
    model = jax.tree.map(lambda x: x.astype(jnp.float32), model)
    with jax.numpy_dtype_promotion("standard"):
        posterior = bt.Posterior(bt.Reparam(model, spec), lambda model: 0.0)
        z = jax.random.normal(getkey(), (2, 1000, posterior.dim), jnp.float32)
        draws = bt.Draws(posterior, scale * z)
        found = "\n".join(draws.warnings())
    assert ("rounding hides" in found) == (case in LOST)


def test_a_coordinate_that_seldom_moves_is_not_rounded(getkey):
    posterior = bt.Posterior(bt.Reparam({"x": jnp.zeros(2)}, None), lambda model: 0.0)
    vectors = jax.random.normal(getkey(), (2, 1000, 2))
    seldom = jnp.repeat(vectors[:, :20, 1], 50, axis=1)
    draws = bt.Draws(posterior, vectors.at[..., 1].set(seldom))
    assert "rounding" not in "\n".join(draws.warnings())


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_few_draws_say_nothing(n, getkey):
    posterior = bt.Posterior(bt.Reparam({"x": jnp.zeros(2)}, None), lambda model: 0.0)
    (text,) = bt.Draws(posterior, jax.random.normal(getkey(), (4, n, 2))).warnings()
    assert text.startswith(f"{n} draws of each chain are too few")


def test_one_chain_cannot_agree(getkey):
    posterior = bt.Posterior(bt.Reparam({"x": jnp.zeros(2)}, None), lambda model: 0.0)
    draws = bt.Draws(posterior, jax.random.normal(getkey(), (1, 500, 2)))
    (warning,) = draws.warnings()
    assert "one chain alone" in warning


def test_draws_of_the_wrong_shape_are_refused():
    posterior = scale_model()
    for shape in ((4, 10, 2), (10, 1)):
        with pytest.raises(ValueError, match=r"expected shape \(chains, draws, 1\)"):
            bt.Draws(posterior, jnp.zeros(shape))
    with pytest.raises(ValueError, match=r"stats\['lp'\]: expected leading axes"):
        bt.Draws(scale_model(), jnp.zeros((4, 10, 1)), {"lp": jnp.zeros(10)})


@pytest.mark.parametrize("shape", [(0, 10, 1), (4, 0, 1)])
def test_no_draws_say_nothing(shape):
    draws = bt.Draws(scale_model(), jnp.zeros(shape))
    assert str(draws) == f"{shape[0]} chains of {shape[1]} draws, 1 free coordinates"
    for ask in (draws.summary, draws.warnings):
        with pytest.raises(ValueError, match="there are no draws to say anything of"):
            ask()


def test_without_arviz_stats_the_diagnostics_are_unknown_and_that_is_said(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    draws = bt.Draws(scale_model(), jnp.arange(40.0).reshape(4, 10, 1))
    assert np.isnan(draws.summary()["scale"].r_hat)
    (text,) = draws.warnings()
    assert "not known without the package arviz-stats" in text
    assert text in str(draws)
