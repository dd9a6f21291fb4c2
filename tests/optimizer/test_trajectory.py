"""The trajectory of an adapted optimizer is that of the free coordinates."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optimizing import assert_close, assert_same_bits, bind, loss, model, run, spec

import bijectree as bt

pytestmark = pytest.mark.jax_defaults  # optax promotes dtypes


# The trajectory.

PLAIN = {
    name: getattr(optax, name)
    for name in (
        "adabelief adadelta adafactor adagrad adam adamax adamaxw adamw adan amsgrad "
        "fromage lamb lars lion nadam nadamw noisy_sgd novograd radam rmsprop rprop "
        "optimistic_adam_v2 sgd sign_sgd signum sm3 yogi optimistic_gradient_descent"
    ).split()
}


CONTRIB = {
    name: getattr(optax.contrib, name)
    for name in (
        "acprop ademamix adopt cocob dadapt_adamw dog dowg madgrad muon prodigy "
        "schedule_free_adamw schedule_free_sgd simplified_ademamix"
    ).split()
}


OPTIMIZERS: dict[str, Any] = {
    **{name: functools.partial(make, 0.02) for name, make in (PLAIN | CONTRIB).items()},
    "noisy_sgd": lambda: optax.noisy_sgd(0.02, key=jax.random.key(0)),
    "optimistic_adam_v2": lambda: optax.optimistic_adam_v2(0.02),
    "dog": lambda: optax.contrib.dog(0.02),
    "clip, decay, schedule": lambda: optax.chain(
        optax.clip_by_global_norm(0.5),
        optax.scale_by_adam(),
        optax.add_decayed_weights(1e-2),
        optax.scale_by_schedule(optax.cosine_decay_schedule(-0.05, 50)),
    ),
    "adaptive clip": lambda: optax.chain(optax.adaptive_grad_clip(0.1), optax.sgd(0.1)),
    "inject_hyperparams": lambda: optax.inject_hyperparams(optax.adam)(0.02),
    "multi_transform": lambda: optax.multi_transform(
        {"a": optax.adam(0.02), "b": optax.sgd(0.1, momentum=0.9)},
        lambda free: jax.tree.map(lambda x: "a" if x.ndim == 1 else "b", free),
    ),
    "masked": lambda: optax.masked(
        optax.adam(0.02), lambda free: jax.tree.map(lambda x: x.ndim == 1, free)
    ),
    "MultiSteps": lambda: optax.MultiSteps(optax.adam(0.02), 3),
    "apply_if_finite": lambda: optax.apply_if_finite(optax.adam(0.02), 3),
    "mechanize": lambda: optax.contrib.mechanize(optax.adam(0.02)),
    "sam": lambda: optax.contrib.sam(
        optax.sgd(0.05), optax.chain(optax.contrib.normalize(), optax.sgd(0.02))
    ),
}


def both(optimizer: Any, extra: Any = lambda loss: lambda value, grads: {}) -> Any:
    """The free coordinates of the adapter and of plain optax, and the parameters."""
    params = model()
    reparam = bind(params)
    composed = reparam.compose(loss)
    wrapped = bt.reparameterize(optimizer, reparam)
    found, state = run(wrapped, params, loss, extra(loss))
    free, _ = run(optimizer, reparam.inverse(params), composed, extra(composed))
    return found, state.free, free, reparam


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_trajectory_is_that_of_the_free_coordinates(name):
    with jax.enable_x64(True):
        optimizer = OPTIMIZERS[name]()
        found, free, expected, reparam = both(optimizer)
        assert not eqx.tree_equal(found, model()), "it did not move"
        # Signs and norms of gradients near 0 magnify the last bit.
        assert_close(free, expected, 1e-13)
        assert_close(found, reparam.forward(expected), 1e-13)
        assert_same_bits(found.fixed, model().fixed)


EXTRA = {
    "lbfgs": (optax.lbfgs, lambda f: lambda v, g: dict(value=v, grad=g, value_fn=f)),
    "backtracking": (
        lambda: optax.chain(
            optax.sgd(1.0),
            optax.scale_by_backtracking_linesearch(15, store_grad=True),
        ),
        lambda f: lambda v, g: dict(value=v, grad=g, value_fn=f),
    ),
    "polyak_sgd": (
        lambda: optax.polyak_sgd(max_learning_rate=0.1),
        lambda f: lambda v, g: dict(value=v),
    ),
    "reduce_on_plateau": (
        lambda: optax.chain(optax.adam(0.02), optax.contrib.reduce_on_plateau()),
        lambda f: lambda v, g: dict(value=v),
    ),
    "momo": (lambda: optax.contrib.momo(0.1), lambda f: lambda v, g: dict(value=v)),
    "momo_adam": (
        lambda: optax.contrib.momo_adam(0.02),
        lambda f: lambda v, g: dict(value=v),
    ),
    "sophia": (
        lambda: optax.contrib.sophia(0.01, update_interval=2),
        lambda f: lambda v, g: dict(obj_fn=f),
    ),
    "opaque sam": (
        lambda: optax.contrib.sam(
            optax.sgd(0.05), optax.sgd(0.02), sync_period=2, opaque_mode=True
        ),
        lambda f: lambda v, g: dict(grad_fn=lambda p, i: jax.grad(f)(p)),
    ),
}


@pytest.mark.parametrize("name", EXTRA)
def test_extra_arguments_are_in_the_right_coordinates(name):
    make, extra = EXTRA[name]
    with jax.enable_x64(True):
        found, free, expected, reparam = both(make(), extra)
        # L-BFGS divides by differences of gradients, which vanish in the end
        tolerance = 1e-6 if name == "lbfgs" else 1e-11
        assert_close(free, expected, tolerance)
        assert_close(found, reparam.forward(expected), tolerance)


def test_a_line_search_takes_up_where_it_ended():
    with jax.enable_x64(True):
        params = model()
        reparam = bind(params)
        composed = reparam.compose(loss)

        def train(optimizer, params, loss):
            evaluate = optax.value_and_grad_from_state(loss)

            def step(carry, _):
                params, state = carry
                value, grad = evaluate(params, state=state)
                updates, state = optimizer.update(
                    grad, state, params, value=value, grad=grad, value_fn=loss
                )
                return (optax.apply_updates(params, updates), state), value

            carry = (params, optimizer.init(params))
            return jax.jit(lambda c: jax.lax.scan(step, c, length=20))(carry)

        (found, state), values = train(
            bt.reparameterize(optax.lbfgs(), reparam), params, loss
        )
        (free, _), expected = train(optax.lbfgs(), reparam.inverse(params), composed)
        np.testing.assert_allclose(values, expected, rtol=1e-8)
        assert_close(found, reparam.forward(free), 1e-6)
        assert optax.tree.get(state, "value") == jnp.inf
        assert values[-1] < 0.5 * values[0]


def test_lookahead_keeps_two_models():
    with jax.enable_x64(True):
        params = model()
        pair = optax.LookaheadParams.init_synced(params)
        pair_spec = optax.LookaheadParams(spec(params), spec(params))
        reparam = bt.Reparam(pair, pair_spec)
        inner = optax.lookahead(optax.adam(0.05), 5, 0.5)

        def train(optimizer, pair, loss):
            state = optimizer.init(pair)
            for _ in range(12):
                grads = jax.grad(loss)(pair.fast)
                updates, state = optimizer.update(grads, state, pair)
                pair = optax.apply_updates(pair, updates)
            return pair

        found = train(bt.reparameterize(inner, reparam), pair, loss)
        one = bind(params)
        free = train(inner, reparam.inverse(pair), one.compose(loss))
        assert_close(found, reparam.forward(free), 1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_trajectory_in_narrow_dtypes(dtype):
    params = model(dtype)
    reparam = bind(params)
    inner = optax.adam(0.05)
    nothing = lambda value, grads: {}  # noqa: E731
    found, state = run(bt.reparameterize(inner, reparam), params, loss, nothing)
    free, _ = run(inner, reparam.inverse(params), reparam.compose(loss), nothing)
    assert all(x.dtype == dtype for x in jax.tree.leaves((found, state.free)))
    tolerance = {"float32": 1e-5, "bfloat16": 0.2, "float16": 0.03}[dtype]
    as_floats = functools.partial(jax.tree.map, lambda x: x.astype(jnp.float32))
    assert_close(as_floats(state.free), as_floats(free), tolerance)
    expected = reparam.forward(state.free)
    eps = 4 * float(jnp.finfo(dtype).eps)
    assert_close(as_floats(found), as_floats(expected), eps)
