"""A fingerprint is the same however it is summed, and shows each change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bijectree.numerics.fingerprint import (
    _in_one_sum,
    fingerprint,
    fingerprint_by_turns,
    fingerprint_of_large,
)


@pytest.mark.parametrize("size", [4096, 5003, 300_001])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int8"])
def test_every_way_of_summing_gives_the_same(dtype, size, getkey):
    with jax.enable_x64(dtype == "float64"):
        x = (20 * jax.random.normal(getkey(), (size,))).astype(dtype)
        ways = (_in_one_sum, fingerprint_of_large, fingerprint_by_turns, fingerprint)
        found = {int(jax.jit(way)(x)) for way in ways}
        found |= set(jax.vmap(fingerprint)(jnp.stack([x, x])).tolist())
    assert len(found) == 1


@pytest.mark.parametrize("size", [5003, 300_001])
def test_a_change_of_any_element_shows(size, getkey):
    x = jax.random.normal(getkey(), (size,))
    of = jax.jit(fingerprint)
    for place in (0, size // 16 - 1, size // 16, size // 2, size - 2, size - 1):
        assert of(x.at[place].multiply(-1)) != of(x)
        assert of(x.at[place].set(np.nextafter(x[place], np.float32(9)))) != of(x)
    assert of(x.at[7].set(x[8]).at[8].set(x[7])) != of(x)
