"""One step of Adam on a float32 leaf of positive numbers, with donated buffers.

- free: plain optax on the free coordinates, the loss composed with `forward`; the user
  keeps free coordinates and calls `forward` to see the parameters.
- paramax: plain optax on a model whose leaf is a wrapper of the free coordinates, which
  the loss unwraps.
- bijectree: `reparameterize`, parameters and gradients in the model's coordinates.

The loss costs nothing, or as much as ten such steps.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import Array

import bijectree as bt

from . import peers
from ._timing import OURS, Options, Row, Times, agree, interleave, row

TITLE = "Optimizer step"
SIZES = (1_000, 10_000, 100_000, 1_000_000, 4_000_000)
FREE, WRAPPED = "free", "paramax"


def cheap(model: Any) -> Array:
    """A loss that costs next to nothing."""
    return 0.5 * jnp.sum((model["x"] - 1.0) ** 2)


def dear(turns: int, model: Any) -> Array:
    """A loss that costs what is asked of it."""
    y = jax.lax.fori_loop(0, turns, lambda _, y: jnp.sin(y) + model["x"], model["x"])
    return jnp.sum(y**2)


class Training:
    """Steps, each from where the last one ended: the buffers are donated."""

    def __init__(self, optimizer: Any, loss: Callable[[Any], Array], params: Any):
        self.carry = jax.tree.map(jnp.copy, (params, optimizer.init(params)))

        @functools.partial(jax.jit, donate_argnums=(0, 1))
        def step(params: Any, state: Any) -> Any:
            updates, state = optimizer.update(jax.grad(loss)(params), state, params)
            return optax.apply_updates(params, updates), state

        self.step = step.lower(*self.carry).compile()

    def __call__(self) -> Any:
        """Take a step."""
        self.carry = self.step(*self.carry)
        return self.carry


def trainings(size: int, loss: Callable[[Any], Array]) -> dict[str, Training]:
    """The steps to compare, which have been compared."""
    params = {"x": jnp.exp(jax.random.normal(jax.random.key(0), (size,)))}
    reparam = bt.Reparam(params, bt.positive())
    inner = optax.adam(1e-4)
    free = reparam.inverse(params)
    found = {
        FREE: Training(inner, reparam.compose(loss), free),
        OURS: Training(bt.reparameterize(inner, reparam), loss, params),
    }
    seen: dict[str, Callable[[Any], Any]] = {FREE: reparam.forward, OURS: lambda x: x}
    if peers.have("paramax"):
        import paramax

        wrapped = {"x": paramax.Parameterize(jnp.exp, free["x"])}
        # The wrapper holds its function as a leaf beside the array.
        arrays, rest = eqx.partition(wrapped, eqx.is_inexact_array)
        unwrap = lambda arrays: paramax.unwrap(eqx.combine(arrays, rest))  # noqa: E731
        found[WRAPPED] = Training(inner, lambda arrays: loss(unwrap(arrays)), arrays)
        seen[WRAPPED] = unwrap
    for training in found.values():
        for _ in range(3):
            training()
    results = {name: seen[name](t.carry[0])["x"] for name, t in found.items()}
    agree(results, 1e-5, f"optimizer, {size:,}")
    return found


def measure(size: int, loss: Callable[[Any], Array], rounds: int) -> Times:
    """Times of a step."""
    return interleave(trainings(size, loss), rounds)


def turns_for(size: int, times: float) -> int:
    """How many turns of `dear` make its step cost so many steps of `cheap`."""
    tried = 8
    light = min(measure(size, cheap, 5)[FREE])
    heavy = min(measure(size, functools.partial(dear, tried), 5)[FREE])
    # At least the cost of what a turn writes, should noise hide it: each is kept for the
    # gradient, so too many would fill the memory.
    a_turn = max((heavy - light) / tried, light / 20)
    return max(1, round(times * light / a_turn))


def run(options: Options) -> Iterator[Row]:
    """Each size with each loss."""
    for size in SIZES[:1] if options.quick else SIZES:
        turns = 4 if options.quick else turns_for(size, 10)
        losses = {"nothing": cheap, "ten steps": functools.partial(dear, turns)}
        limits = {"nothing": 1.5, "ten steps": 1.05}
        for name, loss in losses.items():
            yield row(
                "optimizer",
                f"{size:,} parameters, loss costs {name}",
                measure(size, loss, options.rounds(31)),
                limits={} if options.quick else {FREE: limits[name]},
                unit="ms",
                size=size,
            )
