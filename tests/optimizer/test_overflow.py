"""Steps so long that the map overflows, and the way back from there."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import bijectree as bt
from bijectree import tfb

pytestmark = pytest.mark.jax_defaults  # optax promotes dtypes

CASES = {
    "positive": (lambda: bt.positive(), 1.0),
    "softplus": (lambda: bt.positive(via="softplus"), 1.0),
    "greater_than": (lambda: bt.greater_than(2.0), 3.0),
    "less_than": (lambda: bt.less_than(3.0), 1.0),
    "exp": (lambda: tfb.Exp(), 1.0),
    "expm1": (lambda: tfb.Expm1(), 1.0),
    "twice": (lambda: tfb.Chain([tfb.Square(), tfb.Exp()]), 1.0),
    "ordered": (lambda: bt.ordered_vector(), [1.0, 2.0, 3.0]),
    "positive_ordered": (lambda: bt.positive_ordered_vector(), [1.0, 2.0, 3.0]),
    "cholesky": (lambda: bt.lower_cholesky(), [[1.0, 0.0], [0.5, 1.0]]),
    "covariance": (lambda: bt.positive_definite(), [[2.0, 0.5], [0.5, 1.0]]),
}
INNER = {
    "sgd": lambda: optax.sgd(1.0),
    "momentum": lambda: optax.sgd(1.0, momentum=0.9),
    "adam": lambda: optax.adam(50.0),
}


def follow(optimizer, params: Any, gradients: list[float]) -> list[Any]:
    """The parameters and states after each of some gradients, alike for all entries."""
    update, state, found = jax.jit(optimizer.update), optimizer.init(params), []
    for value in gradients:
        grads = jax.tree.map(lambda x, value=value: jnp.full_like(x, value), params)
        updates, state = update(grads, state, params)
        params = optax.apply_updates(params, updates)
        found.append((params, state))
    return found


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bf16"])
@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("name", CASES)
def test_all_that_a_long_step_leaves_is_inside(name, inner, dtype):
    make, value = CASES[name]
    params = {"x": jnp.asarray(value, dtype)}
    reparam = bt.Reparam(params, {"x": make()})
    optimizer = bt.reparameterize(INNER[inner](), reparam)
    gradients = [-100.0, 100.0, 1.0, 1.0, -1.0, 1.0]
    for step, (found, state) in enumerate(follow(optimizer, params, gradients)):
        reparam.inverse(found)  # raises where that is outside
        assert np.all(np.isfinite(np.asarray(state.free["x"], np.float64))), step


def test_the_largest_number_inside_and_back(precision):
    params = {"x": jnp.asarray(1.0, precision)}
    reparam = bt.Reparam(params, bt.positive())
    optimizer = bt.reparameterize(optax.sgd(1.0), reparam)
    largest = float(np.finfo(precision).max)
    (up, state), (down, after), *_, (last, _) = follow(
        optimizer, params, [-1000.0, 1000.0] + [0.0] * 60
    )
    assert state.free["x"] == 1000.0
    assert 0.9999 * largest < up["x"] < largest
    assert np.isfinite(reparam.inverse(up)["x"])
    # The gradient there is bounded, and no square of it overflows.
    assert np.isfinite(after.free["x"] ** 2)
    assert 0 < last["x"] < down["x"] < up["x"]
    np.testing.assert_allclose(last["x"], np.finfo(precision).tiny, rtol=1e-6)
    reparam.inverse(last)


@pytest.mark.parametrize(
    ("bijector", "start", "edge"),
    [
        (bt.positive(), 1000.0, 0.0),
        (bt.greater_than(5.0), 1e9, 5.0),
        (bt.less_than(-2.0), -1e9, -2.0),
        (bt.interval(-1.0, 1e6), 5e5, -1.0),
        (tfb.Softplus(), 1000.0, 0.0),
    ],
    ids=["positive", "greater_than", "less_than", "interval", "softplus"],
)
def test_a_number_far_off_comes_to_the_edge_by_later_sums(
    bijector, start, edge, precision
):
    params = {"x": jnp.asarray(start, precision)}
    optimizer = bt.reparameterize(optax.sgd(1.0), bt.Reparam(params, bijector))
    state = optimizer.init(params)
    state = state._replace(free={"x": state.free["x"] - 4000})
    zeros = {"x": jnp.zeros((), precision)}
    update = jax.jit(optimizer.update)
    for _ in range(80):
        updates, state = update(zeros, state, params)
        params = optax.apply_updates(params, updates)
        assert state.free["x"] < -2900  # carried as it was
    inside = np.nextafter(np.asarray(edge, precision), np.asarray(start, precision))
    assert params["x"] == (np.finfo(precision).tiny if edge == 0 else inside)
    updates, _ = update(zeros, state, params)
    assert updates["x"] == 0
    assert np.signbit(updates["x"])
