"""reparameterize: the trajectory of free coordinates, in the model's own."""

import functools
import io
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import models
import numpy as np
import optax
import orbax.checkpoint as orbax
import pytest

import bijectree as bt
from bijectree import tfb

pytestmark = pytest.mark.jax_defaults  # optax promotes dtypes


class Model(eqx.Module):
    rate: jax.Array
    share: jax.Array
    parts: jax.Array
    weight: jax.Array
    fixed: jax.Array


def model(dtype: Any = None) -> Model:
    found = Model(
        rate=jnp.array([0.5, 1.0, 3.0]),
        share=jnp.array([0.2, 0.7]),
        parts=jnp.array([0.2, 0.3, 0.5]),
        weight=jnp.array([[0.3, -1.0], [0.5, 2.0], [1.5, 0.1]]),
        fixed=jnp.array([1.0, -0.0]),
    )
    return jax.tree.map(lambda x: x.astype(dtype or float), found)


def spec(params: Any) -> Any:
    rules = {
        "rate": bt.positive(),
        "share": bt.interval(0.0, 1.0),
        "parts": bt.simplex(),
        "fixed": bt.frozen,
    }
    return bt.by_path(params, rules)


def bind(params: Any) -> bt.Reparam:
    return bt.Reparam(params, spec(params))


def loss(m: Model) -> jax.Array:
    curve = m.rate @ m.weight @ m.share
    target = jnp.asarray([0.6, 0.3, 0.1], m.parts.dtype)
    total = jnp.sum((m.parts - target) ** 2) + (curve - 1.0) ** 2 + jnp.sum(m.fixed)
    return total + 0.1 * jnp.sum((m.rate - 2.0) ** 2) + 0.1 * jnp.sum(m.weight**2)


def leaves(tree: Any) -> list[np.ndarray]:
    return [np.asarray(x) for x in jax.tree.leaves(tree)]


def assert_close(a: Any, b: Any, tolerance: float) -> None:
    for x, y in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


def assert_same_bits(a: Any, b: Any) -> None:
    for x, y in zip(leaves(a), leaves(b), strict=True):
        assert x.dtype == y.dtype
        assert x.tobytes() == y.tobytes()


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


def run(optimizer: Any, params: Any, loss: Any, extra: Any, steps: int = 50) -> Any:
    """Train in a scan; `extra(value, grads)` gives the extra arguments."""

    def step(carry: Any, _: Any) -> Any:
        params, state = carry
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(grads, state, params, **extra(value, grads))
        return (optax.apply_updates(params, updates), state), None

    def train(params: Any) -> Any:
        carry = (params, optimizer.init(params))
        return jax.lax.scan(step, carry, length=steps)[0]

    # compiling takes most of the time of these tests
    options = {"xla_backend_optimization_level": 0}
    return jax.jit(train, compiler_options=options)(params)


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


# Leaves that belong together.


def together() -> tuple[Any, bt.Reparam]:
    params = {
        "alpha": jnp.array([0.3]),
        "beta": jnp.array([0.5]),
        "low": jnp.array(0.5),
        "high": jnp.array([1.0, 4.0]),
        "embed": jnp.ones((3, 2)),
        "head": jnp.ones((2, 3)),
        "free": jnp.array([0.1, 0.2]),
    }
    below = bt.dependent(lambda m: bt.interval(0.0, 1.0 - m["alpha"]), "alpha")
    joint = bt.joint(tfb.Ascending(), over=("low", "high"))
    spec = {
        **{"alpha": bt.unit_interval(), "beta": below, "low": joint, "high": joint},
        **{"embed": bt.positive(), "head": bt.tied("embed", jnp.transpose), "free": None},
    }
    return params, bt.Reparam(params, spec)


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


def jump_then_stay(jump: Any) -> optax.GradientTransformation:
    """Takes one step, whatever the gradient, and then none."""

    def update(updates, state, params=None):
        del updates, params
        return jax.tree.map(lambda x: jnp.where(state == 0, x, 0), jump), state + 1

    return optax.GradientTransformation(lambda params: jnp.zeros((), int), update)


def test_zero_steps_leave_saturated_values_bit_identical():
    params, reparam, jump = saturated()
    optimizer = bt.reparameterize(jump_then_stay(jump), reparam)
    zeros = jax.tree.map(jnp.zeros_like, params)

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(zeros, state, params)
        return (optax.apply_updates(params, updates), state), None

    first, _ = step((params, optimizer.init(params)), None)
    assert_inside(reparam, first[0])
    last, _ = jax.jit(lambda c: jax.lax.scan(step, c, length=1000))(first)
    assert_same_bits(first[0], last[0])
    assert_same_bits(first[1].free, last[1].free)
    np.testing.assert_allclose(last[1].free["share"], [17.0, -200.0], rtol=1e-6)
    assert_inside(reparam, last[0])


def assert_inside(reparam: bt.Reparam, params: Any) -> None:
    for row in reparam.bound.plan.rows:
        if row.kind is not None and not row.function:
            bijector = row.kind.recipe.build(reparam.bound.numbers[row.slot])
            assert np.all(bt.support(bijector).contains(params[row.path])), row.path


