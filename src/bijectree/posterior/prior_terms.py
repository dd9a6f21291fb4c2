"""Binding a prior tree to a model: the plan of it, or an error with every fault."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from ..constraints import real
from ..priors import (
    at_masked,
    at_raw_number,
    build,
    is_distribution,
    is_proven,
    leaf_of_prior,
    misfit,
    name,
    refuse,
    split,
    why_wrong,
)
from ..reparam import Bound, Dependent, Row
from ..substrate import BIND_ERRORS, Recipe, split as split_function
from ..trees import Paths, broadcast, describe, raise_all, unwrappable
from .dependent_terms import (
    Made,
    at_masked_leaf,
    drawing_order,
    has_location,
    is_constant,
    knows_at_own,
    look_into,
    source_of,
    unnamed,
    words_of,
)
from .joint_prior import by_leaf
from .prior_plan import Numbers, PriorPlan, Term
from .references import References


def make_prior_plan(
    prior: PyTree, references: References, *, verify: bool
) -> tuple[PriorPlan, Numbers]:
    """Bind a prior tree to the model of a Reparam.

    Args:
        prior: a distribution, a `dependent` or `None` at each leaf, or above several.
        references: of the model's Reparam.
        verify: whether distributions that are not known to be right are verified.

    Returns:
        The plan of the prior and the numbers of each distinct distribution in it.

    Raises:
        ValueError: the prior does not fit the model; all faults are listed.
    """
    binding = _Binding(references, verify=verify)
    plan = references.bound.plan
    is_leaf = leaf_of_prior(plan.structure.treedef)
    prior = by_leaf(prior, binding.skeleton)
    groups, faults = broadcast(prior, binding.skeleton, is_leaf)
    raise_all("Posterior: the prior's structure is not the model's", faults)
    for value, positions in groups:
        if value is not None:
            binding.add(value, positions)
    binding.terms.sort(key=lambda term: term.position)
    order, cycles = drawing_order(binding.terms, plan.rows)
    binding.faults += cycles
    made = binding.plan(order)
    if verify and not binding.faults:
        binding.verify_dependent(made)
    raise_all("Posterior: the prior does not fit the model", binding.faults)
    return made, binding.numbers


class _Binding:
    """A prior tree on its way to become a plan, with the faults found so far."""

    def __init__(self, references: References, *, verify: bool):
        self.references, self.verify = references, verify
        self.bound = references.bound
        plan = self.bound.plan
        self.rows = plan.rows
        self.skeleton = plan.structure.treedef.unflatten(map(_stand_in, plan.rows))
        self.paths = Paths(self.skeleton)
        self.nodes = unwrappable(self.skeleton)
        self.coordinates = {i: n for n, (i, _) in enumerate(plan.free)}
        self.slots: dict[int, int] = {}
        self.parts: list[tuple[Recipe, tuple[Any, ...], Recipe | None]] = []
        self.terms: list[Term] = []
        self.notes: list[str] = []
        self.faults: list[str] = []

    @property
    def numbers(self) -> Numbers:
        return tuple(numbers for _, numbers, _ in self.parts)

    def plan(self, order: tuple[int, ...]) -> PriorPlan:
        recipes = tuple(recipe for recipe, _, _ in self.parts)
        functions = tuple(function for _, _, function in self.parts)
        return PriorPlan(tuple(self.terms), recipes, functions, order, tuple(self.notes))

    def add(self, value: Any, positions: list[int]) -> None:
        """Put a leaf of the prior at the leaves of the model."""
        rows, dependent = self.rows, isinstance(value, Dependent)
        if not dependent and not is_distribution(value):
            where = ", ".join(f"'{rows[i].path}'" for i in positions[:3])
            self.faults.append(f"at {where or 'a node without leaves'}: {refuse(value)}")
            return
        covered = [i for i in positions if _is_inexact(rows[i])]
        what = "a dependent prior" if dependent else name(value)
        if not covered:
            found = ", ".join(
                f"'{rows[i].path}' is {describe(_stand_in(rows[i]))}" for i in positions
            )
            self.faults.append(
                f"{what} stands where no inexact array is: {found or 'no leaf at all'}"
            )
        raw = [i for i in covered if i in self.nodes]
        self.faults += [
            f"at '{rows[i].path}': {at_raw_number(what, self.nodes[i])}" for i in raw
        ]
        covered = [i for i in covered if i not in self.nodes]
        if dependent:
            self._add_dependent(value, covered)
            return
        slot = self.slots.setdefault(id(value), len(self.parts))
        if slot == len(self.parts):
            self.parts.append((*split(value), None))
        for i in covered:
            self._add_at_leaf(i, value, slot)

    def _add_at_leaf(self, i: int, value: Any, slot: int) -> None:
        """Put a distribution that depends on no leaf at a leaf."""
        row, (recipe, numbers, _) = self.rows[i], self.parts[slot]
        fault, which = misfit(value, recipe, numbers, row.shape, row.dtype), slot
        if not fault and self.verify:
            fault = why_wrong(recipe, numbers, _chart(row, self.bound, ()))
        if row.picked is not None and not fault:
            which = len(self.parts)
            try:
                counted = at_masked(value, row.picked.mask, row.picked.zero_axis)
                self.parts.append((*split(counted), None))
            except ValueError as error:
                fault = str(error)
        if fault:
            self.faults.append(f"at '{row.path}': {fault}")
        elif row.role == "free":
            at_free = knows_at_own(value, row, self.bound)
            where = self.coordinates[i] if at_free else None
            self.terms.append(Term(i, row.path, which, name(value), where))
        self._note(row, name(value))

    def _note(self, row: Row, what: str) -> None:
        """Note what of a prior is not added."""
        if row.role == "free" and row.picked is not None:
            self.notes.append(
                f"'{row.path}' is held where it is masked: its prior {what} counts what "
                "is mapped"
            )
        elif row.role != "free":
            why = "follows another leaf" if row.role == "tied" else "is a constant"
            self.notes.append(
                f"'{row.path}' is {row.role}: its prior {what} is not added, for the "
                f"leaf {why}"
            )

    def _add_dependent(self, item: Dependent, covered: list[int]) -> None:
        """Put a distribution that other leaves set at leaves."""
        where = ", ".join(f"'{self.rows[i].path}'" for i in covered)
        try:
            function, numbers = split_function(item.function)
            at = [self.rows[i] for i in covered]
            made = look_into(function, numbers, self.bound, at)
        except BIND_ERRORS as error:
            self.faults.append(f"at {where}: {words_of(error)}")
            return
        faults = unnamed(item, made, self.bound, self.paths)
        self.faults += [f"at {where}: {fault}" for fault in faults]
        slot = len(self.parts)
        self.parts.append((made.recipe, numbers, function))
        found = zip(covered, made.misfits, made.at_free, strict=True)
        for i, fault, at_free in found:
            path = self.rows[i].path
            if not fault and i in {source_of(self.rows, j) for j in made.on}:
                fault = f"its function reads '{path}' itself, of which it is the prior"
            if fault:
                self.faults.append(f"at '{path}': {fault}")
            else:
                self._add_dependent_at_leaf(i, item, made, slot, at_free=at_free)

    def _add_dependent_at_leaf(
        self, i: int, item: Dependent, made: Made, slot: int, *, at_free: bool
    ) -> None:
        row = self.rows[i]
        parents = [j for j in made.on if not is_constant(self.rows, j)]
        known = row.role == "frozen" and bool(parents)
        if row.role != "free" and not known:
            self._note(row, made.name)
            return
        if row.picked is not None:
            function, numbers = at_masked_leaf(item, row, all_count=bool(parents))
            try:
                counted = look_into(function, numbers, self.bound, ())
            except ValueError as error:
                self.faults.append(f"at '{row.path}': {error}")
                return
            slot = len(self.parts)
            self.parts.append((counted.recipe, numbers, function))
        if parents and (known or row.picked is not None):
            held = "is frozen" if known else "is held where it is masked"
            listed = ", ".join(f"'{self.rows[j].path}'" for j in parents)
            self.notes.append(
                f"'{row.path}' {held}, and its prior {made.name} counts all of it, for "
                f"it depends on {listed}"
            )
        elif row.picked is not None:
            self._note(row, made.name)
        location = made.location if has_location(row, self.bound) else None
        known = at_free or location is not None
        where = self.coordinates[i] if known else None
        self.terms.append(Term(i, row.path, slot, made.name, where, location, made.on))

    def verify_dependent(self, plan: PriorPlan) -> None:
        """Verify dependent distributions for the numbers that some models give."""
        for term in {term.slot: term for term in plan.terms}.values():
            if plan.functions[term.slot] is None:
                continue
            row, recipe = self.rows[term.position], plan.recipes[term.slot]
            found = self.references.numbers(plan, self.numbers, term)
            if all(is_proven(build(recipe, numbers)) for numbers in found[:1]):
                continue
            for leaves, numbers in zip(self.references.models, found, strict=True):
                chart = _chart(row, self.bound, leaves)
                fault = why_wrong(recipe, numbers, chart)
                if fault:
                    self.faults.append(f"at '{row.path}': {fault}")
                    break


def _chart(row: Row, bound: Bound, leaves: Sequence[Any]) -> Any:
    """The bijector onto what a leaf may hold; `None` where that is not known."""
    alone = row.role == "free" and row.owner is None and not row.members
    alone = alone and row.picked is None
    return real() if alone and row.kind is None else _own_bijector(row, bound, leaves)


def _own_bijector(row: Row, bound: Bound, leaves: Sequence[Any]) -> Any:
    """The bijector of a leaf by itself, if it has one, that is known from some leaves."""
    alone = row.kind is not None and row.owner is None and not row.members
    if not alone or row.picked is not None or (row.function is not None and not leaves):
        return None
    return bound.bijector(row, leaves)


def _stand_in(row: Row) -> Any:
    """A leaf's shape and dtype, or its static value, from its row."""
    if row.dtype is not None:
        return jax.ShapeDtypeStruct(row.shape, row.dtype)
    return None if row.value is None else row.value.value


def _is_inexact(row: Row) -> bool:
    return row.dtype is not None and jnp.issubdtype(row.dtype, jnp.inexact)
