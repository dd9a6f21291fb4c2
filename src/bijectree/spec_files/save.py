"""`save_spec`: a spec as text, by path."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax.tree_util as jtu
from jaxtyping import PyTree

from ..foreign import is_transform
from ..reparam import (
    Joint,
    Reparam,
    Then,
    is_spec_leaf,
    leaf_of_spec,
    not_a_spec_leaf,
    spec_of,
)
from ..trees import node_types, path_string, raise_all
from .files import replace_both
from .given import Reading, Writing
from .items import item_of_data, item_to_data
from .same import same_item
from .text import quoted, to_text

FORMAT = 1

_HEAD = f"""\
# What each parameter of a model may be: a spec of bijectree, for bijectree.load_spec.
# A line is a rule of bijectree.by_path, and a later one wins. A leaf that no line names
# is free as it is.
format = {FORMAT}

[spec]
"""


def save_spec(
    path: str | os.PathLike[str],
    spec: PyTree,
    *,
    functions: Mapping[str, Any] | None = None,
) -> None:
    """Write a spec as text (TOML): a line a path, to be read and edited by hand.

    The file holds all numbers to the bit: arrays of more than 16 entries lie beside it,
    in `<name>.arrays.npz`, so copy both. Functions are only named: `load_spec` is given
    them. Equal specs write equal bytes. The files are replaced together: whenever it
    stops, there is the old spec or the new one.

    Args:
        path: of the file, by custom `<name>.toml`.
        spec: a spec; or a Reparam, such as a fitted one, of which every leaf is written,
            and the maps that `then` has put over its coordinates. Where the model itself
            is made of transforms of another package, give the Reparam.
        functions: names for functions, for classes of bijectors, and for whole items
            that text cannot hold. The same mapping goes to `load_spec`. A function that
            is not in it has its own name, a lambda the path of its leaf.

    Raises:
        ValueError: what text cannot hold, by path; or a file beside it that is not of a
            spec.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp, os, pathlib, tempfile
        >>> model = {"rate": jnp.ones(2), "shift": jnp.zeros(()), "share": jnp.ones(3)}
        >>> share = bt.interval(0.0, 1.5)
        >>> spec = {"rate": bt.positive(), "shift": bt.frozen, "share": share}
        >>> path = os.path.join(tempfile.mkdtemp(), "spec.toml")
        >>> bt.save_spec(path, spec)
        >>> print(pathlib.Path(path).read_text().split("[spec]")[1].strip())
        "rate" = "positive"
        "share" = {is = "interval", lower = 0.0, upper = 1.5}
        "shift" = "frozen"
        >>> bt.Reparam(model, bt.load_spec(path, model)).dim
        5
    """
    is_leaf = _is_leaf
    if isinstance(spec, Reparam):
        is_leaf = leaf_of_spec(node_types(spec.bound.plan.structure.treedef))
        spec = spec_of(spec)
    spec, maps = (spec.spec, spec.maps) if isinstance(spec, Then) else (spec, ())
    entries, faults = _entries(spec, is_leaf)
    writing = Writing(functions or {})
    lines = []
    for where, item in entries:
        data = _data(f"at '{where}'", where, item, writing, faults)
        lines.append(f"{quoted(where)} = {to_text(data)}")
    for number, bijector in enumerate(maps):
        what = f"the map {number + 1} put on by `then`"
        data = _data(what, f"then_{number + 1}", bijector, writing, faults)
        table = {"is": data} if isinstance(data, str) else data
        lines += ["", "[[then]]"]
        lines += [f"{key} = {to_text(value)}" for key, value in table.items()]
    raise_all("save_spec: the spec cannot be written as text", faults)
    replace_both(Path(path), _HEAD + "\n".join([*lines, ""]), writing.arrays)


def _is_leaf(x: Any) -> bool:
    """What counts as a leaf of a spec, without the model.

    A transform of another package is a leaf, unless it holds items of a spec: then the
    model is made of its class, and it is a node.
    """
    if not leaf_of_spec(set())(x):
        return False
    items = jtu.tree_leaves(x, is_leaf=is_spec_leaf) if is_transform(x) else []
    return not any(is_spec_leaf(item) and item is not None for item in items)


def _entries(
    spec: PyTree, is_leaf: Callable[[Any], bool]
) -> tuple[list[tuple[str, Any]], list[str]]:
    """The items of a spec by path, and faults for leaves that are no items."""
    pairs, _ = jtu.tree_flatten_with_path(spec, is_leaf=is_leaf)
    found: dict[str, Any] = {}
    faults = []
    for keys, item in pairs:
        where = path_string(keys)
        if item is None:
            continue
        if not is_spec_leaf(item) and not is_transform(item):
            faults.append(f"at '{where}': {not_a_spec_leaf(item)}")
        elif where in found:
            faults.append(f"two leaves have the path '{where}'; rename a key")
        else:
            found[where] = item
    return list(found.items()), faults


def _data(what: str, path: str, item: Any, writing: Writing, faults: list[str]) -> Any:
    """An item as data, which are read back to see that they give the same item."""
    writing.path = path
    try:
        data = item_to_data(item, writing)
        first = not (isinstance(item, Joint) and "same_as" in data)
        if first and not same_item(item_of_data(data, _reading(writing)), item):
            raise ValueError(
                "what text can hold of it would be read as another; give it a name: "
                "functions={'name': ...}, here and to load_spec"
            )
    except ValueError as error:
        faults.append(f"{what}: {error}")
        return ""
    return data


def _reading(writing: Writing) -> Reading:
    return Reading(writing.named, writing.arrays)
