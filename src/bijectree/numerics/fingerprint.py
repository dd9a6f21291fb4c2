"""Numbers that tell whether the bits of an array have changed."""

import jax
import jax.numpy as jnp
from jaxtyping import Array


def fingerprint(x: Array) -> Array:
    """A number for the bits of an array, in their order, the same on any device.

    Each word is scrambled, which can be undone: a change of one element always shows, and
    a change of several unless their words happen to keep their sum, once in 2³² times.
    """
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        return jnp.uint32(3) * fingerprint(jnp.real(x)) + fingerprint(jnp.imag(x))
    # A part of a sharded array would come from all devices.
    if x.size < 256 * _PARTS or jax.device_count() > 1:
        return _in_one_sum(x)
    x = jnp.ravel(x)
    if x.size < _WORTH_ALL_CORES:
        return jax.lax.platform_dependent(
            x, cpu=fingerprint_by_turns, default=fingerprint_of_large
        )
    return fingerprint_of_large(x)


# Into how many parts a large array is cut. XLA's CPU compiler would write all words out
# before it sums them, on one core. The words of several parts it adds up, place by place,
# in one vectorised pass on all cores.
_PARTS = 16
# XLA's CPU compiler splits that pass over cores even where it takes some microseconds,
# and to wake another core takes longer. It splits no loop.
_WORTH_ALL_CORES = 2**18


def _in_one_sum(x: Array) -> Array:
    return jnp.sum(_scrambled(x, 0), dtype=jnp.uint32)


def fingerprint_of_large(x: Array) -> Array:
    """The fingerprint of a large vector, from sums that all cores make at once."""
    size = x.size // _PARTS
    starts = [i * size for i in range(_PARTS)]
    sums = sum(_scrambled(x[i : i + size], i) for i in starts)
    return jnp.sum(sums, dtype=jnp.uint32) + _rest(x)


def fingerprint_by_turns(x: Array) -> Array:
    """The same of a vector, from sums that one core makes, part by part."""
    size = x.size // _PARTS

    def add(i: Array, sums: Array) -> Array:
        part = jax.lax.dynamic_slice_in_dim(x, i * size, size)
        return sums + _scrambled(part, i.astype(jnp.uint32) * jnp.uint32(size))

    sums = jnp.zeros(_scrambled(x[:size], 0).shape, jnp.uint32)
    sums = jax.lax.fori_loop(0, _PARTS, add, sums)
    return jnp.sum(sums, dtype=jnp.uint32) + _rest(x)


def _rest(x: Array) -> Array:
    """The sum of the words that no part has."""
    start = x.size // _PARTS * _PARTS
    return jnp.sum(_scrambled(x[start:], start), dtype=jnp.uint32)


def _scrambled(x: Array, start: int | Array) -> Array:
    """The words of an array, each a bijection of its bits that depends on its place.

    Args:
        x: the array.
        start: the place of its first element.
    """
    narrow = {1: jnp.uint8, 2: jnp.uint16}.get(x.dtype.itemsize, jnp.uint32)
    words = jax.lax.bitcast_convert_type(x, narrow).astype(jnp.uint32)
    # A float64 has two words, every narrower number one.
    each = words.size // max(x.size, 1)
    first = jnp.uint32(start % 2**32) if isinstance(start, int) else start
    order = first * jnp.uint32(each) + _row_major_order(words.shape)
    # The factors are 2³² over the golden ratio, then those of the end of MurmurHash3: a
    # single product and fold would send a change of sign, the highest bit, to one of four
    # differences.
    words = words ^ (order * jnp.uint32(0x9E3779B9))
    words = (words ^ (words >> jnp.uint32(16))) * jnp.uint32(0x85EBCA6B)
    words = (words ^ (words >> jnp.uint32(13))) * jnp.uint32(0xC2B2AE35)
    return words ^ (words >> jnp.uint32(16))


def _row_major_order(shape: tuple[int, ...]) -> Array:
    """The place of each element in row-major order, computed without a copy."""
    order, stride = jnp.zeros(shape, jnp.uint32), 1
    for axis in reversed(range(len(shape))):
        place = jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
        order, stride = order + place * jnp.uint32(stride % 2**32), stride * shape[axis]
    return order
