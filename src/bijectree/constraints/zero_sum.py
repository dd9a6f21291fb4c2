"""Numbers that sum to 0."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..substrate import tfb
from . import sets
from .arguments import _axis_from_end
from .facts import MapOntoSet, known
from .reshaping import Reshaping, _AlongAxis


def _contrast_scale(n: int, x: Array) -> tuple[Array, Array]:
    """The indices 1 … n and √(k(k + 1)), in the dtype of `x`."""
    k = np.arange(1.0, n + 1)
    return jnp.asarray(k, x.dtype), jnp.asarray(np.sqrt(k * (k + 1)), x.dtype)


def zero_sum_forward(y: Array) -> Array:
    """Map n coordinates to n + 1 numbers of sum 0, along the last axis, isometric."""
    index, scale = _contrast_scale(y.shape[-1], y)
    w = y / scale
    after = jax.lax.cumsum(w, axis=w.ndim - 1, reverse=True)
    zero = jnp.zeros_like(y, shape=(*y.shape[:-1], 1))
    return jnp.concatenate([after, zero], axis=-1) - jnp.concatenate(
        [zero, index * w], axis=-1
    )


def zero_sum_inverse(z: Array) -> Array:
    """The inverse of `zero_sum_forward`; blind to a constant added to `z`."""
    index, scale = _contrast_scale(z.shape[-1] - 1, z)
    before = jnp.cumsum(z[..., :-1], axis=-1)
    return (before - index * z[..., 1:]) / scale


@known(MapOntoSet(lambda b: sets.zero_sum_along((b.axis,))))
class ZeroSum(_AlongAxis):
    """Vectors of sum 0 along an axis, from orthonormal coordinates."""

    def __init__(self, axis: int = -1, name: str = "zero_sum"):
        parameters = dict(locals())
        self.axis = axis
        super().__init__(parameters)

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        log_det = self._over_event(jnp.zeros_like(x, shape=x.shape[:-1]))
        return jnp.moveaxis(zero_sum_forward(x), -1, self.axis), log_det

    def _inverse(self, y: Array) -> Array:
        self._free_shape(y.shape)
        return zero_sum_inverse(jnp.moveaxis(y, self.axis, -1))


@known(MapOntoSet(lambda b: sets.zero_sum_along((-2, -1))))
class ZeroSumMatrix(Reshaping):
    """Matrices whose rows and columns all sum to 0.

    The free matrix is transposed: Stan reads its coordinates column by column. Stan's
    map along each axis is minus that of vectors, with the first entry put last.
    """

    def __init__(self, name: str = "zero_sum"):
        parameters = dict(locals())
        super().__init__(parameters, free_ndims=2, model_ndims=2)

    def _model_shape(self, free_shape: tuple[int, ...]) -> tuple[int, ...]:
        *batch, columns, rows = free_shape
        return (*batch, rows + 1, columns + 1)

    def _free_shape(self, model_shape: tuple[int, ...]) -> tuple[int, ...]:
        *batch, rows, columns = model_shape
        if rows == 0 or columns == 0:
            raise ValueError(f"{self.name}: a matrix of shape {model_shape} is empty")
        return (*batch, columns - 1, rows - 1)

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        columns = jnp.roll(zero_sum_forward(x), -1, axis=-1)
        matrix = jnp.roll(zero_sum_forward(jnp.swapaxes(columns, -1, -2)), -1, axis=-1)
        return matrix, jnp.zeros_like(x, shape=x.shape[:-2])

    def _inverse(self, y: Array) -> Array:
        self._free_shape(y.shape)
        columns = jnp.swapaxes(zero_sum_inverse(jnp.roll(y, 1, axis=-1)), -1, -2)
        return zero_sum_inverse(jnp.roll(columns, 1, axis=-1))


def zero_sum(*, axis: int | tuple[int, int] = -1) -> tfb.Bijector:
    """Vectors of N numbers that sum to 0, from N − 1 orthonormal free coordinates.

    With wₖ = yₖ/√(k(k + 1)): xₖ = Σ wᵢ over i ≥ k, less (k − 1)wₖ₋₁. The log-det is 0:
    the measure is that of the hyperplane itself, as in Stan.

    Args:
        axis: the axis that sums to 0, counted from the end (in the free array it is
            last); or `(-2, -1)` for (N, M) matrices whose rows and columns all sum to
            0, with the free shape (M − 1, N − 1): Stan's order, column by column. Along
            each axis of a matrix Stan takes (k·wₖ − Σ wᵢ over i > k), the total −Σ wᵢ
            last.

    Returns:
        A bijector of the axes from `axis` on; those before are batches. Source: Stan,
        "Zero sum vector" and "Zero sum matrix".

    Raises:
        ValueError: `axis` is neither of these; on use, an empty axis.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> print(bt.zero_sum().inverse(jnp.array([0.0, 0.0])))
        [0.]
    """
    if isinstance(axis, (tuple, list)):
        if sorted(axis) != [-2, -1]:
            raise ValueError(f"axis must be one axis or (-2, -1), got {axis!r}")
        return ZeroSumMatrix()
    _axis_from_end(axis)
    return ZeroSum(axis)
