"""Priors that may stand at their leaves and are hardly meant: warned of, others not."""

import math
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as nd
import pytest
import scipy.stats as st

import bijectree as bt
from bijectree import tfb, tfd

pytestmark = [
    pytest.mark.jax_defaults,  # TFP and NumPyro promote dtypes and ranks themselves
    pytest.mark.filterwarnings("ignore:Explicitly requested dtype:UserWarning"),
    pytest.mark.filterwarnings("ignore:shape requires ndarray:DeprecationWarning"),
]

_NORMAL = tfd.Normal(0.0, 1.0)


def _heard(spec, prior, shape, dtype=jnp.float32):
    """What is said of a prior at a leaf 'x'."""
    model = {"x": jax.ShapeDtypeStruct(shape, dtype)}
    reparam = bt.Reparam(model, {"x": spec})
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        bt.Posterior(reparam, None, {"x": prior})
    return [str(w.message) for w in found if "the prior" in str(w.message)]


# More densities than the leaf has coordinates: how many of each, and what to use.
COUNTS = {
    "columns": (bt.zero_sum(axis=-2), _NORMAL, (3, 2), 6, 4, "ZeroSumNormal"),
    "corr_cholesky": (bt.corr_cholesky(), _NORMAL, (3, 3), 9, 3, "tfd.CholeskyLKJ"),
    "corr_matrix": (bt.corr_matrix(), tfd.Uniform(-2.0, 2.0), (2, 2), 4, 1, "tfd.LKJ"),
    "covariance": (bt.positive_definite(), _NORMAL, (2, 2), 4, 3, "tfd.WishartTriL"),
    "events": (
        bt.zero_sum(),
        tfd.MultivariateNormalDiag(np.zeros(3, np.float32)),
        (2, 3),
        6,
        4,
        "ZeroSumNormal",
    ),
    "factor": (bt.lower_cholesky(), _NORMAL, (2, 2), 4, 3, "a function of the model"),
    "numpyro": (bt.zero_sum(), nd.Normal(0.0, 1.0), (3,), 3, 2, "ZeroSumNormal"),
    "scaled": (
        tfb.Chain([tfb.Scale(2.0), bt.simplex()]),
        tfd.Uniform(-1.0, 5.0),
        (3,),
        3,
        2,
        "a function of the model",
    ),
    "simplex": (bt.simplex(), tfd.Beta(1.0, 2.0), (3,), 3, 2, "tfd.Dirichlet"),
    "sphere": (bt.sphere(), _NORMAL, (3,), 3, 2, "tfd.VonMisesFisher"),
    "table": (bt.zero_sum(axis=(-2, -1)), _NORMAL, (3, 3), 9, 4, "ZeroSumNormal"),
    "zero_sum": (bt.zero_sum(), _NORMAL, (4,), 4, 3, "ZeroSumNormal"),
}


@pytest.mark.parametrize("name", COUNTS)
def test_more_densities_than_coordinates_are_warned_of(name):
    spec, prior, shape, own, of_leaf, instead = COUNTS[name]
    (said,) = _heard(spec, prior, shape)
    assert re.search(f"at 'x' counts the densities of {own} numbers", said)
    assert f"has {of_leaf} dimensions" in said
    assert instead in said.partition("Use ")[2]


ENOUGH = {
    "cholesky_lkj": (bt.corr_cholesky(), tfd.CholeskyLKJ(3, 2.0), (3, 3)),
    "circular": (bt.circular(), tfd.VonMises(0.0, 1.0), (2,)),
    "circular_uniform": (bt.circular(), tfd.Uniform(-math.pi, math.pi), ()),
    "dirichlet": (bt.simplex(), tfd.Dirichlet(np.ones(3, np.float32)), (2, 3)),
    "fisher": (
        bt.sphere(),
        tfd.VonMisesFisher(np.float32([0.0, 0.0, 1.0]), 2.0),
        (3,),
    ),
    "lkj": (bt.corr_matrix(), tfd.LKJ(3, 2.0), (3, 3)),
    "sum_normal": (bt.zero_sum(), nd.ZeroSumNormal(1.0, (3,)), (3,)),
    "wishart": (
        bt.positive_definite(),
        tfd.WishartTriL(4.0, np.eye(2, dtype=np.float32)),
        (2, 2),
    ),
}


@pytest.mark.parametrize("name", ENOUGH)
def test_as_many_densities_as_coordinates_are_not(name):
    assert _heard(*ENOUGH[name]) == []


