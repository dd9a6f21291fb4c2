#!/usr/bin/env bash
# Versions: numpyro 0.22.0 with jax 0.10.2, float32 (NumPyro's default).
# Behaviour: the maps of `constraints.unit_interval` and `constraints.simplex` clip at
#   1 - 1.2e-7, at the upper end alone. Of a Beta(0.1, 0.1), which is symmetric, a tenth of
#   the mass lies above: in free coordinates the density integrates to 0.908, that of a
#   Dirichlet(0.1, 0.1) to 0.910, and draws of NUTS are as far off: their mean is 0.45.
#   No warning.
# Output seen:
#   Beta(0.1, 0.1): mass 0.908
#   Dirichlet(0.1, 0.1): mass 0.910
#   NUTS on Beta(0.1, 0.1): mean x 0.449 for 0.5, MCSE 0.003
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    numpyro==0.22.0 jax==0.10.2 jaxlib==0.10.2
JAX_PLATFORMS=cpu "$work/venv/bin/python" -W ignore - <<'PY'
import jax, jax.numpy as jnp, numpy as np, numpyro
import numpyro.distributions as dist
from numpyro.diagnostics import effective_sample_size
from numpyro.infer import MCMC, NUTS

numpyro.set_host_device_count(1)


def mass(distribution, vector):
    bijector = dist.biject_to(distribution.support)
    free = jnp.linspace(-400.0, 400.0, 80_001)

    def log_density(y):
        y = y[None] if vector else y
        x = bijector(y)
        return distribution.log_prob(x) + bijector.log_abs_det_jacobian(y, x)

    p = np.exp(np.asarray(jax.vmap(log_density)(free), np.float64))
    return np.trapezoid(p, np.asarray(free, np.float64))


beta = mass(dist.Beta(0.1, 0.1), vector=False)
dirichlet = mass(dist.Dirichlet(jnp.array([0.1, 0.1])), vector=True)
print(f"Beta(0.1, 0.1): mass {beta:.3f}")
print(f"Dirichlet(0.1, 0.1): mass {dirichlet:.3f}")
mcmc = MCMC(
    NUTS(lambda: numpyro.sample("x", dist.Beta(0.1, 0.1))),
    num_warmup=1000,
    num_samples=20_000,
    num_chains=4,
    chain_method="vectorized",
    progress_bar=False,
)
mcmc.run(jax.random.key(0))
x = np.asarray(mcmc.get_samples(group_by_chain=True)["x"], np.float64)
mcse = x.std() / np.sqrt(effective_sample_size(x))
print(f"NUTS on Beta(0.1, 0.1): mean x {x.mean():.3f} for 0.5, MCSE {mcse:.3f}")
same = abs(beta - 0.908) < 0.002 and abs(dirichlet - 0.910) < 0.003
same = same and x.mean() < 0.5 - 4 * mcse
raise SystemExit(0 if same else "changed: the mass is whole, or the draws are right")
PY
