"""Whether a bijector keeps its promises at some free points, and how it fails, in words.

`Reparam` refuses a bijector by this judgement when it binds, and `check` reports it.
"""

import dataclasses
import functools
import math
from typing import Any

import numpy as np

from ..substrate import Linearised, all_parts
from ..trees import short
from .sets import SetTag, Support
from .support import knowledge_of

# How far a log-det or a value that came back may be off where a map is only approximate,
# such as the solution of a differential equation.
_APPROXIMATE = 1e-4


@dataclasses.dataclass
class Verdict:
    """What was found of a bijector.

    Attributes:
        failures: what is wrong.
        notes: what is worth knowing.
        log_det: how far the log-det is from autodiff's, or why they were not compared.
        only_the_log_det: whether the log-det is wrong and nothing else is.
    """

    failures: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    log_det: str = ""
    only_the_log_det: bool = False


def judge(bijector: Any, event_ndims: int, found: Linearised, *, near: int) -> Verdict:
    """Hold a bijector to its promises at the points where its map was differentiated.

    Args:
        bijector: to look it up in the table of facts.
        event_ndims: how many axes of the model it declares to be one event.
        found: its map at some points.
        near: which of these is near 0, where its Jacobian must have full rank; at others
            it may have saturated.
    """
    verdict = Verdict()
    knowledge = knowledge_of(bijector)
    if knowledge.fault:
        verdict.failures.append(knowledge.fault)
        verdict.log_det = "none"
        return verdict
    _check_events(event_ndims, found, verdict)
    undefined = np.asarray(np.isnan(found.model).any(axis=(1, 2)))
    if undefined.any():
        verdict.failures.append(
            "forward is not defined for all free values: NaN "
            f"{found.describe_point(int(np.argmax(undefined)))}"
        )
    if is_augmented(bijector):
        verdict.log_det = "auxiliary"
        verdict.notes.append(
            "an augmented map: its log-det is the density of an auxiliary radius, a "
            "named exception that no Jacobian can check"
        )
        return verdict
    if found.outputs < found.inputs:
        verdict.log_det = "none"
        verdict.failures.append(
            f"not bijective: {found.inputs} free coordinates for {found.outputs} numbers "
            "of the model have no Jacobian determinant"
        )
        return verdict
    if found.invertible:
        _check_round_trip(found, verdict)
    else:
        verdict.notes.append("it only goes forward: no way back was checked")
    rows = found.chart(near)
    if rows is None or found.singular[near]:
        verdict.log_det = "singular"
        verdict.failures.append(
            f"not bijective here: the Jacobian is singular {found.describe_point(near)}"
        )
        return verdict
    isometric = _in_its_own_measure(knowledge.state)
    faults = _check_log_det(found, rows, verdict, isometric=isometric)
    verdict.only_the_log_det = bool(faults) and not verdict.failures
    verdict.failures += faults
    return verdict


def judge_precision(
    found: Linearised, point: int, got: float, dtype: Any, verdict: Verdict
) -> None:
    """Compare the log-det in the precision of a leaf with that in float64.

    Args:
        found: the map in float64.
        point: at which of its points.
        got: the log-det there, in the leaf's precision.
        dtype: that precision.
        verdict: where a fault, or a loss of digits, is noted, once.
    """
    expected = float(found.log_det[point])
    scale = 1 + abs(expected) + found.events * found.inputs
    noted = bool(verdict.failures or verdict.notes)
    if noted or not math.isfinite(expected) or abs(got - expected) <= 1e-3 * scale:
        return
    verdict.log_det = f"{abs(got - expected):.0e} off"
    (verdict.notes if abs(got - expected) <= 0.05 * scale else verdict.failures).append(
        f"the log-det in {dtype} is {got:.6g}, in {found.dtype} {expected:.6g} "
        f"{found.describe_point(point)}: its digits are lost; bind it to a leaf of "
        f"{found.dtype}, or write the map so that it keeps them"
    )


def is_augmented(bijector: Any) -> bool:
    """Whether a part of a bijector has coordinates beyond the dimensions of its set."""
    parts = all_parts(bijector)
    return any(getattr(part, "auxiliary_coordinates", 0) for part in parts)


def _in_its_own_measure(image: Support | None) -> bool:
    """Whether a set is made of numbers that sum to 0, which keep an isometric measure."""
    while image is not None and image.tag in (SetTag.MAPPED, SetTag.PART):
        image = image.of
    return image is not None and image.tag is SetTag.ZERO_SUM


def _check_events(event_ndims: int, found: Linearised, verdict: Verdict) -> None:
    if found.mixed and event_ndims == 0:
        verdict.failures.append(
            "declares that it maps every element alone (0 event axes) but an element "
            "depends on others; pass forward_min_event_ndims to its constructor"
        )
    elif found.mixed:
        verdict.notes.append(
            f"declares events of {event_ndims} axes but mixes the elements of "
            "several; pass forward_min_event_ndims to its constructor"
        )


