"""What other packages do and we live with, as `docs/traps.md` says it was measured."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import bijectree as bt
from bijectree import tfb, tfd

pytestmark = [
    pytest.mark.jax_defaults,  # optax and TFP promote dtypes and ranks themselves
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def test_a_power_that_is_no_leaf_is_not_mistaken_for_another():
    model = {"x": jnp.array(1.5)}
    forward = jax.jit(lambda reparam, free: reparam.forward(free)["x"])
    for power in (0.0, 1.0, 2.0):
        bijector = tfb.Chain([tfb.Invert(tfb.PowerTransform(power)), tfb.Exp()])
        reparam = bt.Reparam(model, bijector)
        y = np.exp(0.3)
        due = (y**power - 1) / power if power else np.log(y)
        got = forward(reparam, {"x": jnp.array(0.3)})
        np.testing.assert_allclose(got, due, rtol=1e-5)


@pytest.mark.parametrize("spec", [bt.positive(), tfb.Scale(2.0), tfb.Softplus(0.5)])
def test_a_reparam_is_an_argument_of_lowered_and_exported_functions(spec):
    reparam = bt.Reparam({"x": jnp.ones(2)}, spec)
    free = reparam.inverse({"x": jnp.ones(2)})
    lowered = jax.jit(lambda r, f: r.forward(f)["x"]).lower(reparam, free)
    np.testing.assert_allclose(lowered.compile()(reparam, free), 1.0, rtol=1e-6)
    exported = jax.export.export(jax.jit(lambda f: reparam.forward(f)["x"]))(free)
    np.testing.assert_allclose(exported.call(free), 1.0, rtol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_gradients_accumulated_in_float32_leave_half_precision_as_it_is(steps):
    params = {"x": jnp.full(2, 0.5, jnp.bfloat16)}
    inside = bt.reparameterize(optax.sgd(0.1), bt.Reparam(params, bt.unit_interval()))
    optimizer = optax.MultiSteps(inside, steps)
    state = optimizer.init(params)
    for _ in range(2 * steps):
        grads = {"x": jnp.full(2, -4.0, jnp.bfloat16)}
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    assert params["x"].dtype == jnp.bfloat16
    assert jnp.all((params["x"] > 0.5) & (params["x"] < 1))


def test_draws_in_bfloat16_have_a_mean_in_arviz():
    model = {"x": jnp.zeros(2, jnp.bfloat16), "y": jnp.ones((), jnp.float16)}
    reparam = bt.Reparam(model, {"x": None, "y": bt.positive()})
    posterior = bt.Posterior(reparam, None, tfd.Normal(0.0, 1.0), verify=False)
    vectors = jax.random.normal(jax.random.key(0), (2, 10, 3))
    found = bt.Draws(posterior, vectors).to_arviz()["posterior"]
    for name in ("x", "y"):
        assert found[name].dtype == np.float32
        assert np.isfinite(found[name].mean())


@pytest.mark.parametrize("size", [1, 2, 5])
def test_ascending_is_the_cumulated_exponential(size):
    y = jnp.linspace(-1.0, 2.0, size)
    due = y[0] + np.concatenate([[0.0], np.cumsum(np.exp(y[1:]))])
    for spec in (tfb.Ascending(), bt.ordered_vector()):
        reparam = bt.Reparam({"x": jnp.arange(float(size))}, spec)
        np.testing.assert_allclose(reparam.forward({"x": y})["x"], due, rtol=1e-6)


@pytest.mark.parametrize("value", [5.5625, 6.0, 20.0, 80.0])
def test_a_leaf_in_bfloat16_stays_below_1_where_a_sigmoid_is_1(value):
    assert jax.nn.sigmoid(jnp.bfloat16(value)) == 1
    params = {"x": jnp.array(0.5, jnp.bfloat16)}
    optimizer = bt.reparameterize(optax.sgd(1.0), bt.Reparam(params, tfb.Sigmoid()))
    state = optimizer.init(params)
    grads = {"x": jnp.array(-4 * value, jnp.bfloat16)}
    updates, state = optimizer.update(grads, state, params)
    assert 0.9 < optax.apply_updates(params, updates)["x"] < 1
