"""Models of many leaves of three numbers, of three kinds in turn.

Timed is value and gradient of a loss of the model + log-det: the time to trace and lower
it, to compile it and to run it. The loss alone, of a model that is not transformed,
compiles in proportion to the leaves: it is summed by sixteens with barriers between.
The caches of JAX are cleared before each is traced. The CPU time of the same counts all
threads of the compiler. Who would take minutes is left out of the larger sizes. The
time to bind (`bt.Reparam`), which is not compiled and done once, is a row of its own.
"""

import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

import bijectree as bt

from . import peers
from ._timing import OURS, Options, Row, Times, agree, interleave, row

TITLE = "Many small leaves"
SIZES = {10: 5, 100: 3, 400: 3, 1_000: 1, 10_000: 1}  # how often each is compiled
ALONE = "loss alone"
# What bijectree's time over another's may be, by the number of leaves.
LIMITS = {
    10: {ALONE: 2.0, peers.HAND: 1.05, peers.NUMPYRO: 0.85},
    100: {ALONE: 2.0, peers.HAND: 0.5},
    400: {ALONE: 2.0, peers.HAND: 0.3},
}
# Beyond these, who maps leaf by leaf takes minutes to trace and compile.
LARGEST = {
    peers.TFP: 1_000,
    peers.NUMPYRO: 1_000,
    peers.HAND: 1_000,
    peers.DISTRAX: 400,
    peers.DYNAMAX: 400,
}

Tree = dict[str, Any]


def loss(model: Tree) -> Array:
    """A sum over leaves that XLA compiles in time proportional to them."""
    terms = [jnp.sum((x - 0.3) ** 2) for x in model.values()]
    while len(terms) > 1:
        terms = [sum(terms[i + 1 : i + 16], terms[i]) for i in range(0, len(terms), 16)]
        terms = list(jax.lax.optimization_barrier(tuple(terms)))
    return terms[0]


def kind_of(i: int) -> str:
    """The kinds, in turn."""
    return peers.KINDS[i % len(peers.KINDS)]


def by_leaf(maps: dict[str, peers.Pair]) -> Callable[[Tree], tuple[Tree, Array]]:
    """Leaf by leaf, which is how it is written with maps of arrays."""

    def forward_and_log_det(free: Tree) -> tuple[Tree, Array]:
        found = {n: maps[kind_of(i)](x) for i, (n, x) in enumerate(free.items())}
        log_det = sum(log_det for _, log_det in found.values())
        return {name: x for name, (x, _) in found.items()}, jnp.asarray(log_det)

    return forward_and_log_det


def maps(free: Tree) -> dict[str, Callable[[Tree], tuple[Tree, Array]]]:
    """The map of the whole model by each contestant but ours."""
    of_kind = {kind: peers.pairs(kind, (3,), jnp.float32) for kind in peers.KINDS}
    names = [name for name in of_kind["positive"] if name not in (OURS, peers.DYNAMAX)]
    found = {name: by_leaf({k: p[name] for k, p in of_kind.items()}) for name in names}
    if peers.have("dynamax"):
        found[peers.DYNAMAX] = dynamax(free)
    return found


def dynamax_properties(free: Tree) -> Tree:
    """What dynamax calls the spec."""
    from dynamax import parameters

    bijectors = {kind: peers.tfp_bijector(kind, jnp.float32) for kind in peers.KINDS}
    return {
        name: parameters.ParameterProperties(constrainer=bijectors[kind_of(i)])
        for i, name in enumerate(free)
    }


def dynamax(free: Tree) -> Callable[[Tree], tuple[Tree, Array]]:
    """The map of the whole model by dynamax."""
    from dynamax import parameters

    properties = dynamax_properties(free)

    def forward_and_log_det(free: Tree) -> tuple[Tree, Array]:
        model = parameters.from_unconstrained(free, properties)
        return model, parameters.log_det_jac_constrain(model, properties)

    return forward_and_log_det


def free_of(count: int) -> Tree:
    """Free coordinates of a model of so many leaves."""
    values = jax.random.normal(jax.random.key(0), (count, 3))
    return {f"x{i:05d}": x for i, x in enumerate(jax.device_get(values))}


def reparam_of(free: Tree) -> bt.Reparam:
    """Ours; a spec says a kind once, as one with rules does."""
    bijectors = {kind: peers.bijectors(kind) for kind in peers.KINDS}
    return bt.Reparam(free, {n: bijectors[kind_of(i)] for i, n in enumerate(free)})


def run(options: Options) -> Iterator[Row]:
    """Each number of leaves, with those who manage it."""
    for count, times in SIZES.items():
        if options.quick and count > 10:
            return
        yield from _measure(count, 1 if options.quick else times, options)


def _measure(count: int, compilations: int, options: Options) -> Iterator[Row]:
    free = jax.device_put(free_of(count))
    start = time.perf_counter()
    reparam = reparam_of(free)
    binding = time.perf_counter() - start
    functions: dict[str, Callable[[Tree], Array]] = {ALONE: loss}
    for name, f in {OURS: reparam.forward_and_log_det, **maps(free)}.items():
        if count <= LARGEST.get(name, count):
            functions[name] = functools.partial(_total, f)
    traces: Times = {name: [] for name in functions}
    compiles: Times = {name: [] for name in functions}
    on_cpus: Times = {name: [] for name in functions}
    compiled: dict[str, Any] = {}
    for turn in range(compilations):
        for name, function in functions.items():
            # The slow ones are not asked again: no target is theirs.
            if turn and sum(compiles[name]) > 5 and name not in (OURS, ALONE):
                continue
            jax.clear_caches()
            start, on_cpu = time.perf_counter(), time.process_time()
            lowered = jax.jit(jax.value_and_grad(function)).lower(free)
            middle = time.perf_counter()
            compiled[name] = lowered.compile()
            traces[name].append(middle - start)
            compiles[name].append(time.perf_counter() - middle)
            on_cpus[name].append(time.process_time() - on_cpu)
    results = {name: f(free) for name, f in compiled.items() if name != ALONE}
    agree(results, 1e-4, f"{count:,} leaves")
    both = {
        name: [a + b for a, b in zip(traces[name], compiles[name], strict=True)]
        for name in functions
    }
    gone = [name for name, largest in LARGEST.items() if count > largest]
    note = f"too slow, left out: {', '.join(gone)}" if gone else ""
    limits = {} if options.quick else LIMITS.get(count, {ALONE: 2.0})
    case = f"{count:,} leaves"
    yield _row(f"{case}, bind", {OURS: [binding]}, "s", count, {}, "")
    yield _row(f"{case}, trace and lower", traces, "s", count, {}, note)
    yield _row(f"{case}, compile", compiles, "s", count, {}, note)
    yield _row(f"{case}, trace, lower and compile", both, "s", count, limits, note)
    limits = {name: limit for name, limit in limits.items() if name != ALONE}
    yield _row(f"{case}, CPU time of these", on_cpus, "s", count, limits, note)
    runs = {name: functools.partial(f, free) for name, f in compiled.items()}
    found = interleave(runs, options.rounds())
    limits = {} if options.quick else {ALONE: 1.2}
    yield _row(f"{case}, run", found, "ms", count, limits, note)


def _total(f: Callable[[Tree], tuple[Tree, Array]], free: Tree) -> Array:
    model, log_det = f(free)
    return loss(model) + log_det


def _row(
    case: str, times: Times, unit: str, count: int, limits: dict[str, float], note: str
) -> Row:
    return row("leaves", case, times, limits=limits, unit=unit, size=count, note=note)
