"""R-hat, effective sample sizes and condition numbers."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float


def diagnose(
    x: Float[np.ndarray, "chains draws n"],
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """R-hat and the effective sample size for the bulk of n quantities.

    R-hat needs at least two chains, both need four draws; NaN otherwise.
    """
    chains, draws, n = x.shape
    half = draws // 2
    constant = (x == x[:1, :1]).all(axis=(0, 1))
    bad = constant | ~np.isfinite(x).all(axis=(0, 1))
    if half < 2:
        return np.full(n, np.nan), np.full(n, np.nan)
    # Each chain in two halves, so that a drift shows.
    split = np.concatenate([x[:, :half], x[:, -half:]])
    bulk = _normal_scores(split)
    r_hat = np.full(n, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        if chains > 1:
            folded = np.abs(split - np.median(split, axis=(0, 1)))
            r_hat = np.maximum(_r_hat(bulk), _r_hat(_normal_scores(folded)))
        ess = _effective_sample_size(bulk)
    return np.where(bad, np.nan, r_hat), np.where(bad, np.nan, ess)


def _variances(
    x: Float[np.ndarray, "chains draws n"],
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """The variance within chains, and that of all: Vehtari et al. 2021, eqs. 1 to 3."""
    draws = x.shape[1]
    within = x.var(axis=1, ddof=1).mean(axis=0)
    between = x.mean(axis=1).var(axis=0, ddof=1)
    return within, (draws - 1) / draws * within + between


def _r_hat(x: Float[np.ndarray, "chains draws n"]) -> Float[np.ndarray, " n"]:
    """Vehtari et al. 2021, equation 4 (TFP's R-hat has another factor)."""
    within, total = _variances(x)
    return np.sqrt(total / within)


def _effective_sample_size(
    x: Float[np.ndarray, "chains draws n"],
) -> Float[np.ndarray, " n"]:
    """Vehtari et al. 2021, section 3.2, with Geyer's initial monotone sequence."""
    chains, draws, n = x.shape
    spectrum = np.fft.rfft(x - x.mean(axis=1, keepdims=True), 2 * draws, axis=1)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2, axis=1)[:, :draws] / draws
    within, total = _variances(x)
    rho = 1 - (within - covariance.mean(axis=0)) / total
    rho[0] = 1
    even, odd = rho[: draws - draws % 2 : 2], rho[1::2]
    pairs = even + odd
    kept = np.cumprod(pairs > 0, axis=0)
    # The first even lag that is left out may be added once: less is lost to the cut.
    last = np.minimum(kept.sum(axis=0), len(even) - 1)
    rest = np.maximum(even[last, np.arange(n)], 0) * (kept[-1] == 0)
    tau = -1 + 2 * np.sum(kept * np.minimum.accumulate(pairs), axis=0) + rest
    size = chains * draws
    return size / np.maximum(tau, 1 / np.log10(size))


def _normal_scores(
    x: Float[np.ndarray, "chains draws n"],
) -> Float[np.ndarray, "chains draws n"]:
    """Replace values by the normal quantiles of their ranks (equal ones share one)."""
    flat = x.reshape(-1, x.shape[2])
    rank = jax.scipy.stats.rankdata(jnp.asarray(flat), axis=0)
    scores = jax.scipy.special.ndtri((rank - 0.375) / (flat.shape[0] + 0.25))
    return np.asarray(scores, np.float64).reshape(x.shape)


def condition_number(columns: Float[np.ndarray, "draws n"]) -> float:
    """That of the covariance of some numbers; infinite if it is singular to rounding.

    NaN for no more draws than numbers: theirs is singular, whatever they are drawn from.
    """
    columns = columns[np.isfinite(columns).all(axis=1)].astype(np.float64)
    if len(columns) <= columns.shape[1]:
        return float("nan")
    # By singular values of the draws, which keeps the digits that a product would lose.
    values = np.linalg.svd(columns - columns.mean(axis=0), compute_uv=False)
    if values[-1] <= 1e-6 * values[0]:
        return float("inf")
    return float((values[0] / values[-1]) ** 2)
