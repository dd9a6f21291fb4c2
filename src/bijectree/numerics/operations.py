"""XLA's operations in NumPy, by the names that JAX gives them.

A rule that returns `None` leaves these operands to JAX.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .windows import gather, scatter

# Operations on each element by itself. Where NumPy computes something else than JAX, a
# rule leaves the operands to JAX.
ELEMENTWISE: dict[str, Callable[..., Any]] = {
    **{
        name: getattr(np, name)
        for name in (
            *("exp", "exp2", "log", "log1p", "expm1", "sqrt", "square", "cbrt", "abs"),
            *("sign", "floor", "ceil", "sin", "cos", "tan", "sinh", "cosh", "tanh"),
            *("real", "imag", "conj", "nextafter"),
        )
    },
    **{
        "neg": np.negative,
        "asin": np.arcsin,
        "acos": np.arccos,
        "atan": np.arctan,
        "atan2": np.arctan2,
        "asinh": np.arcsinh,
        "acosh": np.arccosh,
        "atanh": np.arctanh,
        "is_finite": np.isfinite,
        "not": np.invert,
        "and": np.bitwise_and,
        "or": np.bitwise_or,
        "xor": np.bitwise_xor,
        "add": np.add,
        "add_any": np.add,
        "sub": np.subtract,
        "mul": np.multiply,
        "max": np.maximum,
        "min": np.minimum,
        "eq": np.equal,
        "ne": np.not_equal,
        "lt": np.less,
        "le": np.less_equal,
        "gt": np.greater,
        "ge": np.greater_equal,
        "rsqrt": lambda x: 1 / np.sqrt(x),
        "pow": np.power,
        "div": lambda x, y: x / y if np.issubdtype(x.dtype, np.inexact) else None,
        "clamp": lambda low, x, high: np.minimum(np.maximum(x, low), high),
        "logistic": lambda x: 0.5 * (1 + np.tanh(0.5 * x)),
        "erf_inv": lambda x: _erf_inv(x),
        "rem": lambda x, y: _fmod(x, y),
        "shift_left": lambda x, n: _shifted(np.left_shift, x, n),
        "shift_right_logical": lambda x, n: _shifted(np.right_shift, x, n),
        "stop_gradient": np.asarray,
        "copy": np.asarray,
        "copy_p": np.asarray,
    },
}


def _erf_inv(x: np.ndarray) -> np.ndarray | None:
    if x.dtype not in (np.float32, np.float64):
        return None
    from scipy.special import erfinv  # with SciPy's other functions, it takes long

    return erfinv(x)


def _fmod(x: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    whole = np.issubdtype(x.dtype, np.integer)
    return None if whole and not y.all() else np.fmod(x, y)


def _shifted(shift: Any, x: np.ndarray, n: np.ndarray) -> np.ndarray | None:
    """Bits moved along; those of signed numbers, and too far, are left to JAX."""
    bits = 8 * x.dtype.itemsize
    known = np.issubdtype(x.dtype, np.unsignedinteger) and (n < bits).all()
    return shift(x, n) if known else None


# Operations on whole arrays: a rule takes the parameters of the equation, then arrays.


def _broadcast(params: dict[str, Any], x: np.ndarray, *sizes: Any) -> np.ndarray:
    shape = [1] * len(params["shape"])
    for axis, size in zip(params["broadcast_dimensions"], x.shape, strict=True):
        shape[axis] = size
    return np.broadcast_to(x.reshape(shape), params["shape"])


def _reshape(params: dict[str, Any], x: np.ndarray, *sizes: Any) -> np.ndarray:
    order = params["dimensions"]
    return (x if order is None else np.transpose(x, order)).reshape(params["new_sizes"])


def _iota(params: dict[str, Any]) -> np.ndarray:
    shape, axis = params["shape"], params["dimension"]
    alone = [-1 if i == axis else 1 for i in range(len(shape))]
    return np.broadcast_to(np.arange(shape[axis]).reshape(alone), shape)


def _slice(params: dict[str, Any], x: np.ndarray) -> np.ndarray:
    steps = params["strides"] or (1,) * x.ndim
    bounds = zip(params["start_indices"], params["limit_indices"], steps, strict=True)
    return x[tuple(slice(*each) for each in bounds)]


def _dynamic_slice(params: dict[str, Any], x: np.ndarray, *starts: np.ndarray) -> Any:
    sizes = params["slice_sizes"]
    return x[_block(x.shape, starts, sizes)]


def _dynamic_update_slice(
    params: dict[str, Any], x: np.ndarray, update: np.ndarray, *starts: np.ndarray
) -> np.ndarray:
    result = x.copy()
    result[_block(x.shape, starts, update.shape)] = update
    return result


def _block(shape: Any, starts: Any, sizes: Any) -> tuple[slice, ...]:
    """The slices of a block of an array; one that would stick out is moved inside."""
    firsts = [
        int(np.clip(s, 0, n - k)) for s, n, k in zip(starts, shape, sizes, strict=True)
    ]
    return tuple(slice(f, f + k) for f, k in zip(firsts, sizes, strict=True))


def _pad(params: dict[str, Any], x: np.ndarray, value: np.ndarray) -> np.ndarray | None:
    config = params["padding_config"]
    if any(low < 0 or high < 0 for low, high, _ in config):
        return None
    shape, places = [], []
    for n, (low, high, inner) in zip(x.shape, config, strict=True):
        span = n + max(n - 1, 0) * inner
        shape.append(low + span + high)
        places.append(slice(low, low + span, inner + 1))
    result = np.full(shape, value, x.dtype)
    result[tuple(places)] = x
    return result


def _select(params: dict[str, Any], which: np.ndarray, *cases: np.ndarray) -> np.ndarray:
    if len(cases) == 2:
        return np.where(which, cases[1], cases[0])
    return np.choose(which, cases)


def _dot(params: dict[str, Any], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    (contracted, batched) = params["dimension_numbers"]
    left = list(range(x.ndim))
    right = list(range(x.ndim, x.ndim + y.ndim))
    for of_x, of_y in (contracted, batched):
        for i, j in zip(of_x, of_y, strict=True):
            right[j] = left[i]
    batch = [left[i] for i in batched[0]]
    rest_x = [left[i] for i in range(x.ndim) if i not in (*contracted[0], *batched[0])]
    rest_y = [right[j] for j in range(y.ndim) if j not in (*contracted[1], *batched[1])]
    return np.einsum(x, left, y, right, [*batch, *rest_x, *rest_y])


def _reduce(function: Callable[..., Any]) -> Callable[..., Any]:
    # NumPy has no maximum of an empty array.
    return lambda params, x: function(x, axis=tuple(params["axes"])) if x.size else None


def _cumulate(function: Callable[..., Any]) -> Callable[..., Any]:
    def run(params: dict[str, Any], x: np.ndarray) -> np.ndarray:
        axis = params["axis"]
        if params["reverse"]:
            return np.flip(function(np.flip(x, axis), axis=axis), axis)
        return function(x, axis=axis)

    return run


def _triangular_solve(params: dict[str, Any], a: np.ndarray, b: np.ndarray) -> Any:
    a = np.tril(a) if params["lower"] else np.triu(a)
    if params["unit_diagonal"]:
        a = np.where(np.eye(a.shape[-1], dtype=bool), a.dtype.type(1), a)
    if params["transpose_a"] ^ (not params["left_side"]):
        a = np.swapaxes(a, -1, -2)
    if not np.diagonal(a, axis1=-2, axis2=-1).all():
        return None
    if params["left_side"]:
        return np.linalg.solve(a, b)
    return np.swapaxes(np.linalg.solve(a, np.swapaxes(b, -1, -2)), -1, -2)


def _join(params: dict[str, Any], *xs: np.ndarray) -> np.ndarray:
    """Of `joined.join`, as `_part` is of `joined.part`."""
    lead = params["lead"]
    sizes = [math.prod(x.shape[lead:]) for x in xs]
    flat = [x.reshape((*x.shape[:lead], n)) for x, n in zip(xs, sizes, strict=True)]
    return np.concatenate(flat, lead)


def _part(params: dict[str, Any], x: np.ndarray) -> list[np.ndarray]:
    lead, shapes = params["lead"], params["shapes"]
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    parts = np.split(x, ends[:-1], lead)
    return [
        part.reshape((*x.shape[:lead], *shape))
        for part, shape in zip(parts, shapes, strict=True)
    ]


def _bitcast(params: dict[str, Any], x: np.ndarray) -> np.ndarray | None:
    to = np.dtype(params["new_dtype"])
    same = to.itemsize == x.dtype.itemsize and to.kind in "iuf" and x.dtype.kind in "iuf"
    return np.ascontiguousarray(x).reshape(x.shape).view(to) if same else None


def _cholesky(params: dict[str, Any], x: np.ndarray) -> np.ndarray | None:
    if x.dtype not in (np.float32, np.float64):
        return None
    try:
        return np.linalg.cholesky(x)
    except np.linalg.LinAlgError:  # JAX gives NaN for the matrices that have none
        return None


OF_ARRAYS: dict[str, Callable[..., Any]] = {
    "integer_pow": lambda p, x: x ** p["y"] if p["y"] >= 0 else 1 / x ** -p["y"],
    "convert_element_type": lambda p, x: x.astype(p["new_dtype"]),
    "bitcast_convert_type": _bitcast,
    "broadcast_in_dim": _broadcast,
    "iota": lambda p, *sizes: None if sizes else _iota(p),
    "reshape": _reshape,
    "transpose": lambda p, x: np.transpose(x, p["permutation"]),
    "squeeze": lambda p, x: np.squeeze(x, tuple(p["dimensions"])),
    "expand_dims": lambda p, x: np.expand_dims(x, tuple(p["dimensions"])),
    "rev": lambda p, x: np.flip(x, tuple(p["dimensions"])),
    "concatenate": lambda p, *xs: np.concatenate(xs, p["dimension"]),
    "stack": lambda p, *xs: np.stack(xs, p["axis"]) if "axis" in p else None,
    "split": lambda p, x: np.split(x, np.cumsum(p["sizes"])[:-1], p["axis"]),
    "slice": _slice,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    "gather": gather,
    "scatter": scatter,
    "scatter-add": scatter,
    "pad": _pad,
    "select_n": _select,
    "dot_general": _dot,
    "cholesky": _cholesky,
    "triangular_solve": _triangular_solve,
    "reduce_sum": _reduce(np.sum),
    "reduce_prod": _reduce(np.prod),
    "reduce_max": _reduce(np.max),
    "reduce_min": _reduce(np.min),
    "reduce_and": _reduce(np.bitwise_and.reduce),
    "reduce_or": _reduce(np.bitwise_or.reduce),
    "cumsum": _cumulate(np.cumsum),
    "cumprod": _cumulate(np.cumprod),
    "cummax": _cumulate(np.maximum.accumulate),
    "cummin": _cumulate(np.minimum.accumulate),
    "join": _join,
    "part": _part,
    "optimization_barrier": lambda p, *xs: xs,
}
