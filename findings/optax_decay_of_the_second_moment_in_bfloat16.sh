#!/usr/bin/env bash
# Versions: optax 0.2.8 with jax 0.10.2.
# Behaviour: `optax.inject_hyperparams` casts every number of an optimizer to the dtype of
#   the parameters. In bfloat16 the default b2 = 0.999 of Adam rounds to 1: the correction
#   of its bias is 0/0, and the first step of ordinary parameters is NaN. Without
#   `inject_hyperparams` the same optimizer works.
# Output seen:
#   plain [-0.0100098 -0.0100098], injected [nan nan] with b2 = 1.0
# Give `hyperparam_dtype=jnp.float32`.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    optax==0.2.8 jax==0.10.2 jaxlib==0.10.2
seen=$(JAX_PLATFORMS=cpu "$work/venv/bin/python" -W ignore - <<'PY'
import jax.numpy as jnp, optax

params = grads = jnp.ones(2, jnp.bfloat16)

def first_step(optimizer):
    return optimizer.update(grads, optimizer.init(params), params)

plain, _ = first_step(optax.adam(1e-2))
make = optax.inject_hyperparams(optax.adam)
injected, state = first_step(make(1e-2))
print(f"plain {plain}, injected {injected} with b2 = {state.hyperparams['b2']}")
cured, _ = first_step(optax.inject_hyperparams(optax.adam, hyperparam_dtype=jnp.float32)(1e-2))
assert jnp.isfinite(cured).all(), cured
PY
)
echo "$seen"
echo "$seen" | grep -qE "^plain \[-0\.01[0-9]* -0\.01[0-9]*\], injected \[nan nan\] with b2 = 1(\.0)?$"
