"""Maps of whole vectors and matrices, in batches of 1,000.

Timed is value and gradient of Σ w · forward + log-det. A peer whose map onto the same set
is another one is named with a star: it is timed, for who needs any map onto the set, but
computes other numbers, and no target counts it. That the others agree is seen in float64,
where a thousand roundings leave enough.
"""

import functools
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import bijectree as bt
from bijectree import tfb

from . import peers
from ._timing import BEST, OURS, Options, Row, agree, interleave, row
from .peers import Pair

TITLE = "Correlations and simplices"
BATCH = 1_000


def corr_cholesky_by_hand(x: Array) -> tuple[Array, Array]:
    """Stan's map: partial correlations tanh x, row by row."""
    size = (1 + math.isqrt(1 + 8 * x.shape[-1])) // 2
    rows, columns = np.tril_indices(size, -1)
    y = jnp.zeros((*x.shape[:-1], size, size), x.dtype).at[..., rows, columns].set(x)
    log_sech = math.log(2) - jnp.abs(y) - jnp.log1p(jnp.exp(-2 * jnp.abs(y)))
    before = jnp.cumsum(log_sech, axis=-1) - log_sech
    factor = (jnp.tanh(y) + jnp.eye(size, dtype=x.dtype)) * jnp.exp(before)
    below = np.tril(np.ones((size, size), bool), -1)
    return factor, jnp.sum(jnp.where(below, before + 2 * log_sech, 0))


def ilr_by_hand(x: Array) -> tuple[Array, Array]:
    """Softmax of a zero-sum vector."""
    k = jnp.arange(1, x.shape[-1] + 1, dtype=x.dtype)
    w = x / jnp.sqrt(k * (k + 1))
    pad = [(0, 0)] * (x.ndim - 1)
    after = jnp.cumsum(w[..., ::-1], axis=-1)[..., ::-1]
    z = jnp.pad(after, [*pad, (0, 1)]) - jnp.pad(k * w, [*pad, (1, 0)])
    log = jax.nn.log_softmax(z)
    batch = math.prod(x.shape[:-1])
    return jnp.exp(log), jnp.sum(log) + batch * 0.5 * math.log(x.shape[-1] + 1)


def stick_breaking_by_hand(x: Array) -> tuple[Array, Array]:
    """A logistic part of what is left of a stick."""
    y = x - jnp.log(jnp.arange(x.shape[-1], 0, -1, dtype=x.dtype))
    log_part, log_rest = jax.nn.log_sigmoid(y), jax.nn.log_sigmoid(-y)
    after = jnp.cumsum(log_rest, axis=-1)
    log = log_part + after - log_rest
    parts = jnp.concatenate([jnp.exp(log), jnp.exp(after[..., -1:])], axis=-1)
    return parts, jnp.sum(log + log_rest)


def run(options: Options) -> Iterator[Row]:
    """Each set at a small and a large size."""
    for size in (4,) if options.quick else (10, 50):
        yield _measure(f"corr_cholesky, K = {size}", _correlations(size), size, options)
    for size in (10,) if options.quick else (10, 1_000):
        name = f"simplex, K = {size:,}"
        yield _measure(f"{name}, stick-breaking", _sticks(size), size, options)
        yield _measure(f"{name}, default map", _simplices(size), size, options)


def _ours(bijector: tfb.Bijector, shape: tuple[int, ...]) -> Pair:
    model = jax.ShapeDtypeStruct((BATCH, *shape), np.float32)
    return bt.Reparam(model, bijector).forward_and_log_det


def _numpyro(name: str) -> dict[str, Pair]:
    if not peers.have("numpyro"):
        return {}
    from numpyro.distributions import biject_to, constraints

    return {peers.NUMPYRO: peers.numpyro(biject_to(getattr(constraints, name)))}


def _correlations(size: int) -> dict[str, Pair]:
    return {
        OURS: _ours(bt.corr_cholesky(), (size, size)),
        **_numpyro("corr_cholesky"),
        f"{peers.TFP}*": peers.tfp(tfb.CorrelationCholesky(), 1),
        peers.HAND: corr_cholesky_by_hand,
    }


def _sticks(size: int) -> dict[str, Pair]:
    return {
        OURS: _ours(bt.simplex(via="stick_breaking"), (size,)),
        **_numpyro("simplex"),
        peers.TFP: peers.tfp(tfb.IteratedSigmoidCentered(), 1),
        peers.HAND: stick_breaking_by_hand,
    }


def _simplices(size: int) -> dict[str, Pair]:
    others = {f"{name}*": pair for name, pair in _numpyro("simplex").items()}
    return {
        OURS: _ours(bt.simplex(), (size,)),
        **others,
        f"{peers.TFP}*": peers.tfp(tfb.IteratedSigmoidCentered(), 1),
        peers.HAND: ilr_by_hand,
    }


def _measure(case: str, pairs: dict[str, Pair], size: int, options: Options) -> Row:
    keys = jax.random.split(jax.random.key(0))
    matrices = "corr" in case
    free = size * (size - 1) // 2 if matrices else size - 1
    x = 0.3 * jax.random.normal(keys[0], (BATCH, free))
    shape = (BATCH, size, size) if matrices else (BATCH, size)
    weights = jax.random.normal(keys[1], shape)
    compiled = peers.compiled(pairs, x, weights)
    same = [name for name in pairs if not name.endswith("*")]
    agree({name: compiled[name](x, weights) for name in same}, 3e-3, case)
    with jax.enable_x64(True):
        wide = [jnp.asarray(a, jnp.float64) for a in (x, weights)]
        agree({n: jax.jit(peers.weighted(pairs[n]))(*wide) for n in same}, 1e-9, case)
    runs = {name: functools.partial(f, x, weights) for name, f in compiled.items()}
    return row(
        "events",
        case,
        interleave(runs, options.rounds()),
        limits={} if options.quick else {BEST: 1.0},
        unit="µs/event",
        per=BATCH,
        peers=peers.PEERS,
        size=size,
    )
