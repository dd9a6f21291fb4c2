#!/usr/bin/env bash
# Versions: tfp-nightly 0.26.0.dev20261027 with jax 0.10.2.
# Behaviour: `tfd.StudentTProcess` is registered as a pytree and cannot be put together
#   again: it passes on both the function that makes marginals and the one that factors
#   covariances, of which its constructor takes one. It fails as an argument of `jax.jit`,
#   in `jax.tree.map` and whatever copies a tree; `tfd.GaussianProcess` does not.
# Output seen:
#   GaussianProcess: ok
#   StudentTProcess: At most one of `marginal_fn` and `cholesky_fn` should be set.
# Make the process inside the function, of kernel parameters that are its arguments.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    tfp-nightly==0.26.0.dev20261027 jax==0.10.2 jaxlib==0.10.2
seen=$(JAX_PLATFORMS=cpu "$work/venv/bin/python" -W ignore - <<'PY'
import jax, numpy as np
from tensorflow_probability.substrates.jax import distributions as tfd
from tensorflow_probability.substrates.jax.math import psd_kernels

kernel, points = psd_kernels.ExponentiatedQuadratic(), np.float32([[0.0], [1.0]])
for process in (tfd.GaussianProcess(kernel, points), tfd.StudentTProcess(5.0, kernel, points)):
    try:
        jax.tree.map(lambda x: x, process)
        said = "ok"
    except ValueError as error:
        said = str(error)
    print(f"{type(process).__name__}: {said}")
PY
)
echo "$seen"
echo "$seen" | grep -q "^GaussianProcess: ok$"
echo "$seen" | grep -q "^StudentTProcess: At most one of .marginal_fn. and .cholesky_fn."
