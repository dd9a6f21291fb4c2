"""`check`: hold every leaf's bijector to its promises, and report them all."""

import contextlib
import dataclasses
import functools
import io
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import PyTree
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import _jacobian, _tfp
from ._constraints import circular, sphere, support
from ._leaves import model_leaves, same_array, short
from ._plan import Row
from ._reparam import Reparam
from ._tree import Fixed, describe, is_array, raise_all

# What a user's own bijector may raise when it is called. The row then says so.
_ERRORS = (
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
    AttributeError,
    AssertionError,
    RuntimeError,
)
# More free coordinates than a chart has; their log-det is an auxiliary density.
_AUGMENTED = (type(sphere()), type(circular()))
# Events with more free coordinates, and leaves with more entries of Jacobian, are too
# large to differentiate here.
_MOST_COORDINATES = 64
_MOST_ENTRIES = 4_000_000
# Saturation is looked for this far from the leaf's free value.
_FURTHEST = 1024.0
# About one free unit; exactly 1 would find |x| flat at a half.
_UNIT = 1.03


@dataclasses.dataclass(frozen=True)
class LeafReport:
    """What `check` found at one leaf.

    Attributes:
        path: the leaf's path.
        array: its dtype and shape.
        bijector: the bijector's name, or "identity", "frozen", "static".
        event: the shape of one event, free → model where the two differ.
        support: "ok" or "outside".
        round_trip: how far the value is from the one it maps back to, relative.
        log_det: how far the log-det is from autodiff's, or why it was not compared.
        room: how many free units away the map saturates in the leaf's dtype.
        failures: what is wrong.
        notes: what is worth knowing.
    """

    path: str
    array: str
    bijector: str
    event: str = ""
    support: str = ""
    round_trip: str = ""
    log_det: str = ""
    room: str = ""
    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Report:
    """What `check` found: one row a leaf.

    `str(report)` is a plain table, the same wherever it is printed. A rich console
    prints the report itself in colour where the terminal has any and `NO_COLOR` is not
    set.

    Attributes:
        rows: one `LeafReport` a leaf, in the model's order.
    """

    rows: tuple[LeafReport, ...]

    @property
    def ok(self) -> bool:
        """Whether no leaf has a failure."""
        return not any(row.failures for row in self.rows)

    def raise_if_failed(self) -> None:
        """Raise one error that lists every failure, if there is any.

        Raises:
            ValueError: `ok` is false.
        """
        raise_all("check", (f"at '{p}': {text}" for p, text in self._said("failures")))

    def _said(self, what: str) -> Iterator[tuple[str, str]]:
        for row in self.rows:
            for text in getattr(row, what):
                yield row.path, text

    def __rich__(self) -> Table:
        """The rows as a table, then failures and notes."""
        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
        for name in ("", "leaf", "array", "bijector", "event", "support"):
            table.add_column(name, no_wrap=True)
        for name in ("round trip", "log-det", "room"):
            table.add_column(name, no_wrap=True, justify="right")
        for row in self.rows:
            style = "red" if row.failures else None
            verdict = "FAIL" if row.failures else "ok"
            cells = (row.path or "(the model)", row.array, row.bijector, row.event)
            cells += (row.support, row.round_trip, row.log_det, row.room)
            table.add_row(
                verdict, *(Text(_cut(cell or "-")) for cell in cells), style=style
            )
        whole = Table.grid()
        whole.add_column(overflow="fold")
        if self.rows:
            whole.add_row(table)
            whole.add_row("")
        for path, text in self._said("failures"):
            whole.add_row(Text(f"failure at '{path}': {text}", style="red"))
        for path, text in self._said("notes"):
            whole.add_row(Text(f"note at '{path}': {text}", style="dim"))
        failed = sum(bool(row.failures) for row in self.rows)
        of = f"{len(self.rows)} {'row' if len(self.rows) == 1 else 'rows'}"
        whole.add_row(Text(f"{failed} of {of} failed" if failed else f"{of}, all ok"))
        return whole

    def __str__(self) -> str:
        """The table as plain text of its natural width."""
        file = io.StringIO()
        Console(file=file, width=1000, color_system=None, force_terminal=False).print(
            self
        )
        return "\n".join(line.rstrip() for line in file.getvalue().rstrip().split("\n"))


