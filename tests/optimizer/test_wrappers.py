"""An adapted optimizer outside and inside other wrappers."""

import equinox as eqx
import jax
import jax.numpy as jnp
import models
import numpy as np
import optax
import pytest
from optimizing import Model, assert_close, assert_same_bits, bind, loss, model

import bijectree as bt
from bijectree import tfb

pytestmark = pytest.mark.jax_defaults  # optax promotes dtypes


# Outside and inside other wrappers.


def test_rejected_and_accumulated_steps():
    params = model()
    reparam = bind(params)
    plain = bt.reparameterize(optax.adam(0.1), reparam)
    grads = jax.grad(loss)(params)
    bad = eqx.tree_at(lambda g: g.rate, grads, jnp.full(3, jnp.nan))

    optimizer = optax.apply_if_finite(plain, 5)
    state = optimizer.init(params)
    updates, state = jax.jit(optimizer.update)(bad, state, params)
    same = optax.apply_updates(params, updates)
    assert_same_bits(same.rate, params.rate)
    assert_same_bits(state.inner_state.free, reparam.inverse(params))

    optimizer = optax.MultiSteps(plain, 2)
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    found = params
    for _ in range(4):
        updates, state = update(jax.grad(loss)(found), state, found)
        found = optax.apply_updates(found, updates)
    free, inner = reparam.inverse(params), optax.adam(0.1)
    inner_state = inner.init(free)
    for _ in range(2):
        step, inner_state = inner.update(
            jax.grad(reparam.compose(loss))(free), inner_state, free
        )
        free = optax.apply_updates(free, step)
    assert_close(found, reparam.forward(free), 1e-5)


@pytest.mark.parametrize("outer", ["masked", "multi_transform", "partition"])
def test_a_part_of_the_parameters(outer):
    params = model()
    reparam = bind(params)
    mask = Model(*[True, False, True, False, False])
    inner = bt.reparameterize(optax.adam(0.1), reparam)
    grads = jax.grad(loss)(params)
    if outer == "masked":
        optimizer = optax.chain(
            optax.masked(inner, mask),
            optax.masked(optax.set_to_zero(), jax.tree.map(lambda m: not m, mask)),
        )
    else:
        labels = jax.tree.map(lambda m: "ours" if m else "other", mask)
        make = optax.partition if outer == "partition" else optax.multi_transform
        optimizer = make({"ours": inner, "other": optax.set_to_zero()}, labels)
    state = optimizer.init(params)
    updates, state = jax.jit(optimizer.update)(grads, state, params)
    found = optax.apply_updates(params, updates)

    whole = bt.reparameterize(optax.adam(0.1), reparam)
    updates, _ = whole.update(grads, whole.init(params), params)
    expected = optax.apply_updates(params, updates)
    assert_close((found.rate, found.parts), (expected.rate, expected.parts), 1e-6)
    assert_same_bits((found.share, found.weight), (params.share, params.weight))


def test_equinox_filters_and_models_with_anything_in_them():
    whole = models.nested()
    rules = {"**.scale": tfb.Exp(), "head.power": bt.frozen, "head.amplitude": bt.frozen}
    reparam = bt.Reparam(whole, bt.by_path(whole, rules))
    optimizer = bt.reparameterize(optax.adamw(0.1), reparam)

    def loss(m):
        return jnp.sum(m.layers[0].scale) + m.layers[1].scale * m.head.power

    grads = eqx.filter_grad(loss)(whole)
    part = eqx.filter(whole, eqx.is_inexact_array)
    for params in (whole, part):
        state = optimizer.init(params)
        assert all(eqx.is_inexact_array(x) for x in jax.tree.leaves(state.free))
        updates, state = eqx.filter_jit(optimizer.update)(grads, state, params)
        found = eqx.apply_updates(params, updates)
        assert jax.tree.structure(found) == jax.tree.structure(params)
        np.testing.assert_allclose(
            found.layers[0].scale,
            part.layers[0].scale
            * np.exp(-0.1 * (1 + 1e-4 * np.log(part.layers[0].scale))),
            rtol=1e-5,
        )
        assert_same_bits(found.head, part.head)
    found = optax.apply_updates(part, updates)
    assert_same_bits(found.head, part.head)
    np.testing.assert_array_equal(whole.table, eqx.apply_updates(whole, updates).table)


def test_tree_map_params_finds_the_moments():
    params = {"a": jnp.ones(2), "b": jnp.ones(3)}
    optimizer = bt.reparameterize(optax.adam(0.1), bt.Reparam(params, bt.positive()))
    state = optimizer.init(params)
    doubled = optax.tree_map_params(optimizer, lambda x: x + 1.0, state)
    np.testing.assert_array_equal(doubled.inner[0].mu["a"], jnp.ones(2))
    assert int(doubled.inner[0].count) == 0
    assert set(optax.tree.get(state, "mu")) == {"a", "b"}
    for name in ("value", "grad", "params", "learning_rate"):
        assert optax.tree.get(state, name) is None


def test_hyperparameters_stay_within_reach():
    params = {"a": jnp.array(2.0)}
    inner = optax.inject_hyperparams(optax.sgd)(learning_rate=0.5)
    optimizer = bt.reparameterize(inner, bt.Reparam(params, bt.positive()))
    state = optimizer.init(params)
    assert optax.tree.get(state, "learning_rate") == 0.5
    state = optax.tree.set(state, learning_rate=jnp.array(0.0))
    updates, _ = optimizer.update({"a": jnp.array(1.0)}, state, params)
    assert updates["a"] == 0.0


def test_evaluation_is_averaged_in_free_coordinates():
    params = {"x": jnp.array([1.0, 1e-3])}
    reparam = bt.Reparam(params, bt.positive())
    inner = optax.contrib.schedule_free_sgd(1.0)
    optimizer = bt.reparameterize(inner, reparam)
    state = optimizer.init(params)
    free, plain = reparam.inverse(params), inner.init(reparam.inverse(params))
    found = params
    for _ in range(5):
        updates, state = optimizer.update({"x": jnp.array([3.0, 9e3])}, state, found)
        pulled = jax.tree.map(lambda g, p: g * p, {"x": jnp.array([3.0, 9e3])}, found)
        found = optax.apply_updates(found, updates)
        step, plain = inner.update(pulled, plain, free)
        free = optax.apply_updates(free, step)
    averaged = bt.eval_params(state, found, reparam)
    expected = optax.contrib.schedule_free_eval_params(plain, free)
    assert np.all(averaged["x"] > 0)
    assert_close(averaged, reparam.forward(expected), 1e-3)
    halved = bt.eval_params(
        state, found, reparam, lambda inner, free: jax.tree.map(lambda x: x / 2, free)
    )
    assert_close(halved, reparam.forward(jax.tree.map(lambda x: x / 2, state.free)), 1e-6)
    with pytest.raises(ValueError, match="found 0 schedule-free states"):
        bt.eval_params(
            bt.reparameterize(optax.sgd(1.0), reparam).init(params), params, reparam
        )
