"""From a point of the unit cube to a model, for nested samplers."""

import math
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PyTree

from .. import priors
from ..reparam import Bound
from ..trees import raise_all
from .ancestral import blank_leaves, follow_ties, put_drawn, require_independent
from .function import as_read_now
from .prior_plan import Numbers, PriorPlan, Term
from .references import References

if TYPE_CHECKING:
    from .posterior import Posterior


def prior_transform(posterior: "Posterior", u: Float[Array, " dim"]) -> PyTree:
    """A model from the unit cube, as `Posterior.prior_transform` documents."""
    posterior = as_read_now(posterior, besides=["_log_likelihood"])
    require_independent(posterior, "prior_transform")
    u = jnp.asarray(u)
    if u.shape != (posterior.dim,):
        raise ValueError(
            f"prior_transform: expected {posterior.dim} numbers from 0 to 1, got shape "
            f"{u.shape}; more points go through under vmap"
        )
    if not isinstance(u, Tracer):
        known = np.asarray(u)  # within a trace, what JAX makes of a known array is traced
        if not np.all((known >= 0) & (known <= 1)):
            raise ValueError(f"prior_transform: expected numbers from 0 to 1, got {u}")
    if not jnp.issubdtype(u.dtype, jnp.floating):
        u = u.astype(float)
    # At the ends of the cube many quantiles are infinite.
    near = jnp.finfo(u.dtype)
    parts = _parts(posterior, jnp.clip(u, near.tiny, 1 - near.epsneg))
    bound = posterior.reparam.bound
    made = _made(bound, posterior.prior_plan, posterior.prior_numbers, parts)
    # What is held stays what it is: NumPy's float64 would come out of `jit` as float32.
    held = blank_leaves(bound)
    leaves = [made.get(i, leaf) for i, leaf in enumerate(held)]
    return bound.plan.structure.treedef.unflatten(leaves)


# Quantile functions are loops, which JAX compiles at each call that is not compiled. What
# is compiled outlives the posterior, so it is not made of its likelihood.
@eqx.filter_jit
def _made(
    bound: Bound, plan: PriorPlan, numbers: Numbers, parts: list[Any]
) -> dict[int, Any]:
    """The leaves that come from the prior, and those that are tied, by position."""
    leaves = blank_leaves(bound)
    for n in plan.order:
        term = plan.terms[n]
        row, leaf = bound.plan.rows[term.position], leaves[term.position]
        follow_ties(bound, leaves)
        model = bound.plan.structure.treedef.unflatten(leaves)
        recipe, own = plan.call(term.slot, numbers, model)
        dtype = priors.compute_dtype(leaf.dtype)
        made = priors.from_cube(recipe, dtype, own, row.shape, parts[n])
        put_drawn(bound, term.position, leaves, made)
    follow_ties(bound, leaves)
    drawn = [plan.terms[n].position for n in plan.order]
    tied = [i for i, row in enumerate(bound.plan.rows) if row.role == "tied"]
    return {i: leaves[i] for i in (*drawn, *tied)}


def _parts(posterior: "Posterior", u: Array) -> list[Any]:
    """The numbers of the cube that are each term's, in the order of the terms."""
    bound, plan = posterior.reparam.bound, posterior.prior_plan
    parts: list[Any] = [None] * len(plan.terms)
    faults, start = [], 0
    references = References(bound)
    for n in sorted(plan.order):
        term = plan.terms[n]
        row = bound.plan.rows[term.position]
        try:
            dtype = priors.compute_dtype(row.dtype)
            size = priors.cube_size(plan.recipes[term.slot], row.shape, dtype)
        except priors.NoTransportError as error:
            faults.append(f"at '{term.path}': {term.name} {error}")
            continue
        fault = _wrong_quantile(posterior, references, term)
        faults += [f"at '{term.path}': {fault}"] if fault else []
        whole = math.prod(row.shape)
        if row.picked is not None and size == whole:
            entries = row.picked.entries.ravel()
            own = u[start : start + entries.size]
            parts[n] = jnp.full(whole, 0.5, u.dtype).at[entries].set(own)
            size = entries.size
        else:
            parts[n] = u[start : start + size]
        alone = row.owner is None and not row.members
        if alone and size != math.prod(row.free_shape):
            faults.append(
                f"at '{term.path}': {term.name} is made of {size} numbers, and the leaf "
                f"({bound.describe(row)}) has {math.prod(row.free_shape)} coordinates"
            )
        start += size
    raise_all("prior_transform: no way from the unit cube to the prior", faults)
    return parts


def _wrong_quantile(posterior: "Posterior", references: References, term: Term) -> str:
    """Why the quantile function of a prior is wrong, as far as numbers are known."""
    plan, numbers = posterior.prior_plan, posterior.prior_numbers
    if priors.has_traced_numbers((references.bound, numbers)):
        return ""
    for own in references.numbers(plan, numbers, term)[:1]:
        return priors.why_wrong_quantile(plan.recipes[term.slot], own)
    return ""
