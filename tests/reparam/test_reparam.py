"""Reparam: its maps, its purity, and what it says of a model that does not fit."""

import copy
import dataclasses
import fractions
import functools
import io
import pickle
from io import StringIO
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import models
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import bijectree as bt
from bijectree import tfb


def exp_of_scales() -> tuple[models.Nested, bt.Reparam]:
    model = models.nested()
    rules = {
        "**.scale": tfb.Exp(),
        "head.power": bt.frozen,
        "head.amplitude": tfb.Softplus(),
    }
    return model, bt.Reparam(model, bt.by_path(model, rules))


def random_free(reparam: bt.Reparam, key: Any) -> Any:
    return reparam.unravel(jax.random.normal(key, (reparam.dim,), jnp.float32))


@pytest.mark.parametrize("spec", [None, tfb.Softplus(low=1e-3), bt.frozen], ids=str)
@pytest.mark.parametrize("name", models.ALL)
def test_models_of_every_sort(name, spec):
    model = models.ALL[name]()
    if spec is not None and spec is not bt.frozen:
        model = jax.tree.map(
            lambda x: abs(x) + 0.5 if eqx.is_inexact_array(x) else x, model
        )
        if not any(eqx.is_inexact_array(x) for x in jax.tree.leaves(model)):
            with pytest.raises(ValueError, match="no inexact array"):
                bt.Reparam(model, spec)
            return
    reparam = bt.Reparam(model, spec)
    free = reparam.inverse(model)
    assert all(eqx.is_inexact_array(x) for x in jax.tree.leaves(free))
    back, log_det = reparam.forward_and_log_det(free)
    assert jax.tree.structure(back) == jax.tree.structure(model)
    for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(model), strict=True):
        assert a is b or np.allclose(a, b, rtol=1e-6)
    assert log_det.shape == ()
    assert log_det.dtype == jnp.float32
    assert len(reparam.labels) == len(set(reparam.labels)) == reparam.dim
    vector = reparam.ravel(free)
    np.testing.assert_array_equal(vector, ravel_pytree(free)[0])
    assert eqx.tree_equal(reparam.unravel(vector), free)


def test_forward_and_inverse_do_what_the_bijectors_do():
    model, reparam = exp_of_scales()
    free = reparam.inverse(model)
    np.testing.assert_allclose(free.layers[0].scale, jnp.log(model.layers[0].scale))
    np.testing.assert_array_equal(free.layers[0].shift, model.layers[0].shift)
    assert free.head.power is free.count is free.table is None
    back, log_det = reparam.forward_and_log_det(free)
    assert back.head.power is model.head.power  # bit-identical
    amplitude = np.log1p(-np.exp(-np.asarray(model.head.amplitude))).sum()
    np.testing.assert_allclose(log_det, np.log(24.0) + amplitude, rtol=1e-5)
    np.testing.assert_allclose(reparam.forward_log_det_jacobian(free), log_det, rtol=1e-6)
    np.testing.assert_allclose(
        reparam.inverse_log_det_jacobian(model), -log_det, rtol=1e-6
    )


def test_a_coordinate_moves_only_the_leaf_that_its_label_names(getkey):
    model = models.nested()
    square = {"chol": jnp.eye(3), "weights": jnp.full((2, 3), 1 / 3), "m": model}
    spec = {
        "chol": tfb.FillScaleTriL(),
        "weights": tfb.IteratedSigmoidCentered(),
        "m": bt.by_path(model, {"head.power": bt.frozen}),
    }
    reparam = bt.Reparam(square, spec)
    assert reparam.labels[:8] == [f"chol.{i}" for i in range(6)] + [
        "m.layers.0.scale.0",
        "m.layers.0.scale.1",
    ]
    assert reparam.labels[-4:] == [
        "weights.0.0",
        "weights.0.1",
        "weights.1.0",
        "weights.1.1",
    ]
    vector = jax.random.normal(getkey(), (reparam.dim,))
    base = reparam.forward(reparam.unravel(vector))
    for i, label in enumerate(reparam.labels):
        moved = reparam.forward(reparam.unravel(vector.at[i].add(0.1)))
        pairs = jax.tree_util.tree_flatten_with_path((base, moved))[0]
        half = len(pairs) // 2
        changed = {
            jax.tree_util.keystr(path[1:], simple=True, separator=".")
            for (path, a), (_, b) in zip(pairs[:half], pairs[half:], strict=True)
            if eqx.is_array(a) and not np.array_equal(a, b)
        }
        assert len(changed) == 1
        path = changed.pop()
        assert label == path or label.startswith(path + ".")


