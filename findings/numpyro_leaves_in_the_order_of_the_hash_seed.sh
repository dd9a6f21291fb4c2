#!/usr/bin/env bash
# Versions: numpyro 0.22.0 with jax 0.10.2.
# Behaviour: a distribution of NumPyro is a pytree whose leaves come in the order of a set
#   of strings, and so of PYTHONHASHSEED. Leaves that one process writes (a checkpoint, a
#   list sent to a worker) are read by another with loc and scale swapped, in silence.
# Output seen:
#   seed 0 writes [3.0, 2.0], which seed 1 reads as loc 3.0, scale 2.0
# What was written was Normal(loc=2.0, scale=3.0). Write the parameters by their names.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    numpyro==0.22.0 jax==0.10.2 jaxlib==0.10.2
cat >"$work/write.py" <<'PY'
import jax, numpyro.distributions as dist
print(jax.tree.leaves(dist.Normal(2.0, 3.0)))
PY
cat >"$work/read.py" <<'PY'
import ast, sys
import jax, numpyro.distributions as dist
read = jax.tree.unflatten(jax.tree.structure(dist.Normal(0.0, 1.0)), ast.literal_eval(sys.argv[1]))
print(f"loc {read.loc}, scale {read.scale}")
PY
export JAX_PLATFORMS=cpu
written=$(PYTHONHASHSEED=0 "$work/venv/bin/python" "$work/write.py")
read=$(PYTHONHASHSEED=1 "$work/venv/bin/python" "$work/read.py" "$written")
echo "seed 0 writes $written, which seed 1 reads as $read"
test "$read" = "loc 3.0, scale 2.0"
