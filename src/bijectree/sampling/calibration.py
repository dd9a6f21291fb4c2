"""`Calibration`: the ranks of truths among draws, and what they say."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from ..inference import R_HAT_LIMIT
from ..plots import plot_ranks
from .ranks import band, bins_for, chi_squared, histogram, shares_of

# Short chains have an R-hat above the limit by chance, and hardly one above this.
_APART = 1.05

# A table has at most so many rows.
_ROWS = 50


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """How the ranks of truths among draws are spread: evenly, where all is right.

    It prints as a table. Beside the p-value of each number stand the mean and the
    standard deviation of its ranks as shares of 1: a mean above 0.5 says that the draws
    are too low, a deviation above 0.289 that they are too narrow, one below it that they
    are too wide.

    Attributes:
        ranks: those of each number of the model, by the path of its leaf and its index
            in it, and of "log-prior" and "log-likelihood"; from 0 to `draws`.
        draws: among how many independent draws a truth was ranked.
        diverging: how many transitions of each simulation diverged.
        r_hat: the largest R-hat of each simulation.
        ess: the smallest effective sample size of each simulation.
        outside: in which simulations the truth is outside the support of the
            coordinates, or on its edge.

    Example:
        >>> import bijectree as bt, numpy as np
        >>> ranks = {"even": np.arange(100), "low": np.arange(100) // 2}
        >>> no = np.zeros(100, int)
        >>> found = bt.Calibration(
        ...     ranks, 99, diverging=no, r_hat=no + 1.0, ess=no + 400.0, outside=no > 0
        ... )
        >>> found.counts["low"].tolist()
        [20, 20, 20, 20, 20, 0, 0, 0, 0, 0]
        >>> found.p_values["even"], found.p_value < 1e-3
        (1.0, True)
    """

    ranks: Mapping[str, Int[np.ndarray, " n"]]
    draws: int
    diverging: Int[np.ndarray, " n"]
    r_hat: Float[np.ndarray, " n"]
    ess: Float[np.ndarray, " n"]
    outside: Bool[np.ndarray, " n"]

    @property
    def n(self) -> int:
        """How many simulations there were."""
        return len(self.diverging)

    @property
    def bins(self) -> int:
        """How many bins the ranks are counted in: at least ten in each on average."""
        return bins_for(self.n, self.draws)

    @property
    def counts(self) -> dict[str, Int[np.ndarray, " bins"]]:
        """The rank histogram of each number."""
        return {k: histogram(x, self.bins, self.draws) for k, x in self.ranks.items()}

    @property
    def p_values(self) -> dict[str, float]:
        """The p-value of each rank histogram, by Pearson's chi-squared test."""
        shares = shares_of(self.bins, self.draws)
        return {k: chi_squared(x, shares) for k, x in self.counts.items()}

    @property
    def p_value(self) -> float:
        """The smallest p-value times the number of them (Bonferroni), at most 1."""
        return min(1.0, len(self.ranks) * min(self.p_values.values()))

    def plot(self, *, figure: Any = None) -> np.ndarray:
        """Draw the rank histograms over the band where even ones lie.

        All bins of an even histogram are in the band with a probability of 99 %. At most
        24 histograms are drawn, those with the smallest p-values, in the order of the
        model.

        Args:
            figure: a matplotlib Figure or SubFigure to draw in; a new figure by default.

        Returns:
            One Axes a histogram. Nothing is shown and nothing saved.

        Raises:
            ImportError: matplotlib is not installed.
        """
        shares = shares_of(self.bins, self.draws)
        low, high = band(self.n, shares)
        expected = self.n * shares
        return plot_ranks(
            self.counts,
            self.p_values,
            (low, expected, high),
            draws=self.draws,
            figure=figure,
        )

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        p_values = self.p_values
        worst = min(p_values, key=lambda name: p_values[name])
        shown = list(self.ranks)
        if len(shown) > _ROWS:
            kept = {*sorted(shown, key=lambda name: p_values[name])[:_ROWS]}
            shown = [name for name in shown if name in kept]
        width = max(map(len, [*shown, "expected"]))
        size = self.draws + 1
        lines = [
            f"{self.n} simulations, ranks among {self.draws} draws, in {self.bins} bins",
            f"{'':{width}} {'p-value':>8} {'mean':>6} {'sd':>6}",
        ]
        for name in shown:
            x = (self.ranks[name] + 0.5) / size
            lines.append(
                f"{name:{width}} {p_values[name]:8.2g} {x.mean():6.3f} {x.std():6.3f}"
            )
        even = np.sqrt((1 - size**-2) / 12)
        lines.append(f"{'expected':{width}} {'':8} {0.5:6.3f} {even:6.3f}")
        if len(self.ranks) > len(shown):
            rest = len(self.ranks) - len(shown)
            lines.append(f"... and {rest} more, with larger p-values")
        lines.append(
            f"worst p-value: {p_values[worst]:.2g} of '{worst}', the smallest of "
            f"{len(p_values)}; {self.p_value:.2g} if it is multiplied by their number "
            "(Bonferroni)"
        )
        diverged = int((self.diverging > 0).sum())
        above = int((self.r_hat > R_HAT_LIMIT).sum())
        largest = f", at most {np.nanmax(self.r_hat):.3f}" if above else ""
        lines.append(
            f"simulations with divergences: {diverged}; with R-hat above {R_HAT_LIMIT}, "
            f"which chains as short as these pass by chance: {above}{largest}"
        )
        return "\n".join([*lines, *(f"note: {text}" for text in self.notes)])

    @property
    def notes(self) -> list[str]:
        """What speaks against trusting the ranks, in plain words."""
        notes = []
        apart = int((self.r_hat > _APART).sum())
        if apart:
            notes.append(
                f"R-hat is above {_APART} in {apart} of {self.n} simulations: their "
                "chains do not agree. Give a larger `thin` or `warm_up`, or look for "
                "several modes"
            )
        few = int((self.ess < self.draws).sum())
        if few:
            notes.append(
                f"the smallest effective sample size is below {self.draws} in {few} of "
                f"{self.n} simulations, at least {np.nanmin(self.ess):.0f}: their draws "
                "are not independent, and ranks are uneven by that alone. Give a larger "
                "`thin`"
            )
        outside = int(self.outside.sum())
        if outside:
            notes.append(
                f"the truth is outside the support of the coordinates, or on its edge, "
                f"in {outside} of {self.n} simulations"
            )
        return notes
