"""Models that read something beside their arguments, which changes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.infer.reparam import LocScaleReparam
from numpyro.infer.util import log_density

import bijectree as bt

pytestmark = pytest.mark.jax_defaults  # NumPyro promotes dtypes and ranks itself

Y = np.arange(5.0)


def with_rule(c):
    @jax.custom_jvp
    def same(x):
        return x * 1.0

    same.defjvp(lambda x, t: (x[0] * 1.0, t[0] * c))
    return same


def with_reverse_rule(c):
    @jax.custom_vjp
    def same(x):
        return x * 1.0

    same.defvjp(lambda x: (x * 1.0, None), lambda _, t: (t * c,))
    return same


def called_outside(c):
    def add(x):
        shape = jax.ShapeDtypeStruct((), jnp.result_type(x))
        found = jax.pure_callback(
            lambda x: np.asarray(x * 0 + c, x.dtype),
            shape,
            jax.lax.stop_gradient(x),
            vmap_method="sequential",
        )
        return x + found

    return add


@pytest.mark.parametrize("make", [with_rule, with_reverse_rule, called_outside])
def test_what_a_function_closes_over_tells_programs_apart(make):
    @eqx.filter_jit
    def found(posterior):
        flat = posterior.flat()
        return jax.value_and_grad(flat.log_density)(jnp.array([0.5]))

    for c in (1.0, 30.0):

        def model(c=c):
            m = numpyro.sample("m", dist.Normal(0.0, 1.0))
            numpyro.factor("f", jnp.sin(make(c)(m)))

        value, slope = found(bt.from_numpyro(model))
        due, due_slope = jax.value_and_grad(
            lambda m, model=model: log_density(model, (), {}, {"m": m})[0]
        )(jnp.array(0.5))
        np.testing.assert_allclose(value, due, rtol=1e-5)
        np.testing.assert_allclose(slope[0], due_slope, rtol=1e-5)


def test_equal_models_with_rules_of_libraries_compile_once():
    traces = []

    @eqx.filter_jit
    def found(posterior):
        traces.append(None)
        return posterior.flat().log_density(jnp.array([0.5]))

    def model(y):
        m = numpyro.sample("m", dist.Normal(0.0, 1.0))
        both = jnp.stack([jax.nn.softplus(m), jax.nn.relu(m)])
        numpyro.factor("f", jax.scipy.special.logsumexp(both))
        numpyro.sample("y", dist.Normal(m, 1.0), obs=y)

    first, second = (float(found(bt.from_numpyro(model, y))) for y in (Y, Y + 1))
    assert first != second
    assert len(traces) == 1


def changing():
    beside = {"scale": 1.0}

    def model(y):
        a = numpyro.sample("a", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(a, beside["scale"]), obs=y)

    return beside, bt.from_numpyro(model, Y)


def test_new_data_never_come_of_another_model_than_the_density():
    beside, posterior = changing()
    model, key = {"a": jnp.array(0.0)}, jax.random.key(0)
    before = posterior.likelihood.sample(model, key)["y"]
    beside["scale"] = 10.0
    with pytest.raises(ValueError, match="the model function has changed since"):
        posterior.likelihood.sample(model, key)
    beside["scale"] = 1.0
    np.testing.assert_array_equal(posterior.likelihood.sample(model, key)["y"], before)


def test_another_precision_is_of_the_same_model():
    beside, posterior = changing()
    value = posterior.log_density({"a": jnp.array(0.5)})
    with jax.enable_x64(True):
        wide = posterior.log_density({"a": jnp.array(0.5)})
    np.testing.assert_allclose(wide, value, rtol=1e-5)
    beside, posterior = changing()
    beside["scale"] = 10.0
    with jax.enable_x64(True), pytest.raises(ValueError, match="has changed since"):
        posterior.log_density({"a": jnp.array(0.5)})


def test_values_for_sites_of_a_reparameterisation_are_not_lost():
    def model():
        m = numpyro.sample("m", dist.Normal(0.0, 1.0))
        numpyro.sample("t", dist.Normal(m, 2.0))

    apart = handlers.reparam(model, config={"t": LocScaleReparam(0.0)})
    held = handlers.condition(apart, data={"t_decentered": jnp.array(0.5)})
    with pytest.raises(ValueError, match="'t_decentered': give the site of the model"):
        bt.from_numpyro(held)
    held = handlers.condition(apart, data={"t": jnp.array(0.5)})
    assert bt.from_numpyro(held).reparam.labels == ["m"]


def test_an_array_of_jax_whose_value_is_asked_for_is_named():
    def model(group):
        m = numpyro.sample("m", dist.Normal(0.0, 1.0).expand([int(group.max()) + 1]))
        numpyro.sample("y", dist.Normal(m[group], 1.0), obs=Y)

    group = np.array([0, 1, 2, 1, 0])
    assert bt.from_numpyro(model, group).dim == 3
    with pytest.raises(ValueError, match="give a NumPy array"):
        bt.from_numpyro(model, jnp.asarray(group))
