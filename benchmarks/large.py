"""One step of Adam on 100,000,000 float32 numbers, positive, with donated buffers.

Plain optax on the free coordinates, as in "Optimizer step", against `reparameterize`,
each in a process of its own, for the peak of the memory that the process held. The loss
costs nothing, so that the difference is all there is: the adapter keeps the parameters
beside their free coordinates.

The last rows are XLA's own account, a parameter, of the same step on a leaf that is split
over eight devices. What it says is accessed has the loop in it that inverts parameters
which were changed from outside, as if it were entered at each step.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import bijectree as bt

from ._timing import OURS, Options, Row
from .optimizer import FREE, Training, cheap

TITLE = "Large models"
ACCOUNT = 8_000_000
KINDS = {"positive": bt.positive(), "interval": bt.interval(0.0, 4.0)}


def run(options: Options) -> Iterator[Row]:
    """Time and memory."""
    size, rounds = (10_000, 2) if options.quick else (100_000_000, 15)
    found = {name: _child(name, size, rounds) for name in (OURS, FREE)}
    for unit, index in (("ms", 0), ("MB", 1)):
        values = {name: pair[index] for name, pair in found.items()}
        ratios = {FREE: values[OURS] / values[FREE]}
        what = {"ms": "a step", "MB": "peak memory"}[unit]
        case = f"{size:,} parameters, {what}"
        yield Row("large", case, unit, values, ratios, rounds, size)
    devices = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    for kind in KINDS:
        account = {n: _child(n, ACCOUNT, 0, kind, devices) for n in (OURS, FREE)}
        for i, what in enumerate(("held from step to step", "held within", "accessed")):
            values = {name: numbers[i] for name, numbers in account.items()}
            ratios = {FREE: values[OURS] / values[FREE]}
            case = f"{kind}, split over 8 devices, {what}"
            yield Row("large", case, "B", values, ratios, 1)


def _child(
    name: str,
    size: int,
    rounds: int,
    kind: str = "positive",
    variables: Mapping[str, str] | None = None,
) -> list[float]:
    command = [sys.executable, "-W", "ignore", "-m", __name__, name, kind]
    found = subprocess.run(
        [*command, str(size), str(rounds)],
        check=True,
        capture_output=True,
        cwd=Path(__file__).parent.parent,
        env={**os.environ, **(variables or {})},
    )
    return json.loads(found.stdout)


def _training(name: str, kind: str, size: int) -> Training:
    key = jax.random.key(0)
    # Over all devices, where there are several.
    cut = NamedSharding(Mesh(np.array(jax.devices()), ("all",)), PartitionSpec("all"))
    make = lambda: {"x": jnp.exp(0.1 * jax.random.normal(key, (size,)))}  # noqa: E731
    reparam = bt.Reparam(jax.eval_shape(make), KINDS[kind])
    inner = optax.adam(1e-4)
    if name == OURS:
        params = jax.jit(make, out_shardings=cut)()
        return Training(bt.reparameterize(inner, reparam), cheap, params)
    free = jax.jit(lambda: reparam.inverse(make()), out_shardings=cut)()
    return Training(inner, reparam.compose(cheap), free)


def _account(name: str, kind: str, size: int) -> list[float]:
    """Bytes a parameter: of the arguments, between, and accessed in all."""
    step = _training(name, kind, size).step
    memory, here = step.memory_analysis(), size / jax.device_count()
    accessed = step.cost_analysis()["bytes accessed"]
    found = (memory.argument_size_in_bytes, memory.temp_size_in_bytes, accessed)
    return [number / here for number in found]


def _measure(name: str, kind: str, size: int, rounds: int) -> list[float]:
    """Milliseconds of a step, and megabytes at the peak."""
    training = _training(name, kind, size)
    times = []
    for _ in range(rounds + 2):
        start = time.perf_counter()
        jax.block_until_ready(training())
        times.append(time.perf_counter() - start)
    return [1e3 * statistics.median(times[2:]), _peak()]


def _peak() -> float:
    """The most memory that this process held, in megabytes.

    By Linux's own account: `ru_maxrss` has that of the process which started it, too.
    """
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1.024e-3


if __name__ == "__main__":
    name, kind, size, rounds = *sys.argv[1:3], *map(int, sys.argv[3:])
    found = _measure(name, kind, size, rounds) if rounds else _account(name, kind, size)
    print(json.dumps(found))
