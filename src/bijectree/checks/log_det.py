"""Round trips, rank and log-det of a bijector, at the model's own value and around it."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import substrate
from ..constraints import (
    MOST_COORDINATES,
    Verdict,
    differentiable,
    judge,
    judge_precision,
    verify,
)
from ..substrate import CALL_ERRORS, Kind, Linearised
from .report import Findings


def _points(free: np.ndarray) -> np.ndarray:
    """The leaf's free value, then pairs about it and about 0.

    The leaf's value is moved a little: at an exact 0 JAX's derivative of `abs` is 0.
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
    # Points are rounded to the leaf's dtype, so that both precisions have the same ones.
    return np.stack(points).astype(free.dtype)


# The positions, in `_points`, of the leaf's own value and of the first point near 0.
_HERE, _SMALL = 0, 3


def check_log_det(
    kind: Kind,
    numbers: tuple[Any, ...],
    bijector: Any,
    free: np.ndarray,
    findings: Findings,
) -> None:
    """Round trips at random points, rank, and the log-det against autodiff's."""
    if not math.prod(kind.free_shape):
        log_det = float(substrate.forward_and_log_det(kind, numbers, free)[1])
        if log_det != 0:
            findings.failures.append(
                f"wrong log-det: got {log_det:.6g}, expected 0 without free coordinates"
            )
        return
    if not differentiable(kind):
        _, inputs = substrate.event_sizes(kind)
        findings.add(verify(kind, numbers, bijector))
        findings.notes.append(
            f"an event has {inputs} free coordinates: a smaller leaf was looked at, or "
            "where the bijector takes none, a few directions"
        )
        return
    points = _points(free)
    found = _linearise(kind, numbers, points)
    found = dataclasses.replace(found, names={_HERE: "at the model's own value"})
    verdict = judge(bijector, kind.event_ndims, found, near=_SMALL)
    findings.add(verdict)
    if not findings.failures and kind.compute_dtype != found.dtype:
        precise = Verdict(log_det=verdict.log_det)
        for point in (_HERE, _SMALL):
            own = substrate.forward_and_log_det(kind, numbers, points[point])[1]
            judge_precision(found, point, float(own), kind.compute_dtype, precise)
        findings.add(precise)


def _linearise(kind: Kind, numbers: tuple[Any, ...], points: np.ndarray) -> Linearised:
    """Differentiate in float64 if the bijector takes it, else in its own precision."""
    try:
        with jax.enable_x64(True):
            wide = points.astype(np.float64)
            return substrate.linearise(kind, numbers, wide, most=MOST_COORDINATES)
    except CALL_ERRORS:
        if kind.compute_dtype == np.float64:
            raise
        narrow = points.astype(kind.compute_dtype)
        return substrate.linearise(kind, numbers, narrow, most=MOST_COORDINATES)
