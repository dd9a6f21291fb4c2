"""Iterations of optimisers until the mode, through each map of a set.

The loss is over the model, so the mode is the same through every map. An optimiser has
arrived when each parameter is within 1 % of the mode.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import bijectree as bt

WITHIN = 0.01
MOST = {"L-BFGS": 2_000, "Adam(0.1)": 20_000}


@dataclasses.dataclass(frozen=True)
class Mode:
    """A loss with a known minimum.

    Attributes:
        loss: of the parameters.
        at: the parameters at its minimum.
        maps: bijectors by the name of the map.
        starts: the parameters to start from, by name; `None` for free coordinates of 0.
    """

    loss: Callable[[Any], jax.Array]
    at: np.ndarray
    maps: dict[str, Any]
    starts: dict[str, Any]


def _half_lines(knee: np.ndarray) -> dict[str, Any]:
    return {
        "exp": bt.positive(),
        "softplus": bt.positive(via="softplus"),
        "softplus, knee": bt.positive(via="softplus", scale=knee),
    }


def scales() -> Mode:
    """Twenty standard deviations over six decades, of twenty numbers each."""
    s = np.logspace(-3, 3, 20)

    def loss(x: Any) -> jax.Array:
        return jnp.sum(20 * jnp.log(x) + 10 * (jnp.asarray(s) / x) ** 2)

    starts = {"x = 1": jnp.ones(20), "y = 0": None}
    return Mode(loss, s, _half_lines(s), starts)


def rates() -> Mode:
    """Twenty modes of Gamma(3, rate) over six decades."""
    mode = np.logspace(-3, 3, 20)

    def loss(x: Any) -> jax.Array:
        return -jnp.sum(2 * jnp.log(x) - 2 * x / jnp.asarray(mode))

    starts = {"x = 1": jnp.ones(20), "y = 0": None}
    return Mode(loss, mode, _half_lines(mode), starts)


def shares() -> Mode:
    """Twenty shares from 1e-6 to ½, of ten successes each."""
    p = np.logspace(-6, np.log10(0.5), 20)
    failures = 10 / p - 10

    def loss(x: Any) -> jax.Array:
        return -jnp.sum(10 * jnp.log(x) + failures * jnp.log1p(-x))

    maps = {
        "logistic": bt.interval(0.0, 1.0),
        "normal_cdf": bt.interval(0.0, 1.0, via="normal_cdf"),
    }
    return Mode(loss, p, maps, {"x = ½": None})


def counts() -> Mode:
    """Shares of ten parts whose counts rise over four decades."""
    count = np.array([1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000.0])
    turned = tuple(range(10))[::-1]

    def loss(x: Any) -> jax.Array:
        return -jnp.sum(jnp.asarray(count) * jnp.log(x))

    maps = {
        "ilr": bt.simplex(),
        "stick_breaking": bt.simplex(via="stick_breaking"),
        "stick_breaking, turned": bt.simplex(via="stick_breaking", order=turned),
        "additive_log_ratio": bt.simplex(via="additive_log_ratio"),
        "additive_log_ratio, turned": bt.simplex(via="additive_log_ratio", order=turned),
    }
    return Mode(loss, count / count.sum(), maps, {"equal parts": None})


MODES = {
    "20 sds over six decades": scales,
    "20 modes of Gamma(3, rate) over six decades": rates,
    "20 shares from 1e-6 to ½": shares,
    "10 parts, counts 1 to 30,000": counts,
}


def _lbfgs(loss: Callable[[Any], jax.Array], free: Any, close: Callable) -> Any:
    """Iterations and evaluations of L-BFGS, and whether it arrived."""
    optimizer = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(loss)

    def more(carry: Any) -> jax.Array:
        free, _, count, _ = carry
        return ~close(free) & (count < MOST["L-BFGS"]) & jnp.isfinite(loss(free))

    def step(carry: Any) -> Any:
        free, state, count, spent = carry
        value, grad = value_and_grad(free, state=state)
        updates, state = optimizer.update(
            grad, state, free, value=value, grad=grad, value_fn=loss
        )
        spent += optax.tree.get(state, "num_linesearch_steps")
        return optax.apply_updates(free, updates), state, count + 1, spent

    start = free, optimizer.init(free), jnp.zeros((), int), jnp.zeros((), int)
    free, _, count, spent = jax.lax.while_loop(more, step, start)
    return count, spent, close(free)


def _adam(loss: Callable[[Any], jax.Array], free: Any, close: Callable) -> Any:
    """Iterations and evaluations of Adam, and whether it arrived."""
    optimizer = optax.adam(0.1)

    def more(carry: Any) -> jax.Array:
        free, _, count = carry
        return ~close(free) & (count < MOST["Adam(0.1)"]) & jnp.isfinite(loss(free))

    def step(carry: Any) -> Any:
        free, state, count = carry
        updates, state = optimizer.update(jax.grad(loss)(free), state)
        return optax.apply_updates(free, updates), state, count + 1

    start = free, optimizer.init(free), jnp.zeros((), int)
    free, _, count = jax.lax.while_loop(more, step, start)
    return count, count, close(free)


def measure_modes() -> list[dict[str, Any]]:
    """Iterations of each optimiser, through each map, on each loss."""
    rows = []
    for name, make in MODES.items():
        mode = make()
        for start_name, start in mode.starts.items():
            for map_name, bijector in mode.maps.items():
                template = jax.ShapeDtypeStruct(mode.at.shape, jnp.float64)
                reparam = bt.Reparam(template, bijector)
                zeros = reparam.unravel(jnp.zeros(reparam.dim))
                free = zeros if start is None else reparam.inverse(start)

                def close(free: Any, reparam: Any = reparam, mode: Mode = mode) -> Any:
                    at = jnp.asarray(mode.at)
                    return jnp.all(jnp.abs(reparam.forward(free) / at - 1) < WITHIN)

                loss = reparam.compose(mode.loss)
                for optimizer, run in (("L-BFGS", _lbfgs), ("Adam(0.1)", _adam)):
                    found = jax.jit(lambda x, run=run, f=loss, c=close: run(f, x, c))(
                        free
                    )
                    count, spent, arrived = found
                    row = {
                        "loss": name,
                        "start": start_name,
                        "map": map_name,
                        "optimizer": optimizer,
                        "iterations": int(count),
                        "evaluations": int(spent),
                        "arrived": bool(arrived),
                    }
                    print(row, flush=True)
                    rows.append(row)
    return rows
