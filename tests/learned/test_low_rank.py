"""The closed forms of affine maps, against linear algebra done another way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from law import assert_bijector

from bijectree.learned.low_rank import (
    AffineMap,
    from_scores,
    geometric_mean,
    padded,
    shrunk_covariance,
)


def some_map(dim=5, rank=2, seed=0):
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(rng.normal(size=(dim, rank)))[0]
    scale, root = np.exp(rng.normal(size=dim)), np.exp(rng.normal(size=rank))
    return AffineMap(rng.normal(size=dim), scale, directions, root)


def matrix(fitted):
    """The matrix of a map, from its columns."""
    return (fitted.forward(np.eye(fitted.loc.size)) - fitted.loc).T


def normal(dim, seed, condition=1e4):
    """A covariance with correlated coordinates of unlike scales, and a mean."""
    rng = np.random.default_rng(seed)
    q = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    covariance = q * np.geomspace(1, condition, dim) @ q.T
    scale = np.exp(rng.normal(size=dim))
    return rng.normal(size=dim), covariance * np.outer(scale, scale)


def draws(mean, covariance, n, seed=1):
    """Draws from a normal density, and the gradients of its logarithm there."""
    x = np.random.default_rng(seed).multivariate_normal(mean, covariance, n)
    return x, -np.linalg.solve(covariance, (x - mean).T).T


@pytest.mark.parametrize("rank", [0, 1, 2, 5])
def test_the_bijector_keeps_the_law(rank, precision, getkey):
    assert_bijector(some_map(rank=rank).bijector(), (5,), precision, getkey())


@pytest.mark.parametrize("rank", [0, 2, 5])
def test_log_det_is_that_of_the_matrix(rank):
    fitted = some_map(rank=rank)
    with jax.enable_x64(True):
        z = jnp.arange(5.0)
        log_det = fitted.bijector().forward_log_det_jacobian(z, 1)
        jacobian = jax.jacobian(fitted.bijector().forward)(z)
    expected = np.linalg.slogdet(matrix(fitted))[1]
    np.testing.assert_allclose(log_det, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.slogdet(jacobian)[1], expected, atol=1e-12)


@pytest.mark.jax_defaults
def test_host_and_bijector_are_the_same_map():
    fitted = some_map()
    z = np.random.default_rng(2).normal(size=(3, 5))
    with jax.enable_x64(True):
        there = np.asarray(fitted.bijector().forward(jnp.asarray(z)))
    np.testing.assert_allclose(fitted.forward(z), there, rtol=1e-13)
    np.testing.assert_allclose(fitted.inverse(there), z, rtol=1e-12)
    np.testing.assert_allclose(fitted.pull(z), z @ matrix(fitted), rtol=1e-12)
    np.testing.assert_allclose(fitted.push(fitted.pull(z)), z, rtol=1e-12)


def test_padding_changes_nothing():
    fitted = some_map()
    wider = padded(fitted, 4)
    assert wider.directions.shape == (5, 4)
    np.testing.assert_allclose(
        wider.directions.T @ wider.directions, np.eye(4), atol=1e-14
    )
    np.testing.assert_allclose(matrix(wider), matrix(fitted), rtol=1e-12, atol=1e-14)


def test_geometric_mean_solves_its_equation():
    _, covariance = normal(6, 0)
    _, precision = normal(6, 5, condition=100.0)
    found = geometric_mean(covariance, precision)
    np.testing.assert_allclose(found @ precision @ found, covariance, rtol=1e-7)


def test_dense_scores_of_a_normal_density_give_it_exactly():
    """Far fewer draws than a covariance would take: the gradients have the precision."""
    mean, covariance = normal(20, 0)
    fitted = from_scores(*draws(mean, covariance, 30), None)
    a = matrix(fitted)
    np.testing.assert_allclose(a @ a.T, covariance, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(fitted.loc, mean, rtol=1e-6, atol=1e-6)


def test_diagonal_is_the_quotient_of_variances():
    mean, covariance = normal(6, 2)
    x, scores = draws(mean, covariance, 50)
    fitted = from_scores(x, scores, 0)
    np.testing.assert_allclose(fitted.scale**2, np.sqrt(x.var(0) / scores.var(0)))
    expected = x.mean(0) + fitted.scale**2 * scores.mean(0)
    np.testing.assert_allclose(fitted.loc, expected, rtol=1e-12)


@pytest.mark.parametrize("rank", [0, None], ids=["diagonal", "dense"])
def test_no_nearby_map_has_less_divergence(rank):
    """The closed form is a minimum over maps of its sort, of other densities too."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(400, 3)) @ np.array([[1.0, 0.5, 0.0], [0, 2, 1], [0, 0, 3]])
    scores = -np.tanh(x) + 0.1 * rng.normal(size=x.shape)
    fitted = from_scores(x, scores, rank)
    loc, a = fitted.loc, matrix(fitted)

    def divergence(loc, a):
        z = np.linalg.solve(a, (x - loc).T).T
        return np.mean(np.sum((scores @ a + z) ** 2, axis=1))

    least = divergence(loc, a)
    mask = np.eye(3) if rank == 0 else np.ones((3, 3))
    for _ in range(200):
        step = 1e-2 * rng.normal(size=(3, 3)) * mask
        assert divergence(loc + 1e-2 * rng.normal(size=3), a @ (np.eye(3) + step)) > least


def test_low_rank_finds_wide_and_narrow_directions():
    rng = np.random.default_rng(0)
    q = np.linalg.qr(rng.normal(size=(60, 2)))[0]
    covariance = np.eye(60) + q * np.array([400.0, 1 / 400 - 1]) @ q.T
    x, scores = draws(np.zeros(60), covariance, 50)  # fewer than dimensions
    fitted = from_scores(x, scores, 2)
    whitened = np.linalg.inv(matrix(fitted))
    values = np.linalg.eigvalsh(whitened @ covariance @ whitened.T)
    assert values[-1] / values[0] < 60  # from 160,000
    diagonal = from_scores(x, scores, 0)
    whitened = np.linalg.inv(matrix(diagonal))
    values = np.linalg.eigvalsh(whitened @ covariance @ whitened.T)
    assert values[-1] / values[0] > 1000


def test_shrinkage_goes_with_the_number_of_draws():
    mean, covariance = normal(10, 3, condition=50.0)
    few, many = (draws(mean, covariance, n)[0] for n in (8, 20_000))
    _, found = shrunk_covariance(few)
    assert np.linalg.eigvalsh(found)[0] > 0  # though the draws are flat
    np.testing.assert_allclose(np.diagonal(found), few.var(axis=0, ddof=1))
    found_mean, found = shrunk_covariance(many)
    sd = np.sqrt(np.diagonal(covariance))
    np.testing.assert_allclose((found_mean - mean) / sd, 0, atol=0.03)
    np.testing.assert_allclose((found - covariance) / np.outer(sd, sd), 0, atol=0.04)


def test_shrinkage_of_uncorrelated_draws_is_nearly_whole():
    x = np.random.default_rng(0).normal(size=(40, 30))
    _, found = shrunk_covariance(x)
    sd = np.sqrt(np.diagonal(found))
    off = (found / np.outer(sd, sd))[~np.eye(30, dtype=bool)]
    assert np.abs(off).max() < 0.1
    assert np.abs(np.corrcoef(x.T)[~np.eye(30, dtype=bool)]).max() > 0.4
