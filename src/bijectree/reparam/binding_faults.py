"""What a spec and a model do not fit by, in words."""

import collections
from collections.abc import Mapping, Sequence
from typing import Any

from ..foreign import is_constraint
from ..substrate import is_bijector
from ..trees import UNWRAP_FIRST, describe
from .location_scale import LocationScale
from .plan import Row
from .spec_items import Dependent, Joint, Masked, frozen, is_spec_leaf
from .spec_leaves import is_distribution


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
    """Faults for what would map a raw number that a node makes its value of."""
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
