"""Bijectors of single numbers, and what the bijectors of arrays are built on."""

import abc
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .numerics import hyperbolic, softplus, softplus_inverse
from .substrate import FusedBijector, Number, fused, tfb


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
    def _is_increasing(cls) -> bool:
        return True


def _half_line(x: Array, via: str) -> tuple[Array, Array]:
    return (jnp.exp(x), x) if via == "exp" else softplus(x)


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
    # Added: XLA's CPU compiler would fill an array with the factor 2.
    log_det = jnp.log(0.25 * width) - (log_cosh + log_cosh)
    return jnp.where(x < 0, lower + part, upper - part), log_det


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
        both, unbounded = above & below, ~above & ~below
        # Where it is not looked at, its derivative must not overflow.
        step = jnp.exp(jnp.where(both | unbounded, 0, x))
        half = jnp.where(above, lower + step, upper - step)
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

    constant_log_det = True

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


@fused(tfb.Exp)
def _exp_pair(bijector: Any, x: Array) -> tuple[Array, Array]:
    return jnp.exp(x), x


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