def test_dtypes_of_each_leaf_are_kept():
    with jax.enable_x64(True):
        dtypes = [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64]
        model = {str(i): jnp.ones(2, dtype) for i, dtype in enumerate(dtypes)}
        reparam = bt.Reparam(model, tfb.Softplus(low=1e-3))
        free = reparam.inverse(model)
        back, log_det = reparam.forward_and_log_det(free)
        for i, dtype in enumerate(dtypes):
            assert free[str(i)].dtype == back[str(i)].dtype == dtype
        assert log_det.dtype == jnp.float64
        assert reparam.ravel(free).dtype == jnp.float64
        assert reparam.unravel(reparam.ravel(free))["1"].dtype == jnp.bfloat16
        half = bt.Reparam({"0": model["0"], "1": model["1"]}, tfb.Exp())
        free = half.inverse({"0": model["0"], "1": model["1"]})
        assert half.forward_log_det_jacobian(free).dtype == jnp.float32
        # Coordinates of another dtype than bound with are mapped in theirs.
        wide = jax.tree.map(lambda x: x.astype(jnp.float64), free)
        assert half.forward(wide)["0"].dtype == jnp.float64


def test_an_empty_and_a_frozen_model_have_no_coordinates():
    for model, spec in (({}, None), ({"a": jnp.ones(2)}, bt.frozen)):
        reparam = bt.Reparam(model, spec)
        assert reparam.dim == 0
        assert reparam.labels == []
        free = reparam.inverse(model)
        assert jax.tree.leaves(free) == []
        assert reparam.forward_log_det_jacobian(free) == 0
        assert reparam.ravel(free).shape == (0,)
        assert eqx.tree_equal(reparam.forward(reparam.unravel(jnp.zeros(0))), model)


# Purity.


def counted(function):
    """A jitted function that counts its traces."""

    def traced(*args):
        traced.count += 1
        return function(*args)

    traced.count = 0
    return eqx.filter_jit(traced), traced


@pytest.mark.parametrize(
    "make",
    [
        lambda n: tfb.Softplus(low=n),
        lambda n: tfb.Sigmoid(-n, n),
        lambda n: tfb.Chain([tfb.Shift(n), tfb.Exp(), tfb.Scale(n)]),
        lambda n: tfb.Permute([2, 0, 1]),
        lambda n: tfb.FillScaleTriL(),
        lambda n: tfb.Invert(tfb.Shift(n)),
    ],
    ids=["Softplus", "Sigmoid", "Chain", "Permute", "FillScaleTriL", "Invert"],
)
def test_equal_specs_and_new_numbers_do_not_retrace(make):
    shape = (2, 2) if "fill" in make(1.0).name else (3,)
    model = {"x": jax.ShapeDtypeStruct(shape, jnp.float32), "y": jnp.ones(2)}
    run, traced = counted(lambda r, free: r.forward_and_log_det(free))
    for number in (1.0, 1.0, 2.5):
        reparam = bt.Reparam(model, {"x": make(number), "y": bt.frozen})
        run(reparam, reparam.unravel(jnp.full(reparam.dim, 0.1)))
    assert traced.count == 1


def test_a_new_frozen_value_does_not_retrace():
    run, traced = counted(lambda r, free: r.forward(free))
    for number in (1.0, 2.0):
        model = {"a": jnp.full(2, number), "b": jnp.ones(1)}
        reparam = bt.Reparam(model, {"a": bt.frozen, "b": None})
        np.testing.assert_array_equal(
            run(reparam, reparam.inverse(model))["a"], model["a"]
        )
    assert traced.count == 1


