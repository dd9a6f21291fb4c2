"""Vectors whose entries increase."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ..substrate import Number, tfb
from . import sets
from .arguments import Via, _axis_from_end, _one_of, finite_number, require_above
from .facts import MapOntoSet, known
from .half_line import _half_line, _half_line_inverse
from .ranges import POSITIVE, Range, number_of
from .reshaping import _AlongAxis
from .simplex import _stick_breaking, _stick_breaking_inverse


def _never_decreasing(sums: Array) -> Array:
    """Sums along the last axis, raised where rounding put one below the one before."""
    highest = jax.lax.cummax(jax.lax.stop_gradient(sums), axis=sums.ndim - 1)
    return sums + jax.lax.stop_gradient(jnp.where(highest > sums, highest - sums, 0))


def _cumulate(steps: Array) -> Array:
    """Cumulative sums along the last axis that never decrease after the first.

    A parallel sum may round the k-th partial sum above the next.
    """
    return _never_decreasing(jnp.cumsum(steps, axis=-1))


class _Increasing(_AlongAxis):
    """A base of maps along one axis onto vectors of as many entries."""

    def _model_shape(self, free_shape: tuple[int, ...]) -> tuple[int, ...]:
        rest, size = free_shape[:-1], free_shape[-1]
        place = len(free_shape) + self.axis
        return (*rest[:place], size, *rest[place:])

    def _free_shape(self, model_shape: tuple[int, ...]) -> tuple[int, ...]:
        place = len(model_shape) + self.axis
        return (*model_shape[:place], *model_shape[place + 1 :], model_shape[place])


@known(MapOntoSet(lambda b: sets.increasing(axis=b.axis)))
class Ordered(_Increasing):
    """x₁ = y₁, xₖ = xₖ₋₁ + exp(yₖ), or with softplus."""

    def __init__(self, axis: int = -1, via: str = "exp", name: str = "ordered_vector"):
        parameters = dict(locals())
        self.axis, self.via = axis, via
        super().__init__(parameters)

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        steps, log_slopes = _half_line(x[..., 1:], self.via)
        sums = _cumulate(jnp.concatenate([x[..., :1], steps], axis=-1))
        log_det = self._over_event(jnp.sum(log_slopes, axis=-1))
        return jnp.moveaxis(sums, -1, self.axis), log_det

    def _inverse(self, y: Array) -> Array:
        y = jnp.moveaxis(y, self.axis, -1)
        rest = _half_line_inverse(jnp.diff(y, axis=-1), self.via)
        return jnp.concatenate([y[..., :1], rest], axis=-1)


@known(MapOntoSet(lambda b: sets.increasing(POSITIVE, b.axis)))
class PositiveOrdered(_Increasing):
    """xₖ = xₖ₋₁ + exp(yₖ), from x₀ = 0, or with softplus."""

    def __init__(
        self, axis: int = -1, via: str = "exp", name: str = "positive_ordered_vector"
    ):
        parameters = dict(locals())
        self.axis, self.via = axis, via
        super().__init__(parameters)

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        steps, log_slopes = _half_line(x, self.via)
        log_det = self._over_event(jnp.sum(log_slopes, axis=-1))
        return jnp.moveaxis(_cumulate(steps), -1, self.axis), log_det

    def _inverse(self, y: Array) -> Array:
        y = jnp.moveaxis(y, self.axis, -1)
        steps = jnp.concatenate([y[..., :1], jnp.diff(y, axis=-1)], axis=-1)
        return _half_line_inverse(steps, self.via)


def _interval(bijector: "OrderedWithin") -> Range:
    """The interval of entries; bounds with a number a vector get the vectors' axis."""
    lower = number_of(bijector.lower, -math.inf)
    upper = number_of(bijector.upper, math.inf)
    after = -1 - bijector.axis  # axes that follow the vectors' own

    def with_axis(end: Any) -> Any:
        at = np.ndim(end) - after
        return end.reshape(*end.shape[:at], 1, *end.shape[at:]) if at > 0 else end

    return Range(*(with_axis(x) if np.ndim(x) else x for x in (lower, upper)))


@known(MapOntoSet(lambda b: sets.increasing(_interval(b), b.axis)))
class OrderedWithin(_Increasing):
    """Increasing vectors above a bound, below one, or between two."""

    def __init__(
        self,
        lower: Number | None,
        upper: Number | None,
        axis: int = -1,
        via: str = "exp",
        name: str = "ordered_vector",
    ):
        parameters = dict(locals())
        self.lower, self.upper = lower, upper
        self.axis, self.via = axis, via
        super().__init__(parameters)

    def _bound(self, number: Number | None, x: Array) -> Array | None:
        """A bound that broadcasts against vectors along the last axis."""
        if number is None:
            return None
        value = number.like(x)
        if value.ndim == 0:
            return value
        # In the free array, the vectors' axis is the last one of the event.
        return jnp.expand_dims(value, -1)

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        lower, upper = self._bound(self.lower, x), self._bound(self.upper, x)
        if lower is not None and upper is not None:
            value, log_det = _between(x, lower, upper)
        else:
            steps, log_slopes = _half_line(x, self.via)
            log_det = jnp.sum(log_slopes, axis=-1)
            if upper is None:
                up = jnp.cumsum(steps, axis=-1)
                value = _never_decreasing(up if lower is None else lower + up)
            else:
                down = jax.lax.cumsum(steps, axis=x.ndim - 1, reverse=True)
                value = _never_decreasing(upper - down)
        return jnp.moveaxis(value, -1, self.axis), self._over_event(log_det)

    def _inverse(self, y: Array) -> Array:
        y = jnp.moveaxis(y, self.axis, -1)
        lower, upper = self._bound(self.lower, y), self._bound(self.upper, y)
        gaps = [jnp.diff(y, axis=-1)]
        if lower is not None:
            gaps = [y[..., :1] - lower, *gaps]
        if upper is not None:
            gaps = [*gaps, upper - y[..., -1:]]
        steps = jnp.concatenate(gaps, axis=-1)
        if lower is not None and upper is not None:
            return _stick_breaking_inverse(steps)
        return _half_line_inverse(steps, self.via)


