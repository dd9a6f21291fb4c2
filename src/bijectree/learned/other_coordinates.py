"""A point, its gradient and its log-density, taken to other coordinates."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array

# The map of a point to other coordinates, or the log-det of coordinates at a point.
_OfPoint = Callable[[Array], Array]


def to_other_coordinates(
    move: _OfPoint,
    back: _OfPoint,
    log_dets: tuple[_OfPoint, _OfPoint],
    vector: Array,
    gradient: Array,
) -> tuple[Array, Array, Any]:
    """Take a point and its gradient to other coordinates of the same model.

    The new gradient is the old one through the Jacobian of `back`, but for what the
    log-dets add. The density itself is not computed.

    Args:
        move: to the other coordinates.
        back: the inverse of `move`.
        log_dets: of the map to the model, in the old and in the other coordinates.
        vector: the point.
        gradient: of the log-density there.

    Returns:
        The point in the other coordinates, the gradient there, and what is to be added to
        the log-density.
    """
    before, slope = jax.value_and_grad(log_dets[0])(vector)
    new = move(vector)
    _, pull = jax.vjp(back, new)
    after, more = jax.value_and_grad(log_dets[1])(new)
    return new, pull(gradient - slope)[0] + more, after - before
