#!/usr/bin/env bash
# Versions: tfp-nightly 0.26.0.dev20261027 with jax 0.10.2.
# Behaviour: `tfb.CholeskyToInvCholesky` takes the Cholesky factor of a matrix M to that
#   of its inverse. On the way it multiplies the inverse factor with itself, and factors
#   the product, so that what float32 loses goes with the condition of M, the square of
#   that of the factor. The log-det is taken from the result. For a 7 x 7 factor of
#   condition 3e5 it is off by some units, where a QR of the inverse factor, also in
#   float32, has it to 1e-3. Nothing is NaN, and nothing is raised.
# Output seen:
#   condition 3e+05: log-det -1.41 in float64, 5.13 in float32, -1.41 by QR in float32
# A density with this map is wrong by the factor e^6 there. Use float64, or QR.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    tfp-nightly==0.26.0.dev20261027 jax==0.10.2 jaxlib==0.10.2
seen=$(JAX_PLATFORMS=cpu JAX_ENABLE_X64=1 "$work/venv/bin/python" -W ignore - <<'PY'
import jax.numpy as jnp, numpy as np
from tensorflow_probability.substrates.jax import bijectors as tfb

n = 7
random = np.random.default_rng(0)
for _ in range(18):
    below = random.choice([-1, 1], (n, n)) * random.uniform(1, 2.5, (n, n))
    factor = np.tril(below, -1) + np.diag(np.exp(random.uniform(-2.5, 2.5, n)))
invert = tfb.CholeskyToInvCholesky()


def log_det(x):
    return float(invert.forward_log_det_jacobian(x, event_ndims=2))


# The inverse of M is B B', with B the inverse factor transposed: so its own factor has the
# diagonal of the R of a QR of B'. The log-det is by the formula of the same map,
# sum of -(n + 1) log |L_ii| from the inverse of M and of the two factorizations.
def by_qr(x):
    diagonal = np.abs(np.diag(np.linalg.qr(np.linalg.inv(x))[1]))
    powers = np.arange(n, 0, -1)
    return (
        np.sum(powers * np.log(np.diag(x)))
        - 2 * (n + 1) * np.sum(np.log(np.diag(x)))
        - np.sum(powers * np.log(diagonal))
    )


narrow = factor.astype(np.float32)
print(
    f"condition {np.linalg.cond(factor):.0e}: log-det {log_det(jnp.asarray(factor)):.2f} "
    f"in float64, {log_det(jnp.asarray(narrow)):.2f} in float32, "
    f"{by_qr(narrow):.2f} by QR in float32"
)
PY
)
echo "$seen"
echo "$seen" | grep -qE "log-det -1\.41 in float64, [4-6]\.[0-9]+ in float32, -1\.4[0-9]* by QR"
