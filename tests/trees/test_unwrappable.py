"""Nodes that make their value of raw numbers, as paramax's wrappers do."""

import re
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

import bijectree as bt
from bijectree import tfd
from bijectree.trees import unwrappable


class Positive(eqx.Module):
    raw: jax.Array

    def unwrap(self) -> jax.Array:
        return jax.nn.softplus(self.raw)


class Phases(eqx.Module):
    """Not one of those: to unwrap phases needs an argument."""

    angle: jax.Array

    def unwrap(self, period: float) -> jax.Array:
        return jnp.unwrap(self.angle, period=period)


def gaussian_process():
    return {
        "kernel": {"lengthscale": Positive(jnp.array(0.5)), "power": jnp.array(1.0)},
        "noise": [Positive(Positive(jnp.ones(2)))],  # one in another
        "phases": Phases(jnp.ones(3)),
    }


SPECS = {
    "the leaf": {"kernel.lengthscale.raw": bt.positive()},
    "the node": {"kernel.lengthscale": bt.positive()},
    "above": {"kernel": bt.positive()},
    "nested": {"noise.0": bt.interval(0.0, 5.0)},
    "tied": {"kernel.lengthscale": bt.tied("kernel.power")},
    "dependent": {
        "kernel.lengthscale": bt.dependent(
            lambda m: bt.greater_than(m["kernel"]["power"]), on="kernel.power"
        )
    },
}


@pytest.mark.parametrize("name", SPECS)
def test_a_bijector_at_a_raw_number_is_refused(name):
    model = gaussian_process()
    node = "noise.0" if name == "nested" else "kernel.lengthscale"
    message = f"at '{node}[^']*': .* the raw number of the Positive at '{node}'"
    with pytest.raises(ValueError, match=message) as caught:
        bt.Reparam(model, bt.by_path(model, SPECS[name]))
    assert "Unwrap the model first" in str(caught.value)
    assert "Unwrap the model first" in str(caught.value)
    assert "power" not in re.findall("at '([^']*)'", str(caught.value))


@pytest.mark.parametrize("path", ["kernel.lengthscale", "noise.0"])
def test_a_prior_at_a_raw_number_is_refused(path):
    model = gaussian_process()
    prior = bt.by_path(model, {path: tfd.LogNormal(0.0, 1.0)})
    message = f"at '{path}[^']*': LogNormal would be a density of the raw number"
    with pytest.raises(ValueError, match=message):
        bt.Posterior(bt.Reparam(model, None), None, prior)
    with pytest.raises(ValueError, match=message):
        bt.spec_from_prior(model, prior)


def test_what_changes_no_value_is_let_be():
    model = gaussian_process()
    spec = bt.by_path(model, {"noise": bt.frozen, "kernel.power": bt.positive()})
    assert bt.Reparam(model, spec).labels[0] == "kernel.lengthscale.raw"
    spec = bt.by_path(model, {"phases": bt.positive()})
    assert bt.Reparam(model, spec).dim == 7
    assert set(unwrappable(model).values()) == {
        "the Positive at 'kernel.lengthscale'",
        "the Positive at 'noise.0'",
    }
    assert unwrappable(Positive(jnp.ones(()))) == {0: "the Positive"}


def test_paramax_itself():
    before = set(sys.modules)
    bt.Reparam(gaussian_process(), None)
    assert "paramax" not in set(sys.modules) - before
    paramax = pytest.importorskip("paramax")
    scale = paramax.Parameterize(jnp.exp, jnp.array(0.0))
    model = {"scale": scale, "fixed": paramax.non_trainable(jnp.ones(2))}
    with pytest.raises(ValueError, match="the Parameterize at 'scale'"):
        bt.Reparam(model, bt.by_path(model, {"scale": bt.positive()}))
    plain = paramax.unwrap(model)
    reparam = bt.Reparam(plain, bt.by_path(plain, {"scale": bt.positive()}))
    assert jnp.isclose(reparam.inverse(plain)["scale"], 0.0)
