"""Arrays as one vector, and a vector as arrays."""

import itertools
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


def cut(vector: Array, sizes: Sequence[int]) -> list[Array]:
    """Cut a vector into parts, by sixteens of sixteens.

    XLA on CPU compiles 300 cuts of one vector in half a minute, and these in seconds.
    """
    if len(sizes) > 16:
        step = 16
        while 16 * step < len(sizes):
            step *= 16
        groups = [sizes[i : i + step] for i in range(0, len(sizes), step)]
        parts = jax.lax.optimization_barrier(cut(vector, [sum(g) for g in groups]))
        return [x for pair in zip(parts, groups, strict=True) for x in cut(*pair)]
    ends = list(itertools.accumulate(sizes))
    return [
        jax.lax.slice_in_dim(vector, end - size, end)
        for size, end in zip(sizes, ends, strict=True)
    ]


def ravel(leaves: Sequence[Array]) -> Array:
    """One vector of the leaves' widest dtype."""
    dtype = widest([x.dtype for x in leaves])
    parts = [jnp.ravel(x).astype(dtype) for x in leaves]
    return jnp.concatenate(parts or [jnp.zeros(0, dtype)])
