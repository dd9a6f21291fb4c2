"""Every class of TFP's bijectors at every shape: bound and right, or refused.

    python -m benchmarks.sweep_bijectors

writes `sweep_bijectors.md` beside this file. What is bound is held to autodiff: at three
random free points the Jacobian of the whole leaf has full rank, its determinant in
minimal coordinates is the log-det, and the inverse comes back. The programs are traced by
JAX and run by NumPy.
"""

import dataclasses
import importlib.metadata
import inspect
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import bijectree as bt
from bijectree import tfb
from bijectree.numerics import run_in_numpy

from ._bijectors_of_tfp import CASES
from ._pages import plain, write_page

SHAPES = ((), (1,), (3,), (2, 3), (3, 3), (2, 3, 3), (0,), (0, 3, 3))
PRECISIONS = (np.float32, np.float64)
# Another seed than that of the package's own verification.
_SEED = 20
_REACHES = (0.5, 1.2, 2.0)

_CANNOT_BE_BUILT = {
    "AutoCompositeTensorBijector": "is a base class",
    "Bijector": "is a base class",
    "Composition": "is a base class",
    "Invert": "stands beside each of the others, as the second row",
    "MatvecLU": "is another name of ScaleMatvecLU",
    "ScaleMatvecLinearOperator": "takes an operator of TFP, which it exports nowhere",
    "ScaleMatvecLinearOperatorBlock": "takes several parts, as JointMap does",
}


@dataclasses.dataclass(frozen=True)
class Found:
    """What came of one bijector at one leaf.

    Attributes:
        verdict: "right", "refused", or "WRONG", which is a defect of the package.
        why: what the refusal says, or what is wrong.
    """

    verdict: str
    why: str = ""


def classes_without_a_case() -> list[str]:
    """The classes that TFP exports and this sweep does not build."""
    built = {name.split(",")[0].split(" ")[0] for name in CASES}
    found = []
    for name in dir(tfb):
        cls = getattr(tfb, name)
        if inspect.isclass(cls) and issubclass(cls, tfb.Bijector):
            known = {cls.__name__, name} & (built | _CANNOT_BE_BUILT.keys())
            found += [] if known else [name]
    return found


def look(make: Callable[[], Any], shape: tuple[int, ...], dtype: Any) -> Found:
    """Bind a bijector to a leaf, and hold what is bound to autodiff."""
    try:
        bijector = make()
    except NotImplementedError as error:
        return Found("refused", f"TFP does not build it: {error}")
    template = jax.ShapeDtypeStruct(shape, dtype)
    try:
        reparam = bt.Reparam(template, bijector)
    except (ValueError, TypeError) as error:
        return Found("refused", _reason(error))
    try:
        wrong = _what_is_wrong(reparam, template)
    except Exception as error:  # noqa: BLE001  what was bound must not raise, whatever
        wrong = f"{type(error).__name__}: {str(error).splitlines()[0][:100]}"
    return Found("WRONG", wrong) if wrong else Found("right")


def _reason(error: Exception) -> str:
    """The first fault, without what differs from leaf to leaf."""
    text = " ".join(str(error).split())
    text = (text.partition("at '': ")[2] or text).split(" - at '': ")[0]
    for pattern, short in _SHORTER.items():
        text = re.sub(pattern, short, text)
    return text


_AFTER_A_NAME = "does not fit|needs|has |would|maps several"
# Names, shapes, numbers and points, which differ from leaf to leaf.
_SHORTER = {
    rf"\b[A-Za-z0-9]+(?:_[A-Za-z0-9]+)*(?=:? (?:{_AFTER_A_NAME}))": "it",
    r"^[a-z0-9_]+: ": "",
    r"does not fit \w+ array of shape \([^)]*\): ": "does not fit: ",
    r" (?:at|→|->) free.*": "",
    r"got -?[\d.einf-]+, autodiff -?[\d.einf-]+.*": "not that of autodiff",
    r"\(\d[\d, ]*\)|\(\)|\[[\d, ]*\]": "…",
    r"(?:Jit)?Tracer.*": "…",
    r"float(?:32|64)": "float",
    r"\b\d+ (?=free coordinates|numbers)": "n ",
}


