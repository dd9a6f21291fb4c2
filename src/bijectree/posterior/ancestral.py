"""Draws of the prior of each leaf, after those of the leaves that set it."""

import dataclasses
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from .. import priors
from ..constraints import SetTag, snap_inside, support
from ..reparam import Bound, Row, held_leaves
from ..trees import is_array, raise_all
from .dependent_terms import is_constant
from .function import as_read_now
from .mismatch import INTERVALS, _sticks_out, _support_of_leaf
from .prior_plan import Numbers, PriorPlan, Term
from .references import References

if TYPE_CHECKING:
    from .posterior import Posterior


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

    Raises:
        ValueError: distributions that cannot be drawn from, all with their paths.
    """
    keys = jax.random.split(key, max(len(plan.terms), 1))
    faults = []
    for n in plan.order:
        term = plan.terms[n]
        row, leaf = bound.plan.rows[term.position], leaves[term.position]
        follow_ties(bound, leaves)
        model = bound.plan.structure.treedef.unflatten(leaves)
        recipe, own = plan.call(term.slot, numbers, model)
        dtype = priors.compute_dtype(leaf.dtype)
        try:
            draw = priors.sample(recipe, dtype, own, row.shape, keys[n])
        except priors.NoDrawsError as error:
            faults.append(f"at '{term.path}': {error}")
            continue
        put_drawn(bound, term.position, leaves, draw)
    raise_all("the prior cannot be drawn from", faults, priors.NoDrawsError)
    follow_ties(bound, leaves)


def put_drawn(bound: Bound, i: int, leaves: list[Any], drawn: Any) -> None:
    """Put what was drawn of a leaf in its place: of a masked one, the picked entries.

    What has run out of numbers, such as most draws of Gamma(0.01), is the nearest number
    inside the set of the leaf.
    """
    row, leaf = bound.plan.rows[i], leaves[i]
    drawn = drawn.astype(leaf.dtype)
    if row.picked is not None:
        drawn = row.picked.put(leaf, row.picked.take(drawn))
    elif row.kind is not None and row.owner is None and not row.members:
        drawn = snap_inside(bound.bijector(row, leaves), drawn, leaf.dtype)
    leaves[i] = drawn


def follow_ties(bound: Bound, leaves: list[Any]) -> None:
    """Give tied leaves the values of what they are tied to."""
    for i, row in bound.plan.order:
        if row.role == "tied":
            leaves[i] = bound.tied_value(row, leaves)


def blank_leaves(bound: Bound) -> list[Any]:
    """The leaves of a model: held values, and zeros in place of coordinates."""
    held = held_leaves(bound.plan, bound.held, None)
    return [
        jnp.zeros(row.shape, row.dtype)
        if leaf is None and row.dtype is not None
        else leaf
        for leaf, row in zip(held, bound.plan.rows, strict=True)
    ]


def sample_prior(posterior: "Posterior", key: PRNGKeyArray, n: int) -> PyTree:
    """Draw models from the prior, as `Posterior.sample_prior` documents."""
    posterior = as_read_now(posterior, besides=["_log_likelihood"])
    require_independent(posterior, "sample_prior")
    leaves = _draws(posterior, jax.random.split(key, n))
    return posterior.reparam.bound.plan.structure.treedef.unflatten(leaves)


def draw_ancestors(
    posterior: "Posterior", position: int, key: PRNGKeyArray, n: int, what: str
) -> list[Any]:
    """Draw a leaf, and the leaves that set its prior or its bijector.

    Args:
        posterior: its prior is by path.
        position: of the leaf.
        key: a PRNG key.
        n: how many draws.
        what: what an error begins with.

    Returns:
        All leaves with a leading axis; what is neither drawn nor held is of no meaning.
    """
    posterior = as_read_now(posterior, besides=["_log_likelihood"])
    plan, rows = posterior.prior_plan, posterior.reparam.bound.plan.rows
    on = {term.position: term.on for term in plan.terms}
    found: set[int] = set()
    rest = [position]
    while rest:
        i = rest.pop()
        if i not in found:
            found.add(i)
            rest += [*on.get(i, ()), *rows[i].on]
    require_independent(posterior, what, found)
    return _draws(posterior, jax.random.split(key, n), tuple(sorted(found)))


@eqx.filter_jit
def _draws(
    posterior: "Posterior", keys: PRNGKeyArray, only: tuple[int, ...] | None = None
) -> list[Any]:
    bound, plan = posterior.reparam.bound, posterior.prior_plan
    blank = blank_leaves(bound)
    if only is not None:
        order = [n for n in plan.order if plan.terms[n].position in only]
        plan = dataclasses.replace(plan, order=tuple(order))

    def one(key: PRNGKeyArray) -> list[Any]:
        leaves = list(blank)
        draw_terms(bound, plan, posterior.prior_numbers, leaves, key)
        return [jnp.asarray(leaf) if is_array(leaf) else None for leaf in leaves]

    drawn = jax.vmap(one)(keys)
    return [x if x is not None else leaf for x, leaf in zip(drawn, blank, strict=True)]


def require_independent(
    posterior: "Posterior", what: str, only: Collection[int] | None = None
) -> None:
    """Raise where the prior is not a distribution at each free leaf, given its parents.

    Args:
        posterior: the Posterior.
        what: what the error begins with.
        only: the leaves that are looked at; all by default.

    Raises:
        ValueError: the prior is a function; a free leaf has no prior; a held value has a
            distribution that free leaves set; a leaf cannot take all values of its
            prior; a held leaf has no value. All are listed.
    """
    if posterior.prior_function is not None:
        raise priors.NoDrawsError(
            f"{what}: the prior is a function of the whole model, of which only the "
            "density is known; give a distribution for each leaf, as bt.by_path(model, "
            "{...}), with bt.dependent where other leaves set it"
        )
    bound, plan = posterior.reparam.bound, posterior.prior_plan
    rows = bound.plan.rows
    looked_at = range(len(rows)) if only is None else only
    terms = [term for term in plan.terms if term.position in looked_at]
    with_prior = {term.position for term in terms}
    held = held_leaves(bound.plan, bound.held, None, needed=False)
    faults = []
    for i in looked_at:
        row = rows[i]
        if row.role == "free" and i not in with_prior:
            faults.append(
                f"'{row.path}' has no prior; give it a distribution, or freeze it "
                "(bt.frozen)"
            )
        no_value = held[i] is None and row.value is None and row.dtype is not None
        if no_value and (row.role in ("frozen", "static") or row.picked is not None):
            faults.append(
                f"'{row.path}' is held, and has no value; bind the Reparam to a model "
                "with values"
            )
    # What a leaf that is not looked at says of those that are counts too.
    for term in plan.terms:
        row = rows[term.position]
        parents = [f"'{rows[j].path}'" for j in term.on if not is_constant(rows, j)]
        if parents and (row.role == "frozen" or row.picked is not None):
            faults.append(
                f"'{term.path}' is held, at least in part, and its prior {term.name} "
                f"depends on {', '.join(parents)}: the prior of those is that given "
                "these values, which needs a sampler"
            )
    faults += _cut_off(posterior, terms)
    raise_all(f"{what}: the prior is not known leaf by leaf", faults, priors.NoDrawsError)


def _cut_off(posterior: "Posterior", terms: Sequence[Term]) -> list[str]:
    """Faults of leaves that cannot take all values of their prior."""
    bound, plan = posterior.reparam.bound, posterior.prior_plan
    rows, faults = bound.plan.rows, []
    references, with_prior = References(bound), {term.position for term in terms}
    if priors.has_traced_numbers((bound, posterior.prior_numbers)):
        return []
    for _, row in bound.plan.free:
        here = row.members and not with_prior.isdisjoint(row.members)
        if not here or (row.function is not None and not references.models):
            continue
        leaves = references.models[0] if row.function is not None else ()
        if not support(bound.bijector(row, leaves)).everything:
            names = ", ".join(f"'{rows[i].path}'" for i in row.members)
            faults.append(
                f"{names} are one vector ({bound.describe(row)}), which may not be "
                "whatever their priors draw"
            )
    for term in terms:
        row = rows[term.position]
        if row.role == "free" and row.owner is None and not row.members:
            numbers = references.numbers(plan, posterior.prior_numbers, term)
            pairs = zip(references.models, numbers, strict=False)
            found = [_verb_of_cut(bound, row, plan, term, *pair) for pair in pairs]
            if verb := max(found, default=""):
                faults.append(
                    f"'{term.path}' ({bound.describe(row)}) {verb} all values of "
                    f"its prior {term.name}: give it the bijector of bt.spec_from_prior, "
                    "or a prior that is truncated to its set"
                )
    return faults


def _verb_of_cut(
    bound: Bound,
    row: Row,
    plan: PriorPlan,
    term: Term,
    leaves: list[Any],
    numbers: tuple[Any, ...],
) -> str:
    """Words for a prior that may have values that its leaf cannot take, or ""."""
    chart = priors.known_bijector(priors.build(plan.recipes[term.slot], numbers))
    own = _support_of_leaf(bound, row, leaves)
    of_parts = row.picked is not None and row.picked.zero_axis is not None
    if chart is None or own is None or own.everything or of_parts:
        return ""
    drawn = support(chart)
    if {own.tag, drawn.tag} <= INTERVALS:
        same = not _sticks_out(drawn, own)
    else:
        same = own.same_set(drawn)
    if same:
        return ""
    vague = {SetTag.MAPPED, SetTag.PART, SetTag.UNKNOWN} & {own.tag, drawn.tag}
    return "is not known to take" if vague else "does not take"
