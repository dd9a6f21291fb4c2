"""Where two trees differ in what is no leaf: a class, a static field, a `None`."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.tree_util as jtu
from jaxtyping import PyTree

from .paths import children, path_string, static_fields
from .words import describe


def differences(expected: PyTree, got: PyTree) -> list[str]:
    """Name the nodes in which two trees differ, each with both sides.

    Args:
        expected: a tree whose leaves are words that say what is due there.
        got: a tree of the same keys.

    Returns:
        One sentence a node; none where the structures are equal.
    """
    return _compare(expected, got, ())


def _compare(expected: Any, got: Any, path: Sequence[Any]) -> list[str]:
    where = f"at '{path_string(path)}'" if path else "at the root"
    due, there = children(expected), children(got)
    if due is None or there is None:
        if due is there:
            return []
        return [f"{where}: got {_name(got)}, expected {_name(expected)}"]
    if [key for key, _ in due] != [key for key, _ in there]:
        return [f"{where}: got {_name(got)}, expected {_name(expected)}"]
    found = [
        fault
        for (key, child), (_, other) in zip(due, there, strict=True)
        for fault in _compare(child, other, (*path, key))
    ]
    if _shell(expected) != _shell(got):
        found += _node_faults(expected, got, where)
    return found


def _shell(node: Any) -> Any:
    """The structure of a node without that of its children."""
    return jtu.tree_structure(node, is_leaf=lambda x: x is not node)


def _node_faults(expected: Any, got: Any, where: str) -> list[str]:
    """How two nodes with equal children differ: in their class or a static field."""
    if type(expected) is not type(got):
        return [f"{where}: got {_name(got)}, expected {_name(expected)}"]
    if not dataclasses.is_dataclass(expected):
        return [f"{where}: got {_shell(got)}, expected {_shell(expected)}"]
    pairs = [
        (name, getattr(expected, name, None), getattr(got, name, None))
        for name in static_fields(expected)
    ]
    faults = [
        f"{where}: the static field '{name}' is {describe(mine)}, expected "
        f"{describe(due)}"
        for name, due, mine in pairs
        if not _equal(due, mine)
    ]
    return faults or [f"{where}: {_name(got)} holds something else beside its leaves"]


def _equal(a: Any, b: Any) -> bool:
    """Whether two values are equal, or one object where `==` has no truth value."""
    try:
        return bool(a == b)
    except (ValueError, TypeError):
        return a is b


def _name(node: Any) -> str:
    """A node or a leaf in words; a leaf of the expected tree is words already."""
    if node is None or isinstance(node, str):
        return str(node)
    return describe(node) if children(node) is None else type(node).__name__
