"""Gather and scatter of windows in NumPy, as XLA defines them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.lax import GatherScatterMode


def gather(params: dict[str, Any], x: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """XLA's Gather: windows of an array, some of which may start outside."""
    numbers, sizes = params["dimension_numbers"], params["slice_sizes"]
    batch = indices.ndim - 1
    places, inside = _window_indices(
        x.shape,
        indices,
        numbers.start_index_map,
        numbers.operand_batching_dims,
        numbers.start_indices_batching_dims,
        sizes,
    )
    found = x[places]
    if _fills(params["mode"]):
        found = np.where(_expand(inside, x.ndim), found, _fill(params, x.dtype))
    dropped = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
    found = np.squeeze(found, tuple(batch + axis for axis in dropped))
    offsets = iter(range(batch, found.ndim))
    batches = iter(range(batch))
    order = [
        next(offsets) if axis in numbers.offset_dims else next(batches)
        for axis in range(found.ndim)
    ]
    return np.transpose(found, order)


def scatter(
    params: dict[str, Any], x: np.ndarray, indices: np.ndarray, updates: np.ndarray
) -> np.ndarray:
    """XLA's Scatter: windows put into an array or added to it, if they are inside."""
    numbers = params["dimension_numbers"]
    lost = (*numbers.inserted_window_dims, *numbers.operand_batching_dims)
    windows = iter(numbers.update_window_dims)
    sizes = [
        1 if axis in lost else updates.shape[next(windows)] for axis in range(x.ndim)
    ]
    order = [i for i in range(updates.ndim) if i not in numbers.update_window_dims]
    updates = np.transpose(updates, [*order, *numbers.update_window_dims])
    updates = updates.reshape(*indices.shape[:-1], *sizes)
    places, inside = _window_indices(
        x.shape,
        indices,
        numbers.scatter_dims_to_operand_dims,
        numbers.operand_batching_dims,
        numbers.scatter_indices_batching_dims,
        sizes,
    )
    *where, values, kept = np.broadcast_arrays(
        *places, updates, _expand(inside, x.ndim) | (not _fills(params["mode"]))
    )
    at = tuple(index[kept] for index in where)
    result = x.copy()
    if params["update_jaxpr"] is None:
        result[at] = values[kept]
    else:
        np.add.at(result, at, values[kept])
    return result


def _window_indices(
    shape: Sequence[int],
    indices: np.ndarray,
    moved: Sequence[int],
    batched: Sequence[int],
    batches: Sequence[int],
    sizes: Sequence[int],
) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """The index arrays of windows that are moved to lie inside, and which needed no move.

    Args:
        shape: of the array.
        indices: where windows start; the last axis has one number for each of `moved`.
        moved: the axes along which windows start elsewhere than at 0.
        batched: axes that windows go through one by one, with `batches`.
        batches: the axis of `indices` for each of `batched`.
        sizes: of a window along each axis.
    """
    indices = indices.astype(np.int64)
    rank = len(shape)
    starts = [np.zeros(indices.shape[:-1], np.int64) for _ in shape]
    for number, axis in enumerate(moved):
        starts[axis] = indices[..., number]
    for axis, along in zip(batched, batches, strict=True):
        line = np.arange(indices.shape[along])
        line = line.reshape([-1 if i == along else 1 for i in range(indices.ndim - 1)])
        starts[axis] = np.broadcast_to(line, indices.shape[:-1])
    inside = np.ones(indices.shape[:-1], bool)
    places = []
    for axis, (start, n, size) in enumerate(zip(starts, shape, sizes, strict=True)):
        inside &= (start >= 0) & (start <= n - size)
        window = np.arange(size).reshape([-1 if i == axis else 1 for i in range(rank)])
        places.append(_expand(np.clip(start, 0, n - size), rank) + window)
    return tuple(places), inside


def _expand(x: np.ndarray, axes: int) -> np.ndarray:
    return x.reshape(*x.shape, *[1] * axes)


def _fills(mode: Any) -> bool:
    return GatherScatterMode.from_any(mode) == GatherScatterMode.FILL_OR_DROP


def _fill(params: dict[str, Any], dtype: np.dtype) -> Any:
    """What a window that lies outside holds."""
    if params["fill_value"] is not None:
        return params["fill_value"]
    if np.issubdtype(dtype, np.inexact):
        return np.nan
    if np.issubdtype(dtype, np.signedinteger):
        return np.iinfo(dtype).min
    return True if dtype.kind == "b" else np.iinfo(dtype).max