def _what_is_wrong(reparam: Any, template: Any) -> str:
    """Why a bound leaf breaks its promises; "" if it keeps them."""
    dtype, size = np.dtype(template.dtype), reparam.dim
    eps = float(jnp.finfo(dtype).eps)

    def pair(vector: Any) -> tuple[Any, Any]:
        return reparam.forward_and_log_det(reparam.unravel(vector))

    def program(vector: Any) -> tuple[Any, ...]:
        jacobian = jax.jacfwd(lambda v: pair(v)[0].ravel())(vector)
        return (*pair(vector), jacobian)

    def back(model: Any) -> Any:
        return reparam.ravel(reparam.inverse(model))

    random = np.random.default_rng(_SEED)
    points = [random.uniform(-reach, reach, size).astype(dtype) for reach in _REACHES]
    there = jax.make_jaxpr(program)(points[0])
    # Another array than `forward` gives, so that TFP's cache cannot hand it back.
    inverse = jax.make_jaxpr(lambda y: back(y + 0))(template)
    for point in points:
        model, log_det, jacobian = run_in_numpy(there, point)
        if model.shape != template.shape or model.dtype != dtype:
            return f"a leaf of shape {model.shape} and dtype {model.dtype}"
        if not size:
            if log_det != 0:
                return f"the log-det of nothing is {log_det}"
            continue
        jacobian = np.asarray(jacobian, np.float64).reshape(-1, size)
        if not (np.isfinite(jacobian).all() and np.isfinite(log_det)):
            return "a number that is not finite"
        smallest = np.linalg.svd(jacobian, compute_uv=False)[-1]
        square = jacobian[_minimal(jacobian, np.sqrt(eps))]
        if square.shape != (size, size):
            return "the Jacobian is singular"
        expected = np.linalg.slogdet(square)[1]
        if abs(log_det - expected) > 4 * np.sqrt(eps) * (size + abs(expected)):
            return f"the log-det is {log_det:.6g}, autodiff's {expected:.6g}"
        again = run_in_numpy(inverse, model)[0]
        largest = 1 + np.abs(model).max()
        room = 4 * np.sqrt(eps) + 64 * eps * largest / smallest
        if not np.all(np.abs(again - point) <= room * (1 + np.abs(point))):
            return f"free {point} comes back as {again}"
    return ""


def _minimal(jacobian: np.ndarray, small: float) -> list[int]:
    """The first entries of a leaf, in order, that do not depend on those before them.

    For a simplex these are its first entries, for a triangular or symmetric matrix one
    triangle, for a correlation matrix the strict one.
    """
    matrix = jacobian / np.abs(jacobian).max(axis=0)
    basis: list[np.ndarray] = []
    chosen: list[int] = []
    for number, row in enumerate(matrix):
        for _ in range(2):  # twice is enough (Gram-Schmidt)
            for direction in basis:
                row = row - direction * (direction @ row)
        if np.linalg.norm(row) > small:
            basis.append(row / np.linalg.norm(row))
            chosen.append(number)
    return chosen


def sweep(
    names: Iterable[str] = tuple(CASES),
    shapes: Sequence[tuple[int, ...]] = SHAPES,
    precisions: Sequence[Any] = PRECISIONS,
) -> dict[tuple[str, tuple[int, ...], str], Found]:
    """Look at each case, and at its inverse, at each shape and precision."""
    found = {}
    with jax.enable_x64(True), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TFP's own, of dtypes and deprecations
        for name in names:
            ways = {name: CASES[name]}
            ways[f"Invert: {name}"] = lambda name=name: tfb.Invert(CASES[name]())
            for way, make in ways.items():
                for shape in shapes:
                    for dtype in precisions:
                        key = way, shape, np.dtype(dtype).name
                        found[key] = look(make, shape, dtype)
    return found


def as_table(found: dict[tuple[str, tuple[int, ...], str], Found]) -> str:
    """The sweep as a page of Markdown; reasons are numbered below the table."""
    names = list(dict.fromkeys(name for name, _, _ in found))
    shapes = list(dict.fromkeys(shape for _, shape, _ in found))
    dtypes = list(dict.fromkeys(dtype for _, _, dtype in found))
    reasons: dict[str, int] = {}

    def mark(one: Found) -> str:
        if one.verdict == "right":
            return "right"
        number = reasons.setdefault(one.why, len(reasons) + 1)
        return f"{'' if one.verdict == 'refused' else 'WRONG '}{number}"

    rows = []
    for name in names:
        cells = []
        for shape in shapes:
            marks = [mark(found[name, shape, dtype]) for dtype in dtypes]
            cells.append(marks[0] if len(set(marks)) == 1 else " / ".join(marks))
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    count = {v: sum(f.verdict == v for f in found.values()) for v in _VERDICTS}
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("jax", "tfp-nightly")
    )
    left_out = [f"- `{name}` {why}." for name, why in _CANNOT_BE_BUILT.items()]
    return "\n".join(
        [
            "# Every bijector of TFP, at every shape",
            "",
            f"Written by `python -m benchmarks.sweep_bijectors` with {versions}: "
            f"{count['right']} bound and right, {count['refused']} refused, "
            f"{count['WRONG']} bound and wrong. A number is that of the reason, below; "
            f"two marks are those of {' and '.join(dtypes)} where they differ.",
            "",
            "| bijector | " + " | ".join(map(str, shapes)) + " |",
            "|---|" + "---|" * len(shapes),
            *rows,
            "",
            "## Reasons",
            "",
            *(f"{number}. {plain(why)}" for why, number in reasons.items()),
            "",
            "## Left out",
            "",
            *left_out,
            "",
        ]
    )


_VERDICTS = ("right", "refused", "WRONG")


def main() -> None:
    """Sweep, and write the page."""
    write_page("sweep_bijectors", sweep, as_table)


if __name__ == "__main__":
    main()
