"""What was found, as lines, tables and pictures."""

import inspect
import pathlib
import types
from collections.abc import Mapping, Sequence
from typing import Any

from ._timing import OURS, Row, Target


def line(row: Row) -> str:
    """One row in one line."""
    values = ", ".join(f"{name} {_number(v)}" for name, v in row.values.items())
    targets = "; ".join(_target(target) for target in row.targets)
    return f"{row.cell}: {row.case} [{row.unit}]: {values}" + f" | {targets}" * bool(
        targets
    )


def markdown(
    rows: Sequence[Row], about: Mapping[str, Any], cells: Mapping[str, types.ModuleType]
) -> str:
    """The page with all tables."""
    versions = ", ".join(f"{name} {v}" for name, v in about["versions"].items())
    parts = [
        "# Benchmarks: what was measured",
        f"By `{about['command']}` on {about['date']}, in {about['minutes']} minutes: "
        f"{about['machine']}; {versions}.",
    ]
    if about["left out, not installed"]:
        missing = ", ".join(about["left out, not installed"])
        parts.append(f"Not installed, so left out: {missing}.")
    if about["not run"]:
        parts.append(f"**Failed, or not begun: {', '.join(about['not run'])}.**")
    if about["quick"]:
        parts.append(
            "**A quick run: it proves that the code runs; the figures do not count.**"
        )
    parts.append(
        "Values are medians over rounds. Behind each, in brackets, is the median over "
        "rounds of bijectree's time over it within a round: below 1, bijectree is "
        "faster. "
        "A target names that ratio, its quartiles and the limit."
    )
    parts += _summary(rows, cells)
    for name, cell in cells.items():
        here = [row for row in rows if row.cell == name]
        if here:
            parts += [f"## {cell.TITLE}", inspect.cleandoc(cell.__doc__ or "")]
            parts.append(_table(here))
    return "\n\n".join(parts) + "\n"


def _summary(rows: Sequence[Row], cells: Mapping[str, types.ModuleType]) -> list[str]:
    targets = [(row, target) for row in rows for target in row.targets]
    if not targets:
        return []
    lines = ["| cell | targets | met | missed |", "|---|---:|---:|---|"]
    for name, cell in cells.items():
        here = [(row, t) for row, t in targets if row.cell == name]
        if here:
            missed = [
                f"{row.case}: {t.ratio:.2f} > {t.limit:g} × {t.over}"
                for row, t in here
                if not t.met
            ]
            met = len(here) - len(missed)
            lines.append(
                f"| {cell.TITLE} | {len(here)} | {met} | {'<br>'.join(missed) or '–'} |"
            )
    return ["## Targets", "\n".join(lines)]


def _table(rows: Sequence[Row]) -> str:
    names = list(dict.fromkeys([OURS, *(name for row in rows for name in row.values)]))
    with_notes = any(row.note for row in rows)
    head = ["case", "unit", *names, "rounds", "target", *["note"] * with_notes]
    lines = [
        head,
        ["---", "---", *["---:"] * (len(names) + 1), "---", *["---"] * with_notes],
    ]
    for row in rows:
        values = [_cell(row, name) for name in names]
        target = "<br>".join(_target(t) for t in row.targets) or "–"
        rest = [str(row.rounds), target, *[row.note] * with_notes]
        lines.append([row.case, row.unit, *values, *rest])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(row: Row, name: str) -> str:
    if name not in row.values:
        return "–"
    value = _number(row.values[name])
    return f"{value} ({row.ratios[name]:.2f})" if name in row.ratios else value


def _target(target: Target) -> str:
    word = "met" if target.met else "**missed**"
    spread = ""
    if target.quartiles:
        spread = " ({:.2f} to {:.2f})".format(*target.quartiles)
    sign = "≤" if target.met else ">"
    return f"{target.ratio:.2f}{spread} {sign} {target.limit:g} × {target.over}: {word}"


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def draw(rows: Sequence[Row], output: pathlib.Path) -> list[pathlib.Path]:
    """Cost against size, and against the number of leaves."""
    import matplotlib

    matplotlib.use("Agg")
    elementwise = _panels([row for row in rows if row.cell == "elementwise"], ", ", 2)
    leaves = _panels([row for row in rows if row.cell == "leaves"], " leaves, ", 1)
    leaves = {
        n: here for n, here in leaves.items() if n.startswith(("trace, lower", "run"))
    }
    written = []
    for name, panels, across in (
        ("cost_by_size", elementwise, "elements"),
        ("cost_by_leaves", leaves, "leaves"),
    ):
        if panels:
            written.append(_draw(panels, across, output / f"{name}.png"))
    return written


def _panels(rows: Sequence[Row], cut: str, kept: int) -> dict[str, list[Row]]:
    """Rows by what is left of their case without the size."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        parts = row.case.split(cut)
        title = cut.join(parts[:kept] if kept > 1 else parts[1:])
        found.setdefault(title, []).append(row)
    return found


def _draw(
    panels: Mapping[str, Sequence[Row]], across: str, path: pathlib.Path
) -> pathlib.Path:
    from matplotlib import pyplot as plt

    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(4.5 * columns, 3.6 * lines), squeeze=False
    )
    for axis, (title, rows) in zip(axes.flat, panels.items(), strict=False):
        for name in dict.fromkeys(name for row in rows for name in row.values):
            points = [(row.size, row.values[name]) for row in rows if name in row.values]
            thick = 2.5 if name == OURS else 1.2
            axis.loglog(
                *zip(*points, strict=True), marker="o", ms=3, lw=thick, label=name
            )
        axis.set(title=title, xlabel=across, ylabel=rows[0].unit)
        axis.grid(alpha=0.3)
    axes.flat[0].legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path
