"""`Run`: a sampler after its warm-up, with the draws so far."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..inference import Draws
from ..learned.centeredness import shares_of, with_own_shares, with_shares
from ..learned.choose_maps import with_alternatives
from ..posterior import Target
from ..reparam import Reparam
from .chains import Standing, Steps, evaluate
from .tuned import Tuned


@dataclasses.dataclass
class Run:
    """A sampler after its warm-up, with the draws so far.

    Attributes:
        tuned: what the warm-up found.
        standing: where the chains stand, in the coordinates of `tuned.target`.
        gradients: that were spent, by what they were spent on.
        seconds: that went by, in the same way.
        moved: how many chains the warm-up moved.
        follows: of `fingerprint_of_last`, of the draws that it goes on from.
        kept: the draws, in parts.
    """

    tuned: Tuned
    standing: Standing
    gradients: dict[str, int]
    seconds: dict[str, float]
    moved: int = 0
    follows: int | None = None
    kept: list[Steps] = dataclasses.field(default_factory=list)

    @property
    def n(self) -> int:
        """How many draws of each chain there are."""
        return sum(part.vectors.shape[1] for part in self.kept)

    @property
    def diverged(self) -> int:
        """How many of the draws diverged."""
        return sum(int(part.diverging.sum()) for part in self.kept)

    @property
    def steps(self) -> Steps:
        """All draws."""
        return Steps.joined(self.kept)

    def add(self, steps: Steps, seconds: float) -> None:
        """Keep more draws, but not their gradients."""
        self.standing = steps.end
        self.gradients["draws"] += steps.spent
        self.seconds["draws"] += seconds
        self.kept.append(steps._replace(gradients=steps.gradients[:, :, :0]))


def with_learned(
    given: Target, maps: Mapping[int, tuple[int, np.ndarray]], shares: Sequence[Any]
) -> tuple[Reparam, tuple[int, ...]]:
    """The map of the posterior that is given, with the maps and λ that were learned.

    Returns:
        The map, and the rows of λ.
    """
    reparam = given.posterior.reparam
    if maps:
        reparam = with_alternatives(reparam, maps)
    if not shares:
        return reparam, ()
    reparam, rows = with_own_shares(reparam)
    return with_shares(reparam, rows, shares), rows


def again(draws: Draws, given: Target, dtype: Any) -> Run:
    """A run that goes on from the last of earlier draws.

    Raises:
        ValueError: the density is another one.
    """
    assert draws.report is not None
    tuned: Tuned = draws.report.tuned
    # The posterior of the draws themselves has the learned map already.
    if given.posterior.reparam is not draws.posterior.reparam or not tuned.learned:
        shares = shares_of(tuned.reparam, tuned.rows)
        reparam, rows = with_learned(given, tuned.maps, shares)
        tuned = tuned._replace(reparam=reparam, rows=rows)
    vectors = np.asarray(draws.vectors[:, -1])
    density = np.asarray(draws.stats["lp"][:, -1])
    if not tuned.learned:
        affine = tuned.outer.affine
        vectors = affine.inverse(vectors.astype(np.float64)).astype(vectors.dtype)
        density = density + affine.log_det
    coarse = density.dtype
    vectors = vectors.astype(dtype)
    found = jax.device_get(evaluate(tuned.target(given), jnp.asarray(vectors)))
    if differ(found[0], density, coarse):
        raise ValueError(
            "sample: `resume` has draws of another posterior, or of other data: the "
            f"log-density of their last ones was {density}, and is {found[0]} here"
        )
    spent = {"starts": len(vectors), "warm-up": 0, "draws": 0}
    seconds = {"starts": 0.0, "compiling": 0.0, "warm-up": 0.0, "draws": 0.0}
    standing = Standing(vectors, found[0].astype(dtype), found[1].astype(dtype))
    last = draws.fingerprint_of_last()
    return Run(tuned, standing, spent, seconds, draws.report.moved, last)


def differ(found: np.ndarray, wanted: np.ndarray, coarse: Any) -> bool:
    """Whether log-densities differ by more than rounding of a dtype."""
    tolerance = 1e3 * max(np.finfo(found.dtype).eps, np.finfo(coarse).eps)
    return not np.allclose(found, wanted, rtol=tolerance, atol=tolerance, equal_nan=True)