class CountingExp(tfb.AutoCompositeTensorBijector):
    traces = StringIO()  # a number would be read, and seem to change

    def __init__(self, name="counting"):
        parameters = dict(locals())
        super().__init__(forward_min_event_ndims=0, parameters=parameters, name=name)

    def _forward(self, x):
        CountingExp.traces.write(".")
        return jnp.exp(x)

    def _inverse(self, y):
        return jnp.log(y)

    def _forward_log_det_jacobian(self, x):
        return x


def test_tracing_grows_with_kinds_of_leaf_not_with_leaves():
    counts = []
    for n in (40, 200):  # both are some of the largest groups and one of eight
        jax.clear_caches()
        before = CountingExp.traces.tell()
        model = {f"{i:03d}": jnp.ones(3 + i % 2) for i in range(n)}
        reparam = bt.Reparam(model, CountingExp(), verify=False)
        free = reparam.inverse(model)
        loss = lambda free: reparam.forward_and_log_det(free)[1]  # noqa: B023, E731
        jax.jit(jax.value_and_grad(loss))(free)
        counts.append(CountingExp.traces.tell() - before)
    assert counts[0] == counts[1]


def test_transformations_agree_with_eager(getkey):
    _, reparam = exp_of_scales()
    free = random_free(reparam, getkey())

    def loss(free):
        model, log_det = reparam.forward_and_log_det(free)
        return log_det + sum(
            jnp.sum(x) for x in jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
        )

    with jax.checking_leaks():
        value, gradient = jax.jit(jax.value_and_grad(loss))(free)
    np.testing.assert_allclose(value, loss(free), rtol=1e-6)
    assert jax.tree.structure(gradient) == jax.tree.structure(free)
    batch = jax.tree.map(lambda x: jnp.stack([x, x + 1]), free)
    values = jax.vmap(loss)(batch)
    np.testing.assert_allclose(values[0], value, rtol=1e-6)
    _, scanned = jax.lax.scan(lambda c, x: (c, loss(x)), None, batch)
    np.testing.assert_allclose(scanned, values, rtol=1e-6)
    assert jax.hessian(loss)(free).head.amplitude.head.amplitude.shape == (2, 2)


def test_methods_can_be_jitted_and_reparam_passes_through():
    model = {"a": jnp.array([1.0, 2.0]), "b": jnp.ones(())}
    reparam = bt.Reparam(model, {"a": tfb.Softplus(low=0.5), "b": bt.frozen})
    free = reparam.inverse(model)
    expected = reparam.forward(free)
    for mapped in (
        jax.jit(reparam.forward)(free),
        eqx.filter_jit(reparam.forward)(free),
        jax.jit(lambda r, x: r.forward(x))(reparam, free),
        jax.jit(lambda x: reparam.forward(x))(free),
    ):
        np.testing.assert_allclose(mapped["a"], expected["a"], rtol=1e-6)
        np.testing.assert_array_equal(mapped["b"], expected["b"])
    assert {reparam: 1}[reparam] == 1
    out = jax.jit(lambda r: r)(reparam)
    assert jax.tree.structure(out) == jax.tree.structure(reparam)


def test_numbers_of_a_spec_can_be_differentiated():
    model = {"a": jnp.array([1.0, 2.0])}
    reparam = bt.Reparam(model, tfb.Scale(3.0))
    free = reparam.inverse(model)
    gradient = eqx.filter_grad(lambda r: r.forward_log_det_jacobian(free))(reparam)
    np.testing.assert_allclose(jax.tree.leaves(gradient), [2 / 3], rtol=1e-6)


def test_a_reparam_can_be_made_under_jit():
    @jax.jit
    def log_det(low, x):
        reparam = bt.Reparam(
            {"x": x, "y": x}, {"x": tfb.Softplus(low=low), "y": bt.frozen}
        )
        return reparam.inverse_log_det_jacobian({"x": x, "y": x})

    x = jnp.array([1.0, 2.0])
    expected = tfb.Softplus(low=0.5).inverse_log_det_jacobian(x, event_ndims=1)
    np.testing.assert_allclose(log_det(0.5, x), expected, rtol=1e-5)


