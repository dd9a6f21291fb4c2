"""The sets that NumPyro's transforms map other sets onto."""

import numpyro.distributions as nd
import pytest
from numpyro.distributions import transforms as nt

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
