"""Which map is chosen for a leaf, from exact draws of densities that differ."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bijectree as bt
from bijectree import tfb, tfd
from bijectree.constraints import alternatives
from bijectree.learned.choose_maps import choose_maps, with_alternatives, with_maps


def chosen(bijector, model, prior, draws, **options):
    """The choice for a model of one leaf, from draws of its prior."""
    reparam = bt.Reparam(model, bijector)
    posterior = bt.Posterior(reparam, None, prior)

    def free_and_score(x):
        y = reparam.ravel(reparam.inverse(x))
        return y, jax.grad(posterior.flat().log_density)(y)

    y, scores = jax.vmap(free_and_score)(draws)
    shape = 4, len(draws) // 4, -1
    arrays = (np.asarray(x).reshape(shape) for x in (y, scores))
    (choice,) = choose_maps(reparam, *arrays, **options)
    return choice


RISING = np.array([1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0])
N = 800

# The density, draws from it, the given map, and words of the map that suits it.
CASES = {
    "log-normal": (
        lambda: tfd.LogNormal(5.0, 0.3),
        lambda rng: rng.lognormal(5.0, 0.3, N),
        bt.positive(via="softplus"),
        "positive",
    ),
    "log-normal as given": (
        lambda: tfd.LogNormal(5.0, 0.3),
        lambda rng: rng.lognormal(5.0, 0.3, N),
        tfb.Exp(),
        "exp",
    ),
    "uniform": (
        lambda: tfd.Uniform(2.0, 5.0),
        lambda rng: rng.uniform(2.0, 5.0, N),
        bt.interval(2.0, 5.0),
        "via normal_cdf",
    ),
    "half normal": (
        lambda: tfd.HalfNormal(1.0),
        lambda rng: abs(rng.normal(size=N)),
        bt.positive(),
        "positive",
    ),
    "normal": (
        lambda: tfd.Normal(3.0, 0.1),
        lambda rng: rng.normal(3.0, 0.1, N),
        bt.real(),
        "identity",
    ),
    "Student's t": (
        lambda: tfd.StudentT(3.0, 1.0, 5.0),
        lambda rng: 1 + 5 * rng.standard_t(3, N),
        bt.real(),
        "sinh_arcsinh",
    ),
    "flat Dirichlet": (
        lambda: tfd.Dirichlet(jnp.full(5, 0.3)),
        lambda rng: rng.dirichlet(np.full(5, 0.3), N),
        bt.simplex(),
        "stick_breaking",
    ),
    "rising Dirichlet": (
        lambda: tfd.Dirichlet(jnp.asarray(RISING)),
        lambda rng: rng.dirichlet(RISING, N),
        bt.simplex(),
        "stick_breaking",
    ),
    "shifted": (
        lambda: tfd.TransformedDistribution(tfd.Gamma(0.3, 1.0), tfb.Shift(4.0)),
        lambda rng: 4 + rng.gamma(0.3, 1.0, N),
        bt.greater_than(4.0),
        "softplus",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_map_that_suits_a_density_is_chosen(name):
    prior, draw, given, words = CASES[name]
    with jax.enable_x64(True):
        draws = jnp.asarray(draw(np.random.default_rng(0)))
        choice = chosen(given, draws[0], prior(), draws)
    assert words in choice.after
    assert choice.divergence_after <= choice.divergence_before
    assert choice.divergence_after < 0.1


def test_the_given_map_stays_where_no_other_is_clearly_better():
    with jax.enable_x64(True):
        prior = tfd.Dirichlet(jnp.full(4, 200.0))
        draws = jnp.asarray(np.random.default_rng(1).dirichlet(np.full(4, 200.0), N))
        choice = chosen(bt.simplex(), draws[0], prior, draws)
    assert not choice.changed
    assert choice.number == -1


def test_sets_and_distances_leave_leaves_out():
    with jax.enable_x64(True):
        prior = tfd.Dirichlet(jnp.full(4, 0.3))
        draws = jnp.asarray(np.random.default_rng(2).dirichlet(np.full(4, 0.3), N))
        choice = chosen(bt.simplex(), draws[0], prior, draws, far=100.0)
        assert choice.number == -1
        with pytest.raises(ValueError, match="not enough values"):
            chosen(bt.simplex(), draws[0], prior, draws, sets=())


def test_what_depends_is_masked_joint_or_unknown_is_left_out():
    model = {
        "top": jnp.array(1.0),
        "low": jnp.array(0.3),
        "loc": jnp.array(0.0),
        "theta": jnp.zeros(2),
        "held": jnp.ones(3),
        "pair": {"a": jnp.array(1.0), "b": jnp.array(2.0)},
        "angle": jnp.array(0.5),
        "same": jnp.array(1.0),
        "none": jnp.zeros(0),
    }
    spec = {
        "top": bt.positive(),
        "low": bt.dependent(lambda m: bt.interval(0.0, m["top"])),
        "loc": bt.frozen,
        "theta": bt.location_scale("loc", "top"),
        "held": bt.masked(bt.positive(), np.array([True, False, True])),
        "pair": bt.joint(bt.ordered_vector()),
        "angle": bt.circular(),
        "same": bt.tied("top"),
        "none": bt.positive(),
    }
    reparam = bt.Reparam(model, spec)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(4, 100, reparam.dim))
    choices = choose_maps(reparam, vectors, -vectors)
    assert [choice.path for choice in choices] == ["top"]


LEAVES = {
    "positive": (bt.positive(), jnp.array([0.1, 20.0])),
    "greater": (bt.greater_than(jnp.array([1.0, 2.0])), jnp.array([1.1, 30.0])),
    "less": (bt.less_than(3.0), jnp.array([1.1, -30.0])),
    "interval": (bt.interval(-1.0, jnp.array([2.0, 3.0])), jnp.array([0.1, 0.2])),
    "simplex": (bt.simplex(), jnp.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]])),
    "columns": (bt.simplex(axis=-2), jnp.array([[0.1, 0.2], [0.9, 0.8]])),
    "ordered": (bt.ordered_vector(), jnp.array([[-1.0, 0.5], [3.0, 4.0]])),
    "ordered columns": (bt.ordered_vector(axis=-2), jnp.array([[-1.0, 0.5], [3.0, 4.0]])),
    "positive ordered": (bt.positive_ordered_vector(), jnp.array([0.1, 0.5, 2.0])),
    "correlation": (bt.corr_cholesky(), jnp.eye(3)),
}


@pytest.mark.parametrize("name", LEAVES)
def test_alternatives_are_maps_of_the_same_set(name):
    given, leaf = LEAVES[name]
    image = bt.support(given)
    found = alternatives(image, np.asarray(leaf))
    assert len(found) >= 2
    reparam = bt.Reparam(leaf, given)
    for number, other in enumerate(found):
        assert bt.support(other).same_set(image)
        again = with_alternatives(reparam, {0: (number, np.asarray(leaf))})
        np.testing.assert_allclose(
            again.forward(again.inverse(leaf)), leaf, rtol=1e-5, atol=1e-6
        )
        assert bt.check(again, leaf).ok


@pytest.mark.parametrize(
    ("given", "leaf"),
    [
        (bt.real(), jnp.zeros(2)),
        (bt.sphere(), jnp.array([1.0, 0.0])),
        (bt.interval(jnp.array([0.0, -jnp.inf]), 1.0), jnp.full(2, 0.5)),
        (bt.ordered_vector(0.0, 1.0), jnp.array([0.2, 0.5])),
        (bt.simplex(), jnp.ones(1)),
        (bt.zero_sum(), jnp.array([1.0, -1.0])),
        (bt.positive(), jnp.zeros((0,))),
    ],
)
def test_other_sets_have_no_alternatives(given, leaf):
    assert alternatives(bt.support(given), np.asarray(leaf)) == []


def test_other_maps_leave_the_rest_of_the_model_alone():
    model = {"a": jnp.ones(2), "b": jnp.array(0.5), "n": 3, "w": jnp.full(3, 1 / 3)}
    spec = {"a": bt.positive(), "b": bt.frozen, "n": None, "w": bt.simplex()}
    reparam = bt.Reparam(model, spec)
    other = with_maps(reparam, {0: bt.positive(via="softplus")})
    again = other.forward(other.inverse(model))
    np.testing.assert_allclose(again["a"], model["a"], rtol=1e-6)
    assert again["n"] == 3
    assert again["b"] is model["b"] or again["b"] == model["b"]
    np.testing.assert_allclose(again["w"], model["w"], rtol=1e-6)
    assert "positive via softplus" in bt.summary(other, model)


@pytest.mark.parametrize(
    "given",
    [
        bt.affine(1e4, 100.0),
        bt.sinh_arcsinh(1e4, 100.0, skewness=-0.8, tailweight=2.0),
        tfb.Chain([tfb.Shift(1e4), tfb.Scale(100.0)]),
    ],
    ids=["affine", "bent", "chain"],
)
def test_a_given_map_of_all_numbers_stays_beneath_the_bend(given):
    with jax.enable_x64(True):
        draws = jnp.asarray(np.random.default_rng(3).gumbel(1e4, 100.0, N))
        prior = tfd.Gumbel(jnp.float64(1e4), 100.0)
        choice = chosen(given, draws[0], prior, draws)
        assert choice.changed
        fitted = bt.Reparam(draws[0], choice.bijector)
        free = np.asarray(jax.vmap(fitted.inverse)(draws))
    assert abs(free.mean()) < 0.5
    assert 0.5 < free.std() < 2


def test_choices_that_fit_no_more_are_refused():
    model = {"s": jnp.full(3, 1 / 3), "t": jnp.ones(2)}
    chosen = {0: (1, np.full(3, 1 / 3))}
    for spec in (
        {"s": bt.positive(), "t": None},
        {"s": None, "t": None},
        {"s": bt.frozen, "t": None},
    ):
        reparam = bt.Reparam(model, spec)
        with pytest.raises(ValueError, match="the draws are of another posterior: 's'"):
            with_alternatives(reparam, {0: (3, np.full(3, 1 / 3))})
    reparam = bt.Reparam(model, {"s": bt.simplex(), "t": None})
    assert with_alternatives(reparam, chosen).dim == 4
    with pytest.raises(ValueError, match="position 7"):
        with_alternatives(reparam, {7: (1, np.ones(3))})
