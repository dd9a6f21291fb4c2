"""Priors that the table of facts does not know, verified once for their numbers.

The draws of a distribution have finite log-densities and do not repeat; one of numbers
integrates to 1; and where a distribution is another one transformed, the map is one to
one on what that one draws, and its Jacobian by autodiff is what the density says.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .. import substrate
from ..constraints import SetTag, interval_of, knowledge_of, support
from ..numerics import run_in_numpy
from ..substrate import Recipe, tfb
from . import facts
from .composed import onto
from .distribution import ERRORS, build, name, sample_in_numpy, sample_shape, split
from .lookup import bijector_for, is_registered, known_bijector
from .mass import POINTS, mass

_DRAWS = 1000
# How far from 1 an integral may be.
_TOLERANCE = 1e-3
# Of larger batches few draws are tried; larger events are not differentiated.
_MOST_ELEMENTS = 1000
_MOST_COORDINATES = 256
# How far from 0 the free coordinates are at which a map is differentiated.
_SPREADS = (0.3, 0.7, 1.2)
_WIDE = np.dtype(np.float64)


def why_wrong(
    recipe: Recipe, numbers: tuple[Any, ...], chart: tfb.Bijector | None = None
) -> str:
    """What is wrong with the density of a distribution; "" if it is known, or verified.

    Args:
        recipe: of the distribution.
        numbers: of the distribution. Where they are traced, nothing can be tried.
        chart: the bijector of the leaf, for a distribution whose support is not known;
            without it, the density of such a one is not integrated.
    """
    if facts.has_traced_numbers((numbers, chart)):
        return ""
    distribution = build(recipe, numbers)
    if facts.is_proven(distribution):
        return ""
    parts = facts.made_of(distribution)
    if parts and not is_registered(distribution):
        faults = (why_wrong(*split(part), _of_any_shape(chart)) for part in parts)
        return next(filter(None, faults), "")
    key = recipe, tuple(np.asarray(n).tobytes() for n in numbers)
    if any(leaf is not None and leaf.once for leaf in recipe.fixed):
        return _why_wrong(recipe, numbers, chart)  # what may change is not kept
    if key not in _verdicts:
        if len(_verdicts) >= _MOST_KEPT:
            _verdicts.pop(next(iter(_verdicts)))
        _verdicts[key] = _why_wrong(recipe, numbers, chart)
    return _verdicts[key]


def _of_any_shape(chart: tfb.Bijector | None) -> tfb.Bijector | None:
    """The chart, if it maps all numbers alike, so that it serves a part of any shape."""
    if chart is None or chart.forward_min_event_ndims:
        return None
    return None if any(map(np.ndim, jax.tree.leaves(chart))) else chart


_verdicts: dict[Any, str] = {}
_MOST_KEPT = 1024


def _why_wrong(
    recipe: Recipe, numbers: tuple[Any, ...], chart: tfb.Bijector | None
) -> str:
    with jax.enable_x64(True), substrate.exactly():
        distribution = build(recipe, numbers, _WIDE)
        own = known_bijector(distribution)
        chart = chart if own is None else own
        prior = _Prior(recipe, numbers, distribution, chart)
        try:
            return _fault(prior)
        except ERRORS as error:
            said = str(error).partition("\n")[0][:200]
            kind = type(error).__name__
            return (
                f"{name(distribution)} cannot be verified: {kind}: {said}; verify=False "
                "leaves that out"
            )


def _fault(prior: "_Prior") -> str:
    draws = _draws(prior)
    if draws is not None:
        fault = _atoms(prior, draws) or _impossible(prior, draws)
        if fault:
            return fault
    if not prior.event:
        return "" if prior.chart is None else _improper(prior, prior.chart, draws)
    parts = _transformed(prior.distribution)
    return "" if parts is None else _wrong_jacobian(prior, parts)


class _Prior(NamedTuple):
    """A distribution in float64, and a bijector onto its support, if it is known."""

    recipe: Recipe
    numbers: tuple[Any, ...]
    distribution: Any
    chart: tfb.Bijector | None

    @property
    def event(self) -> tuple[int, ...]:
        return tuple(getattr(self.distribution, "event_shape", ()))

    @property
    def batch(self) -> tuple[int, ...]:
        return tuple(getattr(self.distribution, "batch_shape", ()))

    def log_prob(self, x: Array) -> Array:
        """The log-densities of one draw of the whole batch."""
        return build(self.recipe, self.numbers, _WIDE).log_prob(x)


def _run(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function in NumPy, which compiles nothing."""
    try:
        program = jax.make_jaxpr(function)(*arguments)
    except ERRORS:  # it asks for the values of shapes
        with jax.ensure_compile_time_eval():
            program = jax.make_jaxpr(function)(*arguments)
    return run_in_numpy(program, *arguments)


