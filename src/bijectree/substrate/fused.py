"""Bijectors whose value and log-det share their work."""

import abc
from collections.abc import Callable
from typing import Any

from jaxtyping import Array

from .tfp import tfb


class FusedBijector(tfb.AutoCompositeTensorBijector):
    """A bijector whose value and log-det share their work.

    A subclass gives `_forward_and_log_det(x) -> (y, log_det)`, where `log_det` has
    one entry an event (the shape of `x` without its last
    `forward_min_event_ndims` axes), and `_inverse(y)`.
    """

    # Whether the log-det depends on the bijector's numbers alone.
    constant_log_det = False
    # How many free coordinates an event has beyond the dimensions of its set, with an
    # auxiliary density for its log-det.
    auxiliary_coordinates = 0

    @classmethod
    def _parameter_properties(cls, dtype: Any) -> dict[str, Any]:
        return {}

    @abc.abstractmethod
    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]: ...

    def _forward(self, x: Array) -> Array:
        return self._forward_and_log_det(x)[0]

    def _forward_log_det_jacobian(self, x: Array) -> Array:
        return self._forward_and_log_det(x)[1]


# Functions that make a bijector of another package fused, by exact class: a user's
# subclass of `tfb.Exp` may mean something else.
_fused: dict[type, Callable[[Any, Array], tuple[Array, Array]]] = {}


def fused(cls: type) -> Callable[[Callable], Callable]:
    """Register a function `(bijector, x) -> (y, log_det)` for bijectors of one class.

    `log_det` has one entry an event, as in `FusedBijector`.
    """

    def register(function: Callable) -> Callable:
        _fused[cls] = function
        return function

    return register
