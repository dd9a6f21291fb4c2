"""Priors that other leaves set: what their functions read and make, in which order."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
from jax.core import Tracer
from jax.tree_util import tree_leaves
from jaxtyping import PyTree

from ..priors import (
    ERRORS,
    at_masked,
    bijector_for,
    is_distribution,
    knows_at_free,
    location_slot,
    misfit,
    name,
    refuse,
    split,
    splits_events,
)
from ..reparam import Bound, Dependent, LocationScale, Row, order_or_cycles, trace
from ..substrate import Recipe, split as split_function
from ..trees import Paths, StaticLeaf
from .prior_plan import Term


class Made(NamedTuple):
    """What the function of a dependent prior makes.

    Attributes:
        recipe: of the distribution.
        name: what to call the distribution.
        on: the arrays of the model that the function reads.
        misfits: why the distribution cannot stand at each of the leaves, "" if it can.
        at_free: whether the density of each leaf is known at its free coordinates.
        location: which number of the distribution is its location, if one is.
    """

    recipe: Recipe
    name: str
    on: tuple[int, ...]
    misfits: list[str]
    at_free: list[bool]
    location: int | None


def look_into(
    function: Recipe, numbers: tuple[Any, ...], bound: Bound, at: Sequence[Row]
) -> Made:
    """Find what a function makes for leaves, from shapes alone.

    Raises:
        TypeError: it makes no distribution, one that cannot depend on a leaf, or another
            one at each call.
        Exception: whatever the function itself raises.
    """
    found: list[Any] = []

    def take(made: Any) -> tuple[Recipe, tuple[Any, ...]]:
        if not is_distribution(made):
            raise TypeError(f"its function: {refuse(made)}")
        recipe, own = split(made)
        if any(leaf is not None and leaf.once for leaf in recipe.fixed):
            raise TypeError(
                f"{name(made)} is no JAX pytree, so it cannot depend on a leaf; give a "
                "prior that is a function of the whole model"
            )
        faults = [misfit(made, recipe, own, row.shape, row.dtype) for row in at]
        fixed = _has_fixed_support(made)
        at_free = [fixed and knows_at_own(made, row, bound) for row in at]
        found.append((faults, at_free, name(made)))
        return recipe, own

    plan = bound.plan
    recipe, shapes, on = trace(plan.structure, plan.rows, function, numbers, take)
    faults, at_free, what = found[0]
    location = location_slot(recipe, shapes)
    return Made(recipe, what, tuple(on), faults, at_free, location)


def _has_fixed_support(distribution: Any) -> bool:
    """Whether a traced distribution has a known support that is not traced."""
    try:
        chart = bijector_for(distribution)
    except (TypeError, ValueError, *ERRORS):
        return False
    return not any(isinstance(x, Tracer) for x in tree_leaves(chart))


def knows_at_own(distribution: Any, row: Row, bound: Bound) -> bool:
    """Whether a leaf's free coordinates alone tell the density of its prior."""
    alone = row.kind is not None and row.owner is None and not row.members
    if not alone or row.function is not None or row.picked is not None:
        return False
    return knows_at_free(distribution, bound.bijector(row, ()))


def has_location(row: Row, bound: Bound) -> bool:
    """Whether the bijector of a leaf is a `location_scale` of that leaf as a whole."""
    whole = row.role == "free" and row.picked is None and not row.members
    if row.function is None or not whole:
        return False
    return isinstance(row.function.build(bound.numbers[row.slot]), LocationScale)


def at_masked_leaf(
    item: Dependent, row: Row, *, all_count: bool
) -> tuple[Recipe, tuple[Any, ...]]:
    """The function of a prior at a masked leaf, taken apart.

    Args:
        item: the prior.
        row: of the leaf.
        all_count: whether held entries count too, as values of a distribution that
            leaves with coordinates set.
    """
    assert row.picked is not None
    mask = StaticLeaf(row.picked.mask)
    made = _AtMasked(item.function, mask, row.picked.zero_axis, all_count)
    return split_function(made)


class _AtMasked(eqx.Module):
    """A function from the model to the distribution of what counts of a masked leaf."""

    function: Callable[..., Any]
    mask: StaticLeaf = eqx.field(static=True)
    zero_axis: int | None = eqx.field(static=True)
    all_count: bool = eqx.field(static=True)

    def __call__(self, model: PyTree) -> Any:
        made, mask = self.function(model), self.mask.value
        if not self.all_count:
            return at_masked(made, mask, self.zero_axis)
        if self.zero_axis is None or not splits_events(made, mask):
            return made
        if not mask.any(axis=self.zero_axis).all():
            raise ValueError(
                f"{name(made)} depends on leaves that have coordinates, and some of its "
                "events are held as a whole while others are in part; give a prior that "
                "is a function of the model"
            )
        return at_masked(made, mask, self.zero_axis)


def is_constant(rows: Sequence[Row], i: int) -> bool:
    """Whether a leaf, or what it is tied to, has no coordinates."""
    return rows[source_of(rows, i)].role in ("frozen", "static")


def source_of(rows: Sequence[Row], i: int) -> int:
    """The leaf that a leaf is tied to, over all ties; the leaf itself if to none."""
    seen: set[int] = set()
    while rows[i].role == "tied" and i not in seen:
        seen.add(i)
        (i,) = rows[i].on
    return i


def drawing_order(
    terms: Sequence[Term], rows: Sequence[Row]
) -> tuple[tuple[int, ...], list[str]]:
    """The terms of leaves with coordinates, parents first, and cycles as faults."""
    number = {
        term.position: n
        for n, term in enumerate(terms)
        if rows[term.position].role == "free"
    }
    graph = {
        i: number.keys() & {source_of(rows, j) for j in terms[n].on}
        for i, n in number.items()
    }
    order, faults = order_or_cycles(graph, lambda i: rows[i].path or "the model")
    return tuple(number[i] for i in order), faults


def unnamed(item: Dependent, made: Made, bound: Bound, paths: Paths) -> list[str]:
    """Faults of what a dependent prior names, and of what it reads beside that."""
    if not item.on:
        return []
    faults, named = [], set()
    for glob in item.on:
        picked, fault = paths.pick(glob)
        faults += (
            [f"`on` of the dependent names '{glob}', which {fault}"] if fault else []
        )
        named |= picked
    rows = bound.plan.rows
    others = [rows[i].path for i in made.on if i not in named]
    if others and not faults:
        listed = ", ".join(f"'{path}'" for path in others)
        faults.append(
            f"its function reads {listed}, which `on` does not name; name it there"
        )
    return faults


def words_of(error: Exception) -> str:
    """What a message says of an error that the function of a prior has raised."""
    kind = type(error)
    plain = kind in (ValueError, TypeError, NotImplementedError)
    said = str(error).partition("\n")[0]
    if isinstance(error, jax.errors.ConcretizationTypeError):
        said += " Only the numbers of a distribution may depend on the model"
    return f"{'' if plain else f'its function raised {kind.__name__}: '}{said}"
