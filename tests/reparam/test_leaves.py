"""What is given to a Reparam in the place of a model or of free coordinates."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bijectree as bt


class Law(eqx.Module):
    scale: jax.Array
    parts: jax.Array
    count: jax.Array
    held: jax.Array
    name: str
    activation: object


def law():
    return Law(
        jnp.array(2.0),
        jnp.array([0.2, 0.3, 0.5]),
        jnp.arange(3),
        jnp.array(7.0),
        "law",
        jax.nn.relu,
    )


def bound(model):
    spec = {"scale": bt.positive(), "parts": bt.simplex(), "held": bt.frozen}
    return bt.Reparam(model, bt.by_path(model, spec))


WITHOUT = {
    "eqx.partition": lambda m: eqx.partition(m, eqx.is_inexact_array)[0],
    "eqx.filter": lambda m: eqx.filter(m, eqx.is_array),
    "one integer leaf": lambda m: eqx.tree_at(lambda m: m.count, m, None),
    "one frozen leaf": lambda m: eqx.tree_at(lambda m: m.held, m, None),
    "a string and a function": lambda m: eqx.tree_at(
        lambda m: (m.name, m.activation), m, (None, None)
    ),
    "all without coordinates": lambda m: eqx.tree_at(
        lambda m: (m.count, m.held, m.name, m.activation), m, (None,) * 4
    ),
}


@pytest.mark.parametrize("name", WITHOUT)
def test_what_has_no_coordinates_may_be_none(name):
    model = law()
    reparam, part = bound(model), WITHOUT[name](model)
    free = reparam.inverse(part)
    assert eqx.tree_equal(free, reparam.inverse(model))
    assert eqx.tree_equal(reparam.forward(free), reparam.forward(reparam.inverse(model)))
    log_det = reparam.inverse_log_det_jacobian(model)
    np.testing.assert_allclose(reparam.inverse_log_det_jacobian(part), log_det)
    assert eqx.tree_equal(reparam.error_if_outside(part), part)
    assert bt.check(reparam, part).ok
    assert str(bt.summary(reparam, part)) == str(bt.summary(reparam, model))
    posterior = bt.Posterior(
        reparam, None, prior=bt.by_path(model, {"scale": bt.tfd.Gamma(2.0, 1.0)})
    )
    np.testing.assert_allclose(posterior.log_prior(part), posterior.log_prior(model))


def test_a_value_outside_its_support_is_seen_in_a_part_too():
    model = eqx.tree_at(lambda m: (m.scale, m.held), law(), (jnp.array(-1.0), None))
    with pytest.raises(bt.SupportError, match="at 'scale': got -1"):
        bound(law()).inverse(model)


def test_none_where_there_are_coordinates_is_an_error():
    model = eqx.tree_at(lambda m: (m.scale, m.held), law(), (None, None))
    with pytest.raises(
        ValueError, match=r"at 'scale': got None, expected a float32"
    ) as e:
        bound(law()).inverse(model)
    assert "held" not in str(e.value)


def test_none_has_no_value_where_only_shapes_were_bound():
    reparam = bound(jax.eval_shape(lambda m: m, eqx.filter(law(), eqx.is_array)))
    part = eqx.filter(law(), eqx.is_inexact_array)
    with pytest.raises(ValueError, match="at 'count': got None, expected a int32"):
        reparam.inverse(part)


SIMPLEX = {"a": jnp.array(1.0), "b": jnp.array([0.2, 0.3, 0.5])}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r, m: r.inverse(r.inverse(m)), "look like free coordinates.*`forward`"),
        (lambda r, m: r.error_if_outside(r.inverse(m)), "look like free coordinates"),
        (lambda r, m: r.forward(m), "looks like a model.*`inverse`"),
        (lambda r, m: r.ravel(m), "looks like a model"),
        (lambda r, m: r.forward_log_det_jacobian(m), "looks like a model"),
        (lambda r, m: r.forward(r.ravel(r.inverse(m))), "one vector; `unravel`"),
        (
            lambda r, m: r.inverse(jax.tree.map(lambda x: jnp.stack([x, x]), m)),
            "a batch.*vmap",
        ),
        (
            lambda r, m: r.forward(
                jax.tree.map(lambda x: jnp.stack([x, x]), r.inverse(m))
            ),
            "a batch.*vmap",
        ),
    ],
)
def test_what_belongs_elsewhere_says_where(call, message):
    reparam = bt.Reparam(SIMPLEX, {"a": bt.positive(), "b": bt.simplex()})
    with pytest.raises(ValueError, match=message):
        call(reparam, SIMPLEX)


def test_other_shapes_are_no_batch():
    reparam = bt.Reparam(SIMPLEX, {"a": bt.positive(), "b": bt.simplex()})
    with pytest.raises(ValueError, match="expected shape") as error:
        reparam.inverse({"a": jnp.ones(4), "b": jnp.ones((2, 3))})
    assert "vmap" not in str(error.value)
