"""Bijectors of numbers and vectors that TFP lacks or does inexactly."""

import abc
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ._elementary import exp, hyperbolic, softplus, softplus_inverse
from ._tfp import FusedBijector, fused, tfb


@jax.tree_util.register_pytree_node_class
class Number:
    """A bound or a scale held by a bijector, as a leaf that may change without retracing.

    TFP keeps NumPy arrays as static lists and Python floats as float32. A Python float
    becomes a float64 array whatever the setting of x64, so that it is exact on float64
    leaves; arrays and tracers are kept as they are.
    """

    __slots__ = ("value",)

    def __init__(self, value: Any):
        if isinstance(value, (bool, int, float)):
            value = np.asarray(value, np.float64)
        self.value = value

    def tree_flatten(self) -> tuple[tuple[Any], None]:
        return (self.value,), None

    @classmethod
    def tree_unflatten(cls, aux: None, children: tuple[Any]) -> "Number":
        number = object.__new__(cls)
        (number.value,) = children
        return number

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Number):
            return False
        if self.value is other.value:
            return True
        arrays = (np.ndarray, np.generic, jax.Array)
        for value in (self.value, other.value):
            if not isinstance(value, arrays) or isinstance(value, jax.core.Tracer):
                return False
        return bool(np.array_equal(np.asarray(self.value), np.asarray(other.value)))

    def __hash__(self) -> int:
        return hash(Number)

    def __repr__(self) -> str:
        return repr(self.value)

    def like(self, x: Array) -> Array:
        """The number in the dtype of `x`."""
        return jnp.asarray(self.value).astype(x.dtype)


def describe_number(number: Any) -> str:
    """A bound in words, short."""
    value = getattr(number, "value", number)
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        if isinstance(value, jax.core.Tracer):
            return "(traced)"
        if np.ndim(value) == 0:
            return f"{float(value):g}"
        return np.array2string(np.asarray(value), precision=4, threshold=6)
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)


class Elementwise(FusedBijector):
    """Common to the bijectors that map every element alone."""

    def __init__(self, parameters: dict[str, Any]):
        super().__init__(
            forward_min_event_ndims=0,
            validate_args=False,
            parameters=parameters,
            name=parameters["name"],
        )

    @classmethod
    def _parameter_properties(cls, dtype: Any) -> dict[str, Any]:
        return {}

    @classmethod
    def _is_increasing(cls) -> bool:
        return True


def _half_line(x: Array, via: str) -> tuple[Array, Array]:
    return (exp(x), x) if via == "exp" else softplus(x)


def _half_line_inverse(y: Array, via: str) -> Array:
    return jnp.log(y) if via == "exp" else softplus_inverse(y)


class Positive(Elementwise):
    """exp(x), or log(1 + exp(x)) with `via="softplus"`."""

    def __init__(self, via: str = "exp", name: str = "positive"):
        parameters = dict(locals())
        self.via = via
        super().__init__(parameters)

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        return _half_line(x, self.via)

    def _inverse(self, y: Array) -> Array:
        return _half_line_inverse(y, self.via)


class GreaterThan(Elementwise):
    """lower + exp(x), or with softplus."""

    def __init__(self, lower: Number, via: str = "exp", name: str = "greater_than"):
        parameters = dict(locals())
        self.lower = lower
        self.via = via
        super().__init__(parameters)

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        value, log_det = _half_line(x, self.via)
        return self.lower.like(x) + value, log_det

    def _inverse(self, y: Array) -> Array:
        return _half_line_inverse(y - self.lower.like(y), self.via)


class LessThan(Elementwise):
    """upper − exp(x), or with softplus."""

    def __init__(self, upper: Number, via: str = "exp", name: str = "less_than"):
        parameters = dict(locals())
        self.upper = upper
        self.via = via
        super().__init__(parameters)

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        value, log_det = _half_line(x, self.via)
        return self.upper.like(x) - value, log_det

    def _inverse(self, y: Array) -> Array:
        return _half_line_inverse(self.upper.like(y) - y, self.via)

    @classmethod
    def _is_increasing(cls) -> bool:
        return False