def _between(y: Array, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Cumulated parts of the width; each bound is approached by subtracting from it."""
    parts, log_det = _stick_breaking(y)
    width = upper - lower
    below = jnp.cumsum(parts[..., :-1], axis=-1)
    above = jax.lax.cumsum(parts[..., 1:], axis=y.ndim - 1, reverse=True)
    value = jnp.where(below < 0.5, lower + width * below, upper - width * above)
    log_width = jnp.broadcast_to(jnp.log(width), y.shape)
    return _never_decreasing(value), log_det + jnp.sum(log_width, axis=-1)


def ordered_vector(
    lower: Float[ArrayLike, "..."] | None = None,
    upper: Float[ArrayLike, "..."] | None = None,
    *,
    axis: int = -1,
    via: Via = "exp",
) -> tfb.Bijector:
    """Increasing vectors of K numbers, from K free coordinates.

    Without bounds x₁ = y₁ and xₖ = xₖ₋₁ + exp(yₖ); the log-det is Σ yₖ over k ≥ 2 (Stan,
    "Ordered vector"). Neighbours are equal where exp(yₖ) is below the rounding of xₖ₋₁.

    Above `lower`, xₖ = xₖ₋₁ + exp(yₖ) from x₀ = lower; below `upper`, xₖ = xₖ₊₁ − exp(yₖ)
    down from upper after the last entry; the log-det is Σ yₖ. Between both, the K + 1
    gaps are the parts of the stick-breaking `simplex` times upper − lower, and the
    log-det is that of the simplex plus K log(upper − lower).

    Args:
        lower: what the first entry exceeds, finite; one number, or an array with a number
            for each vector, which broadcasts against the leaf without `axis`. It may
            change without retracing, and may be traced. `None` for no bound.
        upper: what exceeds the last entry, likewise.
        axis: the axis along which entries increase, counted from the end. The free array
            has it last.
        via: `"softplus"` for steps of log(1 + exp(yₖ)) in place of exp(yₖ), which grow
            linearly; each yₖ of the log-det is then −log(1 + exp(−yₖ)). Not between two
            bounds.

    Returns:
        A bijector of the axes from `axis` on; those before are batches.

    Raises:
        ValueError: a bound is not finite, the bounds do not broadcast, or `upper` does
            not exceed `lower` somewhere; `axis` is not negative; `via` is unknown, or
            `"softplus"` with both bounds.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> print(bt.ordered_vector().forward(jnp.array([-2.0, 0.0, 0.0])))
        [-2. -1.  0.]
        >>> print(bt.ordered_vector(0.0, 1.0).forward(jnp.zeros(3)))
        [0.25 0.5  0.75]
    """
    _axis_from_end(axis)
    _one_of(via, "via", ("exp", "softplus"))
    if lower is None and upper is None:
        return Ordered(axis, via)
    mend = "None stands for no bound"
    low = None if lower is None else finite_number(lower, "lower", mend)
    high = None if upper is None else finite_number(upper, "upper", mend)
    if low is not None and high is not None:
        require_above(low, high)
        if via == "softplus":
            raise ValueError(
                'via="softplus" is for steps away from one bound or none; between two '
                "the gaps are parts of a stick, which have no such steps"
            )
    return OrderedWithin(low, high, axis, via)


def positive_ordered_vector(*, axis: int = -1, via: Via = "exp") -> tfb.Bijector:
    """Increasing vectors of K positive numbers, from K free coordinates.

    xₖ = xₖ₋₁ + exp(yₖ) with x₀ = 0; the log-det is Σ yₖ.

    Args:
        axis: the axis along which entries increase, counted from the end. The free array
            has it last.
        via: `"softplus"` for xₖ = xₖ₋₁ + log(1 + exp(yₖ)), with the log-det
            −Σ log(1 + exp(−yₖ)).

    Returns:
        A bijector of the axes from `axis` on; those before are batches. Source: Stan,
        "Positive ordered vector".

    Raises:
        ValueError: `axis` is not negative, or `via` is unknown.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> print(bt.positive_ordered_vector().forward(jnp.zeros(3)))
        [1. 2. 3.]
    """
    _axis_from_end(axis)
    _one_of(via, "via", ("exp", "softplus"))
    return PositiveOrdered(axis, via)
