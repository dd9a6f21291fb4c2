"""A state taken over to another spec, against runs that were not interrupted."""

import functools
import pickle
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optimizing import assert_same_bits

import bijectree as bt
from bijectree.optimizer.reparameterize import recent_optimizers

pytestmark = pytest.mark.jax_defaults  # optax promotes dtypes

OURS = ("parts", "rate", "weight")


def model() -> dict[str, jax.Array]:
    return {
        "parts": jnp.array([0.2, 0.3, 0.5]),
        "rate": jnp.array([0.5, 1.0, 3.0]),
        "switch": jnp.array([0.5, 2.0]),
        "weight": jnp.array([[0.3, -1.0], [0.5, 2.0], [1.5, 0.1]]),
    }


def spec(switch: Any) -> dict[str, Any]:
    return {
        "parts": bt.simplex(),
        "rate": bt.positive(),
        "switch": switch,
        "weight": None,
    }


def loss(pull: float, m: dict[str, jax.Array]) -> jax.Array:
    curve = jnp.sum(m["rate"] @ m["weight"])
    target = jnp.asarray([0.6, 0.3, 0.1])
    total = jnp.sum((m["parts"] - target) ** 2) + (curve - 1.0) ** 2
    return total + 0.1 * jnp.sum(m["weight"] ** 2) + pull * jnp.sum(m["switch"] ** 2)


def groups(params: dict[str, Any]) -> dict[str, str]:
    """Labels of the whole model, whatever is free of it."""
    names = {"rate": "momentum", "switch": "decay"}
    return {name: names.get(name, "adam") for name in params}


OPTIMIZERS = {
    "adam": lambda: optax.adam(0.05),
    "adamw": lambda: optax.adamw(0.05),
    "lion": lambda: optax.lion(0.01),
    "lbfgs": lambda: optax.lbfgs(0.1, memory_size=3, linesearch=None),
    "muon": lambda: optax.contrib.muon(0.05),
    "schedule-free": lambda: optax.contrib.schedule_free_adamw(0.05),
    "multi_transform": lambda: optax.multi_transform(
        {
            "adam": optax.adam(0.05),
            "momentum": optax.sgd(0.01, momentum=0.9),
            "decay": optax.adamw(0.02),
        },
        groups,
    ),
    "chain": lambda: optax.chain(
        optax.scale_by_amsgrad(),
        optax.add_decayed_weights(1e-2),
        optax.scale_by_learning_rate(optax.cosine_decay_schedule(0.1, 100)),
    ),
    "MultiSteps": lambda: optax.MultiSteps(optax.adam(0.1), 2),
    "inject_hyperparams": lambda: optax.inject_hyperparams(optax.adam)(learning_rate=0.1),
    "adafactor": lambda: optax.adafactor(0.05, clipping_threshold=None),
}
NAMED = tuple(OPTIMIZERS)[:7]
# One leaf's step depends on another's gradient.
COUPLED = {"lbfgs"}


