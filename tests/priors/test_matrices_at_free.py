"""Densities of matrices from free coordinates: where rounding has made them singular."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as nd
import pytest
import scipy.special
import scipy.stats as st

import bijectree as bt
from bijectree import tfd
from bijectree.priors import knows_at_free

pytestmark = pytest.mark.jax_defaults  # TFP and NumPyro promote ranks

_SCALE = np.array([[1.0, 0.0], [0.5, 2.0]], np.float32)
_V = _SCALE.astype(float) @ _SCALE.T.astype(float)
LKJ = {
    "tfp_matrix": (lambda eta: tfd.LKJ(2, eta), bt.corr_matrix()),
    "tfp_factor": (lambda eta: tfd.CholeskyLKJ(2, eta), bt.corr_cholesky()),
    "tfp_angles": (
        lambda eta: tfd.CholeskyLKJ(2, eta),
        bt.corr_cholesky(via="spherical"),
    ),
    "numpyro_matrix": (lambda eta: nd.LKJ(2, eta), bt.corr_matrix()),
    "numpyro_factor": (lambda eta: nd.LKJCholesky(2, eta), bt.corr_cholesky()),
}
# With whether the leaf is the matrix, and SciPy's density of that.
WISHART = {
    "tfp": (
        lambda: tfd.WishartTriL(5.0, scale_tril=_SCALE),
        bt.positive_definite(),
        st.wishart(5.0, _V),
    ),
    "numpyro": (
        lambda: nd.Wishart(5.0, scale_tril=_SCALE),
        bt.positive_definite(),
        st.wishart(5.0, _V),
    ),
    "numpyro_factor": (
        lambda: nd.WishartCholesky(5.0, scale_tril=_SCALE),
        bt.lower_cholesky(),
        st.wishart(5.0, _V),
    ),
    "numpyro_inverse": (
        lambda: nd.InverseWishart(5.0, scale_tril=_SCALE),
        bt.positive_definite(),
        st.invwishart(5.0, _V),
    ),
    "numpyro_inverse_factor": (
        lambda: nd.InverseWishartCholesky(5.0, scale_tril=_SCALE),
        bt.lower_cholesky(),
        st.invwishart(5.0, _V),
    ),
}


def _density(prior, bijector):
    shape = (*prior.batch_shape, *prior.event_shape)
    dtype = jnp.result_type(float)
    reparam = bt.Reparam({"x": jax.ShapeDtypeStruct(shape, dtype)}, bijector)
    flat = bt.Posterior(reparam, None, {"x": prior}).flat()
    return jax.jit(jax.vmap(jax.value_and_grad(flat.log_density)))


@pytest.mark.parametrize("name", LKJ)
def test_lkj_of_a_correlation_that_is_one_in_rounding(name, precision):
    make, bijector = LKJ[name]
    y = np.array([0.5, 6.0, 9.0, -9.5, 12.0, -19.4, 25.0, -50.0, 100.0])
    values, slopes = _density(make(1.7), bijector)(jnp.asarray(y)[:, None])
    if name == "tfp_angles":
        assert np.isfinite(values).all()
    else:
        # The density (1 − r²)^(η − 1) / B(½, η) of r = tanh y, with 1 − tanh² y.
        log_cosh = np.abs(y) + np.log1p(np.exp(-2 * np.abs(y))) - np.log(2)
        expected = -2 * 1.7 * log_cosh - scipy.special.betaln(0.5, 1.7)
        np.testing.assert_allclose(values, expected, rtol=2e-6)
        np.testing.assert_allclose(slopes[:, 0], -2 * 1.7 * np.tanh(y), rtol=2e-6)
    assert np.isfinite(slopes).all()


@pytest.mark.parametrize("name", LKJ)
def test_the_whole_mass_of_lkj_is_there_in_float32(name):
    make, bijector = LKJ[name]
    t = np.linspace(-9.5, 9.5, 8001)
    y = jnp.asarray(np.sinh(t), jnp.float32)[:, None]
    values, _ = _density(make(0.02), bijector)(y)
    mass = np.sum(np.exp(np.asarray(values, float)) * np.cosh(t)) * (t[1] - t[0])
    np.testing.assert_allclose(mass, 1.0, atol=1e-4)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16])
def test_lkj_of_many_matrices_each_with_its_concentration(dtype, getkey):
    size, eta = 4, np.array([0.5, 3.0], np.float32)
    model = {"x": jnp.zeros((2, size, size), dtype) + jnp.eye(size, dtype=dtype)}
    for prior, bijector in (
        (tfd.LKJ(size, eta), bt.corr_matrix()),
        (nd.LKJ(size, jnp.asarray(eta)), bt.corr_matrix()),
        (tfd.CholeskyLKJ(size, eta), bt.corr_cholesky()),
        (nd.LKJCholesky(size, jnp.asarray(eta)), bt.corr_cholesky(via="spherical")),
    ):
        posterior = bt.Posterior(bt.Reparam(model, bijector), None, prior)
        free = 0.3 * jax.random.normal(getkey(), (2, 6)).astype(dtype)
        # TFP's own density, of the same leaf before it is rounded.
        x = bijector.forward(free.astype(jnp.float32))
        expected = np.sum(prior.log_prob(x))
        got = posterior.log_density({"x": free}, jacobian=False)
        np.testing.assert_allclose(got, expected, rtol=1e-4)


@pytest.mark.parametrize("name", WISHART)
def test_wishart_of_a_matrix_that_is_singular_in_rounding(name, precision):
    make, bijector, expected = WISHART[name]
    free = np.array([[0.5, 0.25, -0.5], [3.0, 8.0, -4.0], [4.0, -9.0, -5.0]], np.float32)
    values, slopes = _density(make(), bijector)(jnp.asarray(free, float))
    for y, value in zip(free.astype(float), values, strict=True):
        factor = np.array([[np.exp(y[0]), 0.0], [y[1], np.exp(y[2])]])
        # The log-det of L Lᵀ from the free coordinates.
        log_det = 2 * np.log(2) + 3 * y[0] + 2 * y[2]
        truth = expected.logpdf(factor @ factor.T) + log_det
        np.testing.assert_allclose(value, truth, rtol=2e-6)
    assert np.isfinite(slopes).all()


@pytest.mark.parametrize("name", WISHART)
def test_wishart_is_never_nan(name, precision):
    make, bijector, _ = WISHART[name]
    ends = (-800.0, -110.0, -50.0, -38.0, -12.0, 0.0, 17.0, 50.0, 110.0, 800.0)
    free = np.array([[a, b, c] for a in ends for b in (0.0, -30.0) for c in ends])
    values, slopes = _density(make(), bijector)(jnp.asarray(free))
    assert not (np.isnan(values) | np.isposinf(values)).any()
    assert np.isfinite(slopes).all()


def test_a_factor_is_no_matrix_and_numbers_are_neither():
    known = {
        (tfd.LKJ(2, 1.0), bt.corr_matrix()): True,
        (tfd.LKJ(2, 1.0), bt.corr_cholesky()): False,
        (tfd.LKJ(2, 1.0, input_output_cholesky=True), bt.corr_cholesky()): False,
        (tfd.LKJ(2, 1.0), bt.positive_definite()): False,
        (nd.WishartCholesky(5.0, scale_tril=_SCALE), bt.lower_cholesky()): True,
        (nd.WishartCholesky(5.0, scale_tril=_SCALE), bt.positive_definite()): False,
        (tfd.Gamma(1.0, 1.0), bt.positive_definite()): False,
        (tfd.Dirichlet([1.0, 1.0]), bt.corr_matrix()): False,
    }
    for (prior, bijector), expected in known.items():
        assert knows_at_free(prior, bijector) == expected, (prior, bijector)


def test_what_other_leaves_set():
    model = {"eta": jnp.array(2.0), "x": jnp.eye(2)}
    prior = {
        "eta": tfd.Gamma(2.0, 1.0),
        "x": bt.dependent(lambda m: tfd.LKJ(2, m["eta"])),
    }
    reparam = bt.Reparam(model, {"eta": bt.positive(), "x": bt.corr_matrix()})
    posterior = bt.Posterior(reparam, None, prior)
    value, slope = jax.value_and_grad(posterior.log_density)(
        {"eta": jnp.array(0.0), "x": jnp.array([20.0])}
    )
    # Gamma(2, 1) at 1 and −2η log cosh 20 − log B(½, η), with its slope in log η.
    log_cosh = 20 - np.log(2)
    expected = -1.0 - 2 * log_cosh - scipy.special.betaln(0.5, 1.0)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    digamma = scipy.special.digamma
    slope_of_eta = 2 - 1 - 2 * log_cosh - digamma(1.0) + digamma(1.5)
    np.testing.assert_allclose(slope["eta"], slope_of_eta, rtol=1e-5)
