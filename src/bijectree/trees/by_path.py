"""`by_path`: a tree beside a model, from rules by path."""

from collections.abc import Callable, Mapping
from typing import Any

from jaxtyping import PyTree

from .arrays import is_inexact
from .paths import Paths
from .wildcards import Match
from .words import describe, raise_all


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
            Where the value names other leaves (`bt.location_scale`, `bt.tied`, and `on`
            of `bt.dependent`), a wildcard there stands for what it does in the key: the
            first for the first, and so on.
        default: the value where no rule applies.

    Returns:
        A pytree of the model's structure.

    Raises:
        ValueError: some rules match nothing, match only leaves that are not inexact
            arrays, or are wholly overridden by later ones; or their values name leaves
            by wildcards that match none, or may match several. All are listed, with the
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
    for key in rules:
        if not isinstance(key, str) and not callable(key):
            raise TypeError(
                f"the key of a rule is a path or a function of the model, got "
                f"{describe(key)}"
            )
    tree, faults = apply_rules(model, rules, default)
    keys = list(rules)
    raise_all(
        "by_path: some rules have no effect, or name leaves that are not there",
        (f"{_rule_name(keys[n], n)} {faults[n]}" for n in sorted(faults)),
    )
    return tree


def apply_rules(
    model: PyTree,
    rules: Mapping[str | Callable[[PyTree], Any], Any],
    default: Any = None,
) -> tuple[PyTree, dict[int, str]]:
    """The tree of `by_path`, and the faults of rules, by the number of the rule."""
    tree = Paths(model)
    winner: dict[int, int] = {}
    faults: dict[int, str] = {}
    keys = list(rules)
    for number, key in enumerate(keys):
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
    values = _values(tree, rules, winner, faults)
    made = tree.treedef.unflatten(
        values.get(p, default if is_inexact(leaf) else None)
        for p, leaf in enumerate(tree.leaves)
    )
    return made, faults


def _values(
    tree: Paths,
    rules: Mapping[Any, Any],
    winner: Mapping[int, int],
    faults: dict[int, str],
) -> dict[int, Any]:
    """The values of the rules that win, by leaf.

    A value with a method `for_match`, such as an item of a spec that names other leaves,
    is filled in for each leaf that a rule with wildcards matches. The method also returns
    the names that it filled in, so that leaves with equal names share one value.
    """
    keys = list(rules)
    values: dict[int, Any] = {}
    made: dict[Any, Any] = {}
    for position, number in winner.items():
        key, value = keys[number], rules[keys[number]]
        follow = getattr(type(value), "for_match", None)
        if follow is not None and isinstance(key, str) and tree.is_glob(key):
            match = Match(key, tree.paths[position], tree.below)
            try:
                names, value = follow(value, match)
                value = made.setdefault((number, names), value)
            except ValueError as error:
                faults.setdefault(number, f"at '{tree.paths[position]}': {error}")
        values[position] = value
    return values


def _rule_name(key: Any, number: int) -> str:
    if isinstance(key, str):
        return repr(key)
    return f"rule {number + 1} ({getattr(key, '__name__', type(key).__name__)})"