def test_ensembles_as_one_batch_and_member_by_member(getkey):
    def make(key):
        return models.PowerLaw(
            jnp.exp(jax.random.normal(key, (2,))), jax.random.normal(key, ())
        )

    ensemble = eqx.filter_vmap(make)(jax.random.split(getkey(), 5))
    spec = models.PowerLaw(tfb.Exp(), None)
    whole = bt.Reparam(ensemble, spec)
    _, total = whole.forward_and_log_det(whole.inverse(ensemble))
    member = bt.Reparam(make(getkey()), spec)
    free = jax.vmap(member.inverse)(ensemble)
    back, each = jax.vmap(member.forward_and_log_det)(free)
    assert each.shape == (5,)
    np.testing.assert_allclose(each.sum(), total, rtol=1e-5)
    np.testing.assert_allclose(back.amplitude, ensemble.amplitude, rtol=1e-5)
    bound = eqx.filter_vmap(
        lambda m: bt.Reparam(m, models.PowerLaw(tfb.Exp(), bt.frozen))
    )(ensemble)
    back = eqx.filter_vmap(lambda r, m: r.forward(r.inverse(m)))(bound, ensemble)
    np.testing.assert_allclose(back.amplitude, ensemble.amplitude, rtol=1e-5)
    np.testing.assert_array_equal(back.power, ensemble.power)


def test_pickle_and_serialise():
    model = models.nested()
    spec = bt.by_path(model, {"**.scale": tfb.Softplus(low=1e-3), "head": bt.frozen})
    reparam = bt.Reparam(model, spec)
    free = reparam.inverse(model)
    pickled = pickle.loads(pickle.dumps(reparam))
    assert eqx.tree_equal(pickled.forward(free), reparam.forward(free))
    assert pickled.bound.plan == reparam.bound.plan
    file = io.BytesIO()
    eqx.tree_serialise_leaves(file, reparam)
    other_model = eqx.tree_at(lambda m: m.head.power, model, jnp.array(9.0))
    spec = bt.by_path(model, {"**.scale": tfb.Softplus(low=7.0), "head": bt.frozen})
    like = bt.Reparam(other_model, spec)
    file.seek(0)
    loaded = eqx.tree_deserialise_leaves(file, like)
    assert eqx.tree_equal(loaded.forward(free), reparam.forward(free))


def test_one_spec_serves_both_precisions_in_turn():
    spec = {"a": bt.interval(-1.25, 2.5), "b": bt.greater_than(0.1)}
    kept = []
    for x64 in (False, True, False, True):
        with jax.enable_x64(x64):
            model = {"a": jnp.ones(2), "b": jnp.ones(3)}
            reparam = bt.Reparam(model, spec)
            free = reparam.inverse(model)
            mapped = jax.jit(reparam.forward)(free)
            gradient = jax.jit(jax.grad(reparam.forward_log_det_jacobian))(free)
            kept.append((reparam, free))  # as a session would
            for tree in (mapped, gradient, reparam.forward(free)):
                assert tree["a"].dtype == (jnp.float64 if x64 else jnp.float32)
            np.testing.assert_allclose(mapped["b"], 1.0, rtol=1e-15 if x64 else 1e-6)


# Frozen leaves and templates.


def test_frozen_leaves_do_not_move_and_have_no_optimizer_state():
    model, reparam = exp_of_scales()
    free = reparam.inverse(model)
    optimizer = optax.adamw(1e-1)
    state = optimizer.init(free)
    loss = reparam.compose(lambda m: jnp.sum(m.layers[0].scale ** 2) + m.head.power)
    for _ in range(3):
        gradient = jax.grad(loss)(free)
        with jax.numpy_dtype_promotion("standard"):  # optax relies on it
            updates, state = optimizer.update(gradient, state, free)
        free = optax.apply_updates(free, updates)
    after = reparam.forward(free)
    assert after.head.power is model.head.power
    assert not np.array_equal(after.layers[0].scale, model.layers[0].scale)


