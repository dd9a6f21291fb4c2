"""A transform of another package, as a TFP bijector."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..substrate import Number, Recipe, cast_numbers, fused, standard_promotion, tfb


def _no_fault(transform: Any) -> str:
    return ""


@dataclasses.dataclass(frozen=True)
class Calls:
    """How the transforms of one package are called.

    Attributes:
        package: the package's name.
        event_ndims: from a transform to how many axes an event has, free and in the
            model.
        forward: from a transform and free values to their images and log-dets. Where a
            log-det has axes beyond the batch's, it is summed over them; where it has
            fewer, it holds for all events.
        inverse: from a transform and images to the free values.
        fault: says why a transform cannot be a bijector of one leaf; "" if it can.
        numbers_are_leaves: whether Python floats among a transform's leaves are numbers
            that may change.
        derived_numbers: whether a transform keeps numbers that it has computed from
            others, so that arbitrary numbers in their place make no transform.
    """

    package: str
    event_ndims: Callable[[Any], tuple[int, int]]
    forward: Callable[[Any, Array], tuple[Array, Array]]
    inverse: Callable[[Any, Array], Array]
    fault: Callable[[Any], str] = _no_fault
    numbers_are_leaves: bool = False
    derived_numbers: bool = False


class Foreign(tfb.AutoCompositeTensorBijector):
    """A transform of another package, held as its recipe and its numbers.

    Args:
        numbers: the inexact arrays of the transform, cast to the dtype of a leaf.
        recipe: the transform without its numbers.
        calls: how the transform is called.
        free_ndims: how many axes an event of free coordinates has.
        model_ndims: how many axes an event of the model has.
        name: of the package and the class.
    """

    def __init__(
        self,
        numbers: tuple[Number, ...],
        recipe: Recipe,
        calls: Calls,
        free_ndims: int,
        model_ndims: int,
        name: str,
    ):
        parameters = dict(locals())
        self.numbers = numbers
        self.recipe = recipe
        self.calls = calls
        super().__init__(
            forward_min_event_ndims=free_ndims,
            inverse_min_event_ndims=model_ndims,
            validate_args=False,
            parameters=parameters,
            name=name,
        )

    @property
    def derived_numbers(self) -> bool:
        """Whether some of the transform's numbers are computed from others."""
        return self.calls.derived_numbers

    @classmethod
    def _parameter_properties(cls, dtype: Any) -> dict[str, Any]:
        return {}

    def transform(self, dtype: Any) -> Any:
        """The transform, with numbers of a dtype."""
        numbers = tuple(number.value for number in self.numbers)
        return self.recipe.build(cast_numbers(numbers, dtype))

    def forward_and_log_dets(self, x: Array) -> tuple[Array, Array]:
        """Images, and one log-det an event."""
        with standard_promotion():
            y, log_det = self.calls.forward(self.transform(x.dtype), x)
            batch = x.shape[: x.ndim - self.forward_min_event_ndims]
            log_det = jnp.asarray(log_det)
            more = range(len(batch), log_det.ndim)
            log_det = jnp.broadcast_to(jnp.sum(log_det, axis=tuple(more)), batch)
        return y, log_det

    def _forward(self, x: Array) -> Array:
        return self.forward_and_log_dets(x)[0]

    def _inverse(self, y: Array) -> Array:
        try:
            with standard_promotion():
                return self.calls.inverse(self.transform(y.dtype), y)
        except NotImplementedError as error:
            why = f": {error}" if str(error) else ""
            raise ValueError(
                f"it has no inverse{why}; use one that has, or give it one"
            ) from error

    def _forward_log_det_jacobian(self, x: Array) -> Array:
        return self.forward_and_log_dets(x)[1]

    def _forward_event_shape(self, input_shape: Any) -> Any:
        return _shape_of(self._forward, input_shape)

    def _inverse_event_shape(self, output_shape: Any) -> Any:
        return _shape_of(self._inverse, output_shape)

    def _forward_event_shape_tensor(self, input_shape: Any) -> Any:
        return jnp.asarray(_shape_of(self._forward, input_shape), jnp.int32)

    def _inverse_event_shape_tensor(self, output_shape: Any) -> Any:
        return jnp.asarray(_shape_of(self._inverse, output_shape), jnp.int32)


def _shape_of(function: Callable[[Array], Array], shape: Any) -> tuple[int, ...]:
    leaf = jax.ShapeDtypeStruct(tuple(int(n) for n in shape), jnp.float32)
    return jax.eval_shape(function, leaf).shape


@fused(Foreign)
def _pair(bijector: Foreign, x: Array) -> tuple[Array, Array]:
    return bijector.forward_and_log_dets(x)


def over_batch(function: Callable[..., Any], x: Array, ndims: int) -> Any:
    """Map a function of one event over the axes before the event's."""
    batch = x.ndim - ndims
    if math.prod(x.shape[:batch]) == 0:  # JAX maps over no axis without elements
        shape = x.shape[batch:]
        one = jax.eval_shape(function, jax.ShapeDtypeStruct(shape, x.dtype))
        return jax.tree.map(
            lambda a: jnp.zeros((*x.shape[:batch], *a.shape), a.dtype), one
        )
    for _ in range(batch):
        function = jax.vmap(function)
    return function(x)
