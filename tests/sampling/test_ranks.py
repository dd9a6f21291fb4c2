"""Ranks of truths among draws, and how far from even they are."""

import numpy as np
import pytest
from scipy import special, stats

from bijectree.sampling.ranks import (
    band,
    bins_for,
    chi_squared,
    histogram,
    ranks_of,
    shares_of,
)


def test_a_rank_is_the_number_of_draws_below():
    draws = np.array([[1.0, -np.inf], [3.0, 0.0], [2.0, np.inf]])
    found = ranks_of(np.array([2.5, 0.5]), draws, np.array([0.99, 0.99]))
    assert found.tolist() == [2, 2]
    ends = ranks_of(np.array([[0.0, 9.0]])[0], draws[:, [0, 0]], np.zeros(2))
    assert ends.tolist() == [0, 3]


@pytest.mark.parametrize("uniform", [0.0, 0.26, 0.5, 0.9999999])
def test_a_tie_may_have_each_of_its_ranks(uniform):
    draws = np.array([[0.0], [1.0], [1.0], [1.0], [2.0]])
    found = ranks_of(np.array([1.0]), draws, np.array([uniform]))
    assert found.tolist() == [1 + int(4 * uniform)]


@pytest.mark.parametrize("discrete", [False, True])
def test_ranks_of_exact_draws_are_even(discrete):
    # θ ~ N(0, 1), y ~ N(θ, 1): θ | y ~ N(y / 2, 1/2). The sign is a discrete number.
    rng = np.random.default_rng(3)
    n, size = 4000, 19
    truth = rng.normal(size=n)
    y = truth + rng.normal(size=n)
    draws = y / 2 + np.sqrt(0.5) * rng.normal(size=(size, n))
    if discrete:
        truth, draws = np.sign(truth), np.sign(draws)
    ranks = ranks_of(truth, draws, rng.uniform(size=n))
    counts = np.bincount(ranks, minlength=size + 1)
    assert stats.chisquare(counts).pvalue > 0.01
    wide = ranks_of(truth, 2 * draws, rng.uniform(size=n))
    even = stats.chisquare(np.bincount(wide, minlength=size + 1)).pvalue
    assert discrete or even < 1e-10


@pytest.mark.parametrize(
    ("n", "draws", "bins"), [(20, 99, 2), (100, 99, 10), (1000, 99, 20), (200, 4, 5)]
)
def test_bins_have_ten_ranks_on_average(n, draws, bins):
    assert bins_for(n, draws) == bins


@pytest.mark.parametrize(("bins", "draws"), [(20, 99), (7, 99), (3, 10), (2, 1)])
def test_bins_share_the_ranks(bins, draws):
    shares = shares_of(bins, draws)
    every = np.arange(draws + 1)
    np.testing.assert_allclose(shares * (draws + 1), histogram(every, bins, draws))
    assert shares.sum() == pytest.approx(1)
    assert np.ptp(shares) * (draws + 1) <= 1 + 1e-9


def test_the_p_value_is_that_of_pearson():
    counts, shares = np.array([18, 12]), np.array([0.5, 0.5])
    # (3² + 3²) / 15 = 1.2, of one degree of freedom.
    assert chi_squared(counts, shares) == pytest.approx(special.erfc(np.sqrt(0.6)))


@pytest.mark.parametrize(("n", "bins"), [(20, 2), (200, 20), (150, 7)])
def test_all_counts_lie_in_the_band_with_its_probability(n, bins):
    shares = shares_of(bins, 99)
    low, high = band(n, shares)
    assert (low < n * shares).all()
    assert (high > n * shares).all()
    counts = np.random.default_rng(5).multinomial(n, shares, size=20_000)
    inside = ((counts >= low) & (counts <= high)).all(axis=1).mean()
    assert 0.985 < inside < 1.0
