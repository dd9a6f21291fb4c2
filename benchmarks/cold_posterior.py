"""CPU seconds of a posterior's first calls, each in a process of its own.

The model is a regression with groups, of 24 free coordinates. Beside each call stands the
first value and gradient of the same density: to trace, compile and run it. The threads of
XLA's compiler are counted too. `BIJECTREE_OLDER` names the `src` folder of another build,
which is then timed in turn.
"""

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from ._processes import builds, in_turn
from ._timing import Options, Row, row

TITLE = "A posterior's first calls"
GRADIENT = "value and gradient"
# What a process prints, by what it is asked for, and how many gradients that may cost.
CALLS = {
    "initial": {"initial, n = 4": 2.0, "initial, another n": 0.3},
    "find_map": {"find_map": 3.0},
}


def run(options: Options) -> Iterator[Row]:
    """Each call, of this build and of the older one if there is one."""
    for call, cases in CALLS.items():
        commands = {
            name: (["-m", "benchmarks.cold_posterior", call], source)
            for name, source in builds().items()
        }
        arguments = ["-m", "benchmarks.cold_posterior", "gradient"]
        commands[GRADIENT] = ([*arguments, str(len(cases))], None)
        found = in_turn(commands, options, 3)
        for (case, limit), times in zip(cases.items(), found, strict=True):
            limits = {} if options.quick else {GRADIENT: limit}
            yield row("cold_posterior", case, times, limits=limits, unit="s")


def _posterior() -> tuple[Any, Any]:
    """A posterior, and the model that it was bound to."""
    import jax.numpy as jnp
    import numpy as np

    import bijectree as bt
    from bijectree import tfd

    random = np.random.default_rng(0)
    groups, n = 18, 200
    group = random.integers(0, groups, n)
    x = random.normal(size=(n, 3)).astype(np.float32)
    y = (x @ [0.5, -1.0, 0.2] + random.normal(size=n)).astype(np.float32)
    model = {
        "intercept": jnp.zeros(groups),
        "mean": jnp.zeros(()),
        "spread": jnp.ones(()),
        "slope": jnp.zeros(3),
        "noise": jnp.ones(()),
    }
    spec = {
        "intercept": bt.location_scale("mean", "spread"),
        "mean": None,
        "spread": bt.positive(),
        "slope": None,
        "noise": bt.positive(),
    }

    def log_prior(m: dict[str, Any]) -> Any:
        spread, noise = tfd.HalfNormal(1.0), tfd.HalfNormal(1.0)
        wide = tfd.Normal(0.0, 5.0)
        intercept = tfd.Normal(m["mean"], m["spread"]).log_prob(m["intercept"])
        return (
            jnp.sum(intercept)
            + wide.log_prob(m["mean"])
            + jnp.sum(wide.log_prob(m["slope"]))
            + spread.log_prob(m["spread"])
            + noise.log_prob(m["noise"])
        )

    def log_likelihood(m: dict[str, Any]) -> Any:
        mean = m["intercept"][group] + x @ m["slope"]
        return jnp.sum(tfd.Normal(mean, m["noise"]).log_prob(y))

    return bt.Posterior(bt.Reparam(model, spec), log_likelihood, log_prior), model


def _calls(call: str) -> list[Callable[[], Any]]:
    """What is timed, in turn."""
    import jax
    import jax.numpy as jnp

    import bijectree as bt

    posterior, model = _posterior()
    key = jax.random.key(0)
    if call == "initial":
        return [lambda n=n: posterior.initial(key, n=n) for n in (4, 7)]
    if call == "find_map":
        # Without the log-det the density has no maximum: it grows as the spread falls.
        return [lambda: bt.find_map(posterior, model, jacobian=True)]
    assert posterior.dim == 24
    density = jax.jit(jax.value_and_grad(posterior.flat().log_density))
    return [lambda: density(jnp.zeros(24))]


def main() -> None:
    """Time calls one after another, and print their CPU seconds."""
    import jax

    call, *times = sys.argv[1:]
    jax.devices()
    found = []
    for function in _calls(call):
        start = time.process_time()
        jax.block_until_ready(jax.tree.leaves(function()))
        found.append(time.process_time() - start)
    print(*found * int(times[0] if times else 1))


if __name__ == "__main__":
    main()
