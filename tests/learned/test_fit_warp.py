"""Warps: their arithmetic, and what is found from draws and their gradients."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import bijectree as bt
from bijectree.learned.fit_warp import _residuals, fit_warp
from bijectree.learned.low_rank import AffineMap
from bijectree.learned.outer_map import OuterMap
from bijectree.learned.warp import Warp, straight

WARP = Warp(
    np.array([0.5, -2.0, 1e4]),
    np.array([1.0, 3.0, 1e-3]),
    np.array([0.0, 0.8, -0.4]),
    np.array([1.0, 1.5, 0.7]),
)


def chains_of(x, scores, chains=4):
    """Draws and gradients, cut into chains."""
    return list(zip(np.split(x, chains), np.split(scores, chains), strict=True))


def test_the_arithmetic_on_the_host_is_that_of_the_bijector(getkey):
    with jax.enable_x64(True):
        u = np.asarray(2 * jax.random.normal(getkey(), (5, 3), jnp.float64))
        bijector = WARP.bijector()
        y = jax.vmap(bijector.forward)(jnp.asarray(u))
        np.testing.assert_allclose(WARP.forward(u), y, rtol=1e-13)
        np.testing.assert_allclose(WARP.inverse(np.asarray(y)), u, atol=1e-7)

        def log_slope(u):
            return jax.vmap(
                lambda u: bijector.forward_log_det_jacobian(u, event_ndims=0)
            )(u)

        u = jnp.asarray(u)
        np.testing.assert_allclose(
            WARP.log_slope(np.asarray(u)), log_slope(u), atol=1e-13
        )
        due = jax.grad(lambda u: log_slope(u).sum())(u)
        np.testing.assert_allclose(WARP.slope_of_log(np.asarray(u)), due, atol=1e-13)


@pytest.mark.parametrize(
    "warp", [WARP, straight(3), None], ids=["bent", "straight", "no"]
)
def test_points_go_to_the_base_and_back_with_density_and_gradient(warp, getkey):
    affine = AffineMap(
        np.array([0.3, -0.1, 0.2]),
        np.array([1.5, 0.5, 1.0]),
        np.linalg.qr(np.arange(6.0).reshape(3, 2) ** 2 + 1)[0],
        np.array([3.0, 0.4]),
    )
    outer = OuterMap(affine, warp)
    with jax.enable_x64(True):
        model = {"x": jnp.zeros(3)}

        def density(m):
            return -jnp.sum(jnp.cosh(m["x"] / 1e3) + jnp.sin(m["x"] / 50))

        posterior = bt.Posterior(bt.Reparam(model, None), density)
        learned = bt.Posterior(outer.over(posterior.reparam), density)
        z = np.asarray(jax.random.normal(getkey(), (6, 3), jnp.float64))
        both = (
            jax.vmap(jax.value_and_grad(p.flat().log_density))
            for p in (posterior, learned)
        )
        here, there = both
        y = outer.forward(z)
        point = (y, *map(np.asarray, here(jnp.asarray(y))))
        value, slope = there(jnp.asarray(z))
        found = outer.to_base(*point)
        for got, due in zip(found, (z, value, slope), strict=True):
            np.testing.assert_allclose(got, due, rtol=1e-7, atol=1e-6)
        back = outer.from_base(*found)
        for got, due in zip(back, point, strict=True):
            np.testing.assert_allclose(got, due, rtol=1e-6, atol=1e-9)
        simple = outer.simplified()
        np.testing.assert_allclose(simple.forward(z), y, rtol=1e-14)
        assert (simple.warp is None) == (warp is not WARP)


def test_derivatives_of_residuals_are_those_of_differences():
    rng = np.random.default_rng(0)
    x, scores, numbers = rng.normal(size=(3, 7)), rng.normal(size=(3, 7)), 0.5
    numbers = 0.5 * rng.normal(size=(3, 4))
    _, slopes = _residuals(numbers, x, scores)
    for k in range(4):
        step = np.zeros(4)
        step[k] = 1e-6
        ends = (_residuals(numbers + sign * step, x, scores)[0] for sign in (1, -1))
        up, down = ends
        np.testing.assert_allclose(slopes[..., k], (up - down) / 2e-6, atol=1e-7)


def test_residuals_are_the_score_and_the_coordinate_of_the_warp():
    rng = np.random.default_rng(1)
    x, scores = rng.normal(size=(3, 7)), rng.normal(size=(3, 7))
    numbers = np.array([[0.2, 0.3, -0.5, 0.4]] * 3)
    warp = Warp(*(np.full(3, v) for v in (0.2, np.exp(0.3), -0.5, np.exp(0.4))))
    u, gradient = warp.straightened(x.T, scores.T)
    residual, _ = _residuals(numbers, x, scores)
    np.testing.assert_allclose(residual.T, u + gradient, rtol=1e-12)


def of_density(density, n, seed):
    """Draws of densities of one coordinate, and scores by differences of their logs."""
    rng = np.random.default_rng(seed)
    x = np.stack([d.rvs(n, random_state=rng) for d in density], axis=1)
    step = 1e-5
    scores = np.stack(
        [
            (d.logpdf(v + step) - d.logpdf(v - step)) / (2 * step)
            for d, v in zip(density, x.T, strict=True)
        ],
        axis=1,
    )
    return x, scores


FAR_FROM_NORMAL = {
    "log of a gamma density of shape 0.2": stats.loggamma(0.2),
    "log of a half Cauchy": stats.hypsecant(),
    "logistic": stats.logistic(3.0, 0.1),
    "Student's t of 3": stats.t(3, 100.0, 20.0),
    "logit of beta(2, 50)": stats.genlogistic(0.5, -3.0),
}


@pytest.mark.parametrize("name", FAR_FROM_NORMAL)
@pytest.mark.parametrize("n", [160, 800])
def test_what_is_bent_comes_near_to_a_normal_density(name, n):
    density = FAR_FROM_NORMAL[name]
    fitted = fit_warp(chains_of(*of_density([density] * 3, n, 0)), 3)
    assert fitted.warp.bent.all()
    assert fitted.divergence < 0.5 * fitted.unbent
    x, scores = of_density([density] * 3, 4000, 1)
    u, gradient = fitted.warp.straightened(x, scores)
    left = np.mean((u + gradient) ** 2, axis=0)
    flat = fit_warp(chains_of(x, scores), 3).unbent
    assert left.mean() < 0.4 * flat


def test_the_numbers_of_a_warp_are_found_again():
    with jax.enable_x64(True):
        z = np.random.default_rng(2).normal(size=(4000, 3))
        y = WARP.forward(z)
        # The score of y is that of z less the slope of the log-det, over dy/dz.
        scores = (-z - WARP.slope_of_log(z)) * np.exp(-WARP.log_slope(z))
        fitted = fit_warp(chains_of(y, scores), 3)
    assert fitted.warp.bent.tolist() == [False, True, True]
    assert fitted.divergence < 1e-2
    u, gradient = fitted.warp.straightened(y, scores)
    assert np.mean((u + gradient)[:, 1:] ** 2) < 1e-2


def normal(covariance, n=400, seed=3):
    x = np.random.default_rng(seed).multivariate_normal(
        np.zeros(len(covariance)), covariance, n
    )
    return x, -x @ np.linalg.inv(covariance)


@pytest.mark.parametrize(
    "covariance",
    [np.eye(4), np.diag([1e-8, 1.0, 100.0, 1e8]), 0.99 + 0.01 * np.eye(4), np.eye(1)],
    ids=["independent", "of many scales", "correlated", "one"],
)
def test_a_normal_density_is_not_bent(covariance):
    fitted = fit_warp(chains_of(*normal(covariance)), len(covariance))
    assert not fitted.warp.bent.any()
    assert fitted.divergence < 0.05


def test_coordinates_are_not_bent_one_by_one_to_a_worse_whole():
    """A rotation of independent heavy tails: directions mend it, warps do not."""
    x, scores = of_density([stats.norm(0, 30.0), stats.logistic()], 800, 5)
    turn = np.array([[1.0, 1.0], [-1.0, 1.0]]) / np.sqrt(2)
    fitted = fit_warp(chains_of(x @ turn, scores @ turn), 2)
    assert fitted.divergence <= fitted.unbent + 1e-12


@pytest.mark.parametrize("chains", [1, 2, 3, 5])
def test_any_number_of_chains_will_do(chains):
    x, scores = of_density([stats.logistic()] * 2, 600, 6)
    fitted = fit_warp(chains_of(x, scores, chains), 2)
    assert fitted.warp.bent.all()
    np.testing.assert_allclose(fitted.warp.skewness, 0.0, atol=0.2)


def test_what_does_not_vary_or_is_not_finite_stays_as_it_is():
    x, scores = of_density([stats.logistic()] * 3, 400, 7)
    x[:, 1], scores[:, 1] = 2.5, 0.0
    scores[7, 2] = np.nan
    with np.errstate(all="ignore"):
        fitted = fit_warp(chains_of(x, scores), 3)
    for values in dataclasses.astuple(fitted.warp):
        assert np.isfinite(values).all()
    assert not fitted.warp.bent[1:].any()


def test_few_draws_bend_nothing():
    x, scores = of_density([stats.logistic()] * 2, 8, 8)
    fitted = fit_warp(chains_of(x, scores), 2)
    assert not fitted.warp.bent.any()


def test_an_edge_of_a_density_bends_and_moves_nothing():
    """The scores of an exponential density are constant: their variance is nothing."""
    x = np.random.default_rng(9).exponential(size=(400, 2))
    scores = -1 + 1e-7 * np.random.default_rng(10).normal(size=x.shape)
    fitted = fit_warp(chains_of(x, scores), 2)
    np.testing.assert_array_equal(fitted.warp.inverse(x), x)


def curved(name):
    """Exact draws and scores of densities that no map of single coordinates mends."""
    rng = np.random.default_rng(11)
    x = rng.normal(size=(800, 2))
    if name == "banana":
        draws = np.stack([x[:, 0], x[:, 0] ** 2 + 0.3 * x[:, 1]], axis=1)
        off = (draws[:, 1] - draws[:, 0] ** 2) / 0.09
        return draws, np.stack([-draws[:, 0] + 2 * draws[:, 0] * off, -off], axis=1)
    # A ring: its radius has a normal density, times the radius.
    angle, radius = 2 * np.pi * rng.uniform(size=800), 3 + 0.3 * x[:, 0]
    along = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    slope = -(radius - 3) / 0.09 - 1 / radius
    return radius[:, None] * along, slope[:, None] * along


@pytest.mark.parametrize("name", ["banana", "ring"])
def test_what_single_coordinates_cannot_mend_is_not_bent(name):
    fitted = fit_warp(chains_of(*curved(name)), 2)
    assert not fitted.warp.bent.any()
    assert fitted.divergence == fitted.unbent


def test_one_coordinate_of_many_is_bent():
    x, scores = normal(np.eye(40), 800)
    more = of_density([stats.loggamma(0.2)], 800, 12)
    fitted = fit_warp(
        chains_of(np.hstack([x, more[0]]), np.hstack([scores, more[1]])), 10
    )
    assert fitted.warp.bent.tolist() == [False] * 40 + [True]


def test_who_does_not_ask_for_the_divergence_gets_the_same_warp():
    for x, scores in (normal(np.eye(3)), of_density([stats.logistic()] * 3, 400, 13)):
        asked, not_asked = (
            fit_warp(chains_of(x, scores), 3, judged=judged) for judged in (True, False)
        )
        for one, other in zip(
            dataclasses.astuple(asked.warp),
            dataclasses.astuple(not_asked.warp),
            strict=True,
        ):
            np.testing.assert_array_equal(one, other)
        assert np.isnan(not_asked.divergence) == (not asked.warp.bent.any())
