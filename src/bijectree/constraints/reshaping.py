"""Bases of the bijectors whose event is an array."""

import abc
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..substrate import FusedBijector


class Reshaping(FusedBijector):
    """A base of bijectors whose event is an array, of another shape when free."""

    def __init__(self, parameters: dict[str, Any], *, free_ndims: int, model_ndims: int):
        super().__init__(
            forward_min_event_ndims=free_ndims,
            inverse_min_event_ndims=model_ndims,
            validate_args=False,
            parameters=parameters,
            name=parameters["name"],
        )

    @abc.abstractmethod
    def _model_shape(self, free_shape: tuple[int, ...]) -> tuple[int, ...]: ...

    @abc.abstractmethod
    def _free_shape(self, model_shape: tuple[int, ...]) -> tuple[int, ...]: ...

    def _forward_event_shape(self, shape: Any) -> tuple[int, ...]:
        return self._model_shape(tuple(shape))

    def _inverse_event_shape(self, shape: Any) -> tuple[int, ...]:
        return self._free_shape(tuple(shape))

    def _forward_event_shape_tensor(self, shape: Any) -> np.ndarray:
        return np.asarray(self._model_shape(tuple(int(n) for n in shape)), np.int32)

    def _inverse_event_shape_tensor(self, shape: Any) -> np.ndarray:
        return np.asarray(self._free_shape(tuple(int(n) for n in shape)), np.int32)


class _SameShape(Reshaping):
    """A base of bijectors of vectors with as many free coordinates as entries."""

    def __init__(self, parameters: dict[str, Any]):
        super().__init__(parameters, free_ndims=1, model_ndims=1)

    def _model_shape(self, free_shape: tuple[int, ...]) -> tuple[int, ...]:
        return free_shape

    def _free_shape(self, model_shape: tuple[int, ...]) -> tuple[int, ...]:
        return model_shape


class _AlongAxis(Reshaping):
    """A base of maps along one axis, counted from the end, that lose one coordinate.

    The free array has that axis last, so that its coordinates follow one another as in
    Stan: a column-stochastic matrix is read column by column.
    """

    axis: int

    def __init__(self, parameters: dict[str, Any]):
        ndims = -parameters["axis"]
        super().__init__(parameters, free_ndims=ndims, model_ndims=ndims)

    def _model_shape(self, free_shape: tuple[int, ...]) -> tuple[int, ...]:
        rest, size = free_shape[:-1], free_shape[-1]
        place = len(free_shape) + self.axis
        return (*rest[:place], size + 1, *rest[place:])

    def _free_shape(self, model_shape: tuple[int, ...]) -> tuple[int, ...]:
        place = len(model_shape) + self.axis
        size = model_shape[place]
        if size == 0:
            raise ValueError(
                f"{self.name}: axis {self.axis} of shape {model_shape} is empty; it "
                "needs at least one entry"
            )
        return (*model_shape[:place], *model_shape[place + 1 :], size - 1)

    def _over_event(self, log_det: Array) -> Array:
        """Sum a log-det with one entry a vector over the vectors of an event."""
        others = range(log_det.ndim + self.axis + 1, log_det.ndim)
        return jnp.sum(log_det, axis=tuple(others))
