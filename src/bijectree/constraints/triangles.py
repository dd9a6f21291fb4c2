"""Triangles of matrices, filled from vectors and read back.

A matrix is one event. Its free coordinates are a vector, in Stan's order: row by row,
but column by column for the correlation matrix.
"""

import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .reshaping import Reshaping


class _SquareFromTriangle(Reshaping):
    """A base of maps from the entries of a triangle to square matrices."""

    has_diagonal: ClassVar[bool]

    def __init__(self, parameters: dict[str, Any]):
        super().__init__(parameters, free_ndims=1, model_ndims=2)

    def _size(self, n: int) -> int:
        return _triangle_size(n, self.name, diagonal=self.has_diagonal)

    def _model_shape(self, free_shape: tuple[int, ...]) -> tuple[int, ...]:
        size = self._size(free_shape[-1])
        return (*free_shape[:-1], size, size)

    def _free_shape(self, model_shape: tuple[int, ...]) -> tuple[int, ...]:
        size = _square(model_shape, self.name)
        n = size * (size + 1) // 2 if self.has_diagonal else size * (size - 1) // 2
        return (*model_shape[:-2], n)


def _fill(free: Array, index: np.ndarray) -> Array:
    """Put a vector's entries where `index` says; −1 stands for 0."""
    zero = jnp.zeros_like(free, shape=(*free.shape[:-1], 1))
    padded = jnp.concatenate([free, zero], axis=-1)
    places = np.where(index < 0, free.shape[-1], index).ravel()
    entries = padded.at[..., places].get(mode="promise_in_bounds")
    return entries.reshape(*free.shape[:-1], *index.shape)


def _entries(matrix: Array, rows: np.ndarray, columns: np.ndarray) -> Array:
    flat = matrix.reshape(*matrix.shape[:-2], matrix.shape[-2] * matrix.shape[-1])
    return flat.at[..., rows * matrix.shape[-1] + columns].get(mode="promise_in_bounds")


def _index(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The position of each entry of a matrix in the free vector; −1 where it is 0."""
    index = np.full(shape, -1)
    index[rows, columns] = np.arange(rows.size)
    return index


def _triangle_size(n: int, name: str, *, diagonal: bool) -> int:
    """The K whose triangle has `n` entries, with its diagonal or without."""
    root = math.isqrt(8 * n + 1)
    if root * root != 8 * n + 1:
        form = "K(K + 1)/2" if diagonal else "K(K − 1)/2"
        raise ValueError(f"{name}: {n} free coordinates are not {form} for any K")
    return (root - 1) // 2 if diagonal else (root + 1) // 2


def _square(shape: tuple[int, ...], name: str) -> int:
    rows, columns = shape[-2:]
    if rows != columns or rows == 0:
        raise ValueError(
            f"{name}: needs a square matrix in the last two axes, at least 1 × 1; "
            f"got shape {shape}"
        )
    return rows


@jax.default_matmul_precision("highest")
def _lower_times_transpose(factor: Array) -> Array:
    """L Lᵀ, symmetric to the last bit."""
    product = factor @ jnp.swapaxes(factor, -1, -2)
    lower = jnp.tril(product)
    return lower + jnp.swapaxes(jnp.tril(product, -1), -1, -2)
