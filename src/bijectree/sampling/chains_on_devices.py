"""Chains over the devices of all processes, and their draws back on each."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from ..numerics import put_whole
from ..trees import on_host

_AXIS = "chains"


def chain_mesh(chains: int, shared: PyTree) -> Mesh | None:
    """The devices that chains are shared by: as many of each process, of equal parts.

    Args:
        chains: how many chains there are.
        shared: what all chains read. If arrays of it are sharded already, the chains
            are not.

    Returns:
        The mesh; `None` where `shared` lies on several devices.

    Raises:
        ValueError: the processes cannot have as many chains each.
    """
    arrays = [x for x in jax.tree.leaves(shared) if isinstance(x, jax.Array)]
    if any(len(x.sharding.device_set) > 1 for x in arrays):
        return None
    processes = jax.process_count()
    if chains % processes:
        raise ValueError(
            f"{chains} chains cannot be shared evenly by {processes} processes; give a "
            f"multiple of {processes}"
        )
    config: Any = jax.config
    if processes == 1 and config.jax_default_device:
        # This is the device where an array goes that nobody has placed.
        return Mesh(list(jnp.zeros(()).devices()), (_AXIS,))
    of_process: dict[int, list[Any]] = {}
    for device in jax.devices():
        of_process.setdefault(device.process_index, []).append(device)
    most = min(len(devices) for devices in of_process.values())
    here = chains // processes
    count = max(n for n in range(1, most + 1) if here % n == 0)
    taken = [d for i in sorted(of_process) for d in of_process[i][:count]]
    return Mesh(np.array(taken), (_AXIS,))


def put(mesh: Mesh | None, tree: PyTree, *, by_chain: bool) -> PyTree:
    """Put the arrays of a tree on the mesh, whole or cut along their leading axis."""
    if mesh is None:
        return tree
    sharding = NamedSharding(mesh, PartitionSpec(*[_AXIS] * by_chain))
    arrays, rest = eqx.partition(tree, eqx.is_array)
    return eqx.combine(jax.tree.map(lambda x: put_whole(x, sharding), arrays), rest)


def map_chains(
    mesh: Mesh | None, function: Callable[..., Any], shared: PyTree, *by_chain: PyTree
) -> Any:
    """Map a function over chains, under `jit`.

    No device waits for another: each goes on with its own chains. On a CPU a device runs
    its chains one after another, since side by side each would wait for the longest
    trajectory; and there a chain's draws do not depend on how many others there are.

    Args:
        mesh: of `chain_mesh`.
        function: of `shared` and the arguments of one chain.
        shared: what all chains read; leaves of it that are no arrays are static.
        *by_chain: pytrees of arrays whose leading axis is that of the chains.
    """
    arrays, static = eqx.partition(shared, eqx.is_array)
    one_by_one = jax.default_backend() == "cpu"

    def here(arrays: PyTree, *by_chain: PyTree) -> Any:
        run = functools.partial(function, eqx.combine(arrays, static))
        return _in_turn(run, by_chain) if one_by_one else jax.vmap(run)(*by_chain)

    if mesh is None:
        return here(arrays, *by_chain)
    cut = PartitionSpec(_AXIS)
    specs = (PartitionSpec(), *[cut] * len(by_chain))
    mapped = jax.shard_map(
        here, mesh=mesh, in_specs=specs, out_specs=cut, check_vma=False
    )
    return mapped(arrays, *by_chain)


def _in_turn(function: Callable[..., Any], by_chain: tuple[PyTree, ...]) -> Any:
    """`jax.lax.map`, which rounds the same for one chain as for several.

    XLA would unroll a loop of one turn, drop an axis of one, and fuse what is left in
    another way. So the number of turns is hidden from it, and arrays have at least two
    rows.
    """
    chains = len(jax.tree.leaves(by_chain)[0])
    rows = np.minimum(np.arange(max(chains, 2)), chains - 1)
    room = jax.tree.map(lambda x: x[rows], by_chain)

    def pick(i: Any) -> tuple[PyTree, ...]:
        return jax.tree.map(lambda x: x[i], room)

    found = jax.eval_shape(lambda: function(*pick(0)))
    start = jax.tree.map(lambda x: jnp.zeros((len(rows), *x.shape), x.dtype), found)

    def run(i: Array, found: PyTree) -> PyTree:
        return jax.tree.map(lambda old, x: old.at[i].set(x), found, function(*pick(i)))

    turns = jax.lax.optimization_barrier(jnp.asarray(chains))
    found = jax.lax.fori_loop(0, turns, run, start)
    return jax.tree.map(lambda x: x[:chains], found)


def of_first(tree: PyTree) -> PyTree:
    """The arrays of the first process on all, so that all go on from the same numbers.

    They are sent as bytes: JAX would round float64 to float32 on the way.
    """
    if jax.process_count() == 1:
        return tree
    arrays = jax.tree.map(np.ascontiguousarray, tree)
    sent = jax.tree.map(lambda x: np.frombuffer(x.tobytes(), np.uint8), arrays)
    found = multihost_utils.broadcast_one_to_all(sent)
    return jax.tree.map(
        lambda x, raw: np.frombuffer(np.asarray(raw).tobytes(), x.dtype).reshape(x.shape),
        arrays,
        found,
    )


def of_process(mesh: Mesh | None, tree: PyTree) -> PyTree:
    """The chains of this process, in the memory of its host; all, without a mesh."""

    def fetch(x: jax.Array) -> np.ndarray:
        if mesh is None:
            return on_host(x)
        parts = sorted(x.addressable_shards, key=lambda part: part.index[0].start or 0)
        return np.concatenate([np.asarray(part.data) for part in parts])

    return jax.tree.map(fetch, tree)


def of_all(mesh: Mesh | None, tree: PyTree) -> PyTree:
    """The chains of all processes, from those of each."""
    if mesh is None or jax.process_count() == 1:
        return tree
    return multihost_utils.process_allgather(tree, tiled=True)
