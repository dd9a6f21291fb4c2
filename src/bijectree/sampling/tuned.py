"""`Tuned` and `WarmUp`: what is known of coordinates, after a warm-up and within it."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ..inference import condition_number
from ..learned import low_rank
from ..learned.centeredness import shares_of, with_own_shares
from ..learned.outer_map import OuterMap
from ..learned.warp import straight
from ..posterior import Target
from ..reparam import Reparam
from .chains import Standing, Steps

# A map has at most so many directions; fewer of long vectors, for which a step is dear.
_COLUMNS, _COLUMNS_LONG, LONG = 64, 16, 1000


class Tuned(NamedTuple):
    """What a warm-up found.

    Attributes:
        reparam: the map of the model beneath `outer`, with maps and λ as learned.
        outer: the map of the base to its free coordinates.
        step_size: of all chains.
        rows: the leaves whose λ was learned.
        learned: whether the draws are kept in the coordinates that were learned.
        maps: the leaves that have another map of their set, by row: its place among the
            alternatives, and the middle that these are made of.
    """

    reparam: Reparam
    outer: OuterMap
    step_size: float
    rows: tuple[int, ...] = ()
    learned: bool = True
    maps: Mapping[int, tuple[int, np.ndarray]] = MappingProxyType({})

    @property
    def centeredness(self) -> dict[str, Float[np.ndarray, "..."]]:
        """λ by path."""
        shares = shares_of(self.reparam, self.rows)
        leaves = self.reparam.bound.plan.rows
        return {
            leaves[i].path: np.asarray(x) for i, x in zip(self.rows, shares, strict=True)
        }

    @property
    def other_maps(self) -> dict[str, str]:
        """The maps that the leaves have in place of those that were given, by path."""
        rows = self.reparam.bound.plan.rows
        return {rows[i].path: self.reparam.bound.describe(rows[i]) for i in self.maps}

    @property
    def bent(self) -> dict[str, int]:
        """How many coordinates are bent, by the path of their leaf."""
        if not self.outer.bent or self.outer.warp is None:
            return {}
        plan, bent = self.reparam.bound.plan, self.outer.warp.bent
        if plan.outer:
            return {"(all leaves)": self.outer.bent}
        counts = {row.path: int(bent[plan.places[i]].sum()) for i, row in plan.free}
        return {path: n for path, n in counts.items() if n}

    def target(self, given: Target) -> Target:
        """The posterior in the coordinates that were learned."""
        return given.through(self.outer.over(self.reparam))


@dataclasses.dataclass
class WarmUp:
    """The state of a warm-up, which its windows change.

    Attributes:
        given: the posterior, in the coordinates of the user.
        tuned: what is known so far.
        standing: where the chains stand, in the coordinates of `tuned.reparam`.
        acceptance: the rate that is aimed at.
        may_change: whether another one may be aimed at.
        spent: how many gradients the steps cost.
        compiling: the seconds that it took to compile the chains' program anew.
        moved: how many chains were moved out of a mode that is far too light.
        kept: the later half of all steps, in the coordinates of `tuned.reparam`.
        condition: the condition number of the coordinates, as far as it is known.
    """

    given: Target
    tuned: Tuned
    standing: Standing
    acceptance: float
    may_change: bool = False
    spent: int = 0
    compiling: float = 0.0
    moved: int = 0
    kept: list[Steps] = dataclasses.field(default_factory=list)
    condition: float = float("nan")

    @property
    def target(self) -> Target:
        """The posterior in the coordinates that the chains move in now."""
        return self.tuned.target(self.given)

    def on_map(self) -> Standing:
        """Where the chains stand, in the coordinates of `target`."""
        x = self.standing
        found = self.tuned.outer.to_base(*(part.astype(np.float64) for part in x))
        return Standing(*(part.astype(x.vectors.dtype) for part in found))


def untuned(given: Target, *, learn: bool) -> Tuned:
    """What is known before the first step: the structure of the coordinates.

    Args:
        given: the posterior, in the coordinates of the user.
        learn: whether coordinates are learned: λ, and directions besides scales.
    """
    reparam, rows = given.posterior.reparam, ()
    # A map above the leaves was fitted to the λ beneath it.
    if learn and not reparam.bound.outer_names():
        reparam, rows = with_own_shares(reparam)
    dim = given.posterior.dim
    columns = min(dim, _COLUMNS if dim <= LONG else _COLUMNS_LONG) if learn else 0
    warp = straight(dim) if learn and dim <= LONG else None
    first = OuterMap(low_rank.identity(dim, columns), warp)
    return Tuned(reparam, first, first_step(dim), rows, learned=learn)


def first_step(dim: int) -> float:
    """A step size for a standard normal density."""
    return 0.7 * dim**-0.25


def condition_of(vectors: Float[np.ndarray, "chains n dim"]) -> float:
    """The condition number of draws; NaN for more coordinates than it is told for."""
    dim = vectors.shape[-1]
    return float("nan") if dim > LONG else condition_number(vectors.reshape(-1, dim))
