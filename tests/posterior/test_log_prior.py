"""Priors of leaves whose scale is below an ulp of their location."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats

import bijectree as bt
from bijectree import tfd
from bijectree.priors import location_slot, split

# The functions below promote as users' code does.
pytestmark = pytest.mark.jax_defaults

MODEL = {"mu": jnp.array(5.0), "tau": jnp.array(1.0), "x": jnp.zeros(3)}
Z = np.array([-1.5, 0.25, 2.0])

FAMILIES = {
    "normal": (lambda m: tfd.Normal(m["mu"], m["tau"]), scipy.stats.norm()),
    "cauchy": (lambda m: tfd.Cauchy(m["mu"], m["tau"]), scipy.stats.cauchy()),
    "student": (lambda m: tfd.StudentT(4.0, m["mu"], m["tau"]), scipy.stats.t(4)),
    "gumbel": (lambda m: tfd.Gumbel(m["mu"], m["tau"]), scipy.stats.gumbel_r()),
    "independent": (
        lambda m: tfd.Independent(tfd.Logistic(m["mu"] + jnp.zeros(3), m["tau"]), 1),
        scipy.stats.logistic(),
    ),
    "sample": (
        lambda m: tfd.Sample(tfd.Laplace(m["mu"], m["tau"]), 3),
        scipy.stats.laplace(),
    ),
    "of numpyro": (
        lambda m: dist.StudentT(3.0, m["mu"], m["tau"]).expand([3]).to_event(1),
        scipy.stats.t(3),
    ),
    "numpyro": (lambda m: dist.Normal(m["mu"], m["tau"]), scipy.stats.norm()),
}


def posterior(function, share=0.0, spec=None, dtype=jnp.float32):
    model = jax.tree.map(lambda x: x.astype(dtype), MODEL)
    spec = spec or {
        "mu": None,
        "tau": bt.positive(),
        "x": bt.location_scale("mu", "tau", share),
    }
    prior = {"mu": None, "tau": None, "x": bt.dependent(function)}
    return bt.Posterior(bt.Reparam(model, spec), None, prior)


def at(mu, tau, eta, dtype=jnp.float32):
    free = {"mu": mu, "tau": np.log(tau), "x": eta}
    return {k: jnp.asarray(x, dtype) for k, x in free.items()}


@pytest.mark.parametrize("tau", [1.0, 1e-6, 1e-12])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_free_coordinate_counts_however_small_the_scale(family, tau):
    function, standard = FAMILIES[family]
    density = posterior(function).log_density
    free = at(5.0, tau, Z)
    # The density of the leaf is that of z over τ, and the log-det counts τ for each.
    expected = standard.logpdf(Z).sum() + np.log(tau)
    for found in (density(free), jax.jit(density)(free)):
        np.testing.assert_allclose(found, expected, rtol=3e-6)
    slope = jax.grad(density)(free)["x"]
    h = 1e-5
    steep = (standard.logpdf(Z + h) - standard.logpdf(Z - h)) / (2 * h)
    np.testing.assert_allclose(slope, steep, rtol=1e-4, atol=1e-5)
    many = jax.vmap(density)(jax.tree.map(lambda x: jnp.stack([x, x]), free))
    np.testing.assert_allclose(many, expected, rtol=3e-6)


@pytest.mark.parametrize("share", [0.3, 1.0, [0.0, 0.5, 1.0]])
def test_shares_between_centred_and_not(share):
    """η = λ loc + scale^λ z, so the density of η is that of z over scale^λ."""
    mu, tau, share = 5.0, 0.1, np.asarray(share)
    eta = share * mu + tau**share * Z
    given = posterior(FAMILIES["normal"][0], jnp.asarray(share, jnp.float32))
    expected = scipy.stats.norm.logpdf(Z).sum() - (share * np.ones(3)).sum() * np.log(tau)
    found = given.log_density(at(mu, tau, eta))
    np.testing.assert_allclose(found, expected + np.log(tau), rtol=2e-5)


def test_another_location_than_that_of_the_prior():
    def function(m):
        return tfd.Normal(m["mu"] + 1e-3, 2 * m["tau"])

    tau = 1e-3
    found = posterior(function).log_density(at(5.0, tau, Z))
    expected = scipy.stats.norm(1e-3, 2 * tau).logpdf(tau * Z).sum() + 4 * np.log(tau)
    # The sum of location and number is rounded to an ulp of the location, as is written.
    np.testing.assert_allclose(found, expected, rtol=2e-4)


def test_a_regression_in_the_location():
    design = jnp.array([[1.0, 2.0], [0.5, -1.0], [3.0, 1.0]])
    model = {"gamma": jnp.array([40.0, -30.0]), "tau": jnp.array(1.0), "x": jnp.zeros(3)}
    prior = {
        "gamma": tfd.Normal(0.0, 50.0),
        "tau": tfd.HalfNormal(1.0),
        "x": bt.dependent(lambda m: tfd.Normal(design @ m["gamma"], m["tau"])),
    }
    spec = bt.spec_from_prior(model, prior, noncentred=True)
    given = bt.Posterior(bt.Reparam(model, spec), None, prior)
    tau = 1e-9
    free = {"gamma": model["gamma"], "tau": jnp.log(tau), "x": jnp.asarray(Z, "float32")}
    expected = (
        scipy.stats.norm(0, 50).logpdf([40, -30]).sum()
        + scipy.stats.halfnorm.logpdf(tau)
        + np.log(tau)
        + scipy.stats.norm.logpdf(Z).sum()
    )
    np.testing.assert_allclose(given.log_density(free), expected, rtol=3e-6)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision(dtype):
    found = posterior(FAMILIES["normal"][0], dtype=dtype).log_density(
        at(64.0, 2.0**-6, Z, dtype)
    )
    log_tau = float(jnp.asarray(np.log(2.0**-6), dtype))
    expected = scipy.stats.norm.logpdf(Z).sum() + log_tau
    # τ is computed in half precision, and the prior reads what came of it.
    np.testing.assert_allclose(found, expected, rtol=2e-2)


def test_beneath_an_outer_map():
    given = posterior(FAMILIES["normal"][0])
    scale = jnp.array([1.0, 1.0, 2.0, 2.0, 2.0])
    outer = bt.Posterior(
        given.reparam.then(bt.tfb.Scale(scale)),
        None,
        {"mu": None, "tau": None, "x": None},
    )
    prior = {"mu": None, "tau": None, "x": bt.dependent(FAMILIES["normal"][0])}
    outer = bt.Posterior(outer.reparam, None, prior)
    found = outer.log_density(at(5.0, 1e-9, Z / 2))
    expected = given.log_density(at(5.0, 1e-9, Z)) + 3 * np.log(2)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("function", "spec"),
    [
        # The location of the map has more numbers than that of the prior.
        (
            lambda m: tfd.Normal(0.0 * m["mu"], m["tau"]),
            bt.location_scale(lambda m: m["mu"] * jnp.arange(3.0), "tau"),
        ),
        # None of the families, and no number that is the location.
        (
            lambda m: tfd.SinhArcsinh(m["mu"], m["tau"]),
            bt.location_scale("mu", "tau"),
        ),
        (lambda m: tfd.Normal(0.0, m["tau"]), bt.location_scale(0.0, "tau")),
        (
            lambda m: dist.Normal(jnp.float32(0.5) * jnp.ones(3), m["tau"]),
            bt.location_scale(0.5, "tau"),
        ),
    ],
)
def test_elsewhere_the_value_of_the_leaf_counts(function, spec):
    spec = {"mu": None, "tau": bt.positive(), "x": spec}
    given = posterior(function, spec=spec)
    free = at(0.7, 0.5, Z)
    model, log_det = given.reparam.forward_and_log_det(free)
    expected = jnp.sum(function(model).log_prob(model["x"])) + log_det
    np.testing.assert_allclose(given.log_density(free), expected, rtol=1e-5)


@pytest.mark.parametrize("sizes", [((2,), ()), ((), ()), ((2, 3), (1,)), ((0,), (2,))])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_joint_of_leaves_with_priors_of_their_own(sizes, share):
    # The free coordinates of the first leaf are those of all: each leaf's own count.
    names, joint = "ab", bt.joint(bt.location_scale("mu", "tau", share))
    model = {"mu": jnp.array(5.0), "tau": jnp.array(2.0)}
    model |= {k: jnp.full(n, 4.0) for k, n in zip(names, sizes, strict=True)}
    spec = {"mu": None, "tau": bt.positive(), **dict.fromkeys(names, joint)}
    each = bt.dependent(lambda m: tfd.Normal(m["mu"], m["tau"]))
    prior = {"mu": None, "tau": None, **dict.fromkeys(names, each)}
    given = bt.Posterior(bt.Reparam(model, spec), None, prior)
    free = given.reparam.inverse(model)
    count = sum(int(np.prod(n)) for n in sizes)
    # The log-det is that of τ and of each element.
    expected = count * (scipy.stats.norm(5.0, 2.0).logpdf(4.0) + (1 - share) * np.log(2))
    found = given.log_density(free)
    np.testing.assert_allclose(found, expected + np.log(2), rtol=1e-6)


@pytest.mark.parametrize(
    ("distribution", "slot"),
    [
        (tfd.Normal(jnp.array(1.0), jnp.array(2.0)), 1.0),
        (tfd.StudentT(jnp.array(4.0), jnp.array(1.0), jnp.array(2.0)), 1.0),
        (tfd.Independent(tfd.Normal(jnp.ones(3), jnp.full(3, 2.0)), 1), 1.0),
        (dist.Gumbel(jnp.array(1.0), jnp.array(2.0)), 1.0),
        (tfd.Gamma(jnp.array(1.0), jnp.array(2.0)), None),
        (tfd.LogNormal(jnp.array(1.0), jnp.array(2.0)), None),
    ],
)
def test_which_number_is_the_location(distribution, slot):
    recipe, numbers = split(distribution)
    found = location_slot(recipe, numbers)
    assert (found is None) == (slot is None)
    if found is not None:
        np.testing.assert_array_equal(numbers[found], slot)
