"""Draws of the prior of each leaf, after those of the leaves that set it."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from .. import priors
from ..reparam import Bound
from .prior_plan import Numbers, PriorPlan


def draw_terms(
    bound: Bound,
    plan: PriorPlan,
    numbers: Numbers,
    leaves: list[Any],
    key: PRNGKeyArray,
) -> None:
    """Put draws of the priors into those leaves of a model that have coordinates.

    Args:
        bound: of the model.
        plan: of the prior.
        numbers: of the prior.
        leaves: of a model, which change in place. A leaf that sets a prior and has no
            prior itself has its value here.
        key: a PRNG key.
    """
    keys = jax.random.split(key, max(len(plan.terms), 1))
    for n in plan.order:
        term = plan.terms[n]
        row = bound.plan.rows[term.position]
        leaf = jnp.asarray(leaves[term.position])
        follow_ties(bound, leaves)
        model = bound.plan.structure.treedef.unflatten(leaves)
        recipe, own = plan.call(term.slot, numbers, model)
        dtype = priors.compute_dtype(leaf.dtype)
        draw = priors.sample(recipe, dtype, own, leaf.shape, keys[n]).astype(leaf.dtype)
        picked = row.picked
        leaves[term.position] = (
            draw if picked is None else picked.put(leaf, picked.take(draw))
        )
    follow_ties(bound, leaves)


def follow_ties(bound: Bound, leaves: list[Any]) -> None:
    """Give tied leaves the values of what they are tied to."""
    for i, row in bound.plan.order:
        if row.role == "tied":
            leaves[i] = bound.tied_value(row, leaves)
