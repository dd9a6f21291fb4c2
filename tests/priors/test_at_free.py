"""Densities from free coordinates: where the leaf itself has run out of numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as nd
import pytest
import scipy.special
import scipy.stats as st

import bijectree as bt
from bijectree import tfb, tfd
from bijectree.priors import knows_at_free

pytestmark = pytest.mark.jax_defaults  # TFP and NumPyro promote ranks

_UNIT = bt.interval(0.0, 1.0)

# Most of each is where float32 has no number between an end and the next one, or above
# the largest; with the same density by SciPy, of the value.
POLES = {
    "beta": (lambda: tfd.Beta(0.1, 0.1), _UNIT, st.beta(0.1, 0.1)),
    "beta_sigmoid": (lambda: tfd.Beta(0.05, 2.0), tfb.Sigmoid(), st.beta(0.05, 2.0)),
    "chi": (lambda: tfd.Chi(0.02), bt.positive(), st.chi(0.02)),
    "chi2": (lambda: tfd.Chi2(0.02), bt.positive(), st.chi2(0.02)),
    "gamma": (lambda: tfd.Gamma(0.01, 2.0), bt.positive(), st.gamma(0.01, scale=0.5)),
    "gamma_log_rate": (
        lambda: tfd.Gamma(0.01, log_rate=np.float32(np.log(2.0))),
        bt.positive(),
        st.gamma(0.01, scale=0.5),
    ),
    "gamma_softplus": (
        lambda: tfd.Gamma(0.01, 2.0),
        bt.positive(via="softplus"),
        st.gamma(0.01, scale=0.5),
    ),
    "gamma_tfp_softplus": (
        lambda: tfd.Gamma(0.01, 2.0),
        tfb.Softplus(),
        st.gamma(0.01, scale=0.5),
    ),
    "gamma_exp": (lambda: tfd.Gamma(0.01, 2.0), tfb.Exp(), st.gamma(0.01, scale=0.5)),
    "gamma_gamma": (
        lambda: tfd.GammaGamma(0.02, 0.03, 2.0),
        bt.positive(),
        st.betaprime(0.02, 0.03, scale=2.0),
    ),
    "inverse_gaussian": (
        lambda: tfd.InverseGaussian(2.0, 0.5),
        bt.positive(),
        st.invgauss(4.0, scale=0.5),
    ),
    "half_cauchy": (
        lambda: tfd.HalfCauchy(1.0, 2.0),
        bt.greater_than(1.0),
        st.halfcauchy(1.0, 2.0),
    ),
    "half_student_t": (
        lambda: tfd.HalfStudentT(0.02, 1.0, 2.0),
        bt.greater_than(1.0),
        None,
    ),
    "inverse_gamma": (
        lambda: tfd.InverseGamma(0.01, 2.0),
        bt.positive(),
        st.invgamma(0.01, scale=2.0),
    ),
    "kumaraswamy": (lambda: tfd.Kumaraswamy(0.03, 0.02), _UNIT, None),
    "log_logistic": (
        lambda: tfd.LogLogistic(0.5, 30.0),
        bt.positive(),
        st.fisk(1 / 30.0, scale=np.exp(0.5)),
    ),
    "log_normal": (
        lambda: tfd.LogNormal(0.5, 60.0),
        bt.positive(),
        st.lognorm(60.0, scale=np.exp(0.5)),
    ),
    "logit_normal": (lambda: tfd.LogitNormal(0.5, 60.0), _UNIT, None),
    "pareto": (
        lambda: tfd.Pareto(0.02, 3.0),
        bt.greater_than(3.0),
        st.pareto(0.02, scale=3.0),
    ),
    "relaxed_bernoulli": (lambda: tfd.RelaxedBernoulli(0.02, probs=0.3), _UNIT, None),
    "weibull": (
        lambda: tfd.Weibull(0.02, 2.0),
        bt.positive(),
        st.weibull_min(0.02, scale=2.0),
    ),
    "expanded": (
        lambda: nd.Gamma(0.01, 2.0).expand([1]).to_event(1),
        bt.positive(),
        st.gamma(0.01, scale=0.5),
    ),
    "numpyro_beta": (lambda: nd.Beta(0.1, 0.1), _UNIT, st.beta(0.1, 0.1)),
    "numpyro_chi2": (lambda: nd.Chi2(0.02), bt.positive(), st.chi2(0.02)),
    "numpyro_dagum": (
        lambda: nd.Dagum(0.7, 0.03, 2.0),
        bt.positive(),
        st.burr(0.03, 0.7, scale=2.0),
    ),
    "numpyro_levy": (
        lambda: nd.Levy(1.0, 2.0),
        bt.greater_than(1.0),
        st.levy(1.0, 2.0),
    ),
    "numpyro_half_cauchy": (
        lambda: nd.HalfCauchy(2.0),
        bt.positive(),
        st.halfcauchy(0.0, 2.0),
    ),
    "numpyro_inverse_gamma": (
        lambda: nd.InverseGamma(0.01, 2.0),
        bt.positive(),
        st.invgamma(0.01, scale=2.0),
    ),
    "numpyro_kumaraswamy": (lambda: nd.Kumaraswamy(0.03, 0.02), _UNIT, None),
    "numpyro_log_normal": (
        lambda: nd.LogNormal(0.5, 60.0),
        bt.positive(),
        st.lognorm(60.0, scale=np.exp(0.5)),
    ),
    "numpyro_pareto": (
        lambda: nd.Pareto(3.0, 0.02),
        bt.greater_than(3.0),
        st.pareto(0.02, scale=3.0),
    ),
    "numpyro_proportion": (
        lambda: nd.BetaProportion(0.3, 0.2),
        _UNIT,
        st.beta(0.06, 0.14),
    ),
    "numpyro_relaxed_bernoulli": (
        lambda: nd.RelaxedBernoulliLogits(0.02, 0.3),
        _UNIT,
        None,
    ),
    "numpyro_weibull": (
        lambda: nd.Weibull(2.0, 0.02),
        bt.positive(),
        st.weibull_min(0.02, scale=2.0),
    ),
    "sample": (
        lambda: tfd.Sample(tfd.Gamma(0.01, 2.0), 1),
        bt.positive(),
        st.gamma(0.01, scale=0.5),
    ),
}
QUICK = ["beta", "gamma", "gamma_softplus", "inverse_gamma", "kumaraswamy", "sample"]


def _posterior(make, bijector, dtype):
    prior = make()
    shape = (*prior.batch_shape, *prior.event_shape)
    model = {"x": jax.ShapeDtypeStruct(shape, dtype)}
    return bt.Posterior(bt.Reparam(model, bijector), None, {"x": prior})


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in POLES],
)
def test_the_whole_mass_is_there_in_float32(name):
    make, bijector, _ = POLES[name]
    flat = _posterior(make, bijector, jnp.float32).flat()
    t = np.linspace(-9.5, 9.5, 8001)
    y = jnp.asarray(np.sinh(t), jnp.float32)[:, None]
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(flat.log_density)))(y)
    mass = np.sum(np.exp(np.asarray(values, float)) * np.cosh(t)) * (t[1] - t[0])
    np.testing.assert_allclose(mass, 1.0, atol=1e-4)
    assert np.isfinite(slopes).all()


@pytest.mark.parametrize("name", [name for name in POLES if POLES[name][2] is not None])
def test_it_is_the_density_of_the_value(name, precision):
    make, bijector, expected = POLES[name]
    dtype = jnp.result_type(float)
    posterior = _posterior(make, bijector, dtype)
    free = posterior.reparam.unravel(jnp.asarray([0.7], dtype))
    x = np.asarray(posterior.reparam.forward(free)["x"], float)
    rtol = 1e-5 if dtype == jnp.float32 else 1e-9
    with jax.disable_jit():
        got = posterior.log_density(free, jacobian=False)
    np.testing.assert_allclose(got, np.sum(expected.logpdf(x)), rtol=rtol)


@pytest.mark.parametrize("via", ["ilr", "stick_breaking"])
@pytest.mark.parametrize("make", [tfd.Dirichlet, nd.Dirichlet])
def test_a_dirichlet_of_small_concentrations_has_all_its_mass(make, via):
    prior = make(jnp.array([0.01, 0.02]))
    model = {"x": jax.ShapeDtypeStruct((2,), jnp.float32)}
    flat = bt.Posterior(bt.Reparam(model, bt.simplex(via=via)), None, prior).flat()
    t = np.linspace(-9.5, 9.5, 8001)
    y = jnp.asarray(np.sinh(t), jnp.float32)[:, None]
    values = np.asarray(jax.jit(jax.vmap(flat.log_density))(y), float)
    mass = np.sum(np.exp(values) * np.cosh(t)) * (t[1] - t[0])
    np.testing.assert_allclose(mass, 1.0, atol=1e-4)


def test_densities_on_a_simplex_are_those_of_the_parts(getkey):
    parts = {"x": jax.random.dirichlet(getkey(), jnp.ones(4), (3,))}
    reparam = bt.Reparam(parts, bt.simplex())
    for prior in (
        tfd.Dirichlet([0.5, 1.0, 2.0, 3.0]),
        tfd.RelaxedOneHotCategorical(0.7, probs=[0.1, 0.2, 0.3, 0.4]),
        tfd.RelaxedOneHotCategorical([0.7, 0.3, 2.0], logits=jnp.ones((3, 4))),
    ):
        posterior = bt.Posterior(reparam, None, prior)
        got = posterior.log_density(reparam.inverse(parts), jacobian=False)
        np.testing.assert_allclose(got, posterior.log_prior(parts), rtol=1e-4)


def test_bounds_that_are_not_those_of_the_prior_are_no_ends_of_it():
    # The bound is a number, which may be replaced after the posterior is made.
    reparam = bt.Reparam({"x": jnp.array(0.3)}, bt.interval(0.0, 1.0))
    posterior = bt.Posterior(reparam, None, tfd.Beta(0.5, 0.5))
    leaves, treedef = jax.tree.flatten(posterior)
    found = [
        jnp.asarray(0.5) if np.ndim(x) == 0 and float(x) == 1.0 else x for x in leaves
    ]
    moved = treedef.unflatten(found)
    free = {"x": jnp.array(2.0)}
    x = float(moved.reparam.forward(free)["x"])
    assert x < 0.5
    np.testing.assert_allclose(
        moved.log_density(free, jacobian=False), st.beta(0.5, 0.5).logpdf(x), rtol=1e-4
    )


def test_a_value_outside_the_support_has_density_zero():
    reparam = bt.Reparam({"x": jnp.array(2.0)}, bt.positive())
    with pytest.warns(UserWarning, match="may leave it"):
        posterior = bt.Posterior(reparam, None, tfd.Beta(2.0, 3.0))
    assert posterior.log_density({"x": jnp.array(1.0)}) == -jnp.inf


@pytest.mark.parametrize(
    ("prior", "bijector", "known"),
    [
        (tfd.Gamma(1.0, 1.0), bt.positive(), True),
        (tfd.Gamma(1.0, 1.0), bt.simplex(), False),
        (tfd.Dirichlet([1.0, 1.0]), bt.positive(), False),
        (tfd.Gamma(1.0, 1.0), tfb.Chain([tfb.Exp()]), False),
        (tfd.Sample(tfd.Gamma([1.0, 2.0], 1.0), 3), bt.positive(), False),
        (type("Gamma", (tfd.Gamma,), {})(1.0, 1.0), bt.positive(), False),
    ],
)
def test_what_is_known(prior, bijector, known):
    assert knows_at_free(prior, bijector) == known


def test_it_is_one_trace_for_leaves_alike_and_new_numbers():
    model = {f"x{i}": jnp.ones(2) for i in range(6)}
    reparam = bt.Reparam(model, bt.positive())
    posterior = bt.Posterior(reparam, None, tfd.Gamma(0.5, 1.0))
    free = reparam.inverse(model)
    traces = []

    @jax.jit
    def value(posterior, free):
        traces.append(1)
        return posterior.log_density(free, jacobian=False)

    np.testing.assert_allclose(
        value(posterior, free), 12 * st.gamma(0.5).logpdf(1.0), rtol=1e-5
    )
    other = bt.Posterior(reparam, None, tfd.Gamma(1.5, 2.0))
    np.testing.assert_allclose(
        value(other, free), 12 * st.gamma(1.5, scale=0.5).logpdf(1.0), rtol=1e-5
    )
    assert len(traces) == 1


def test_the_coordinates_are_those_below_what_then_has_put_over_them():
    reparam = bt.Reparam({"x": jnp.ones(2)}, bt.positive()).then(tfb.Scale(2.0))
    posterior = bt.Posterior(reparam, None, tfd.Gamma(0.01, 1.0))
    free = {"x": jnp.array([-200.0, 1.0])}
    # a y − exp y − log Γ(a) of each y = 2z, and log 2 for each z
    expected = 0.01 * (-400.0 + 2.0) - np.exp(2.0)
    expected += 2 * (np.log(2.0) - scipy.special.gammaln(0.01))
    np.testing.assert_allclose(posterior.log_density(free), expected, rtol=1e-5)
