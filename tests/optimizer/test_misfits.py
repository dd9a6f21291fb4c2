"""Parameters and gradients that do not fit."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optimizing import bind, loss, model, together

import bijectree as bt

pytestmark = pytest.mark.jax_defaults  # optax promotes dtypes


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
