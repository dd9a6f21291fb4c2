"""Numbers that tell whether the bits of an array have changed."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array


def mark(x: Array) -> Array:
    """A number for the bits of an array, in their order, the same on any device.

    Each word is multiplied and folded, which can be undone: a change of one element
    always shows, one of several unless their words happen to sum to the same.
    """
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        return jnp.uint32(3) * mark(jnp.real(x)) + mark(jnp.imag(x))
    # The blocks below would be slices of a sharded array, each from all devices.
    if x.size < 4 * _BLOCK or jax.device_count() > 1:
        return _mark_at_once(x)
    x = jnp.ravel(x)
    return jax.lax.platform_dependent(x, cpu=_mark_by_blocks, default=_mark_at_once)


# Words in the first cache, where XLA's CPU compiler vectorises a loop over them. A sum of
# all of them it would first write out word by word.
_BLOCK = 2048


def _mark_at_once(x: Array) -> Array:
    return jnp.sum(_scrambled(x, 0), dtype=jnp.uint32)


def _mark_by_blocks(x: Array) -> Array:
    count = x.size // _BLOCK

    def add(i: Array, sums: Array) -> Array:
        block = jax.lax.dynamic_slice(x, (i * _BLOCK,), (_BLOCK,))
        return sums + _scrambled(block, i.astype(jnp.uint32) * jnp.uint32(_BLOCK))

    rest = _scrambled(x[count * _BLOCK :], count * _BLOCK)
    zeros = jnp.zeros_like(_scrambled(x[:_BLOCK], 0))
    sums = jax.lax.fori_loop(0, count, add, zeros)
    return jnp.sum(sums, dtype=jnp.uint32) + jnp.sum(rest, dtype=jnp.uint32)


def _scrambled(x: Array, start: Any) -> Array:
    """The words of an array, each a bijection of its bits that depends on its place."""
    narrow = {1: jnp.uint8, 2: jnp.uint16}.get(x.dtype.itemsize, jnp.uint32)
    words = jax.lax.bitcast_convert_type(x, narrow).astype(jnp.uint32)
    each = words.size // max(x.size, 1)  # two for float64
    order = jnp.asarray(start, jnp.uint32) * jnp.uint32(each) + _places(words.shape)
    # 2³² over the golden ratio, and a multiplier of MurmurHash3
    words = (words ^ (order * jnp.uint32(0x9E3779B9))) * jnp.uint32(0x85EBCA6B)
    return words ^ (words >> jnp.uint32(16))


def _places(shape: tuple[int, ...]) -> Array:
    """The place of each element in a raveled array, which is not raveled for it."""
    order, stride = jnp.zeros(shape, jnp.uint32), 1
    for axis in reversed(range(len(shape))):
        place = jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
        order, stride = order + place * jnp.uint32(stride % 2**32), stride * shape[axis]
    return order