def train(optimizer: Any, params: Any, state: Any, pull: float, steps: int = 3) -> Any:
    gradient = jax.grad(functools.partial(loss, pull))
    for _ in range(steps):
        updates, state = optimizer.update(gradient(params), state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def alike(state: Any) -> Any:
    return jax.tree.structure(state), [(x.shape, x.dtype) for x in jax.tree.leaves(state)]


CHANGES = {
    "unfrozen": (bt.frozen, bt.positive()),
    "frozen": (bt.positive(), bt.frozen),
    "another map": (bt.positive(), bt.positive(via="softplus")),
    "other numbers": (bt.greater_than(0.0), bt.greater_than(-1.0)),
}


CASES = [
    *((name, change) for name in NAMED for change in ("unfrozen", "frozen")),
    *((name, "unfrozen") for name in OPTIMIZERS if name not in NAMED),
    *(("adam", change) for change in ("another map", "other numbers")),
]


@pytest.mark.parametrize(("name", "change"), CASES)
def test_leaves_that_stay_go_on_as_if_nothing_had_happened(name, change):
    before, after = CHANGES[change]
    pull = 0.0 if name in COUPLED else 0.3
    params = model()
    old = bt.Reparam(params, spec(before))
    optimizer = bt.reparameterize(OPTIMIZERS[name](), old)
    params, state = train(optimizer, params, optimizer.init(params), pull)
    expected, _ = train(optimizer, params, state, pull)

    new = bt.Reparam(params, spec(after))
    reports: list[Any] = []
    carried = bt.carry(state, old, new, params, report=reports.append)
    for path in OURS:
        assert_same_bits(carried.free[path], state.free[path])
    optimizer = bt.reparameterize(OPTIMIZERS[name](), new)
    assert alike(carried) == alike(optimizer.init(params))
    found, _ = train(optimizer, params, carried, pull)
    for path in OURS:
        assert_same_bits(found[path], expected[path])
    moved = found["switch"].tobytes() != params["switch"].tobytes()
    assert moved == (after is not bt.frozen and (pull > 0 or name == "muon"))
    (report,) = reports
    assert set(report.kept) == set(OURS)
    assert [*report.started] == ([] if after is bt.frozen else ["switch"])
    assert [*report.dropped] == (["switch"] if after is bt.frozen else [])


def carried_from(
    before: Any, after: Any, inner: Any, params: Any = None, **more: Any
) -> tuple[Any, Any, Any]:
    """Parameters, the state before and the state after a change of spec."""
    params = model() if params is None else params
    old = bt.Reparam(params, before)
    optimizer = bt.reparameterize(inner, old)
    params, state = train(optimizer, params, optimizer.init(params), 0.3, 2)
    new = bt.Reparam(params, after)
    return params, state, bt.carry(state, old, new, params, **more)


def test_what_starts_is_as_init_starts_it_and_what_is_shared_goes_on():
    params, state, carried = carried_from(
        spec(bt.frozen), spec(bt.positive()), optax.adam(0.1)
    )
    moments, before = carried.inner[0], state.inner[0]
    assert int(moments.count) == 2
    assert_same_bits(moments.mu["rate"], before.mu["rate"])
    assert_same_bits(moments.nu["parts"], before.nu["parts"])
    assert jnp.any(moments.mu["rate"] != 0)
    assert_same_bits(moments.mu["switch"], jnp.zeros(2))
    assert_same_bits(carried.free["switch"], jnp.log(params["switch"]))


def test_a_free_value_that_has_saturated_is_not_inverted_again():
    params = {"rate": jnp.array([1.0, 2.0]), "other": jnp.array(0.5)}
    old = bt.Reparam(params, {"rate": bt.positive(), "other": bt.frozen})
    optimizer = bt.reparameterize(optax.sgd(1.0), old)
    state = optimizer.init(params)
    grads = {"rate": jnp.array([300.0, 1.0]), "other": jnp.array(1.0)}
    updates, state = optimizer.update(grads, state, params)
    params = optax.apply_updates(params, updates)
    assert state.free["rate"][0] == -300.0
    new = bt.Reparam(params, bt.positive())
    carried = bt.carry(state, old, new, params)
    assert_same_bits(carried.free["rate"], state.free["rate"])
    updates, after = bt.reparameterize(optax.sgd(1.0), new).update(
        jax.tree.map(jnp.zeros_like, grads), carried, params
    )
    assert_same_bits(after.free["rate"], state.free["rate"])


def test_l_bfgs_does_not_take_a_leaf_that_starts_for_one_that_moved():
    inner = OPTIMIZERS["lbfgs"]()
    params, _, carried = carried_from(spec(bt.frozen), spec(bt.positive()), inner)
    new = bt.Reparam(params, spec(bt.positive()))
    found, state = train(bt.reparameterize(inner, new), params, carried, 0.0, 2)
    assert_same_bits(found["switch"], params["switch"])
    assert not jnp.any(state.inner[0].diff_params_memory["switch"])


def test_l_bfgs_weighs_what_is_left_when_a_leaf_is_dropped():
    inner = OPTIMIZERS["lbfgs"]()
    _, state, carried = carried_from(spec(bt.positive()), spec(bt.frozen), inner)
    memory, before = carried.inner[0], state.inner[0]
    for path in OURS:
        for name in ("diff_params_memory", "diff_updates_memory"):
            assert_same_bits(getattr(memory, name)[path], getattr(before, name)[path])
    products = sum(
        jnp.sum((memory.diff_params_memory[k] * memory.diff_updates_memory[k])[0])
        for k in OURS
    )
    assert jnp.allclose(memory.weights_memory[0], 1 / products, rtol=1e-5)
    assert not jnp.allclose(memory.weights_memory[0], before.weights_memory[0])
    assert not jnp.any(memory.weights_memory[1:])


def test_a_change_from_outside_is_still_noticed():
    params, state, _ = carried_from(spec(bt.frozen), spec(None), optax.adam(0.1))
    old = bt.Reparam(params, spec(bt.frozen))
    edited = {**params, "rate": jnp.array([7.0, 8.0, 9.0])}
    new = bt.Reparam(edited, spec(None))
    carried = bt.carry(state, old, new, edited)
    optimizer = bt.reparameterize(optax.adam(0.0), new)
    _, after = optimizer.update(jax.tree.map(jnp.zeros_like, edited), carried, edited)
    assert jnp.allclose(after.free["rate"], jnp.log(edited["rate"]))


def test_leaves_that_depend_on_others_joints_and_ties():
    params = {
        "copy": jnp.ones(2),
        "high": jnp.array(3.0),
        "low": jnp.array(1.0),
        "mu": jnp.array(0.5),
        "source": jnp.ones(2),
        "tau": jnp.array(2.0),
        "theta": jnp.array([1.0, -1.0]),
    }
    order = bt.joint(bt.tfb.Ascending(), over=("low", "high"))
    rules = {
        "low": order,
        "tau": bt.positive(),
        "theta": bt.location_scale("mu", "tau"),
        "copy": bt.tied("source"),
    }

    def bind(params: Any, **more: Any) -> bt.Reparam:
        return bt.Reparam(params, bt.by_path(params, {**rules, **more}))

    def gradient(params: Any) -> Any:
        return jax.grad(lambda m: sum(jnp.sum(x**2) for x in m.values()))(params)

    old = bind(params)
    optimizer = bt.reparameterize(optax.adam(0.1), old)
    state = optimizer.init(params)
    updates, state = optimizer.update(gradient(params), state, params)
    params = optax.apply_updates(params, updates)
    reports: list[Any] = []
    # Frozen, what others depend on is still there; the joint comes apart; the tie goes.
    new = bind(params, tau=bt.frozen, low=None, copy=None)
    carried = bt.carry(state, old, new, params, report=reports.append)
    assert set(reports[0].kept) == {"mu", "source", "theta"}
    assert set(reports[0].started) == {"copy", "high", "low"}
    assert set(reports[0].dropped) == {"tau"}
    assert_same_bits(carried.inner[0].mu["theta"], state.inner[0].mu["theta"])
    assert_same_bits(carried.inner[0].mu["low"], jnp.zeros(()))
    bt.reparameterize(optax.adam(0.1), new).update(gradient(params), carried, params)
    # The same specs, bound again: nothing changes.
    again = bt.carry(state, old, bind(params), params)
    assert_same_bits(again, state)


def test_parameters_that_lack_leaves():
    whole = model()
    part = {**whole, "weight": None}
    old = bt.Reparam(whole, spec(bt.frozen))
    optimizer = bt.reparameterize(optax.adam(0.1), old)
    state = optimizer.init(part)
    carried = bt.carry(state, old, bt.Reparam(whole, spec(bt.positive())), part)
    assert carried.free["weight"] is None
    assert_same_bits(carried.free["rate"], state.free["rate"])


def test_models_of_any_sort():
    bare = jnp.array([1.0, 2.0])
    old, new = bt.Reparam(bare, bt.positive()), bt.Reparam(bare, None)
    state = bt.reparameterize(optax.adam(0.1), old).init(bare)
    assert_same_bits(bt.carry(state, old, new, bare).free, bare)

    # A tuple of two parameters, as a chain's state is a tuple of two.
    pair = (jnp.array([1.0, 2.0]), jnp.array([3.0]))
    inner = optax.chain(optax.trace(0.9), optax.scale_by_adam())
    old = bt.Reparam(pair, (bt.positive(), bt.frozen))
    optimizer = bt.reparameterize(inner, old)
    state = optimizer.init(pair)
    _, state = optimizer.update(jax.tree.map(jnp.ones_like, pair), state, pair)
    carried = bt.carry(state, old, bt.Reparam(pair, bt.positive()), pair)
    assert_same_bits(carried.inner[0].trace[0], state.inner[0].trace[0])
    assert_same_bits(carried.inner[1].mu[0], state.inner[1].mu[0])
    assert not jnp.any(carried.inner[1].mu[1])

    module = eqx.nn.MLP(1, 1, 2, 1, key=jax.random.key(0))
    frozen = bt.by_path(module, {"layers.0": bt.frozen})
    old, new = bt.Reparam(module, frozen), bt.Reparam(module, None)
    state = bt.reparameterize(optax.adam(0.1), old).init(module)
    reports: list[Any] = []
    bt.carry(state, old, new, module, report=reports.append)
    assert [*reports[0].started] == ["layers.0.weight", "layers.0.bias"]


@pytest.mark.parametrize("shape", [(), (2,)])
@pytest.mark.parametrize(
    "name", ["adam", "chain", "inject_hyperparams", "lbfgs", "MultiSteps", "adafactor"]
)
def test_what_is_shared_goes_on_in_a_model_that_is_one_array(name, shape):
    params = jnp.ones(shape)
    inner = OPTIMIZERS[name]()
    old, new = bt.Reparam(params, bt.positive()), bt.Reparam(params, None)
    optimizer = bt.reparameterize(inner, old)
    state = optimizer.init(params)
    for _ in range(4):
        updates, state = optimizer.update(params - 0.3, state, params)
        params = optax.apply_updates(params, updates)
    if name == "inject_hyperparams":
        state.inner.hyperparams["learning_rate"] = jnp.array(0.02)
    carried = bt.carry(state, old, new, params)
    # The same model in a tuple, which no array mirrors.
    pair = bt.reparameterize(inner, bt.Reparam((params,), (bt.positive(),)))
    begun = pair.init((params,)).inner
    shared = [
        (a, b)
        for (p, a), (q, _), (_, b) in zip(
            jax.tree.leaves_with_path(carried.inner),
            jax.tree.leaves_with_path(begun),
            jax.tree.leaves_with_path(state.inner),
            strict=True,
        )
        if len(p) == len(q)
    ]
    # Those of L-BFGS's weights are of pairs that are gone.
    assert len(shared) >= 1
    for a, b in shared:
        if not (name == "lbfgs" and a.ndim):
            assert_same_bits(a, b)
    optimizer = bt.reparameterize(inner, new)
    assert alike(carried) == alike(optimizer.init(params))
    optimizer.update(params - 0.3, carried, params)


# Where the inner optimizer is known from.


def test_a_state_from_elsewhere_takes_the_optimizer():
    params = model()
    inner = optax.adam(0.1)
    old, new = (bt.Reparam(params, spec(s)) for s in (bt.frozen, bt.positive()))
    state = bt.reparameterize(inner, old).init(params)
    state = pickle.loads(pickle.dumps(jax.tree.map(np.asarray, state)))
    recent_optimizers.clear()
    with pytest.raises(ValueError, match="has not made an optimizer .* give the inner"):
        bt.carry(state, old, new, params)
    carried = bt.carry(state, old, new, params, optimizer=inner)
    assert alike(carried) == alike(bt.reparameterize(inner, new).init(params))
    # Made of the new Reparam, it is known as well.
    bt.reparameterize(inner, new)
    assert_same_bits(bt.carry(state, old, new, params), carried)


def test_optimizers_of_one_structure_must_agree():
    params = model()
    old, new = (bt.Reparam(params, spec(s)) for s in (bt.frozen, bt.positive()))
    made = [
        bt.reparameterize(optax.adagrad(0.1, initial_accumulator_value=x), old)
        for x in (0.1, 0.5)
    ]
    state = made[0].init(params)
    with pytest.raises(ValueError, match=r"2 optimizers .* say which it is"):
        bt.carry(state, old, new, params)
    inner = optax.adagrad(0.1, initial_accumulator_value=0.5)
    carried = bt.carry(state, old, new, params, optimizer=inner)
    assert_same_bits(carried.inner[0].sum_of_squares["switch"], jnp.full(2, 0.5))
    assert_same_bits(carried.inner[0].sum_of_squares["rate"], jnp.full(3, 0.1))


# What is refused.


def test_states_that_do_not_mirror_the_parameters_are_refused_by_name():
    params = {"a": jnp.ones(2), "b": jnp.ones(2), "c": jnp.ones(2)}
    # As many coordinates before and after, so that the vector has one shape.
    before = {"a": None, "b": bt.frozen, "c": None}
    after = {"a": None, "b": None, "c": bt.frozen}
    inner = optax.flatten(optax.adam(0.1))
    old = bt.Reparam(params, before)
    state = bt.reparameterize(inner, old).init(params)
    with pytest.raises(ValueError, match=r"ScaleByAdamState holds float32 .* at '0.mu'"):
        bt.carry(state, old, bt.Reparam(params, after), params, optimizer=inner)
    # Nothing changes, so that nothing need be known.
    assert_same_bits(bt.carry(state, old, bt.Reparam(params, before), params), state)


def test_the_state_of_another_optimizer_is_refused():
    params = model()
    old, new = (bt.Reparam(params, spec(s)) for s in (bt.frozen, bt.positive()))
    state = bt.reparameterize(optax.adam(0.1), old).init(params)
    with pytest.raises(ValueError, match=r"\(ScaleByAdamState, .*where .*\(ScaleByLion"):
        bt.carry(state, old, new, params, optimizer=optax.lion(0.1))
    with pytest.raises(ValueError, match="these are not free coordinates"):
        bt.carry(state, new, old, params)
    outer = optax.MultiSteps(bt.reparameterize(optax.adam(0.1), old), 2).init(params)
    with pytest.raises(TypeError, match="of bt.reparameterize, got MultiStepsState"):
        bt.carry(outer, old, new, params)


def test_another_model_is_refused():
    params = model()
    old = bt.Reparam(params, spec(None))
    state = bt.reparameterize(optax.adam(0.1), old).init(params)
    wider = {**params, "rate": jnp.ones(4)}
    with pytest.raises(ValueError, match=r"not of one model\n.*at 'rate': .*\(3,\)"):
        bt.carry(state, old, bt.Reparam(wider, spec(None)), wider)
    with pytest.raises(ValueError, match="another structure"):
        bt.carry(state, old, bt.Reparam({"rate": jnp.ones(3)}, None), params)


def test_what_then_mixes_is_kept_whole_or_not_at_all():
    params = {"a": jnp.ones(2), "b": jnp.ones(2)}
    old = bt.Reparam(params, None).then(bt.tfb.Scale(2.0))
    state = bt.reparameterize(optax.adam(0.1), old).init(params)
    again = bt.Reparam(params, None).then(bt.tfb.Scale(2.0))
    assert_same_bits(bt.carry(state, old, again, params), state)
    for new in (
        bt.Reparam(params, {"a": None, "b": bt.frozen}),
        bt.Reparam(params, bt.positive()).then(bt.tfb.Scale(2.0)),
        bt.Reparam(params, None),
        bt.Reparam(params, None).then(bt.tfb.Scale(3.0)),
    ):
        with pytest.raises(ValueError, match="scale, put on by `then`, mixes"):
            bt.carry(state, old, new, params)
