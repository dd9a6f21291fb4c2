"""Bijectors of matrices: correlations, covariances and their Cholesky factors.

A matrix is one event. Its free coordinates are a vector, in Stan's order: row by row,
but column by column for the correlation matrix.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ._bijectors import Reshaping
from .numerics import LOG_2, hyperbolic


def _fill(free: Array, index: np.ndarray) -> Array:
    """Put a vector's entries where `index` says; −1 stands for 0."""
    zero = jnp.zeros_like(free, shape=(*free.shape[:-1], 1))
    padded = jnp.concatenate([free, zero], axis=-1)
    places = np.where(index < 0, free.shape[-1], index).ravel()
    entries = padded.at[..., places].get(mode="promise_in_bounds")
    return entries.reshape(*free.shape[:-1], *index.shape)


def _pick(matrix: Array, rows: np.ndarray, columns: np.ndarray) -> Array:
    flat = matrix.reshape(*matrix.shape[:-2], matrix.shape[-2] * matrix.shape[-1])
    return flat.at[..., rows * matrix.shape[-1] + columns].get(mode="promise_in_bounds")


def _index(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Where each entry of a matrix is found in the vector of its free coordinates."""
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


class _Correlation(Reshaping):
    """Common to the two correlation bijectors: partial correlations tanh y.

    Entry (i, j) of the Cholesky factor is tanh yᵢⱼ · Πₗ sech yᵢₗ over l < j, and the
    diagonal is the product alone. It is kept as a sum of log cosh, which neither
    cancels nor underflows; 1 − Σx² is formed nowhere.
    """

    def __init__(self, parameters: dict[str, Any]):
        super().__init__(parameters, free_ndims=1, model_ndims=2)

    def _places(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """The row and the column of each free coordinate, row by row."""
        return np.tril_indices(size, -1)

    def _size(self, n: int) -> int:
        return _triangle_size(n, self.name, diagonal=False)

    def _model_shape(self, free_shape: tuple[int, ...]) -> tuple[int, ...]:
        size = self._size(free_shape[-1])
        return (*free_shape[:-1], size, size)

    def _free_shape(self, model_shape: tuple[int, ...]) -> tuple[int, ...]:
        size = _square(model_shape, self.name)
        return (*model_shape[:-2], size * (size - 1) // 2)

    def _parts(self, free: Array) -> tuple[Array, Array, Array]:
        """The partial correlations and the log-remainders as matrices; log cosh y."""
        size = self._size(free.shape[-1])
        index = _index(*self._places(size), (size, size))
        tanh, log_cosh, _ = hyperbolic(free)
        # the sum over l < j: shifted first, since subtracting the last would cancel
        steps = _fill(log_cosh, np.pad(index, ((0, 0), (1, 0)), constant_values=-1))
        log_remainder = -jnp.cumsum(steps[..., :-1], axis=-1)
        return _fill(tanh, index), log_remainder, log_cosh

    def cholesky(self, free: Array) -> Array:
        """The Cholesky factor of the correlation matrix, exact where L Lᵀ is not."""
        tanh, log_remainder, _ = self._parts(free)
        eye = jnp.eye(tanh.shape[-1], dtype=tanh.dtype)
        return (tanh + eye) * jnp.exp(log_remainder)

    def log_diagonal(self, free: Array) -> Array:
        """The log of the Cholesky factor's diagonal, without cancellation."""
        return jnp.diagonal(self._parts(free)[1], axis1=-2, axis2=-1)

    def _from_cholesky(self, factor: Array) -> Array:
        """The free coordinates of a Cholesky factor with rows of norm 1."""
        # sinh yᵢⱼ is xᵢⱼ over the norm of what follows it in the row
        norm = jax.lax.associative_scan(
            jnp.hypot, jnp.abs(factor), reverse=True, axis=factor.ndim - 1
        )
        zero = jnp.zeros_like(factor[..., :1])
        after = jnp.concatenate([norm[..., 1:], zero], axis=-1)
        places = self._places(factor.shape[-1])
        return jnp.arcsinh(_pick(factor, *places) / _pick(after, *places))


class CorrCholesky(_Correlation):
    """Cholesky factors of correlation matrices."""

    def __init__(self, name: str = "corr_cholesky"):
        parameters = dict(locals())
        super().__init__(parameters)

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        tanh, log_remainder, log_cosh = self._parts(x)
        size = tanh.shape[-1]
        eye = jnp.eye(size, dtype=x.dtype)
        rows, columns = self._places(size)
        weight = jnp.asarray(-(rows - columns + 1.0), x.dtype)
        log_det = jnp.sum(weight * log_cosh, axis=-1)
        return (tanh + eye) * jnp.exp(log_remainder), log_det

    def _inverse(self, y: Array) -> Array:
        _square(y.shape, self.name)
        return self._from_cholesky(y)


class CorrMatrix(_Correlation):
    """Correlation matrices."""

    def __init__(self, name: str = "corr_matrix"):
        parameters = dict(locals())
        super().__init__(parameters)

    def _places(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        columns, rows = np.triu_indices(size, 1)
        return rows, columns

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        tanh, log_remainder, log_cosh = self._parts(x)
        size = tanh.shape[-1]
        eye = jnp.eye(size, dtype=x.dtype)
        matrix = _lower_times_transpose((tanh + eye) * jnp.exp(log_remainder))
        _, columns = self._places(size)
        weight = jnp.asarray(columns - float(size), x.dtype)
        log_det = jnp.sum(weight * log_cosh, axis=-1)
        return jnp.where(eye == 1, eye, matrix), log_det

    def _inverse(self, y: Array) -> Array:
        _square(y.shape, self.name)
        return self._from_cholesky(jnp.linalg.cholesky(y, symmetrize_input=False))


class LowerCholesky(Reshaping):
    """Lower triangular matrices with a positive diagonal, square or tall."""

    def __init__(
        self, shape: tuple[int, int] | None = None, name: str = "lower_cholesky"
    ):
        parameters = dict(locals())
        self.shape = shape
        super().__init__(parameters, free_ndims=1, model_ndims=2)

    def _matrix_shape(self, n: int) -> tuple[int, int]:
        if self.shape is None:
            size = _triangle_size(n, self.name, diagonal=True)
            return size, size
        rows, columns = self.shape
        if n != rows * columns - columns * (columns - 1) // 2:
            raise ValueError(
                f"{self.name}: {n} free coordinates do not fill shape {rows, columns}"
            )
        return rows, columns

    def _model_shape(self, free_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*free_shape[:-1], *self._matrix_shape(free_shape[-1]))

    def _free_shape(self, model_shape: tuple[int, ...]) -> tuple[int, ...]:
        rows, columns = model_shape[-2:]
        if self.shape is None:
            _square(model_shape, self.name)
        elif (rows, columns) != tuple(self.shape):
            raise ValueError(
                f"{self.name}: made for shape {tuple(self.shape)}, got {model_shape}"
            )
        return (*model_shape[:-2], rows * columns - columns * (columns - 1) // 2)

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        shape = self._matrix_shape(x.shape[-1])
        factor, log_diagonal = _exp_diagonal(x, shape)
        return factor, jnp.sum(log_diagonal, axis=-1)

    def _inverse(self, y: Array) -> Array:
        self._free_shape(y.shape)
        return _log_diagonal(y)


def _exp_diagonal(free: Array, shape: tuple[int, int]) -> tuple[Array, Array]:
    """Fill a lower triangle row by row; its diagonal through exp, and before it."""
    matrix = _fill(free, _index(*np.tril_indices(shape[0], 0, shape[1]), shape))
    on_diagonal = np.eye(*shape, dtype=bool)
    diagonal = jnp.diagonal(matrix, axis1=-2, axis2=-1)
    factor = jnp.where(on_diagonal, jnp.exp(jnp.where(on_diagonal, matrix, 0)), matrix)
    return factor, diagonal


def _log_diagonal(factor: Array) -> Array:
    """The inverse of `_exp_diagonal`; blind to what lies above the diagonal."""
    rows, columns = np.tril_indices(factor.shape[-2], 0, factor.shape[-1])
    entries = _pick(factor, rows, columns)
    on_diagonal = rows == columns
    return jnp.where(on_diagonal, jnp.log(jnp.where(on_diagonal, entries, 1)), entries)


class PositiveDefinite(Reshaping):
    """Symmetric positive definite matrices, through their Cholesky factor."""

    def __init__(self, name: str = "positive_definite"):
        parameters = dict(locals())
        super().__init__(parameters, free_ndims=1, model_ndims=2)

    def _size(self, n: int) -> int:
        return _triangle_size(n, self.name, diagonal=True)

    def _model_shape(self, free_shape: tuple[int, ...]) -> tuple[int, ...]:
        size = self._size(free_shape[-1])
        return (*free_shape[:-1], size, size)

    def _free_shape(self, model_shape: tuple[int, ...]) -> tuple[int, ...]:
        size = _square(model_shape, self.name)
        return (*model_shape[:-2], size * (size + 1) // 2)

    def cholesky(self, free: Array) -> Array:
        """The Cholesky factor of the matrix."""
        size = self._size(free.shape[-1])
        return _exp_diagonal(free, (size, size))[0]

    def log_diagonal(self, free: Array) -> Array:
        """The log of the Cholesky factor's diagonal."""
        size = self._size(free.shape[-1])
        return _exp_diagonal(free, (size, size))[1]

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        size = self._size(x.shape[-1])
        factor, log_diagonal = _exp_diagonal(x, (size, size))
        weight = jnp.asarray(np.arange(size + 1.0, 1.0, -1.0), x.dtype)
        log_det = size * LOG_2 + jnp.sum(weight * log_diagonal, axis=-1)
        # where exp overflows, L has inf beside zeros, whose product would be NaN
        factor = jnp.minimum(factor, jnp.finfo(x.dtype).max)
        return _lower_times_transpose(factor), log_det

    def _inverse(self, y: Array) -> Array:
        _square(y.shape, self.name)
        return _log_diagonal(jnp.linalg.cholesky(y, symmetrize_input=False))
