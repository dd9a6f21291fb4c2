#!/usr/bin/env bash
# Versions: blackjax 1.7.1 and numpyro 0.22.0, with jax 0.10.2.
# Behaviour: on twenty independent standard normal numbers, with the identity as mass
#   matrix, NUTS takes over twenty times as many gradients a draw with a step of 0.87 as
#   with one of 1.0, and ten times as many as with one of 0.5. The leapfrog turns by
#   arccos(1 - 0.87**2 / 2) = 0.90 a step, so seven steps close the orbit: half of the eight
#   points of a trajectory turn by less than a half circle, all of them end where they
#   began, and neither looks like a turn; so do two, four and more circles. A target of
#   0.75 to 0.85 for the acceptance leads there in 5 to 20 whitened dimensions.
# Output seen, of both packages: mean gradients a draw, by step size (the last digits
#   differ between the two):
#   blackjax 0.5: 7.0, 0.87: 79.9, 1.0: 3.0
#   numpyro 0.5: 7.0, 0.87: 78.7, 1.0: 3.0
# So coordinates that are nearly perfect may cost more than rough ones: look at the
# gradients a draw, not at the acceptance alone.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    blackjax==1.7.1 numpyro==0.22.0 jax==0.10.2 jaxlib==0.10.2
"$work/venv/bin/python" - <<'PY'
import blackjax
import jax
import jax.numpy as jnp
from numpyro.infer import MCMC, NUTS

jax.config.update("jax_enable_x64", True)
DIM, DRAWS = 20, 4000


def log_density(z):
    return -0.5 * jnp.sum(z * z)


def by_blackjax(step):
    kernel = blackjax.nuts.build_kernel()

    def one(state, key):
        state, info = kernel(key, state, log_density, step, jnp.ones(DIM))
        return state, info.num_integration_steps

    keys = jax.random.split(jax.random.key(0), DRAWS)
    start = blackjax.nuts.init(jnp.ones(DIM), log_density)
    return float(jax.jit(lambda: jax.lax.scan(one, start, keys)[1])().mean())


def by_numpyro(step):
    nuts = NUTS(
        potential_fn=lambda z: -log_density(z),
        step_size=step,
        adapt_step_size=False,
        adapt_mass_matrix=False,
    )
    mcmc = MCMC(nuts, num_warmup=0, num_samples=DRAWS, progress_bar=False)
    mcmc.run(jax.random.key(0), init_params=jnp.ones(DIM), extra_fields=("num_steps",))
    return float(mcmc.get_extra_fields()["num_steps"].mean())


same = True
for name, mean in (("blackjax", by_blackjax), ("numpyro", by_numpyro)):
    found = {step: mean(step) for step in (0.5, 0.87, 1.0)}
    print(name, ", ".join(f"{step}: {n:.1f}" for step, n in found.items()))
    same &= found[0.87] > 5 * found[0.5] and found[1.0] < 4
raise SystemExit(0 if same else "changed: no step size is dearer than a shorter one")
PY
