"""The flow's bijector, with weights that do something."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from law import assert_bijector

from bijectree.learned.flow import Flow, Weights, masked, new_weights
from bijectree.substrate.number import Number

# A bijector that is called by itself promotes ranks; within a Reparam that is seen to.
defaults = pytest.mark.jax_defaults


def some_flow(kind, dim, layers, seed=0):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(
        lambda: new_weights(jax.random.key(0), dim, layers, 7, np.float32)
    )
    weights = [Number(0.3 * rng.normal(size=x.shape)) for x in shapes]
    return Flow(tuple(weights), kind)


@pytest.mark.parametrize(
    ("dim", "layers"),
    [(5, 3), *(pytest.param(n, n, marks=pytest.mark.slow) for n in (1, 2))],
)
@pytest.mark.parametrize("kind", ["autoregressive", "coupling"])
def test_the_bijector_keeps_the_law(kind, dim, layers, precision, getkey):
    assert_bijector(some_flow(kind, dim, layers), (dim,), precision, getkey())


@defaults
@pytest.mark.parametrize("kind", ["autoregressive", "coupling"])
def test_the_inverse_of_a_steep_layer(kind):
    """What is not settled yet overflows, which a weight of zero would make NaN."""
    flow = some_flow(kind, 6, 1)
    flow = Flow((*flow.weights[:-1], Number(30.0 * flow.weights[-1].value)), kind)
    z = jnp.array([1.0, -2.0, 0.5, 1.5, -1.0, 2.0])
    with jax.enable_x64(True):
        z = z.astype("float64")
        np.testing.assert_allclose(flow.inverse(flow.forward(z) + 0), z, rtol=1e-6)


@defaults
@pytest.mark.parametrize("kind", ["autoregressive", "coupling"])
def test_one_layer_is_triangular(kind):
    flow = some_flow(kind, 6, 1)
    jacobian = np.asarray(jax.jacobian(flow.forward)(jnp.arange(6.0) / 6))[::-1]
    np.testing.assert_array_equal(np.triu(jacobian, 1), 0)
    assert (np.abs(np.tril(jacobian, -1)).sum(axis=1)[3:] > 0).all()
    if kind == "coupling":
        np.testing.assert_array_equal(jacobian[:3], np.eye(3, 6))


@defaults
def test_new_weights_reverse_and_do_nothing_else():
    weights = new_weights(jax.random.key(0), 4, 3, 8, jnp.float32)
    flow = Flow(tuple(Number(np.asarray(x)) for x in weights), "autoregressive")
    x = jnp.arange(4.0)
    np.testing.assert_array_equal(flow.forward(x), x[::-1])


@defaults
def test_masks_are_kept_by_masking():
    weights = Weights(
        *(jnp.ones(s) for s in ((2, 5, 3), (2, 5), (2, 2, 3, 5), (2, 2, 3), (2, 2, 3, 3)))
    )
    once = masked(weights, "autoregressive")
    twice = masked(once, "autoregressive")
    for one, two in zip(once, twice, strict=True):
        np.testing.assert_array_equal(one, two)