def test_a_scale_is_found_too_small_by_one_density_too_many():
    """The scale of two numbers that sum to 0: its own prior, where nothing is seen."""

    def marginal(prior):
        model = {"tau": jnp.ones(()), "x": jnp.zeros(2)}
        spec = {"tau": bt.positive(), "x": bt.zero_sum()}

        def log_prior(m):
            return tfd.HalfNormal(1.0).log_prob(m["tau"]) + prior(m)

        posterior = bt.Posterior(bt.Reparam(model, spec), None, log_prior).flat()
        s, y = jnp.linspace(-12.0, 3.0, 1200), jnp.sinh(jnp.linspace(-4.0, 4.0, 200))
        density = jax.vmap(jax.vmap(posterior.log_density))
        both = jnp.stack(jnp.meshgrid(s, y, indexing="ij"), axis=-1)
        of_s = jnp.exp(density(both)) @ jnp.cosh(jnp.arcsinh(y))
        return float(jnp.sum(of_s * jnp.exp(s)) / jnp.sum(of_s))

    iid = marginal(lambda m: tfd.Normal(0.0, m["tau"]).log_prob(m["x"]).sum())
    right = marginal(lambda m: nd.ZeroSumNormal(m["tau"], (2,)).log_prob(m["x"]))
    np.testing.assert_allclose(right, math.sqrt(2 / math.pi), rtol=1e-2)
    assert iid < 0.5 * right


# Densities of numbers in any order, at leaves whose numbers increase.
IN_ANY_ORDER = {
    "gamma": (bt.positive_ordered_vector(), tfd.Gamma(2.0, 1.0), (3,), "1/3!"),
    "normal": (bt.ordered_vector(), _NORMAL, (2,), "1/2!"),
    "numpyro": (bt.ordered_vector(), nd.Normal(0.0, 1.0), (4,), "1/4!"),
    "rows": (bt.ordered_vector(), _NORMAL, (2, 3), "1/3!"),
    "student": (bt.ordered_vector(), tfd.StudentT(3.0, 0.0, 1.0), (5,), "1/5!"),
    "tfp": (tfb.Ascending(), _NORMAL, (3,), "1/3!"),
    "uniform": (bt.ordered_vector(0.0, 1.0), tfd.Uniform(0.0, 1.0), (3,), "1/3!"),
}


@pytest.mark.parametrize("name", IN_ANY_ORDER)
def test_numbers_in_any_order_are_warned_of_where_the_leaf_increases(name):
    spec, prior, shape, mass = IN_ANY_ORDER[name]
    (said,) = _heard(spec, prior, shape)
    assert "at 'x' holds for numbers in any order" in said
    assert f"but to {mass}, which is off in the evidence and in no draw" in said
    assert "Use a prior that is a function" in said
    assert f"math.lgamma({shape[-1]} + 1)" in said


def test_what_it_advises_integrates_to_one():
    def log_prior(m):
        return tfd.Normal(0.0, 1.0).log_prob(m["x"]).sum() + math.lgamma(2 + 1)

    reparam = bt.Reparam({"x": jnp.zeros(2)}, bt.ordered_vector())
    for prior, mass in ((log_prior, 1.0), ({"x": _NORMAL}, 1 / math.factorial(2))):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            posterior = bt.Posterior(reparam, None, prior).flat()
        y = jnp.linspace(-14.0, 6.0, 401)
        grid = jnp.stack(jnp.meshgrid(y, y, indexing="ij"), axis=-1)
        density = jnp.exp(jax.vmap(jax.vmap(posterior.log_density))(grid))
        np.testing.assert_allclose(density.sum() * 0.05**2, mass, rtol=1e-3)


def test_vectors_of_different_numbers_are_told_otherwise():
    prior = tfd.Normal(np.float32([0.0, 1.0, 2.0]), 1.0)
    (said,) = _heard(bt.ordered_vector(), prior, (3,))
    assert "does not integrate to 1 over them. Use tfd.TransformedDistribution" in said


@pytest.mark.parametrize(
    ("prior", "shape"),
    [
        (
            tfd.TransformedDistribution(
                tfd.MultivariateNormalDiag(np.zeros(3, np.float32)), tfb.Ascending()
            ),
            (3,),
        ),
        (_NORMAL, (1,)),
    ],
    ids=["ascending", "one"],
)
def test_an_order_of_the_prior_is_that_of_the_leaf(prior, shape):
    assert _heard(bt.ordered_vector(), prior, shape) == []