def check(reparam: Reparam, model: PyTree) -> Report:
    """Hold every leaf's bijector to its promises, at the model and around it.

    For each leaf with free coordinates, at the model's own value and at fixed
    pseudo-random free points near it and near 0: the value lies in the support; the map
    goes there and back in both directions; the bijector keeps the leaf's dtype; its
    log-det is that of autodiff's Jacobian in minimal coordinates; and the free value is
    away from where the map saturates in the leaf's dtype. The Jacobian is computed in
    float64 whatever the model's precision, for events of at most 64 free coordinates.

    Minimal coordinates are the first entries of an event, in row-major order, that are
    independent: all but the last of a simplex, the lower triangle of a covariance. A
    linear isometry (`bt.zero_sum`) is held to its orthonormal coordinates. The log-dets
    of `bt.sphere` and `bt.circular` are auxiliary densities, which no Jacobian checks.

    Leaves that hold other values than bound, where they have no coordinates, fail too.
    What a bijector raises is a failure of its leaf, not an error of `check`.

    Args:
        reparam: a spec bound to the model.
        model: a model of the structure and shapes that `reparam` was bound to; values,
            so not under `jit`.

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
        >>> report = bt.check(bt.Reparam(model, spec), model)
        >>> report.ok
        False
        >>> [row.path for row in report.rows if row.failures]
        ['parts']
    """
    plan = reparam._plan
    leaves = model_leaves(plan, model)
    raise_all(
        "check needs the model's values",
        (
            f"at '{row.path}': got {'a traced' if isinstance(x, Tracer) else 'only a'} "
            f"{describe(x)}"
            for row, x in zip(plan.rows, leaves, strict=True)
            if isinstance(x, (Tracer, jax.ShapeDtypeStruct))
        ),
    )
    rows = [_check_row(reparam, i, row, leaves) for i, row in enumerate(plan.rows)]
    return Report((*rows, *_check_outer(reparam, leaves)))


def _check_row(reparam: Reparam, i: int, row: Row, leaves: Sequence[Any]) -> LeafReport:
    findings = _Findings()
    leaf = leaves[i]
    name = row.role
    if row.role == "free":
        name = "identity"
        if row.owner is not None:
            name = f"joint with '{reparam._plan.rows[row.owner].path}'"
        elif row.kind is not None:
            name = "bijector"
        if jax.dtypes.canonicalize_dtype(leaf.dtype) != row.dtype:
            findings.notes.append(f"bound as {row.dtype}, the model holds {leaf.dtype}")
    try:
        if row.role == "tied":
            _tied(reparam, row, leaf, leaves, findings)
        elif row.role != "free":
            _held(row, leaf, reparam._held[i], findings)
        elif row.owner is None and row.kind is None:
            _identity(leaf, findings)
        elif row.owner is None:
            bijector = reparam._bijector(row, leaves)
            name = bijector.name
            y = reparam._gather(i, row, leaves)
            _check_map(bijector, *reparam._call(row, y.dtype, leaves), y, findings)
    except _ERRORS as error:
        findings.raised(name, error)
    return findings.report(row.path, leaf, name)


def _check_outer(reparam: Reparam, leaves: Sequence[Any]) -> Iterator[LeafReport]:
    """The bijectors over the whole vector of free coordinates (`Reparam.then`)."""
    if not reparam._plan.outer:
        return
    vector = None
    for kind, slot in reparam._plan.outer:
        numbers = reparam._numbers[slot]
        bijector = kind.structure.build(numbers)
        findings = _Findings()
        try:
            if vector is None:
                found = [reparam._inverse(i, r, leaves) for i, r in reparam._plan.free]
                vector = jnp.concatenate([x.ravel().astype(kind.dtype) for x in found])
            _check_map(bijector, kind, numbers, vector, findings)
            vector = _tfp.inverse(kind, numbers, vector)
        except _ERRORS as error:
            findings.raised(bijector.name, error)
        yield findings.report("(all free coordinates)", vector, bijector.name)
        if vector is None:
            return


