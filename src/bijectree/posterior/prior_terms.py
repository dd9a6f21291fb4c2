"""Priors beside a model: which distribution stands at which leaf."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from ..priors import (
    at_masked,
    at_raw_number,
    is_distribution,
    leaf_of_prior,
    misfit,
    name,
    refuse,
    split,
)
from ..reparam import Plan, Row
from ..substrate import Recipe
from ..trees import HashedOnce, broadcast, describe, raise_all, unwrappable


@dataclasses.dataclass(frozen=True)
class Term:
    """A distribution at one leaf.

    Attributes:
        position: the leaf's position in the model.
        path: its path.
        slot: which of the prior's distributions it is.
        name: what to call the distribution.
    """

    position: int
    path: str
    slot: int
    name: str


@dataclasses.dataclass(frozen=True, eq=False)
class PriorPlan(HashedOnce):
    """A prior tree bound to a model; it holds no number, so it is hashable.

    Attributes:
        terms: what is added, in the order of the model's leaves.
        recipes: the distinct distributions without their numbers.
        notes: what is not added, in words.
    """

    terms: tuple[Term, ...] = ()
    recipes: tuple[Recipe, ...] = ()
    notes: tuple[str, ...] = ()


def make_prior_plan(
    prior: PyTree, plan: Plan
) -> tuple[PriorPlan, tuple[tuple[Any, ...], ...]]:
    """Bind a prior tree to the model of a plan.

    Returns:
        The plan of the prior and the numbers of each distinct distribution in it.

    Raises:
        ValueError: the prior does not fit the model; all faults are listed.
    """
    rows = plan.rows
    skeleton = plan.structure.treedef.unflatten([_stand_in(row) for row in rows])
    groups, faults = broadcast(prior, skeleton, leaf_of_prior(plan.structure.treedef))
    raise_all("Posterior: the prior's structure is not the model's", faults)

    nodes = unwrappable(skeleton)
    slots: dict[int, int] = {}
    parts: list[tuple[Recipe, tuple[Any, ...]]] = []
    terms: list[Term] = []
    notes: list[str] = []
    for value, positions in groups:
        if value is None:
            continue
        if not is_distribution(value):
            where = ", ".join(f"'{rows[i].path}'" for i in positions[:3])
            faults.append(f"at {where or 'a node without leaves'}: {refuse(value)}")
            continue
        covered = [i for i in positions if _is_inexact(rows[i])]
        if not covered:
            found = ", ".join(
                f"'{rows[i].path}' is {describe(_stand_in(rows[i]))}" for i in positions
            )
            faults.append(
                f"{name(value)} stands where no inexact array is: "
                f"{found or 'no leaf at all'}"
            )
        slot = slots.setdefault(id(value), len(parts))
        if slot == len(parts):
            parts.append(split(value))
        recipe, numbers = parts[slot]
        for i in covered:
            row = rows[i]
            if i in nodes:
                faults.append(f"at '{row.path}': {at_raw_number(value, nodes[i])}")
                continue
            fault, where = misfit(value, recipe, numbers, row.shape, row.dtype), slot
            if row.picked is not None and not fault:
                where, fault = len(parts), _count_mapped(value, row, parts)
            if fault:
                faults.append(f"at '{row.path}': {fault}")
            elif row.role == "free":
                terms.append(Term(i, row.path, where, name(value)))
                if row.picked is not None:
                    notes.append(
                        f"'{row.path}' is held where it is masked: its prior "
                        f"{name(value)} counts what is mapped"
                    )
            else:
                why = "follows another leaf" if row.role == "tied" else "is a constant"
                notes.append(
                    f"'{row.path}' is {row.role}: its prior {name(value)} is not added, "
                    f"for the leaf {why}"
                )
    raise_all("Posterior: the prior does not fit the model", faults)
    terms.sort(key=lambda term: term.position)
    recipes, numbers = zip(*parts, strict=True) if parts else ((), ())
    return PriorPlan(tuple(terms), recipes, tuple(notes)), numbers


def _count_mapped(
    distribution: Any, row: Row, parts: list[tuple[Recipe, tuple[Any, ...]]]
) -> str:
    """Append a prior that counts what is mapped of a masked leaf; why there is none."""
    assert row.picked is not None
    try:
        counted = at_masked(distribution, row.picked.mask, row.picked.zero_axis)
    except ValueError as error:
        return str(error)
    parts.append(split(counted))
    return ""


def _stand_in(row: Row) -> Any:
    """What a message should say of a leaf of which only the row is known."""
    if row.dtype is not None:
        return jax.ShapeDtypeStruct(row.shape, row.dtype)
    return None if row.value is None else row.value.value


def _is_inexact(row: Row) -> bool:
    return row.dtype is not None and jnp.issubdtype(row.dtype, jnp.inexact)
