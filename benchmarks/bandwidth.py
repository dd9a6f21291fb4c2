"""On a GPU: the share of the copy's bandwidth.

Value and gradient of Σ w · forward + log-det read two arrays and write one; a copy reads
one and writes one. The share is the bytes per second of the first over those of the
second.
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from . import peers
from ._timing import Options, Row, interleave, row

TITLE = "Share of bandwidth"
SIZES = (100_000_000, 1_000_000_000)
COPY = "copy"


def run(options: Options) -> Iterator[Row]:
    """Each kind and size; nothing on a CPU."""
    if options.device != "gpu":
        return
    for size in (1_000_000,) if options.quick else SIZES:
        for dtype in (jnp.float32, jnp.bfloat16):
            for kind in peers.KINDS:
                yield _measure(kind, dtype, size, options)


def _measure(kind: str, dtype: type, size: int, options: Options) -> Row:
    x = jax.random.normal(jax.random.key(0), (size,), dtype)
    weights = jax.random.normal(jax.random.key(1), (size,), dtype)
    compiled = peers.compiled(peers.pairs(kind, (size,), dtype), x, weights)
    runs = {name: functools.partial(f, x, weights) for name, f in compiled.items()}
    runs[COPY] = functools.partial(jax.jit(jnp.copy).lower(x).compile(), x)
    case = f"{kind}, {jnp.dtype(dtype).name}, {size:,}"
    times = interleave(runs, options.rounds())
    # 3 arrays move at no less than 80 % of the rate at which the copy moves 2.
    limits = {COPY: 1.5 / 0.8}
    return row("bandwidth", case, times, limits=limits, unit="ms", size=size)
