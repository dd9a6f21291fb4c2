"""A posterior that test_spelled_out.py writes in one process and reads in another."""

import pickle
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as nd
from jax.tree_util import Partial

import bijectree as bt

_t = nd.transforms


def _quadratic(distribution, model):
    return distribution.log_prob(model["normal"])


def posterior(number: float = 0.0) -> bt.Posterior:
    """A posterior with priors of NumPyro whose fields could be mistaken for one another.

    Args:
        number: added to each of the numbers.
    """
    mixing = nd.Categorical(probs=jnp.array([0.3, 0.7]))
    distributions = {
        "normal": nd.Normal(2.0, 3.0),
        "gamma": nd.Gamma(2.0, 3.0).expand([2]).to_event(1),
        "beta": nd.Beta(2.0, 3.0),
        "student": nd.StudentT(5.0, 2.0, 3.0),
        "shifted": nd.TransformedDistribution(
            nd.Normal(1.0, 2.0), [_t.ExpTransform(), _t.AffineTransform(1.0, 5.0)]
        ),
        "mixture": nd.MixtureGeneral(mixing, [nd.Normal(2.0, 3.0), nd.Normal(1.0, 2.0)]),
        "same": nd.MixtureSameFamily(mixing, nd.Normal(jnp.array([2.0, 1.0]), 3.0)),
        "vector": nd.MultivariateNormal(
            jnp.array([0.1, 0.2]), scale_tril=jnp.array([[1.0, 0.0], [0.5, 2.0]])
        ),
        "truncated": nd.TruncatedNormal(2.0, 3.0, low=1.0, high=4.0),
        "masked": nd.Laplace(2.0, 3.0).mask(jnp.array(True)),
        "parts": nd.Dirichlet(jnp.array([1.0, 2.0, 3.0])),
        "uniform": nd.Uniform(-1.0, 3.0),
    }
    model = {
        name: jax.ShapeDtypeStruct((*d.batch_shape, *d.event_shape), jnp.float32)
        for name, d in distributions.items()
    }
    reparam = bt.Reparam(model, bt.spec_from_prior(model, distributions))
    likelihood = Partial(_quadratic, nd.Normal(2.0, 3.0))
    made = bt.Posterior(reparam, likelihood, distributions)
    return jax.tree.map(lambda x: x + number, made) if number else made


def density(found: bt.Posterior) -> float:
    """The density at one point."""
    return float(found.flat().log_density(jnp.linspace(-1.0, 1.0, found.dim)))


def write(path: str) -> None:
    """Pickle a posterior, with its density, and save its leaves."""
    with open(path + ".pkl", "wb") as file:
        pickle.dump((density(posterior()), posterior()), file)
    eqx.tree_serialise_leaves(path + ".eqx", posterior())


def read(path: str) -> None:
    """See that what another process wrote has the density that it had there."""
    with open(path + ".pkl", "rb") as file:
        expected, pickled = pickle.load(file)
    saved = eqx.tree_deserialise_leaves(path + ".eqx", posterior(number=0.5))
    for found in (posterior(), pickled, saved):
        np.testing.assert_allclose(density(found), expected, rtol=1e-5)


if __name__ == "__main__":
    import hash_seeds  # by which name the function in it was pickled

    hash_seeds.read(sys.argv[1])
