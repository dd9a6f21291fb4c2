"""The log-prior of a model by its leaves, each given those that set it."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import priors
from ..reparam import Bound
from ..substrate import map_to_scalars
from .prior_plan import Numbers, PriorPlan, Term


def log_prior(
    bound: Bound,
    plan: PriorPlan,
    numbers: Numbers,
    leaves: Sequence[Any],
    coordinates: Sequence[Array] | None,
    dtype: Any,
) -> Float[Array, ""]:
    """The log-prior at a model.

    Args:
        bound: of the model.
        plan: of the prior.
        numbers: of the prior.
        leaves: of the model.
        coordinates: the rows' own free coordinates, from which comes the density of a
            leaf that has run out of numbers; `None` where they are not known.
        dtype: of the result.
    """
    calls, values = _calls(bound, plan, numbers, leaves)
    if not calls:
        return jnp.zeros((), dtype)
    for n, term in enumerate(plan.terms if coordinates is not None else ()):
        if term.coordinate is None:
            continue
        assert coordinates is not None
        free = coordinates[term.coordinate]
        if term.location is None:
            calls[n], values[n] = _call_at_free(bound, term, *calls[n]), free
        else:
            recipe, own = calls[n]
            own, values[n] = _from_location(bound, term, own, free, leaves)
            calls[n] = recipe, own

    def value(recipes: Any, numbers: tuple[Any, ...], leaf: Array) -> Array:
        if isinstance(recipes, tuple):
            own, bijector = recipes
            found = priors.log_prob_at_free(own, bijector, numbers, leaf)
            return found.astype(dtype)
        return priors.log_prob(recipes, numbers, leaf).astype(dtype)

    return jnp.sum(map_to_scalars(value, calls, values))


def log_prior_terms(
    bound: Bound, plan: PriorPlan, numbers: Numbers, leaves: Sequence[Any]
) -> dict[str, Float[Array, ""]]:
    """What each leaf with a prior adds to the log-prior, by path."""
    calls, values = _calls(bound, plan, numbers, leaves)
    return {
        term.path: priors.log_prob(recipe, own, leaf)
        for term, (recipe, own), leaf in zip(plan.terms, calls, values, strict=True)
    }


def _calls(
    bound: Bound, plan: PriorPlan, numbers: Numbers, leaves: Sequence[Any]
) -> tuple[list[Any], list[Array]]:
    """The priors of leaves, as structure and numbers, and those leaves."""
    model = bound.plan.structure.treedef.unflatten(leaves)
    calls: list[Any] = plan.calls(plan.terms, numbers, model)
    return calls, [jnp.asarray(leaves[term.position]) for term in plan.terms]


def _call_at_free(
    bound: Bound, term: Term, recipe: Any, numbers: tuple[Any, ...]
) -> tuple[Any, tuple[Any, ...]]:
    """The recipes of a prior and of its leaf's bijector, and the numbers of both."""
    row = bound.plan.rows[term.position]
    assert row.kind is not None
    return (recipe, row.kind.recipe), (*numbers, *bound.numbers[row.slot])


def _from_location(
    bound: Bound,
    term: Term,
    numbers: tuple[Any, ...],
    free: Array,
    leaves: Sequence[Any],
) -> tuple[tuple[Any, ...], Array]:
    """The numbers of a prior and its leaf, both less the location of the leaf's bijector.

    A density of a location-scale family stays the same where both are moved alike. The
    leaf itself no longer tells where it is, once the scale is below an ulp of the
    location.
    """
    row, slot = bound.plan.rows[term.position], term.location
    assert row.function is not None
    assert slot is not None
    function = row.function.build(bound.numbers[row.slot])
    model = bound.plan.structure.treedef.unflatten(leaves)
    location, offset = function.location_and_offset(model, free)
    dtype = priors.compute_dtype(row.dtype)
    own = jnp.asarray(numbers[slot])
    if jnp.broadcast_shapes(location.shape, own.shape) != own.shape:
        return numbers, jnp.asarray(leaves[term.position])
    with jax.numpy_dtype_promotion("standard"):
        moved = own - location
    return (*numbers[:slot], moved, *numbers[slot + 1 :]), offset.astype(dtype)