def _check_round_trip(found: Linearised, verdict: Verdict) -> None:
    """Compare free → model → free, as exactly as the conditioning of the map allows."""
    smallest = found.singular_values[..., -1:]
    size = np.abs(found.model).max(axis=2, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        unavoidable = 64 * found.eps * size / smallest
        off = np.abs(found.again - found.free)
        relative = max(64 * math.sqrt(found.eps), _APPROXIMATE)
        tolerance = relative * (1 + np.abs(found.free)) + unavoidable
    # Far out no digit may be left, which `check` reports as saturation. But where the map
    # is flat and the inverse gives another finite value, two free values have one image.
    flat = (smallest == 0) & np.isfinite(found.again)
    bad = (off > np.where(flat, 0.05, tolerance)) & (flat | (unavoidable < 0.05))
    bad |= np.isnan(found.again) & (unavoidable < 0.05)
    if bad.any():
        point, event, entry = (int(i) for i in np.argwhere(bad)[0])
        verdict.failures.append(
            "not bijective here: "
            f"free {found.free[point, event, entry]:.4g} → model "
            f"{short(np.round(found.model[point, event], 4))} → free "
            f"{found.again[point, event, entry]:.4g}"
        )


def _check_log_det(
    found: Linearised, rows: list[int], verdict: Verdict, *, isometric: bool
) -> list[str]:
    """Compare the bijector's log-det with autodiff's, on the chart and embedded."""
    chart = found.chart_log_det(rows)
    usable = ~found.singular & np.isfinite(chart).all(axis=1)
    usable &= ~np.isnan(found.model).any(axis=(1, 2))
    expected, got = chart.sum(axis=1), found.log_det
    scale = 1 + np.abs(chart).sum(axis=1) + found.events * found.inputs
    rounding = 4 * math.sqrt(found.eps) * scale
    tolerance = np.maximum(rounding, _APPROXIMATE * scale)
    embedded = found.embedded_log_det().sum(axis=1)
    with np.errstate(invalid="ignore"):
        is_embedded = bool((np.abs(got - embedded) <= tolerance)[usable].all())
        is_chart = bool((np.abs(got - expected) <= tolerance)[usable].all())
    error = np.max(np.abs(got - expected)[usable], initial=0.0)
    verdict.log_det = f"{error:.0e} off"
    if is_chart:
        if (np.abs(got - expected) > rounding)[usable].any():
            verdict.notes.append(f"its log-det is approximate, {error:.0e} off")
        return []
    if is_embedded and (isometric or _is_similarity(found, usable)):
        verdict.log_det = "isometric"
        verdict.notes.append(
            "a linear isometry, but for its scale: the log-det is that in orthonormal "
            "coordinates"
        )
        return []
    if is_embedded:
        return [_embedded(found, got - expected, usable)]
    point = int(np.argmax(usable & ~(np.abs(got - expected) <= tolerance)))
    return [
        f"wrong log-det: got {got[point]:.6g}, autodiff {expected[point]:.6g} "
        f"{found.describe_point(point)}{_alternative(found)}"
    ]


def _is_similarity(found: Linearised, usable: np.ndarray) -> bool:
    """Whether a map is linear and stretches all directions alike."""
    values = found.singular_values[usable]
    return np.allclose(values, values.ravel()[0], rtol=64 * math.sqrt(found.eps))


def _embedded(found: Linearised, off: np.ndarray, usable: np.ndarray) -> str:
    """Say by how much a log-det of the measure of the space around the set is off."""
    low, high = (float(x) / found.events for x in (off[usable].min(), off[usable].max()))
    if high - low > 1e-3:
        amount = f"by {low:.4g} to {high:.4g} an event, with the value"
    elif math.isclose(high, 0.5 * math.log(found.outputs), abs_tol=1e-4):
        amount = f"by {high:.4f} = ½ log {found.outputs} an event"
    else:
        amount = f"by {high:.4g} an event"
    return (
        "the log-det is ½ log det JᵀJ (the embedded measure), not that of minimal "
        f"coordinates: it is off {amount}, so densities do not integrate to 1"
        f"{_alternative(found)}"
    )


def _alternative(found: Linearised) -> str:
    """A hint at the constraint of this package onto the set in which the images lie."""
    if found.outputs == found.inputs:
        return ""
    finite = np.isfinite(found.model).all(axis=(1, 2))
    y = found.model[finite].reshape(-1, found.outputs)
    close = functools.partial(np.allclose, atol=1e-6)
    side = math.isqrt(found.outputs)
    name = None
    if close(y.sum(axis=1), 1) and (y >= 0).all():
        name = "bt.simplex()"
    elif close(y.sum(axis=1), 0):
        name = "bt.zero_sum()"
    elif side * side == found.outputs:
        matrix = y.reshape(-1, side, side)
        unit = close(np.diagonal(matrix, axis1=1, axis2=2), 1)
        if close(matrix, matrix.swapaxes(1, 2)):
            name = "bt.corr_matrix()" if unit else "bt.positive_definite()"
        elif close(matrix, np.tril(matrix)):
            unit = close((matrix**2).sum(axis=2), 1)
            name = "bt.corr_cholesky()" if unit else "bt.lower_cholesky()"
    if name is None and close((y**2).sum(axis=1), 1):
        name = "bt.sphere()"
    return f". Use {name}, which has the right one" if name else ""
