#!/usr/bin/env bash
# Version: blackjax 1.7.1, with jax 0.10.2.
# Behaviour: when `adaptive_tempered_smc` has come to tempering_param 1, its particles are
#   draws at the temperature before, and only with `state.weights` are they draws of the
#   posterior: a step resamples, moves at the old temperature, and then weighs for the new
#   one. Here the posterior is a standard normal density in one dimension, the prior has an
#   sd of 10, and target_ess is 0.3: of the particles as they lie the sd is 1.55, by weights
#   it is 1. `log_likelihood_increment` is not touched by that.
# Output seen:
#   steps: 3, sd of the particles: 1.55, by their weights: 1.00
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    blackjax==1.7.1 jax==0.10.2 jaxlib==0.10.2
"$work/venv/bin/python" - <<'PY'
import blackjax
import jax
import jax.numpy as jnp
from blackjax.smc import extend_params, resampling

jax.config.update("jax_enable_x64", True)
PRIOR_SD = 10.0


def log_prior(x):
    return -0.5 * jnp.sum(x**2) / PRIOR_SD**2


def log_likelihood(x):  # with the prior: a standard normal density
    return -0.5 * jnp.sum(x**2) * (1 - 1 / PRIOR_SD**2)


smc = blackjax.adaptive_tempered_smc(
    log_prior,
    log_likelihood,
    blackjax.hmc.build_kernel(),
    blackjax.hmc.init,
    extend_params(
        {
            "step_size": 0.5,
            "inverse_mass_matrix": jnp.ones(1),
            "num_integration_steps": 4,
        }
    ),
    resampling.systematic,
    target_ess=0.3,
    num_mcmc_steps=20,
)
key, own = jax.random.split(jax.random.key(0))
state = smc.init(PRIOR_SD * jax.random.normal(own, (20_000, 1)))
step, steps = jax.jit(smc.step), 0
while state.tempering_param < 1:
    key, own = jax.random.split(key)
    state, _ = step(own, state)
    steps += 1
x = state.particles[:, 0]
plain = float(jnp.sqrt(jnp.mean(x**2)))
weighted = float(jnp.sqrt(jnp.sum(state.weights * x**2)))
print(f"steps: {steps}, sd of the particles: {plain:.2f}, by their weights: {weighted:.2f}")
same = plain > 1.1 and abs(weighted - 1) < 0.03
raise SystemExit(0 if same else "changed: the particles are those of the posterior")
PY
