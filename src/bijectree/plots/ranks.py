"""`plot_ranks`: rank histograms of a calibration."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..inference import optional_import

# At most so many histograms are drawn, in rows of at most so many.
_MOST, _COLUMNS = 24, 4


def plot_ranks(
    counts: Mapping[str, np.ndarray],
    p_values: Mapping[str, float],
    expected: tuple[np.ndarray, np.ndarray, np.ndarray],
    *,
    draws: int,
    figure: Any = None,
) -> np.ndarray:
    """Draw rank histograms over the band where even ones lie.

    Args:
        counts: of ranks in bins, by name.
        p_values: by name.
        expected: the lowest, the mean and the highest count of each bin.
        draws: the highest rank.
        figure: a matplotlib Figure or SubFigure; a new figure by default.

    Returns:
        One Axes a histogram, at most 24: those with the smallest p-values.

    Raises:
        ImportError: matplotlib is not installed.
    """
    pyplot = optional_import("matplotlib.pyplot")
    kept = {*sorted(counts, key=lambda name: p_values[name])[:_MOST]}
    names = [name for name in counts if name in kept]
    columns = min(_COLUMNS, len(names))
    rows = -(-len(names) // columns)
    if figure is None:
        size = (2.4 * columns, 1.9 * rows)
        figure = pyplot.figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    # A bin ends where the first rank of the next one begins.
    bins = len(expected[1])
    edges = -(-np.arange(bins + 1) * (draws + 1) // bins) - 0.5
    low, mean, high = (np.append(x, x[-1:]) for x in expected)
    for name, ax in zip(names, grid.flat, strict=False):
        ax.fill_between(edges, low, high, step="post", color="0.85", lw=0)
        ax.step(edges, mean, where="post", color="0.5", lw=0.8)
        ax.stairs(counts[name], edges, color="C0")
        ax.set_title(f"{name}: p = {p_values[name]:.2g}", fontsize="small")
        ax.set_xlim(edges[0], edges[-1])
        ax.set_ylim(bottom=0.0)
        ax.tick_params(labelsize="x-small")
    for ax in grid.flat[len(names) :]:
        ax.remove()
    for ax in grid[-1]:
        ax.set_xlabel("rank", fontsize="small")
    return np.array(list(grid.flat[: len(names)]))
