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
    """The free coordinates `x`, or those of `y` where `x` does not map to it.

    Args:
        kind: of the leaf.
        numbers: of its bijector.
        y: the leaf.
        x: its free coordinates, as the state has them.
        flag: whether the leaf was changed; if not, the result is `x`.
    """
    bijector = kind.recipe.build(numbers)
    carried = snap_inside_interval(bijector, substrate.forward(kind, numbers, x))
    again = substrate.inverse(kind, numbers, snap_inside_interval(bijector, y))
    return jnp.where(by_event(kind, carried == y) | ~flag, x, again), None
