"""Free coordinates of what was changed from outside."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from .. import substrate
from ..constraints import snap_inside_interval
from ..substrate import Kind
from .gradients import by_event


@substrate.in_auto_axes
def inverse_if_moved(
    kind: Kind, numbers: tuple[Any, ...], y: Array, x: Array, flag: Array
) -> tuple[Array, None]:
    """Free coordinates of `y` where it is not what `x` maps to, if the flag is up."""
    bijector = kind.recipe.build(numbers)
    carried = snap_inside_interval(bijector, substrate.forward(kind, numbers, x))
    again = substrate.inverse(kind, numbers, snap_inside_interval(bijector, y))
    return jnp.where(by_event(kind, carried == y) | ~flag, x, again), None
