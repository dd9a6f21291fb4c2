"""Unit vectors and angles."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ..substrate import Number, describe_number, tfb
from . import sets
from .arguments import _concrete, finite_number
from .facts import MapOntoSet, known
from .reshaping import Reshaping, _SameShape


@known(MapOntoSet(lambda b: sets.UNIT_VECTORS))
class Sphere(_SameShape):
    """y/‖y‖, with −½‖y‖² in place of the log-det: an auxiliary density of the radius."""

    auxiliary_coordinates = 1

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


@known(MapOntoSet(lambda b: sets.angles(b.period)))
class Circular(Reshaping):
    """The angle of the vector (y₁, y₂), with −½‖y‖² in place of the log-det.

    The angle is in units of which `period` make a turn; in radians, if that is `None`.
    """

    auxiliary_coordinates = 1

    def __init__(self, period: Number | None = None, name: str = "circular"):
        parameters = dict(locals())
        self.period = period
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
        log_det = -0.5 * jnp.sum(x * x, axis=-1)
        if self.period is None:
            return angle, log_det
        period = self.period.like(x)
        angle = period * (angle / (2 * math.pi))
        # Just above −π the product may round to half a period below 0.
        angle = jnp.where(angle <= -0.5 * period, 0.5 * period, angle)
        return angle, log_det + jnp.log(period / (2 * math.pi))

    def _inverse(self, y: Array) -> Array:
        # In float32 π is rounded up, to an angle whose sine is negative.
        if self.period is None:
            opposite, angle = y == jnp.asarray(math.pi, y.dtype), y
        else:
            turns = y / self.period.like(y)
            opposite, angle = turns == 0.5, 2 * math.pi * turns
        sine = jnp.where(opposite, 0, jnp.sin(angle))
        return jnp.stack([jnp.cos(angle), sine], axis=-1)


def sphere() -> tfb.Bijector:
    """Unit vectors of n entries, from n free coordinates: x = y/‖y‖.

    The map forgets the length of y, so it has no Jacobian. In place of the log-det
    stands −½‖y‖², an auxiliary standard normal density that makes the free density
    proper, as in Stan; over free space a density f on the sphere integrates to
    2^(n/2 − 1)·Γ(n/2)·∫f. The inverse is the unit vector itself. At y = 0 the value is
    undefined (NaN): start elsewhere.

    Returns:
        A bijector of the last axis; leading axes are batches. Source: Stan, "Unit
        vector".

    Raises:
        ValueError: on use, a vector of no entries.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> print(bt.sphere().forward(jnp.array([0.0, 2.0])))
        [0. 1.]
    """
    return Sphere()


def circular(*, period: Float[ArrayLike, "..."] = 2 * math.pi) -> tfb.Bijector:
    """Angles in (−π, π], each from the 2 free coordinates of a point in the plane.

    x = atan2(y₂, y₁)·period/2π. As for `sphere`, −½‖y‖² stands in place of the log-det,
    here with log(period/2π): an auxiliary density, not a Jacobian. A density over angles
    integrates to 1 over free space. The inverse is the cosine and sine of 2π·x/period, so
    no path through half a period is cut. At y = 0 the value is undefined (NaN).

    Args:
        period: the value after which angles repeat, positive and finite: 360 for
            degrees, 180 for the direction of an axis in degrees. A number or an array
            that broadcasts against the leaf. It may change without retracing, and may
            be traced. Angles are in (−period/2, period/2].

    Returns:
        A bijector whose free array has one more axis, last, of size 2. Source: Stan,
        "Unit vector", on angles.

    Raises:
        ValueError: `period` is not positive and finite; on use, a last free axis that is
            not of size 2.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> print(bt.circular().forward(jnp.array([3.0, 0.0])))
        0.0
        >>> print(bt.circular(period=360.0).forward(jnp.array([0.0, -1.0])))
        -90.0
    """
    if isinstance(period, float) and period == 2 * math.pi:
        return Circular()
    number = finite_number(period, "period", "an angle repeats after a finite number")
    values = _concrete(number)
    if values is not None and not np.all(values[0] > 0):
        raise ValueError(f"period must be positive, got {describe_number(number)}")
    return Circular(number)
