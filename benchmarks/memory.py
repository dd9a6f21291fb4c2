"""Memory of the values, the log-det and the gradient of one leaf of 4,000,000 numbers.

What XLA takes for results and between: the sizes of outputs and temporaries of the
compiled function, by its own account.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from . import peers
from ._timing import OURS, Options, Row, Target, agree

TITLE = "Memory"


def run(options: Options) -> Iterator[Row]:
    """Each kind in each precision."""
    if options.quick:
        yield _measure("interval", "float32", 10_000)
        return
    for dtype in ("float32", "float64"):
        with jax.enable_x64(dtype == "float64"):
            for kind in peers.KINDS:
                yield _measure(kind, dtype, 4_000_000)


def _measure(kind: str, dtype: str, size: int) -> Row:
    x = jax.random.normal(jax.random.key(0), (size,), dtype)
    weights = jax.random.normal(jax.random.key(1), (size,), dtype)
    pairs = peers.pairs(kind, (size,), dtype)
    compiled = {
        name: jax.jit(_everything(pair)).lower(x, weights).compile()
        for name, pair in pairs.items()
    }
    case = f"{kind}, {dtype}, {size:,}"
    agree({name: f(x, weights) for name, f in compiled.items()}, 1e-4, case)
    values = {name: _megabytes(f) for name, f in compiled.items()}
    ratios = {name: values[OURS] / v for name, v in values.items() if name != OURS}
    targets = (Target(peers.HAND, ratios[peers.HAND], 1.1),)
    return Row("memory", case, "MB", values, ratios, 1, size, targets)


def _everything(pair: peers.Pair) -> Callable[[Array, Array], Any]:
    def total(x: Array, weights: Array) -> tuple[Array, tuple[Array, Array]]:
        y, log_det = pair(x)
        return jnp.sum(weights * y) + log_det, (y, log_det)

    return jax.value_and_grad(total, has_aux=True)


def _megabytes(compiled: Any) -> float:
    found = compiled.memory_analysis()
    return (found.temp_size_in_bytes + found.output_size_in_bytes) / 1e6
