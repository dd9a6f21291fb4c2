"""Classes whose constructor runs whenever JAX unflattens them."""

import dataclasses
import typing

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bijectree as bt


def registered(change):
    """A dataclass of two arrays whose constructor changes the first."""

    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class Weights:
        w: jax.Array
        b: jax.Array

        def __post_init__(self):
            if hasattr(self.w, "shape") and self.w is not None:
                self.w = change(self.w)

    return Weights


def a_class_of_its_own():
    """A class registered by functions, that sorts."""

    class Sorted:
        def __init__(self, w, b):
            self.w, self.b = w, b

    jax.tree_util.register_pytree_with_keys(
        Sorted,
        lambda x: (
            [(jax.tree_util.GetAttrKey(n), getattr(x, n)) for n in ("w", "b")],
            None,
        ),
        lambda _, children: Sorted(
            np.sort(children[0]) if np.ndim(children[0]) else children[0], children[1]
        ),
    )
    return Sorted


CHANGES = {
    "normalised": lambda w: w / w.sum(),
    "clipped from below": lambda w: np.maximum(w, 1e-6),
    "clipped from above": lambda w: np.minimum(w, 10.0),
    "absolute": abs,
    "centred": lambda w: w - w.mean(),
    "rounded to float16": lambda w: np.asarray(w).astype(np.float16).astype(np.float32),
    "raveled and doubled": lambda w: 2 * w,
}


@pytest.mark.parametrize("name", [*CHANGES, "sorted"])
def test_a_constructor_that_changes_values_is_refused(name):
    cls = a_class_of_its_own() if name == "sorted" else registered(CHANGES[name])
    model = {"layer": cls(jnp.array([0.2, 0.3, 0.5]), jnp.zeros(2))}
    spec = bt.by_path(model, {"layer.w": bt.positive()})
    message = rf"at 'layer\.w': rebuilding the model turns .*JAX rebuilds {cls.__name__}"
    with pytest.raises(ValueError, match=message):
        bt.Reparam(model, spec)


def test_a_constructor_that_asks_for_a_shape_is_refused():
    def three(w):
        if w.shape != (3,):
            raise ValueError("three parts")
        return w

    model = registered(three)(jnp.array([0.2, 0.3, 0.5]), jnp.zeros(2))
    with pytest.raises(ValueError, match="raises ValueError: three parts.*JAX reb"):
        bt.Reparam(model, bt.by_path(model, {"w": bt.simplex()}))


class Pair(typing.NamedTuple):
    w: jax.Array
    b: jax.Array


class Module(eqx.Module):
    """Normalises when it is made, and not when it is unflattened."""

    w: jax.Array
    b: jax.Array

    def __init__(self, w, b):
        self.w, self.b = w / w.sum(), b


@pytest.mark.parametrize("make", [Pair, Module, registered(lambda w: w)])
def test_classes_that_keep_values_are_taken(make):
    model = make(jnp.array([0.2, 0.3, 0.5]), jnp.zeros(2))
    reparam = bt.Reparam(model, bt.by_path(model, {"w": bt.simplex(), "b": bt.frozen}))
    back = reparam.forward(reparam.inverse(model))
    np.testing.assert_allclose(back.w, model.w, rtol=1e-6)


def test_arrays_may_be_converted():
    """A constructor that makes JAX arrays of what it is given changes no value."""
    cls = registered(jnp.asarray)
    model = cls(jnp.array([0.2, 0.3]), jnp.zeros(2))
    assert bt.Reparam(model, bt.by_path(model, {"w": bt.positive()})).dim == 4
