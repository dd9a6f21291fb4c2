"""`spec_from_prior` of a hierarchy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

import bijectree as bt
from bijectree import tfd

X = np.linspace(-1.0, 1.0, 12, dtype=np.float32).reshape(6, 2)


def schools():
    model = {"mu": jnp.array(4.0), "tau": jnp.array(3.0), "theta": jnp.linspace(-1, 2, 8)}
    prior = {
        "mu": tfd.Normal(0.0, 5.0),
        "tau": tfd.HalfCauchy(0.0, 5.0),
        "theta": bt.dependent(lambda m: tfd.Normal(m["mu"], m["tau"])),
    }
    return model, prior


def words(model, prior, **how):
    spec = bt.spec_from_prior(model, prior, **how)
    return str(bt.Reparam(model, spec)).split("\n", 1)[1], spec


@pytest.mark.jax_defaults
def test_eight_schools_centred_and_not(tmp_path):
    model, prior = schools()
    text, _ = words(model, prior)
    assert "theta: identity" in text
    text, spec = words(model, prior, noncentred=True)
    assert "theta: location_scale on mu, tau, λ 0" in text
    # Paths are found, so that the spec can be written.
    bt.save_spec(tmp_path / "spec.toml", spec)
    assert '"mu", scale = "tau"' in (tmp_path / "spec.toml").read_text()
    posterior = bt.Posterior(bt.Reparam(model, spec), None, prior)
    by_hand = {"mu": None, "tau": bt.positive(), "theta": bt.location_scale("mu", "tau")}
    other = bt.Posterior(bt.Reparam(model, by_hand), None, prior)
    x = jnp.linspace(-1.0, 1.0, 10)
    density = posterior.flat().log_density
    np.testing.assert_allclose(density(x), other.flat().log_density(x), rtol=1e-6)
    # θ is standard normal in these coordinates, whatever μ and τ are.
    hessian = jax.hessian(density)(x)
    np.testing.assert_allclose(hessian[2:, 2:], -np.eye(8), atol=1e-5)
    np.testing.assert_allclose(hessian[:2, 2:], 0.0, atol=1e-5)


class Radon(eqx.Module):
    gamma: Array
    tau: Array
    alpha: Array


@pytest.mark.jax_defaults
def test_a_regression_in_the_location(precision):
    x = X.astype(precision)
    model = Radon(jnp.zeros(2), jnp.ones(()), jnp.ones(6))
    prior = Radon(
        tfd.Normal(0.0, 2.0),
        tfd.HalfNormal(1.0),
        bt.dependent(lambda m: tfd.Independent(tfd.Normal(x @ m.gamma, m.tau), 1)),
    )
    _, spec = words(model, prior, noncentred=True)
    posterior = bt.Posterior(bt.Reparam(model, spec), None, prior)
    free = posterior.flat().inverse(model)
    hessian = jax.hessian(posterior.flat().log_density)(free)
    np.testing.assert_allclose(hessian[3:, 3:], -np.eye(6), atol=1e-5)
    np.testing.assert_allclose(hessian[:3, 3:], 0.0, atol=1e-5)


@pytest.mark.jax_defaults
def test_only_what_leaves_set_is_taken_out():
    model = {"s": jnp.ones(()), "a": jnp.ones(2), "b": jnp.ones(2), "c": jnp.ones(2)}
    prior = {
        "s": tfd.LogNormal(0.0, 1.0),
        "a": bt.dependent(lambda m: tfd.Laplace(0.5, 2.0 * m["s"])),  # scale is made of s
        "b": bt.dependent(lambda m: tfd.Normal(m["s"] * 0 + 1.0, 2.0)),
        "c": bt.dependent(lambda m: tfd.Gamma(2.0, m["s"])),  # of no such family
    }
    text, spec = words(model, prior, noncentred=True)
    assert "a: location_scale on s, λ 0" in text
    assert "b: location_scale on s, λ 0" in text
    assert "c: positive" in text
    assert spec["a"].function.loc == 0.5
    constant = {**prior, "a": bt.dependent(lambda m: tfd.Normal(0.0, jnp.ones(2)))}
    assert "a: identity" in words(model, constant, noncentred=True)[0]


@pytest.mark.jax_defaults
def test_a_support_that_moves_and_one_that_does_not(precision):
    model = {"low": jnp.array(1.0), "x": jnp.array([2.0]), "p": jnp.array(0.2)}
    prior = {
        "low": tfd.Normal(0.0, 1.0),
        "x": bt.dependent(lambda m: tfd.Uniform(m["low"], m["low"] + 4.0)),
        "p": bt.dependent(lambda m: tfd.TruncatedNormal(m["low"], 1.0, 0.1, 0.3)),
    }
    spec = bt.spec_from_prior(model, prior)
    reparam = bt.Reparam(model, spec)
    assert "x: dependent on low" in str(reparam)
    assert bt.support(spec["p"]).description == "numbers between 0.1 and 0.3"
    posterior = bt.Posterior(reparam, None, prior)
    x = jnp.array([0.3, -0.2, 0.7])
    moved = posterior.flat().forward(x)
    np.testing.assert_allclose(posterior.flat().inverse(moved), x, rtol=1e-4)


def test_what_has_no_support_is_refused_by_path():
    model = {"a": jnp.array(1.0), "b": jnp.ones(3), "c": jnp.ones(2)}
    prior = {
        "a": bt.dependent(lambda m: tfd.Poisson(m["b"][0])),
        "b": bt.dependent(lambda m: tfd.Normal(jnp.zeros(2), m["a"])),
        "c": bt.dependent(lambda m: m["z"]),
    }
    with pytest.raises(ValueError, match="no spec from this prior") as caught:
        bt.spec_from_prior(model, prior)
    for part in ("'a': ", "'b': Normal has the batch shape", "'c': its function raised"):
        assert part in str(caught.value)