# Mass where the leaf's dtype has no numbers: how much, by SciPy's distribution function.
_TINY, _HALF_ULP = float(np.finfo(np.float32).tiny), 2.0**-25
LOST = {
    "beta": (
        tfb.Chain([tfb.Sigmoid()]),
        tfd.Beta(2.0, 0.1),
        jnp.float32,
        st.beta(2.0, 0.1).sf(1 - _HALF_ULP),
    ),
    "gamma": (
        tfb.Chain([tfb.Exp()]),
        tfd.Gamma(0.01, 1.0),
        jnp.float32,
        st.gamma(0.01).cdf(_TINY),
    ),
    "half": (
        tfb.Chain([tfb.Exp()]),
        tfd.LogNormal(0.0, 12.0),
        jnp.float16,
        st.norm(0.0, 12.0).cdf(-16.6) + st.norm(0.0, 12.0).sf(11.09),
    ),
    "inverse_gamma": (
        tfb.Chain([tfb.Exp()]),
        tfd.InverseGamma(0.01, 1.0),
        jnp.float32,
        st.invgamma(0.01).sf(3.4e38),
    ),
    "log_normal": (
        tfb.Chain([tfb.Exp()]),
        tfd.LogNormal(0.0, 60.0),
        jnp.float32,
        st.norm(0.0, 60.0).cdf(-87.3) + st.norm(0.0, 60.0).sf(88.7),
    ),
    "numpyro": (
        tfb.Chain([tfb.Exp()]),
        nd.Gamma(0.02, 1.0),
        jnp.float32,
        st.gamma(0.02).cdf(_TINY),
    ),
    "pareto": (
        tfb.Chain([tfb.Shift(1.0), tfb.Exp()]),
        tfd.Pareto(0.02, 1.0),
        jnp.float32,
        st.pareto(0.02).sf(3.4e38),
    ),
    "squared": (
        bt.positive(),
        tfd.TransformedDistribution(tfd.Gamma(0.02, 1.0), tfb.Square()),
        jnp.float32,
        st.gamma(0.02).cdf(math.sqrt(_TINY)),
    ),
}


@pytest.mark.parametrize("name", LOST)
def test_mass_that_the_dtype_cannot_hold_is_said(name):
    spec, prior, dtype, lost = LOST[name]
    (said,) = _heard(spec, prior, (), dtype)
    found = re.search(r"at 'x' has ([\d.]+) % of its draws where float\d+ has no", said)
    error = math.sqrt(lost * (1 - lost) / 2000)
    assert abs(float(found[1]) / 100 - lost) < 4 * error + 0.01


HELD = {
    "beta": (bt.interval(0.0, 1.0), tfd.Beta(0.1, 0.1), jnp.float32),
    "double": (tfb.Chain([tfb.Exp()]), tfd.LogNormal(0.0, 60.0), jnp.float64),
    "gamma": (bt.positive(), tfd.Gamma(0.01, 1.0), jnp.float32),
    "half": (bt.positive(), tfd.LogNormal(0.0, 1.0), jnp.float16),
    "log_normal": (tfb.Chain([tfb.Exp()]), tfd.LogNormal(0.0, 12.0), jnp.float32),
    "numpyro": (bt.positive(), nd.Gamma(0.02, 1.0), jnp.float32),
}


@pytest.mark.parametrize("name", HELD)
def test_mass_that_it_holds_is_not(name):
    spec, prior, dtype = HELD[name]
    with jax.enable_x64(dtype == jnp.float64):
        assert _heard(spec, prior, (), dtype) == []


# A prior that is cut off by the leaf's set is another one, and meant.
CUT = {
    "beta": (bt.interval(0.2, 0.8), tfd.Beta(0.5, 0.5)),
    "cauchy": (bt.interval(-1.0, 1.0), tfd.Cauchy(0.0, 1.0)),
    "gamma": (bt.interval(0.0, 1.0), tfd.Gamma(2.0, 1.0)),
    "gamma_chain": (tfb.Chain([tfb.Sigmoid()]), tfd.Gamma(2.0, 1.0)),
    "half_cauchy": (bt.greater_than(1.0), tfd.HalfCauchy(0.0, 1.0)),
    "inverse_gamma": (bt.less_than(3.0), tfd.Normal(0.0, 2.0)),
    "log_normal": (tfb.Sigmoid(0.5, 1.5), tfd.LogNormal(0.0, 1.0)),
    "normal": (bt.positive(), _NORMAL),
    "numpyro": (bt.interval(0.0, 1.0), nd.Gamma(2.0, 1.0)),
    "student": (bt.positive(), tfd.StudentT(3.0, 0.0, 1.0)),
}


