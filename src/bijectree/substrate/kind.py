"""What leaves must share for one trace to serve them all."""

import dataclasses
import functools
from typing import Any

import numpy as np

from ..trees import HashedOnce
from .recipe import Recipe


@dataclasses.dataclass(frozen=True, eq=False)
class Kind(HashedOnce):
    """What leaves must share for one trace to serve them all.

    Made by `bind`, which interns: two leaves of one kind hold the same object.

    Attributes:
        recipe: the bijector without its numbers.
        shape: the leaf's shape in the model.
        free_shape: the leaf's shape in free coordinates.
        dtype: the leaf's dtype, on both sides.
        compute_dtype: the dtype of the arithmetic and of the log-det.
        event_ndims: how many trailing axes of the model's leaf form one event.
        elementwise: whether every element is mapped alone.
        uniform: whether every element is also mapped alike, wherever it stands; only
            where that is known of its class.
        number_shapes: the shapes of the bijector's numbers.
        eager: whether the map needs what does not depend on a leaf, such as shapes,
            computed at once while it is traced.
    """

    recipe: Recipe
    shape: tuple[int, ...]
    free_shape: tuple[int, ...]
    dtype: np.dtype
    compute_dtype: np.dtype
    event_ndims: int
    elementwise: bool
    uniform: bool
    number_shapes: tuple[tuple[int, ...], ...]
    eager: bool

    def as_read_now(self) -> "Kind":
        """This kind, or another one where what its functions read has changed."""
        recipe = self.recipe.as_read_now()
        if recipe is self.recipe:
            return self
        return dataclasses.replace(self, recipe=recipe)

    def maps_alike(self, numbers: tuple[Any, ...]) -> bool:
        """Whether every element of every leaf with these numbers is mapped alike."""
        return self.uniform and all(np.ndim(n) == 0 for n in numbers)

    @functools.cached_property
    def programs(self) -> dict[Any, Any]:
        """Compiled functions that an opaque bijector keeps, by the function."""
        return {}
