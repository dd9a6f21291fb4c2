"""Which leaves of a model the leaves of a tree beside it stand at or above."""

import operator
from collections.abc import Callable
from typing import Any

import jax.tree_util as jtu
from jaxtyping import PyTree

from .paths import children, path_string
from .words import describe


def broadcast(
    prefix: PyTree, tree: PyTree, is_leaf: Callable[[Any], bool]
) -> tuple[list[tuple[Any, list[int]]], list[str]]:
    """Find which leaves of `tree` each leaf of `prefix` stands at or above.

    Args:
        prefix: a tree of the structure of `tree`, or of its upper part.
        tree: the model.
        is_leaf: what counts as a leaf of `prefix`; `None` does too.

    Returns:
        The leaves of `prefix`, each with the positions of the leaves of `tree` that it
        covers; and the faults: where the structures differ and what stood there.
    """
    treedef = jtu.tree_structure(tree)
    groups: list[tuple[Any, list[int]]] = []

    def stop(x: Any) -> bool:
        return x is None or is_leaf(x)

    def assign(value: Any, positions: PyTree) -> None:
        groups.append((value, jtu.tree_leaves(positions)))

    positions, fault = _positions(treedef, tree)
    if fault:
        return [], [fault]
    try:
        jtu.tree_map(assign, prefix, positions, is_leaf=stop)
    except (ValueError, TypeError, KeyError):
        groups.clear()
        faults: list[str] = []
        _walk(prefix, tree, positions, (), stop, assign, faults)
        return groups, faults
    return groups, []


def _positions(treedef: Any, tree: PyTree) -> tuple[PyTree, str]:
    """The tree with the position of each leaf in its place, or why there is none."""
    try:
        positions = treedef.unflatten(range(treedef.num_leaves))
        kept = [operator.index(x) for x in jtu.tree_leaves(positions)]
    except (ValueError, TypeError) as error:
        why = str(error)
    else:
        if kept == [*range(treedef.num_leaves)]:
            return positions, ""
        why = "they came back as other numbers"
    found = {
        path_string(path[:1]): None for path, _ in jtu.tree_flatten_with_path(tree)[0]
    }
    return None, (
        "a node of the model converts its leaves when JAX makes it, as TFP's "
        "distributions and bijectors do, and cannot hold anything else in their place "
        f"({why}); it is at or beneath one of {[*found]}. Let the model hold the numbers "
        "as arrays, and make the distribution or bijector of them where it is used"
    )


def _walk(
    prefix: Any,
    node: Any,
    positions: Any,
    path: tuple[Any, ...],
    stop: Callable[[Any], bool],
    assign: Callable[[Any, PyTree], None],
    faults: list[str],
) -> None:
    """`broadcast` node by node: slower, but it knows where it is."""
    if stop(prefix):
        assign(prefix, positions)
        return
    where = f"'{path_string(path)}'" if path else "the root"
    above = children(prefix)
    below = children(node)
    if below is None or above is None or type(prefix) is not type(node):
        if above is None and below is None:
            assign(prefix, positions)
        else:
            faults.append(f"at {where}: got {_node(prefix)}, the model has {_node(node)}")
        return
    mine = {path_string((key,)): child for key, child in above}
    theirs = {path_string((key,)): (key, child) for key, child in below}
    # A field that is `None` on either side has no children there.
    inner_positions = {
        path_string((key,)): child for key, child in children(positions) or []
    }
    for name in mine.keys() - theirs.keys():
        faults.append(f"at {where}: '{name}' is not in the model, which has {[*theirs]}")
    for name in theirs.keys() - mine.keys():
        faults.append(f"at {where}: '{name}' is missing")
    for name, (key, child) in theirs.items():
        if name in mine:
            inner = (*path, key)
            below = inner_positions[name]
            _walk(mine[name], child, below, inner, stop, assign, faults)


def _node(x: Any) -> str:
    below = children(x)
    if below is None:
        return describe(x)
    return f"{type(x).__name__} with {[path_string((key,)) for key, _ in below]}"
