"""Whether a model's bijectors keep to the supports of its priors."""

import warnings
from typing import Any

import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np

from ..constraints import SetTag, Support, real, support
from ..priors import build, counted_inside, has_traced_numbers, known_bijector
from ..reparam import Reparam, Row, held_leaves
from .prior_terms import PriorPlan

# Standard deviations of the free coordinates that are tried.
_SPREADS = (0.3, 1.0, 3.0)


def warn_mismatch(
    reparam: Reparam, priors: PriorPlan, numbers: tuple[tuple[Any, ...], ...]
) -> None:
    """Warn of leaves whose bijector leaves the support of their prior.

    Many densities are not zero there but something else: a Dirichlet's is finite off
    the simplex. Intervals are compared, other sets are tried on a few models. Where
    values are traced, or a held leaf has none, nothing is compared.
    """
    plan = reparam.bound.plan
    held = held_leaves(plan, reparam.bound.held, None, needed=False)
    missing = any(
        leaf is None
        and row.value is None
        and (row.role in ("frozen", "static") or row.picked is not None)
        for leaf, row in zip(held, plan.rows, strict=True)
    )
    if missing or has_traced_numbers((reparam, numbers)) or not priors.terms:
        return
    random = np.random.default_rng(0)
    points = [spread * random.standard_normal(reparam.dim) for spread in _SPREADS]
    models = [
        jtu.tree_leaves(reparam.forward(reparam.unravel(jnp.asarray(point, float))))
        for point in points
    ]
    seen = set()
    for term in priors.terms:
        row = plan.rows[term.position]
        key = (term.slot, row.kind, row.slot)
        if key in seen and not row.on:
            continue
        seen.add(key)
        prior = build(priors.recipes[term.slot], numbers[term.slot])
        chart = known_bijector(prior)
        if chart is None:
            continue
        expected = support(chart)
        values = [(leaves, leaves[term.position]) for leaves in models]
        own = [_support_of_leaf(reparam, row, leaves) for leaves, _ in values]
        if row.picked is None:
            inside = [not any(_sticks_out(mine, expected) for mine in own)]
            inside += [
                _inside_or_rounded(expected, mine, value)
                for mine, (_, value) in zip(own, values, strict=True)
            ]
        else:
            found = [counted_inside(prior, expected, value) for _, value in values]
            inside = [bool(jnp.all(x)) for x in found]
        if not all(inside):
            warnings.warn(
                f"the prior {term.name} at '{term.path}' has the support: "
                f"{expected.description}; but the leaf ({reparam.bound.describe(row)}) "
                "may leave it, where the density that is computed need not be zero. "
                "Use bt.spec_from_prior, or a bijector onto that support",
                stacklevel=5,  # Equinox's metaclasses stand between
            )


def _support_of_leaf(reparam: Reparam, row: Row, leaves: list[Any]) -> Support | None:
    """The set that a leaf's bijector maps onto; `None` if it is one of several leaves."""
    if row.owner is not None or row.members:
        return None
    if row.kind is None:
        return support(real()) if row.role == "free" else None
    return support(reparam.bound.bijector(row, leaves))


def _sticks_out(own: Support | None, expected: Support) -> bool:
    """Whether an interval is known to reach out of another, by more than rounding.

    A few models may all be inside of a wide interval that the leaf may leave.
    """
    of_numbers = own is not None and own.tag is expected.tag is SetTag.NUMBERS
    if own is None or not of_numbers or not own.entries.known:
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
    inside = expected.contains(value)
    if own is None:
        return bool(jnp.all(inside))
    rounded = ~own.contains(value)
    ndim = min(inside.ndim, rounded.ndim)
    last = [tuple(range(ndim, x.ndim)) for x in (inside, rounded)]
    return bool(jnp.all(jnp.all(inside, last[0]) | jnp.any(rounded, last[1])))
