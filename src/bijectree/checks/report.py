"""What `check` found, as data and as a table."""

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..constraints import Verdict
from ..trees import as_text, cut_cell, cut_paths, is_array, raise_all

if TYPE_CHECKING:
    from rich.table import Table


@dataclasses.dataclass(frozen=True)
class LeafReport:
    """What `check` found at one leaf.

    Attributes:
        path: the leaf's path.
        array: its dtype and shape.
        bijector: the bijector's name, or "identity", "frozen", "static".
        event: the shape of one event, free → model where the two differ.
        support: "ok" or "outside".
        round_trip: how far the value is from the one it maps back to, relative.
        log_det: how far the log-det is from autodiff's, or why it was not compared.
        room: how many free units away the map saturates in the leaf's dtype.
        failures: what is wrong.
        notes: what is worth knowing.
    """

    path: str
    array: str
    bijector: str
    event: str = ""
    support: str = ""
    round_trip: str = ""
    log_det: str = ""
    room: str = ""
    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Report:
    """What `check` found: one row a leaf.

    `str(report)` is a plain table, the same wherever it is printed. A rich console
    prints the report itself in colour where the terminal has any and `NO_COLOR` is not
    set.

    Attributes:
        rows: one `LeafReport` a leaf, in the model's order.
    """

    rows: tuple[LeafReport, ...]

    @property
    def ok(self) -> bool:
        """Whether no leaf has a failure."""
        return not any(row.failures for row in self.rows)

    def raise_if_failed(self) -> None:
        """Raise one error that lists every failure, if there is any.

        Raises:
            ValueError: `ok` is false.
        """
        raise_all("check", (f"at '{p}': {text}" for p, text in self._said("failures")))

    def _said(self, what: str) -> Iterator[tuple[str, str]]:
        for row in self.rows:
            for text in getattr(row, what):
                yield row.path, text

    def __rich__(self) -> "Table":
        """The rows as a table, then failures and notes."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
        for name in ("", "leaf", "array", "bijector", "event", "support"):
            table.add_column(name, no_wrap=True)
        for name in ("round trip", "log-det", "room"):
            table.add_column(name, no_wrap=True, justify="right")
        paths = cut_paths([row.path or "(the model)" for row in self.rows])
        for path, row in zip(paths, self.rows, strict=True):
            style = "red" if row.failures else None
            verdict = "FAIL" if row.failures else "ok"
            cells = (row.array, row.bijector, row.event, row.support)
            cells += (row.round_trip, row.log_det, row.room)
            texts = (path, *(cut_cell(cell or "-") for cell in cells))
            table.add_row(verdict, *map(Text, texts), style=style)
        whole = Table.grid()
        whole.add_column(overflow="fold")
        if self.rows:
            whole.add_row(table)
            whole.add_row("")
        for path, text in self._said("failures"):
            whole.add_row(Text(f"failure at '{path}': {text}", style="red"))
        for path, text in self._said("notes"):
            whole.add_row(Text(f"note at '{path}': {text}", style="dim"))
        failed = sum(bool(row.failures) for row in self.rows)
        of = f"{len(self.rows)} {'row' if len(self.rows) == 1 else 'rows'}"
        whole.add_row(Text(f"{failed} of {of} failed" if failed else f"{of}, all ok"))
        return whole

    def __str__(self) -> str:
        """The table as plain text of its natural width."""
        return as_text(self)


@dataclasses.dataclass
class Findings:
    """What has been found at a leaf so far."""

    cells: dict[str, str] = dataclasses.field(default_factory=dict)
    failures: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    def add(self, verdict: Verdict) -> None:
        """Add what a verdict says."""
        self.failures += verdict.failures
        self.notes += verdict.notes
        if verdict.log_det:
            self.cells["log_det"] = verdict.log_det

    def report(self, path: str, leaf: Any, name: str) -> LeafReport:
        """What was found, as the row of a leaf."""
        return LeafReport(
            path,
            _array(leaf),
            name,
            **self.cells,
            failures=tuple(self.failures),
            notes=tuple(self.notes),
        )


def _array(leaf: Any) -> str:
    """The dtype and shape of a leaf in a few letters: `float32[2,3]`."""
    if not is_array(leaf):
        return type(leaf).__name__
    return f"{leaf.dtype}[{','.join(str(n) for n in leaf.shape)}]"
