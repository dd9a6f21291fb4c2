"""R-hat, effective sample sizes and condition numbers."""

import importlib.util
import threading

import numpy as np
from jaxtyping import Float

from .optional import optional_import


def diagnose(
    x: Float[np.ndarray, "chains draws n"],
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """R-hat and the effective sample size for the bulk of n quantities, by ArviZ.

    R-hat needs at least two chains, both need four draws. NaN otherwise, for constants
    and what is not finite, and where the package `arviz-stats` is not installed.
    """
    chains, draws, n = x.shape
    r_hat, ess = np.full(n, np.nan), np.full(n, np.nan)
    known = (x != x[:1, :1]).any(axis=(0, 1)) & np.isfinite(x).all(axis=(0, 1))
    if draws < 4 or not known.any() or not has_arviz_stats():
        return r_hat, ess
    stats = optional_import("arviz_stats.base").array_stats
    axes = {"chain_axis": 0, "draw_axis": 1}
    with np.errstate(divide="ignore", invalid="ignore"):
        if chains > 1:
            r_hat[known] = stats.rhat(x[..., known], method="rank", **axes)
        ess[known] = stats.ess(x[..., known], method="bulk", **axes)
    return r_hat, ess


def load_statistics() -> None:
    """Begin to import the package of the statistics, which takes seconds, in a thread."""
    if has_arviz_stats():
        name = "arviz_stats.base"
        threading.Thread(
            target=importlib.import_module, args=(name,), daemon=True
        ).start()


def has_arviz_stats() -> bool:
    """Whether R-hat and effective sample sizes can be computed."""
    return importlib.util.find_spec("arviz_stats") is not None


def condition_number(columns: Float[np.ndarray, "draws n"]) -> float:
    """The condition number of a covariance; infinite if it is singular to rounding.

    NaN for no more draws than numbers: the covariance of so few draws is singular,
    whatever they are drawn from.
    """
    columns = columns[np.isfinite(columns).all(axis=1)].astype(np.float64)
    if len(columns) <= columns.shape[1]:
        return float("nan")
    # The singular values of the draws keep the digits that a product would lose.
    values = np.linalg.svd(columns - columns.mean(axis=0), compute_uv=False)
    if values[-1] <= 1e-6 * values[0]:
        return float("inf")
    return float((values[0] / values[-1]) ** 2)
