"""Scalar functions: what XLA's CPU compiler keeps of them, and slopes next to zero."""

import jax
import jax.numpy as jnp
import pytest
from jaxtyping import Array

from bijectree.numerics import softplus


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="it is about the CPU compiler")
def test_softplus_needs_no_array_beside_value_and_gradient():
    size = 100_000
    x = jnp.linspace(-3.0, 3.0, size, dtype=jnp.float32)

    def total(x: Array, weights: Array) -> tuple[Array, tuple[Array, Array]]:
        value, log_slope = softplus(x)
        log_det = jnp.sum(log_slope)
        return jnp.sum(weights * value) + log_det, (value, log_det)

    compiled = jax.jit(jax.value_and_grad(total, has_aux=True)).lower(x, x).compile()
    memory = compiled.memory_analysis()
    assert memory is not None
    found = memory.temp_size_in_bytes + memory.output_size_in_bytes
    assert found <= 2 * x.nbytes + 1024


@pytest.mark.parametrize("x", [-6e-8, 0.0, 6e-8])
def test_second_derivatives_of_softplus_at_the_smallest_numbers_of_float16(x):
    at = jnp.asarray(x, jnp.float16)
    slopes = [jax.grad(jax.grad(lambda y, k=k: softplus(y)[k]))(at) for k in (0, 1)]
    assert [float(slope) for slope in slopes] == [0.25, -0.25]