def test_other_frozen_or_static_values_are_an_error():
    model, reparam = exp_of_scales()
    other = eqx.tree_at(lambda m: (m.head.power, m.count), model, (jnp.array(9.0), 8))
    with pytest.raises(ValueError, match="bind again") as caught:
        reparam.inverse(other)
    assert "at 'head.power' (frozen): bound with 0.5, got 9." in str(caught.value)
    assert "at 'count' (static): bound with 7, got 8" in str(caught.value)
    other = eqx.tree_at(lambda m: m.table, model, jnp.arange(4) + 1)
    with pytest.raises(ValueError, match="'table'"):
        reparam.inverse(other)
    nan = {"a": jnp.array(jnp.nan)}
    bt.Reparam(nan, bt.frozen).inverse({"a": jnp.array(jnp.nan)})


def test_keys_are_left_alone():
    model = {"key": jax.random.key(0), "x": jnp.ones(1)}
    reparam = bt.Reparam(model, None)
    assert reparam.labels == ["x.0"]
    free = reparam.inverse({"key": jax.random.key(0), "x": jnp.ones(1)})
    with pytest.raises(ValueError, match="'key'"):
        reparam.inverse({"key": jax.random.key(1), "x": jnp.ones(1)})
    assert reparam.forward(free)["key"] is model["key"]


def test_bound_from_shapes_alone():
    model, _ = exp_of_scales()
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype) if eqx.is_array(x) else x, model
    )
    reparam = bt.Reparam(
        shapes, bt.by_path(shapes, {"**.scale": tfb.Exp(), "head": bt.frozen})
    )
    free = reparam.inverse(model)
    with pytest.raises(ValueError, match="pass like=model") as caught:
        reparam.forward(free)
    for path in ("head.amplitude", "head.power", "table"):
        assert path in str(caught.value)
    assert "count" not in str(caught.value)
    back, _ = reparam.forward_and_log_det(free, like=model)
    for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(model), strict=True):
        assert a is b or np.allclose(a, b, rtol=1e-6)
    reparam.forward_log_det_jacobian(free)  # needs no values


# What does not fit.


def test_every_value_outside_is_reported():
    model, reparam = exp_of_scales()
    other = eqx.tree_at(
        lambda m: (m.layers[0].scale, m.layers[1].scale, m.layers[0].shift),
        model,
        (jnp.array([1.0, -2.0, 0.0]), jnp.array(0.0), jnp.array([0.0, jnp.nan, 0.0])),
    )
    with pytest.raises(bt.SupportError) as caught:
        reparam.inverse(other)
    lines = str(caught.value).splitlines()[1:]
    assert len(lines) == 3
    assert "at 'layers.0.scale', index [1]: got -2" in lines[0]
    assert "and 1 more in this leaf" in lines[0]
    assert "at 'layers.0.shift', index [1]: got nan, expected finite" in lines[1]
    assert "at 'layers.1.scale': got 0" in lines[2]
    assert "on the boundary" in lines[2]
    assert isinstance(caught.value, ValueError)


def test_events_outside_are_reported_whole():
    reparam = bt.Reparam({"w": jnp.full((3, 2), 0.5)}, tfb.IteratedSigmoidCentered())
    with pytest.raises(bt.SupportError, match=r"'w', index \[1\]: got \[0.9, 0.9\]"):
        reparam.inverse({"w": jnp.array([[0.5, 0.5], [0.9, 0.9], [0.2, 0.8]])})


def test_error_if_outside():
    model, reparam = exp_of_scales()
    bad = eqx.tree_at(lambda m: m.layers[0].scale, model, jnp.array([1.0, -2.0, 1.0]))
    assert eqx.tree_equal(reparam.error_if_outside(model), model)
    with pytest.raises(bt.SupportError, match=r"'layers.0.scale', index \[1\]"):
        reparam.error_if_outside(bad)
    check = eqx.filter_jit(reparam.error_if_outside)
    assert eqx.tree_equal(check(model), model)
    with pytest.raises(RuntimeError, match=r"'layers.0.scale' is outside"):
        jax.block_until_ready(check(bad).layers[0].scale)


