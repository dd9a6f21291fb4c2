"""Time of one optimizer step: `reparameterize` against optax on free coordinates.

Three ways to take a step of Adam on one float32 leaf of positive numbers, compiled,
with donated buffers:

- free: plain optax on the free coordinates, the loss composed with `forward`; the user
  keeps free coordinates and calls `forward` to see the parameters.
- wrapped: plain optax on a model whose leaf is a wrapper of the free coordinates, which
  the loss unwraps.
- ours: `reparameterize`, parameters and gradients in the model's coordinates.

The steps are interleaved, and each ratio is the median over rounds of the ratio within a
round, so that what else the machine does falls on all alike. Run it as
`python benchmarks/optimizer_step.py`; it writes `optimizer_step.md` beside itself.
"""

import argparse
import functools
import pathlib
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import Array

import bijectree as bt

SIZES = (1_000, 10_000, 100_000, 1_000_000, 4_000_000)


class Wrapped(eqx.Module):
    """A leaf as its free coordinates."""

    free: Array

    def unwrap(self) -> Array:
        """The parameters."""
        return jnp.exp(self.free)


def unwrap(tree: Any) -> Any:
    """Replace each wrapper in a tree by the leaf it stands for."""
    wrapped = lambda x: isinstance(x, Wrapped)  # noqa: E731
    return jax.tree.map(lambda x: x.unwrap() if wrapped(x) else x, tree, is_leaf=wrapped)


def cheap(model: Any) -> Array:
    """A loss that costs next to nothing."""
    return 0.5 * jnp.sum((model["x"] - 1.0) ** 2)


def dear(turns: int, model: Any) -> Array:
    """A loss that costs what is asked of it."""
    y = jax.lax.fori_loop(0, turns, lambda _, y: jnp.sin(y) + model["x"], model["x"])
    return jnp.sum(y**2)


def compiled(optimizer: Any, loss: Callable[[Any], Array]) -> Callable[..., Any]:
    """One step, with donated buffers."""

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, state: Any) -> Any:
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    return step


def runs(size: int, loss: Callable[[Any], Array]) -> dict[str, list[Any]]:
    """The steps to compare, each with what it starts from."""
    params = {"x": jnp.exp(jax.random.normal(jax.random.key(0), (size,)))}
    reparam = bt.Reparam(params, bt.tfb.Exp())
    inner = optax.adam(1e-4)
    ours = bt.reparameterize(inner, reparam)
    free = reparam.inverse(params)
    wrapped = {"x": Wrapped(jnp.copy(free["x"]))}
    return {
        "free": [compiled(inner, reparam.compose(loss)), (free, inner.init(free))],
        "wrapped": [
            compiled(inner, lambda tree: loss(unwrap(tree))),
            (wrapped, inner.init(wrapped)),
        ],
        "ours": [compiled(ours, loss), (params, ours.init(params))],
    }


def measure(size: int, loss: Callable[[Any], Array], rounds: int) -> dict[str, Any]:
    """Times of the steps in milliseconds, and the ratios to the first."""
    found = runs(size, loss)
    inner = max(1, 200_000 // size)  # steps that one measurement takes
    times: dict[str, list[float]] = {name: [] for name in found}
    for turn in range(rounds + 2):
        for name, run in found.items():
            step, carry = run
            start = time.perf_counter()
            for _ in range(inner):
                carry = step(*carry)
            jax.block_until_ready(carry)
            if turn >= 2:
                times[name].append((time.perf_counter() - start) / inner * 1e3)
            run[1] = carry
    first = times["free"]
    ratios = {
        name: statistics.median(a / b for a, b in zip(ts, first, strict=True))
        for name, ts in times.items()
    }
    return {"ms": {n: statistics.median(ts) for n, ts in times.items()}, "ratio": ratios}


def turns_for(size: int, times: float) -> int:
    """How many turns of `dear` make its step cost so many steps of `cheap`."""
    light = measure(size, cheap, 5)["ms"]["free"]
    heavy = measure(size, functools.partial(dear, 4), 5)["ms"]["free"]
    return max(1, round(4 * (times + 1) * light / max(heavy - light, 1e-6)))


def main() -> None:
    """Print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    args = parser.parse_args()
    lines = [
        "| parameters | loss | free, ms | wrapped, ms | ours, ms | wrapped / free | "
        "ours / free |",
        "|---:|---|---:|---:|---:|---:|---:|",
    ]
    for size in args.sizes:
        dear_loss = functools.partial(dear, turns_for(size, 10))
        for name, loss in {"nothing": cheap, "ten steps": dear_loss}.items():
            found = measure(size, loss, args.rounds)
            ms, ratio = found["ms"], found["ratio"]
            lines.append(
                f"| {size:,} | {name} | {ms['free']:.3g} | {ms['wrapped']:.3g} | "
                f"{ms['ours']:.3g} | {ratio['wrapped']:.2f} | {ratio['ours']:.2f} |"
            )
            print(lines[-1], flush=True)
    device = jax.devices()[0].device_kind
    header = (
        f"One step of Adam on a float32 leaf of positive numbers: JAX {jax.__version__}, "
        f"optax {optax.__version__}, {device}, {platform.machine()}. Medians of "
        f"{args.rounds} interleaved rounds; by `benchmarks/optimizer_step.py`.\n\n"
    )
    path = pathlib.Path(__file__).with_suffix(".md")
    path.write_text(header + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
