"""Trees of parameters that may lack leaves of the model, as optax makes them."""

import dataclasses
from typing import Any

import jax
import jax.tree_util as jtu
from jaxtyping import Array, PyTree

from ..reparam import Bound, Plan, Reparam, model_leaves, of_bound
from ..trees import describe, fields_only, in_nodes_of, is_array, raise_all

# The arrays of a tree, by the position of the leaf in the model; `None` where none is.
Arrays = list[Array | None]


def with_frozen(reparam: Reparam, missing: frozenset[int]) -> Reparam:
    """A Reparam in which the missing leaves are frozen.

    Raises:
        ValueError: another leaf needs one of them.
    """
    plan = reparam.bound.plan
    rows = list(plan.rows)
    gone = {i for i in missing if rows[i].role in ("free", "tied")}
    faults = []
    for i, row in enumerate(rows):
        name = f"'{row.path}'"
        lost = [f"'{rows[j].path}'" for j in row.members if j in gone]
        if lost and len(lost) < len(row.members):
            faults.append(f"{', '.join(lost)} without the rest of the joint of {name}")
        if i not in gone and (needed := [j for j in row.on if j in gone]):
            paths = ", ".join(f"'{rows[j].path}'" for j in needed)
            faults.append(f"{paths}, on which {name} depends")
    if gone and plan.outer:
        paths = ", ".join(f"'{rows[j].path}'" for j in sorted(gone))
        faults.append(f"{paths}, and `then` mixes all leaves")
    raise_all(
        "the parameters lack leaves that others need (None or MaskedNode there)", faults
    )
    if not gone:
        return reparam
    for i in gone:
        rows[i] = dataclasses.replace(
            rows[i],
            role="frozen",
            kind=None,
            members=(),
            owner=None,
            on=(),
            function=None,
            picked=None,
        )
    changed = Plan(plan.structure, tuple(rows), plan.outer)
    return of_bound(Bound(changed, reparam.bound.numbers, reparam.bound.held))


def absent(arrays: Arrays) -> frozenset[int]:
    """The leaves of the model that a tree of parameters lacks."""
    return frozenset(i for i, x in enumerate(arrays) if x is None)


def arrays_of(reparam: Reparam, tree: PyTree, name: str) -> Arrays:
    """The arrays in a tree like the model, which may hold `None` at any leaf.

    Args:
        reparam: of the model.
        tree: parameters or gradients.
        name: what the tree holds, for messages.

    Raises:
        ValueError: another structure or shape than bound.
    """
    faults = []
    arrays: Arrays = []
    rows = reparam.bound.plan.rows
    for row, leaf in zip(rows, _leaves(reparam, tree, name)[0], strict=True):
        array = is_array(leaf) and leaf.dtype != jax.dtypes.float0
        arrays.append(leaf if array else None)
        if row.role == "static" or (not array and not jtu.tree_leaves(leaf)):
            continue
        if not array and getattr(leaf, "dtype", None) == jax.dtypes.float0:
            continue
        if not array or tuple(leaf.shape) != row.shape:
            faults.append(
                f"at '{row.path}': got {describe(leaf)}, expected shape {row.shape}"
            )
    raise_all(f"the {name} are not like the model of this Reparam", faults)
    return arrays


def put(reparam: Reparam, tree: PyTree, arrays: Arrays) -> PyTree:
    """A tree like the model with arrays in place of its leaves, where there are any."""
    found, bare = _leaves(reparam, tree, "params")
    leaves = [
        leaf if array is None else array
        for leaf, array in zip(found, arrays, strict=True)
    ]
    filled = reparam.bound.plan.structure.treedef.unflatten(leaves)
    return in_nodes_of(tree, filled) if bare else filled


def _leaves(reparam: Reparam, tree: PyTree, name: str) -> tuple[list[Any], bool]:
    """What a tree like the model has at each leaf of the model, whatever it is.

    Returns:
        The leaves, and whether modules hold something that is no field of them.
    """
    plan = reparam.bound.plan
    treedef = plan.structure.treedef
    try:
        return treedef.flatten_up_to(tree), False
    except (ValueError, TypeError, KeyError) as error:
        try:
            return treedef.flatten_up_to(fields_only(tree)), True
        except (ValueError, TypeError, KeyError):
            pass
        try:
            model_leaves(plan, tree, reparam.bound.held)
        except ValueError as fault:
            raise ValueError(f"{name}: {fault}") from error
        raise
