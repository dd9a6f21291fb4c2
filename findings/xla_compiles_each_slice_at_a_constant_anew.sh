#!/usr/bin/env bash
# Versions: jax 0.10.2 (XLA's CPU compiler).
# Behaviour: XLA compiles a kernel once for all places that need the same one, but a slice
#   at a constant offset is a kernel of its own, and costs as much to compile as arithmetic
#   does. Sixty slices of one vector take some ten times as long to compile as the same
#   slices at offsets that are operands behind an `optimization_barrier`, and they compute
#   the same. The transpose of a concatenation is made of slices at constants, so the
#   gradient of a model with many small leaves that are joined pays for each.
# Output seen (CPU seconds vary; the ratio is what is held):
#   at constants 0.513 s, at operands 0.031 s, ratio 16.4
# So cut a vector into many parts at offsets that the compiler does not know, unless the
# parts are large.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2
JAX_PLATFORMS=cpu "$work/venv/bin/python" - <<'PY'
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

PARTS, SIZE = 60, 7
x = jnp.arange(PARTS * SIZE, dtype=jnp.float32)


def at_constants(x):
    return [jax.lax.slice(x, (i * SIZE,), (i * SIZE + SIZE,)) for i in range(PARTS)]


def at_operands(x):
    places = [np.uint32(i * SIZE) for i in range(PARTS)]
    x, places = jax.lax.optimization_barrier((x, places))
    return [jax.lax.dynamic_slice(x, (place,), (SIZE,)) for place in places]


def seconds(function):
    jax.clear_caches()
    lowered = jax.jit(function).lower(x)
    start = time.process_time()
    compiled = lowered.compile()
    return time.process_time() - start, compiled(x)


pairs = [(seconds(at_constants), seconds(at_operands)) for _ in range(6)][1:]
for (_, known), (_, hidden) in pairs:
    for a, b in zip(known, hidden, strict=True):
        assert (a == b).all()
ratio = statistics.median(a[0] / b[0] for a, b in pairs)
constants, operands = (statistics.median(p[i][0] for p in pairs) for i in (0, 1))
print(f"at constants {constants:.3f} s, at operands {operands:.3f} s, ratio {ratio:.1f}")
assert ratio > 4
PY
