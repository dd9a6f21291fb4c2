"""Arrays beside others on the same devices."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import PyTree


def put_whole(x: Any, sharding: NamedSharding) -> jax.Array:
    """`jax.device_put` of an array that every process holds whole."""
    if jax.process_count() == 1:
        return jax.device_put(x, sharding)
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        data = put_whole(jax.random.key_data(x), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
    host = np.asarray(x)
    return jax.make_array_from_callback(host.shape, sharding, lambda i: host[i])


def beside(tree: PyTree, like: PyTree) -> PyTree:
    """Put what nobody has placed, such as a count, on all devices of the arrays `like`.

    `jit` moves arrays that nobody has placed by itself, but one that was saved and
    restored is placed, and must be where the others are. An array with the shape of one
    of `like`, or with one axis more in front, as a history has, is sharded like that one;
    any other lies whole on every device.
    """
    shardings = {
        tuple(x.shape): x.sharding
        for x in jax.tree.leaves(like)
        if isinstance(x, jax.Array)
        and not isinstance(x, Tracer)
        and isinstance(x.sharding, NamedSharding)
    }
    if len({frozenset(s.device_set) for s in shardings.values()}) != 1:
        return tree
    mesh = next(iter(shardings.values())).mesh

    def sharding_for(shape: tuple[int, ...]) -> NamedSharding:
        if shape in shardings:
            return shardings[shape]
        if shape[1:] in shardings:
            one = shardings[shape[1:]]
            return NamedSharding(one.mesh, PartitionSpec(None, *one.spec))
        return NamedSharding(mesh, PartitionSpec())

    def put(x: Any) -> Any:
        array = isinstance(x, jax.Array) and not isinstance(x, Tracer)
        unplaced = array and not x.committed
        return put_whole(x, sharding_for(tuple(x.shape))) if unplaced else x

    return jax.tree.map(put, tree)
