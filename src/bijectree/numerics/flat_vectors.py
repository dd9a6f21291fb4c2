"""Arrays as one vector, and a vector as arrays.

Outside of a trace each is one program, where each operation would compile its own.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


def widest(dtypes: Sequence[Any]) -> np.dtype:
    """The dtype that all others fit in."""
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(*(dtypes or [float]))


def cut(
    vector: Array, shapes: Sequence[tuple[int, ...]], dtypes: Sequence[Any]
) -> list[Array]:
    """Cut a vector into arrays of these shapes and dtypes."""
    return _cut(vector, tuple(shapes), tuple(map(np.dtype, dtypes)))


@functools.partial(jax.jit, static_argnums=(1, 2), inline=True)
def _cut(
    vector: Array, shapes: tuple[tuple[int, ...], ...], dtypes: tuple[np.dtype, ...]
) -> list[Array]:
    parts = _parts(vector, [math.prod(shape) for shape in shapes])
    return [
        part.reshape(shape).astype(dtype)
        for part, shape, dtype in zip(parts, shapes, dtypes, strict=True)
    ]


def _parts(vector: Array, sizes: Sequence[int]) -> list[Array]:
    """Cut a vector into parts, by sixteens of sixteens.

    XLA on CPU compiles 300 cuts of one vector in half a minute, and these in seconds.
    """
    if len(sizes) > 16:
        step = 16
        while 16 * step < len(sizes):
            step *= 16
        groups = [sizes[i : i + step] for i in range(0, len(sizes), step)]
        parts = jax.lax.optimization_barrier(_parts(vector, [sum(g) for g in groups]))
        return [x for pair in zip(parts, groups, strict=True) for x in _parts(*pair)]
    ends = list(itertools.accumulate(sizes))
    return [
        jax.lax.slice_in_dim(vector, end - size, end)
        for size, end in zip(sizes, ends, strict=True)
    ]


def ravel(leaves: Sequence[Array]) -> Array:
    """One vector of the leaves' widest dtype."""
    return _ravel(*leaves)


@functools.partial(jax.jit, inline=True)
def _ravel(*leaves: Array) -> Array:
    dtype = widest([x.dtype for x in leaves])
    parts = [jnp.ravel(x).astype(dtype) for x in leaves]
    return jnp.concatenate(parts or [jnp.zeros(0, dtype)])
