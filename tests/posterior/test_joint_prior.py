"""Joint distributions of TFP as priors."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

import bijectree as bt
from bijectree import tfd

pytestmark = pytest.mark.jax_defaults


class Schools(eqx.Module):
    mu: Array
    tau: Array
    theta: Array
    other: int = 3


def coroutine():
    mu = yield tfd.JointDistributionCoroutine.Root(tfd.Normal(0.0, 5.0, name="mu"))
    tau = yield tfd.JointDistributionCoroutine.Root(tfd.HalfNormal(5.0, name="tau"))
    yield tfd.Sample(tfd.Normal(mu, tau), 8, name="theta")


def theta_of(mu, tau):
    return tfd.Sample(tfd.Normal(mu, tau), 8)


PARTS = {"mu": tfd.Normal(0.0, 5.0), "tau": tfd.HalfNormal(5.0), "theta": theta_of}
JOINTS = {
    "named": lambda: tfd.JointDistributionNamed(PARTS),
    "named-batched": lambda: tfd.JointDistributionNamedAutoBatched(PARTS),
    "coroutine": lambda: tfd.JointDistributionCoroutine(coroutine),
    "coroutine-batched": lambda: tfd.JointDistributionCoroutineAutoBatched(coroutine),
}


@pytest.mark.parametrize("name", JOINTS)
def test_a_joint_distribution_is_its_parts(name, getkey):
    joint = JOINTS[name]()
    model = Schools(jnp.array(1.0), jnp.array(2.0), jnp.arange(8.0))
    reparam = bt.Reparam(model, bt.spec_from_prior(model, joint, noncentred=True))
    assert "theta: location_scale on mu, tau" in str(reparam)
    posterior = bt.Posterior(reparam, None, joint)
    values = {"mu": model.mu, "tau": model.tau, "theta": model.theta}
    expected = joint.log_prob(**values)
    np.testing.assert_allclose(posterior.log_prior(model), expected, rtol=1e-6)
    assert list(posterior.prior_terms(model)) == ["mu", "tau", "theta"]
    models = posterior.sample_prior(getkey(), 3)
    found = jax.vmap(posterior.log_prior)(eqx.filter(models, eqx.is_inexact_array))
    drawn = {name: getattr(models, name) for name in values}
    np.testing.assert_allclose(found, joint.log_prob(**drawn), rtol=1e-5)


def test_leaves_without_a_part_are_flat():
    def parts():
        scale = yield tfd.HalfNormal(1.0, name="scale")
        yield tfd.Normal(0.0, scale, name="x")

    model = {"scale": jnp.array(1.0), "x": jnp.array(0.5), "y": jnp.zeros(2)}
    joint = tfd.JointDistributionCoroutineAutoBatched(parts)
    spec = {"scale": bt.positive(), "x": None, "y": None}
    posterior = bt.Posterior(bt.Reparam(model, spec), None, joint)
    assert list(posterior.prior_terms(model)) == ["scale", "x"]


def test_parts_without_a_leaf_are_refused():
    model = {"mu": jnp.array(1.0), "tua": jnp.array(2.0), "theta": jnp.zeros(8)}
    reparam = bt.Reparam(model, None)
    with pytest.raises(ValueError, match="'tau' matches nothing; nearest paths: 'tua'"):
        bt.Posterior(reparam, None, tfd.JointDistributionNamed(PARTS))
    unnamed = tfd.JointDistributionSequential([tfd.Normal(0.0, 1.0)])
    with pytest.raises(TypeError, match="JointDistributionSequential have no names"):
        bt.Posterior(reparam, None, unnamed)
