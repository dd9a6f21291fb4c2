"""Distributions in an order and with the digits that do not depend on the process."""

import importlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as nd
import pytest
import scipy.stats as st

import bijectree as bt
from bijectree import tfb, tfd
from bijectree.priors import build, split

pytestmark = [
    pytest.mark.jax_defaults,  # TFP and NumPyro promote dtypes and ranks themselves
    pytest.mark.filterwarnings("ignore:Explicitly requested dtype:UserWarning"),
]


def test_numpyro_priors_are_the_same_in_every_process(tmp_path, monkeypatch):
    path = tmp_path / "posterior"
    script = Path(__file__).with_name("hash_seeds.py")
    monkeypatch.syspath_prepend(script.parent)
    importlib.import_module("hash_seeds").write(str(path))
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    done = subprocess.run(
        [sys.executable, script, path],
        env={**os.environ, "PYTHONHASHSEED": seed, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


DISTRIBUTIONS = {
    "beta": lambda: tfd.Beta(0.867, 3.03),
    "independent": lambda: tfd.Independent(tfd.Normal(jnp.zeros(2), 0.3), 1),
    "mixture": lambda: tfd.Mixture(
        tfd.Categorical(probs=[0.3, 0.7]), [tfd.Normal(0.1, 0.2), tfd.Gamma(2.1, 1.3)]
    ),
    "same_family": lambda: tfd.MixtureSameFamily(
        tfd.Categorical(probs=[0.3, 0.7]), tfd.Normal([0.1, 0.2], 1.1)
    ),
    "transformed": lambda: tfd.TransformedDistribution(
        tfd.Normal(0.1, 0.2), tfb.Chain([tfb.Shift(0.1), tfb.Exp()])
    ),
    "triangle": lambda: tfd.MultivariateNormalTriL(
        jnp.zeros(2), jnp.array([[1.0, 0.0], [0.3, 0.7]])
    ),
    "numpyro": lambda: nd.Normal(0.1, 0.2).expand([2]).to_event(1),
    "numpyro_mask": lambda: nd.Normal(0.1, 0.2).mask(False),
    "numpyro_sparse": lambda: nd.CAR(
        jnp.zeros(2), 0.3, 2.0, jnp.array([[0.0, 1.0], [1.0, 0.0]])
    ),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_what_is_spelled_out_is_put_together_again(name, getkey):
    distribution = DISTRIBUTIONS[name]()
    again = build(*split(distribution))
    assert type(again) is type(distribution)
    shape = (*distribution.batch_shape, *distribution.event_shape)
    value = jax.random.uniform(getkey(), shape, minval=0.2, maxval=0.8)
    np.testing.assert_allclose(again.log_prob(value), distribution.log_prob(value))
    recipe, _ = split(distribution)
    assert pickle.loads(pickle.dumps(recipe)) == recipe == split(DISTRIBUTIONS[name]())[0]
    assert hash(recipe) == hash(split(again)[0])


# Python floats, at float64 leaves; with SciPy's of the same digits.
DIGITS = {
    "beta": (lambda: tfd.Beta(0.867, 3.03), st.beta(0.867, 3.03)),
    "dirichlet": (lambda: tfd.Dirichlet([0.1, 2.3, 0.7]), None),
    "gamma": (lambda: tfd.Gamma(2.3, 0.7), st.gamma(2.3, scale=1 / 0.7)),
    "independent": (
        lambda: tfd.Independent(tfd.Normal([0.1, 0.1], 0.3), 1),
        st.norm(0.1, 0.3),
    ),
    "log_normal": (lambda: tfd.LogNormal(0.1, 0.3), st.lognorm(0.3, scale=np.exp(0.1))),
    "normal": (lambda: tfd.Normal(0.1, 0.3), st.norm(0.1, 0.3)),
    "numpyro": (lambda: nd.Normal(0.1, 0.3), st.norm(0.1, 0.3)),
    "sample": (lambda: tfd.Sample(tfd.Normal(0.1, 0.3), 2), st.norm(0.1, 0.3)),
    "student_t": (lambda: tfd.StudentT(2.3, 0.1, 0.3), st.t(2.3, 0.1, 0.3)),
    "uniform": (lambda: tfd.Uniform(0.1, 0.7), st.uniform(0.1, 0.6)),
}


@pytest.mark.filterwarnings("ignore:the prior .* has the support")
@pytest.mark.parametrize("name", DIGITS)
def test_python_floats_have_the_precision_of_the_leaf(name):
    make, expected = DIGITS[name]
    with jax.enable_x64(True):
        prior = make()
        shape = (*prior.batch_shape, *prior.event_shape)
        x = np.full(shape, 0.123456789) if expected else np.array([0.2, 0.3, 0.5])
        posterior = bt.Posterior(bt.Reparam(jnp.asarray(x), None), None, prior)
        if expected is None:
            due = st.dirichlet([0.1, 2.3, 0.7]).logpdf(x)
        else:
            due = np.sum(expected.logpdf(x))
        np.testing.assert_allclose(posterior.log_prior(jnp.asarray(x)), due, rtol=1e-13)


def test_numbers_that_were_given_in_float32_stay_what_they_are():
    with jax.enable_x64(True):
        prior = tfd.Normal(np.float32(0.1), 0.3)
        posterior = bt.Posterior(bt.Reparam(jnp.zeros(()), None), None, prior)
        due = st.norm(float(np.float32(0.1)), 0.3).logpdf(0.0)
        np.testing.assert_allclose(posterior.log_prior(jnp.zeros(())), due, rtol=1e-13)


def test_the_bounds_of_a_support_have_the_precision_of_the_leaf():
    with jax.enable_x64(True):
        spec = bt.spec_from_prior({"x": jnp.zeros(())}, {"x": tfd.Uniform(0.1, 0.7)})
        reparam = bt.Reparam({"x": jnp.full((), 0.3)}, spec)
        assert reparam.forward({"x": jnp.array(-800.0)})["x"] == 0.1


_NORMAL = tfd.Normal(0.0, 1.0)
_VECTOR = tfd.MultivariateNormalDiag(np.zeros(3, np.float32))
# Bijectors that hold numbers out of the reach of a cast, or ask for values of shapes.
AWKWARD = {
    "fill_scale_tril": (_VECTOR, tfb.FillScaleTriL, (2, 2)),
    "lu": (
        tfd.MultivariateNormalDiag(np.zeros(2, np.float32)),
        lambda: tfb.ScaleMatvecLU(np.array([[1.0, 0.2], [0.3, 2.0]], np.float32), [0, 1]),
        (2,),
    ),
    "matvec_diag": (_VECTOR, lambda: tfb.ScaleMatvecDiag([1.0, 2.0, 3.0]), (3,)),
    "softplus_low": (_NORMAL, lambda: tfb.Softplus(low=1e-3), ()),
    "spline": (
        _NORMAL,
        lambda: tfb.RationalQuadraticSpline([1.0, 1.0], [0.5, 1.5], [0.7]),
        (),
    ),
    "tril": (
        tfd.MultivariateNormalDiag(np.zeros(2, np.float32)),
        lambda: tfb.ScaleMatvecTriL(np.array([[1.0, 0.0], [0.3, 2.0]], np.float32)),
        (2,),
    ),
}


@pytest.mark.filterwarnings("ignore:the prior .* has the support")
@pytest.mark.parametrize("name", AWKWARD)
def test_transformed_priors_at_float64_leaves_are_as_at_float32_ones(name):
    base, make, shape = AWKWARD[name]
    values = []
    for x64 in (False, True):
        with jax.enable_x64(x64):
            x = jnp.full(shape, 0.3)
            x = jnp.eye(*shape) + jnp.tril(x) if len(shape) == 2 else x
            prior = tfd.TransformedDistribution(base, make())
            posterior = bt.Posterior(bt.Reparam(x, None), None, prior)
            values.append(float(jax.jit(posterior.log_prior)(x)))
    np.testing.assert_allclose(*values, rtol=2e-6)
