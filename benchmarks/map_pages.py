"""The page and the pictures of `maps.py`, from what it stored."""

import pathlib
from typing import Any

import numpy as np

from .map_posteriors import PROBLEMS

SETS = {
    "half line": "Half lines",
    "interval": "Intervals",
    "simplex": "Simplexes",
    "increasing": "Increasing vectors",
    "correlation": "Factors of correlations",
}
# A mean that is further off than so many standard errors, or so large an R-hat, is named.
OFF, R_HAT = 5.0, 1.05
_HOW = """
ESS is the smallest bulk effective sample size of the model's entries, by ranks, of 4
chains of 1,000 draws; gradients are all that were spent, with warm-up. Shown are
medians over seeds, with quartiles in brackets; the best fixed map is in bold.
*blackjax* is BlackJAX's NUTS after 1,000 steps of its own warm-up, with a diagonal mass
matrix, from starts that are uniform on (−2, 2) in free coordinates. *bt.sample* is that
function with its defaults, where the map stays the one named, and *best* is the best of
BlackJAX's; *learned* is all of it, from the default map. The gradients of *bt.fit_maps*
are counted with those of the draws. *Diverged* is the mean number of the 4,000 draws.
*Mean off* is the largest error of a mean that is known (of log x on half lines and
simplexes, of x on intervals, of the cdf at order statistics, of correlations and their
squares): the median over seeds in sd, and the worst in sd and in Monte-Carlo standard
errors. *Turned* takes the parts from the last to the first.
"""
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#56b4e9", "#e69f00", "#8fd3b6")
_OF_SAMPLE = {
    "bt.sample, default map": ("D", "none"),
    "bt.sample, best fixed map": ("s", "none"),
    "bt.sample, learned": ("*", "#000000"),
    "bt.fit_maps, then bt.sample": ("P", "#000000"),
}

Rows = list[dict[str, float]]


def _of(rows: Rows, what: str) -> np.ndarray:
    return np.array([row[what] for row in rows if what in row])


def _quartiles(rows: Rows) -> np.ndarray:
    return np.quantile(_of(rows, "efficiency"), [0.25, 0.5, 0.75])


def _short(x: float) -> str:
    return f"{x:.3g}" if x < 100 else f"{x:.0f}"


def _line(name: str, way: str, rows: Rows, *, best: bool) -> str:
    low, middle, high = map(_short, _quartiles(rows))
    shown = f"**{middle}**" if best else middle
    off = _of(rows, "off")
    means = "–"
    if off.size:
        errors = _of(rows, "off_mcse").max()
        means = f"{np.median(off):.3f} ({off.max():.3f}; {errors:.1f})"
    cells = (
        name,
        way,
        str(len(rows)),
        f"{shown} ({low} to {high})",
        _short(np.median(_of(rows, "gradients")) / 1000),
        _short(_of(rows, "diverged").mean()),
        f"{_of(rows, 'r_hat').max():.3f}",
        means,
    )
    return "| " + " | ".join(cells) + " |"


