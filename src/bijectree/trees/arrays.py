"""Arrays, wherever they lie."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding
from jaxtyping import PyTree


def is_array(leaf: Any) -> bool:
    """Whether a leaf has a value, or stands for one, that may change under `jit`."""
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct))


def shape_and_dtype(leaf: Any) -> tuple[tuple[int, ...], Any]:
    """A leaf's shape, and the dtype that JAX will give it; `None` if it is no array."""
    if not is_array(leaf):
        return (), None
    extended = jnp.issubdtype(leaf.dtype, jax.dtypes.extended)
    dtype = leaf.dtype if extended else jax.dtypes.canonicalize_dtype(leaf.dtype)
    return tuple(leaf.shape), dtype


def is_inexact(leaf: Any) -> bool:
    """Whether a leaf can be free: an array, or the shape of one, of floats."""
    return is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.inexact)


def is_spread(x: Any) -> bool:
    """Whether an array is split over processes, so that none of them has it whole."""
    unplaced = not isinstance(x, jax.Array) or isinstance(x, Tracer)
    return not (unplaced or x.is_fully_addressable or x.is_fully_replicated)


def gather(tree: PyTree) -> PyTree:
    """A tree whose spread arrays are gathered to every host; all else is as it was."""
    return jax.tree.map(lambda x: on_host(x) if is_spread(x) else x, tree)


def on_host(x: Any) -> np.ndarray:
    """An array on the host, from whatever devices and processes it lies on.

    Where it is split over processes, all of them have to ask for it.
    """
    if is_spread(x):
        return np.asarray(multihost_utils.process_allgather(x, tiled=True))
    return np.asarray(x)


def same_bits(a: Iterable[Any], b: Iterable[Any]) -> bool:
    """Whether arrays are the same to the bit, NaN and the sign of zero included."""
    bits = [
        [(x.dtype, x.shape, x.tobytes()) for x in map(np.asarray, arrays)]
        for arrays in (a, b)
    ]
    return bits[0] == bits[1]


def split_axes(x: Any, last: int) -> list[int]:
    """Which of the last axes of an array, or of its shape, are split over devices."""
    sharding = getattr(x, "sharding", None)
    if not isinstance(sharding, NamedSharding):
        return []
    shape = tuple(x.shape)
    local = sharding.shard_shape(shape)
    return [i for i in range(len(shape) - last, len(shape)) if local[i] != shape[i]]
