"""Round trips, rank and log-det of a bijector, against autodiff's Jacobian."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import substrate
from ..constraints import circular, sphere
from ..substrate import Kind
from ..trees import short
from . import jacobian
from .dtypes import parts
from .jacobian import MOST_COORDINATES, MOST_ENTRIES, Linearised
from .report import ERRORS, Findings

# More free coordinates than a chart has; their log-det is an auxiliary density.
_AUGMENTED = (type(sphere()), type(circular()))


def _points(free: np.ndarray) -> np.ndarray:
    """The leaf's free value, then pairs about it and about 0.

    The first is moved a little: at an exact 0 the derivative of `abs` is no good.
    """
    rng = np.random.default_rng(0)
    x = free.astype(np.float64)
    nudge = 8 * float(jnp.finfo(free.dtype).eps) * (1 + np.abs(x))
    near = rng.normal(size=x.shape)
    small, large = (
        rng.uniform(a, b, x.shape) * rng.choice([-1.0, 1.0], x.shape)
        for a, b in ((0.1, 1.0), (1.0, 3.0))
    )
    points = [x + nudge, x + near, x - near, small, -small, large, -large]
    # Rounded to the leaf's dtype, so that each precision is asked at the same points.
    return np.stack(points).astype(free.dtype)


_HERE, _SMALL = 0, 3


def _where(point: int, found: Linearised) -> str:
    if point == _HERE:
        return "at the model's own value"
    text = np.array2string(
        found.free[point].ravel(), precision=3, threshold=4, edgeitems=2, separator=", "
    )
    return f"at free {' '.join(text.split())}"


def _linearise(kind: Kind, numbers: tuple[Any, ...], points: np.ndarray) -> Linearised:
    """In float64 if the bijector takes it, else in the precision it is used in."""
    try:
        with jax.enable_x64(True):
            wide = points.astype(np.float64)
            return jacobian.linearise(kind, numbers, wide, most=MOST_COORDINATES)
    except ERRORS:
        if kind.compute_dtype == np.float64:
            raise
        narrow = points.astype(kind.compute_dtype)
        return jacobian.linearise(kind, numbers, narrow, most=MOST_COORDINATES)


def check_log_det(
    kind: Kind,
    numbers: tuple[Any, ...],
    bijector: Any,
    free: np.ndarray,
    findings: Findings,
) -> None:
    """Round trips at random points, rank, and the log-det against autodiff's."""
    events, inputs = jacobian.shapes(kind)
    size = max(events * inputs, events * inputs * (math.prod(kind.shape) // events))
    if inputs > MOST_COORDINATES or size > MOST_ENTRIES:
        findings.cells["log_det"] = "not checked (size)"
        findings.notes.append(
            f"log-det not checked: an event has {inputs} free coordinates; check the "
            "bijector on a smaller leaf"
        )
        return
    if not inputs:
        log_det = float(substrate.forward_and_log_det(kind, numbers, free)[1])
        if log_det != 0:
            findings.failures.append(
                f"wrong log-det: got {log_det:.6g}, expected 0 without free coordinates"
            )
        return
    points = _points(free)
    found = _linearise(kind, numbers, points)
    if found.mixed and kind.event_ndims == 0:
        findings.failures.append(
            "declares that it maps every element alone (0 event axes) but an element "
            "depends on others; pass forward_min_event_ndims to its constructor"
        )
    elif found.mixed:
        findings.notes.append(
            f"declares events of {kind.event_ndims} axes but mixes the elements of "
            "several; pass forward_min_event_ndims to its constructor"
        )
    undefined = np.isnan(found.model).any(axis=(1, 2))
    if undefined.any():
        point = int(np.argmax(undefined))
        findings.failures.append(
            f"forward is not defined for all free values: NaN {_where(point, found)}"
        )
    augmented = any(isinstance(part, _AUGMENTED) for part in parts(bijector))
    if augmented:
        findings.cells["log_det"] = "auxiliary"
        findings.notes.append(
            "an augmented map: its log-det is the density of an auxiliary radius, a "
            "named exception that no Jacobian can check"
        )
        return
    if found.outputs < found.inputs:
        findings.cells["log_det"] = "none"
        findings.failures.append(
            f"not bijective: {found.inputs} free coordinates for {found.outputs} numbers "
            "of the model have no Jacobian determinant"
        )
        return
    _there_and_back(found, findings)
    rows = found.chart(_SMALL)
    singular = _singular(found)
    if rows is None or singular[_SMALL]:
        findings.cells["log_det"] = "singular"
        findings.failures.append(
            f"not bijective here: the Jacobian is singular {_where(_SMALL, found)}"
        )
        return
    _log_det(found, rows, singular, findings)
    _log_det_in_use(kind, numbers, points, found, findings)


def _singular(found: Linearised) -> np.ndarray:
    """At which points the Jacobian of an event has not full rank, or is not finite."""
    values = found.singular_values
    threshold = 16 * found.eps * max(found.inputs, found.outputs)
    smallest, largest = values[..., -1], values[..., 0]
    regular = (smallest > threshold * largest) & (smallest > 0)
    return ~np.asarray(regular.all(axis=1))


def _there_and_back(found: Linearised, findings: Findings) -> None:
    """Go free → model → free, within what the conditioning of the map leaves of it."""
    smallest = found.singular_values[..., -1:]
    size = np.abs(found.model).max(axis=2, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        unavoidable = 64 * found.eps * size / smallest
        off = np.abs(found.again - found.free)
        tolerance = 64 * math.sqrt(found.eps) * (1 + np.abs(found.free)) + unavoidable
    # Far out no digit is left, which saturation tells of. But where the map is flat and
    # the inverse gives another finite value, there are two.
    flat = (smallest == 0) & np.isfinite(found.again)
    bad = (off > np.where(flat, 0.05, tolerance)) & (flat | (unavoidable < 0.05))
    bad |= np.isnan(found.again) & (unavoidable < 0.05)
    if bad.any():
        point, event, place = (int(i) for i in np.argwhere(bad)[0])
        findings.failures.append(
            "not bijective here: "
            f"free {found.free[point, event, place]:.4g} → model "
            f"{short(np.round(found.model[point, event], 4))} → free "
            f"{found.again[point, event, place]:.4g}"
        )


def _log_det(
    found: Linearised,
    rows: list[int],
    singular: np.ndarray,
    findings: Findings,
) -> None:
    """Compare the bijector's log-det with autodiff's, on the chart and embedded."""
    chart = found.chart_log_det(rows)
    usable = ~singular & np.isfinite(chart).all(axis=1)
    usable &= ~np.isnan(found.model).any(axis=(1, 2))
    expected, got = chart.sum(axis=1), found.log_det
    scale = 1 + np.abs(chart).sum(axis=1) + found.events * found.inputs
    tolerance = 4 * math.sqrt(found.eps) * scale
    embedded = found.embedded_log_det().sum(axis=1)
    with np.errstate(invalid="ignore"):
        wrong = usable & ~(np.abs(got - expected) <= tolerance)
        is_embedded = np.abs(got - embedded) <= tolerance
    error = np.max(np.abs(got - expected)[usable], initial=0.0)
    findings.cells["log_det"] = f"{error:.0e} off"
    if not wrong.any():
        return
    if is_embedded[usable].all():
        _embedded(found, got - expected, usable, findings)
        return
    point = int(np.argmax(wrong))
    findings.failures.append(
        f"wrong log-det: got {got[point]:.6g}, autodiff {expected[point]:.6g} "
        f"{_where(point, found)}{_mend(found)}"
    )


def _embedded(
    found: Linearised, off: np.ndarray, usable: np.ndarray, findings: Findings
) -> None:
    """The log-det is ½ log det JᵀJ: wrong by how much, or right by convention."""
    if np.allclose(found.singular_values[usable], 1.0, atol=64 * math.sqrt(found.eps)):
        findings.cells["log_det"] = "isometric"
        findings.notes.append(
            "a linear isometry: its log-det, 0, is that in orthonormal coordinates"
        )
        return
    low, high = (float(x) / found.events for x in (off[usable].min(), off[usable].max()))
    if high - low > 1e-3:
        amount = f"by {low:.4g} to {high:.4g} an event, with the value"
    elif math.isclose(high, 0.5 * math.log(found.outputs), abs_tol=1e-4):
        amount = f"by {high:.4f} = ½ log {found.outputs} an event"
    else:
        amount = f"by {high:.4g} an event"
    findings.failures.append(
        "the log-det is ½ log det JᵀJ (the embedded measure), not that of minimal "
        f"coordinates: it is off {amount}, so densities do not integrate to 1"
        f"{_mend(found)}"
    )


def _mend(found: Linearised) -> str:
    """Which of our constraints has the same support, judged by its values."""
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


def _log_det_in_use(
    kind: Kind,
    numbers: tuple[Any, ...],
    points: np.ndarray,
    found: Linearised,
    findings: Findings,
) -> None:
    """Compare the log-det in the leaf's precision with that in float64."""
    if kind.compute_dtype == found.dtype:
        return
    for point in (_HERE, _SMALL):
        got = float(substrate.forward_and_log_det(kind, numbers, points[point])[1])
        expected = float(found.log_det[point])
        scale = 1 + abs(expected) + found.events * found.inputs
        if not math.isfinite(expected) or abs(got - expected) <= 1e-3 * scale:
            continue
        text = (
            f"the log-det in {kind.compute_dtype} is {got:.6g}, in {found.dtype} "
            f"{expected:.6g} {_where(point, found)}"
        )
        findings.cells["log_det"] = f"{abs(got - expected):.0e} off"
        if abs(got - expected) <= 0.05 * scale:
            findings.notes.append(text)
        else:
            findings.failures.append(text)
        return
