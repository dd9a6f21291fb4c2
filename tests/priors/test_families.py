"""Location-scale families."""

import jax.numpy as jnp
import numpy as np
import pytest
from terms import dist

from bijectree import tfd
from bijectree.priors import location_and_scale

FAMILIES = {
    "normal": lambda loc, scale: tfd.Normal(loc, scale),
    "student": lambda loc, scale: tfd.StudentT(3.0, loc, scale),
    "cauchy": lambda loc, scale: tfd.Cauchy(loc, scale),
    "laplace": lambda loc, scale: tfd.Laplace(loc, scale),
    "logistic": lambda loc, scale: tfd.Logistic(loc, scale),
    "gumbel": lambda loc, scale: tfd.Gumbel(loc, scale),
    "generalized": lambda loc, scale: tfd.GeneralizedNormal(loc, scale, 1.5),
    "maxwell": lambda loc, scale: tfd.DoublesidedMaxwell(loc, scale),
    "two-piece": lambda loc, scale: tfd.TwoPieceNormal(loc, scale, 1.5),
    "two-piece-t": lambda loc, scale: tfd.TwoPieceStudentT(3.0, loc, scale, 1.5),
    "moyal": lambda loc, scale: tfd.Moyal(loc, scale),
    "johnson": lambda loc, scale: tfd.JohnsonSU(0.5, 1.5, loc, scale),
    "sample": lambda loc, scale: tfd.Sample(tfd.Normal(loc, scale), 1),
    "np-normal": lambda loc, scale: dist.Normal(loc, scale),
    "np-event": lambda loc, scale: dist.Normal(loc, scale).expand([1]).to_event(1),
    "np-asymmetric": lambda loc, scale: dist.AsymmetricLaplace(loc, scale, 2.0),
    "np-cauchy": lambda loc, scale: dist.Cauchy(loc, scale),
    "np-gumbel": lambda loc, scale: dist.Gumbel(loc, scale),
    "np-laplace": lambda loc, scale: dist.Laplace(loc, scale),
    "np-logistic": lambda loc, scale: dist.Logistic(loc, scale),
    "np-soft": lambda loc, scale: dist.SoftLaplace(loc, scale),
    "np-student": lambda loc, scale: dist.StudentT(3.0, loc, scale),
}


@pytest.mark.jax_defaults
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_moved_and_stretched(name):
    make, z = FAMILIES[name], jnp.array([0.7])
    expected = jnp.sum(make(0.0, 1.0).log_prob(z))
    made = make(jnp.array(2.0), jnp.array(3.0))
    found = jnp.sum(made.log_prob(2.0 + 3.0 * z)) + jnp.log(3.0)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert tuple(map(float, location_and_scale(made))) == (2.0, 3.0)


@pytest.mark.jax_defaults
def test_what_is_of_no_family_has_neither():
    for other in (
        tfd.Gamma(2.0, 1.0),
        tfd.HalfNormal(2.0),
        tfd.LogNormal(0.0, 1.0),
        dist.LogNormal(0.0, 1.0),
        tfd.MultivariateNormalDiag(jnp.zeros(2), jnp.ones(2)),
        tfd.TruncatedNormal(0.0, 1.0, -1.0, 1.0),
    ):
        assert location_and_scale(other) is None
