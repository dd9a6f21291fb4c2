"""`jit`, ensembles and checkpoints."""

import io

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import orbax.checkpoint as orbax
import pytest
from optimizing import BIJECTORS, assert_close, assert_same_bits, bind, loss, model, train

import bijectree as bt

pytestmark = pytest.mark.jax_defaults  # optax promotes dtypes


# Transformations and checkpoints.


def test_jit_eager_and_donated_buffers_agree():
    params = model()
    optimizer = bt.reparameterize(optax.adam(0.1), bind(params))

    def step(params, state):
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    donated = jax.jit(step, donate_argnums=(0, 1))
    jitted = jax.jit(step)
    carries = {}
    for name, function in {"eager": step, "jit": jitted, "donated": donated}.items():
        carry = jax.tree.map(jnp.copy, (params, optimizer.init(params)))
        for _ in range(5):
            carry = function(*carry)
        carries[name] = carry
    assert_same_bits(carries["jit"], carries["donated"])
    found, expected = ((p, s.free) for p, s in (carries["jit"], carries["eager"]))
    assert_close(found, expected, 1e-5)
    donated(jax.tree.map(jnp.copy, params), optimizer.init(params))
    # nothing of the state is a buffer of the parameters
    donated(params, optimizer.init(params))


def test_no_update_traces_twice():
    params = model()
    optimizer = bt.reparameterize(optax.adam(0.1), bind(params))
    count = 0

    @jax.jit
    def step(params, state):
        nonlocal count
        count += 1
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    carry = (params, jax.jit(optimizer.init)(params))
    for _ in range(3):
        carry = step(*carry)
    assert count == 1


def test_an_ensemble(getkey):
    keys = jax.random.split(getkey(), 4)
    single = model()

    def make(key):
        return eqx.tree_at(
            lambda m: m.rate, single, jnp.exp(jax.random.normal(key, (3,)))
        )

    ensemble = eqx.filter_vmap(make)(keys)
    optimizer = bt.reparameterize(optax.adam(0.1), bind(single))

    def step(params, state):
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    state = eqx.filter_vmap(optimizer.init)(ensemble)
    many = eqx.filter_jit(eqx.filter_vmap(step))
    found = ensemble
    for _ in range(3):
        found, state = many(found, state)
    # one member changed from outside
    found = eqx.tree_at(lambda m: m.share, found, found.share.at[2].set(0.25))
    found, state = many(found, state)

    for i in range(4):
        member = jax.tree.map(lambda x, i=i: x[i], ensemble)
        its = optimizer.init(member)
        for _ in range(3):
            member, its = step(member, its)
        if i == 2:
            member = eqx.tree_at(lambda m: m.share, member, jnp.full(2, 0.25))
        member, its = step(member, its)
        assert_close(jax.tree.map(lambda x, i=i: x[i], found), member, 1e-5)


def test_a_restored_run_goes_on_bit_for_bit():
    params = model()
    optimizer = bt.reparameterize(optax.adam(0.3), bind(params))
    half = train(optimizer, (params, optimizer.init(params)), 7)
    file = io.BytesIO()
    eqx.tree_serialise_leaves(file, half)
    file.seek(0)
    like = jax.eval_shape(lambda p: (p, optimizer.init(p)), params)
    restored = eqx.tree_deserialise_leaves(file, like)
    assert_same_bits(restored, half)
    assert_same_bits(train(optimizer, half, 5), train(optimizer, restored, 5))


@pytest.mark.parametrize("rules", ["some", "none"])
def test_orbax_checkpoints(rules, tmp_path):
    params = model()
    reparam = bind(params) if rules == "some" else bt.Reparam(params, None)
    optimizer = bt.reparameterize(optax.adam(0.3), reparam)
    half = train(optimizer, (params, optimizer.init(params)), 7)
    with orbax.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", half)
        checkpointer.wait_until_finished()
        restored = checkpointer.restore(tmp_path / "state", half)
    assert_same_bits(restored, half)
    assert_same_bits(train(optimizer, half, 5), train(optimizer, restored, 5))


@pytest.mark.parametrize("bijector", ["exp", "simplex"])
def test_strict_promotion_adds_nothing(bijector):
    bijector, value = BIJECTORS[bijector]
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        for dtype in (jnp.float32, jnp.bfloat16):
            params = {"x": jnp.asarray(value, jnp.float32).astype(dtype)}
            optimizer = bt.reparameterize(optax.sgd(0.1), bt.Reparam(params, bijector))
            state = optimizer.init(params)
            updates, state = optimizer.update(params, state, params)
            optimizer.update(params, state, optax.apply_updates(params, updates))
