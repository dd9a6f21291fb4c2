"""Several simplexes of their own sizes, one after another in one vector."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from . import sets
from .facts import MapOntoSet, known
from .reshaping import Reshaping
from .simplex import Simplex


@known(MapOntoSet(lambda b: sets.simplexes(b.sizes)))
class Simplexes(Reshaping):
    """Vectors whose entries, in groups one after another, each sum to 1.

    Args:
        sizes: the sizes of the groups, at least 1 each.
        via: the map of each, as in `simplex`.
    """

    def __init__(self, sizes: tuple[int, ...], via: str = "ilr", name: str = "simplex"):
        parameters = dict(locals())
        self.sizes = sizes
        self.via = via
        super().__init__(parameters, free_ndims=1, model_ndims=1)

    def _model_shape(self, free_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*free_shape[:-1], sum(self.sizes))

    def _free_shape(self, model_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*model_shape[:-1], sum(self.sizes) - len(self.sizes))

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        parts, log_det = [], jnp.zeros(x.shape[:-1], x.dtype)
        for free, _ in self._groups():
            y, term = Simplex(via=self.via)._forward_and_log_det(x[..., free])
            parts.append(y.reshape(*y.shape[:-2], -1))
            log_det = log_det + jnp.sum(term, axis=-1)
        return jnp.concatenate(parts, axis=-1)[..., self._order(1)], log_det

    def _inverse(self, y: Array) -> Array:
        parts = []
        for _, model in self._groups():
            x = Simplex(via=self.via)._inverse(y[..., model])
            parts.append(x.reshape(*x.shape[:-2], -1))
        return jnp.concatenate(parts, axis=-1)[..., self._order(0)]

    def _groups(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Places of the simplexes of one size, in the free vector and in the model's.

        Each has one row a simplex.
        """
        sizes = np.asarray(self.sizes)
        ends = np.cumsum(sizes)
        found = []
        for size in np.unique(sizes):
            which = np.flatnonzero(sizes == size)[:, None]
            begin = (ends - sizes)[which]
            free = begin - which + np.arange(size - 1)
            found.append((free, begin + np.arange(size)))
        return found

    def _order(self, side: int) -> np.ndarray:
        """Where each entry of the free vector (0) or the model's (1) is in `_groups`."""
        places = np.concatenate([group[side].ravel() for group in self._groups()])
        return np.argsort(places)


def simplexes(sizes: tuple[int, ...], like: Simplex) -> Simplexes:
    """Several simplexes with the map of another bijector onto one.

    Args:
        sizes: the sizes of the groups.
        like: what `simplex` returned.

    Raises:
        ValueError: it takes its parts in an order, which has no meaning for others.
    """
    if like.order is not None:
        raise ValueError("a mask of single parts takes a simplex without `order`")
    return Simplexes(sizes, like.via)
