"""The sets that NumPyro's transforms map other sets onto."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as nd
import pytest
from numpyro.distributions import transforms as nt

import bijectree as bt
from bijectree.priors.numpyro_images import _flat, states_support

# The densities of what is looked up are in test_lookup.py.


@pytest.mark.parametrize(
    ("distribution", "states"),
    [
        (nd.LogNormal(0.0, 1.0), True),
        (nd.LKJ(2, 1.0), True),
        (nd.TransformedDistribution(nd.Normal(0.0, 1.0), nt.ExpTransform()), False),
        (type("Mine", (nd.TransformedDistribution,), {}), False),
    ],
)
def test_which_classes_state_their_support(distribution, states):
    if isinstance(distribution, type):
        distribution = distribution(nd.Normal(0.0, 1.0), nt.ExpTransform())
    assert states_support(distribution) is states


def test_compositions_and_their_inverses_are_taken_apart():
    exp, affine = nt.ExpTransform(), nt.AffineTransform(1.0, 2.0)
    inner = nt.IndependentTransform(nt.ComposeTransform([exp, affine]), 1)
    assert _flat([inner]) == [exp, affine]
    first, second = _flat([inner.inv, exp])[:2]
    assert (first.inv, second.inv) == (affine, exp)


# Of (a, b): transforms of numbers above 0, and the map from y onto their image.
MOVED = {
    "affine": (
        lambda a, b: [nt.AffineTransform(a, b)],
        lambda y, a, b: a + jnp.exp(y),
    ),
    "reflected": (
        lambda a, b: [nt.AffineTransform(a, -b)],
        lambda y, a, b: a - jnp.exp(y),
    ),
    "power": (lambda a, b: [nt.PowerTransform(b)], lambda y, a, b: jnp.exp(y)),
    "reciprocal": (lambda a, b: [nt.PowerTransform(-b)], lambda y, a, b: jnp.exp(y)),
    "exp of affine": (
        lambda a, b: [nt.AffineTransform(a, b), nt.ExpTransform()],
        lambda y, a, b: jnp.exp(a) + jnp.exp(y),
    ),
}


@pytest.mark.parametrize("name", MOVED)
def test_infinite_ends_of_images_are_not_moved_by_numbers(name, precision):
    transforms, due = MOVED[name]

    def at(y, a, b):
        base = nd.Gamma(jnp.asarray(2.0, precision), jnp.asarray(1.0, precision))
        made = nd.TransformedDistribution(base, transforms(a, b))
        return bt.bijector_for(made).forward(y)

    numbers = tuple(jnp.asarray(x, precision) for x in (0.4, -0.3, 1.7))
    for which in range(3):
        got = jax.jit(jax.value_and_grad(at, which))(*numbers)
        exact = jax.value_and_grad(due, which)(*numbers)
        np.testing.assert_allclose(got, exact, rtol=1e-5)


def test_an_affine_map_of_all_numbers_has_a_support_that_numbers_do_not_move():
    def at(scale):
        affine = nt.AffineTransform(0.0, scale)
        made = nd.TransformedDistribution(nd.Normal(0.0, 1.0), affine)
        return bt.bijector_for(made).forward(0.3)

    np.testing.assert_array_equal(jax.value_and_grad(at)(2.0), (jnp.float32(0.3), 0.0))
