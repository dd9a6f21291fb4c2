"""Value and gradient of Σ w · forward + log-det of one large leaf."""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from . import peers
from ._timing import BEST, Options, Row, agree, interleave, row

TITLE = "Elementwise maps"
SIZES = (1_000, 10_000, 100_000, 1_000_000, 4_000_000)
COPY = "copy"
LIMITS = {
    "float32": {"positive": 1.0, "softplus": 1.0, "interval": 1.0},
    "float64": {"positive": 1.0, "softplus": 0.8, "interval": 0.6},
}
TOLERANCE = {"float32": 1e-4, "float64": 1e-11}


def run(options: Options) -> Iterator[Row]:
    """Each kind in each precision; what is asked is asked at the largest size."""
    sizes = SIZES[:1] if options.quick else SIZES
    for dtype, limits in LIMITS.items():
        with jax.enable_x64(dtype == "float64"):
            for kind in ("interval",) if options.quick else limits:
                for size in sizes:
                    limit = {BEST: limits[kind]} if size == SIZES[-1] else {}
                    yield _measure(kind, dtype, size, limit, options)


def _measure(
    kind: str, dtype: str, size: int, limits: dict[str, float], options: Options
) -> Row:
    keys = jax.random.split(jax.random.key(0))
    x = 1.5 * jax.random.normal(keys[0], (size,), dtype)
    weights = jax.random.normal(keys[1], (size,), dtype)
    compiled = peers.compiled(peers.pairs(kind, (size,), dtype), x, weights)
    results = {name: function(x, weights) for name, function in compiled.items()}
    case = f"{kind}, {dtype}"
    agree(results, TOLERANCE[dtype], case)
    del results
    runs = {name: functools.partial(f, x, weights) for name, f in compiled.items()}
    copy = jax.jit(jnp.copy).lower(x).compile()
    times = interleave({**runs, COPY: functools.partial(copy, x)}, options.rounds())
    return row(
        "elementwise",
        f"{case}, {size:,}",
        times,
        limits=limits,
        unit="ns/element",
        per=size,
        peers=peers.PEERS,
        size=size,
    )
