"""Paths of leaves, and globs over them."""

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax.tree_util as jtu
from jaxtyping import PyTree

from .words import describe


def node_types(treedef: Any) -> set[type]:
    """The types of the nodes of a structure."""
    data = treedef.node_data()
    found = set() if data is None else {data[0]}
    return found.union(*(node_types(child) for child in treedef.children()))


def path_string(path: Sequence[Any]) -> str:
    """The path of a leaf as users write it: `layers.0.weight`."""
    return jtu.keystr(tuple(path), simple=True, separator=".")


def leaf_at(tree: PyTree, path: str) -> Any:
    """The leaf of a tree at a path."""
    pairs, _ = jtu.tree_flatten_with_path(tree)
    for keys, leaf in pairs:
        if path_string(keys) == path:
            return leaf
    picked, fault = Paths(tree).pick(path)
    if not fault:
        names = ", ".join(repr(path_string(pairs[i][0])) for i in sorted(picked)[:3])
        fault = f"names the leaves {names}; name one"
    raise ValueError(f"'{path}' {fault}")


def children(node: Any) -> list[tuple[Any, Any]] | None:
    """The (key, child) pairs one level below a node; `None` for a leaf."""
    pairs, _ = jtu.tree_flatten_with_path(node, is_leaf=lambda x: x is not node)
    if len(pairs) == 1 and not pairs[0][0]:
        return None
    return [(path[0], child) for path, child in pairs]


def static_fields(node: Any) -> list[str]:
    """The names of a dataclass's fields that JAX keeps in the structure."""
    if not dataclasses.is_dataclass(node):
        return []
    leaves = {str(getattr(key, "name", key)) for key, _ in children(node) or []}
    return [field.name for field in dataclasses.fields(node) if field.name not in leaves]


def _static_paths(node: Any, path: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """The paths of fields that JAX keeps in the structure, each with its class."""
    for field in static_fields(node):
        name = ".".join([*([path_string(path)] if path else []), field])
        yield name, type(node).__name__
    for key, child in children(node) or []:
        yield from _static_paths(child, (*path, key))


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


def nearest(glob: str, nodes: Iterable[str]) -> str:
    """The real paths most like a glob."""
    # Compare with the last segments too: a typo in "**.scael" is in the name.
    names = [path for path in nodes if path]
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
        self._model = model
        pairs, self.treedef = jtu.tree_flatten_with_path(model)
        self.paths = [path_string(path) for path, _ in pairs]
        self.leaves = [leaf for _, leaf in pairs]
        # The leaves below each node by the node's path; the root ("") and leaves count.
        self.below: dict[str, list[int]] = {"": list(range(len(pairs)))}
        for position, (path, _) in enumerate(pairs):
            for depth in range(1, len(path) + 1):
                self.below.setdefault(path_string(path[:depth]), []).append(position)

    def pick(self, key: Any) -> tuple[set[int], str]:
        """The leaves that a rule's key names, and why there are none."""
        if isinstance(key, str):
            return self._pick_glob(key)
        return self._pick_where(key)

    def is_glob(self, key: str) -> bool:
        """Whether a key has wildcards, and is not the path of a node with such a name."""
        return "*" in key and key not in self.below

    def _pick_glob(self, glob: str) -> tuple[set[int], str]:
        if not self.is_glob(glob):
            picked = set(self.below.get(glob, ()))
        else:
            pattern = _pattern(glob)
            picked = {
                position
                for path, positions in self.below.items()
                if pattern.fullmatch(f".{path}" if path else "")
                for position in positions
            }
        return picked, "" if picked else self._why_nothing(glob)

    def _why_nothing(self, glob: str) -> str:
        """Why a path or a glob names nothing."""
        parent, _, index = glob.rpartition(".")
        while index.isdecimal() and parent not in self.below:
            parent, _, index = parent.rpartition(".")
        if index.isdecimal() and parent in self.paths:
            leaf = self.leaves[self.paths.index(parent)]
            return (
                f"names an element of '{parent}' ({describe(leaf)}), and paths end at "
                "leaves; bt.masked(bijector, mask) there holds some of its elements"
            )
        pattern = _pattern(glob)
        for path, owner in _static_paths(self._model, ()):
            if pattern.fullmatch(f".{path}"):
                return (
                    f"names the static field '{path}' of {owner}, which is no leaf; "
                    "make it a field that is an array of floats"
                )
        return f"matches nothing; {nearest(glob, self.below)}"

    def _pick_where(self, where: Callable[[PyTree], Any]) -> tuple[set[int], str]:
        marked = self.treedef.unflatten([_Marker(i) for i in range(len(self.paths))])
        try:
            picked = jtu.tree_leaves(where(marked))
        except _WHERE_ERRORS as error:
            name = str(getattr(error, "name", ""))
            reason = f"raised {type(error).__name__}: {error}"
            return set(), f"{reason}; {nearest(name, self.below)}"
        if not picked or not all(isinstance(leaf, _Marker) for leaf in picked):
            return set(), "does not return a part of the model that has leaves"
        return {leaf.position for leaf in picked}, ""
