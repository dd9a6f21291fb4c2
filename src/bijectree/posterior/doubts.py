"""Priors that may stand at their leaves, and are not what was meant there.

A prior may count more densities than its leaf has coordinates, hold for numbers in any
order where the leaf's increase, or have mass that the leaf's dtype cannot hold. None of
these is an error, for the posterior may be the one that was meant; each is a warning that
says what to use.
"""

import functools
import math
import warnings
from typing import Any

import jax
import numpy as np

from .. import substrate
from ..constraints import SetTag, support
from ..numerics import call_in_numpy, flushed
from ..priors import (
    build,
    has_traced_numbers,
    known_bijector,
    may_outgrow,
    sample_in_numpy,
)
from ..reparam import Reparam, Row
from .prior_plan import Numbers, PriorPlan
from .references import References

_FUNCTION = "a prior that is a function of the model"
# Priors that count as many densities as the sets have dimensions.
_INSTEAD = {
    SetTag.CORR_CHOLESKY: "tfd.CholeskyLKJ",
    SetTag.CORR_MATRIX: "tfd.LKJ",
    SetTag.POSITIVE_DEFINITE: "tfd.WishartTriL",
    SetTag.SIMPLEX: "tfd.Dirichlet",
    SetTag.UNIT_VECTORS: "tfd.VonMisesFisher or tfd.SphericalUniform",
    SetTag.ZERO_SUM: "numpyro.distributions.ZeroSumNormal, or for iid normals of scale τ "
    "a function with −Σx²/(2τ²) − n log τ, n the number of free coordinates",
}
_DRAWS = 2000
# The part of a prior that may be lost without a warning.
_LOST = 2e-3


def warn_of_doubts(
    reparam: Reparam, references: References, priors: PriorPlan, numbers: Numbers
) -> None:
    """Warn of priors that are hardly meant as they stand.

    Each distribution is looked at once at each kind of leaf, and for the numbers of one
    model where it depends on others. Nothing can be seen where numbers are traced.
    """
    if has_traced_numbers((reparam, numbers)):
        return
    seen = set()
    for term in priors.terms:
        row = reparam.bound.plan.rows[term.position]
        key = (term.slot, row.kind, row.slot)
        joined = row.owner is not None or row.members or row.picked is not None
        if row.kind is None or joined or key in seen:
            continue
        seen.add(key)
        recipe = priors.recipes[term.slot]
        own = next(iter(references.numbers(priors, numbers, term)), None)
        if own is None:
            continue
        prior = build(recipe, own)
        found = _too_many_densities(reparam, row, prior) or _unordered(
            reparam, row, prior
        )
        if not found and term.coordinate is None and may_outgrow(prior):
            found = _lost_mass(reparam, row, recipe, own)
        if found:
            warnings.warn(
                f"the prior {term.name} at '{term.path}' {found}",
                stacklevel=5,  # Equinox's metaclasses stand between
            )
    for text in _of_joints(reparam, references, priors, numbers):
        warnings.warn(text, stacklevel=5)


def _of_joints(
    reparam: Reparam, references: References, priors: PriorPlan, numbers: Numbers
) -> list[str]:
    """More densities than coordinates, or in any order, of leaves that are one vector."""
    plan, texts = reparam.bound.plan, []
    for _, row in plan.free:
        terms = [term for term in priors.terms if term.position in row.members]
        if row.kind is None or row.function is not None or not terms:
            continue
        of_each = [references.numbers(priors, numbers, term)[:1] for term in terms]
        if not all(of_each):  # numbers of a model that is not known
            continue
        pairs = zip(terms, of_each, strict=True)
        calls = [(priors.recipes[term.slot], own) for term, (own,) in pairs]
        built = [build(*call) for call in calls]
        leaves = [plan.rows[term.position] for term in terms]
        found = [
            _dimensions(known_bijector(p), r) for p, r in zip(built, leaves, strict=True)
        ]
        tag = support(reparam.bound.bijector(row, ())).tag
        if None in found or tag in (SetTag.UNIT_VECTORS, SetTag.ANGLES):
            continue
        own, of_joint = sum(filter(None, found)), math.prod(row.kind.free_shape)
        names = ", ".join(f"'{term.path}'" for term in terms)
        where = f"the leaves together ({reparam.bound.describe(row)})"
        alike = len({(recipe, _bytes(own)) for recipe, own in calls}) == 1
        plain = not any(tuple(getattr(p, "event_shape", ())) for p in built)
        if own > of_joint:
            texts.append(
                f"the priors at {names} count the densities of {own} numbers, but "
                f"{where} have {of_joint} dimensions: where a scale in a prior is itself "
                f"unknown, it is found too small. Use {_FUNCTION}"
            )
        elif tag is SetTag.INCREASING and plain and alike and own > 1:
            texts.append(
                f"the priors at {names} hold for numbers in any order, but those of "
                f"{where} increase: they do not integrate to 1 over them but to "
                f"1/{own}!. Use {_FUNCTION} and add math.lgamma({own} + 1), which is the "
                "density of sorted draws"
            )
    return texts


