"""Entries of a leaf that are held beside those that are mapped."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from law import jacobian_log_det
from scipy import integrate, stats

import bijectree as bt
from bijectree import tfb, tfd

# TFP's splines ask for int64.
pytestmark = pytest.mark.filterwarnings("ignore:Explicitly requested dtype")

BOUNDS = np.arange(6.0).reshape(2, 3)
ENTRIES = np.array([[True, False, True], [False, True, True]])
CASES: dict[str, tuple[Any, tuple[int, ...], Any]] = {
    "identity": (None, (2, 3), ENTRIES),
    "positive": (bt.positive(), (2, 3), ENTRIES),
    "softplus": (tfb.Softplus(low=0.5), (3,), [True, False, True]),
    "bounds of each entry": (bt.interval(BOUNDS, BOUNDS + 2.0), (2, 3), ENTRIES),
    "bounds of each column": (bt.greater_than(BOUNDS[0]), (2, 3), ENTRIES),
    "a bound of each row": (bt.less_than(BOUNDS[:, :1]), (2, 3), ENTRIES),
    "a chain with an array": (
        tfb.Chain([tfb.Shift(jnp.arange(3.0)), tfb.Scale(jnp.array(2.0)), tfb.Exp()]),
        (2, 3),
        ENTRIES,
    ),
    "a spline": (
        tfb.RationalQuadraticSpline(jnp.full(4, 0.5), jnp.full(4, 0.5), jnp.ones(3)),
        (4,),
        [True, False, False, True],
    ),
    "a single element": (bt.positive(), (), True),
    "all": (bt.positive(), (2,), [True, True]),
    "one of many": (bt.interval(0.0, 1.0), (5,), np.arange(5) == 3),
    "ordered events": (bt.ordered_vector(), (3, 2), [True, False, True]),
    "matrices": (bt.positive_definite(), (2, 2, 2), [False, True]),
    "columns of a matrix": (bt.simplex(axis=-2), (2, 3, 2), [True, False]),
    "whole simplexes": (bt.simplex(), (3, 4), [True, False, True]),
    "parts of simplexes": (
        bt.simplex(),
        (4, 3),
        [[True, True, False], [False, True, True], [False] * 3, [True] * 3],
    ),
    "parts of columns": (
        bt.simplex(axis=-2),
        (3, 2),
        [[True, True], [True, False], [False, True]],
    ),
    "parts by stick breaking": (
        bt.simplex(via="stick_breaking"),
        (2, 4),
        [[True, False, True, True], [False, True, False, False]],
    ),
}


def held(shape: tuple[int, ...], mask: Any, dtype: Any) -> jax.Array:
    """A leaf whose mapped entries say nothing; of a simplex the rest are 0."""
    simplex = np.shape(mask) == shape and len(shape) > 1
    values = (
        np.zeros(shape) if simplex else np.linspace(-3.0, 5.0, np.prod(shape, dtype=int))
    )
    return jnp.asarray(values.reshape(shape), dtype)


def bound(name: str, dtype: Any) -> tuple[bt.Reparam, jax.Array, np.ndarray]:
    bijector, shape, mask = CASES[name]
    leaf = held(shape, mask, dtype)
    mapped = np.array(mask)
    mapped = mapped.reshape((*mapped.shape, *[1] * (len(shape) - mapped.ndim)))
    mapped = np.broadcast_to(mapped, shape)
    return bt.Reparam({"x": leaf}, {"x": bt.masked(bijector, mask)}), leaf, mapped


@pytest.mark.parametrize("name", CASES)
def test_law(name, precision, getkey):
    reparam, leaf, mapped = bound(name, precision)
    random = np.random.default_rng(np.asarray(jax.random.key_data(getkey())))
    vector = random.normal(size=reparam.dim).astype(precision)

    @jax.jit
    def there(vector: Any) -> Any:
        free = reparam.unravel(vector)
        (model, log_det) = reparam.forward_and_log_det(free)
        jacobian = jax.jacfwd(lambda x: reparam.forward({"x": x})["x"])(free["x"])
        two = jax.tree.map(lambda x: jnp.stack([x, x + 1]), free)
        return free, model, log_det, jacobian, jax.vmap(reparam.forward)(two)["x"]

    free, model, log_det, jacobian, both = there(vector)
    assert model["x"].dtype == precision
    assert model["x"].shape == leaf.shape
    # What is held keeps its bits.
    assert (
        np.asarray(model["x"])[~mapped].tobytes() == np.asarray(leaf)[~mapped].tobytes()
    )
    eps = float(jnp.finfo(precision).eps)
    expected = jacobian_log_det(np.asarray(jacobian)[mapped], free["x"].size)
    assert float(log_det) == pytest.approx(
        expected, rel=1e3 * eps, abs=1e3 * eps * reparam.dim
    )
    again, opposite = jax.jit(
        lambda model: (reparam.inverse(model), reparam.inverse_log_det_jacobian(model))
    )(model)
    np.testing.assert_allclose(again["x"], free["x"], rtol=3e3 * eps, atol=3e3 * eps)
    assert float(opposite) == pytest.approx(-float(log_det), rel=1e-4, abs=1e-5)
    np.testing.assert_allclose(both[0], model["x"], rtol=1e2 * eps, atol=1e2 * eps)
    assert bt.check(reparam, model).ok
    assert "masked" in bt.summary(reparam, model)


@pytest.mark.parametrize("name", CASES)
def test_the_same_as_without_a_mask(name):
    """Where all is mapped, the maps and the labels are those of the bijector."""
    bijector, shape, mask = CASES[name]
    reparam, _, mapped = bound(name, jnp.float32)
    plain = bt.Reparam({"x": jax.ShapeDtypeStruct(shape, jnp.float32)}, bijector)
    if "part" not in name:
        assert set(reparam.labels) <= set(plain.labels)
        vector = jnp.linspace(-1.0, 1.0, plain.dim)
        whole = plain.forward(plain.unravel(vector))["x"]
        place = [plain.labels.index(label) for label in reparam.labels]
        found = reparam.forward(reparam.unravel(vector[np.array(place, int)]))["x"]
        np.testing.assert_allclose(found[mapped], whole[mapped], rtol=1e-5)
    assert len(reparam.labels) == len(set(reparam.labels)) == reparam.dim


def test_labels_name_entries_or_coordinates_of_events():
    model = {
        "v": jnp.ones(3),
        "w": jnp.array([[0.7, 0.3, 0.0], [0.2, 0.3, 0.5]]),
        "z": jnp.ones(()),
    }
    spec = {
        "v": bt.masked(bt.positive(), [True, False, True]),
        "w": bt.masked(bt.simplex(), model["w"] > 0),
        "z": bt.masked(bt.positive(), True),
    }
    labels = ["v.0", "v.2", "w.0.0", "w.1.0", "w.1.1", "z"]
    assert bt.Reparam(model, spec).labels == labels
    clash = {"a": jnp.ones((2, 2)), "a.0": jnp.ones(2)}
    with pytest.raises(ValueError, match="have the same labels"):
        bt.Reparam(clash, {"a": bt.masked(None, [[True, False]] * 2), "a.0": None})


def test_half_precision_and_64_bit_bounds():
    half = bt.Reparam(
        jnp.ones(3, jnp.bfloat16), bt.masked(bt.positive(), [1 > 0, 0 > 1] + [True])
    )
    assert half.forward(half.inverse(jnp.ones(3, jnp.bfloat16))).dtype == jnp.bfloat16
    with jax.enable_x64(True):
        bounds = np.array([0.1, 0.2, 0.3])
        item = bt.masked(bt.greater_than(bounds), [True, False, True])
        reparam = bt.Reparam(jnp.ones(3), item)
        found = reparam.forward(jnp.full(2, -800.0))
        assert found.tolist() == [0.1, 1.0, 0.3]


def test_nothing_mapped_is_frozen():
    reparam = bt.Reparam({"x": jnp.arange(3.0)}, bt.masked(bt.positive(), [False] * 3))
    assert reparam.dim == 0
    assert "x: frozen" in repr(reparam)


def test_no_retrace_for_new_numbers_and_values():
    traces = []

    @jax.jit
    def forward(reparam: bt.Reparam, free: Any) -> Any:
        traces.append(None)
        return reparam.forward(free)

    for bound_, value in ((0.0, 5.0), (1.0, 6.0)):
        model = jnp.array([2.0, value])
        item = bt.masked(bt.greater_than(bound_), [True, False])
        found = forward(bt.Reparam(model, item), jnp.zeros(1))
        assert found.tolist() == [bound_ + 1, value]
    assert len(traces) == 1


def test_dependents():
    model = {
        "mu": jnp.array(0.5),
        "tau": jnp.array(2.0),
        "theta": jnp.array([0.0, 1.0, 2.0]),
    }
    mask = [False, True, True]
    for share in (0.25, jnp.array([0.0, 0.5, 1.0])):
        item = bt.location_scale("mu", "tau", share)
        rules = {"tau": bt.positive(), "theta": item}
        plain = bt.Reparam(model, bt.by_path(model, rules))
        spec = bt.by_path(model, {**rules, "theta": bt.masked(item, mask)})
        reparam = bt.Reparam(model, spec)
        free = reparam.inverse(model)
        np.testing.assert_allclose(
            free["theta"], plain.inverse(model)["theta"][1:], rtol=1e-6
        )
        moved = {**free, "mu": jnp.array(7.0)}
        assert reparam.forward(moved)["theta"][0] == 0.0
        assert bt.check(reparam, model).ok
        whole = {**plain.inverse(model), "mu": jnp.array(7.0)}
        expected = plain.forward(whole)["theta"][1:]
        np.testing.assert_allclose(
            reparam.forward(moved)["theta"][1:], expected, rtol=1e-6
        )


def test_what_depends_on_a_masked_leaf_sees_what_is_held():
    model = {"a": jnp.array([1.0, 2.0]), "b": jnp.array(5.0)}
    above = bt.dependent(lambda m: bt.greater_than(m["a"][1]), on="a")
    spec = {"a": bt.masked(bt.positive(), [True, False]), "b": above}
    reparam = bt.Reparam(model, spec)
    assert reparam.forward({"a": jnp.zeros(1), "b": jnp.zeros(())})["b"] == 3.0
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), model)
    unknown = bt.Reparam(shapes, spec)
    free = reparam.inverse(model)
    for method in (unknown.forward, unknown.forward_log_det_jacobian):
        with pytest.raises(ValueError, match="like=model"):
            method(free)
    assert unknown.forward(free, like=model)["b"] == 5.0


def test_other_values_of_what_is_held_are_refused():
    model = {"x": jnp.array([1.0, 2.0, -0.0])}
    reparam = bt.Reparam(model, bt.masked(bt.positive(), [True, True, False]))
    message = r"at 'x' \(held where it is masked\): bound with \[ 1., 2., -0.\]"
    with pytest.raises(ValueError, match=message):
        reparam.inverse({"x": jnp.array([1.0, 2.0, 9.0])})
    assert not bt.check(reparam, {"x": jnp.array([1.0, 2.0, 9.0])}).ok
    reparam.inverse({"x": jnp.array([5.0, 6.0, -0.0])})
    with pytest.raises(bt.SupportError, match=r"at 'x', index \[1\]: got -2"):
        reparam.inverse({"x": jnp.array([1.0, -2.0, -0.0])})
    other = bt.Reparam(
        {"x": jnp.ones((2, 2))}, bt.masked(bt.ordered_vector(), [False, True])
    )
    with pytest.raises(bt.SupportError, match=r"index \[1, 0\]: got \[2., 1.\]"):
        other.inverse({"x": jnp.array([[1.0, 1.0], [2.0, 1.0]])})


@pytest.mark.parametrize(
    ("bijector", "mask", "message"),
    [
        (bt.positive(), [True, False], r"the mask has shape \(2,\), expected \(2, 3\)"),
        (
            bt.simplex(),
            [True, False, True],
            r"shape \(3,\), expected \(2,\), .* an event",
        ),
        (
            bt.ordered_vector(),
            [[True, True, False]] * 2,
            r"expected \(2,\), .* only bt.simplex takes one an element",
        ),
        (
            tfb.IteratedSigmoidCentered(),
            [[True, True, False]] * 2,
            "only bt.simplex takes one an element",
        ),
        (
            tfb.ScaleMatvecDiag(jnp.ones((2, 3))),
            [True, False],
            "numbers for single events",
        ),
        (
            bt.interval(np.zeros(4), 1.0),
            [[True] * 3] * 2,
            "interval does not fit float32 array of shape",
        ),
    ],
)
def test_masks_that_do_not_fit(bijector, mask, message):
    with pytest.raises(ValueError, match=message):
        bt.Reparam({"x": jnp.ones((2, 3))}, bt.masked(bijector, mask))


def test_what_is_held_of_a_simplex_is_zero():
    mask = [[True, True, False]]
    with pytest.raises(ValueError, match=r"at 'x': index \[0, 2\] is held at 0.2"):
        bt.Reparam({"x": jnp.array([[0.5, 0.3, 0.2]])}, bt.masked(bt.simplex(), mask))
    shape = {"x": jax.ShapeDtypeStruct((1, 3), jnp.float32)}
    reparam = bt.Reparam(shape, bt.masked(bt.simplex(), mask))
    with pytest.raises(ValueError, match="is held at 0.2"):
        reparam.forward({"x": jnp.zeros(1)}, like={"x": jnp.array([[0.5, 0.3, 0.2]])})
    with pytest.raises(bt.SupportError, match="sum to 1 among those"):
        reparam.inverse({"x": jnp.array([[0.5, 0.3, 0.0]])})


@pytest.mark.parametrize("via", ["ilr", "stick_breaking", "additive_log_ratio"])
def test_simplexes_of_one_part_each_have_no_coordinates(via):
    model = {"chain": jnp.array([[0.0, 1.0], [1.0, 0.0]]), "rate": jnp.array(2.0)}
    rows = bt.masked(bt.simplex(via=via), np.asarray(model["chain"]) > 0)
    reparam = bt.Reparam(model, {"chain": rows, "rate": bt.positive()})
    assert reparam.dim == 1
    made, log_det = reparam.forward_and_log_det(reparam.inverse(model))
    np.testing.assert_array_equal(made["chain"], model["chain"])
    np.testing.assert_allclose(log_det, np.log(2.0), rtol=1e-6)
    posterior = bt.Posterior(
        reparam, None, {"chain": tfd.Dirichlet([2.0, 3.0]), "rate": None}
    )
    assert posterior.log_prior(model) == 0


@pytest.mark.parametrize(
    ("bijector", "mask", "message"),
    [
        (bt.frozen, [True], "masked takes a TFP bijector, got _Frozen"),
        (bt.positive, [True], "masked takes a TFP bijector, got function"),
        (bt.positive(), [1, 0], "the mask is of truth values, got int64 array"),
        (bt.positive(), None, "the mask is of truth values"),
    ],
)
def test_arguments(bijector, mask, message):
    with pytest.raises(TypeError, match=message):
        bt.masked(bijector, mask)


def test_a_traced_mask_is_refused():
    with pytest.raises(TypeError, match="cannot be traced"):
        jax.jit(lambda m: bt.masked(bt.positive(), m))(jnp.array([True]))


# The optimizer.


@pytest.mark.jax_defaults
@pytest.mark.parametrize(
    "name", ["positive", "bounds of each entry", "parts of simplexes"]
)
def test_an_optimizer_moves_what_is_mapped(name):
    reparam, leaf, mapped = bound(name, jnp.float32)
    params = reparam.forward(reparam.unravel(jnp.linspace(-0.5, 0.5, reparam.dim)))
    reparam = bt.Reparam(params, bt.masked(*CASES[name][::2]))

    def loss(m: Any) -> jax.Array:
        return jnp.sum(
            (m["x"] - 0.4) ** 2 * jnp.arange(1.0, leaf.size + 1).reshape(leaf.shape)
        )

    inner = optax.adamw(0.1)
    optimizer = bt.reparameterize(inner, reparam)
    state = optimizer.init(params)
    free = reparam.inverse(params)
    expected = inner.init(free)
    update = jax.jit(optimizer.update)
    start = params
    for _ in range(5):
        updates, state = update(jax.grad(loss)(params), state, params)
        params = optax.apply_updates(params, updates)
        steps, expected = inner.update(
            jax.grad(reparam.compose(loss))(free), expected, free
        )
        free = optax.apply_updates(free, steps)
    np.testing.assert_allclose(state.free["x"], free["x"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        params["x"], reparam.forward(free)["x"], rtol=1e-4, atol=1e-5
    )
    same = np.asarray(start["x"])[~mapped], np.asarray(params["x"])[~mapped]
    assert same[0].tobytes() == same[1].tobytes()
    assert np.all(np.asarray(updates["x"])[mapped] != 0)
    assert np.signbit(np.asarray(updates["x"])[~mapped]).all()  # −0.0


@pytest.mark.jax_defaults
def test_a_change_from_outside_of_what_is_held_is_respected():
    params = jnp.array([1.0, 2.0])
    reparam = bt.Reparam(params, bt.masked(bt.positive(), [True, False]))
    optimizer = bt.reparameterize(optax.sgd(0.1), reparam)
    state = optimizer.init(params)
    changed = jnp.array([3.0, 7.0])
    updates, state = optimizer.update(jnp.zeros(2), state, changed)
    assert optax.apply_updates(changed, updates).tolist() == [3.0, 7.0]
    assert float(state.free[0]) == pytest.approx(np.log(3.0))


# Priors.


def test_a_prior_counts_what_is_mapped(precision):
    model = {
        "v": jnp.array([1.0, 2.0, 3.0]),
        "w": jnp.array(
            [[0.7, 0.3, 0.0], [0.0, 0.0, 0.0], [0.2, 0.3, 0.5], [0.0, 1.0, 0.0]]
        ),
        "o": jnp.array([[1.0, 2.0], [2.0, 4.0]]),
    }
    spec = {
        "v": bt.masked(bt.positive(), [True, False, True]),
        "w": bt.masked(bt.simplex(), np.asarray(model["w"]) > 0),
        "o": bt.masked(None, [[False, False], [True, True]]),
    }
    reparam = bt.Reparam(model, spec)
    prior = {
        "v": tfd.Gamma(2.0, 1.0),
        "w": tfd.Dirichlet([1.0, 2.0, 3.0]),
        "o": tfd.MultivariateNormalDiag(jnp.zeros(2), jnp.ones(2)),
    }
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        posterior = bt.Posterior(reparam, None, prior)
        found = posterior.prior_terms(model)
        gradient = jax.grad(posterior.log_density)(reparam.inverse(model))
        start = posterior.initial(jax.random.key(0), start="prior")
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((gradient, start)))
    expected = {
        "v": stats.gamma(2).logpdf([1.0, 3.0]).sum(),
        "w": stats.dirichlet([1, 2]).logpdf([0.7, 0.3])
        + stats.dirichlet([1, 2, 3]).logpdf([0.2, 0.3, 0.5]),
        "o": stats.norm.logpdf([2.0, 4.0]).sum(),
    }
    for path, value in expected.items():
        assert float(found[path]) == pytest.approx(value, rel=1e-5)
    assert "'v' is held where it is masked" in posterior.notes[1]


def test_a_dirichlet_of_parts_integrates_to_one():
    with jax.enable_x64(True):
        leaf = jnp.array([[0.7, 0.0, 0.3]])
        reparam = bt.Reparam(leaf, bt.masked(bt.simplex(), leaf > 0))
        posterior = bt.Posterior(reparam, None, tfd.Dirichlet([2.0, 5.0, 3.0]))
        density = jax.jit(lambda x: jnp.exp(posterior.log_density(x[None])))
        total, _ = integrate.quad(lambda x: float(density(jnp.asarray(x))), -30, 30)
    assert total == pytest.approx(1.0, abs=1e-8)


def test_draws_of_a_dirichlet_of_parts_have_its_moments():
    mask = np.array([[True, False, True], [True, True, True]])
    leaf = jnp.where(mask, jnp.array([[0.5, 0.0, 0.5], [0.2, 0.3, 0.5]]), 0.0)
    reparam = bt.Reparam(leaf, bt.masked(bt.simplex(), mask))
    posterior = bt.Posterior(reparam, None, tfd.Dirichlet([2.0, 5.0, 3.0]))
    starts = posterior.initial(jax.random.key(1), start="prior", n=4000)
    draws = jax.vmap(reparam.forward)(starts)
    np.testing.assert_allclose(
        draws.mean(0), [[0.4, 0.0, 0.6], [0.2, 0.5, 0.3]], atol=0.02
    )


def test_a_prior_of_events_that_the_mask_cuts_is_refused():
    model = jnp.ones((2, 2))
    reparam = bt.Reparam(model, bt.masked(None, [[True, False], [True, True]]))
    prior = tfd.MultivariateNormalDiag(jnp.zeros(2), jnp.ones(2))
    with pytest.raises(ValueError, match="MultivariateNormalDiag is a density of whole"):
        bt.Posterior(reparam, None, prior)
    with pytest.warns(UserWarning, match=r"the prior Gamma .* may leave it"):
        bt.Posterior(reparam, None, tfd.Gamma(2.0, 1.0))
    for item in (bt.positive(), bt.interval(0.0, 1.0)):
        inside = bt.Reparam(model / 2, bt.masked(item, [[True, False], [True, True]]))
        bt.Posterior(inside, None, tfd.Gamma(2.0, 1.0))
