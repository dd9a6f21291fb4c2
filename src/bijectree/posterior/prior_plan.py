"""A prior tree bound to a model: which distribution stands at which leaf."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from jaxtyping import PyTree

from ..priors import split
from ..substrate import Recipe
from ..trees import HashedOnce, same_or

# For each distinct distribution, or function that makes one, its numbers.
Numbers = tuple[tuple[Any, ...], ...]


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
        location: which number of the distribution is its location, if the density is
            computed from what the leaf has beyond the location of its bijector.
        on: the positions of the leaves that the distribution depends on.
    """

    position: int
    path: str
    slot: int
    name: str
    coordinate: int | None = None
    location: int | None = None
    on: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class PriorPlan(HashedOnce):
    """A prior tree bound to a model; it holds no number, so it is hashable.

    Attributes:
        terms: the terms that are added, in the order of the model's leaves.
        recipes: the distinct distributions without their numbers.
        functions: for each of these the function of the model that makes it, without its
            numbers; `None` where it depends on no leaf.
        order: the terms of leaves that have coordinates, by number, each after those
            that its distribution depends on.
        notes: which priors are not added, or not all of them, in words.
    """

    terms: tuple[Term, ...] = ()
    recipes: tuple[Recipe, ...] = ()
    functions: tuple[Recipe | None, ...] = ()
    order: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    def as_read_now(self) -> "PriorPlan":
        """This plan, or another one where what its functions read has changed."""
        functions = tuple(f and f.as_read_now() for f in self.functions)
        recipes = tuple(recipe.as_read_now() for recipe in self.recipes)
        now = dataclasses.replace(self, functions=functions, recipes=recipes)
        return same_or(now, self)

    def call(self, slot: int, numbers: Numbers, model: PyTree) -> Any:
        """The recipe of a distribution, and its numbers at a model."""
        function, own = self.functions[slot], numbers[slot]
        if function is not None:
            found, own = split(function.build(own)(model))
            if found not in self.recipes[slot].as_made_now():
                path = next(term.path for term in self.terms if term.slot == slot)
                raise ValueError(
                    f"the function of the prior at '{path}' made another sort of "
                    "distribution than when it was bound; only its numbers may depend "
                    "on the model"
                )
        return self.recipes[slot], own

    def calls(
        self, terms: Sequence[Term], numbers: Numbers, model: PyTree
    ) -> list[tuple[Recipe, tuple[Any, ...]]]:
        """For each term the recipe of its distribution, and its numbers at a model."""
        made = {
            slot: self.call(slot, numbers, model)
            for slot in dict.fromkeys(term.slot for term in terms)
        }
        return [made[term.slot] for term in terms]
