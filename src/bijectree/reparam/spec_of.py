"""`spec_of`: from a Reparam back to a spec that makes it."""

from typing import Any

import numpy as np
from jaxtyping import PyTree

from ..constraints import simplex
from .bound import Bound
from .plan import Row
from .reparam import Reparam
from .spec_items import Dependent, Joint, Masked, Then, Tied, frozen


def spec_of(reparam: Reparam) -> PyTree:
    """A spec that makes the same Reparam of the same model, with an item at each leaf.

    Globs and prefixes of the spec that it was bound with are spelled out.

    Returns:
        A pytree of the model's structure; within a `Then`, if `then` put maps on.
    """
    bound = reparam.bound
    items: list[Any] = [_item(bound, row) for row in bound.plan.rows]
    for _, row in bound.plan.free:
        if row.members:
            joint = Joint(_alone(bound, row), tuple(_paths(bound, row.members)))
            for m in row.members:
                items[m] = joint
    spec = bound.plan.structure.treedef.unflatten(items)
    outer = bound.plan.outer
    maps = tuple(kind.recipe.build(bound.numbers[slot]) for kind, slot in outer)
    return Then(spec, maps) if maps else spec


def _item(bound: Bound, row: Row) -> Any:
    if row.role == "frozen":
        return frozen
    if row.role == "tied":
        assert row.function is not None
        (source,) = _paths(bound, row.on)
        return Tied(source, row.function.build(bound.numbers[row.slot]))
    if row.role == "static" or row.kind is None or row.members:
        return None
    return _alone(bound, row) if row.picked is None else _masked(bound, row)


def _alone(bound: Bound, row: Row) -> Any:
    """The bijector of a row, or the function that makes it."""
    assert row.kind is not None
    numbers = bound.numbers[row.slot]
    if row.function is None:
        return row.kind.recipe.build(numbers)
    return Dependent(row.function.build(numbers), tuple(_paths(bound, row.on)))


def _masked(bound: Bound, row: Row) -> Masked:
    picked = row.picked
    assert picked is not None
    assert row.kind is not None
    if picked.zero_axis is not None:
        several = _alone(bound, row)
        return Masked(simplex(axis=picked.zero_axis, via=several.via), picked.mask)
    lead = len(picked.shape) - row.kind.event_ndims
    events = np.asarray(picked.mask.reshape(*picked.shape[:lead], -1).all(axis=-1))
    if row.function is not None or not picked.cuts:
        return Masked(_alone(bound, row), events)
    numbers = tuple(map(picked.undo_cut, bound.numbers[row.slot]))
    return Masked(row.kind.recipe.build(numbers), events)


def _paths(bound: Bound, positions: Any) -> list[str]:
    return [bound.plan.rows[i].path for i in positions]
