"""Whether a distribution can stand at a leaf: what is said where it cannot."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as nd
import pytest
from tensorflow_probability.substrates.jax.math import psd_kernels

import bijectree as bt
from bijectree import tfb, tfd
from bijectree.priors import misfit, split
from bijectree.priors.fit import is_constraint

pytestmark = [
    pytest.mark.jax_defaults,  # TFP and NumPyro promote dtypes and ranks themselves
    pytest.mark.filterwarnings("ignore:Explicitly requested dtype:UserWarning"),
    pytest.mark.filterwarnings("ignore:shape requires ndarray:DeprecationWarning"),
]


class OfFloats:
    """A density in Python's floats, which JAX cannot trace."""

    batch_shape = event_shape = ()

    def log_prob(self, x):
        return -0.5 * float(x) ** 2


class OfNumPy(OfFloats):
    def log_prob(self, x):
        return -0.5 * np.asarray(x) ** 2


class Asking(OfFloats):
    def log_prob(self, x):
        return -x if x > 0 else -jnp.inf


class Failing(OfFloats):
    def log_prob(self, x):
        raise AssertionError


class Whole(OfFloats):
    def log_prob(self, x):
        return jnp.asarray(3)


_PLACES = np.float32([[0.0], [1.0]])
CANNOT = {
    "asks_a_value": (Asking, ()),
    "autoregressive": (
        lambda: tfd.Autoregressive(
            lambda x: tfd.Independent(tfd.Normal(0.5 * x, 1.0), 1),
            np.zeros(2, np.float32),
            2,
        ),
        (2,),
    ),
    "bates": (lambda: tfd.Bates(3.0), ()),
    "bates_batch": (
        lambda: tfd.Independent(tfd.Bates(np.float32([3.0, 4.0])), 1),
        (2,),
    ),
    "bates_sample": (lambda: tfd.Sample(tfd.Bates(3.0), 2), (2,)),
    "fails_without_words": (Failing, ()),
    "floats": (OfFloats, ()),
    "integers": (Whole, ()),
    "markov_chain": (
        lambda: tfd.MarkovChain(tfd.Poisson(1.0), lambda _, x: tfd.Poisson(1 + x), 2),
        (2,),
    ),
    "numpy": (OfNumPy, ()),
    "student_process": (
        lambda: tfd.StudentTProcess(
            np.float32(5.0), psd_kernels.ExponentiatedQuadratic(), _PLACES
        ),
        (2,),
    ),
    "several_parts": (
        lambda: tfd.JointDistributionSequential(
            [tfd.Normal(0.0, 1.0), tfd.Normal(0.0, 1.0)]
        ),
        (),
    ),
}


@pytest.mark.parametrize("name", CANNOT)
def test_what_cannot_be_traced_or_shaped_is_refused_with_the_path(name):
    make, shape = CANNOT[name]
    model = {"a": jnp.zeros(()), "x": jnp.zeros(shape)}
    prior = {"a": None, "x": make()}
    with pytest.raises(ValueError, match=r"(?s)at 'x': .*\w+"):
        bt.spec_from_prior(model, prior)
    with pytest.raises(ValueError, match=r"(?s)at 'x': .*\w+"):
        bt.Posterior(bt.Reparam(model, None), None, prior)


_NORMAL = tfd.Normal(0.0, 1.0)
MISFITS = [
    (tfd.Normal(np.zeros(2, np.float32), 1.0), (3,), "the batch shape"),
    (tfd.Dirichlet(np.ones(3, np.float32)), (2,), "events of shape"),
    (tfd.Dirichlet(np.ones(3, np.float32)), (), "events of shape"),
    (tfd.Independent(tfd.Normal(np.zeros(2, np.float32), 1.0), 1), (3,), "events"),
    (nd.Normal(jnp.zeros(2), 1.0), (3,), "the batch shape"),
    (nd.Normal(jnp.zeros((4, 1)), 1.0), (3,), "the batch shape"),
    (tfd.Poisson(1.0), (), "discrete|no density"),
    (nd.Poisson(1.0), (), "discrete"),
    (_NORMAL, (2, 3), ""),
    (tfd.Dirichlet(np.ones(3, np.float32)), (5, 3), ""),
    (tfd.Normal(np.zeros(3, np.float32), 1.0), (2, 3), ""),
]


@pytest.mark.parametrize(("prior", "shape", "words"), MISFITS)
def test_shapes_that_do_not_fit(prior, shape, words):
    why = misfit(prior, *split(prior), shape, np.dtype(np.float32))
    assert bool(why) == bool(words)
    assert any(word in why for word in words.split("|"))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (tfd.Normal, "Call it: Normal"),
        (tfb.Exp(), "A bijector goes into the spec"),
        (bt.positive(), "A bijector goes into the spec"),
        (bt.positive, "the function bt.positive"),
        (nd.constraints.positive, "bt.bijector_for makes a bijector of a constraint"),
        (nd.transforms.ExpTransform(), "A transform goes into the spec"),
        (lambda model: 0.0, "takes the whole model"),
        (3.0, "expected a distribution"),
    ],
)
def test_what_is_no_distribution_says_what_to_write(value, words):
    model = {"x": jnp.zeros(())}
    with pytest.raises((ValueError, TypeError), match=f"(?s)'x'.*{words}"):
        bt.Posterior(bt.Reparam(model, None), None, {"x": value})


def test_constraints_are_told_from_distributions():
    assert is_constraint(nd.constraints.unit_interval)
    assert is_constraint(nd.constraints.interval(0.0, 1.0))
    assert not is_constraint(nd.transforms.AffineTransform(0.0, 1.0))
    assert not is_constraint(nd.Normal(0.0, 1.0))
    assert not is_constraint(_NORMAL)


def test_a_class_of_the_models_own_may_be_called_as_a_distribution_is():
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class Distribution:
        x: jax.Array

        def log_prob(self, value):
            return value

    model = Distribution(jnp.zeros(()))
    prior = Distribution(_NORMAL)
    posterior = bt.Posterior(bt.Reparam(model, None), None, prior)
    np.testing.assert_allclose(posterior.log_prior(model), -0.9189385, rtol=1e-6)
