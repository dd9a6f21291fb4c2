"""Leaves that belong together, under an optimizer."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optimizing import assert_close, assert_same_bits, jump_then_stay, run, together

import bijectree as bt
from bijectree import tfb

pytestmark = pytest.mark.jax_defaults  # optax promotes dtypes


def together_loss(m: Any) -> jax.Array:
    gap = m["high"] - m["low"]
    return (
        jnp.sum((m["embed"] @ m["head"] - 2.0) ** 2)
        + jnp.sum((m["alpha"] + m["beta"] - 0.95) ** 2)
        + jnp.sum((gap - jnp.array([1.0, 2.0])) ** 2)
        + jnp.sum(m["free"] * gap)
        + 0.1 * jnp.sum(m["free"] ** 2)
    )


@pytest.mark.parametrize("over", [False, True], ids=["rows", "then"])
def test_joint_dependent_and_tied_leaves(over):
    with jax.enable_x64(True):
        params, reparam = together()
        if over:
            reparam = reparam.then(tfb.Scale(2.0))
        inner = optax.adamw(0.05)
        nothing = lambda value, grads: {}  # noqa: E731
        optimizer = bt.reparameterize(inner, reparam)
        found, state = run(optimizer, params, together_loss, nothing)
        composed = reparam.compose(together_loss)
        free, _ = run(inner, reparam.inverse(params), composed, nothing)
        assert_close(state.free, free, 1e-11)
        assert_close(found, reparam.forward(free), 1e-11)
        np.testing.assert_array_equal(found["head"], found["embed"].T)

        # Changed from outside, they are inverted again as one.
        changed = dict(found, alpha=jnp.array([0.6]), high=jnp.array([2.0, 9.0]))
        changed["beta"] = jnp.array([0.2])
        zeros = jax.tree.map(jnp.zeros_like, params)
        still = bt.reparameterize(optax.sgd(0.1), reparam)
        state = still.init(found)
        updates, state = still.update(zeros, state, changed)
        assert_close(state.free, reparam.inverse(changed), 1e-12)
        assert_same_bits(optax.apply_updates(changed, updates), changed)


def test_a_dependent_follows_what_it_depends_on():
    params, reparam = together()
    optimizer = bt.reparameterize(optax.sgd(0.1), reparam)
    state = optimizer.init(params)
    zeros = jax.tree.map(jnp.zeros_like, params)
    changed = dict(params, alpha=jnp.array([0.4]))
    _, state = optimizer.update(zeros, state, changed)
    expected = reparam.inverse(changed)
    np.testing.assert_allclose(state.free["beta"], expected["beta"], rtol=1e-6)
    assert state.free["beta"] != reparam.inverse(params)["beta"]
    assert_same_bits(state.free["high"], reparam.inverse(params)["high"])


COUPLED = {
    "dependent": (
        {
            "tau": bt.positive(),
            "x": bt.dependent(lambda m: bt.affine(0.0, m["tau"]), on="tau"),
        },
        None,
    ),
    "tied": ({"tau": bt.positive(), "x": bt.tied("tau")}, None),
    "joint": (
        dict.fromkeys(["tau", "x"], bt.joint(bt.positive(), over=("tau", "x"))),
        None,
    ),
    "then": ({"tau": bt.positive(), "x": None}, tfb.Scale(2.0)),
}


@pytest.mark.parametrize("name", COUPLED)
def test_free_values_that_overflow_are_kept_where_leaves_belong_together(name):
    spec, outer = COUPLED[name]
    params = {"tau": jnp.ones(2), "x": jnp.ones(2)}
    reparam = bt.Reparam(params, spec)
    reparam = reparam.then(outer) if outer else reparam
    jump = jax.tree.map(lambda x: jnp.full_like(x, 200.0), reparam.inverse(params))
    optimizer = bt.reparameterize(
        optax.chain(optax.sgd(0.0), jump_then_stay(jump)), reparam
    )
    state, zeros = optimizer.init(params), jax.tree.map(jnp.zeros_like, params)
    carried = []
    for _ in range(3):
        updates, state = optimizer.update(zeros, state, params)
        params = optax.apply_updates(params, updates)
        carried.append(state.free)
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves((params, state.free)))
    assert_same_bits(carried[-1], carried[0])


def test_a_frozen_leaf_that_others_depend_on_is_watched():
    params = {"top": jnp.array(1.0), "x": jnp.array([0.3, 0.6])}
    below = bt.dependent(lambda m: tfb.Sigmoid(0.0, m["top"]), on=("top",))
    reparam = bt.Reparam(params, {"top": bt.frozen, "x": below})
    optimizer = bt.reparameterize(optax.sgd(0.1), reparam)
    state, zeros = optimizer.init(params), jax.tree.map(jnp.zeros_like, params)
    changed = dict(params, top=jnp.array(5.0))
    updates, state = optimizer.update(zeros, state, changed)
    found = optax.apply_updates(changed, updates)
    np.testing.assert_allclose(found["x"], params["x"], rtol=1e-6)
    expected = np.log(np.array([0.3, 0.6]) / (5 - np.array([0.3, 0.6])))
    np.testing.assert_allclose(state.free["x"], expected, rtol=1e-5)


def test_bounds_that_another_change():
    """Values on the boundary, from a coarser dtype say, are taken as just inside it."""
    params = {"x": jnp.array([0.5, 0.5])}
    optimizer = bt.reparameterize(
        optax.sgd(0.1), bt.Reparam(params, bt.interval(0.0, 1.0))
    )
    state = optimizer.init(params)
    on = {"x": jnp.array([0.0, 1.0])}
    updates, state = optimizer.update({"x": jnp.zeros(2)}, state, on)
    assert np.all(np.isfinite(state.free["x"]))
    beyond = {"x": jnp.array([0.5, 1.5])}
    _, state = optimizer.update({"x": jnp.zeros(2)}, state, beyond)
    assert np.isfinite(state.free["x"][0])
    assert np.isnan(state.free["x"][1])