def _table(sampling: dict[str, dict[str, Rows]], names: list[str]) -> list[str]:
    lines = [
        "| posterior | way | seeds | ESS / 1,000 gradients | gradients, thousands | "
        "diverged | worst R-hat | mean off, sd (worst; in MCSE) |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name in names:
        ways = sampling[name]
        fixed = {w: _quartiles(r)[1] for w, r in ways.items() if w.startswith("blackjax")}
        top = max(fixed, key=lambda w: fixed[w]) if fixed else ""
        for i, (way, rows) in enumerate(ways.items()):
            lines.append(_line(name if i == 0 else "", way, rows, best=way == top))
    return lines


def _lost(sampling: dict[str, dict[str, Rows]]) -> list[str]:
    """The runs whose draws are not to be trusted."""
    found = []
    for name, ways in sampling.items():
        for way, rows in ways.items():
            worst = _of(rows, "r_hat").max()
            off = _of(rows, "off_mcse").max(initial=0.0)
            if worst > R_HAT or off > OFF:
                diverged = _of(rows, "diverged").mean()
                found.append(
                    f"| {name} | {way} | {worst:.3f} | {off:.1f} | {_short(diverged)} |"
                )
    return found


def _modes(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| loss | start | map | L-BFGS | its evaluations | Adam(0.1) |",
        "|---|---|---|---:|---:|---:|",
    ]
    by: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in rows:
        key = row["loss"], row["start"], row["map"]
        by.setdefault(key, {})[row["optimizer"]] = row
    for key, found in by.items():
        cells = list(key)
        for optimizer, whats in (
            ("L-BFGS", ("iterations", "evaluations")),
            ("Adam(0.1)", ("iterations",)),
        ):
            row = found[optimizer]
            for what in whats:
                text = f"{row[what]:,}"
                cells.append(text if row["arrived"] else f"not in {text}")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _conditions(found: dict[str, dict[str, float]]) -> list[str]:
    maps = next(iter(found.values()))
    lines = [
        "| posterior | " + " | ".join(maps) + " |",
        "|---|" + "---:|" * len(maps),
    ]
    for name, row in found.items():
        cells = " | ".join(f"{x:,.1f}" for x in row.values())
        lines.append(f"| {name} | {cells} |")
    return lines


def page(kept: dict[str, Any]) -> str:
    """The page of all that is stored."""
    sampling = {n: kept["sampling"][n] for n in PROBLEMS if n in kept["sampling"]}
    of = {name: PROBLEMS[name]().of for name in sampling}
    lines = [
        "# Which map suits which posterior",
        "",
        f"Made by `python -m benchmarks.maps` in float64 ({kept['machine']}); the "
        "posteriors are in [`map_posteriors.py`](map_posteriors.py). [What follows from "
        "it](../docs/choosing-a-map.md) is a page of its own.",
        "",
        " ".join(_HOW.split()),
    ]
    for key, title in SETS.items():
        names = [name for name in sampling if of[name] == key]
        if names:
            lines += ["", f"## {title}", "", *_table(sampling, names)]
    lost = _lost(sampling)
    lines += [
        "",
        "## Draws that are not to be trusted",
        "",
        f"Ways with an R-hat above {R_HAT} in some seed, or a mean that is more than "
        f"{OFF:.0f} standard errors off.",
        "",
    ]
    if lost:
        lines += [
            "| posterior | way | worst R-hat | worst mean, MCSE | diverged |",
            "|---|---|---:|---:|---:|",
            *lost,
        ]
    else:
        lines.append("None.")
    if kept.get("conditions"):
        lines += [
            "",
            "## Correlations of log-ratios",
            "",
            "The condition number of the correlations of the free coordinates, which no "
            "diagonal mass matrix lowers, in closed form "
            "([`map_conditions.py`](map_conditions.py)). Through stick_breaking it is 1.",
            "",
            *_conditions(kept["conditions"]),
        ]
    if kept.get("modes"):
        lines += [
            "",
            "## Iterations to the mode",
            "",
            "Until each parameter is within 1 % of the mode of a density of the model "
            "(no Jacobian), from parameters of 1 or from free coordinates of 0: Optax's "
            "`lbfgs()` with its line search, and `adam(0.1)`. The losses are in "
            "[`map_modes.py`](map_modes.py). The knee is at the mode itself, so that "
            "with it free coordinates of 0 are a factor of log 2 from the answer.",
            "",
            *_modes(kept["modes"]),
        ]
    return "\n".join(lines) + "\n"


def draw(kept: dict[str, Any], folder: pathlib.Path) -> None:
    """One picture a set, `map_<set>.png`."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    for key in SETS:
        problems = {n: make() for n, make in PROBLEMS.items() if n in kept["sampling"]}
        names = [name for name, problem in problems.items() if problem.of == key]
        if not names:
            continue
        maps = list(dict.fromkeys(m for n in names for m in problems[n].maps))
        styles: dict[str, tuple[str, str]] = {
            f"blackjax, {m}": ("o", _COLOURS[i]) for i, m in enumerate(maps)
        } | _OF_SAMPLE
        figure, axes = plt.subplots(figsize=(7.2, 1.3 + 0.42 * len(names)))
        shown = set()
        for at, name in enumerate(names):
            axes.axhline(at, color="#dddddd", lw=0.6, zorder=0)
            for way, (marker, colour) in styles.items():
                rows = kept["sampling"][name].get(way)
                if not rows:
                    continue
                low, middle, high = _quartiles(rows)
                own = way.startswith("bt.")
                edge = "#444444" if own else colour
                height = at + 0.22 if own else at
                label = way.removeprefix("blackjax, ")
                axes.plot([low, high], [height] * 2, color=edge, lw=1.5, zorder=2)
                axes.plot(
                    *(middle, height),
                    marker,
                    ms=5 if own else 6,
                    mfc=colour,
                    mec=edge,
                    label=None if label in shown else label,
                    zorder=3,
                )
                shown.add(label)
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter("")
        axes.tick_params(axis="x", labelsize=8)
        axes.set_xlabel(
            "smallest bulk ESS per 1,000 gradients, quartiles over seeds", fontsize=8
        )
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.tick_params(axis="y", length=0)
        handles, labels = axes.get_legend_handles_labels()
        drawn = dict(zip(labels, handles, strict=True))
        order = [w for way in styles if (w := way.removeprefix("blackjax, ")) in drawn]
        figure.legend(
            [drawn[label] for label in order],
            order,
            loc="outside upper center",
            ncols=3,
            fontsize=7,
            frameon=False,
        )
        figure.set_layout_engine("constrained")
        figure.savefig(folder / f"map_{key.replace(' ', '_')}.png", dpi=110)
        plt.close(figure)
