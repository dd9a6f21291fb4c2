"""`tied`: leaves that follow others."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import Array
from together import twice

import bijectree as bt

# Tied.


class Words(eqx.Module):
    embedding: Array
    hidden: eqx.nn.Linear
    head: Array

    def __call__(self, index: Array) -> Array:
        x = jnp.tanh(self.hidden(self.embedding[index]))
        return self.head.T @ x


def test_a_tied_embedding_and_head_are_trained_together(getkey):
    embedding = 0.1 * jax.random.normal(getkey(), (5, 3))
    hidden = eqx.nn.Linear(3, 3, key=getkey())
    model = Words(embedding, hidden, embedding.T)
    spec = bt.by_path(model, {"head": bt.tied("embedding", jnp.transpose)})
    reparam = bt.Reparam(model, spec)
    assert reparam.dim == 5 * 3 + 3 * 3 + 3
    assert not any(label.startswith("head") for label in reparam.labels)

    def loss(model: Words, data: Array) -> Array:
        scores = jax.vmap(model)(data)
        return optax.softmax_cross_entropy_with_integer_labels(scores, data).mean()

    data = jnp.arange(5)
    free = reparam.inverse(model)
    both = eqx.filter_grad(loss)(model, data)
    gradient = jax.grad(reparam.compose(loss))(free, data)
    expected = both.embedding + both.head.T
    np.testing.assert_allclose(gradient.embedding, expected, rtol=1e-4, atol=1e-6)

    optimizer = optax.adamw(0.1)
    with jax.numpy_dtype_promotion("standard"):

        @jax.jit
        def step(free: Any, state: Any) -> tuple[Any, Any]:
            gradient = jax.grad(reparam.compose(loss))(free, data)
            updates, state = optimizer.update(gradient, state, free)
            return optax.apply_updates(free, updates), state

        state = optimizer.init(free)
        for _ in range(60):
            free, state = step(free, state)
    trained = reparam.forward(free)
    np.testing.assert_array_equal(trained.head, trained.embedding.T)
    assert loss(trained, data) < 0.5 * loss(model, data)


@pytest.mark.jax_defaults
def test_the_adapter_moves_both_ends_of_a_tie(getkey):
    model = {"a": jax.random.normal(getkey(), (3, 2)), "s": jnp.array(1.0)}
    model["b"] = model["a"].T
    spec = {"a": None, "b": bt.tied("a", jnp.transpose), "s": bt.positive()}
    reparam = bt.Reparam(model, spec)
    plain = optax.adamw(1e-2, weight_decay=0.1)
    optimizer = bt.reparameterize(plain, reparam)

    def loss(model: Any) -> Array:
        return jnp.sum(model["a"] @ model["b"]) ** 2 + jnp.sum(model["a"] - model["s"])

    @jax.jit
    def step(params: Any, state: Any, free: Any, inner: Any) -> Any:
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        gradient = jax.grad(reparam.compose(loss))(free)
        moves, inner = plain.update(gradient, inner, free)
        params = optax.apply_updates(params, updates)
        return params, state, optax.apply_updates(free, moves), inner

    params, state = model, optimizer.init(model)
    free = reparam.inverse(model)
    inner = plain.init(free)
    for _ in range(5):
        params, state, free, inner = step(params, state, free, inner)
    np.testing.assert_allclose(params["b"], params["a"].T, rtol=1e-6)
    expected = reparam.forward(free)
    for name in model:
        np.testing.assert_allclose(params[name], expected[name], rtol=1e-5)


def test_tied_leaves_must_agree():
    model = {"a": jnp.array([1.0, 2.0]), "b": jnp.array([2.0, 4.0])}
    reparam = bt.Reparam(model, {"a": bt.positive(), "b": bt.tied("a", twice)})
    assert reparam.labels == ["a.0", "a.1"]
    back = reparam.forward(reparam.inverse(model))
    np.testing.assert_allclose(back["b"], model["b"], rtol=1e-6)
    other = model | {"b": jnp.array([2.0, 5.0])}
    for check in (reparam.inverse, reparam.error_if_outside):
        with pytest.raises(ValueError, match="tied leaves disagree") as caught:
            check(other)
        assert "'b' is [2., 5.], but 'a', to which it is tied" in str(caught.value)
    # Rounding, as a function that is compiled elsewhere may have it, is no difference.
    model["b"] = jnp.nextafter(model["b"], jnp.full(2, 9.0))
    reparam.inverse(model)


def test_a_leaf_tied_to_a_frozen_one_is_frozen():
    model = {"a": jnp.array(1.0), "b": jnp.array(2.0), "c": jnp.array(2.0)}
    spec = {"a": bt.frozen, "b": bt.tied("a", twice), "c": bt.tied("b")}
    reparam = bt.Reparam(model, spec)
    assert reparam.dim == 0
    assert reparam.forward(reparam.inverse(model))["c"] is model["c"]
    with pytest.raises(ValueError, match="does not fit") as caught:
        bt.Reparam(model | {"c": jnp.array(3.0)}, spec)
    text = str(caught.value)
    assert "'c' is 3., but 'b', to which it is tied, makes it 2." in text
    shapes = jax.eval_shape(lambda: model)
    assert bt.Reparam(shapes, spec).dim == 0
