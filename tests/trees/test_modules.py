"""Modules that hold more than their fields, as a `cached_property` leaves them."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import pytest

import bijectree as bt
from bijectree.trees import fields_only


class Pose(eqx.Module):
    angle: jax.Array
    unit: str = "degree"
    order: int = eqx.field(static=True, default=2)

    @functools.cached_property
    def turns(self) -> jax.Array:
        return self.angle / 360


class Tilt(eqx.Module):
    name: str

    @functools.cached_property
    def title(self) -> str:
        return self.name.title()


class Microscope(eqx.Module):
    pose: Pose
    poses: list[Any]
    scale: jax.Array
    function: Any
    tilt: Tilt = eqx.field(static=True)


FUNCTION = eqx.filter_jit(jnp.sin)  # a module that has the name of what it wraps
NODES = {
    "pose": lambda m: m.pose.turns,
    "list": lambda m: m.poses[0].turns,
    "dict in list": lambda m: m.poses[1]["q"].turns,
    "static": lambda m: m.tilt.title,
}
# Which nodes were looked at before binding, and which before use.
TOUCHED = [
    ((), ("pose",)),
    (("pose",), ()),
    (("list", "dict in list"), ("pose", "list")),
    ((), ("static",)),
    (tuple(NODES), ("static",)),
]


def microscope(touched=()) -> Microscope:
    model = Microscope(
        pose=Pose(jnp.array(1.0)),
        poses=[Pose(jnp.array(3.0)), {"q": Pose(jnp.array(4.0), "radian")}],
        scale=jnp.array(2.0),
        function=FUNCTION,
        tilt=Tilt("none"),
    )
    for node in touched:
        NODES[node](model)
    return model


def bound(touched=()) -> bt.Reparam:
    model = microscope(touched)
    return bt.Reparam(model, bt.by_path(model, {"scale": bt.positive()}))


@pytest.mark.parametrize(("there", "here"), TOUCHED, ids=str)
def test_a_looked_at_property_is_no_difference(there, here):
    reparam, model = bound(there), microscope(here)
    free = reparam.inverse(model)
    assert jnp.isclose(free.scale, jnp.log(2.0))
    again = reparam.forward(free, like=model)
    assert jax.tree.structure(again) == jax.tree.structure(microscope())
    assert again.poses[1]["q"].unit == "radian"
    assert bt.summary(reparam, model) == bt.summary(bound(), microscope())
    returned = reparam.error_if_outside(model)
    assert jax.tree.structure(returned) == jax.tree.structure(model)
    assert jnp.isclose(eqx.filter_jit(reparam.inverse)(model).scale, free.scale)


def test_check_and_find_map_take_a_looked_at_model():
    reparam, model = bound(), microscope(("pose",))
    assert bt.check(reparam, model).ok
    prior = bt.by_path(microscope(("list",)), {"scale": bt.tfd.Gamma(3.0, 2.0)})
    posterior = bt.Posterior(
        reparam, lambda m: -sum(p**2 for p in (m.pose.angle, m.poses[0].angle)), prior
    )
    model = eqx.tree_at(lambda m: m.poses[1]["q"].angle, model, jnp.array(0.0))
    with pytest.warns(UserWarning, match=r"poses.1.q.angle"):
        posterior.initial(jax.random.key(0), start=model)


def test_binding_again_with_a_looked_at_model_does_not_compile_again():
    compiled = []

    @eqx.filter_jit
    def dimension(reparam: bt.Reparam) -> Any:
        compiled.append(1)
        return reparam.forward_log_det_jacobian(reparam.unravel(jnp.zeros(reparam.dim)))

    dimension(bound())
    dimension(bound(("pose", "list")))
    assert len(compiled) == 1


PARTS = {
    "all": lambda m: m,
    "arrays": lambda m: eqx.filter(m, eqx.is_inexact_array),
    "one leaf": lambda m: eqx.filter(m, lambda x: x is m.scale),
}


@pytest.mark.parametrize(("first", "later"), TOUCHED[:3], ids=str)
@pytest.mark.parametrize("part", PARTS)
def test_an_optimizer_takes_a_looked_at_model(part, first, later):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        optimizer = bt.reparameterize(optax.adam(0.1), bound())
        state = optimizer.init(PARTS[part](microscope(first)))
        params = PARTS[part](microscope(later))
        grads = eqx.filter_grad(lambda p: p.scale**2)(params)
        updates, new_state = optimizer.update(grads, state, params)
        moved = eqx.apply_updates(params, updates)
    assert jnp.isclose(moved.scale, 2 * jnp.exp(-0.1))
    assert jax.tree.structure(moved) == jax.tree.structure(params)
    assert jax.tree.structure(state) == jax.tree.structure(new_state)


def test_what_is_no_field_goes_and_all_else_stays():
    model = microscope(tuple(NODES))
    bare = fields_only(model)
    assert jax.tree.structure(bare) == jax.tree.structure(microscope())
    assert "turns" not in vars(bare.pose)
    assert "turns" in vars(model.pose)
    assert bare.pose.angle is model.pose.angle
    assert bare.function.__name__ == "sin"
    # Equinox's own copy of such a module holds sentinels in place of a wrapped name.
    copy = jax.tree.map(lambda x: x, model)
    assert jax.tree.structure(fields_only(copy)) == jax.tree.structure(microscope())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda m: eqx.tree_at(lambda m: m.pose, m, Pose(m.pose.angle, order=4)),
            "at 'pose': the static field 'order' is int 4, expected int 2",
        ),
        (
            lambda m: eqx.tree_at(lambda m: m.pose.angle, m, None),
            r"at 'pose.angle': got None, expected a float32 array of shape \(\)",
        ),
        (
            lambda m: eqx.tree_at(
                lambda m: m.poses, m, (m.poses[0], m.poses[1]), is_leaf=lambda x: False
            ),
            "at 'poses': got tuple.*, the model has list",
        ),
    ],
    ids=["static field", "None for an array", "tuple for list"],
)
@pytest.mark.parametrize("touched", [(), ("dict in list",)], ids=str)
def test_any_other_difference_names_the_node_and_both_sides(change, message, touched):
    with pytest.raises(ValueError, match=message):
        bound().inverse(change(microscope(touched)))