def _draws(prior: _Prior) -> np.ndarray | None:
    shape = sample_shape(prior.distribution, _DRAWS)
    if math.prod(prior.batch) > _MOST_ELEMENTS:
        shape = sample_shape(prior.distribution, 10)
    return sample_in_numpy(prior.recipe, prior.numbers, shape)


def _on_an_end(prior: _Prior, x: np.ndarray) -> np.ndarray:
    """Which numbers lie so near an end of their interval that they are rounded there."""
    off = np.zeros(x.shape, bool)
    if prior.chart is None:
        return off | ~np.isfinite(x)
    span = support(prior.chart).entries
    for end in (np.asarray(span.lower), np.asarray(span.upper)):
        near = 1e-12 * np.abs(end) + 1e-300
        with np.errstate(invalid="ignore"):
            off |= np.isfinite(end) & (np.abs(x - end) <= near)
    return off | ~np.isfinite(x)


def _atoms(prior: _Prior, draws: np.ndarray) -> str:
    """Values that come again and again, which have a probability and no density."""
    inside = ~_on_an_end(prior, draws)
    columns, inside = draws.reshape(len(draws), -1), inside.reshape(len(draws), -1)
    for column, here in zip(columns.T, inside.T, strict=True):
        values, counts = np.unique(column[here], return_counts=True)
        again = counts.sum() - len(values)
        # Above its diagonal a triangle has always the same number, but for rounding. A
        # sampler that draws in float32 repeats one of a thousand once in sixteen times.
        varies = np.ptp(values) > 1e-6 * np.abs(values).max() if len(values) else False
        if varies and again > 2:
            value = values[np.argmax(counts)]
            return (
                f"{name(prior.distribution)} has no density: {again} of {len(column)} "
                f"draws repeat others, such as {value:.6g}, so single values have a "
                "probability"
            )
    return ""


def _impossible(prior: _Prior, draws: np.ndarray) -> str:
    """Draws whose own density is 0 or no number."""
    found = _run(jax.vmap(prior.log_prob), draws)[0].reshape(len(draws), -1)
    rounded = _on_an_end(prior, draws).reshape(*found.shape, -1)
    bad = ~np.isfinite(found) & ~rounded.any(axis=-1)
    if not bad.any():
        return ""
    draw, element = np.argwhere(bad)[0]
    value = draws.reshape(*found.shape, -1)[draw, element]
    text = " ".join(np.array2string(value, precision=6, threshold=6).strip("[]").split())
    return (
        f"the density of {name(prior.distribution)} is wrong: {bad.sum()} of {bad.size} "
        f"of its own draws have a log-density that is not finite, such as "
        f"{found[draw, element]} at {text}"
    )