def _held(row: Row, leaf: Any, held: Any, findings: "_Findings") -> None:
    """Has a leaf without coordinates the value that the Reparam was bound with?"""
    if row.value is not None:
        same, held = row.value == Fixed(leaf), row.value.value
    else:
        same = held is None or leaf is held or same_array(leaf, held)
    if not same:
        findings.failures.append(
            f"bound with {short(held)}, got {short(leaf)}; bind again: "
            "bt.Reparam(model, spec)"
        )


def _tied(
    reparam: Reparam, row: Row, leaf: Any, leaves: Sequence[Any], findings: "_Findings"
) -> None:
    """Has a tied leaf the value that the other one gives it?"""
    expected, got = np.asarray(reparam._follow(row, leaves)), np.asarray(leaf)
    if _relative(expected, got) > 8 * float(jnp.finfo(row.dtype).eps):
        findings.failures.append(
            f"is {short(got)}, but '{reparam._plan.rows[row.on[0]].path}', to which it "
            f"is tied, makes it {short(expected)}; set both, or bind without the tie"
        )


@dataclasses.dataclass
class _Findings:
    """What has been found at a leaf so far."""

    cells: dict[str, str] = dataclasses.field(default_factory=dict)
    failures: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    def raised(self, name: str, error: Exception) -> None:
        said = " ".join(str(error).split())
        self.failures.append(f"{name} raised {type(error).__name__}: {said[:300]}")

    def report(self, path: str, leaf: Any, name: str) -> LeafReport:
        return LeafReport(
            path,
            _array(leaf),
            name,
            **self.cells,
            failures=tuple(self.failures),
            notes=tuple(self.notes),
        )


def _identity(leaf: Any, findings: _Findings) -> None:
    finite = np.isfinite(np.asarray(leaf))
    findings.cells["support"] = "ok" if finite.all() else "outside"
    if not finite.all():
        findings.failures.append(_outside(leaf, ~finite, "a finite number"))


def _check_map(
    bijector: Any,
    kind: _tfp.Kind,
    numbers: tuple[Any, ...],
    leaf: Any,
    findings: _Findings,
) -> None:
    """Check a bijector at the values that it maps to."""
    cells = findings.cells
    cells["event"] = _event(kind)
    if not leaf.size:
        cells["support"] = "ok"
        return
    known = support(bijector)
    free, outside = jax.device_get(_tfp.inverse_and_outside(kind, numbers, leaf))
    inside = not outside.any()
    cells["support"] = "ok" if inside else "outside"
    if not inside:
        text = _outside(leaf, outside, known.description)
        if np.isinf(free).any():
            text += "; on the boundary, where the free value is infinite"
        findings.failures.append(text)
    with _tfp._standard_promotion():
        member = bool(np.all(np.asarray(known.contains(leaf))))
    if member != inside:
        findings.notes.append(
            f"the support, {known.description}, {'holds' if member else 'excludes'} the "
            f"value, which {'maps' if inside else 'does not map'} back to itself from a "
            "finite free value"
        )
    _dtypes(kind, numbers, bijector, findings)
    if inside:
        # The array is another one, so TFP's cache does not hand back the leaf.
        back, _ = jax.device_get(_tfp.forward_and_log_det(kind, numbers, free.copy()))
        cells["round_trip"] = f"{_relative(back, np.asarray(leaf)):.0e}"
        _room(kind, numbers, free, findings)
    _measure(kind, numbers, bijector, free if inside else np.zeros_like(free), findings)


