"""Paths of leaves, and globs over them."""

import difflib
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax.tree_util as jtu
from jaxtyping import PyTree


def path_string(path: Sequence[Any]) -> str:
    """The path of a leaf as users write it: `layers.0.weight`."""
    return jtu.keystr(tuple(path), simple=True, separator=".")


def leaf_at(tree: PyTree, path: str) -> Any:
    """The leaf of a tree at a path."""
    pairs, _ = jtu.tree_flatten_with_path(tree)
    for keys, leaf in pairs:
        if path_string(keys) == path:
            return leaf
    raise ValueError(f"no leaf has the path '{path}'")


def children(node: Any) -> list[tuple[Any, Any]] | None:
    """The (key, child) pairs one level below a node; `None` for a leaf."""
    pairs, _ = jtu.tree_flatten_with_path(node, is_leaf=lambda x: x is not node)
    if len(pairs) == 1 and not pairs[0][0]:
        return None
    return [(path[0], child) for path, child in pairs]


def _pattern(glob: str) -> re.Pattern[str]:
    """A regular expression for '.' + path."""
    parts = glob.split(".") if glob else []
    segment = r"[^.]*"
    return re.compile(
        "".join(
            rf"(?:\.{segment})*"
            if part == "**"
            else r"\." + re.escape(part).replace(r"\*", segment)
            for part in parts
        )
    )


class _Marker:
    """Stands for a leaf while a `where` function picks from the model."""

    def __init__(self, position: int):
        self.position = position


# A rule's function, called on a model without values, may raise any of these errors.
_WHERE_ERRORS = (
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
)


class Paths:
    """The paths of a model, and which leaves a rule picks."""

    def __init__(self, model: PyTree):
        pairs, self.treedef = jtu.tree_flatten_with_path(model)
        self.paths = [path_string(path) for path, _ in pairs]
        self.leaves = [leaf for _, leaf in pairs]
        # Every node has the leaves below it here, the root ("") and the leaves too.
        self.below: dict[str, list[int]] = {"": list(range(len(pairs)))}
        for position, (path, _) in enumerate(pairs):
            for depth in range(1, len(path) + 1):
                self.below.setdefault(path_string(path[:depth]), []).append(position)

    def pick(self, key: Any) -> tuple[set[int], str]:
        """The leaves that a rule's key names, and why there are none."""
        if isinstance(key, str):
            return self._pick_glob(key)
        return self._pick_where(key)

    def _pick_glob(self, glob: str) -> tuple[set[int], str]:
        if "*" not in glob or glob in self.below:
            picked = set(self.below.get(glob, ()))
        else:
            pattern = _pattern(glob)
            picked = {
                position
                for path, positions in self.below.items()
                if pattern.fullmatch(f".{path}" if path else "")
                for position in positions
            }
        return picked, "" if picked else f"matches nothing; {self.nearest(glob)}"

    def nearest(self, glob: str) -> str:
        """The real paths most like a glob."""
        # The last segments are compared too: the typo in "**.scael" is in the name.
        names = [path for path in self.below if path]
        tail = glob.split(".")[-1]
        found = difflib.get_close_matches(glob, names, n=3, cutoff=0.5)
        found += [
            path
            for path in names
            if difflib.get_close_matches(tail, [path.split(".")[-1]], cutoff=0.6)
        ]
        unique = list(dict.fromkeys(found))[:3] or names[:3]
        if not unique:
            return "the model has no leaves"
        return "nearest paths: " + ", ".join(repr(path) for path in unique)

    def _pick_where(self, where: Callable[[PyTree], Any]) -> tuple[set[int], str]:
        marked = self.treedef.unflatten([_Marker(i) for i in range(len(self.paths))])
        try:
            picked = jtu.tree_leaves(where(marked))
        except _WHERE_ERRORS as error:
            reason = f"raised {type(error).__name__}: {error}"
            return set(), f"{reason}; {self.nearest(str(getattr(error, 'name', '')))}"
        if not picked or not all(isinstance(leaf, _Marker) for leaf in picked):
            return set(), "does not return a part of the model that has leaves"
        return {leaf.position for leaf in picked}, ""