def _improper(prior: _Prior, chart: tfb.Bijector, draws: np.ndarray | None) -> str:
    """Numbers whose density does not integrate to 1."""
    if math.prod(prior.batch) > _MOST_ELEMENTS:
        return ""
    span = interval_of(chart)
    chart = onto(support(chart).entries) if span is None else onto(span)
    recipe, numbers = substrate.split(chart)
    kind = substrate.bind(recipe, numbers, (POINTS, *prior.batch), _WIDE)
    center, spread = np.zeros(prior.batch), np.ones(prior.batch)
    if draws is not None:
        of_draws = substrate.bind(recipe, numbers, draws.shape, _WIDE)
        free = substrate.inverse(of_draws, numbers, jnp.asarray(draws))
        free = np.where(np.isfinite(free), free, np.nan)
        low, center, high = np.nanquantile(free, (0.1, 0.5, 0.9), axis=0)
        spread = np.maximum(0.5 * (high - low), 1e-300)
        known = np.isfinite(center) & np.isfinite(spread)
        center, spread = np.where(known, center, 0), np.where(known, spread, 1)

    def density(y: Array) -> tuple[Array, Array, Array]:
        forward = functools.partial(substrate.forward, kind, numbers)
        x, slope = jax.jvp(forward, (y,), (jnp.ones_like(y),))
        return x, jax.vmap(prior.log_prob)(x), jnp.log(jnp.abs(slope))

    program = jax.make_jaxpr(density)(np.zeros(kind.shape))
    undefined: list[float] = []

    def log_density(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, log_prob, log_slope = run_in_numpy(program, y)
        rounded = _on_an_end(prior, x) | ~np.isfinite(log_slope)
        undefined.extend(x[np.isnan(log_prob) & ~rounded].ravel()[:1])
        return np.where(rounded, -np.inf, log_prob + log_slope), rounded

    total, error = mass(log_density, center, spread)
    if undefined:
        value = undefined[0]
        return (
            f"the density of {name(prior.distribution)} is NaN, as at {value:.6g}, which "
            f"the leaf may hold: {support(chart).description}"
        )
    off = np.abs(total - 1) > _TOLERANCE + np.minimum(error, 0.01)
    if not off.any():
        return ""
    value = np.ravel(total)[np.argmax(np.ravel(off))]
    return (
        f"the density of {name(prior.distribution)} integrates to {value:.4g} over "
        f"{support(chart).description}, not to 1; give it a normalised one, or "
        "verify=False if it is meant to be another"
    )


class _Transformed(NamedTuple):
    """A distribution that is another one, mapped."""

    base: Any
    forward: Callable[[Array], Array]
    inverse: Callable[[Array], Array]


def _transformed(distribution: Any) -> _Transformed | None:
    base: Any = getattr(distribution, "base_dist", None)
    transforms: Any = getattr(distribution, "transforms", None)
    if base is not None and transforms is not None:  # NumPyro's
        back = list(reversed(transforms))
        return _Transformed(
            base,
            lambda x: functools.reduce(lambda y, t: t(y), transforms, x),
            lambda y: functools.reduce(lambda x, t: t.inv(x), back, y),
        )
    base = getattr(distribution, "distribution", None)
    bijector: Any = getattr(distribution, "bijector", None)
    if hasattr(base, "log_prob") and hasattr(bijector, "inverse"):  # TFP's and distrax's
        return _Transformed(base, bijector.forward, bijector.inverse)
    return None


def _wrong_jacobian(prior: _Prior, parts: _Transformed) -> str:
    """A map that is not one to one, or whose density has another Jacobian."""
    what = f"the density of {name(prior.distribution)} is wrong"
    shape = (*prior.batch, *parts.base.event_shape)
    try:
        chart = bijector_for(parts.base)
    except (TypeError, ValueError) as error:
        return f"{what}, or cannot be verified: {error}"
    recipe, numbers = substrate.split(chart)
    kind = substrate.bind(recipe, numbers, shape, _WIDE)
    given = support(chart)
    if not knowledge_of(chart).proven or given.tag in (
        SetTag.UNIT_VECTORS,
        SetTag.ANGLES,
    ):
        return f"{what}, or cannot be verified: it maps {given.description}"
    if math.prod(kind.free_shape) > _MOST_COORDINATES * max(math.prod(prior.batch), 1):
        return ""

    def parts_again() -> _Transformed:
        # They are made within the trace, for TFP's bijectors remember what they mapped.
        made = _transformed(build(prior.recipe, prior.numbers, _WIDE))
        assert made is not None
        return made

    def pair(y: Array) -> tuple[Array, Array]:
        """The value, and the log-det that the densities speak of."""
        here = parts_again()
        u, log_det = substrate.forward_and_log_det(kind, numbers, y)
        x = here.forward(u)
        claimed = jnp.sum(here.base.log_prob(u)) + log_det - jnp.sum(prior.log_prob(x))
        return x, claimed

    def back(x: Array) -> Array:
        here = parts_again()
        return substrate.inverse(kind, numbers, here.inverse(x))

    spreads = np.reshape(_SPREADS, (-1, *[1] * len(kind.free_shape)))
    random = np.random.default_rng(0)
    points = spreads * random.normal(size=(len(_SPREADS), *kind.free_shape))
    try:
        found = substrate.linearise_map(
            pair, back, points, events=1, most=_MOST_COORDINATES
        )
    except ERRORS as error:
        said = str(error).partition("\n")[0]
        return f"{what}, or cannot be verified: {type(error).__name__}: {said[:200]}"
    rows = found.chart(0)
    if rows is None or found.singular.any():
        return f"{what}: its map is not one to one, the Jacobian is singular"
    off = np.abs(found.again - found.free)
    if not np.all(off <= 1e-4 * (1 + np.abs(found.free))):
        point = int(
            np.argmax(np.nanmax(np.where(np.isnan(off), np.inf, off), axis=(1, 2)))
        )
        return (
            f"{what}: its map is not one to one {found.describe_point(point)} of the base"
        )
    expected = found.chart_log_det(rows).sum(axis=1)
    if prior.chart is not None and support(prior.chart).tag is SetTag.ZERO_SUM:
        expected = found.embedded_log_det().sum(axis=1)
    error = found.log_det - expected
    worst = (
        float(error[np.nanargmax(np.abs(error))])
        if np.any(np.isfinite(error))
        else math.nan
    )
    if abs(worst) <= 1e-4 * (1 + float(np.abs(expected).max())):
        return ""
    return (
        f"{what}: it is {math.exp(-worst):.4g} times that in minimal coordinates, since "
        f"the log-det of its map is counted otherwise over {given.description}; give a "
        "prior for the value before the map, as a function of the model"
    )