def test_inverse_under_jit_does_not_look():
    model, reparam = exp_of_scales()
    bad = eqx.tree_at(lambda m: m.layers[1].scale, model, jnp.array(-1.0))
    assert jnp.isnan(eqx.filter_jit(reparam.inverse)(bad).layers[1].scale)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: {"a": 1}, "at the root: got dict"),
        (
            lambda m: eqx.tree_at(lambda m: m.head.power, m, jnp.ones(2)),
            r"'head.power': got .*\(2,\), expected shape \(\)",
        ),
        (
            lambda m: eqx.tree_at(
                lambda m: m.layers[0], m, dataclasses.replace(m.layers[0], name="x")
            ),
            "static field",
        ),
        (
            lambda m: eqx.tree_at(lambda m: m.layers, m, m.layers[:1]),
            "at 'layers': '1' is missing",
        ),
        (
            lambda m: eqx.tree_at(lambda m: m.head.power, m, 1.0),
            "'head.power': got float 1.0",
        ),
    ],
    ids=["class", "shape", "static field", "length", "float"],
)
def test_a_model_that_is_not_like_the_bound_one(change, message):
    model, reparam = exp_of_scales()
    with pytest.raises(ValueError, match=message):
        reparam.inverse(change(model))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: {"a": 1}, "at the root: got dict"),
        (
            lambda f: eqx.tree_at(lambda f: f.layers[0].scale, f, jnp.ones(2)),
            r"scale': got .*\(2,\), expected floats of shape \(3,\)",
        ),
        (
            lambda f: eqx.tree_at(lambda f: f.layers[0].scale, f, jnp.ones(3, int)),
            "expected floats",
        ),
        (
            lambda f: eqx.tree_at(lambda f: f.layers[0].scale, f, None),
            "at 'layers.0.scale': got None, expected coordinates",
        ),
    ],
    ids=["class", "shape", "integers", "None"],
)
def test_free_coordinates_that_are_not_of_this_reparam(change, message):
    model, reparam = exp_of_scales()
    free = reparam.inverse(model)
    with pytest.raises(ValueError, match=f"(?s)not free coordinates.*{message}"):
        reparam.forward(change(free))


def test_the_model_is_not_taken_for_free_coordinates():
    model = {"a": jnp.ones(2), "w": jnp.ones(3)}
    reparam = bt.Reparam(model, {"a": tfb.Exp(), "w": bt.frozen})
    with pytest.raises(ValueError, match=r"at 'w': got .* where no coordinates are"):
        reparam.forward(model)
    with pytest.raises(ValueError, match="not free coordinates"):
        reparam.forward(jnp.ones(2))
    with pytest.raises(ValueError, match="got complex64"):
        reparam.forward({"a": jnp.ones(2, jnp.complex64), "w": None})


def test_static_values_are_compared_by_value():
    model = {"a": jnp.ones(2), "f": fractions.Fraction(1, 3), "n": float("nan")}
    model["p"] = functools.partial(sorted, reverse=True)
    plans = []
    for same in (model, copy.deepcopy(model)):
        reparam = bt.Reparam(same, None)
        reparam.inverse(model)
        plans.append(reparam.bound.plan)
    assert plans[0] == plans[1]
    assert (
        bt.Reparam({**model, "n": 0.0}, None).bound.plan
        != bt.Reparam({**model, "n": -0.0}, None).bound.plan
    )


def test_unravel_wants_dim_numbers():
    _, reparam = exp_of_scales()
    with pytest.raises(ValueError, match=rf"shape \({reparam.dim},\), got shape \(3,\)"):
        reparam.unravel(jnp.zeros(3))


def test_it_prints_what_it_binds():
    _, reparam = exp_of_scales()
    assert repr(reparam).splitlines()[0] == f"Reparam of dimension {reparam.dim}"
    assert "layers.0.scale: exp" in repr(reparam)
    assert "head.power: frozen" in repr(reparam)
