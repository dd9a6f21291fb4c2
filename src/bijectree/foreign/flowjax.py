"""How flowjax's bijections are called: with one event, of a shape that they know."""

from typing import Any

from jaxtyping import Array

from .wrapped import Calls, over_batch


def _event_ndims(bijection: Any) -> tuple[int, int]:
    return len(bijection.shape), len(bijection.shape)


def _forward(bijection: Any, x: Array) -> tuple[Array, Array]:
    return over_batch(bijection.transform_and_log_det, x, len(bijection.shape))


def _inverse(bijection: Any, y: Array) -> Array:
    return over_batch(bijection.inverse, y, len(bijection.shape))


def _fault(bijection: Any) -> str:
    if bijection.cond_shape is None:
        return ""
    return (
        f"it is conditional (cond_shape {bijection.cond_shape}), and a leaf has nothing "
        "to condition on; use one without a condition"
    )


FLOWJAX = Calls("flowjax", _event_ndims, _forward, _inverse, _fault)
