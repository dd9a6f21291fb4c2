"""The supports of distributions that are made of others."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ..constraints import (
    Elementwise,
    Range,
    corr_cholesky,
    corr_matrix,
    greater_than,
    interval,
    interval_of,
    knowledge_of,
    less_than,
    lower_cholesky,
    ordered_vector,
    positive,
    positive_definite,
    real,
    simplex,
    sphere,
    support,
)
from ..substrate import tfb, tfd
from .lookup import _wrong_density, bijector_for
from .measures import why_not_minimal


def _support_of(attribute: str) -> Callable[[Any], tfb.Bijector]:
    """The support of the distribution that an attribute holds."""
    return lambda prior: bijector_for(getattr(prior, attribute))


def _map_bounds(bijector: tfb.Bijector, change: Callable) -> tfb.Bijector:
    """Apply `change` to the bounds that are arrays; scalars fit any shape."""
    arrays = [leaf for leaf in jax.tree.leaves(bijector) if np.ndim(leaf)]
    if not arrays:
        return bijector
    if not isinstance(bijector, Elementwise):
        raise ValueError(f"{bijector.name} with array parameters cannot be reshaped")
    return jax.tree.map(lambda leaf: change(leaf) if np.ndim(leaf) else leaf, bijector)


def _sample(prior: Any) -> tfb.Bijector:
    """Bounds have the batch's axes, which come before those of the sample."""
    extra = len(np.ravel(prior.sample_shape))
    events = len(prior.distribution.event_shape)

    def change(bound: Any) -> Any:
        at = np.ndim(bound) - events
        return bound.reshape(*bound.shape[:at], *[1] * extra, *bound.shape[at:])

    return _map_bounds(bijector_for(prior.distribution), change)


def _batch_reshape(prior: Any) -> tfb.Bijector:
    inner = prior.distribution
    events = tuple(inner.event_shape)

    def change(bound: Any) -> Any:
        full = jnp.broadcast_to(bound, (*inner.batch_shape, *events))
        return full.reshape(*prior.batch_shape, *events)

    return _map_bounds(bijector_for(inner), change)


def onto(span: Range) -> tfb.Bijector:
    """The bijector onto an open interval."""
    if span.everything:
        return real()
    if span.is_to(math.inf):
        return positive() if span.is_from(0) else _half_line(greater_than, span.lower)
    if span.is_from(-math.inf):
        return _half_line(less_than, span.upper)
    return interval(span.lower, span.upper)


def _half_line(make: Callable, bound: Any) -> tfb.Bijector:
    known = not isinstance(bound, Tracer)
    if known and not np.all(np.isfinite(bound)):
        return interval(
            *((bound, math.inf) if make is greater_than else (-math.inf, bound))
        )
    return make(bound)


def _hull(spans: list[Range | None], axis: int | None = None) -> tfb.Bijector | None:
    """The bijector onto the smallest interval that holds several, elementwise.

    With an axis, the interval holds all that lie along it, where the bounds have it.
    """
    if any(span is None for span in spans):
        return None
    ends = []
    for attribute, pick in (("lower", "min"), ("upper", "max")):
        bounds = [getattr(span, attribute) for span in spans]
        xp = jnp if any(isinstance(b, Tracer) for b in bounds) else np
        if axis is not None:
            reduce = getattr(xp, pick)
            bounds = [reduce(b, axis=axis) if np.ndim(b) >= -axis else b for b in bounds]
        end = bounds[0]
        for bound in bounds[1:]:
            end = getattr(xp, pick + "imum")(end, bound)
        ends.append(end)
    return onto(Range(*ends))


def _mixture(prior: Any, components: list[Any], axis: int | None = None) -> tfb.Bijector:
    parts = [bijector_for(component) for component in components]
    spans = [interval_of(part) for part in parts]
    hull = _hull(spans, axis)
    names = ", ".join(support(part).description for part in parts)
    if hull is not None:
        alike = all(_same_span(span, spans[0], axis) for span in spans)
        if not alike and not all(_zero_outside(component) for component in components):
            raise _wrong_density(
                prior,
                f"its components have unlike supports ({names}), and not all of their "
                "densities are zero outside of their own. Where TFP's distribution has "
                "force_probs_to_zero_outside_support, set it; or use components of one "
                "support",
            )
        return hull
    if all(part == parts[0] for part in parts[1:]):
        return parts[0]
    raise ValueError(f"the components of a mixture have unlike supports: {names}")


def _same_span(span: Range | None, first: Range | None, axis: int | None) -> bool:
    """Whether two intervals are known to be the same, and all of them along an axis."""
    assert span is not None
    assert first is not None
    for a, b in ((span.lower, first.lower), (span.upper, first.upper)):
        if a is b and (axis is None or np.ndim(a) < -axis):
            continue
        if isinstance(a, Tracer) or isinstance(b, Tracer):
            return False
        if axis is not None and np.ndim(a) >= -axis:
            b = np.take(b, [0], axis=axis)
        if not np.all(a == b):
            return False
    return True


# Distributions with a log-density of −∞ off the support; others often give a number.
_ZERO_OUTSIDE = {
    *("Bates", "ContinuousBernoulli", "HalfCauchy", "HalfNormal", "HalfStudentT"),
    *("Pareto", "Triangular", "TruncatedCauchy", "TruncatedNormal", "Uniform"),
}


def _zero_outside(component: Any) -> bool:
    while type(component) in (tfd.Independent, tfd.BatchBroadcast, tfd.Sample):
        component = component.distribution
    if type(component) in (getattr(tfd, name, None) for name in _ZERO_OUTSIDE):
        return True
    span = interval_of(bijector_for(component))
    forced = getattr(component, "force_probs_to_zero_outside_support", False)
    return bool(forced) or (span is not None and span.everything)


def _mixture_same_family(prior: Any) -> tfb.Bijector:
    """The components are the last axis of the batch."""
    components = prior.components_distribution
    return _mixture(prior, [components], -1 - len(components.event_shape))


def _transformed(prior: Any) -> tfb.Bijector:
    base = bijector_for(prior.distribution)
    why = why_not_minimal(prior.bijector, base)
    if why:
        raise _wrong_density(prior, why)
    fault = knowledge_of(prior.bijector, support(base)).fault
    if fault:
        raise _wrong_density(prior, fault)
    chain = tfb.Chain([prior.bijector, base])
    span = interval_of(chain)
    if span is not None:
        return onto(span)
    found = support(chain)
    for make in _OURS:
        if found.same_set(support(make())):
            return make()
    return chain


def _concatenated(prior: Any) -> tfb.Bijector:
    """The parts have one support, whatever the axis."""
    first, *others = (bijector_for(part) for part in prior.distributions)
    if all(other == first for other in others):
        return first
    raise ValueError("the parts of a concatenation have supports that differ")


def _sinh_arcsinh(prior: Any) -> tfb.Bijector:
    """All real numbers, unless it is made of something else than a normal."""
    return real() if type(prior.distribution) is tfd.Normal else _transformed(prior)


# Constraints of this package onto sets that TFP maps onto in another measure, or less
# exactly.
_OURS = (
    *(ordered_vector, simplex, sphere, corr_cholesky, corr_matrix),
    *(lower_cholesky, positive_definite),
)
