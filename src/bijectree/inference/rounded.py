"""Draws that rounding has made one number, though the free coordinates differ."""

import functools
import math
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from ..reparam import Plan, Row, owner
from .from_models import inverses

if TYPE_CHECKING:
    from .draws import Draws

# Where the draws of a number have a value more often than by this share, it is rounded.
_SAME = 0.01


def rounded_numbers(
    draws: "Draws", x: Float[np.ndarray, "chains draws n"]
) -> Bool[np.ndarray, " n"]:
    """Which numbers are often one and the same, where the free coordinates are not."""
    plan = draws.posterior.reparam.bound.plan
    vectors = np.asarray(draws.vectors)
    changed = vectors[:, 1:] != vectors[:, :-1]
    at = _coordinates(plan)
    # Few draws ask for it, and it maps all of them.
    come_back = functools.cache(lambda: _come_back(draws))
    found = []
    end = 0
    for i, row in enumerate(plan.rows):
        if row.role not in ("free", "tied") or _is_complex(row):
            continue
        start, end = end, end + math.prod(row.shape)
        own, numbers = changed[..., sorted(at[i])], x[..., start:end]
        these = _repeated(own.any(axis=2), numbers)
        # A function may map many numbers to one, and its source is told of.
        these &= row.role == "free"
        kind = plan.rows[owner(plan.rows, i)].kind
        elementwise = kind is None or kind.elementwise
        if elementwise and own.shape[2] == end - start:
            for n in np.flatnonzero(these):
                these[n] = _repeated(own[..., n], numbers[..., [n]]).any()
            found.append(these)
            continue
        # The first number of a Cholesky factor of a correlation is 1 in any draw.
        these &= (numbers != numbers[:1, :1]).any(axis=(0, 1))
        if these.any() and not elementwise:
            # The other numbers of an event may tell what this one does not: in a Cholesky
            # factor of a correlation near 0, a 1 on the diagonal hides nothing.
            known = np.all(come_back()[..., sorted(at[i])], axis=2)
            for n in np.flatnonzero(these):
                same = numbers[..., n] == most_frequent(numbers[..., n])[0]
                these[n] = not known[same].all()
        found.append(these)
    return np.concatenate([np.zeros(0, bool), *found])


def most_frequent(x: Float[np.ndarray, "chains draws"]) -> tuple[float, int]:
    """The value that comes most often, and how often."""
    values, counts = np.unique(x, return_counts=True)
    return float(values[np.argmax(counts)]), int(counts.max())


def _is_complex(row: Row) -> bool:
    return jnp.issubdtype(row.dtype, jnp.complexfloating)


def _coordinates(plan: Plan) -> dict[int, set[int]]:
    """The places in a free vector of the coordinates that each leaf is a function of."""
    found = {i: set(range(x.start, x.stop)) for i, x in plan.places.items()}
    if plan.outer:
        found = dict.fromkeys(found, set().union(*found.values()))
    for i, row in plan.order:
        found[i] = found.get(i, set()).union(
            *(found.get(owner(plan.rows, j), set()) for j in row.on)
        )
    return {i: found.get(owner(plan.rows, i), set()) for i in range(len(plan.rows))}


def _repeated(
    moved: Bool[np.ndarray, "chains steps"], x: Float[np.ndarray, "chains draws n"]
) -> Bool[np.ndarray, " n"]:
    """Which numbers are often one and the same, of the draws that a move led to."""
    values = np.sort(x[:, 1:][moved], axis=0)
    least = max(2, round(_SAME * len(values)))
    if least >= len(values):
        return np.zeros(x.shape[2], bool)
    # Where a value comes so often, it stands so many places from itself.
    return (values[least:] == values[:-least]).any(axis=0)


def _come_back(draws: "Draws") -> Bool[np.ndarray, "chains draws dim"]:
    """Which free coordinates models still tell, but for a hundredth of the spread."""
    reparam, z = draws.posterior.reparam, np.asarray(draws.vectors)
    plan = reparam.bound.plan
    leaves = plan.structure.treedef.flatten_up_to(draws.models)
    batch = [
        leaf.reshape(-1, *row.shape) if row.role in ("free", "tied") else None
        for row, leaf in zip(plan.rows, leaves, strict=True)
    ]
    again = np.asarray(inverses(reparam, batch)[0]).reshape(z.shape)
    with np.errstate(invalid="ignore"):
        return np.abs(again - z) <= _SAME * z.std(axis=(0, 1))
