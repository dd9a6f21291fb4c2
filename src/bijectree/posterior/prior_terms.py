"""Priors beside a model: which distribution stands at which leaf."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from ..constraints import real
from ..priors import (
    at_masked,
    at_raw_number,
    is_distribution,
    knows_at_free,
    leaf_of_prior,
    misfit,
    name,
    refuse,
    split,
    why_wrong,
)
from ..reparam import Bound, Row
from ..substrate import Recipe
from ..trees import HashedOnce, broadcast, describe, raise_all, unwrappable


@dataclasses.dataclass(frozen=True)
class Term:
    """A distribution at one leaf.

    Attributes:
        position: the leaf's position in the model.
        path: its path.
        slot: the position of the distribution in `PriorPlan.recipes`.
        name: what to call the distribution.
        coordinate: the position of the leaf's free coordinates among the free leaves, if
            the density is computed from these; `None` if from the leaf's value.
    """

    position: int
    path: str
    slot: int
    name: str
    coordinate: int | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class PriorPlan(HashedOnce):
    """A prior tree bound to a model; it holds no number, so it is hashable.

    Attributes:
        terms: the terms that are added, in the order of the model's leaves.
        recipes: the distinct distributions without their numbers.
        notes: which priors are not added, or not all of them, in words.
    """

    terms: tuple[Term, ...] = ()
    recipes: tuple[Recipe, ...] = ()
    notes: tuple[str, ...] = ()


def make_prior_plan(
    prior: PyTree, bound: Bound, *, verify: bool
) -> tuple[PriorPlan, tuple[tuple[Any, ...], ...]]:
    """Bind a prior tree to the model of a Reparam.

    Args:
        prior: a distribution or `None` at each leaf, or above several.
        bound: the model's Reparam.
        verify: whether distributions that are not known to be right are verified.

    Returns:
        The plan of the prior and the numbers of each distinct distribution in it.

    Raises:
        ValueError: the prior does not fit the model; all faults are listed.
    """
    plan = bound.plan
    rows = plan.rows
    coordinates = {i: n for n, (i, _) in enumerate(plan.free)}
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
            fault, which = misfit(value, recipe, numbers, row.shape, row.dtype), slot
            if not fault and verify:
                fault = why_wrong(recipe, numbers, _chart(row, bound))
            if row.picked is not None and not fault:
                which, fault = len(parts), _count_mapped(value, row, parts)
            if fault:
                faults.append(f"at '{row.path}': {fault}")
            elif row.role == "free":
                at_free = _is_known_at_free(value, row, bound)
                where = coordinates[i] if at_free else None
                terms.append(Term(i, row.path, which, name(value), where))
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
    """Append a prior of a masked leaf's picked entries; or say why there is none."""
    assert row.picked is not None
    try:
        counted = at_masked(distribution, row.picked.mask, row.picked.zero_axis)
    except ValueError as error:
        return str(error)
    parts.append(split(counted))
    return ""


def _is_known_at_free(distribution: Any, row: Row, bound: Bound) -> bool:
    """Whether a leaf's free coordinates alone tell the density of its prior."""
    bijector = _own_bijector(row, bound)
    return bijector is not None and knows_at_free(distribution, bijector)


def _chart(row: Row, bound: Bound) -> Any:
    """The bijector onto what a leaf may hold; `None` where that is not known."""
    alone = row.role == "free" and row.owner is None and not row.members
    alone = alone and row.picked is None
    return real() if alone and row.kind is None else _own_bijector(row, bound)


def _own_bijector(row: Row, bound: Bound) -> Any:
    """The bijector of a leaf that depends on no other leaf, if it has one."""
    alone = row.kind is not None and row.owner is None and not row.members
    if not alone or row.function is not None or row.picked is not None:
        return None
    return bound.bijector(row, ())


def _stand_in(row: Row) -> Any:
    """A leaf's shape and dtype, or its static value, from its row."""
    if row.dtype is not None:
        return jax.ShapeDtypeStruct(row.shape, row.dtype)
    return None if row.value is None else row.value.value


def _is_inexact(row: Row) -> bool:
    return row.dtype is not None and jnp.issubdtype(row.dtype, jnp.inexact)
