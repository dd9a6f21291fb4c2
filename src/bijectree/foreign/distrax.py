"""How distrax's bijectors are called."""

from typing import Any

from jaxtyping import Array

from .wrapped import Calls


def _event_ndims(bijector: Any) -> tuple[int, int]:
    return bijector.event_ndims_in, bijector.event_ndims_out


def _forward(bijector: Any, x: Array) -> tuple[Array, Array]:
    return bijector.forward_and_log_det(x)


def _inverse(bijector: Any, y: Array) -> Array:
    return bijector.inverse(y)


DISTRAX = Calls("distrax", _event_ndims, _forward, _inverse, derived_numbers=True)
