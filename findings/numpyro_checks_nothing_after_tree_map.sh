#!/usr/bin/env bash
# Versions: numpyro 0.22.0 with jax 0.10.2.
# Behaviour: NumPyro checks values by default, so that a density is 0 off its support. A
#   distribution that went through `jax.tree.map`, or into `jax.jit` as an argument, no
#   longer does, and gives a finite density there; one that was made with
#   `validate_args=True` still checks.
# Output seen, for HalfNormal(1.0).log_prob(-1.0):
#   as made -inf, mapped -0.725791335105896, asked for -inf
# So the same model has another density inside a transformation. Ask for the check where
# the support matters.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    numpyro==0.22.0 jax==0.10.2 jaxlib==0.10.2
seen=$(JAX_PLATFORMS=cpu "$work/venv/bin/python" -W ignore - <<'PY'
import jax
import numpyro.distributions as dist

def same(distribution):
    return jax.tree.map(lambda x: x, distribution)

made, asked = dist.HalfNormal(1.0), dist.HalfNormal(1.0, validate_args=True)
as_made, mapped, kept = (float(d.log_prob(-1.0)) for d in (made, same(made), same(asked)))
print(f"as made {as_made}, mapped {mapped}, asked for {kept}")
PY
)
echo "$seen"
echo "$seen" | grep -qE "^as made -inf, mapped -0\.7257[0-9]*, asked for -inf$"
