"""What is known of distributions: the sisters of two libraries behave alike."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as nd
import pytest
import scipy.stats as st

import bijectree as bt
from bijectree import tfb, tfd
from bijectree.priors import bijector_for, facts, lookup

pytestmark = [
    pytest.mark.jax_defaults,  # TFP and NumPyro promote dtypes and ranks themselves
    pytest.mark.filterwarnings("ignore:Explicitly requested dtype:UserWarning"),
    pytest.mark.filterwarnings("ignore:shape requires ndarray:DeprecationWarning"),
]

_t = nd.transforms
_PARTS = np.float32([0.7, 1.5, 2.5])
_FACTOR = np.float32([[1.5, 0.0], [0.4, 0.8]])
_HALF = np.float32([0.5, 0.5])

# TFP's, NumPyro's, and SciPy's where it has one of numbers.
SISTERS = {
    "beta": (tfd.Beta(2.0, 3.0), nd.Beta(2.0, 3.0), st.beta(2, 3)),
    "cauchy": (tfd.Cauchy(0.5, 2.0), nd.Cauchy(0.5, 2.0), st.cauchy(0.5, 2)),
    "chi2": (tfd.Chi2(3.0), nd.Chi2(3.0), st.chi2(3)),
    "dirichlet": (tfd.Dirichlet(_PARTS), nd.Dirichlet(jnp.asarray(_PARTS)), None),
    "exponential": (tfd.Exponential(1.5), nd.Exponential(1.5), st.expon(scale=1 / 1.5)),
    "gamma": (tfd.Gamma(2.5, 1.5), nd.Gamma(2.5, 1.5), st.gamma(2.5, scale=1 / 1.5)),
    "gumbel": (tfd.Gumbel(0.5, 2.0), nd.Gumbel(0.5, 2.0), st.gumbel_r(0.5, 2)),
    "half_cauchy": (tfd.HalfCauchy(0.0, 2.0), nd.HalfCauchy(2.0), st.halfcauchy(0, 2)),
    "half_normal": (tfd.HalfNormal(2.0), nd.HalfNormal(2.0), st.halfnorm(0, 2)),
    "independent": (
        tfd.Independent(tfd.Gamma(_HALF, 1.0), 1),
        nd.Gamma(jnp.asarray(_HALF), 1.0).to_event(1),
        None,
    ),
    "inverse_gamma": (
        tfd.InverseGamma(3.0, 2.0),
        nd.InverseGamma(3.0, 2.0),
        st.invgamma(3, scale=2),
    ),
    "laplace": (tfd.Laplace(0.5, 2.0), nd.Laplace(0.5, 2.0), st.laplace(0.5, 2)),
    "lkj_cholesky": (tfd.CholeskyLKJ(3, 1.5), nd.LKJCholesky(3, 1.5), None),
    "lkj": (tfd.LKJ(3, 1.5), nd.LKJ(3, 1.5), None),
    "log_normal": (
        tfd.LogNormal(0.5, 0.7),
        nd.LogNormal(0.5, 0.7),
        st.lognorm(0.7, scale=np.exp(0.5)),
    ),
    "logistic": (tfd.Logistic(0.5, 2.0), nd.Logistic(0.5, 2.0), st.logistic(0.5, 2)),
    "mapped": (
        tfd.TransformedDistribution(tfd.Normal(0.1, 0.5), tfb.Softplus()),
        nd.TransformedDistribution(nd.Normal(0.1, 0.5), _t.SoftplusTransform()),
        None,
    ),
    "mixture": (
        tfd.MixtureSameFamily(
            tfd.Categorical(probs=_HALF), tfd.Normal(np.float32([-1.0, 2.0]), 1.0)
        ),
        nd.MixtureSameFamily(
            nd.Categorical(probs=jnp.asarray(_HALF)),
            nd.Normal(jnp.array([-1.0, 2.0]), 1.0),
        ),
        None,
    ),
    "normal": (tfd.Normal(0.5, 2.0), nd.Normal(0.5, 2.0), st.norm(0.5, 2)),
    "normals": (
        tfd.MultivariateNormalTriL(np.zeros(2, np.float32), _FACTOR),
        nd.MultivariateNormal(jnp.zeros(2), scale_tril=jnp.asarray(_FACTOR)),
        None,
    ),
    "pareto": (tfd.Pareto(2.5, 1.5), nd.Pareto(1.5, 2.5), st.pareto(2.5, scale=1.5)),
    "student": (tfd.StudentT(3.0, 0.5, 2.0), nd.StudentT(3.0, 0.5, 2.0), st.t(3, 0.5, 2)),
    "truncated": (
        tfd.TruncatedNormal(0.5, 2.0, -1.0, 3.0),
        nd.TruncatedNormal(0.5, 2.0, low=-1.0, high=3.0),
        st.truncnorm(-0.75, 1.25, 0.5, 2),
    ),
    "uniform": (tfd.Uniform(-1.0, 3.0), nd.Uniform(-1.0, 3.0), st.uniform(-1, 4)),
    "weibull": (
        tfd.Weibull(1.5, 2.0),
        nd.Weibull(2.0, 1.5),
        st.weibull_min(1.5, scale=2),
    ),
}


@pytest.mark.parametrize("name", SISTERS)
def test_sisters_have_one_support_and_one_density(name):
    ours, theirs, expected = SISTERS[name]
    assert facts.is_proven(ours)
    assert facts.is_proven(theirs)
    of_ours, of_theirs = (bt.support(bijector_for(d)) for d in (ours, theirs))
    assert of_ours.same_set(of_theirs)
    shape = (*ours.batch_shape, *ours.event_shape)
    model = {"x": jax.ShapeDtypeStruct(shape, jnp.float32)}
    values = []
    for prior in (ours, theirs):
        reparam = bt.Reparam(model, bt.spec_from_prior(model, {"x": prior}))
        flat = bt.Posterior(reparam, None, {"x": prior}).flat()
        y = jnp.linspace(-0.6, 0.8, flat.dim)
        values.append(float(flat.log_density(y, jacobian=False)))
    np.testing.assert_allclose(*values, rtol=2e-5, atol=2e-5)
    if expected is not None:
        x = float(flat.forward(y)["x"])
        np.testing.assert_allclose(values[0], expected.logpdf(x), rtol=2e-5, atol=2e-5)


REFUSED_SISTERS = {
    "bernoulli": (tfd.Bernoulli(probs=0.3), nd.Bernoulli(0.3)),
    "binomial": (tfd.Binomial(3.0, probs=0.3), nd.Binomial(3, 0.3)),
    "categorical": (
        tfd.Categorical(probs=_HALF),
        nd.Categorical(probs=jnp.asarray(_HALF)),
    ),
    "even": (
        tfd.TransformedDistribution(tfd.Normal(0.5, 1.0), tfb.Square()),
        nd.TransformedDistribution(nd.Normal(0.5, 1.0), _t.PowerTransform(2.0)),
    ),
    "geometric": (tfd.Geometric(probs=0.3), nd.Geometric(probs=0.3)),
    "moved": (
        tfd.TransformedDistribution(tfd.Dirichlet(_PARTS), tfb.Exp()),
        nd.TransformedDistribution(nd.Dirichlet(jnp.asarray(_PARTS)), _t.ExpTransform()),
    ),
    "point": (tfd.Deterministic(1.0), nd.Delta(1.0)),
    "poisson": (tfd.Poisson(2.0), nd.Poisson(2.0)),
}


@pytest.mark.parametrize("name", REFUSED_SISTERS)
def test_sisters_are_refused_together(name):
    for prior in REFUSED_SISTERS[name]:
        shape = (*prior.batch_shape, *prior.event_shape)
        model = {"x": jax.ShapeDtypeStruct(shape, jnp.float32)}
        assert not facts.is_proven(prior)
        with pytest.raises(ValueError, match="at 'x': "):
            bt.spec_from_prior(model, {"x": prior})
        with pytest.raises(ValueError, match="at 'x': "):
            bt.Posterior(bt.Reparam(model, None), None, {"x": prior})


def test_every_class_of_the_table_exists():
    for library, module in (("tensorflow_probability", tfd), ("numpyro", nd)):
        assert [n for n in facts._PROVEN[library] if not hasattr(module, n)] == []
    for library, name in facts._MADE_OF:
        module = {"tensorflow_probability": tfd, "numpyro": nd}.get(library)
        assert module is None or hasattr(module, name)


def test_a_wrapper_is_as_good_as_its_parts(monkeypatch):
    monkeypatch.setattr(lookup, "_table", dict(lookup._table))
    monkeypatch.setattr(lookup, "_by_users", set())

    class Mine(tfd.Normal):
        pass

    mine, known = Mine(0.0, 1.0), tfd.Normal(0.0, 1.0)
    mixing = tfd.Categorical(probs=_HALF)
    assert not facts.is_proven(mine)
    assert not facts.is_proven(tfd.Sample(mine, 3))
    assert not facts.is_proven(tfd.Mixture(mixing, [known, mine]))
    assert facts.is_proven(tfd.Mixture(mixing, [known, known]))
    assert facts.made_of(tfd.Mixture(mixing, [known, mine])) == [known, mine]
    assert facts.made_of(known) == []
    bt.register(tfd.Normal, lambda prior: bt.positive())
    assert not facts.is_proven(known)


@pytest.mark.parametrize(
    ("prior", "words"),
    [
        (tfd.GeneralizedExtremeValue(0.0, 1.0, 0.0), "use tfd.Gumbel"),
        (tfd.GeneralizedExtremeValue(0.0, 1.0, np.float32([0.0, 1.0])), "tfd.Gumbel"),
        (tfd.GeneralizedExtremeValue(0.0, 1.0, 0.3), ""),
        (nd.FoldedDistribution(nd.Normal(0.5, 1.0)), ""),
        (nd.FoldedDistribution(nd.Gamma(2.0, 1.0)), "fold one of all real numbers"),
        (nd.FoldedDistribution(nd.Beta(2.0, 1.0)), "fold one of all real numbers"),
        (tfd.Normal(0.0, 1.0), ""),
    ],
)
def test_what_is_wrong_for_some_numbers_alone(prior, words):
    why = facts.wrong_by_value(prior)
    assert words in why
    assert bool(words) == bool(why)
