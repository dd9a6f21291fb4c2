"""Draws that somebody else made, as models, in free coordinates."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from ..posterior import Posterior
from ..reparam import Reparam, Row, held_leaves
from ..trees import describe, fields_only, is_array, raise_all


def vectors_of(posterior: Posterior, models: PyTree) -> Float[Array, "chains draws dim"]:
    """The free coordinates of models, as `Draws.from_models` documents."""
    reparam = posterior.reparam
    rows, treedef = reparam.bound.plan.rows, reparam.bound.plan.structure.treedef
    same = jtu.tree_structure(models) == treedef
    try:
        leaves = treedef.flatten_up_to(models if same else fields_only(models))
    except (ValueError, TypeError):
        reparam.inverse(models)  # which says where the structures differ
        raise
    leaves = [_as_floats(row, x) for row, x in zip(rows, leaves, strict=True)]
    chains, draws = _leading_axes(rows, leaves)
    with_axes = [_has_axes(row, x) for row, x in zip(rows, leaves, strict=True)]
    batch = [
        jnp.asarray(x).reshape(chains * draws, *row.shape) if yes else None
        for row, x, yes in zip(rows, leaves, with_axes, strict=True)
    ]
    rest = [None if yes else x for x, yes in zip(leaves, with_axes, strict=True)]

    def look_at(number: int) -> None:
        """Raise if a draw is not a model of the posterior's."""
        own = [x if b is None else b[number] for b, x in zip(batch, rest, strict=True)]
        where = f"draw {number % draws} of chain {number // draws}"
        try:
            reparam.inverse(treedef.unflatten(own))
        except ValueError as error:
            raise type(error)(f"from_models: {where}: {error}") from None

    if chains * draws == 0:
        return jnp.zeros((chains, draws, reparam.dim))
    look_at(0)
    vectors, doubtful = inverses(reparam, batch)
    for number in np.flatnonzero(doubtful):
        look_at(int(number))
    return vectors.reshape(chains, draws, -1)


def _as_floats(row: Row, leaf: Any) -> Any:
    """Real numbers of any sort in the dtype of a leaf that has coordinates."""
    if row.role not in ("free", "tied"):
        return leaf
    try:
        numbers = leaf if is_array(leaf) else np.asarray(leaf)
    except ValueError:  # lists of unlike lengths
        return leaf
    real = jnp.issubdtype(numbers.dtype, jnp.floating) or jnp.issubdtype(
        numbers.dtype, jnp.integer
    )
    return numbers.astype(row.dtype) if real else leaf


def _has_axes(row: Row, leaf: Any) -> bool:
    """Whether an array has two axes in front of those that are bound."""
    if row.dtype is None or not is_array(leaf) or leaf.ndim != len(row.shape) + 2:
        return False
    if row.role in ("free", "tied") and not jnp.issubdtype(leaf.dtype, jnp.number):
        return False
    return tuple(leaf.shape[2:]) == row.shape


def _leading_axes(rows: Sequence[Row], leaves: Sequence[Any]) -> tuple[int, int]:
    """The numbers of chains and of draws.

    Raises:
        ValueError: arrays lack the axes, or do not agree on them.
    """
    found: dict[tuple[int, int], str] = {}
    faults = []
    for row, leaf in zip(rows, leaves, strict=True):
        if _has_axes(row, leaf):
            found.setdefault(tuple(leaf.shape[:2]), row.path)
        elif row.role in ("free", "tied"):
            shape = ", ".join(["chains", "draws", *map(str, row.shape)])
            faults.append(
                f"at '{row.path}': got {describe(leaf)}, expected numbers of shape "
                f"({shape})"
            )
    if len(found) > 1:
        shown = (f"{lead} at '{path}'" for lead, path in found.items())
        faults.append(f"arrays disagree on chains and draws: {', '.join(shown)}")
    if not (found or faults):
        faults.append("no array has these axes, so how many draws there are is not known")
    raise_all(
        "from_models: expected arrays with leading axes (chains, draws); those that are "
        "frozen may lack them",
        faults,
    )
    return next(iter(found))


@eqx.filter_jit
def inverses(
    reparam: Reparam, batch: Sequence[Array | None]
) -> tuple[Float[Array, "n dim"], Bool[Array, " n"]]:
    """The free vectors of models, and which models have to be looked at.

    Args:
        reparam: the model's.
        batch: the leaves that have an axis in front; `None` for those that are held.
    """
    bound = reparam.bound
    plan = bound.plan

    def one(batch: Sequence[Array | None]) -> tuple[Array, Array]:
        held = held_leaves(plan, bound.held, None)
        leaves = [x if b is None else b for b, x in zip(batch, held, strict=True)]
        vector = reparam.ravel(reparam.inverse(plan.structure.treedef.unflatten(leaves)))
        doubts = [~jnp.isfinite(vector)]
        doubts += [bound.inverse_and_outside(i, row, leaves)[1] for i, row in plan.free]
        doubts += [leaves[i] != bound.tied_value(row, leaves) for i, row in plan.tied]
        for row, leaf, value in zip(plan.rows, batch, bound.held, strict=True):
            if leaf is None or value is None:
                continue
            if row.picked is not None:
                leaf = row.picked.only_held(leaf, value)
            doubts.append(leaf != value)
        return vector, jnp.any(jnp.array([jnp.any(mask) for mask in doubts]))

    return jax.vmap(one)(batch)