def _bytes(numbers: tuple[Any, ...]) -> tuple[bytes, ...]:
    return tuple(np.asarray(n).tobytes() for n in numbers)


def _too_many_densities(reparam: Reparam, row: Row, prior: Any) -> str:
    """What to say of a prior that counts more densities than its leaf has dimensions."""
    if row.function is not None:
        return ""
    bijector = reparam.bound.bijector(row, ())
    own, of_leaf = _dimensions(known_bijector(prior), row), _dimensions(bijector, row)
    if own is None or of_leaf is None or own <= of_leaf:
        return ""
    tag = support(bijector).tag
    return (
        f"counts the densities of {own} numbers, but the leaf "
        f"({reparam.bound.describe(row)}) has {of_leaf} dimensions: where a scale in the "
        "prior is itself unknown, it is found too small. Use "
        f"{_INSTEAD.get(tag, _FUNCTION)}"
    )


def _dimensions(bijector: Any, row: Row) -> int | None:
    """How many dimensions of a leaf a bijector reaches; `None` if that is not known."""
    if bijector is None:
        return None
    recipe, numbers = substrate.split(bijector)
    try:
        kind = substrate.bind(recipe, numbers, row.shape, row.dtype)
    except substrate.BIND_ERRORS:
        return None
    free = math.prod(kind.free_shape)
    tag = support(bijector).tag
    if tag is SetTag.UNIT_VECTORS:  # the radius is none of the leaf's
        return free - math.prod(row.shape[:-1])
    return math.prod(row.shape) if tag is SetTag.ANGLES else free


def _unordered(reparam: Reparam, row: Row, prior: Any) -> str:
    """What to say of a density of numbers in any order where the leaf's increase."""
    if row.function is not None:
        return ""
    own = support(reparam.bound.bijector(row, ()))
    chart = known_bijector(prior)
    if own.tag is not SetTag.INCREASING or chart is None:
        return ""
    expected = support(chart)
    count = row.shape[own.details[0]]
    if expected.tag is SetTag.INCREASING or count < 2:
        return ""
    event = tuple(getattr(prior, "event_shape", ()))
    batch = tuple(getattr(prior, "batch_shape", ()))
    text = (
        f"holds for numbers in any order, but those of the leaf "
        f"({reparam.bound.describe(row)}) increase: it does not integrate to 1 over them"
    )
    if not event and not batch:
        text += (
            f" but to 1/{count}!, which is off in the evidence and in no draw. Use "
            f"{_FUNCTION} and add math.lgamma({count} + 1) for each vector, which is "
            "the density of sorted draws"
        )
    else:
        text += ". Use tfd.TransformedDistribution(..., bt.ordered_vector())"
    return text


def _lost_mass(reparam: Reparam, row: Row, recipe: Any, numbers: tuple[Any, ...]) -> str:
    """What to say of a prior with mass where the leaf's dtype has no numbers."""
    if row.function is not None:
        return ""
    assert row.kind is not None
    draws = sample_in_numpy(recipe, numbers, (_DRAWS, *row.shape))
    if draws is None:
        return ""
    kind, of_map = row.kind, reparam.bound.numbers[row.slot]
    many = substrate.bind(kind.recipe, of_map, draws.shape, kind.dtype)
    with np.errstate(over="ignore"):
        rounded = flushed(draws.astype(kind.dtype))
    inverse = functools.partial(substrate.inverse, many)
    free = call_in_numpy(inverse, of_map, rounded).astype(np.float32)
    # A prior that is wider than the leaf's set is cut off there, not lost.
    with jax.enable_x64(True):
        own = support(reparam.bound.bijector(row, ()))
        inside = call_in_numpy(own.contains, flushed(draws))
    off = ~np.isfinite(free)
    off = off.any(axis=tuple(range(inside.ndim, off.ndim)))
    lost = float(np.mean(off & inside))
    if lost <= _LOST:
        return ""
    return (
        f"has {100 * lost:.2g} % of its draws where {kind.dtype} has no numbers, on the "
        f"ends of the leaf's set ({reparam.bound.describe(row)}): that part of it is not "
        "sampled. Use a wider dtype, the bijector that bt.bijector_for gives, or a prior "
        "for the logarithm"
    )
