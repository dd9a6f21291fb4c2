"""Bijectors that leave the support of a prior are warned of, others are not."""

import jax.numpy as jnp
import numpyro.distributions as nd
import pytest

import bijectree as bt
from bijectree import tfd

# TFP and NumPyro promote dtypes and ranks themselves.
pytestmark = [
    pytest.mark.jax_defaults,
    # of TFP's own samplers
    pytest.mark.filterwarnings("ignore:shape requires ndarray:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Explicitly requested dtype:UserWarning"),
]


def _posterior(value, prior, spec):
    return bt.Posterior(bt.Reparam({"x": value}, {"x": spec}), None, {"x": prior})


@pytest.mark.parametrize(
    ("value", "prior", "spec"),
    [
        (jnp.eye(10), tfd.LKJ(10, 1.0), bt.corr_matrix()),
        (
            jnp.tile(jnp.eye(6), (20, 1, 1)),
            tfd.WishartTriL(8.0, jnp.eye(6)),
            bt.positive_definite(),
        ),
        (
            jnp.tile(jnp.arange(50.0), (20, 1)),
            nd.TransformedDistribution(
                nd.Normal(jnp.zeros(50), 1.0).to_event(1),
                nd.transforms.OrderedTransform(),
            ),
            bt.ordered_vector(),
        ),
        (jnp.array(0.3), tfd.VonMises(0.0, 2.0), bt.circular()),
        (jnp.array(0.3), tfd.VonMises(0.0, 2.0), bt.interval(-jnp.pi, jnp.pi)),
        (jnp.array(9.0), tfd.Uniform(-180.0, 180.0), bt.circular(period=360.0)),
    ],
    ids=["lkj", "wishart", "ordered", "circular", "half-turns", "degrees"],
)
def test_what_is_off_its_own_set_by_rounding_alone_is_not_warned_of(value, prior, spec):
    _posterior(value, prior, spec)  # warnings are errors here


@pytest.mark.parametrize(
    ("value", "prior", "spec", "words"),
    [
        (jnp.eye(10), tfd.LKJ(10, 1.0), bt.positive_definite(), "correlation matrices"),
        (
            jnp.tile(jnp.eye(10), (20, 1, 1)),
            tfd.WishartTriL(12.0, jnp.eye(10)),
            bt.real(),
            "symmetric positive definite",
        ),
        (
            jnp.array(3.0),
            nd.TransformedDistribution(
                nd.HalfNormal(1.0), nd.transforms.AffineTransform(2.0, 3.0)
            ),
            None,
            "numbers greater than 2",
        ),
        (
            jnp.array(2.0),
            nd.TransformedDistribution(
                nd.Uniform(0.0, 1.0), nd.transforms.ExpTransform()
            ),
            bt.positive(),
            "numbers between 1 and 2.7",
        ),
        # Its density goes round and round, so that over all numbers it is improper.
        (jnp.array(0.3), tfd.VonMises(0.0, 2.0), None, r"angles in \(−π, π\]"),
        (jnp.array(0.3), nd.VonMises(0.0, 2.0), None, r"angles in \(−π, π\]"),
        (
            jnp.array(0.3),
            tfd.VonMises(0.0, 2.0),
            bt.interval(-4.0, 4.0),
            r"angles in \(−π, π\]",
        ),
        (
            jnp.array(9.0),
            tfd.Uniform(0.0, 360.0),
            bt.circular(period=360.0),
            "numbers between 0 and 360",
        ),
    ],
    ids=[
        *("lkj", "wishart", "numpyro-affine", "numpyro-exp"),
        *("turns", "numpyro-turns", "more-than-a-turn", "another-turn"),
    ],
)
def test_what_may_leave_the_support_is_warned_of(value, prior, spec, words):
    with pytest.warns(UserWarning, match=f"has the support: {words}"):
        _posterior(value, prior, spec)
