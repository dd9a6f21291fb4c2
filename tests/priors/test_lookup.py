"""The bijector that goes with a distribution or a constraint: onto its whole support."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as nd
import pytest
from lookups import _HALF, _ND_NORMAL, _ND_VECTOR, _NORMAL, _t
from numpyro.distributions import constraints

import bijectree as bt
from bijectree import tfb, tfd

# TFP and NumPyro promote dtypes and ranks themselves.
pytestmark = [
    pytest.mark.jax_defaults,
    # of TFP's own samplers
    pytest.mark.filterwarnings("ignore:shape requires ndarray:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Explicitly requested dtype:UserWarning"),
]


# Each with the words for its support.
TFP = {
    "normal": (_NORMAL, "all real numbers"),
    "student_t": (tfd.StudentT(3.0, 0.0, 1.0), "all real numbers"),
    "horseshoe": (tfd.Horseshoe(1.0), "all real numbers"),
    "exp_gamma": (tfd.ExpGamma(2.0, 1.0), "all real numbers"),
    "sigmoid_beta": (tfd.SigmoidBeta(2.0, 1.0), "all real numbers"),
    "johnson_su": (tfd.JohnsonSU(0.0, 1.0, 0.0, 1.0), "all real numbers"),
    "maxwell": (tfd.DoublesidedMaxwell(0.0, 1.0), "all real numbers"),
    "moyal": (tfd.Moyal(0.0, 1.0), "all real numbers"),
    "mvn": (tfd.MultivariateNormalDiag(jnp.zeros(3)), "all real numbers"),
    "gamma": (tfd.Gamma(2.0, 1.0), "positive numbers"),
    "half_normal": (tfd.HalfNormal(1.0), "positive numbers"),
    "weibull": (tfd.Weibull(2.0, 1.0), "positive numbers"),
    "log_normal": (tfd.LogNormal(0.0, 1.0), "positive numbers"),
    "log_logistic": (tfd.LogLogistic(0.0, 1.0), "positive numbers"),
    "inverse_gaussian": (tfd.InverseGaussian(1.0, 1.0), "positive numbers"),
    "gamma_gamma": (tfd.GammaGamma(2.0, 3.0, 1.0), "positive numbers"),
    "noncentral_chi2": (tfd.NoncentralChi2(2.0, 1.0), "positive numbers"),
    "half_cauchy": (tfd.HalfCauchy(1.0, 2.0), "numbers greater than 1"),
    "half_student_t": (tfd.HalfStudentT(3.0, -1.0, 2.0), "numbers greater than -1"),
    "pareto": (tfd.Pareto(3.0, 2.0), "numbers greater than 2"),
    "generalized_pareto": (
        tfd.GeneralizedPareto(1.0, 2.0, 0.5),
        "numbers greater than 1",
    ),
    "generalized_pareto_bounded": (
        tfd.GeneralizedPareto(1.0, 2.0, -0.5),
        "numbers between 1 and 5",
    ),
    "extreme_value": (
        tfd.GeneralizedExtremeValue(0.0, 1.0, 0.5),
        "numbers greater than -2",
    ),
    "extreme_value_bounded": (
        tfd.GeneralizedExtremeValue(0.0, 1.0, -0.5),
        "numbers less than 2",
    ),
    "extreme_value_gumbel": (
        tfd.GeneralizedExtremeValue(0.0, 1.0, 0.0),
        "all real numbers",
    ),
    "beta": (tfd.Beta(2.0, 3.0), "numbers between 0 and 1"),
    "kumaraswamy": (tfd.Kumaraswamy(2.0, 3.0), "numbers between 0 and 1"),
    "logit_normal": (tfd.LogitNormal(0.0, 1.0), "numbers between 0 and 1"),
    "continuous_bernoulli": (
        tfd.ContinuousBernoulli(probs=0.3),
        "numbers between 0 and 1",
    ),
    "relaxed_bernoulli": (
        tfd.RelaxedBernoulli(1.0, probs=0.3),
        "numbers between 0 and 1",
    ),
    "uniform": (tfd.Uniform(-1.0, 3.0), "numbers between -1 and 3"),
    "triangular": (tfd.Triangular(-1.0, 3.0, 0.0), "numbers between -1 and 3"),
    "pert": (tfd.PERT(-1.0, 0.0, 3.0), "numbers between -1 and 3"),
    "truncated_normal": (
        tfd.TruncatedNormal(0.0, 1.0, -1.0, 3.0),
        "numbers between -1 and 3",
    ),
    "truncated_normal_half": (
        tfd.TruncatedNormal(0.0, 1.0, 0.0, jnp.inf),
        "positive numbers",
    ),
    "truncated_cauchy": (
        tfd.TruncatedCauchy(0.0, 1.0, -1.0, 3.0),
        "numbers between -1 and 3",
    ),
    "dirichlet": (tfd.Dirichlet(jnp.ones(3) * 2), "positive parts that sum to 1"),
    "relaxed_categorical": (
        tfd.RelaxedOneHotCategorical(1.0, probs=jnp.array([0.2, 0.3, 0.5])),
        "positive parts that sum to 1",
    ),
    "lkj": (tfd.LKJ(3, 2.0), "correlation matrices"),
    "cholesky_lkj": (tfd.CholeskyLKJ(3, 2.0), "Cholesky factors of correlation matrices"),
    "wishart": (
        tfd.WishartTriL(5.0, jnp.eye(3)),
        "symmetric positive definite matrices",
    ),
    "von_mises": (tfd.VonMises(3.0, 1.0), "angles in (−π, π]"),
    "von_mises_fisher": (
        tfd.VonMisesFisher(jnp.array([-1.0, 0.0, 0.0]), 2.0),
        "unit vectors",
    ),
    "spherical_uniform": (tfd.SphericalUniform(3), "unit vectors"),
    "power_spherical": (
        tfd.PowerSpherical(jnp.array([-1.0, 0.0, 0.0]), 2.0),
        "unit vectors",
    ),
    "independent": (
        tfd.Independent(tfd.Uniform(jnp.zeros(2), jnp.array([1.0, 2.0])), 1),
        "numbers between [0. 0.] and [1. 2.]",
    ),
    "sample": (tfd.Sample(tfd.Gamma(2.0, 1.0), 3), "positive numbers"),
    "batch_reshape": (
        tfd.BatchReshape(tfd.Pareto(2.0, jnp.array([1.0, 2.0, 3.0, 4.0])), [2, 2]),
        "numbers greater than [[1. 2.]\n [3. 4.]]",
    ),
    "mixture_same_family": (
        tfd.MixtureSameFamily(
            tfd.Categorical(probs=jnp.array([0.5, 0.5])),
            tfd.Uniform(jnp.array([0.0, 0.5]), jnp.array([1.0, 2.0])),
        ),
        "numbers between 0 and 2",
    ),
    "mixture_of_vectors": (
        tfd.MixtureSameFamily(
            tfd.Categorical(probs=jnp.array([0.5, 0.5])),
            tfd.Dirichlet(jnp.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])),
        ),
        "positive parts that sum to 1",
    ),
    "mixture": (
        tfd.Mixture(
            tfd.Categorical(probs=jnp.array([0.5, 0.5])),
            [tfd.HalfNormal(1.0), tfd.Normal(0.0, 1.0)],
        ),
        "all real numbers",
    ),
    "transformed": (
        tfd.TransformedDistribution(
            _NORMAL, tfb.Chain([tfb.Shift(2.0), tfb.Scale(-1.0), tfb.Exp()])
        ),
        "numbers less than 2",
    ),
    "transformed_negative": (
        tfd.TransformedDistribution(tfd.Gamma(2.0, 1.0), tfb.Scale(-2.0)),
        "numbers less than 0",
    ),
    "transformed_simplex": (
        tfd.TransformedDistribution(
            tfd.MultivariateNormalDiag(jnp.zeros(2)), tfb.IteratedSigmoidCentered()
        ),
        "positive parts that sum to 1",
    ),
}


# What is made of several gamma variates takes seconds to compile, and TFP gives part of
# the line a density of 0 where the extreme value distribution has shape 0.
WORDS_ONLY = {
    *("gamma_gamma", "noncentral_chi2"),
    *("mixture_of_vectors", "half_student_t", "extreme_value_gumbel", "lkj"),
}


def _free_value(reparam: bt.Reparam, key: jax.Array) -> jax.Array:
    return reparam.unravel(jax.random.normal(key, (reparam.dim,)))


@pytest.mark.slow
@pytest.mark.parametrize("name", TFP)
def test_tfp_draws_are_inside_and_free_values_are_possible(name, getkey):
    prior, words = TFP[name]
    bijector = bt.bijector_for(prior)
    support = bt.support(bijector)
    assert support.description == words
    if name in WORDS_ONLY:
        return
    draws = prior.sample(50, seed=getkey())
    assert jnp.all(support.contains(draws))
    reparam = bt.Reparam({"x": draws}, {"x": bijector})
    back = reparam.forward(reparam.inverse({"x": draws}))["x"]
    np.testing.assert_allclose(back, draws, rtol=1e-3, atol=1e-3)
    anywhere = reparam.forward(_free_value(reparam, getkey()))["x"]
    # inside the hull of a mixture, each component may be impossible
    assert np.all(np.isfinite(prior.log_prob(anywhere)))


def test_sample_puts_the_bounds_before_its_axes():
    low = jnp.array([0.0, 10.0])
    bijector = bt.bijector_for(tfd.Sample(tfd.Uniform(low, low + 1), 3))
    value = bijector.forward(jnp.zeros((2, 3)))
    np.testing.assert_array_equal(value, [[0.5] * 3, [10.5] * 3])


def test_parameters_may_be_traced():
    @jax.jit
    def middle(low):
        return bt.bijector_for(tfd.Uniform(low, 2.0)).forward(jnp.zeros(()))

    assert middle(0.0) == 1.0
    assert jax.grad(middle)(0.0) == 0.5


NUMPYRO = {
    "normal": (nd.Normal(0.0, 1.0), "all real numbers"),
    "mvn": (nd.MultivariateNormal(jnp.zeros(2), jnp.eye(2)), "all real numbers"),
    "gamma": (nd.Gamma(2.0, 1.0), "positive numbers"),
    "pareto": (nd.Pareto(2.0, 3.0), "numbers greater than 2"),
    "uniform": (nd.Uniform(-1.0, 3.0), "numbers between -1 and 3"),
    "beta": (nd.Beta(2.0, 3.0), "numbers between 0 and 1"),
    "log_uniform": (nd.LogUniform(1.0, 3.0), "numbers between 1 and 3"),
    "truncated": (
        nd.TruncatedNormal(0.0, 1.0, low=-1.0, high=3.0),
        "numbers between -1 and 3",
    ),
    "right_truncated": (
        nd.RightTruncatedDistribution(nd.Normal(0.0, 1.0), 1.0),
        "numbers less than 1",
    ),
    "dirichlet": (nd.Dirichlet(jnp.ones(3) * 2), "positive parts that sum to 1"),
    "lkj": (nd.LKJ(3, 2.0), "correlation matrices"),
    "lkj_cholesky": (
        nd.LKJCholesky(3, 2.0),
        "Cholesky factors of correlation matrices",
    ),
    "wishart": (
        nd.Wishart(5.0, scale_matrix=jnp.eye(3)),
        "symmetric positive definite matrices",
    ),
    "von_mises": (nd.VonMises(3.0, 1.0), "angles in (−π, π]"),
    "projected_normal": (nd.ProjectedNormal(jnp.ones(3)), "unit vectors"),
    "zero_sum": (nd.ZeroSumNormal(1.0, (3,)), "numbers that sum to 0"),
    "zero_sum_matrix": (
        nd.ZeroSumNormal(1.0, (3, 4)),
        "matrices whose rows and columns sum to 0",
    ),
    "independent": (nd.Gamma(jnp.ones(3), 1.0).to_event(1), "positive numbers"),
    "expanded": (nd.HalfNormal(1.0).expand([3]), "positive numbers"),
    "mixture": (
        nd.MixtureSameFamily(
            nd.Categorical(probs=jnp.array([0.5, 0.5])),
            nd.Beta(jnp.array([1.0, 2.0]), jnp.array([2.0, 1.0])),
        ),
        "numbers between 0 and 1",
    ),
    "mixture_general": (
        nd.MixtureGeneral(
            nd.Categorical(probs=jnp.array([0.5, 0.5])),
            [nd.HalfNormal(1.0), nd.Gamma(2.0, 1.0)],
        ),
        "positive numbers",
    ),
    "ordered": (
        nd.TransformedDistribution(
            nd.Normal(jnp.zeros(3), 1.0).to_event(1),
            nd.transforms.OrderedTransform(),
        ),
        "increasing vectors",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NUMPYRO)
def test_numpyro_free_values_are_possible(name, getkey):
    prior, words = NUMPYRO[name]
    bijector = bt.bijector_for(prior)
    assert bt.support(bijector).description == words
    template = jax.ShapeDtypeStruct((5, *prior.batch_shape, *prior.event_shape), float)
    reparam = bt.Reparam({"x": template}, {"x": bijector})
    anywhere = reparam.forward(_free_value(reparam, getkey()))["x"]
    assert np.all(np.isfinite(prior.log_prob(anywhere)))


CONSTRAINTS = {
    "real": bt.real(),
    "real_vector": bt.real(),
    "real_matrix": bt.real(),
    "positive": bt.positive(),
    "nonnegative": bt.positive(),
    "softplus_positive": bt.positive(via="softplus"),
    "unit_interval": bt.unit_interval(),
    "circular": bt.circular(),
    "ordered_vector": bt.ordered_vector(),
    "simplex": bt.simplex(),
    "sphere": bt.sphere(),
    "corr_cholesky": bt.corr_cholesky(),
    "corr_matrix": bt.corr_matrix(),
    "lower_cholesky": bt.lower_cholesky(),
    "softplus_lower_cholesky": bt.lower_cholesky(),
    "positive_definite": bt.positive_definite(),
    "positive_semidefinite": bt.positive_definite(),
}


@pytest.mark.parametrize(("name", "expected"), CONSTRAINTS.items())
def test_numpyro_constraints(name, expected):
    assert bt.bijector_for(getattr(constraints, name)) == expected


def test_numpyro_constraints_with_parameters():
    assert bt.bijector_for(constraints.interval(1.0, 2.0)) == bt.interval(1.0, 2.0)
    assert bt.bijector_for(constraints.greater_than(1.0)) == bt.greater_than(1.0)
    assert bt.bijector_for(constraints.less_than(1.0)) == bt.less_than(1.0)
    assert bt.bijector_for(constraints.zero_sum(1)) == bt.zero_sum()
    inner = constraints.independent(constraints.positive, 1)
    assert bt.bijector_for(inner) == bt.positive()


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (tfd.Poisson(2.0), "Poisson: its support is discrete"),
        (tfd.Bernoulli(probs=0.5), "Bernoulli: its support is discrete"),
        (tfd.OneHotCategorical(probs=[0.5, 0.5]), "its support is discrete"),
        (tfd.NegativeBinomial(2.0, probs=0.5), "its support is discrete"),
        (tfd.Deterministic(1.0), "a single value; freeze the leaf"),
        (
            tfd.ExpRelaxedOneHotCategorical(1.0, probs=[0.5, 0.5]),
            "RelaxedOneHotCategorical",
        ),
        (tfd.JointDistributionSequential([_NORMAL]), "several leaves"),
        (nd.Poisson(2.0), "its support is discrete"),
        (nd.Bernoulli(0.5), "its support is discrete"),
        (nd.Delta(1.0), "a single value; freeze the leaf"),
        (nd.HurdlePoisson(0.5, 1.0), "no density"),
        (constraints.boolean, "its support is discrete"),
        (constraints.positive_integer, "its support is discrete"),
        (constraints.l1_ball, "l1 ball"),
        (
            tfd.Mixture(
                tfd.Categorical(probs=[0.5, 0.5]),
                [
                    tfd.Dirichlet([1.0, 1.0]),
                    tfd.MultivariateNormalDiag([0.0, 0.0]),
                ],
            ),
            "unlike supports: positive parts that sum to 1, all real numbers",
        ),
        (
            nd.TransformedDistribution(_ND_NORMAL, _t.ExpTransform().inv),
            "what the inverse of ExpTransform makes of all real numbers is not known",
        ),
        (
            nd.TransformedDistribution(_ND_NORMAL, _t.PowerTransform(2.0)),
            "what PowerTransform makes of all real numbers is not known",
        ),
        (
            nd.TransformedDistribution(
                _ND_VECTOR, [_t.OrderedTransform(), _t.AffineTransform(1.0, 2.0)]
            ),
            "what AffineTransform makes of increasing vectors is not known",
        ),
        (
            nd.TransformedDistribution(
                nd.Gamma(2.0, 1.0).expand([2]).to_event(1), _t.StickBreakingTransform()
            ),
            "what StickBreakingTransform makes of positive numbers is not known",
        ),
    ],
)
def test_what_has_no_chart_says_why(prior, message):
    with pytest.raises(ValueError, match=message):
        bt.bijector_for(prior)


def test_a_mixture_with_bounds_that_are_traced():
    @jax.jit
    def middle(high):
        components = tfd.Uniform(jnp.zeros(2), jnp.stack([1.0, high]))
        prior = tfd.MixtureSameFamily(tfd.Categorical(probs=_HALF), components)
        return bt.bijector_for(prior).forward(jnp.zeros(()))

    assert middle(4.0) == 2.0


@pytest.mark.parametrize("thing", [1.0, "positive", tfd.Normal, bt.positive()])
def test_what_is_no_prior_is_a_type_error(thing):
    with pytest.raises(TypeError, match="a distribution or a constraint is needed"):
        bt.bijector_for(thing)


def test_register_serves_subclasses_too(monkeypatch):
    monkeypatch.setattr("bijectree.priors.lookup._table", dict(bt.priors.lookup._table))

    class Percentage:
        pass

    class Half(Percentage):
        pass

    with pytest.raises(TypeError):
        bt.bijector_for(Half())
    bt.register(Percentage, lambda constraint: bt.interval(0.0, 100.0))
    assert bt.bijector_for(Half()) == bt.interval(0.0, 100.0)
