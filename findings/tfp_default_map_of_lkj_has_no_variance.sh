#!/usr/bin/env bash
# Versions: tfp-nightly 0.26.0.dev20261027 with jax 0.10.2.
# Behaviour: the default bijector of `tfd.CholeskyLKJ`, CorrelationCholesky, divides each
#   row (y, 1) by its norm. Under LKJ(eta) row i of K then has a multivariate t density of
#   K - i + 2 eta degrees of freedom (times a constant), the last row of 2 eta. For the
#   usual eta = 1, a flat density over correlation matrices, that has no variance: a
#   sampler meets tails there that no mass matrix mends. The tanh of partial
#   correlations, as in Stan and NumPyro, has exponential tails.
# Output seen (share of |y| > 10 in the last row of ten, that of t with 2 degrees, largest
#   |y| of 10,000 draws, that of the tanh map):
#   0.00464 0.00496 66 4.9
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    tfp-nightly==0.26.0.dev20261027 jax==0.10.2 jaxlib==0.10.2
JAX_PLATFORMS=cpu "$work/venv/bin/python" -W ignore - <<'PY'
import jax

jax.config.update("jax_enable_x64", True)
import numpy as np  # noqa: E402
from tensorflow_probability.substrates.jax import distributions as tfd  # noqa: E402

size = 10
lkj = tfd.CholeskyLKJ(size, np.float64(1.0))
factor = lkj.sample(10_000, seed=jax.random.key(0))
bijector = lkj.experimental_default_event_space_bijector()
free = np.asarray(bijector.inverse(factor))
last = np.asarray(factor[:, -1, :-1] / factor[:, -1, -1:])
tail = np.mean(np.abs(last) > 10)
# y is t / sqrt(2), and P(|t| > x) = 1 - x / sqrt(2 + x^2) for two degrees of freedom.
exact = 1 - 10 / np.sqrt(1 + 10**2)
# The partial correlations, which the other map takes the arctanh of.
rest = np.sqrt(np.cumsum(np.asarray(factor)[:, :, ::-1] ** 2, axis=2)[:, :, ::-1])
rows, columns = np.tril_indices(size, -1)
tanh = np.arcsinh(np.asarray(factor)[:, rows, columns] / rest[:, rows, columns + 1])
print(round(tail, 5), round(exact, 5), round(np.abs(free).max()), round(np.abs(tanh).max(), 1))
same = abs(tail / exact - 1) < 0.2 and np.abs(free).max() > 30 and np.abs(tanh).max() < 10
raise SystemExit(0 if same else "changed: another default bijector")
PY
