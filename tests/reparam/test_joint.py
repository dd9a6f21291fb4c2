"""`joint`: one bijector over several leaves."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import law
import models
import numpy as np
import pytest
from jaxtyping import Array
from together import Masked, flow

import bijectree as bt
from bijectree import tfb, tfd

# Joint.


def three_modules() -> dict[str, Any]:
    cuts = zip((-1.0, 0.5, 2.0), (1.0, 2.0, 3.0), strict=True)
    return {
        name: models.Layer(jnp.array(scale), jnp.array(cut))
        for name, (cut, scale) in zip(("z", "m", "a"), cuts, strict=True)
    }


def test_ordered_across_fields_in_the_order_of_over():
    model = three_modules()  # a dict flattens by sorted key: a, m, z
    cut = bt.joint(bt.ordered_vector(), over=("z.shift", "m.shift", "a.shift"))
    reparam = bt.Reparam(model, bt.by_path(model, {"**.shift": cut}))
    free = reparam.inverse(model)
    # At the place of the first leaf of the model; the others have none of their own.
    np.testing.assert_allclose(free["a"].shift, [-1.0, np.log(1.5), np.log(1.5)])
    assert free["m"].shift is free["z"].shift is None
    assert reparam.labels == ["a.scale", "z.shift", "m.shift", "a.shift", "m.scale"] + [
        "z.scale"
    ]
    moved = jax.tree.map(lambda x: x + 3.0, free)
    back = reparam.forward(moved)
    assert back["z"].shift < back["m"].shift < back["a"].shift
    bad = eqx.tree_at(lambda m: m["z"].shift, model, jnp.array(1.0))
    with pytest.raises(bt.SupportError, match=r"'z.shift', 'm.shift', 'a.shift': got \["):
        reparam.inverse(bad)
    with pytest.raises(RuntimeError, match="'z.shift', 'm.shift', 'a.shift'"):
        jax.block_until_ready(eqx.filter_jit(reparam.error_if_outside)(bad)["a"].shift)


def test_one_joint_object_is_one_joint_wherever_it_stands():
    model = three_modules()
    one = bt.joint(bt.ordered_vector())
    spec = bt.by_path(model, {"**.scale": one})
    assert [x for x in jax.tree.leaves(spec, is_leaf=lambda x: x is one)] == [one] * 3
    reparam = bt.Reparam(jax.tree.map(lambda x: -x, model), spec)
    assert sum("joint" in line for line in repr(reparam).splitlines()) == 3
    # Two objects are two joints.
    two = {name: models.Layer(bt.joint(tfb.Exp()), None) for name in model}
    free = bt.Reparam(model, two).inverse(model)
    assert [free[name].scale.shape for name in "amz"] == [(1,)] * 3


def test_over_is_from_the_root_and_leaves_it_does_not_name_are_on_their_own():
    model = {"x": {"a": jnp.array([1.0, 2.0]), "b": jnp.array(3.0)}, "y": jnp.ones(2)}
    spec = {"x": bt.joint(tfb.Exp(), over=("y", "x.b")), "y": None}
    reparam = bt.Reparam(model, spec)
    assert reparam.labels == ["x.a.0", "x.a.1", "y.0", "y.1", "x.b"]
    np.testing.assert_array_equal(reparam.inverse(model)["x"]["a"], model["x"]["a"])
    # It may stand anywhere, even where another joint's leaves are.
    a, b = (bt.joint(tfb.Exp(), over=path) for path in ("y", "x.*"))
    reparam = bt.Reparam(model, {"x": a, "y": b})
    assert reparam.labels == ["x.a.0", "x.a.1", "x.b", "y.0", "y.1"]


def test_members_keep_their_dtypes():
    with jax.enable_x64(True):
        dtypes = (jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64)
        model = [jnp.asarray([i + 1.0], dtype) for i, dtype in enumerate(dtypes)]
        reparam = bt.Reparam(model, bt.joint(bt.ordered_vector()))
        free = reparam.inverse(model)
        assert free[0].dtype == jnp.float64
        back, log_det = reparam.forward_and_log_det(free)
        assert [x.dtype for x in back] == list(dtypes)
        np.testing.assert_allclose([float(x[0]) for x in back], [1, 2, 3, 4], rtol=1e-3)
        assert log_det.dtype == jnp.float64


def test_leaves_that_are_no_arrays_of_floats_are_passed_over():
    model = {"a": jnp.array(1.0), "f": jnp.tanh, "n": jnp.arange(2), "z": jnp.array(2.0)}
    for spec in (
        bt.joint(tfb.Exp()),
        bt.joint(tfb.Exp(), over="**"),
    ):
        assert bt.Reparam(model, spec).labels == ["a", "z"]


@pytest.mark.parametrize("count", [17, 256, 300])
def test_a_joint_over_many_leaves(count, getkey):
    model = [jnp.full(i % 3, i, jnp.float32) for i in range(count)]
    reparam = bt.Reparam(model, bt.joint(tfb.Scale(2.0)))
    free = reparam.inverse(model)
    assert eqx.tree_equal(reparam.forward(free), model)
    vector = jax.random.normal(getkey(), (reparam.dim,))

    def loss(vector: Array) -> Array:
        return sum(jnp.sum(x**2) for x in reparam.forward(reparam.unravel(vector))[-9:])

    if count == 17:
        slope = np.concatenate([np.zeros(reparam.dim - 9), np.full(9, 8.0)]) * vector
        np.testing.assert_allclose(jax.grad(loss)(vector), slope, rtol=1e-6)
        np.testing.assert_allclose(jax.vmap(jax.jacfwd(loss))(vector[None])[0], slope)


def test_a_simplex_over_four_fields_integrates_to_one():
    concentration = np.array([2.0, 3.0, 2.5, 4.0])
    with jax.enable_x64(True):
        model = {name: jnp.array(0.25) for name in "abcd"}
        reparam = bt.Reparam(model, bt.joint(bt.simplex(), over=tuple("cadb")))
        assert reparam.labels == ["c+a+d+b.0", "c+a+d+b.1", "c+a+d+b.2"]

        def prior(model: Any) -> Array:
            parts = jnp.stack([model[name] for name in "abcd"])
            return tfd.Dirichlet(concentration).log_prob(parts)

        flat = bt.Posterior(reparam, None, prior=prior).flat()
        side = jnp.linspace(-9.0, 9.0, 61)
        grid = jnp.stack(jnp.meshgrid(side, side, side), axis=-1).reshape(-1, 3)
        with jax.numpy_rank_promotion("allow"):
            density = jnp.exp(jax.jit(jax.vmap(flat.log_density))(grid))
        total = density.sum() * (side[1] - side[0]) ** 3
    assert total == pytest.approx(1.0, abs=1e-4)


def test_an_autoregressive_flow_is_trained_through_its_numbers(getkey):
    model, _ = flow(jnp.float32)
    masked = Masked(6, jnp.float32)

    @eqx.filter_jit
    def loss(conditioner: Masked, vector: Array) -> Array:
        inner = tfb.Invert(tfb.MaskedAutoregressiveFlow(conditioner))
        reparam = bt.Reparam(model, bt.joint(inner))
        return -reparam.forward_log_det_jacobian(reparam.unravel(vector))

    vector = jax.random.normal(getkey(), (6,))
    gradient = eqx.filter_grad(loss)(masked, vector)
    step = jax.tree.map(lambda w, g: w - 1e-2 * g, masked, gradient)
    assert loss(step, vector) < loss(masked, vector)
    # The log-det of a map that is made for its inverse.
    reparam = bt.Reparam(model, None).then(tfb.MaskedAutoregressiveFlow(masked))
    forward = lambda x: reparam.ravel(reparam.forward(reparam.unravel(x)))  # noqa: E731
    got = reparam.forward_log_det_jacobian(reparam.unravel(vector))
    expected = law.autodiff_log_det(forward, vector)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