def _outside(leaf: Any, mask: np.ndarray, expected: str) -> str:
    """The first event of a leaf that is outside, and how many there are."""
    index = tuple(int(i) for i in np.argwhere(mask)[0])
    count = int(mask.sum())
    where = f"index {list(index)}: " if index else ""
    more = f"; and {count - 1} more" if count > 1 else ""
    return f"{where}got {short(np.asarray(leaf)[index])}, expected {expected}{more}"


def _dtypes(
    kind: _tfp.Kind, numbers: tuple[Any, ...], bijector: Any, findings: _Findings
) -> None:
    """Which dtypes the bijector gives by itself, without the engine's casts."""
    own = f"a {kind.dtype} leaf"
    avals = tuple((jnp.shape(n), jnp.result_type(n)) for n in numbers)
    changed = {}
    for method in ("forward", "inverse"):
        # With its numbers cast, what remains is the bijector's own doing.
        with contextlib.suppress(*_ERRORS):
            got = _result_dtype(kind, avals, method, kind.compute_dtype, cast=True)
            if got != kind.compute_dtype:
                changed[method] = got
    pinned = _tfp_dtype(kind, numbers)
    for method, got in changed.items():
        text = f"{method} returns {got} for {kind.compute_dtype}"
        if pinned is None:
            findings.failures.append(
                f"dtype change: {text}; compute in the dtype of the argument "
                f"(x.dtype). bijectree casts the result to the leaf's {kind.dtype}, "
                "which brings no digits back"
            )
    if pinned is not None:
        findings.notes.append(
            f"holds {pinned} parameters that cannot be cast, so that it computes in "
            f"{pinned} for {own}"
        )
    coarse = [n for n in numbers if _has_fewer_digits(n, kind.dtype)]
    if coarse:
        findings.notes.append(
            f"a {coarse[0].dtype} parameter, {short(np.asarray(coarse[0]))}, stays what "
            f"it is on {own}: pass it as a {kind.dtype} array, or use bijectree's "
            "constraints, which keep every digit"
        )
    if changed or pinned is not None:
        return
    try:
        got = _result_dtype(kind, avals, "forward", kind.dtype, cast=False)
    except _ERRORS as error:
        findings.notes.append(
            f"called directly on {own}, it raises {type(error).__name__}; bijectree "
            "casts its numbers"
        )
    else:
        if got != kind.dtype:
            findings.notes.append(
                f"called directly on {own}, it returns {got}; bijectree casts"
            )


@functools.lru_cache(maxsize=4096)
def _result_dtype(
    kind: _tfp.Kind, avals: tuple[Any, ...], method: str, dtype: Any, *, cast: bool
) -> np.dtype:
    """The dtype that a method of a bijector returns for an argument of another."""
    numbers = tuple(jax.ShapeDtypeStruct(*aval) for aval in avals)
    shape = kind.free_shape if method == "forward" else kind.shape

    def call(numbers: tuple[Any, ...], x: Any) -> Any:
        if cast:
            numbers = _tfp._cast(numbers, dtype)
        return getattr(kind.structure.build(numbers), method)(x)

    with _tfp._standard_promotion():
        x = jax.ShapeDtypeStruct(shape, dtype)
        return np.dtype(jax.eval_shape(call, numbers, x).dtype)


def _tfp_dtype(kind: _tfp.Kind, numbers: tuple[Any, ...]) -> np.dtype | None:
    """The dtype that a part of a bijector insists on, if it is not the leaf's."""
    with contextlib.suppress(*_ERRORS), _tfp._standard_promotion():
        cast = _tfp._cast(numbers, kind.compute_dtype)
        for part in _parts(kind.structure.build(cast)):
            if part.dtype is not None and np.dtype(part.dtype) != kind.compute_dtype:
                return np.dtype(part.dtype)
    return None


def _parts(bijector: Any) -> Iterator[Any]:
    """The bijectors that a chain or another wrapper is made of, itself first."""
    yield bijector
    inner = getattr(bijector, "bijectors", None) or [getattr(bijector, "bijector", None)]
    for part in inner:
        if _tfp.is_bijector(part):
            yield from _parts(part)