def _between(x: Array, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Value and log-det of lower + (upper − lower)σ(x).

    The log-det log w − |x| − 2 log1p(exp(−|x|)) is written log(w/4) − 2 log cosh(x/2):
    the same numbers without the cancellation near x = 0. Each end of the interval is
    approached by subtracting from it.
    """
    _, log_cosh, tail = hyperbolic(0.5 * x)
    width = upper - lower
    part = width * tail
    return jnp.where(x < 0, lower + part, upper - part), jnp.log(
        0.25 * width
    ) - 2 * log_cosh


def _between_inverse(y: Array, lower: Array, upper: Array) -> Array:
    width = upper - lower
    return jnp.log((y - lower) / width) - jnp.log((upper - y) / width)


class Interval(Elementwise):
    """lower + (upper − lower)σ(x); an infinite bound makes a half line or the line."""

    def __init__(self, lower: Number, upper: Number, name: str = "interval"):
        parameters = dict(locals())
        self.lower = lower
        self.upper = upper
        super().__init__(parameters)

    def _bounds(self, x: Array) -> tuple[Array, Array, Array, Array]:
        """The bounds, with 0 and 1 for infinite ones, and which are finite."""
        lower, upper = self.lower.like(x), self.upper.like(x)
        above, below = jnp.isfinite(lower), jnp.isfinite(upper)
        return (
            jnp.where(above, lower, jnp.where(below, upper - 1, 0)),
            jnp.where(below, upper, jnp.where(above, lower + 1, 1)),
            above,
            below,
        )

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        lower, upper, above, below = self._bounds(x)
        inside, inside_log_det = _between(x, lower, upper)
        unbounded = ~above & ~below
        step = exp(jnp.where(unbounded, 0, x))
        half = jnp.where(above, lower + step, upper - step)
        both = above & below
        value = jnp.where(both, inside, jnp.where(unbounded, x, half))
        log_det = jnp.where(unbounded, jnp.zeros_like(x), x)
        return value, jnp.where(both, inside_log_det, log_det)

    def _inverse(self, y: Array) -> Array:
        lower, upper, above, below = self._bounds(y)
        both, unbounded = above & below, ~above & ~below
        inside = _between_inverse(jnp.where(both, y, 0.5 * (lower + upper)), lower, upper)
        step = jnp.where(above, y - lower, upper - y)
        half = jnp.log(jnp.where(both | unbounded, 1, step))
        return jnp.where(both, inside, jnp.where(unbounded, y, half))


class Affine(Elementwise):
    """loc + scale·x."""

    def __init__(self, loc: Number, scale: Number, name: str = "affine"):
        parameters = dict(locals())
        self.loc = loc
        self.scale = scale
        super().__init__(parameters)

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        scale = self.scale.like(x)
        log_det = jnp.log(jnp.abs(scale)) + jnp.zeros_like(x)
        return self.loc.like(x) + scale * x, log_det

    def _inverse(self, y: Array) -> Array:
        return (y - self.loc.like(y)) / self.scale.like(y)


class Reshaping(FusedBijector):
    """Common to the bijectors whose event is an array, of another shape when free."""

    def __init__(self, parameters: dict[str, Any], *, free_ndims: int, model_ndims: int):
        super().__init__(
            forward_min_event_ndims=free_ndims,
            inverse_min_event_ndims=model_ndims,
            validate_args=False,
            parameters=parameters,
            name=parameters["name"],
        )

    @classmethod
    def _parameter_properties(cls, dtype: Any) -> dict[str, Any]:
        return {}

    @abc.abstractmethod
    def _model_shape(self, free_shape: tuple[int, ...]) -> tuple[int, ...]: ...

    @abc.abstractmethod
    def _free_shape(self, model_shape: tuple[int, ...]) -> tuple[int, ...]: ...

    def _forward_event_shape(self, shape: Any) -> tuple[int, ...]:
        return self._model_shape(tuple(shape))

    def _inverse_event_shape(self, shape: Any) -> tuple[int, ...]:
        return self._free_shape(tuple(shape))

    def _forward_event_shape_tensor(self, shape: Any) -> np.ndarray:
        return np.asarray(self._model_shape(tuple(int(n) for n in shape)), np.int32)

    def _inverse_event_shape_tensor(self, shape: Any) -> np.ndarray:
        return np.asarray(self._free_shape(tuple(int(n) for n in shape)), np.int32)


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
        steps = jnp.concatenate([first, exp(rest)], axis=-1)
        return _cumulate(steps), jnp.sum(rest, axis=-1)

    def _inverse(self, y: Array) -> Array:
        return jnp.concatenate([y[..., :1], jnp.log(jnp.diff(y, axis=-1))], axis=-1)


class PositiveOrdered(_SameShape):
    """xₖ = xₖ₋₁ + exp(yₖ), from x₀ = 0."""

    def __init__(self, name: str = "positive_ordered_vector"):
        parameters = dict(locals())
        super().__init__(parameters)

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        return _cumulate(exp(x)), jnp.sum(x, axis=-1)

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
        return jnp.stack([jnp.cos(y), jnp.sin(y)], axis=-1)


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


@fused(tfb.Exp)
def _exp_pair(bijector: Any, x: Array) -> tuple[Array, Array]:
    return exp(x), x


@fused(tfb.Softplus)
def _softplus_pair(bijector: Any, x: Array) -> tuple[Array, Array]:
    softness = bijector.hinge_softness
    if softness is None:
        value, log_det = softplus(x)
    else:
        softness = jnp.asarray(softness).astype(x.dtype)
        value, log_det = softplus(x / softness)
        value = softness * value
    if bijector.low is not None:
        value = value + jnp.asarray(bijector.low).astype(x.dtype)
    return value, log_det


@fused(tfb.Sigmoid)
def _sigmoid_pair(bijector: Any, x: Array) -> tuple[Array, Array]:
    low = 0.0 if bijector.low is None else bijector.low
    high = 1.0 if bijector.high is None else bijector.high
    low, high = (jnp.asarray(bound).astype(x.dtype) for bound in (low, high))
    return _between(x, low, high)


@fused(tfb.Tanh)
def _tanh_pair(bijector: Any, x: Array) -> tuple[Array, Array]:
    value, log_cosh, _ = hyperbolic(x)
    return value, -2 * log_cosh
