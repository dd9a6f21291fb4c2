"""Bijectors of vectors: ordered, on the simplex, of sum 0, on the sphere."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ._bijectors import Reshaping
from .numerics import softplus


class _SameShape(Reshaping):
    """Common to the bijectors of vectors whose free coordinates are as many."""

    def __init__(self, parameters: dict[str, Any]):
        super().__init__(parameters, free_ndims=1, model_ndims=1)

    def _model_shape(self, free_shape: tuple[int, ...]) -> tuple[int, ...]:
        return free_shape

    def _free_shape(self, model_shape: tuple[int, ...]) -> tuple[int, ...]:
        return model_shape


def _cumulate(steps: Array) -> Array:
    """Cumulative sums along the last axis that never decrease after the first.

    A parallel sum may round the k-th partial sum above the next.
    """
    sums = jnp.cumsum(steps, axis=-1)
    highest = jax.lax.cummax(jax.lax.stop_gradient(sums), axis=sums.ndim - 1)
    return sums + jax.lax.stop_gradient(jnp.where(highest > sums, highest - sums, 0))


class Ordered(_SameShape):
    """x₁ = y₁, xₖ = xₖ₋₁ + exp(yₖ)."""

    def __init__(self, name: str = "ordered_vector"):
        parameters = dict(locals())
        super().__init__(parameters)

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        first, rest = x[..., :1], x[..., 1:]
        steps = jnp.concatenate([first, jnp.exp(rest)], axis=-1)
        return _cumulate(steps), jnp.sum(rest, axis=-1)

    def _inverse(self, y: Array) -> Array:
        return jnp.concatenate([y[..., :1], jnp.log(jnp.diff(y, axis=-1))], axis=-1)


class PositiveOrdered(_SameShape):
    """xₖ = xₖ₋₁ + exp(yₖ), from x₀ = 0."""

    def __init__(self, name: str = "positive_ordered_vector"):
        parameters = dict(locals())
        super().__init__(parameters)

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        return _cumulate(jnp.exp(x)), jnp.sum(x, axis=-1)

    def _inverse(self, y: Array) -> Array:
        steps = jnp.concatenate([y[..., :1], jnp.diff(y, axis=-1)], axis=-1)
        return jnp.log(steps)


class Sphere(_SameShape):
    """y/‖y‖, with −½‖y‖² in place of the log-det: an auxiliary density of the radius."""

    def __init__(self, name: str = "sphere"):
        parameters = dict(locals())
        super().__init__(parameters)

    def _free_shape(self, model_shape: tuple[int, ...]) -> tuple[int, ...]:
        if model_shape[-1] == 0:
            raise ValueError(f"{self.name}: a unit vector has at least one entry")
        return model_shape

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        # Scaled, so that the square of no entry overflows or underflows; the scale
        # cancels, hence no gradient goes through it.
        largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1, keepdims=True))
        scaled = x / largest
        length = jnp.sqrt(jnp.sum(scaled * scaled, axis=-1, keepdims=True))
        return scaled / length, -0.5 * jnp.sum(x * x, axis=-1)

    def _inverse(self, y: Array) -> Array:
        self._free_shape(y.shape)
        return y


class Circular(Reshaping):
    """The angle of the vector (y₁, y₂), with −½‖y‖² in place of the log-det."""

    def __init__(self, name: str = "circular"):
        parameters = dict(locals())
        super().__init__(parameters, free_ndims=1, model_ndims=0)

    def _model_shape(self, free_shape: tuple[int, ...]) -> tuple[int, ...]:
        if free_shape[-1] != 2:
            raise ValueError(
                f"{self.name}: the last free axis has 2 coordinates, got {free_shape}"
            )
        return free_shape[:-1]

    def _free_shape(self, model_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*model_shape, 2)

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        self._model_shape(x.shape)
        angle = jnp.arctan2(x[..., 1], x[..., 0])
        # (−1, −0.0) is −π to arctan2, the same angle as π
        angle = angle + jnp.where(angle <= -math.pi, 2 * math.pi, 0)
        undefined = jnp.all(x == 0, axis=-1)
        angle = jnp.where(undefined, jnp.nan, angle)
        return angle, -0.5 * jnp.sum(x * x, axis=-1)

    def _inverse(self, y: Array) -> Array:
        # π rounds up in float32, to an angle whose sine is negative
        sine = jnp.where(y == jnp.asarray(math.pi, y.dtype), 0, jnp.sin(y))
        return jnp.stack([jnp.cos(y), sine], axis=-1)


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


class _AlongAxis(Reshaping):
    """Common to maps along one axis, counted from the end, that lose one coordinate.

    The free array has that axis last, so that its coordinates follow one another as in
    Stan: a column-stochastic matrix is read column by column.
    """

    axis: int

    def __init__(self, parameters: dict[str, Any]):
        ndims = -parameters["axis"]
        super().__init__(parameters, free_ndims=ndims, model_ndims=ndims)

    def _model_shape(self, free_shape: tuple[int, ...]) -> tuple[int, ...]:
        rest, size = free_shape[:-1], free_shape[-1]
        place = len(free_shape) + self.axis
        return (*rest[:place], size + 1, *rest[place:])

    def _free_shape(self, model_shape: tuple[int, ...]) -> tuple[int, ...]:
        place = len(model_shape) + self.axis
        size = model_shape[place]
        if size == 0:
            raise ValueError(
                f"{self.name}: axis {self.axis} of shape {model_shape} is empty; it "
                "needs at least one entry"
            )
        return (*model_shape[:place], *model_shape[place + 1 :], size - 1)

    def _over_event(self, log_det: Array) -> Array:
        """Sum a log-det with one entry a vector over the vectors of an event."""
        others = range(log_det.ndim + self.axis + 1, log_det.ndim)
        return jnp.sum(log_det, axis=tuple(others))


def _ilr(y: Array) -> tuple[Array, Array]:
    """Softmax of an isometric zero-sum vector, and its log-det in the first K−1 parts."""
    z = zero_sum_forward(y)
    top = jax.lax.stop_gradient(jnp.max(z, axis=-1, keepdims=True))
    e = jnp.exp(z - top)
    total = jnp.sum(e, axis=-1, keepdims=True)
    size = z.shape[-1]
    # Σ log xᵢ = Σ zᵢ − K log Σ exp zᵢ, and the z sum to 0
    log_det = 0.5 * math.log(size) - size * (top + jnp.log(total))
    return e / total, log_det[..., 0]


def _stick_breaking(y: Array) -> tuple[Array, Array]:
    size = y.shape[-1] + 1
    offset = jnp.asarray(np.log(np.arange(size - 1, 0, -1.0)), y.dtype)
    minus_log_rest, log_part = softplus(y - offset)  # −log(1 − z) and log z
    zero = jnp.zeros_like(y, shape=(*y.shape[:-1], 1))
    log_stick = jnp.concatenate([zero, -jnp.cumsum(minus_log_rest, axis=-1)], axis=-1)
    log_x = log_stick + jnp.concatenate([log_part, zero], axis=-1)
    # Σₖ log stickₖ + log zₖ + log(1 − zₖ): the last remainder is the last part
    return jnp.exp(log_x), jnp.sum(log_x, axis=-1)


def _stick_breaking_inverse(x: Array) -> Array:
    size = x.shape[-1]
    offset = jnp.asarray(np.log(np.arange(size - 1, 0, -1.0)), x.dtype)
    # what is left of the stick, summed from its end: 1 − Σx would cancel
    rest = jax.lax.cumsum(x, axis=x.ndim - 1, reverse=True)[..., 1:]
    return jnp.log(x[..., :-1]) - jnp.log(rest) + offset


class Simplex(_AlongAxis):
    """Vectors of positive parts that sum to 1 along an axis."""

    def __init__(self, axis: int = -1, via: str = "ilr", name: str = "simplex"):
        parameters = dict(locals())
        self.axis = axis
        self.via = via
        super().__init__(parameters)

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        parts, log_det = _ilr(x) if self.via == "ilr" else _stick_breaking(x)
        return jnp.moveaxis(parts, -1, self.axis), self._over_event(log_det)

    def _inverse(self, y: Array) -> Array:
        self._free_shape(y.shape)
        parts = jnp.moveaxis(y, self.axis, -1)
        if self.via != "ilr":
            return _stick_breaking_inverse(parts)
        log = jnp.log(parts)
        return zero_sum_inverse(log - jnp.mean(log, axis=-1, keepdims=True))


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