def _has_fewer_digits(number: Any, dtype: np.dtype) -> bool:
    """Whether a number was rounded to fewer digits than the leaf's dtype has."""
    if not jnp.issubdtype(number.dtype, jnp.floating):
        return False
    if jnp.finfo(number.dtype).eps <= jnp.finfo(dtype).eps:
        return False
    # 0.5 is the same number in every dtype, 0.001 is not: its decimals tell.
    return any(float(str(x)) != float(x) for x in np.ravel(np.asarray(number)))


def _relative(got: np.ndarray, expected: np.ndarray) -> float:
    got, expected = got.astype(np.float64), expected.astype(np.float64)
    size = max(np.abs(expected).max(initial=0.0), np.finfo(np.float64).tiny)
    return float(np.abs(got - expected).max(initial=0.0) / size)


# How far the map is from saturating.


def _alive(kind: _tfp.Kind, numbers: tuple[Any, ...], free: Any, steps: Any) -> Any:
    """Whether each event still changes when a coordinate goes further out than a step.

    The answer is for all events together, one for each free coordinate of an event and
    each step; the direction of a step is its sign.
    """
    events, inputs = _jacobian.shapes(kind)
    wide = free.astype(kind.compute_dtype)
    eps = float(jnp.finfo(kind.dtype).eps)

    def image(x: Any) -> Any:
        y = _tfp.forward(kind, numbers, x.astype(kind.dtype))
        return y.reshape(events, y.size // events)

    def one(place: Any) -> Any:
        coordinate, step = place
        axis = (jnp.arange(inputs) == coordinate).astype(wide.dtype)
        axis = jnp.broadcast_to(axis, (events, inputs)).reshape(wide.shape)
        here = wide + step * axis
        # One free unit further, or what the dtype can tell apart so far out.
        unit = jnp.maximum(_UNIT, 4 * eps * jnp.abs(here))
        there = here + jnp.where(jnp.signbit(step), -unit, unit) * axis
        y, beyond = image(here), image(there)
        return jnp.all(jnp.isfinite(y)) & jnp.all(jnp.any(y != beyond, axis=1))

    places = jnp.meshgrid(jnp.arange(inputs), steps, indexing="ij")
    flat = jax.lax.map(one, tuple(p.ravel() for p in places))
    return flat.reshape(inputs, steps.size)


def _room(
    kind: _tfp.Kind, numbers: tuple[Any, ...], free: np.ndarray, findings: _Findings
) -> None:
    """How far the free value may move before the map no longer follows."""
    events, inputs = _jacobian.shapes(kind)
    if inputs > _MOST_COORDINATES or events * inputs**2 > _MOST_ENTRIES or not inputs:
        findings.cells["room"] = "not checked (size)" if inputs else ""
        return
    run = _jacobian.compiled_once(_alive, (0,))
    low, high = 0.0, _FURTHEST
    grid = np.concatenate([[0.0], np.geomspace(_FURTHEST / 2**14, _FURTHEST, 15)])
    for _ in range(3):
        steps = np.concatenate([-grid, grid]).astype(kind.compute_dtype)
        alive = jax.device_get(run(kind, numbers, free, steps)).all(axis=0)
        both = alive[: len(grid)] & alive[len(grid) :]
        if both.all():
            break
        first = int(np.argmin(both))
        low, high = grid[max(first - 1, 0)], grid[first]
        grid = np.linspace(low, high, len(grid))
    else:
        if high == 0:
            findings.cells["room"] = "saturated"
            findings.failures.append(
                f"saturated: in {kind.dtype}, moving the free value "
                f"{short(free)} by one unit does not change the leaf"
            )
            return
        findings.cells["room"] = f"{high:.3g}"
        if high < 1:
            findings.notes.append(
                f"{high:.2g} free units from where the map saturates in {kind.dtype}"
            )
        return
    findings.cells["room"] = f"> {_FURTHEST:.0f}"


# The Jacobian, and what follows from it.


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


def _where(point: int, found: _jacobian.Linearised) -> str:
    if point == _HERE:
        return "at the model's own value"
    text = np.array2string(
        found.free[point].ravel(), precision=3, threshold=4, edgeitems=2, separator=", "
    )
    return f"at free {' '.join(text.split())}"


def _linearise(
    kind: _tfp.Kind, numbers: tuple[Any, ...], points: np.ndarray
) -> _jacobian.Linearised:
    """In float64 if the bijector takes it, else in the precision it is used in."""
    try:
        with jax.enable_x64(True):
            wide = points.astype(np.float64)
            return _jacobian.linearise(kind, numbers, wide, most=_MOST_COORDINATES)
    except _ERRORS:
        if kind.compute_dtype == np.float64:
            raise
        narrow = points.astype(kind.compute_dtype)
        return _jacobian.linearise(kind, numbers, narrow, most=_MOST_COORDINATES)


def _measure(
    kind: _tfp.Kind,
    numbers: tuple[Any, ...],
    bijector: Any,
    free: np.ndarray,
    findings: _Findings,
) -> None:
    """Round trips at random points, rank, and the log-det against autodiff's."""
    events, inputs = _jacobian.shapes(kind)
    size = max(events * inputs, events * inputs * (math.prod(kind.shape) // events))
    if inputs > _MOST_COORDINATES or size > _MOST_ENTRIES:
        findings.cells["log_det"] = "not checked (size)"
        findings.notes.append(
            f"log-det not checked: an event has {inputs} free coordinates; check the "
            "bijector on a smaller leaf"
        )
        return
    if not inputs:
        log_det = float(_tfp.forward_and_log_det(kind, numbers, free)[1])
        if log_det != 0:
            findings.failures.append(
                f"wrong log-det: got {log_det:.6g}, expected 0 without free coordinates"
            )
        return
    points = _points(free)
    found = _linearise(kind, numbers, points)
    if found.mixed:
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
    augmented = any(isinstance(part, _AUGMENTED) for part in _parts(bijector))
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


def _singular(found: _jacobian.Linearised) -> np.ndarray:
    """At which points the Jacobian of an event has not full rank, or is not finite."""
    values = found.singular_values
    threshold = 16 * found.eps * max(found.inputs, found.outputs)
    smallest, largest = values[..., -1], values[..., 0]
    return ~((smallest > threshold * largest) & (smallest > 0)).all(axis=1)


def _there_and_back(found: _jacobian.Linearised, findings: _Findings) -> None:
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
    found: _jacobian.Linearised,
    rows: list[int],
    singular: np.ndarray,
    findings: _Findings,
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
    found: _jacobian.Linearised, off: np.ndarray, usable: np.ndarray, findings: _Findings
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


def _mend(found: _jacobian.Linearised) -> str:
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
    kind: _tfp.Kind,
    numbers: tuple[Any, ...],
    points: np.ndarray,
    found: _jacobian.Linearised,
    findings: _Findings,
) -> None:
    """Compare the log-det in the leaf's precision with that in float64."""
    if kind.compute_dtype == found.dtype:
        return
    for point in (_HERE, _SMALL):
        got = float(_tfp.forward_and_log_det(kind, numbers, points[point])[1])
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


# Words.


def _array(leaf: Any) -> str:
    """The dtype and shape of a leaf in a few letters: `float32[2,3]`."""
    if not is_array(leaf):
        return type(leaf).__name__
    return f"{leaf.dtype}[{','.join(str(n) for n in leaf.shape)}]"


def _event(kind: _tfp.Kind) -> str:
    """The shape of one event: free → model where the two differ."""
    batch = len(kind.shape) - kind.event_ndims
    model, free = kind.shape[batch:], kind.free_shape[batch:]
    return str(model) if model == free else f"{free} → {model}"


def _cut(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"
