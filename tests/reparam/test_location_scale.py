"""`location_scale`: partial non-centring."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array
from together import points

import bijectree as bt
from bijectree import tfd

EFFECTS = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0], np.float32)


ERRORS = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0], np.float32)


def eight_schools(centeredness: Any) -> bt.Posterior:
    """Eight schools (Rubin 1981), written once, in centred coordinates."""
    model = {"mu": jnp.array(4.0), "tau": jnp.array(3.0), "theta": jnp.array(EFFECTS)}
    spec = {
        "mu": None,
        "tau": bt.positive(),
        "theta": bt.location_scale("mu", "tau", centeredness),
    }
    return bt.Posterior(bt.Reparam(model, spec), _likelihood, prior=_hierarchy)


def _hierarchy(model: Any) -> Array:
    return (
        tfd.Normal(0.0, 5.0).log_prob(model["mu"])
        + tfd.HalfCauchy(0.0, 5.0).log_prob(model["tau"])
        + tfd.Normal(model["mu"], model["tau"]).log_prob(model["theta"]).sum()
    )


def _likelihood(model: Any) -> Array:
    return tfd.Normal(EFFECTS, ERRORS).log_prob(model["theta"]).sum()


@pytest.mark.jax_defaults
@pytest.mark.parametrize("share", [0.0, 0.25, np.linspace(0, 1, 8)], ids=str)
def test_centred_and_non_centred_differ_by_the_log_det(share, getkey):
    centred, other = eight_schools(1.0), eight_schools(share)
    vectors = points(centred, getkey(), jnp.float32)

    def difference(vector: Array) -> tuple[Array, Array]:
        free = centred.reparam.unravel(vector)
        model = centred.reparam.forward(free)
        moved = other.reparam.inverse(model)
        gap = other.log_density(moved) - centred.log_density(free)
        return gap, jnp.sum(1 - jnp.asarray(share) * jnp.ones(8)) * jnp.log(model["tau"])

    gap, expected = jax.jit(jax.vmap(difference))(vectors)
    np.testing.assert_allclose(gap, expected, atol=2e-3)
    same = eight_schools(1.0).log_density(centred.reparam.unravel(vectors[0]))
    assert same == centred.log_density(centred.reparam.unravel(vectors[0]))


def exact_means() -> tuple[float, float]:
    """Of mu and log tau, by quadrature: theta integrates out."""
    mu, log_tau = np.meshgrid(np.linspace(-25, 35, 601), np.linspace(-9, 6, 601))
    tau = np.exp(log_tau)[..., None]
    variance = tau**2 + ERRORS.astype(float) ** 2
    terms = -0.5 * (EFFECTS - mu[..., None]) ** 2 / variance - 0.5 * np.log(variance)
    density = terms.sum(-1) - mu**2 / 50 - np.log1p(tau[..., 0] ** 2 / 25) + log_tau
    weight = np.exp(density - density.max())
    weight /= weight.sum()
    return float((weight * mu).sum()), float((weight * log_tau).sum())


@pytest.mark.slow
@pytest.mark.jax_defaults
def test_eight_schools_non_centred_has_no_divergences_and_the_right_means():
    pytest.importorskip("blackjax")
    posterior, key = eight_schools(0.0), jax.random.key(1)
    draws = bt.sample(posterior, key, target_acceptance=0.98, progress=False)
    assert not np.any(draws.stats["diverging"])
    mu, log_tau = exact_means()
    model = draws.models
    np.testing.assert_allclose(np.mean(model["mu"]), mu, atol=0.4)
    np.testing.assert_allclose(np.mean(np.log(model["tau"])), log_tau, atol=0.15)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ({"centeredness": 2.0}, "centeredness must be from 0 .* got 2.0"),
        ({"centeredness": [0.5, np.nan]}, "centeredness must be finite"),
        ({"centeredness": "half"}, "centeredness must be a real number"),
        ({"scale": 0.0}, "scale must be positive, got 0.0"),
        ({"scale": jnp.array([1.0, -2.0])}, "scale must be positive"),
        ({"loc": np.inf, "scale": "b"}, "loc must be finite"),
    ],
)
def test_location_scale_takes_numbers_that_make_sense(numbers, words):
    with pytest.raises(ValueError, match=f"location_scale: {words}"):
        bt.location_scale(**{"loc": "a", "scale": 1.0} | numbers)


def test_the_number_of_shares_is_held_to_the_leafs():
    model = {"mu": jnp.zeros(()), "theta": jnp.zeros(3)}
    spec = {"mu": None, "theta": bt.location_scale("mu", 1.0, [0.0, 1.0])}
    with pytest.raises(ValueError, match="at 'theta': location_scale does not fit"):
        bt.Reparam(model, spec)
    spec["theta"] = bt.location_scale("mu", 1.0, (0.0, 0.5, 1.0))
    reparam = bt.Reparam(model, spec)
    assert "location_scale on mu, λ 0 to 1" in repr(reparam)
    assert "location_scale on mu, λ" in repr(jax.eval_shape(lambda: reparam))


HELD = bt.masked(bt.positive(), [True, False, True])
ONE = jnp.ones(1)


def _schools(scale, **changes):
    """The faults of binding a leaf whose scale has some item in the spec, if any."""
    model = {"s": jnp.array(0.5), "t": jnp.array(0.5), "x": jnp.ones(3)} | changes
    spec = {"s": bt.positive(), "t": scale, "x": bt.location_scale(0.0, "t")}
    return bt.Reparam(model, spec)


@pytest.mark.parametrize(
    ("scale", "changes", "why"),
    [
        (None, {}, "may be any number"),
        (bt.real(), {}, "has all real numbers"),
        (bt.interval(-1.0, 1.0), {}, "has numbers between -1 and 1"),
        (bt.greater_than(-0.1), {}, "has numbers greater than -0.1"),
        (bt.less_than(3.0), {}, "has numbers less than 3"),
        (bt.affine(1.0, 2.0), {}, "has all real numbers"),
        (bt.tfb.Tanh(), {}, "has numbers between -1 and 1"),
        (bt.circular(), {}, "has angles in .*"),
        (
            bt.ordered_vector(),
            {"t": jnp.array([0.5, 1.0, 2.0])},
            "has increasing vectors",
        ),
        (bt.zero_sum(), {"t": jnp.array([0.5, -1.0, 0.5])}, "has numbers that sum to 0"),
        (bt.frozen, {"t": jnp.array(-0.5)}, "is -0.5"),
        (bt.frozen, {"t": jnp.array([0.5, 0.0, 1.0])}, r"is \[0.5, 0. , 1. \]"),
        (bt.tied("s", jnp.negative), {"t": jnp.array(-0.5)}, "is -0.5"),
        # what is held, follows, or has a location and a scale itself
        (HELD, {"t": jnp.array([0.5, -1.0, 2.0])}, r"is \[-1.\] where it is held"),
        (HELD, {"t": jnp.array([0.5, 0.0, 2.0])}, r"is \[0.\] where it is held"),
        (bt.location_scale(0.0, "s"), {}, "may be any number"),
        (bt.location_scale("s", 1.0, 0.5), {}, "may be any number"),
        (bt.masked(bt.location_scale(0.0, "s"), [True]), {"t": ONE}, "may be any number"),
    ],
)
def test_scales_that_may_be_negative_are_refused(scale, changes, why):
    with pytest.raises(ValueError, match=f"at 'x': location_scale .*'t' {why}; give it"):
        _schools(scale, **changes)


@pytest.mark.parametrize("ties", [1, 2])
def test_a_scale_that_is_a_copy_of_any_number_is_refused_by_the_name_of_that(ties):
    names = ["s", "t", "u"][: ties + 1]
    model = dict.fromkeys(names, jnp.array(0.5)) | {"x": jnp.ones(3)}
    spec = {b: bt.tied(a) for a, b in zip(names, names[1:], strict=False)}
    spec |= {"s": None, "x": bt.location_scale(0.0, names[-1])}
    with pytest.raises(ValueError, match="'s' may be any number"):
        bt.Reparam(model, spec)
    bt.Reparam(model, spec | {"s": bt.positive()})


@pytest.mark.parametrize(
    ("scale", "changes"),
    [
        (bt.positive(), {}),
        (HELD, {"t": jnp.array([0.5, 1.0, 2.0])}),
        (bt.tfb.Softplus(low=1e-3), {}),
        (bt.greater_than(0.1), {}),
        (bt.unit_interval(), {}),
        (bt.simplex(), {"t": jnp.array([0.2, 0.3, 0.5])}),
        (bt.positive_ordered_vector(), {"t": jnp.array([0.2, 0.3, 0.5])}),
        (bt.frozen, {}),
        (bt.tied("s"), {}),
        (bt.dependent(lambda m: bt.tfb.Scale(m["s"]), on=("s",)), {}),
    ],
)
def test_scales_that_are_positive_are_taken(scale, changes):
    assert _schools(scale, **changes).dim >= 4


X = np.linspace(-1.0, 1.0, 12, dtype=np.float32).reshape(6, 2)


def regression(model):
    return X @ model["gamma"]


@pytest.mark.jax_defaults
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_location_and_scale_may_be_functions_of_the_model(share, getkey):
    model = {"gamma": jnp.array([0.5, 1.0]), "s": jnp.array(0.7), "x": jnp.ones(6)}
    made = bt.location_scale(regression, lambda m: jnp.exp(m["s"]), share)
    reparam = bt.Reparam(model, {"gamma": None, "s": None, "x": made})
    assert "location_scale on gamma, s" in str(reparam)
    free = jax.tree.map(lambda x: jax.random.normal(getkey(), x.shape), model)
    found, log_det = jax.jit(reparam.forward_and_log_det)(free)
    scale = np.exp(free["s"]) ** (1 - share)
    loc = X @ np.asarray(free["gamma"])
    np.testing.assert_allclose(
        found["x"], loc + scale * (free["x"] - share * loc), rtol=2e-5, atol=1e-5
    )
    np.testing.assert_allclose(log_det, 6 * (1 - share) * free["s"], rtol=1e-5, atol=1e-6)
    back = reparam.inverse(found)
    np.testing.assert_allclose(back["x"], free["x"], rtol=1e-4, atol=1e-4)


PAIRS = (("a", 1.0), ("b", 3.0))


def test_a_function_takes_what_the_wildcards_stand_for():
    model = {
        n: {"mu": jnp.array(v), "x": jnp.ones(2)} for n, v in (("a", 1.0), ("b", 3.0))
    }
    made = bt.location_scale(lambda m, g: m[g]["mu"], 2.0)
    plain = bt.location_scale(lambda m: m["a"]["mu"], "*.mu")
    reparam = bt.Reparam(model, bt.by_path(model, {"*.x": made}))
    free = reparam.inverse(model)
    np.testing.assert_allclose(free["b"]["x"], -1.0)
    with pytest.raises(ValueError, match="takes positive scales, and 'b.mu' may be any"):
        bt.Reparam(model, bt.by_path(model, {"*.x": plain}))


def test_functions_are_written_by_name(tmp_path):
    model = {"gamma": jnp.zeros(2), "s": jnp.array(0.7), "x": jnp.ones(6)}
    spec = {"gamma": None, "s": bt.positive(), "x": bt.location_scale(regression, "s")}
    file = tmp_path / "spec.toml"
    for written in (spec, bt.Reparam(model, spec)):
        bt.save_spec(file, written)
        assert 'loc = {function = "regression"}' in file.read_text()
        again = bt.load_spec(file, model, functions={"regression": regression})
        assert again["x"].function.loc is regression
        assert again["x"].function.scale == "s"
    with pytest.raises(ValueError, match="the file only names 'regression'"):
        bt.load_spec(file, model)
