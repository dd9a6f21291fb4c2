"""Arrays as data: a few numbers in the text, more in an `.npz` beside it, to the bit."""

import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Collection, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

# An array with more entries does not stand in the text, the rest of which it would hide.
MOST_IN_TEXT = 16

DTYPES: dict[str, np.dtype] = {
    str(jnp.dtype(name)): jnp.dtype(name)
    for name in (
        *("float16", "bfloat16", "float32", "float64", "bool"),
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    )
}


def array_to_data(
    value: Any, plain: Collection[str], arrays: dict[str, np.ndarray]
) -> Any:
    """An array as data that TOML can hold.

    Args:
        value: an array with a value, of NumPy or JAX.
        plain: the dtypes of numbers that are written without their dtype.
        arrays: the array is added to these, as it is stored, if it is too long for text.

    Returns:
        A number, or lists of them; a table of them under the name of their dtype; or a
        table that says which of `arrays` it is.

    Raises:
        ValueError: its dtype cannot be written.
    """
    array = np.asarray(value)
    name = str(array.dtype)
    if name not in DTYPES:
        raise ValueError(f"an array of {name} cannot be written")
    if array.size <= MOST_IN_TEXT:
        data = _lists(array)
        if _bits(_of_lists(data, array.dtype, array.shape)) == _bits(array):
            if array.size == 0 and array.ndim != 1:
                return {name: data, "shape": list(array.shape)}
            return data if name in plain else {name: data}
    key = _digest(array)
    arrays[key] = array.view(_stored_as(array.dtype))
    return {"dtype": name, "shape": list(array.shape), "array": key}


def is_array_data(data: Any) -> bool:
    """Whether data is a table that stands for an array."""
    return isinstance(data, Mapping) and ("array" in data or bool(data.keys() & DTYPES))


def array_of_data(
    data: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Undo `array_to_data`, for a table.

    Raises:
        ValueError: data are no such table, or the array is missing, or another one.
    """
    if "array" in data:
        return _looked_up(data, arrays)
    (name,) = data.keys() & DTYPES
    if not data.keys() <= {name, "shape"} or len(data.keys() & DTYPES) != 1:
        raise ValueError(f"expected a table such as {{{name} = 0.5}}, got keys {[*data]}")
    shape = data.get("shape")
    if shape is not None and not _is_shape(shape):
        raise ValueError(f"a shape is a list of sizes, got {shape!r}")
    return _of_lists(data[name], DTYPES[name], shape)


def _looked_up(data: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    if data.keys() != {"dtype", "shape", "array"}:
        raise ValueError(f"expected the keys dtype, shape and array, got {[*data]}")
    key, name, shape = data["array"], data["dtype"], data["shape"]
    if name not in DTYPES or not _is_shape(shape):
        raise ValueError(
            f"{name!r} with shape {shape!r} is no array; save the spec again"
        )
    if key not in arrays:
        raise ValueError(
            f"the array {key!r} is not in the .npz file; copy both files together, or "
            "write the numbers here as a list"
        )
    stored, dtype = arrays[key], DTYPES[name]
    fits = stored.dtype == _stored_as(dtype) and stored.shape == tuple(shape)
    array = stored.view(dtype) if fits else stored
    if not fits or _digest(array) != key:
        raise ValueError(
            f"the array {key!r} in the .npz file is another one than was saved; write "
            "the numbers here as a list, or save the spec again"
        )
    return array


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape)


def require_numbers(data: Any) -> None:
    """Raise if lists of TOML are not numbers in the shape of an array.

    Raises:
        ValueError: they are not.
    """
    _of_lists(data, np.dtype(np.float64), None)


def _of_lists(data: Any, dtype: np.dtype, shape: Any) -> np.ndarray:
    kinds = {type(x) for x in _flat(data)}
    of_truth = dtype.kind == "b"
    if not kinds <= ({bool} if of_truth else {int, float}):
        expected = "true or false" if of_truth else "numbers"
        raise ValueError(f"expected {expected}, got {_short(data)}")
    if dtype.kind in "iu" and float in kinds:
        raise ValueError(f"expected whole numbers, got {_short(data)}")
    try:
        with np.errstate(over="ignore"):
            array = np.array(data, dtype=dtype if kinds else np.float64).astype(dtype)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{_short(data)} is no array of {dtype}: {error}") from None
    if not of_truth and dtype.kind not in "iu":
        outgrown = np.isfinite(np.array(data, np.float64)) & np.isinf(array)
        if np.any(outgrown):
            raise ValueError(f"{_short(data)} is too large for {dtype}; use a wider one")
    return array if shape is None else array.reshape(shape)


def _flat(data: Any) -> list[Any]:
    if not isinstance(data, list):
        return [data]
    return [x for part in data for x in _flat(part)]


def _short(data: Any) -> str:
    text = repr(data)
    return text if len(text) <= 60 else text[:57] + "..."


def _lists(array: np.ndarray) -> Any:
    """Lists of Python's numbers, each of which rounds to the same bits."""
    if array.ndim:
        return [_lists(part) for part in array]
    if array.dtype.kind in "biu":
        return array.item()
    value = float(array)
    if array.dtype == np.float64 or not np.isfinite(value):
        return value
    for digits in range(1, 17):
        short = float(f"{value:.{digits}g}")
        if np.array(short, array.dtype) == array:
            return short
    return value


def _bits(array: np.ndarray) -> tuple[Any, ...]:
    return array.dtype.name, array.shape, np.ascontiguousarray(array).tobytes()


def _digest(array: np.ndarray) -> str:
    """The name of an array in the `.npz` file: a digest of its bits."""
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    words = f"{array.dtype.name} {array.shape} ".encode()
    return hashlib.sha256(words + np.ascontiguousarray(little).tobytes()).hexdigest()[:16]


def _stored_as(dtype: np.dtype) -> np.dtype:
    """The dtype that an array is stored with: NumPy's files know no bfloat16."""
    return np.dtype(np.uint16) if dtype.name == "bfloat16" else dtype


def arrays_to_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """An `.npz` file of arrays; the same arrays give the same bytes."""
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **dict(sorted(arrays.items())))
    return file.getvalue()


def arrays_of_bytes(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file, as they are stored.

    Raises:
        ValueError: it is no such file, or holds what is no array of numbers.
    """
    if not content.startswith(b"PK"):
        raise ValueError("no .npz file")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except _UNREADABLE as error:
        raise ValueError(f"no .npz file of arrays ({error})") from None


# What a damaged file raises.
_UNREADABLE = (
    *(ValueError, OSError, EOFError, KeyError, SyntaxError, MemoryError),
    *(OverflowError, NotImplementedError, struct.error, zipfile.BadZipFile, zlib.error),
)
