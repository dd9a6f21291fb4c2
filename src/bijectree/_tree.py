"""Paths of leaves, globs over them, and trees that mirror a model."""

import dataclasses
import difflib
import functools
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import PyTree


def path_string(path: Sequence[Any]) -> str:
    """The path of a leaf as users write it: `layers.0.weight`."""
    return jtu.keystr(tuple(path), simple=True, separator=".")


def is_array(leaf: Any) -> bool:
    """Whether a leaf has a value, or stands for one, that may change under `jit`."""
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct))


def is_inexact(leaf: Any) -> bool:
    """Whether a leaf can be free: an array, or the shape of one, of floats."""
    return is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.inexact)


def describe(value: Any) -> str:
    """What a value is, in a few words for a message."""
    if is_array(value):
        return f"{value.dtype} array of shape {tuple(value.shape)}"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def raise_all(headline: str, faults: Iterable[str], error: type = ValueError) -> None:
    """Raise one error that lists every fault, if there is any."""
    lines = list(faults)
    if lines:
        raise error(headline + "".join(f"\n  - {line}" for line in lines))


@dataclasses.dataclass(frozen=True)
class Fixed:
    """A leaf that is part of a structure: compared by value where that is possible.

    Attributes:
        value: the leaf.
        once: whether it equals itself alone, for an object whose state may change.
    """

    value: Any
    once: bool = False
    key: Any = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        key = object() if self.once else _key(self.value)
        object.__setattr__(self, "key", key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fixed) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __reduce__(self) -> tuple[Any, ...]:
        return Fixed, (self.value, self.once)


def _key(value: Any) -> Any:
    """What a static value is compared by."""
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        array = np.asarray(value)
        return array.dtype.str, array.shape, array.tobytes()
    if isinstance(value, (float, complex)):  # by their bits: 0.0 is not -0.0, nan is nan
        return type(value), np.asarray(value).tobytes()
    if isinstance(value, functools.partial):
        parts = (value.func, *value.args, *value.keywords.values())
        return type(value), tuple(value.keywords), tuple(map(_key, parts))
    if type(value).__eq__ is not object.__eq__:
        try:
            hash(value)
        except TypeError:
            return id(value)
        return type(value), value
    return id(value)


@dataclasses.dataclass(frozen=True)
class Structure:
    """A tree without its leaves. Unlike a bare treedef of Equinox modules, it pickles."""

    treedef: Any

    def __reduce__(self) -> tuple[Any, ...]:
        skeleton = self.treedef.unflatten(range(self.treedef.num_leaves))
        return _structure_of, (skeleton,)


def _structure_of(skeleton: PyTree) -> Structure:
    return Structure(jtu.tree_structure(skeleton))


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
    place = {path_string((key,)): child for key, child in children(positions) or []}
    for name in mine.keys() - theirs.keys():
        faults.append(f"at {where}: '{name}' is not in the model, which has {[*theirs]}")
    for name in theirs.keys() - mine.keys():
        faults.append(f"at {where}: '{name}' is missing")
    for name, (key, child) in theirs.items():
        if name in mine:
            inner = (*path, key)
            _walk(mine[name], child, place[name], inner, stop, assign, faults)


def _node(x: Any) -> str:
    below = children(x)
    if below is None:
        return describe(x)
    return f"{type(x).__name__} with {[path_string((key,)) for key, _ in below]}"


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


# What a function of a model without values may raise.
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
        # Every node, the root ("") and the leaves included, with the leaves below it.
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
        # Compare with the last segments too: a typo in "**.scael" is in the name.
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


def by_path(
    model: PyTree,
    rules: Mapping[str | Callable[[PyTree], Any], Any],
    default: Any = None,
) -> PyTree:
    """Build a tree that mirrors a model from rules by path.

    The tree has the model's structure with a value at each leaf that is an inexact
    array: that of the last rule that names the leaf or a node above it, else `default`.
    All other leaves get `None`. It serves for specs, priors, or any other tree that
    lies beside a model; the model's constructor is not called.

    Args:
        model: any pytree of arrays or `jax.ShapeDtypeStruct`s.
        rules: a mapping from a path to a value. A path is written as
            `jax.tree_util.keystr(path, simple=True, separator=".")` gives it. In it,
            `*` stands for any characters within one segment and `**` for any number of
            whole segments. A path to an inner node names everything beneath it. A key
            may also be a function from the model to a node of it, as in `eqx.tree_at`.
        default: the value where no rule applies.

    Returns:
        A pytree of the model's structure.

    Raises:
        ValueError: some rules match nothing, match only leaves that are not inexact
            arrays, or are wholly overridden by later ones. All are listed, with the
            nearest real paths.
        TypeError: `rules` is no mapping, or a key is neither a string nor callable.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> model = {"layers": [{"scale": jnp.ones(2)}, {"scale": jnp.ones(2)}]}
        >>> bt.by_path(model, {"**.scale": "positive", "layers.0": "frozen"})
        {'layers': [{'scale': 'frozen'}, {'scale': 'positive'}]}
    """
    if not isinstance(rules, Mapping):
        raise TypeError(f"rules must map paths to values, got {describe(rules)}")
    tree = Paths(model)
    winner: dict[int, int] = {}
    faults: dict[int, str] = {}
    keys = list(rules)
    for number, key in enumerate(keys):
        if not isinstance(key, str) and not callable(key):
            raise TypeError(
                f"the key of a rule is a path or a function of the model, got "
                f"{describe(key)}"
            )
        picked, fault = tree.pick(key)
        inexact = [p for p in picked if is_inexact(tree.leaves[p])]
        if picked and not inexact:
            others = ", ".join(
                f"'{tree.paths[p]}' ({describe(tree.leaves[p])})"
                for p in sorted(picked)[:3]
            )
            fault = (
                f"matches only leaves that are not inexact arrays: {others}; "
                "make a number that is to be transformed an array of floats"
            )
        if fault:
            faults[number] = fault
        winner.update(dict.fromkeys(inexact, number))
    for number in set(range(len(keys))) - set(winner.values()) - set(faults):
        picked, _ = tree.pick(keys[number])
        later = sorted({winner[p] for p in picked if p in winner})
        by = ", ".join(_rule_name(keys[n], n) for n in later)
        some = ", ".join(repr(tree.paths[p]) for p in sorted(picked)[:3])
        faults[number] = f"every match is overridden by {by} (it matches {some})"
    raise_all(
        "by_path: some rules have no effect",
        (f"{_rule_name(keys[n], n)} {faults[n]}" for n in sorted(faults)),
    )
    values = [
        rules[keys[winner[p]]] if p in winner else default if is_inexact(leaf) else None
        for p, leaf in enumerate(tree.leaves)
    ]
    return tree.treedef.unflatten(values)


def _rule_name(key: Any, number: int) -> str:
    if isinstance(key, str):
        return repr(key)
    return f"rule {number + 1} ({getattr(key, '__name__', type(key).__name__)})"
