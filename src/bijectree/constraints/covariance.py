"""Covariance matrices and their Cholesky factors."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..numerics import LOG_2
from ..substrate import tfb
from . import sets
from .facts import MapOntoSet, known
from .ranges import POSITIVE
from .reshaping import Reshaping
from .triangles import (
    _entries,
    _fill,
    _index,
    _lower_times_transpose,
    _square,
    _SquareFromTriangle,
    _triangle_size,
)


@known(MapOntoSet(lambda b: sets.triangular(sets.numbers(POSITIVE), b.shape)))
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
    matrix = _lower_triangle(free, shape)
    on_diagonal = np.eye(*shape, dtype=bool)
    diagonal = jnp.diagonal(matrix, axis1=-2, axis2=-1)
    factor = jnp.where(on_diagonal, jnp.exp(jnp.where(on_diagonal, matrix, 0)), matrix)
    return factor, diagonal


def _lower_triangle(free: Array, shape: tuple[int, int]) -> Array:
    """Fill a lower triangle row by row; its diagonal holds logarithms."""
    return _fill(free, _index(*np.tril_indices(shape[0], 0, shape[1]), shape))


def _log_diagonal(factor: Array) -> Array:
    """The inverse of `_exp_diagonal`; blind to what lies above the diagonal."""
    rows, columns = np.tril_indices(factor.shape[-2], 0, factor.shape[-1])
    entries = _entries(factor, rows, columns)
    on_diagonal = rows == columns
    return jnp.where(on_diagonal, jnp.log(jnp.where(on_diagonal, entries, 1)), entries)


@known(MapOntoSet(lambda b: sets.POSITIVE_DEFINITE))
class PositiveDefinite(_SquareFromTriangle):
    """Symmetric positive definite matrices, through their Cholesky factor."""

    has_diagonal = True

    def __init__(self, name: str = "positive_definite"):
        parameters = dict(locals())
        super().__init__(parameters)

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
        # Where exp overflows, L has inf beside zeros, whose product would be NaN.
        factor = jnp.minimum(factor, jnp.finfo(x.dtype).max)
        return _lower_times_transpose(factor), log_det

    def _inverse(self, y: Array) -> Array:
        _square(y.shape, self.name)
        return _log_diagonal(jnp.linalg.cholesky(y, symmetrize_input=False))


def lower_cholesky(*, shape: tuple[int, int] | None = None) -> tfb.Bijector:
    """Lower triangular matrices with a positive diagonal.

    The Cholesky factors of covariance matrices. The free coordinates are the entries
    row by row, those of the diagonal as logarithms; the log-det is the sum of the
    latter.

    Args:
        shape: `(M, N)` with M ≥ N ≥ 1 for tall matrices, of N(N + 1)/2 + (M − N)N
            coordinates. By default square, of any size.

    Returns:
        A bijector of the last two axes; the free coordinates are the last axis.
        Source: Stan, "Cholesky factors of covariance matrices".

    Raises:
        ValueError: `shape` is not of such numbers; on use, a matrix of another shape.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> print(bt.lower_cholesky().forward(jnp.array([0.0, 5.0, 0.0])))
        [[1. 0.]
         [5. 1.]]
    """
    if shape is not None:
        whole = len(shape) == 2 and all(isinstance(n, int) for n in shape)
        if not whole or not shape[0] >= shape[1] >= 1:
            raise ValueError(f"shape must be (M, N) with M >= N >= 1, got {shape!r}")
        shape = (shape[0], shape[1])
    return LowerCholesky(shape)


def positive_definite() -> tfb.Bijector:
    """Symmetric positive definite K × K matrices, from K(K + 1)/2 free coordinates.

    L Lᵀ for the L of `lower_cholesky`, in its order. The log-det in the lower triangle
    is K log 2 + Σ (K + 1 − i) log Lᵢᵢ, i from 0. The methods `cholesky(free)` and
    `log_diagonal(free)` are exact where the matrix is singular to rounding.

    Returns:
        A bijector of the last two axes; the free coordinates are the last axis.
        Source: Stan, "Covariance matrices".

    Raises:
        ValueError: on use, a matrix that is not square or empty, or a number of
            coordinates that is not K(K + 1)/2.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> print(bt.positive_definite().inverse(jnp.eye(2)))
        [0. 0. 0.]
    """
    return PositiveDefinite()
