"""An un-jitted `forward` of a model of ten leaves of three numbers.

TFP's bijectors, which dynamax calls, remember what they have mapped, so that each call is
given arrays of its own.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from . import leaves, peers
from ._timing import OURS, Options, Row, agree, interleave, row

TITLE = "Eager calls"


def run(options: Options) -> Iterator[Row]:
    """One model."""
    free = leaves.free_of(10)
    rounds = options.rounds(51)

    def call(forward: Callable[[Any], Any]) -> Callable[[], Any]:
        trees = iter([jax.tree.map(jnp.array, free) for _ in range(rounds + 2)])
        return lambda: forward(next(trees))

    bijectors = {kind: peers.tfp_bijector(kind, jnp.float32) for kind in peers.KINDS}
    forwards = {
        OURS: leaves.reparam_of(free).forward,
        peers.TFP: functools.partial(_by_leaf, bijectors),
    }
    if peers.have("numpyro"):
        transforms = {kind: peers.numpyro_transform(kind) for kind in peers.KINDS}
        forwards[peers.NUMPYRO] = functools.partial(_by_leaf, transforms)
    if peers.have("dynamax"):
        forwards[peers.DYNAMAX] = _dynamax(free)
    agree({name: f(jax.device_put(free)) for name, f in forwards.items()}, 1e-5, TITLE)
    times = interleave({n: call(f) for n, f in forwards.items()}, rounds, shortest=0.0)
    limits = {} if options.quick else {peers.DYNAMAX: 1.0}
    yield row("eager", "forward, 10 leaves", times, limits=limits, unit="ms")


def _by_leaf(maps: dict[str, Callable[[Any], Any]], free: leaves.Tree) -> leaves.Tree:
    return {n: maps[leaves.kind_of(i)](x) for i, (n, x) in enumerate(free.items())}


def _dynamax(free: leaves.Tree) -> Callable[[leaves.Tree], leaves.Tree]:
    from dynamax import parameters

    properties = leaves.dynamax_properties(free)
    return lambda free: parameters.from_unconstrained(free, properties)