@pytest.mark.parametrize("name", CUT)
def test_a_prior_that_is_wider_than_the_leaf_raises_no_alarm(name):
    assert _heard(*CUT[name], (2,)) == []


# An interval that is wide, which a few random models need not leave.
NARROWER = {
    "exponential": (None, tfd.Exponential(1.0), "positive numbers"),
    "far": (bt.positive(), tfd.Uniform(0.0, 1e3), "numbers between 0 and 1000"),
    "less": (bt.less_than(50.0), tfd.Uniform(-100.0, 50.0), "numbers between -100"),
    "numpyro": (None, nd.Uniform(-40.0, 40.0), "numbers between -40 and 40"),
    "one_of_two": (
        bt.interval(np.float32([0.0, 0.0]), np.float32([1.0, 2.0])),
        tfd.Uniform(0.0, 1.0),
        "numbers between 0 and 1",
    ),
    "shifted": (
        None,
        tfd.TransformedDistribution(tfd.Exponential(1.0), tfb.Shift(-30.0)),
        "numbers greater than -30",
    ),
    "triangular": (
        bt.interval(-1.0, 1.001),
        tfd.Triangular(-1.0, 1.0, 0.0),
        "numbers between -1 and 1",
    ),
}


@pytest.mark.parametrize("name", NARROWER)
def test_an_interval_that_reaches_out_of_the_prior_s_is_warned_of(name):
    spec, prior, words = NARROWER[name]
    said = _heard(spec, prior, (2,))
    assert [f"has the support: {words}" in text for text in said] == [True]


@pytest.mark.parametrize("low", [0.1, -3.3, 1e-8, 12345.678])
def test_bounds_that_were_rounded_are_the_same(low):
    for high in (low + 0.7, low + 1e5):
        assert _heard(bt.interval(low, high), tfd.Uniform(low, high), ()) == []
        assert _heard(bt.interval(low, high), nd.Uniform(low, high), ()) == []


