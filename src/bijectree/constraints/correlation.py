"""Correlation matrices and their Cholesky factors."""

import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..numerics import hyperbolic
from ..substrate import tfb
from . import sets
from .arguments import _one_of
from .facts import MapOntoSet, known
from .triangles import (
    _entries,
    _fill,
    _index,
    _lower_times_transpose,
    _square,
    _SquareFromTriangle,
)


def _hypotenuse(a: Array, b: Array) -> Array:
    """√(a² + b²) without overflow or underflow; its derivative is 0 where both are 0.

    The derivative of `jnp.hypot` is NaN there, as above the diagonal of a factor.
    """
    largest = jax.lax.stop_gradient(jnp.maximum(jnp.abs(a), jnp.abs(b)))
    zero = largest == 0
    scale = jnp.where(zero, 1, largest)
    a, b = a / scale, b / scale
    return scale * jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, a * a + b * b)))


class _Correlation(_SquareFromTriangle):
    """A base of the correlation bijectors: partial correlations z(y), tanh y by default.

    Entry (i, j) of the Cholesky factor is zᵢⱼ · Πₗ √(1 − zᵢₗ²) over l < j, and the
    diagonal is the product alone, which is kept as a sum of logarithms (of cosh y for
    tanh y): that neither cancels nor underflows; 1 − Σx² is formed nowhere.
    """

    has_diagonal = False

    def _rows_and_columns(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """The row and the column of each free coordinate, row by row."""
        return np.tril_indices(size, -1)

    def _partial(self, free: Array) -> tuple[Array, Array]:
        """The partial correlations z, and −½ log(1 − z²)."""
        tanh, log_cosh, _ = hyperbolic(free)
        return tanh, log_cosh

    def _free_of(self, entry: Array, after: Array) -> Array:
        """The coordinate of z, which is to √(1 − z²) as an entry to the norm after it."""
        return jnp.arcsinh(entry / after)

    def _parts(self, free: Array) -> tuple[Array, Array, Array]:
        """The partial correlations and the log-remainders as matrices; −½ log(1 − z²)."""
        size = self._size(free.shape[-1])
        index = _index(*self._rows_and_columns(size), (size, size))
        partial, log_cosh = self._partial(free)
        # The sum over l < j: the terms are shifted first, since subtracting the last one
        # from the sum over l ≤ j would cancel.
        steps = _fill(log_cosh, np.pad(index, ((0, 0), (1, 0)), constant_values=-1))
        log_remainder = -jnp.cumsum(steps[..., :-1], axis=-1)
        return _fill(partial, index), log_remainder, log_cosh

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
        norm = jax.lax.associative_scan(
            _hypotenuse, jnp.abs(factor), reverse=True, axis=factor.ndim - 1
        )
        zero = jnp.zeros_like(factor[..., :1])
        after = jnp.concatenate([norm[..., 1:], zero], axis=-1)
        indices = self._rows_and_columns(factor.shape[-1])
        return self._free_of(_entries(factor, *indices), _entries(after, *indices))


@known(MapOntoSet(lambda b: sets.CORR_CHOLESKY))
class CorrCholesky(_Correlation):
    """Cholesky factors of correlation matrices."""

    def __init__(self, name: str = "corr_cholesky"):
        parameters = dict(locals())
        super().__init__(parameters)

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        tanh, log_remainder, log_cosh = self._parts(x)
        size = tanh.shape[-1]
        eye = jnp.eye(size, dtype=x.dtype)
        rows, columns = self._rows_and_columns(size)
        weight = jnp.asarray(-(rows - columns + 1.0), x.dtype)
        log_det = jnp.sum(weight * log_cosh, axis=-1)
        return (tanh + eye) * jnp.exp(log_remainder), log_det

    def _inverse(self, y: Array) -> Array:
        _square(y.shape, self.name)
        return self._from_cholesky(y)


@known(MapOntoSet(lambda b: sets.CORR_CHOLESKY))
class CorrCholeskyByAngles(_Correlation):
    """Cholesky factors of correlation matrices, by the angles of their rows.

    The partial correlation is cos θ = sin(½π tanh ½y) for the angle θ = π σ(−y).
    """

    def __init__(self, via: str = "spherical", name: str = "corr_cholesky"):
        parameters = dict(locals())
        super().__init__(parameters)

    def _partial(self, free: Array) -> tuple[Array, Array]:
        tanh, _, tail = hyperbolic(0.5 * free)
        near = jnp.abs(free) < 1
        # The logarithm of sin θ: from cos θ where θ is near ½π, else from θ = π·tail,
        # which sin θ is to rounding where that is small. In float16 1e-9 is 0.
        small = tail < max(1e-9, float(jnp.finfo(free.dtype).tiny))
        cosine = jnp.sin(0.5 * math.pi * tanh)
        from_middle = -0.5 * jnp.log1p(-jnp.square(jnp.where(near, cosine, 0)))
        angle = math.pi * jnp.where(near | small, 0.25, tail)
        log_ratio = jnp.where(small, 0, jnp.log(jnp.sin(angle)) - jnp.log(angle))
        log_tail = -jnp.abs(free) - jnp.log1p(jnp.exp(-jnp.abs(free)))
        from_end = -(math.log(math.pi) + log_tail + log_ratio)
        cosine = jnp.where(near, cosine, jnp.sign(free) * jnp.cos(math.pi * tail))
        return cosine, jnp.where(near, from_middle, from_end)

    def _free_of(self, entry: Array, after: Array) -> Array:
        across, angle = jnp.arctan2(entry, after), jnp.arctan2(after, jnp.abs(entry))
        near = angle > 0.25 * math.pi
        from_middle = 2 * jnp.arctanh(jnp.where(near, across, 0) * (2 / math.pi))
        from_end = jnp.log(math.pi - angle) - jnp.log(angle)
        return jnp.where(near, from_middle, jnp.sign(entry) * from_end)

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        cosine, log_remainder, minus_log_sine = self._parts(x)
        size = cosine.shape[-1]
        rows, columns = self._rows_and_columns(size)
        weight = jnp.asarray(-(rows - columns + 0.0), x.dtype)
        _, log_cosh, _ = hyperbolic(0.5 * x)
        # The derivative of θ is −π σ(y)σ(−y).
        log_slope = math.log(0.25 * math.pi) - 2 * log_cosh
        log_det = jnp.sum(weight * minus_log_sine + log_slope, axis=-1)
        eye = jnp.eye(size, dtype=x.dtype)
        return (cosine + eye) * jnp.exp(log_remainder), log_det

    def _inverse(self, y: Array) -> Array:
        _square(y.shape, self.name)
        return self._from_cholesky(y)


@known(MapOntoSet(lambda b: sets.CORR_MATRIX))
class CorrMatrix(_Correlation):
    """Correlation matrices."""

    def __init__(self, name: str = "corr_matrix"):
        parameters = dict(locals())
        super().__init__(parameters)

    def _rows_and_columns(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        columns, rows = np.triu_indices(size, 1)
        return rows, columns

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        tanh, log_remainder, log_cosh = self._parts(x)
        size = tanh.shape[-1]
        eye = jnp.eye(size, dtype=x.dtype)
        matrix = _lower_times_transpose((tanh + eye) * jnp.exp(log_remainder))
        _, columns = self._rows_and_columns(size)
        weight = jnp.asarray(columns - float(size), x.dtype)
        log_det = jnp.sum(weight * log_cosh, axis=-1)
        return jnp.where(eye == 1, eye, matrix), log_det

    def _inverse(self, y: Array) -> Array:
        _square(y.shape, self.name)
        return self._from_cholesky(jnp.linalg.cholesky(y, symmetrize_input=False))


def corr_cholesky(*, via: Literal["tanh", "spherical"] = "tanh") -> tfb.Bijector:
    """Cholesky factors of K × K correlation matrices, from K(K − 1)/2 coordinates.

    With partial correlations tanh yᵢⱼ below the diagonal, row by row,
    Lᵢⱼ = tanh yᵢⱼ·Πₗ sech yᵢₗ over l < j, and Lᵢᵢ is the product alone. The log-det in
    the entries below the diagonal is −Σ (i − j + 1) log cosh yᵢⱼ. What is left of a
    row is a sum of log cosh, so nothing cancels or underflows before the entry itself;
    the bijector's method `log_diagonal(free)` gives log Lᵢᵢ, finite everywhere.

    Args:
        via: `"spherical"` for the angles of each row, θᵢⱼ = π σ(−yᵢⱼ): the partial
            correlation is cos θᵢⱼ, its remainder sin θᵢⱼ, and the log-det is
            Σ (i − j) log sin θᵢⱼ + log π σ(yᵢⱼ)σ(−yᵢⱼ).

    Returns:
        A bijector of the last two axes; the free coordinates are the last axis.
        Source: Stan, "Cholesky factors of correlation matrices"; Lewandowski,
        Kurowicka and Joe 2009, Journal of Multivariate Analysis 100. Of the angles:
        Pinheiro and Bates 1996, Statistics and Computing 6, section 2.3.

    Raises:
        ValueError: `via` is neither; on use, a matrix that is not square or empty, or a
            number of coordinates that is not K(K − 1)/2.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> print(bt.corr_cholesky().forward(jnp.zeros(1)))
        [[1. 0.]
         [0. 1.]]
    """
    _one_of(via, "via", ("tanh", "spherical"))
    return CorrCholeskyByAngles() if via == "spherical" else CorrCholesky()


def corr_matrix() -> tfb.Bijector:
    """K × K correlation matrices, from K(K − 1)/2 free coordinates.

    L Lᵀ for the L of `corr_cholesky`, with the coordinates column by column as in
    Stan. The log-det in the entries below the diagonal is −Σ (K − j) log cosh yᵢⱼ, j
    from 0. The inverse needs a Cholesky factorisation, which fails for matrices that
    are singular to rounding: where partial correlations near ±1 are likely, keep the
    Cholesky factor as the parameter, or use the methods `cholesky(free)` and
    `log_diagonal(free)`, which are exact where the matrix is not.

    Returns:
        A bijector of the last two axes; the free coordinates are the last axis.
        Source: Stan, "Correlation matrices"; Lewandowski, Kurowicka and Joe 2009.

    Raises:
        ValueError: on use, a matrix that is not square or empty, or a number of
            coordinates that is not K(K − 1)/2.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> print(bt.corr_matrix().inverse(jnp.eye(3)))
        [0. 0. 0.]
    """
    return CorrMatrix()
