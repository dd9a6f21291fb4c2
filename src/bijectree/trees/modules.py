"""Equinox modules as their fields alone, whatever a property has left in them."""

import dataclasses
from typing import Any

import equinox as eqx
import jax.tree_util as jtu
from jaxtyping import PyTree

from .paths import children


def fields_only(tree: PyTree) -> PyTree:
    """A copy of a tree in which Equinox modules hold their fields and nothing else.

    A `functools.cached_property` that was looked at leaves its value in the module, and
    Equinox flattens a module that holds more than its fields to another structure. The
    leaves are the tree's own, and the tree is not touched.
    """
    return jtu.tree_map(_with_fields_only, tree, is_leaf=_is_module)


def _is_module(node: Any) -> bool:
    return isinstance(node, eqx.Module)


def _with_fields_only(node: Any) -> Any:
    """A node or leaf as it is; of a module, a copy with its fields alone."""
    if not _is_module(node):
        return node
    static = {f.name: f.metadata.get("static", False) for f in dataclasses.fields(node)}
    copy = object.__new__(type(node))
    for name, value in vars(node).items():
        if name in static:
            value = _with_fields_only(value) if static[name] else fields_only(value)
        elif not _is_of_wrapped_function(name, value):
            continue
        vars(copy)[name] = value
    return copy


def _is_of_wrapped_function(name: str, value: Any) -> bool:
    """Whether a module that wraps a function has this entry of it, such as `__name__`.

    Where a module holds more than its fields, Equinox's own copies of the module have a
    sentinel in place of such an entry.
    """
    return name.startswith("__") and type(value).__name__ != "_Missing"


def in_nodes_of(tree: PyTree, new: PyTree) -> PyTree:
    """The leaves of a tree `new` in nodes that flatten as those of `tree` do.

    Args:
        tree: of the structure of `new`, but for what its modules hold beside fields.
        new: a tree.
    """
    below = children(new)
    if below is None or new is tree:
        return new
    node = jtu.tree_structure(tree, is_leaf=lambda x: x is not tree)
    pairs = zip(children(tree) or [], below, strict=True)
    return node.unflatten([in_nodes_of(mine, child) for (_, mine), (_, child) in pairs])
