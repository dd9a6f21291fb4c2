"""Whether a model's bijectors keep to the supports of its priors."""

import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..constraints import SetTag, Support, real, support
from ..numerics import call_in_numpy
from ..priors import build, counted_inside, has_traced_numbers, known_bijector
from ..reparam import Bound, Row
from .prior_plan import Numbers, PriorPlan
from .references import References

# Sets in which each element has an interval of its own.
INTERVALS = {SetTag.NUMBERS, SetTag.ANGLES}


def warn_mismatch(references: References, priors: PriorPlan, numbers: Numbers) -> None:
    """Warn of leaves whose bijector leaves the support of their prior.

    Many densities are not zero there but something else: a Dirichlet's is finite off
    the simplex. Intervals are compared, other sets are tried on a few models. Where
    values are traced, or a held leaf has none, nothing is compared.
    """
    bound = references.bound
    if not priors.terms or has_traced_numbers(numbers) or not references.models:
        return
    seen = set()
    for term in priors.terms:
        row = bound.plan.rows[term.position]
        key = (term.slot, row.kind, row.slot)
        if key in seen and not row.on:
            continue
        seen.add(key)
        recipe = priors.recipes[term.slot]
        found = references.numbers(priors, numbers, term)
        if priors.functions[term.slot] is None:
            made = [build(recipe, found[0])] * len(found)
        else:
            made = [build(recipe, own) for own in found]
        chart = known_bijector(made[0])
        if chart is None or support(chart).everything:
            continue
        if all(
            _keeps_to(bound, row, prior, leaves, leaves[term.position])
            for leaves, prior in zip(references.models, made, strict=True)
        ):
            continue
        warnings.warn(
            f"the prior {term.name} at '{term.path}' has the support: "
            f"{support(chart).description}; but the leaf ({bound.describe(row)}) "
            "may leave it, where the density that is computed need not be zero. "
            "Use bt.spec_from_prior, or a bijector onto that support",
            stacklevel=5,  # Equinox's metaclasses stand between
        )


def _keeps_to(bound: Bound, row: Row, prior: Any, leaves: list[Any], value: Any) -> bool:
    """Whether a leaf keeps to the support of its prior, in a model."""
    expected = support(known_bijector(prior))
    if row.picked is not None:
        return bool(jnp.all(counted_inside(prior, expected, value)))
    own = _support_of_leaf(bound, row, leaves)
    return not _sticks_out(own, expected) and _inside_or_rounded(expected, own, value)


def _support_of_leaf(bound: Bound, row: Row, leaves: list[Any]) -> Support | None:
    """The set that a leaf's bijector maps onto; `None` if it is one of several leaves."""
    if row.owner is not None or row.members:
        return None
    if row.kind is None:
        return support(real()) if row.role == "free" else None
    return support(bound.bijector(row, leaves))


def _sticks_out(own: Support | None, expected: Support) -> bool:
    """Whether an interval is known to reach out of another, by more than rounding.

    A few models may all be inside of a wide interval that the leaf may leave.
    """
    if own is None or not {own.tag, expected.tag} <= INTERVALS or not own.entries.known:
        return False
    try:
        low = own.entries.lower < expected.entries.lower - _rounding(
            expected.entries.lower
        )
        high = own.entries.upper > expected.entries.upper + _rounding(
            expected.entries.upper
        )
        return bool(np.any(low) or np.any(high))
    except ValueError:  # bounds of shapes that do not broadcast
        return False


def _rounding(bound: Any) -> Any:
    """How far a prior's bound that was rounded to float32 may be off."""
    return 1e-5 * (1 + np.abs(bound))


def _inside_or_rounded(expected: Support, own: Support | None, value: Any) -> bool:
    """Whether each event is in a set, but for those that rounding put off their own.

    Far out, a correlation matrix is singular in its dtype, and numbers in order are
    equal: that says nothing of the bijector.
    """
    inside = call_in_numpy(expected.contains, value)
    if own is None:
        return bool(np.all(inside))
    rounded = ~call_in_numpy(own.contains, value)
    ndim = min(inside.ndim, rounded.ndim)
    last = [tuple(range(ndim, x.ndim)) for x in (inside, rounded)]
    return bool(np.all(np.all(inside, last[0]) | np.any(rounded, last[1])))
