"""The first binding of a kind of leaf: known, or verified because nobody knows it.

A kind is a bijector's structure at a shape and a dtype. A known one costs what its recipe
does; one that the table of facts does not know is verified, once, against a budget of
0.3 s. Each round binds another shape, which is a kind of its own.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

import bijectree as bt
from bijectree import tfb

from ._timing import OURS, Options, Row, Times, row

TITLE = "Binding a new kind"
UNVERIFIED = "not verified"
BUDGET = "0.3 s"


def _own(n: int) -> Any:
    return tfb.Inline(
        jnp.sinh,
        jnp.arcsinh,
        forward_log_det_jacobian_fn=lambda x: jnp.log(jnp.cosh(x)) + 0.0 * n,
        forward_min_event_ndims=0,
    )


# The bijector, and the leaf's shape, for a number.
KNOWN: dict[str, tuple[Callable[[int], Any], Callable[[int], tuple[int, ...]]]] = {
    "interval": (lambda n: bt.interval(0.0, 2.0), lambda n: (n,)),
    "simplex": (lambda n: bt.simplex(), lambda n: (n,)),
    "correlation matrix": (lambda n: bt.corr_matrix(), lambda n: (n, n)),
    "chain of TFP's": (
        lambda n: tfb.Chain([tfb.Shift(1.0), tfb.Softplus()]),
        lambda n: (n,),
    ),
    "ascending of cumulated": (
        lambda n: tfb.Chain([tfb.Ascending(), tfb.Cumsum()]),
        lambda n: (n,),
    ),
    "simplex of a triangle": (
        lambda n: tfb.Chain([bt.simplex(), tfb.ScaleMatvecTriL(jnp.eye(n - 1))]),
        lambda n: (n,),
    ),
}
NEW: dict[str, tuple[Callable[[int], Any], Callable[[int], tuple[int, ...]]]] = {
    "own function": (_own, lambda n: (n,)),
    "inverse of a factor": (
        lambda n: tfb.Chain([tfb.CholeskyToInvCholesky(), bt.lower_cholesky()]),
        lambda n: (n, n),
    ),
    "blocks": (
        lambda n: tfb.Blockwise([tfb.Exp(), tfb.Softplus()], block_sizes=[1, n - 1]),
        lambda n: (n,),
    ),
}


def run(options: Options) -> Iterator[Row]:
    """Known kinds, then new ones, each beside binding without verification."""
    # From 7 on, TFP's inverse of a factor is refused: its log-det in float32 is far off.
    sizes = range(3, 5 if options.quick else 7)
    for known, cases in ((True, KNOWN), (False, NEW)):
        for name, (make, shape) in cases.items():
            times: Times = {OURS: [], UNVERIFIED: [], BUDGET: []}
            for n in sizes:
                for verify, column in ((False, UNVERIFIED), (True, OURS)):
                    model = jax.ShapeDtypeStruct(shape(n), jnp.float32)
                    spec = make(n)
                    start = time.perf_counter()
                    bt.Reparam(model, spec, verify=verify)
                    times[column].append(time.perf_counter() - start)
                times[BUDGET].append(0.3)
            limits = {} if options.quick else {BUDGET: 1.0}
            words = "known" if known else "new"
            yield row("binding", f"{words}: {name}", times, limits=limits, unit="s")
