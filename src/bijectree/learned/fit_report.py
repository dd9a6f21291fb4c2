"""`FitReport`: the cost of a fit, and figures of the coordinates before and after."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from ..inference import condition_number
from ..trees import as_text

# The table shows so many points of the trace.
_SHOWN = 8


@dataclasses.dataclass(frozen=True, eq=False)
class FitReport:
    """What a fit cost, and what it brought.

    The figures before and after are of the same draws from the posterior, which the fit
    did not see: in the free coordinates that were given, and in the fitted ones. Both
    are of the coordinates as they stand, unscaled; a sampler that adapts a mass matrix
    needs less.

    `str(report)` is a plain table, the same wherever it is printed.

    Attributes:
        method: how the map was fitted.
        objective: what `trace` holds.
        trace: the objective as the fit went on.
        fisher_before: the Fisher divergence to a standard normal before: the mean of
            ‖∇log p(z) + z‖² over the held-out draws.
        fisher_after: the same after.
        condition_before: the condition number of the draws' covariance before; NaN if
            there are no more draws than coordinates.
        condition_after: the same after.
        held_out: how many draws these four are of.
        gradients: how many gradients of the log-density were spent in all, those of the
            held-out draws among them. A value without its gradient counts as one, too,
            and a row of a Hessian.
        gradients_held_out: how many of them only the four figures cost.
        divergences: how many of the held-out draws ended in a divergence.
        centeredness: λ by path, from `fit_centeredness`.
        notes: what is worth knowing.
    """

    method: str
    objective: str
    trace: Float[np.ndarray, " steps"]
    fisher_before: float
    fisher_after: float
    condition_before: float
    condition_after: float
    held_out: int
    gradients: int
    gradients_held_out: int = 0
    divergences: int = 0
    centeredness: Mapping[str, Float[np.ndarray, "..."]] = dataclasses.field(
        default_factory=dict
    )
    notes: tuple[str, ...] = ()

    def __rich__(self) -> Table:
        """The figures as tables, then what is worth knowing."""
        table = Table(box=SIMPLE_HEAD, padding=(0, 2, 0, 0), show_edge=False)
        table.add_column(f"on {self.held_out} held-out draws", no_wrap=True)
        table.add_column("before", justify="right")
        table.add_column("after", justify="right")
        for name, *values in (
            ("Fisher divergence to N(0, I)", self.fisher_before, self.fisher_after),
            (
                "condition number of the covariance",
                self.condition_before,
                self.condition_after,
            ),
        ):
            known = (f"{value:.4g}" if value == value else "–" for value in values)
            table.add_row(name, *known)
        whole = Table.grid()
        whole.add_column(overflow="fold")
        whole.add_row(Text(self.method))
        whole.add_row("")
        whole.add_row(table)
        whole.add_row("")
        for path, share in self.centeredness.items():
            whole.add_row(Text(f"centeredness of '{path}': {_numbers(share)}"))
        at = np.unique(np.linspace(0, len(self.trace) - 1, _SHOWN).round().astype(int))
        if len(self.trace):
            shown = " → ".join(f"{value:.4g}" for value in self.trace[at])
            whole.add_row(Text(f"{self.objective}: {shown}"))
        whole.add_row(
            Text(
                f"gradients spent: {self.gradients:,}, of which "
                f"{self.gradients_held_out:,} for these figures alone"
            )
        )
        if self.divergences:
            of = f"{self.divergences} of {self.held_out} held-out draws"
            words = f"note: {of} diverged, after a short warm-up"
            whole.add_row(Text(words, style="dim"))
        for note in self.notes:
            whole.add_row(Text(f"note: {note}", style="dim"))
        return whole

    def __str__(self) -> str:
        """The tables as plain text of their natural width."""
        return as_text(self)

    __repr__ = __str__


def _numbers(share: Float[np.ndarray, "..."]) -> str:
    values = np.ravel(share)
    if values.size > 10:
        low, middle, high = np.quantile(values, [0, 0.5, 1])
        return f"{values.size} from {low:.3f} to {high:.3f}, median {middle:.3f}"
    return ", ".join(f"{value:.3f}" for value in values)


def fisher_divergence(
    z: Float[np.ndarray, "n dim"], gradients: Float[np.ndarray, "n dim"]
) -> float:
    """The mean of ‖∇log p(z) + z‖²: zero for draws from a standard normal density."""
    return float(np.mean(np.sum((z + gradients) ** 2, axis=-1)))


class Figures(NamedTuple):
    """What held-out draws say of two sets of coordinates, the given and the fitted.

    Attributes:
        fisher: the Fisher divergences.
        condition: the condition numbers.
        worse: whether the fitted coordinates are worse than the given ones, by the
            Fisher divergence of any group of draws.
        draws: how many there are.
        spent: how many gradients only these figures cost.
    """

    fisher: tuple[float, float]
    condition: tuple[float, float]
    worse: bool
    draws: int
    spent: int

    def report(
        self,
        method: str,
        *,
        objective: str,
        trace: Float[np.ndarray, " steps"],
        gradients: int,
        divergences: int = 0,
        spent: int | None = None,
        centeredness: Mapping[str, Float[np.ndarray, "..."]] | None = None,
        notes: Sequence[str] = (),
    ) -> FitReport:
        """The report of a fit that has these figures."""
        return FitReport(
            method=method,
            objective=objective,
            trace=trace,
            fisher_before=self.fisher[0],
            fisher_after=self.fisher[1],
            condition_before=self.condition[0],
            condition_after=self.condition[1],
            held_out=self.draws,
            gradients=gradients,
            gradients_held_out=self.spent if spent is None else spent,
            divergences=divergences,
            centeredness=centeredness or {},
            notes=tuple(notes),
        )


def figures(
    x: Float[np.ndarray, "n dim"],
    scores: Float[np.ndarray, "n dim"],
    z: Float[np.ndarray, "n dim"],
    others: Float[np.ndarray, "n dim"],
    *,
    worse: bool = False,
    spent: int = 0,
) -> Figures:
    """The figures of draws and their gradients, before (`x`) and after (`z`) a fit."""
    return Figures(
        (fisher_divergence(x, scores), fisher_divergence(z, others)),
        (condition_number(x), condition_number(z)),
        worse=worse,
        draws=len(x),
        spent=spent,
    )
