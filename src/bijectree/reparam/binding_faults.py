"""Why a spec does not fit a model, in words."""

import collections
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.tree_util as jtu
import numpy as np
from jax.core import Tracer
from jaxtyping import PyTree

from ..constraints import SetTag, support
from ..foreign import is_constraint
from ..substrate import Kind, is_bijector
from ..trees import (
    UNWRAP_FIRST,
    Paths,
    describe,
    is_array,
    is_inexact,
    is_spread,
    short,
    split_axes,
)
from .location_scale import LocationScale
from .plan import Row
from .spec_items import Dependent, Joint, Masked, Tied, frozen, is_spec_leaf
from .spec_leaves import is_distribution, leaf_of_spec


def _item_name(item: Any) -> str:
    if is_bijector(item):
        return item.name
    if isinstance(item, Joint):
        over = f" over {', '.join(item.over)}" if item.over else ""
        return f"the joint {_item_name(item.bijector)}{over}"
    if isinstance(item, Masked):
        return f"the masked {_item_name(item.bijector)}"
    if isinstance(item, Dependent) and isinstance(item.function, LocationScale):
        return "location_scale"
    return repr(item) if item is frozen else type(item).__name__.lower()


def raise_if_swapped(model: PyTree, spec: PyTree) -> None:
    """Raise if a spec and a model were given in each other's place."""
    of_spec = leaf_of_spec(set())
    leaves = jtu.tree_leaves(model, is_leaf=of_spec)
    items = [x for x in leaves if x is not None and is_spec_leaf(x)]
    if items and any(is_inexact(x) for x in jtu.tree_leaves(spec, is_leaf=of_spec)):
        raise TypeError(
            f"Reparam: the model holds {_item_name(items[0])} and the spec arrays; the "
            "arguments are Reparam(model, spec)"
        )


def _scale_faults(
    items: Sequence[Any], rows: Sequence[Row], leaves: Sequence[Any], tree: Paths
) -> list[str]:
    """Faults for scales of `location_scale` that may be negative, or are not positive."""
    faults = []
    for row, item in zip(rows, items, strict=True):
        item = item.bijector if isinstance(item, Masked) else item
        maker = item.function if isinstance(item, Dependent) else None
        if not isinstance(maker, LocationScale) or not isinstance(maker.scale, str):
            continue
        for j in tree.pick(maker.scale)[0]:
            j = _source(j, items, rows)
            why = _why_not_positive(items[j], rows[j], leaves[j])
            if why:
                faults.append(
                    f"at '{row.path}': location_scale takes positive scales, and "
                    f"'{rows[j].path}' {why}; give it a positive support, such as "
                    "bt.positive()"
                )
    return faults


def _source(i: int, items: Sequence[Any], rows: Sequence[Row]) -> int:
    """The leaf that a leaf has its value from, if it is tied to one as it is."""
    seen: set[int] = set()
    while isinstance(items[i], Tied) and items[i].is_copy and rows[i].on:
        if i in seen:  # a cycle, which is a fault of its own
            break
        seen.add(i)
        (i,) = rows[i].on
    return i


def _why_not_positive(item: Any, row: Row, leaf: Any) -> str:
    known = is_array(leaf) and not isinstance(leaf, (Tracer, jax.ShapeDtypeStruct))
    known = known and not is_spread(leaf)
    if isinstance(item, Masked) and row.role == "free" and known:
        held = np.asarray(leaf)[~item.mask]
        if not np.all(held > 0):
            return f"is {short(held)} where it is held"
    bijector = item.bijector if isinstance(item, Joint | Masked) else item
    if row.role != "free" or isinstance(bijector, Dependent):
        maker = bijector.function if isinstance(bijector, Dependent) else None
        if row.role == "free" and isinstance(maker, LocationScale):
            return "may be any number"
        wrong = known and not np.all(np.asarray(leaf) > 0)
        return f"is {short(leaf)}" if wrong else ""
    if bijector is None:
        return "may be any number"
    if not is_bijector(bijector):
        return ""
    values = support(bijector)
    if values.tag is SetTag.UNKNOWN or not values.entries.known:
        return ""
    return "" if np.all(values.entries.lower >= 0) else f"has {values.description}"


def _split_events(
    item: Any,
    kind: Kind,
    rows: Sequence[Row],
    leaves: Sequence[Any],
    i: int,
    together: tuple[int, ...] | None,
) -> list[str]:
    """Faults for axes of events that are split over devices, as far as leaves show.

    Args:
        item: the item of the spec at leaf `i`.
        kind: of the item's bijector.
        rows: all rows.
        leaves: all leaves.
        i: the position of the leaf.
        together: the leaves that are mapped as one vector; `None` where events are
            mapped apart.
    """
    faults = []
    for m in together or (i,):
        leaf = leaves[m]
        ndims = leaf.ndim if together else kind.event_ndims
        axes = [] if kind.elementwise and not together else split_axes(leaf, ndims)
        if axes:
            faults.append(
                f"at '{rows[m].path}': {_item_name(item)} maps axis {axes[0]} "
                f"of {describe(leaf)} as a whole, which {leaf.sharding.spec} splits "
                "over devices; shard other axes, or replicate the leaf"
            )
    return faults


def not_a_spec_leaf(value: Any) -> str:
    """Why a value cannot stand in a spec, and what can."""
    expected = "expected a TFP bijector, None (identity), bt.frozen or another item of bt"
    if is_distribution(value):
        return (
            f"got the distribution {type(value).__name__}; {expected}. A prior goes to "
            "bt.Posterior"
        )
    if is_constraint(value):
        cls = type(value).__name__.strip("_")
        return (
            f"got the constraint {cls}; {expected}. bt.bijector_for(constraint) makes a "
            "bijector onto it"
        )
    if callable(value):
        name = getattr(value, "__name__", type(value).__name__)
        return f"got the function {name}; {expected}. Call it: {name}()"
    return f"got {describe(value)}; {expected}"


def _at_raw_numbers(
    items: Sequence[Any], rows: Sequence[Row], nodes: Mapping[int, str]
) -> list[str]:
    """Faults for bijectors at the raw numbers of nodes with a method `unwrap`."""
    return [
        f"at '{rows[i].path}': {_item_name(items[i])} would stand at the raw number of "
        f"{node}, which makes its value of that by `unwrap`. {UNWRAP_FIRST}"
        for i, node in nodes.items()
        if items[i] is not None and items[i] is not frozen and is_spec_leaf(items[i])
    ]


def _ambiguous(rows: list[Row]) -> list[str]:
    """Faults for leaves that no path string, or no label, could tell apart."""
    faults = [
        f"{count} leaves have the path '{path}'; rename a key"
        for path, count in collections.Counter(row.path for row in rows).items()
        if count > 1
    ]
    faults += [
        f"the path '{row.path}' has an empty part, as the root has; rename the key ''"
        for row in rows
        if len(rows) > 1 and "" in row.path.split(".")
    ]
    # {"a": 2 elements, "a.0": scalar}: "a.0" would name two coordinates.
    ndims = {
        row.path: row.picked.labels.shape[1]
        if row.picked is not None
        else len(row.shape if row.members or row.owner is not None else row.free_shape)
        for row in rows
        if row.role == "free"
    }
    for path, ndim in ndims.items():
        base, _, index = path.rpartition(".")
        while index.isdecimal():
            ndim += 1
            if ndims.get(base) == ndim:
                faults.append(
                    f"'{path}' and the elements of '{base}' have the same labels; "
                    "rename a key"
                )
            base, _, index = base.rpartition(".")
    return faults
