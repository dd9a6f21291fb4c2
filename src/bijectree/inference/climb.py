"""Searches for the modes of one density, from any starts, by one compiled program."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from ..posterior import Target
from ..trees import on_host
from .lbfgs import Best, Search, advance, begin, rounding, to_reals

# A search that ended has found a mode if so little of the log-density is left to gain
# there: it is 5e-5 of a standard deviation away. Where large terms cancel in the
# log-density, float64 too hides more than the rounding of their sum says.
_NOTHING = 1e-9


class End(NamedTuple):
    """Where a search ended.

    Attributes:
        best: its best point, on the host.
        place: the same, on the devices of the search.
        steps: how many steps it made.
        converged: whether the point is a mode.
        gradients: how many gradients that took.
    """

    best: Best
    place: Best
    steps: int
    converged: bool
    gradients: int


class Climb:
    """Searches for the modes of one density.

    Args:
        target: the density.
        tolerance: the norm of the gradient to stop at.
        jacobian: whether the density has the log-det.
    """

    def __init__(self, target: Target, tolerance: float, *, jacobian: bool):
        self.target, self.tolerance, self.jacobian = target, tolerance, jacobian

    def first(self, vector: Any) -> Search:
        """A search that has looked at the free vector, or its reals, where it starts."""
        return self.go_on(begin(to_reals(vector)), 0)

    def go_on(self, search: Search, stop: int) -> Search:
        """Search to a step."""
        limit = jnp.asarray(self.tolerance, search.vector.dtype)
        return advance(
            self.target, search, limit, jnp.asarray(stop), jacobian=self.jacobian
        )

    def end(self, search: Search) -> End:
        """Judge the best point of a search.

        It is a mode, too, where a step down the gradient gains less than the rounding of
        the value hides. The terms of the value are larger than their sum, and so is their
        rounding.
        """
        best, steps = jax.tree.map(on_host, search.best), int(search.steps)
        gradients, size = int(search.gradients), norm_on_host(best.gradient)
        small = size <= self.tolerance
        if small or not (search.done and np.isfinite(size)):
            return End(best, search.best, steps, small, gradients)
        dtype = best.vector.dtype
        vector, along = best.vector.astype(np.float64), best.gradient / size
        move = float(np.finfo(dtype).eps) ** 0.5 * (1 + norm_on_host(vector))
        near = self.first((vector + move * along).astype(dtype))
        turned = on_host(near.gradient).astype(np.float64) - best.gradient
        with np.errstate(over="ignore", invalid="ignore"):
            bend = float(np.dot(turned, along)) / move
        hidden = max(10 * float(rounding(best.value)), _NOTHING)
        converged = bend > 0 and size**2 / (2 * bend) <= hidden
        return End(best, search.best, steps, converged, gradients + 1)

    def is_valley_between(self, a: Best, b: Best, depth: float) -> tuple[bool, int]:
        """Whether the loss rises between two points; and how many gradients that took."""
        allowed = max(float(a.value), float(b.value)) + depth
        shares = (0.5, 0.25, 0.75)
        for spent, share in enumerate(shares, start=1):
            vector = a.vector + share * (b.vector - a.vector)
            between = self.first(vector.astype(a.vector.dtype))
            if not float(between.value) <= allowed:
                return True, spent
        return False, len(shares)


def norm_on_host(vector: ArrayLike) -> float:
    """The Euclidean norm, which may be too large for the vector's dtype."""
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.linalg.norm(np.asarray(vector, np.float64)))
