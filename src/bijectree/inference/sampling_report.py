"""`SamplingReport`: what sampling cost, and what the warm-up learned."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float


@dataclasses.dataclass(frozen=True, eq=False)
class SamplingReport:
    """What sampling cost, and what the warm-up learned.

    Attributes:
        gradients: how many gradients of the log-density were spent, by what they were
            spent on: "starts", "warm-up" and "draws".
        seconds: the time that went by, in the same way, and for "compiling". The
            chains' program is compiled while starts are looked for: a first call's
            "starts" are compiling above all, and "compiling" is what was left to wait
            for.
        step_size: of all chains, in the coordinates that were learned.
        directions: how many directions the affine map has, besides the scales.
        condition_before: the condition number of the covariance of the draws in the
            coordinates that were given; NaN if it is not known.
        condition_after: the same in those that were learned.
        centeredness: λ by path.
        maps: what leaves have in place of the maps that were given, in words, by path.
        bent: how many coordinates a `sinh_arcsinh` map bends, by path: those that are
            skewed, or have other tails than a normal density.
        moved: how many chains the warm-up moved out of a mode without weight.
        follows: the fingerprint of the last of the draws that these go on from; `None`
            after a warm-up.
        tuned: what `resume` goes on with.
    """

    gradients: Mapping[str, int]
    seconds: Mapping[str, float]
    step_size: float
    directions: int
    condition_before: float
    condition_after: float
    centeredness: Mapping[str, Float[np.ndarray, "..."]]
    maps: Mapping[str, str]
    bent: Mapping[str, int]
    moved: int
    follows: int | None
    tuned: Any = dataclasses.field(repr=False)

    def plus(self, more: "SamplingReport") -> "SamplingReport":
        """The report of these draws and of those that went on from them."""
        return dataclasses.replace(
            self,
            gradients={k: v + more.gradients[k] for k, v in self.gradients.items()},
            seconds={k: v + more.seconds[k] for k, v in self.seconds.items()},
        )

    def lines(self, ess: float) -> list[str]:
        """The report in words.

        Args:
            ess: the smallest effective sample size of the draws; NaN if it is not known.
        """
        total = sum(self.gradients.values())
        per = f", {1000 * ess / total:.3g} effective draws a thousand" if ess > 0 else ""
        seconds = dict(self.seconds)
        # Both go on at once, so the one is not known without the other.
        together = seconds.pop("starts") + seconds.pop("compiling")
        seconds = {"compiling and starts": together, **seconds}
        lines = [
            f"gradients: {total:,} ({_listed(self.gradients, ',')}){per}",
            f"seconds: {sum(seconds.values()):.1f} ({_listed(seconds, '.1f')})",
        ]
        condition = (self.condition_before, self.condition_after)
        if not any(np.isnan(condition)):
            lines.append(
                "condition number of the coordinates: "
                f"{condition[0]:.3g} as given, {condition[1]:.3g} as learned, with "
                f"{self.directions} directions besides the scales"
            )
        lines += [f"map of '{path}': {words}" for path, words in self.maps.items()]
        if self.bent:
            shown = ", ".join(f"'{path}' {n}" for path, n in self.bent.items())
            lines.append(f"free coordinates that were bent, by leaf: {shown}")
        for path, share in self.centeredness.items():
            low, high = np.min(share, initial=1.0), np.max(share, initial=0.0)
            shown = f"{low:.2f}" if low == high else f"between {low:.2f} and {high:.2f}"
            lines.append(f"centeredness of '{path}': {shown}")
        return lines

    def __str__(self) -> str:
        """The report in words."""
        return "\n".join(self.lines(float("nan")))


def _listed(figures: Mapping[str, float], how: str) -> str:
    return ", ".join(f"{name} {value:{how}}" for name, value in figures.items())
