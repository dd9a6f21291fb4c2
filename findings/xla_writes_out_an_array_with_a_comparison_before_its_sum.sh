#!/usr/bin/env bash
# Versions: jax 0.10.2 (XLA's CPU compiler).
# Behaviour: XLA computes the terms of a sum within the sum, so that it needs no memory for
#   them, unless a comparison is among the operations: then all terms are written to an
#   array of their own first. So a sum of `where(x < 0, -x, x)` needs as much memory as its
#   argument, and one of `abs(x)`, or of `maximum(x, 0)`, none. The same holds for
#   `jax.nn.softplus`, `jnp.logaddexp`, means and maxima.
# Output seen (bytes for intermediate values, of 4,000,000 float32, which take 16 MB):
#   where(x < 0, -x, x)                           16.0 MB
#   abs(x)                                         0.0 MB
#   nn.softplus(x)                                16.0 MB
#   maximum(x, 0) + log1p(exp(-abs(x)))            0.0 MB
# So write the terms of a sum over a large array with `maximum`, `minimum` and `abs` in place
# of comparisons, where memory counts.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2
JAX_PLATFORMS=cpu "$work/venv/bin/python" - <<'PY'
import jax
import jax.numpy as jnp

x = jnp.linspace(-5, 5, 4_000_000, dtype=jnp.float32)

PAIRS = [
    (
        ("where(x < 0, -x, x)", lambda x: jnp.where(x < 0, -x, x)),
        ("abs(x)", jnp.abs),
    ),
    (
        ("nn.softplus(x)", jax.nn.softplus),
        (
            "maximum(x, 0) + log1p(exp(-abs(x)))",
            lambda x: jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x))),
        ),
    ),
]


def summed(name, function):
    compiled = jax.jit(lambda x: jnp.sum(function(x))).lower(x).compile()
    size = compiled.memory_analysis().temp_size_in_bytes
    print(f"{name:42} {size / 1e6:7.1f} MB")
    return size, compiled(x)


for pair in PAIRS:
    (with_comparison, a), (without, b) = (summed(*one) for one in pair)
    assert jnp.allclose(a, b, rtol=1e-5)
    assert with_comparison >= x.nbytes, with_comparison
    assert without < 1000, without
PY
