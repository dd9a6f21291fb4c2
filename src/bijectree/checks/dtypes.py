"""The dtypes that a bijector returns by itself, without the casts of `substrate`."""

import contextlib
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import substrate
from ..substrate import CALL_ERRORS, Kind
from ..trees import short
from .report import Findings


def check_dtypes(kind: Kind, numbers: tuple[Any, ...], findings: Findings) -> None:
    """Note where a bijector changes the dtype of its argument."""
    own = f"a {kind.dtype} leaf"
    avals = tuple((jnp.shape(n), jnp.result_type(n)) for n in numbers)
    changed = {}
    for method in ("forward", "inverse"):
        # The numbers are cast, so a change of dtype is the bijector's own doing.
        with contextlib.suppress(*CALL_ERRORS):
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
    except CALL_ERRORS as error:
        findings.notes.append(
            f"called directly on {own}, it raises {type(error).__name__}; bijectree "
            "casts its numbers"
        )
    else:
        if got != kind.dtype:
            findings.notes.append(
                f"called directly on {own}, it returns {got}; bijectree casts"
            )


def _find_result_dtype(
    kind: Kind, avals: tuple[Any, ...], method: str, dtype: Any, *, cast: bool
) -> np.dtype:
    """The dtype that a method of a bijector returns for an argument of another."""
    numbers = tuple(jax.ShapeDtypeStruct(*aval) for aval in avals)
    shape = kind.free_shape if method == "forward" else kind.shape

    def call(numbers: tuple[Any, ...], x: Any) -> Any:
        if cast:
            numbers = substrate.cast_numbers(numbers, dtype)
        return getattr(kind.recipe.build(numbers), method)(x)

    with (
        substrate.standard_promotion(),
        substrate.own_cache(),
        substrate.at_once(kind),
    ):
        x = jax.ShapeDtypeStruct(shape, dtype)
        return np.dtype(jax.eval_shape(call, numbers, x).dtype)


_known_result_dtype = functools.lru_cache(maxsize=4096)(_find_result_dtype)


def _result_dtype(kind: Kind, *args: Any, cast: bool) -> np.dtype:
    # An opaque bijector, which may hold arrays, must not be kept alive by a cache.
    find = _find_result_dtype if kind.recipe.opaque else _known_result_dtype
    return find(kind, *args, cast=cast)


def _tfp_dtype(kind: Kind, numbers: tuple[Any, ...]) -> np.dtype | None:
    """The dtype that a part of a bijector insists on, if it is not the leaf's."""
    with contextlib.suppress(*CALL_ERRORS), substrate.standard_promotion():
        cast = substrate.cast_numbers(numbers, kind.compute_dtype)
        for part in substrate.all_parts(kind.recipe.build(cast)):
            if part.dtype is not None and np.dtype(part.dtype) != kind.compute_dtype:
                return np.dtype(part.dtype)
    return None


def _has_fewer_digits(number: Any, dtype: np.dtype) -> bool:
    """Whether a number was rounded to fewer digits than the leaf's dtype has."""
    if not jnp.issubdtype(number.dtype, jnp.floating):
        return False
    if jnp.finfo(number.dtype).eps <= jnp.finfo(dtype).eps:
        return False
    # 0.5 is the same number in every dtype, 0.001 is not: its decimals tell.
    return any(float(str(x)) != float(x) for x in np.ravel(np.asarray(number)))
