"""`check`: hold every leaf's bijector to its promises, and report them all."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import PyTree

from .. import substrate
from ..constraints import is_augmented, support, verdict_of_error
from ..numerics import call_in_numpy, flushed
from ..reparam import (
    Reparam,
    Row,
    expect_reparam,
    model_leaves,
    same_array,
    tie_fault,
)
from ..substrate import CALL_ERRORS, Kind
from ..trees import describe, gather, raise_all, short
from .dtypes import check_dtypes
from .log_det import check_log_det
from .report import Findings, LeafReport, Report
from .saturation import check_room


def check(reparam: Reparam, model: PyTree) -> Report:
    """Hold every leaf's bijector to its promises, at the model and around it.

    For each leaf with free coordinates, at the model's own value and at fixed
    pseudo-random free points near it and near 0: the value lies in the support; the map
    goes there and back in both directions; the bijector keeps the leaf's dtype; its
    log-det is that of autodiff's Jacobian in minimal coordinates; and the free value is
    away from where the map saturates in the leaf's dtype. The Jacobian is computed in
    float64 whatever the model's precision; for events of more than 256 free coordinates,
    of smaller events if the bijector takes any.

    Minimal coordinates are the first entries of an event, in row-major order, that are
    independent: all but the last of a simplex, the lower triangle of a covariance. A
    linear isometry (`bt.zero_sum`) is held to its orthonormal coordinates. The log-dets
    of `bt.sphere` and `bt.circular` are auxiliary densities, which no Jacobian checks.

    Leaves that hold other values than bound, where they have no coordinates, fail too.
    What a bijector raises is a failure of its leaf, not an error of `check`.

    Args:
        reparam: a spec bound to the model.
        model: a model of the structure and shapes that `reparam` was bound to; values,
            so not under `jit`. Leaves that are split over processes are gathered: call
            it on all of them.

    Returns:
        A report: `report.ok`, `report.rows`, `report.raise_if_failed()`, and a table by
        `print(report)`.

    Raises:
        ValueError: the model has another structure or other shapes than bound, or
            leaves without values.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> model = {"rate": jnp.array([0.5, 2.0]), "parts": jnp.array([0.2, 0.3, 0.5])}
        >>> spec = {"rate": bt.tfb.Exp(), "parts": bt.tfb.SoftmaxCentered()}
        >>> report = bt.check(bt.Reparam(model, spec, verify=False), model)
        >>> report.ok
        False
        >>> [row.path for row in report.rows if row.failures]
        ['parts']
    """
    expect_reparam("check", reparam)
    plan = reparam.bound.plan
    leaves = model_leaves(plan, model, reparam.bound.held)
    raise_all(
        "check needs the model's values",
        (
            f"at '{row.path}': got {'a traced' if isinstance(x, Tracer) else 'only a'} "
            f"{describe(x)}"
            for row, x in zip(plan.rows, leaves, strict=True)
            if isinstance(x, (Tracer, jax.ShapeDtypeStruct))
        ),
    )
    leaves = gather(leaves)
    rows = [_check_row(reparam, i, row, leaves) for i, row in enumerate(plan.rows)]
    return Report((*rows, *_check_outer(reparam, leaves)))


# A larger leaf is mapped by XLA, which keeps fewer arrays; to compile it takes longer
# than to map a small one.
_MOST_IN_NUMPY = 100_000


def _call_in_xla(function: Callable[..., Any], *arguments: Any) -> Any:
    return jax.device_get(function(*arguments))


def _check_row(reparam: Reparam, i: int, row: Row, leaves: Sequence[Any]) -> LeafReport:
    findings = Findings()
    leaf = leaves[i]
    name = row.role
    if row.role == "free":
        name = "identity"
        if row.owner is not None:
            name = f"joint with '{reparam.bound.plan.rows[row.owner].path}'"
        elif row.kind is not None:
            name = "bijector"
        if jax.dtypes.canonicalize_dtype(leaf.dtype) != row.dtype:
            findings.notes.append(f"bound as {row.dtype}, the model holds {leaf.dtype}")
    try:
        if row.role == "tied":
            source = reparam.bound.plan.rows[row.on[0]]
            fault = tie_fault(row, source, reparam.bound.tied_value(row, leaves), leaf)
            findings.failures += [fault] if fault else []
        elif row.role != "free":
            _check_held(row, leaf, reparam.bound.held[i], findings)
        elif row.owner is None and row.kind is None:
            _check_identity(leaf, findings)
        elif row.owner is None:
            held = reparam.bound.held[i]
            if row.picked is not None and held is not None:
                _check_held(row, row.picked.only_held(leaf, held), held, findings)
            bijector = reparam.bound.bijector(row, leaves)
            name = bijector.name
            y = reparam.bound.gather(i, row, leaves)
            _check_map(bijector, *reparam.bound.call(row, y.dtype, leaves), y, findings)
    except CALL_ERRORS as error:
        findings.add(verdict_of_error(name, error))
    return findings.report(row.path, leaf, name)


def _check_outer(reparam: Reparam, leaves: Sequence[Any]) -> Iterator[LeafReport]:
    """The bijectors over the whole vector of free coordinates (`Reparam.then`)."""
    if not reparam.bound.plan.outer:
        return
    vector = None
    for kind, slot in reparam.bound.plan.outer:
        numbers = reparam.bound.numbers[slot]
        bijector = kind.recipe.build(numbers)
        findings = Findings()
        try:
            if vector is None:
                found = reparam.bound.inverses(leaves)
                vector = jnp.concatenate([x.ravel().astype(kind.dtype) for x in found])
            _check_map(bijector, kind, numbers, vector, findings)
            vector = substrate.inverse(kind, numbers, vector)
        except CALL_ERRORS as error:
            findings.add(verdict_of_error(bijector.name, error))
        yield findings.report("(all free coordinates)", vector, bijector.name)
        if vector is None:
            return


def _check_held(row: Row, leaf: Any, held: Any, findings: Findings) -> None:
    """Check that a leaf without coordinates has the value that was bound."""
    if row.value is not None:
        same, held = row.value.is_still(leaf), row.value.value
    else:
        same = held is None or leaf is held or same_array(leaf, held)
    if not same:
        findings.failures.append(
            f"bound with {short(held)}, got {short(leaf)}; bind again: "
            "bt.Reparam(model, spec)"
        )


def _check_identity(leaf: Any, findings: Findings) -> None:
    finite = np.isfinite(np.asarray(leaf))
    findings.cells["support"] = "ok" if finite.all() else "outside"
    if not finite.all():
        findings.failures.append(_outside(leaf, ~finite, "a finite number"))


def _check_map(
    bijector: Any,
    kind: Kind,
    numbers: tuple[Any, ...],
    leaf: Any,
    findings: Findings,
) -> None:
    """Check a bijector at the values that it maps to."""
    cells = findings.cells
    cells["event"] = _event(kind)
    if not leaf.size:
        cells["support"] = "ok"
        return
    known = support(bijector)
    run = call_in_numpy if leaf.size <= _MOST_IN_NUMPY else _call_in_xla
    leaf = flushed(np.asarray(leaf)) if run is call_in_numpy else leaf
    back_of = functools.partial(substrate.inverse_and_outside, kind)
    free, outside = run(back_of, numbers, leaf)
    inside = not outside.any()
    cells["support"] = "ok" if inside else "outside"
    if not inside:
        text = _outside(leaf, outside, known.description)
        if np.isinf(free).any():
            text += "; on the boundary, where the free value is infinite"
        findings.failures.append(text)
    with substrate.standard_promotion():
        member = bool(np.all(run(known.contains, leaf)))
    if member != inside:
        findings.notes.append(
            f"the support, {known.description}, {'holds' if member else 'excludes'} the "
            f"value, which {'maps' if inside else 'does not map'} back to itself from a "
            "finite free value"
        )
    check_dtypes(kind, numbers, findings)
    if inside:
        there = functools.partial(substrate.forward_and_log_det, kind)
        # The free value is copied, so that TFP's cache does not hand back the leaf.
        back, log_det = run(there, numbers, free.copy())
        cells["round_trip"] = f"{_relative(back, np.asarray(leaf)):.0e}"
        if not np.isfinite(log_det):
            findings.failures.append(
                f"the log-det is {log_det} at the model's own value, where the map is "
                "singular"
            )
        # An augmented map forgets a radius, along which no leaf changes.
        if not is_augmented(bijector):
            check_room(kind, numbers, free, findings)
    check_log_det(
        kind, numbers, bijector, free if inside else np.zeros_like(free), findings
    )


def _outside(leaf: Any, mask: np.ndarray, expected: str) -> str:
    """The first event of a leaf that is outside, and how many there are."""
    index = tuple(int(i) for i in np.argwhere(mask)[0])
    count = int(mask.sum())
    where = f"index {list(index)}: " if index else ""
    more = f"; and {count - 1} more" if count > 1 else ""
    return f"{where}got {short(np.asarray(leaf)[index])}, expected {expected}{more}"


def _relative(got: np.ndarray, expected: np.ndarray) -> float:
    got, expected = got.astype(np.float64), expected.astype(np.float64)
    size = np.abs(expected).max(initial=0.0) or 1.0  # of zeros, the error itself
    return float(np.abs(got - expected).max(initial=0.0) / size)


def _event(kind: Kind) -> str:
    """The shape of one event: free → model where the two differ."""
    batch = len(kind.shape) - kind.event_ndims
    model, free = kind.shape[batch:], kind.free_shape[batch:]
    return str(model) if model == free else f"{free} → {model}"
