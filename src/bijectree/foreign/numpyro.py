"""How NumPyro's transforms are called."""

from typing import Any

from jaxtyping import Array

from .wrapped import Calls


def _event_ndims(transform: Any) -> tuple[int, int]:
    free = transform.domain.event_dim
    try:
        return free, transform.codomain.event_dim
    except NotImplementedError:  # an affine map of a set that NumPyro does not follow
        return free, free


def _forward(transform: Any, x: Array) -> tuple[Array, Array]:
    y, intermediates = transform.call_with_intermediates(x)
    return y, transform.log_abs_det_jacobian(x, y, intermediates=intermediates)


def _inverse(transform: Any, y: Array) -> Array:
    return transform.inv(y)


_NOT_OF_A_LEAF = {
    "AbsTransform": "AbsTransform is not one to one",
    "L1BallTransform": "L1BallTransform is not smooth",
    "ComplexTransform": "ComplexTransform makes complex numbers",
    "RealFastFourierTransform": "RealFastFourierTransform makes complex numbers",
    "UnpackTransform": "UnpackTransform makes several arrays, and a leaf is one",
}


def _fault(transform: Any) -> str:
    for part in _parts(transform):
        why = _NOT_OF_A_LEAF.get(type(part).__name__)
        if why:
            return f"{why}; use another transform"
    return ""


def _parts(transform: Any) -> list[Any]:
    """A transform and all that it is made of."""
    found = [transform]
    parts = [*getattr(transform, "parts", ()), *getattr(transform, "transforms", ())]
    parts += [transform.base_transform] if hasattr(transform, "base_transform") else []
    parts += [transform.inv] if type(transform).__name__ == "_InverseTransform" else []
    for part in parts:
        found += _parts(part)
    return found


NUMPYRO = Calls(
    "numpyro", _event_ndims, _forward, _inverse, _fault, numbers_are_leaves=True
)
