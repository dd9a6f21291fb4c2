"""CPU seconds of a first call, each in a process of its own.

A model of 20 leaves of eight kinds, as the call meets it in a new process, where nothing
is traced or compiled: the threads of XLA's compiler are counted too. `BIJECTREE_OLDER`
names the `src` folder of another build, which is then timed in turn.
"""

import sys
import time
from collections.abc import Iterator
from typing import Any

from ._processes import OLDER, builds, in_turn
from ._timing import Options, Row, row

TITLE = "First calls in a process"
CALLS = ("Reparam", "spec_from_prior", "check", "Posterior")


def run(options: Options) -> Iterator[Row]:
    """Each call, of this build and of the older one if there is one."""
    for call in CALLS:
        arguments = ["-m", "benchmarks.first_calls", call]
        commands = {name: (arguments, source) for name, source in builds().items()}
        (times,) = in_turn(commands, options, 3)
        limits = {} if options.quick or call == "Reparam" else {OLDER: 0.5}
        yield row("first_calls", f"{call}, 20 leaves", times, limits=limits, unit="s")


def _model() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """A model, its spec and its prior."""
    import numpy as np

    import bijectree as bt
    from bijectree import tfb, tfd

    kinds: dict[str, tuple[int, Any, Any, Any]] = {
        "scale": (4, lambda i: np.ones(2 + i), bt.positive(), tfd.HalfNormal(2.0)),
        "loc": (4, lambda i: np.zeros(3 + i), None, tfd.Normal(0.0, 2.0)),
        "share": (
            3,
            lambda i: np.full(2 + i, 0.3),
            bt.unit_interval(),
            tfd.Beta(2.0, 3.0),
        ),
        "between": (
            2,
            lambda i: np.full(2 + i, 0.5),
            bt.interval(-1.0, 2.0),
            tfd.Uniform(-1.0, 2.0),
        ),
        "rate": (2, lambda i: np.ones(2 + i), tfb.Softplus(), tfd.Gamma(2.0, 1.0)),
        "mix": (
            2,
            lambda i: np.full(3 + i, 1 / (3 + i)),
            bt.simplex(),
            lambda i: tfd.Dirichlet(np.ones(3 + i, np.float32)),
        ),
        "corr": (
            2,
            lambda i: np.eye(3 + i),
            bt.corr_cholesky(),
            lambda i: tfd.CholeskyLKJ(3 + i, 2.0),
        ),
        "cov": (
            1,
            lambda i: np.eye(3),
            bt.positive_definite(),
            tfd.WishartTriL(5.0, np.eye(3, dtype=np.float32)),
        ),
    }
    model, spec, prior = {}, {}, {}
    for name, (count, value, bijector, distribution) in kinds.items():
        for i in range(count):
            path = f"{name}{i}"
            model[path], spec[path] = value(i).astype(np.float32), bijector
            made = isinstance(distribution, tfd.Distribution)
            prior[path] = distribution if made else distribution(i)
    return model, spec, prior


def main() -> None:
    """Time one call, and print its CPU seconds."""
    import jax
    import jax.numpy as jnp

    import bijectree as bt

    model, spec, prior = _model()
    jax.devices()
    call, reparam = sys.argv[1], None
    if call == "Posterior":
        reparam = bt.Reparam(model, spec)
    elif call == "check":
        reparam = bt.Reparam(model, spec, verify=False)
    start = time.process_time()
    if call == "Reparam":
        bt.Reparam(model, spec)
    elif call == "spec_from_prior":
        bt.spec_from_prior(model, prior)
    elif call == "check":
        assert bt.check(reparam, model).ok
    else:
        bt.Posterior(reparam, lambda m: jnp.zeros(()), prior)
    print(time.process_time() - start)


if __name__ == "__main__":
    main()
