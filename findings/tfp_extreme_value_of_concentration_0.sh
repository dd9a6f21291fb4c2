#!/usr/bin/env bash
# Versions: tfp-nightly 0.26.0.dev20261027 with jax 0.10.2.
# Behaviour: `tfd.GeneralizedExtremeValue` with concentration 0 is the Gumbel
#   distribution and draws as such; but its density is 0 where 1 + z is negative, as it
#   would be for a concentration of 1. Seven of a hundred of its own draws are impossible.
# Output seen:
#   7.3 % of 1000 draws have log-density -inf; at -1.302 Gumbel's is -2.375
# A likelihood of such data is 0. Use `tfd.Gumbel` where the concentration is 0.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    tfp-nightly==0.26.0.dev20261027 jax==0.10.2 jaxlib==0.10.2
seen=$(JAX_PLATFORMS=cpu "$work/venv/bin/python" -W ignore - <<'PY'
import jax, numpy as np
from tensorflow_probability.substrates.jax import distributions as tfd

extreme, gumbel = tfd.GeneralizedExtremeValue(0.0, 1.0, 0.0), tfd.Gumbel(0.0, 1.0)
x = extreme.sample(1000, seed=jax.random.key(0))
impossible = np.isneginf(extreme.log_prob(x))
first = x[impossible][0]
print(
    f"{100 * impossible.mean():.1f} % of {len(x)} draws have log-density -inf; "
    f"at {first:.3f} Gumbel's is {gumbel.log_prob(first):.3f}"
)
PY
)
echo "$seen"
echo "$seen" | grep -qE "^[5-9]\.[0-9] % of 1000 draws have log-density -inf"
