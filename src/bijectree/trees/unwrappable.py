"""Nodes that make a value of their leaves when they are unwrapped, as paramax's do."""

import inspect
from typing import Any

import jax.tree_util as jtu
from jaxtyping import PyTree

from .paths import path_string

# A message that names an unwrappable node goes on in these words.
UNWRAP_FIRST = (
    "Unwrap the model first (paramax.unwrap(model)), and write its constraints as a "
    "spec; bt.from_paramax(model) does both"
)


def unwrappable(tree: PyTree) -> dict[int, str]:
    """The leaves beneath nodes with a method `unwrap` that needs no argument.

    Such a leaf is a raw number, of which the node makes the value that its model
    computes with: a bijector or a prior there would be one of the raw number.

    Args:
        tree: a model.

    Returns:
        By the position of a leaf, the outermost such node above it in words.
    """
    found: dict[int, str] = {}
    position = 0
    for path, node in jtu.tree_flatten_with_path(tree, is_leaf=_unwraps)[0]:
        count = len(jtu.tree_leaves(node))
        if _unwraps(node):
            where = f" at '{path_string(path)}'" if path else ""
            words = f"the {type(node).__name__}{where}"
            found.update(dict.fromkeys(range(position, position + count), words))
        position += count
    return found


def _unwraps(node: Any) -> bool:
    method = getattr(type(node), "unwrap", None)
    if not callable(method):
        return False
    try:
        parameters = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):
        return False
    free = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [p for p in parameters if p.default is p.empty and p.kind not in free]
    return len(needed) <= 1
