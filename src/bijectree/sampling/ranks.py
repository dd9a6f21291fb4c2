"""Ranks of truths among draws, and how far from even they are."""

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

# A bin has as many ranks as this on average, so that the chi-squared distribution holds;
# more than so many bins show no more.
_IN_A_BIN, _MOST_BINS = 10, 20

# So many simulated histograms tell how wide a band is.
_HISTOGRAMS = 4000


def ranks_of(
    truth: Float[np.ndarray, " k"],
    draws: Float[np.ndarray, "draws k"],
    uniform: Float[np.ndarray, " k"],
) -> Int[np.ndarray, " k"]:
    """How many draws lie below the truth, from 0 to their number.

    The rank of a truth that equals some draws is random among those that it may have
    (Modrák et al. 2023, arXiv 2211.02383): so are those of discrete numbers even.

    Args:
        truth: one value a quantity.
        draws: independent of each other.
        uniform: random numbers in [0, 1), by which ties are broken.
    """
    below = (draws < truth).sum(axis=0)
    equal = (draws == truth).sum(axis=0)
    return below + np.floor(uniform * (equal + 1)).astype(int)


def bins_for(n: int, draws: int) -> int:
    """The number of bins for n ranks among so many draws."""
    return int(min(max(n // _IN_A_BIN, 2), _MOST_BINS, draws + 1))


def shares_of(bins: int, draws: int) -> Float[np.ndarray, " bins"]:
    """The share of ranks that is expected in each bin."""
    return _in_bins(np.arange(draws + 1), bins, draws) / (draws + 1)


def histogram(
    ranks: Int[np.ndarray, " n"], bins: int, draws: int
) -> Int[np.ndarray, " bins"]:
    """How many ranks lie in each bin."""
    return _in_bins(ranks, bins, draws)


def chi_squared(
    counts: Int[np.ndarray, " bins"], shares: Float[np.ndarray, " bins"]
) -> float:
    """The p-value of counts, by Pearson's test that they have these shares."""
    return float(stats.chisquare(counts, counts.sum() * shares).pvalue)


def band(
    n: int, shares: Float[np.ndarray, " bins"], probability: float = 0.99
) -> tuple[Float[np.ndarray, " bins"], Float[np.ndarray, " bins"]]:
    """Where all counts of n ranks lie together with a probability.

    Each count is binomial. The quantiles of all are as far out as simulated histograms
    say that they must be together (Säilynoja, Bürkner & Vehtari 2022, arXiv 2103.10522,
    for the counts of bins in place of the distribution function).

    Returns:
        The lowest and the highest count of each bin.
    """
    found = np.random.default_rng(0).multinomial(n, shares, size=_HISTOGRAMS)
    lower, upper = stats.binom.cdf(found, n, shares), stats.binom.sf(found - 1, n, shares)
    furthest = np.minimum(lower, upper).min(axis=1)
    tail = float(np.quantile(furthest, 1 - probability))
    return stats.binom.ppf(tail, n, shares), stats.binom.isf(tail, n, shares)


def _in_bins(
    ranks: Int[np.ndarray, " n"], bins: int, draws: int
) -> Int[np.ndarray, " bins"]:
    return np.bincount(ranks * bins // (draws + 1), minlength=bins)
