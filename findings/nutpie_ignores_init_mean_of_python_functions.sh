#!/usr/bin/env bash
# Version: nutpie 0.16.8 (0.16.11 does the same).
# Behaviour: `nutpie.sample(..., init_mean=x)`, documented as the point around which the
#   chains start, has no effect and gives no warning where the model is a Python function,
#   from `nutpie.compiled_pyfunc.from_pyfunc`: the first point of each chain is the same
#   with and without it, to the last bit. `make_initial_point_fn` of `from_pyfunc` is what
#   sets it.
# Output seen:
#   without: [[-0.16, 1.14], [0.74, 0.99]]
#   init_mean of 100: [[-0.16, 1.14], [0.74, 0.99]]
#   make_initial_point_fn: [[100.0, 100.0], [100.0, 100.0]]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check nutpie==0.16.8
"$work/venv/bin/python" - <<'PY'
import numpy as np
import nutpie
from nutpie.compiled_pyfunc import from_pyfunc


def first_points(initial=None, **options):
    chains = []

    def make_density():
        seen = []
        chains.append(seen)

        def density(x):
            seen.append(x.copy())
            return -0.5 * float(x @ x), -x

        return density

    model = from_pyfunc(
        2,
        make_density,
        lambda *_: lambda x: {"x": x.copy()},
        [np.dtype(float)],
        [(2,)],
        ["x"],
        make_initial_point_fn=initial,
    )
    nutpie.sample(
        model, draws=10, tune=10, chains=2, cores=1, seed=0, progress_bar=False, **options
    )
    return np.array([seen[0] for seen in chains if seen])


far = np.full(2, 100.0)
found = {
    "without": first_points(),
    "init_mean of 100": first_points(init_mean=far),
    "make_initial_point_fn": first_points(lambda seed: far.copy()),
}
for name, points in found.items():
    print(f"{name}: {points.round(2).tolist()}")
same = np.array_equal(found["without"], found["init_mean of 100"])
same &= np.array_equal(found["make_initial_point_fn"], np.full((2, 2), 100.0))
raise SystemExit(0 if same else "changed: init_mean has an effect")
PY
