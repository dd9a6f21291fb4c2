"""`plot_geometry`: draws in free coordinates beside the same draws as the model."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np

from ..inference import Draws, condition_number, optional_import
from ..reparam import owner
from ..trees import Paths, describe, path_string, raise_all

# A panel has at most so many points beside the divergent; more would hide each other.
_POINTS = 2000

# A side shows at most so many numbers where no paths are given.
_MOST = 6


def plot_geometry(
    draws: Draws, paths: str | Sequence[str] | None = None, *, figure: Any = None
) -> np.ndarray:
    """Draw what a sampler sees beside what the model says: two pair plots.

    On the left the draws in free coordinates, on the right the same draws in the
    coordinates of the model. Over each stands the condition number of the covariance of
    what is drawn, the squared ratio of the longest to the shortest axis of the cloud:
    the nearer to 1, the easier for a sampler. In the model's coordinates it depends on
    their units, and is infinite where they hold to an equation (a simplex). A funnel
    shows in the picture and not in this number. Divergent transitions are drawn in red.

    Args:
        draws: of any sampler.
        paths: paths or globs of leaves of the model, from its root; by default all
            leaves that have coordinates, of which the first six numbers are drawn.
        figure: a matplotlib Figure or SubFigure to draw in; a new figure by default.

    Returns:
        The Axes, of shape (2, n, n) with None above the diagonals and where a side has
        fewer than n numbers; free coordinates first. Nothing is shown and nothing saved.

    Raises:
        ImportError: matplotlib is not installed.
        TypeError: not a Draws.
        ValueError: a path names nothing (the nearest ones are named), or only leaves
            without coordinates; all such paths are listed.

    Example:
        >>> import matplotlib
        >>> matplotlib.use("agg")  # no window
        >>> import bijectree as bt, jax, jax.numpy as jnp
        >>> model = {"scale": jnp.array(1.0), "shift": jnp.array(0.0)}
        >>> reparam = bt.Reparam(model, {"scale": bt.positive(), "shift": None})
        >>> posterior = bt.Posterior(reparam, lambda model: 0.0)
        >>> vectors = jax.random.normal(jax.random.key(0), (4, 100, 2))
        >>> bt.plot_geometry(bt.Draws(posterior, vectors)).shape
        (2, 2, 2)
    """
    if not isinstance(draws, Draws):
        raise TypeError(f"plot_geometry takes a bt.Draws, got {describe(draws)}")
    if paths is not None and not paths:
        raise ValueError("plot_geometry: `paths` names no leaf; None takes all")
    free, values = _pick(draws, paths)
    totals = [len(free), len(values)]
    if paths is None:
        free, values = (dict(list(side.items())[:_MOST]) for side in (free, values))
    pyplot = optional_import("matplotlib.pyplot")
    n = max(len(free), len(values))
    if figure is None:
        size = 1.5 * n + 1.0
        figure = pyplot.figure(figsize=(2 * size, size), layout="constrained")
    diverging = np.asarray(draws.stats.get("diverging", jnp.zeros(()))).astype(bool)
    diverging = np.broadcast_to(diverging, draws.vectors.shape[:2]).ravel()
    axes = np.full((2, n, n), None, dtype=object)
    names = ("free coordinates", "the model")
    halves = figure.subfigures(1, 2)
    for i, (half, name, side) in enumerate(
        zip(halves, names, (free, values), strict=True)
    ):
        columns = np.stack([np.ravel(x) for x in side.values()], axis=1)
        shown = "" if len(side) == totals[i] else f", {len(side)} of {totals[i]}"
        number = _shown(condition_number(columns))
        half.suptitle(f"{name}{shown}: condition number {number}")
        axes[i, : len(side), : len(side)] = _pairs(half, list(side), columns, diverging)
    return axes


def _shown(number: float) -> str:
    return f"{number:.3g}" if number < 1e4 else f"{number:.1e}"


def _pick(
    draws: Draws, paths: str | Sequence[str] | None
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Free coordinates and numbers of the model, by label; of shape (chains, draws)."""
    reparam = draws.posterior.reparam
    rows = reparam.bound.plan.rows
    tree = Paths(reparam.bound.plan.structure.treedef.unflatten(range(len(rows))))
    able = {i for i, row in enumerate(rows) if row.role in ("free", "tied")}
    chosen = able if paths is None else set()
    faults = []
    for path in [paths] if isinstance(paths, str) else paths or ():
        picked, fault = tree.pick(path)
        if not fault and not picked & able:
            roles = {rows[i].role for i in picked}
            fault = f"names only {' and '.join(sorted(roles))} leaves"
        if fault:
            faults.append(f"{path!r} {fault}")
        chosen = chosen | (picked & able)
    if not chosen and not faults:
        faults.append("no leaf has free coordinates")
    raise_all("plot_geometry: these paths cannot be drawn", faults)

    # The free coordinates of a leaf lie in its own leaf of `free`, or in that of the
    # leaves that it shares a bijector with, or is tied to.
    sources = {
        owner(rows, rows[i].on[0] if rows[i].role == "tied" else i) for i in chosen
    }
    wanted = {rows[i].path for i in sources}
    pairs, _ = jtu.tree_flatten_with_path(reparam.unravel(draws.vectors[0, 0]))
    labels, start = draws.posterior.labels, 0
    free: dict[str, np.ndarray] = {}
    for path, leaf in pairs:
        stop = start + leaf.size
        if path_string(path) in wanted:
            for k in range(start, stop):
                free[labels[k]] = np.asarray(draws.vectors[..., k])
        start = stop
    values = {
        ".".join([rows[i].path, *map(str, index)]): array[(..., *index)]
        for i, array in _arrays(draws)
        if i in chosen
        for index in np.ndindex(*array.shape[2:])
    }
    return free, values


def _arrays(draws: Draws) -> Iterator[tuple[int, np.ndarray]]:
    """The leaves of the model that have coordinates, each of (chains, draws, *shape)."""
    for i, leaf in enumerate(jtu.tree_leaves(draws.models)):
        if draws.posterior.reparam.bound.plan.rows[i].role in ("free", "tied"):
            yield i, np.asarray(leaf)


def _pairs(
    figure: Any, names: list[str], columns: np.ndarray, diverging: np.ndarray
) -> np.ndarray:
    """Scatter plots of each pair below a diagonal of histograms."""
    n = len(names)
    axes = figure.subplots(n, n, squeeze=False)
    step = max(1, -(-len(columns) // _POINTS))
    for row in range(n):
        for column in range(n):
            ax = axes[row, column]
            if column > row:
                ax.remove()
                axes[row, column] = None
                continue
            x, y = columns[:, column], columns[:, row]
            if column == row:
                ax.hist(x[np.isfinite(x)], bins=40, color="C0", histtype="stepfilled")
                ax.set_yticks([])
            else:
                ax.scatter(x[::step], y[::step], s=2, alpha=0.3, lw=0, rasterized=True)
                ax.locator_params(axis="y", nbins=3)
                ax.scatter(x[diverging], y[diverging], s=8, color="C3", lw=0)
            ax.locator_params(axis="x", nbins=3)
            ax.tick_params(labelsize="x-small")
            if row == n - 1:
                ax.set_xlabel(names[column])
            else:
                ax.set_xticklabels([])
            if column == 0 and row > 0:
                ax.set_ylabel(names[row])
            elif column != row:
                ax.set_yticklabels([])
    return axes
