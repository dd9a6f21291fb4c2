"""Parameters and gradients that do not fit."""

import os
import subprocess
import sys

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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda r: (r, optax.adam(0.1)), "expected an optax optimizer, got Reparam"),
        (lambda r: (optax.adam, r), r"got function .*Call it, as in optax.adam"),
        (lambda r: (optax.adam(0.1), {"x": bt.positive()}), "expected a bt.Reparam, got"),
        (lambda r: (optax.adam(0.1), bt.Posterior(r, None)), "Give its `reparam`"),
        (lambda r: (optax.adam(0.1), bt.Reparam), "expected a bt.Reparam, got"),
        (lambda r: (0.1, r), "expected an optax optimizer, got float 0.1"),
        (lambda r: (optax.adam(0.1).init, r), "expected an optax optimizer"),
    ],
)
def test_arguments_in_the_wrong_place(arguments, message):
    reparam = bt.Reparam({"x": jnp.ones(2)}, bt.positive())
    with pytest.raises(TypeError, match=message):
        bt.reparameterize(*arguments(reparam))


AB = {"a": jnp.array(1.0), "b": jnp.array([0.2, 0.3, 0.5])}
GRADS = {"a": jnp.array(1.0), "b": jnp.zeros(3)}


def of(a, b):
    return bt.reparameterize(optax.adam(0.01), bt.Reparam(AB, {"a": a, "b": b}))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((None, bt.frozen), (None, None)),
        ((None, None), (None, bt.frozen)),
        ((None, bt.positive()), (None, bt.simplex())),
        ((None, bt.simplex()), (None, None)),
        ((bt.frozen, bt.positive()), (bt.positive(), bt.positive())),
    ],
)
def test_a_state_of_another_structure_says_carry(old, new):
    state = of(*old).init(AB)
    with pytest.raises(ValueError, match=r"state does not fit.*\n[^$]*bt\.carry"):
        of(*new).update(GRADS, state, AB)


@pytest.mark.parametrize("state", [(), None, optax.adam(0.1).init(AB), AB])
def test_what_is_no_state_says_so(state):
    with pytest.raises(TypeError, match="expected the state that `init` gives"):
        of(None, None).update(GRADS, state, AB)


def shifted_exp(shift):
    return bt.tfb.Chain([bt.tfb.Shift(shift), bt.tfb.Exp()])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (None, bt.positive()),
        (bt.positive(), bt.interval(0.0, 5.0)),
        (bt.positive(), bt.positive(via="softplus")),
        (bt.positive(), bt.tfb.Softplus()),
        (bt.interval(0.0, 5.0), bt.tfb.Chain([bt.tfb.Scale(5.0), bt.tfb.NormalCDF()])),
        (bt.greater_than(0.0), bt.less_than(3.0)),
        (bt.circular(), bt.circular(period=360.0)),
        # the same map with other numbers
        (bt.interval(0.0, 5.0), bt.interval(0.0, 10.0)),
        (bt.greater_than(0.0), bt.greater_than(-1.0)),
        (bt.affine(0.0, 2.0), bt.affine(1.0, 2.0)),
        (bt.tfb.Scale(2.0), bt.tfb.Scale(-3.0)),
        (shifted_exp(0.1), shifted_exp(0.2)),
        (bt.tfb.Softplus(2.0), bt.tfb.Softplus(3.0)),
    ],
    ids=str,
)
def test_a_state_of_another_map_is_inverted_again(old, new):
    """Its free coordinates would put the parameter somewhere else at once."""
    state = of(old, None).init(AB)
    optimizer = of(new, None)
    updates, after = optimizer.update(GRADS, state, AB)
    fresh, expected = optimizer.update(GRADS, optimizer.init(AB), AB)
    np.testing.assert_allclose(updates["a"], fresh["a"], rtol=1e-6)
    np.testing.assert_allclose(after.free["a"], expected.free["a"], rtol=1e-6)


def test_a_map_has_one_fingerprint_in_every_process():
    """A state that was saved goes on bit for bit, whatever the hash seed."""
    code = (
        "import bijectree as bt, jax.numpy as jnp, optax\n"
        "model = {'a': jnp.ones(()), 'b': jnp.full(3, 1 / 3), 'c': jnp.eye(2)}\n"
        "spec = {'a': bt.tfb.Chain([bt.tfb.Shift(0.1), bt.tfb.Softplus()]),\n"
        "    'b': bt.simplex(), 'c': bt.tfb.FillScaleTriL()}\n"
        "optimizer = bt.reparameterize(optax.sgd(1.0), bt.Reparam(model, spec))\n"
        "print(optimizer.init(model).fingerprints)\n"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


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
