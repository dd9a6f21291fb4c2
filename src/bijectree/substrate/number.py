"""A number, such as a bound or a scale, as a leaf of a bijector."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array


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
        """The value, as the one child of this node."""
        return (self.value,), None

    @classmethod
    def tree_unflatten(cls, aux: None, children: tuple[Any]) -> "Number":
        """A number of any value: JAX unflattens placeholders too."""
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
            if not isinstance(value, arrays) or isinstance(value, Tracer):
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
        if isinstance(value, Tracer):
            return "(traced)"
        if np.ndim(value) == 0:
            return f"{float(value) + 0:g}"  # −0.0 + 0 is 0.0
        return np.array2string(np.asarray(value) + 0, precision=4, threshold=6)
    return f"{value + 0:g}" if isinstance(value, (int, float)) else str(value)
