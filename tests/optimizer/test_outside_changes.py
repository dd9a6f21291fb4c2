"""Nothing drifts, and changes from outside are noticed."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optimizing import BIJECTORS, assert_close, assert_same_bits, jump_then_stay

import bijectree as bt
from bijectree import tfb

pytestmark = pytest.mark.jax_defaults  # optax promotes dtypes


# Nothing drifts.


def saturated() -> tuple[Any, bt.Reparam, Any]:
    """Parameters that saturate, and the free coordinates they were mapped from."""
    spec = {
        "share": tfb.Sigmoid(),
        "rate": tfb.Softplus(),
        "small": tfb.Exp(),
        "parts": bt.simplex(),
        "gaps": bt.ordered_vector(),
        "chol": bt.corr_cholesky(),
    }
    params = {
        "share": jnp.array([0.2, 0.5]),
        "rate": jnp.array([1.0, 2.0]),
        "small": jnp.array([1.0, 1e30]),
        "parts": jnp.array([0.2, 0.3, 0.5]),
        "gaps": jnp.array([1.0, 2.0, 3.0]),
        "chol": jnp.eye(3),
    }
    reparam = bt.Reparam(params, spec)
    free = {
        "share": jnp.array([17.0, -200.0]),
        "rate": jnp.array([-95.0, -300.0]),
        "small": jnp.array([-110.0, 200.0]),
        "parts": jnp.array([60.0, -90.0]),
        "gaps": jnp.array([1e6, -300.0, -50.0]),
        "chol": jnp.array([40.0, -30.0, 0.1]),
    }
    jump = jax.tree.map(jnp.subtract, free, reparam.inverse(params))
    return params, reparam, jump


def stay(optimizer: Any, steps: int) -> Callable[..., Any]:
    """A function: parameters and a state after steps without a gradient."""

    def step(carry, _):
        params, state = carry
        zeros = jax.tree.map(jnp.zeros_like, params)
        updates, state = optimizer.update(zeros, state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.jit(lambda carry: jax.lax.scan(step, carry, length=steps)[0])


def test_zero_steps_leave_saturated_values_bit_identical():
    params, reparam, jump = saturated()
    optimizer = bt.reparameterize(jump_then_stay(jump), reparam)
    landed = stay(optimizer, 1)((params, optimizer.init(params)))
    assert_inside(reparam, landed[0])
    # Where one sum does not reach the nearest number inside, later ones do.
    first = stay(optimizer, 100)(landed)
    assert_same_bits(first[1].free, landed[1].free)
    last = stay(optimizer, 1000)(first)
    assert_same_bits(first[0], last[0])
    assert_same_bits(first[1].free, last[1].free)
    np.testing.assert_allclose(last[1].free["share"], [17.0, -200.0], rtol=1e-6)
    assert_inside(reparam, last[0])


def assert_inside(reparam: bt.Reparam, params: Any) -> None:
    for row in reparam.bound.plan.rows:
        if row.kind is not None and not row.function:
            bijector = row.kind.recipe.build(reparam.bound.numbers[row.slot])
            assert np.all(bt.support(bijector).contains(params[row.path])), row.path


@pytest.mark.parametrize("name", BIJECTORS)
def test_zero_steps_change_no_bit_of_what_the_user_set(name):
    bijector, value = BIJECTORS[name]
    params = {"x": jnp.asarray(value, jnp.float32)}
    optimizer = bt.reparameterize(optax.adam(0.1), bt.Reparam(params, bijector))
    zeros = {"x": jnp.zeros_like(params["x"])}

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(zeros, state, params)
        return (optax.apply_updates(params, updates), state), None

    first = (params, optimizer.init(params))
    last, _ = jax.jit(lambda c: jax.lax.scan(step, c, length=100))(first)
    assert_same_bits(first[0], last[0])
    assert_same_bits(first[1].free, last[1].free)


def test_only_what_was_changed_from_outside_is_inverted_again():
    params, reparam, jump = saturated()
    optimizer = bt.reparameterize(jump_then_stay(jump), reparam)
    update = jax.jit(optimizer.update)
    zeros = jax.tree.map(jnp.zeros_like, params)
    params, state = stay(optimizer, 100)((params, optimizer.init(params)))
    carried = state.free

    changed = eqx.tree_at(lambda p: p["share"], params, params["share"].at[0].set(0.25))
    updates, state = update(zeros, state, changed)
    np.testing.assert_allclose(state.free["share"][0], np.log(0.25 / 0.75), rtol=1e-6)
    for name in carried:
        if name != "share":
            assert_same_bits(state.free[name], carried[name])
    assert_same_bits(optax.apply_updates(changed, updates), changed)

    # one float further is a change too
    nudged = dict(changed, rate=jnp.nextafter(jnp.array([3.0, 4.0]), jnp.inf))
    _, state = update(zeros, state, nudged)
    expected = reparam.inverse(nudged)["rate"]
    np.testing.assert_allclose(state.free["rate"], expected, rtol=1e-6)

    # swapped, or all scaled by two
    for make in (lambda x: x[::-1], lambda x: 2 * x):
        swapped = dict(nudged, rate=make(nudged["rate"]))
        _, after = update(zeros, state, swapped)
        expected = reparam.inverse(swapped)["rate"]
        np.testing.assert_allclose(after.free["rate"], expected, rtol=1e-6)


def test_a_gpus_host_waits_for_no_loop(monkeypatch):
    """What other devices compile: the same, without one."""

    def compiled_elsewhere(*args, cpu, default):
        return default(*args)

    monkeypatch.setattr(jax.lax, "platform_dependent", compiled_elsewhere)
    spec = {"share": tfb.Sigmoid(), "small": tfb.Exp()}
    params = {"share": jnp.array([0.2, 0.5]), "small": jnp.array([1.0, 1e30])}
    reparam = bt.Reparam(params, spec)
    free = {"share": jnp.array([17.0, -200.0]), "small": jnp.array([-110.0, 200.0])}
    jump = jax.tree.map(jnp.subtract, free, reparam.inverse(params))
    optimizer = bt.reparameterize(jump_then_stay(jump), reparam)
    zeros = jax.tree.map(jnp.zeros_like, params)
    state = optimizer.init(params)
    program = jax.jit(optimizer.update).lower(zeros, state, params).as_text()
    assert "while" not in program
    params, state = stay(optimizer, 100)((params, state))
    carried = state.free
    assert_inside(reparam, params)
    updates, state = jax.jit(optimizer.update)(zeros, state, params)
    assert_same_bits(state.free, carried)
    assert_same_bits(optax.apply_updates(params, updates), params)
    changed = dict(params, share=params["share"].at[0].set(0.25))
    _, state = jax.jit(optimizer.update)(zeros, state, changed)
    np.testing.assert_allclose(state.free["share"][0], np.log(0.25 / 0.75), rtol=1e-6)
    assert_same_bits(state.free["small"], carried["small"])


@pytest.mark.parametrize("n", [2, 4, 64, 5000])
def test_changes_of_sign_are_noticed(n, precision, getkey):
    x = jax.random.uniform(getkey(), (n,), minval=0.1, maxval=0.9, dtype=precision)
    reparam = bt.Reparam({"x": x}, bt.interval(-1.0, 1.0))
    optimizer = bt.reparameterize(optax.sgd(0.01), reparam)
    state = optimizer.init({"x": x})
    zeros = {"x": jnp.zeros_like(x)}
    for flips in (slice(None), slice(2), slice(n - 2, None)):
        changed = {"x": x.at[flips].multiply(-1)}
        _, after = optimizer.update(zeros, state, changed)
        assert_close(after.free, reparam.inverse(changed), 1e-5)


@pytest.mark.parametrize(
    ("start", "bijector", "free"),
    [
        (1e17, bt.positive(), -5.0),
        (1e8, bt.positive(via="softplus"), 0.5),
        (99.0, bt.interval(0.0, 100.0), -3.0),
        ([1e8, 2e8], bt.ordered_vector(), [0.5, 0.1]),
    ],
)
def test_what_a_sum_does_not_reach_later_ones_do(start, bijector, free):
    params = {"x": jnp.asarray(start)}
    reparam = bt.Reparam(params, bijector)
    target = {"x": jnp.asarray(free)}
    jump = jax.tree.map(jnp.subtract, target, reparam.inverse(params))
    optimizer = bt.reparameterize(jump_then_stay(jump), reparam)
    state, zeros = optimizer.init(params), jax.tree.map(jnp.zeros_like, params)
    for _ in range(30):
        updates, state = optimizer.update(zeros, state, params)
        params = optax.apply_updates(params, updates)
    assert_close(params, reparam.forward(state.free), 1e-6)
    updates, _ = optimizer.update(zeros, state, params)
    assert_same_bits(optax.apply_updates(params, updates), params)


def test_a_large_leaf_is_watched_to_its_last_element(getkey):
    params = {"x": jnp.exp(jax.random.normal(getkey(), (1003,)))}
    reparam = bt.Reparam(params, bt.positive())
    optimizer = bt.reparameterize(optax.sgd(1.0), reparam)
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    zeros = {"x": jnp.zeros(1003)}
    for make in (
        lambda x: x.at[0].multiply(1.5),
        lambda x: x.at[-1].multiply(1.5),
        lambda x: x[::-1],
        lambda x: 2 * x,
        lambda x: jnp.roll(x, 32),
        lambda x: x.at[5].set(x[4]).at[4].set(x[5]),
    ):
        changed = {"x": make(params["x"])}
        _, after = update(zeros, state, changed)
        np.testing.assert_allclose(after.free["x"], jnp.log(changed["x"]), rtol=1e-6)