# Ordinary models, of which nothing is said.
_POSITIVE = bt.positive()
ORDINARY = {
    "eight_schools": (
        {"mu": (), "tau": (), "theta": (8,)},
        {"mu": None, "tau": _POSITIVE, "theta": bt.location_scale("mu", "tau")},
        {
            "mu": tfd.Normal(0.0, 5.0),
            "tau": tfd.HalfCauchy(0.0, 5.0),
            "theta": None,
        },
    ),
    "gaussian_process": (
        {"amplitude": (), "lengthscale": (2,), "noise": ()},
        _POSITIVE,
        {
            "amplitude": tfd.LogNormal(0.0, 1.0),
            "lengthscale": tfd.InverseGamma(3.0, 1.0),
            "noise": tfd.HalfNormal(1.0),
        },
    ),
    "mixture": (
        {"means": (3,), "scales": (3,), "weights": (3,)},
        {"means": None, "scales": _POSITIVE, "weights": bt.simplex()},
        {
            "means": tfd.Normal(0.0, 3.0),
            "scales": tfd.Gamma(2.0, 2.0),
            "weights": tfd.Dirichlet(np.float32([1.0, 1.0, 1.0])),
        },
    ),
    "multilevel": (
        {"factor": (3, 3), "scales": (3,), "z": (5, 3)},
        {"factor": bt.corr_cholesky(), "scales": _POSITIVE, "z": None},
        {
            "factor": tfd.CholeskyLKJ(3, 2.0),
            "scales": tfd.Exponential(1.0),
            "z": tfd.Normal(0.0, 1.0),
        },
    ),
    "numpyro_regression": (
        {"intercept": (), "weights": (4,), "sigma": (), "nu": ()},
        {"intercept": None, "weights": None, "sigma": _POSITIVE, "nu": _POSITIVE},
        {
            "intercept": nd.Normal(0.0, 10.0),
            "weights": nd.Laplace(0.0, 1.0),
            "sigma": nd.HalfCauchy(2.0),
            "nu": nd.Gamma(2.0, 0.1),
        },
    ),
    "regression": (
        {"intercept": (), "weights": (4,), "sigma": ()},
        {"intercept": None, "weights": None, "sigma": _POSITIVE},
        {
            "intercept": tfd.StudentT(3.0, 0.0, 2.5),
            "weights": tfd.Normal(0.0, 1.0),
            "sigma": tfd.Exponential(1.0),
        },
    ),
    "shrinkage": (
        {"global": (), "local": (6,), "z": (6,)},
        {"global": _POSITIVE, "local": _POSITIVE, "z": None},
        {
            "global": tfd.HalfCauchy(0.0, 0.1),
            "local": tfd.HalfCauchy(0.0, 1.0),
            "z": tfd.Normal(0.0, 1.0),
        },
    ),
    "time_series": (
        {"phi": (), "sigma": (), "p": ()},
        {"phi": bt.interval(-1.0, 1.0), "sigma": _POSITIVE, "p": bt.unit_interval()},
        {
            "phi": tfd.Uniform(-1.0, 1.0),
            "sigma": tfd.InverseGamma(2.0, 1.0),
            "p": tfd.Beta(2.0, 2.0),
        },
    ),
}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("name", ORDINARY)
def test_nothing_is_said_of_ordinary_models(name, dtype):
    shapes, spec, prior = ORDINARY[name]
    model = {n: jnp.ones(shape, dtype) for n, shape in shapes.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bt.Posterior(bt.Reparam(model, spec), None, prior)


# Leaves that are one vector.

_PAIR = {"a": jnp.array(0.3), "b": jnp.array(0.7)}
_THREE = {"a": jnp.array([0.2, 0.3]), "b": jnp.array(0.5)}
JOINTS = {
    "simplex": (bt.simplex(), _PAIR, tfd.Beta(2.0, 2.0), "2 numbers.* 1 dimension"),
    "simplex of three": (bt.simplex(), _THREE, tfd.Uniform(0.0, 1.0), "3 numbers.* 2 d"),
    "zero_sum": (bt.zero_sum(), _PAIR, _NORMAL, "2 numbers.* 1 dimension"),
    "NumPyro's": (bt.zero_sum(), _THREE, nd.Normal(0.0, 1.0), "3 numbers.* 2 dimension"),
    "ordered": (bt.ordered_vector(), _PAIR, _NORMAL, "1/2!"),
    "ordered of three": (bt.ordered_vector(), _THREE, _NORMAL, "1/3!"),
    "positive": (bt.positive_ordered_vector(), _PAIR, tfd.HalfNormal(1.0), "1/2!"),
    "TFP's": (tfb.Ascending(), _PAIR, nd.Cauchy(0.0, 1.0), "1/2!"),
    "each its own": (bt.real(), _PAIR, _NORMAL, None),
    "rotated": (tfb.Cumsum(), _THREE, _NORMAL, None),
}


def _said(model, joint, prior):
    reparam = bt.Reparam(model, bt.joint(joint))
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        posterior = bt.Posterior(reparam, None, prior)
    return posterior, [str(w.message) for w in found if "the prior" in str(w.message)]


@pytest.mark.parametrize("name", JOINTS)
def test_priors_of_leaves_that_are_one_vector(name):
    joint, model, prior, words = JOINTS[name]
    _, found = _said(model, joint, dict.fromkeys(model, prior))
    assert len(found) == (words is not None)
    assert words is None or re.search(words, found[0])


def test_one_prior_of_leaves_that_are_one_vector_and_unlike_ones():
    assert not _said(_PAIR, bt.simplex(), {"a": tfd.Beta(2.0, 2.0), "b": None})[1]
    priors = {"a": _NORMAL, "b": tfd.Normal(9.0, 1.0)}
    assert not _said(_PAIR, bt.ordered_vector(), priors)[1]


def test_what_is_said_of_two_in_order_is_so():
    posterior, _ = _said(_PAIR, bt.ordered_vector(), dict.fromkeys(_PAIR, _NORMAL))
    places = jnp.linspace(-12.0, 12.0, 401)
    flat = jnp.stack(jnp.meshgrid(places, places), axis=-1).reshape(-1, 2)
    unravel = posterior.reparam.unravel
    density = jnp.exp(jax.vmap(lambda y: posterior.log_density(unravel(y)))(flat))
    np.testing.assert_allclose(density.sum() * 0.06**2, 1 / 2, rtol=1e-3)
