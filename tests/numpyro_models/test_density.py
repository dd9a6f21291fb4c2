"""The density of models taken over is NumPyro's own, and so are its gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer.util import get_transforms, log_density, potential_energy
from numpyro_zoo import ZOO

import bijectree as bt

pytestmark = pytest.mark.jax_defaults  # NumPyro promotes dtypes and ranks itself

# Those that compile in about a second are tried always, and the others are slow.
QUICK = [
    "eight schools",
    "logistic",
    "Gaussian process",
    "funnel",
    "zero inflated",
    "autoregression",
    "missing values",
    "shells",
]
CASES = [
    pytest.param(name, id=name, marks=[] if name in QUICK else [pytest.mark.slow])
    for name in ZOO
]


def points(posterior, count=3):
    random = np.random.default_rng(7)
    return jnp.asarray(0.6 * random.normal(size=(count, posterior.dim)))


def against_numpyro(function, args, reference=None, **kwargs):
    """Hold a posterior to NumPyro's potential energy of the same model."""
    numpyros = reference or function
    posterior = bt.from_numpyro(function, *args, **kwargs)
    flat, reparam = posterior.flat(), posterior.reparam

    @jax.jit
    @jax.vmap
    def ours(vector):
        model = flat.forward(vector)
        total = flat.log_density(vector)
        log_det = reparam.forward_log_det_jacobian(reparam.unravel(vector))
        gradient = jax.grad(
            lambda m: posterior.log_prior(m) + posterior.log_likelihood(m)
        )(model)
        return total - log_det, model, gradient

    @jax.jit
    @jax.vmap
    def theirs(model):
        transforms = get_transforms(numpyros, args, kwargs, model)
        free = {name: transforms[name].inv(x) for name, x in model.items()}
        log_det = sum(
            jnp.sum(transforms[name].log_abs_det_jacobian(free[name], x))
            for name, x in model.items()
        )
        gradient = jax.grad(lambda m: log_density(numpyros, args, kwargs, m)[0])(model)
        return -potential_energy(numpyros, args, kwargs, free) - log_det, gradient

    density, model, gradient = ours(points(posterior))
    due, slopes = theirs(model)
    assert np.all(np.isfinite(due))
    np.testing.assert_allclose(density, due, rtol=1e-10, atol=1e-10)
    assert set(gradient) == set(slopes)
    for name, slope in slopes.items():
        np.testing.assert_allclose(gradient[name], slope, rtol=1e-9, atol=1e-9)
    return posterior


@pytest.mark.parametrize("name", CASES)
def test_a_model_has_the_density_of_numpyro_and_its_gradient(name):
    with jax.enable_x64(True):
        posterior = against_numpyro(*ZOO[name])
        vector = points(posterior)[0]
        terms = posterior.prior_terms(posterior.flat().forward(vector))
        assert set(terms) == set(posterior.flat().forward(vector))


@pytest.mark.parametrize(
    "name",
    [
        "logistic",
        "Gaussian process",
        *(pytest.param(x, marks=pytest.mark.slow) for x in ("network", "horseshoe")),
    ],
)
def test_where_the_maps_are_numpyro_s_the_densities_of_coordinates_are_equal(name):
    function, args = ZOO[name]
    with jax.enable_x64(True):
        posterior = bt.from_numpyro(function, *args)
        vector = points(posterior)[0]
        free = posterior.reparam.unravel(vector)
        due = -potential_energy(function, args, {}, free)
        got = posterior.log_density(free)
    np.testing.assert_allclose(got, due, rtol=1e-12)


def test_twenty_models_are_tried():
    assert len(ZOO) >= 20
    assert set(QUICK) < set(ZOO)


@pytest.mark.parametrize("name", ["eight schools", "zero inflated"])
def test_float32_is_as_near_as_its_rounding(name):
    function, args = ZOO[name]
    posterior = bt.from_numpyro(function, *args)
    vector = points(posterior)[0]
    assert vector.dtype == jnp.float32
    model = posterior.flat().forward(vector)
    got = posterior.log_density(posterior.reparam.unravel(vector), jacobian=False)
    assert got.dtype == jnp.float32
    due, _ = log_density(function, args, {}, model)
    np.testing.assert_allclose(got, due, rtol=2e-6)


def test_both_precisions_serve_one_posterior_each_with_its_own_trace():
    function, args = ZOO["eight schools"]
    posterior = bt.from_numpyro(function, *args)
    model = {"mu": np.float64(1.1), "tau": np.float64(0.7), "theta": np.arange(8.0)}
    terms = posterior.likelihood.terms(model)["y"]
    with jax.enable_x64(True):
        wide = posterior.likelihood.terms(model)["y"]
        assert wide.dtype == jnp.float64
    np.testing.assert_allclose(terms, wide, rtol=1e-6)