BIJECTORS = {
    "exp": (tfb.Exp(), [0.5, 1e-30, 1e30]),
    "positive": (bt.positive(), [0.5, 1e-30, 1e30]),
    "softplus": (bt.positive(via="softplus"), [0.5, 20.0, 1e-20]),
    "TFP softplus": (tfb.Softplus(), [0.5, 20.0, 1e-20]),
    "sigmoid": (tfb.Sigmoid(), [0.1, 0.5, 0.99999]),
    "interval": (bt.interval(-1.0, 2.5), [0.1, 0.5, 2.499999]),
    "greater": (bt.greater_than(0.3), [0.4, 1.0, 1e9]),
    "simplex": (bt.simplex(), [0.2, 0.3, 0.5]),
    "ordered": (bt.ordered_vector(), [1.0, 2.0, 4.0]),
    "corr_cholesky": (bt.corr_cholesky(), np.eye(3)),
    "corr_matrix": (bt.corr_matrix(), np.eye(3)),
    "positive_definite": (bt.positive_definite(), np.eye(3)),
    "sphere": (bt.sphere(), [0.6, 0.8]),
    "normal_cdf": (tfb.NormalCDF(), [0.1, 0.5, 0.9]),
    "shifted": (tfb.Chain([tfb.Shift(1.0), tfb.Scale(3.0), tfb.Exp()]), [1.5, 4.0]),
}


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
    updates, state = update(zeros, optimizer.init(params), params)
    params = optax.apply_updates(params, updates)
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
    updates, state = jax.jit(optimizer.update)(zeros, state, params)
    params, carried = optax.apply_updates(params, updates), state.free
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


def train(optimizer, carry, steps):
    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(steps):
        carry = step(*carry)
    return carry


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


# What does not fit.


def test_parameters_that_do_not_fit():
    params = model()
    optimizer = bt.reparameterize(optax.adam(0.1), bind(params))
    state = optimizer.init(params)
    grads = jax.tree.map(jnp.zeros_like, params)
    with pytest.raises(ValueError, match="needs the parameters"):
        optimizer.update(grads, state)
    wrong = eqx.tree_at(lambda m: m.rate, params, jnp.ones(4))
    with pytest.raises(ValueError, match=r"params .*\n.*'rate'.*expected shape \(3,\)"):
        optimizer.init(wrong)
    with pytest.raises(ValueError, match=r"grads .*\n.*'rate'.*expected shape \(3,\)"):
        optimizer.update(eqx.tree_at(lambda m: m.rate, grads, jnp.ones(4)), state, params)
    with pytest.raises(ValueError, match="params"):
        optimizer.init({"rate": params.rate})
    with pytest.raises(bt.SupportError, match="'rate', index \\[1\\]: got -1"):
        optimizer.init(eqx.tree_at(lambda m: m.rate, params, jnp.array([1.0, -1.0, 1.0])))
    with pytest.raises(TypeError, match="`callback` is a function"):
        optimizer.update(grads, state, params, callback=lambda p: p)


def test_lacking_what_others_need():
    params, reparam = together()
    optimizer = bt.reparameterize(optax.adam(0.1), reparam)
    with pytest.raises(ValueError, match="'alpha', on which 'beta' depends"):
        optimizer.init(dict(params, alpha=None))
    with pytest.raises(ValueError, match="'low' without the rest of the joint"):
        optimizer.init(dict(params, low=optax.MaskedNode()))
    optimizer.init(dict(params, beta=None))


@pytest.mark.filterwarnings("ignore:overflow")
def test_nan_stays_in_its_leaf():
    params = model()
    optimizer = bt.reparameterize(optax.adam(0.1), bind(params))
    grads = jax.grad(loss)(params)
    grads = eqx.tree_at(lambda g: g.parts, grads, jnp.full(3, jnp.nan))
    updates, state = optimizer.update(grads, optimizer.init(params), params)
    found = optax.apply_updates(params, updates)
    assert np.all(np.isnan(found.parts))
    assert all(np.all(np.isfinite(x)) for x in (found.rate, found.share, found.weight))


def test_a_leaf_that_overflows_has_no_infinite_step():
    params = {"x": jnp.ones(2, jnp.float32)}
    optimizer = bt.reparameterize(optax.sgd(1.0), bt.Reparam(params, bt.positive()))
    grads = {"x": jnp.full(2, -200.0)}
    updates, state = optimizer.update(grads, optimizer.init(params), params)
    params = optax.apply_updates(params, updates)
    np.testing.assert_array_equal(state.free["x"], 200.0)
    assert np.all(np.isfinite(params["x"]))
    grads = {"x": jnp.array([0.0, 2.0])}
    updates, state = optimizer.update(grads, state, params)
    assert state.free["x"][0] == 200.0
    assert np.isfinite(state.free["x"][1])
    assert np.all(optax.apply_updates(params, updates)["x"] > 0)


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
