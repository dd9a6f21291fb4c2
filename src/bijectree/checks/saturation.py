"""How far a free value is from where its map saturates."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import substrate
from ..substrate import Kind
from ..trees import short
from .report import Findings

# Saturation is looked for this far from the leaf's free value.
_FURTHEST = 1024.0

# Events with more free coordinates, and leaves with more of their squares, take too long.
_MOST_COORDINATES = 64
_MOST_ENTRIES = 4_000_000

# About one free unit; exactly 1 would find |x| flat at a half.
_UNIT = 1.03


def _alive(kind: Kind, numbers: tuple[Any, ...], free: Any, steps: Any) -> Any:
    """Whether each event still changes when a coordinate goes further out than a step.

    The answer is for all events together, one for each free coordinate of an event and
    each step; the direction of a step is its sign.
    """
    events, inputs = substrate.event_sizes(kind)
    wide = free.astype(kind.compute_dtype)
    eps = float(jnp.finfo(kind.dtype).eps)

    def image(x: Any) -> Any:
        y = substrate.forward(kind, numbers, x.astype(kind.dtype))
        return y.reshape(events, y.size // events)

    def one(coordinate_and_step: Any) -> Any:
        coordinate, step = coordinate_and_step
        axis = (jnp.arange(inputs) == coordinate).astype(wide.dtype)
        axis = jnp.broadcast_to(axis, (events, inputs)).reshape(wide.shape)
        here = wide + step * axis
        # One free unit further, or what the dtype can tell apart so far out.
        unit = jnp.maximum(_UNIT, 4 * eps * jnp.abs(here))
        there = here + jnp.where(jnp.signbit(step), -unit, unit) * axis
        # The map once, in a loop of two: XLA compiles it in half the time.
        y, beyond = jax.lax.map(image, jnp.stack([here, there]))
        return jnp.all(jnp.isfinite(y)) & jnp.all(jnp.any(y != beyond, axis=1))

    pairs = jnp.meshgrid(jnp.arange(inputs), steps, indexing="ij")
    flat = jax.lax.map(one, tuple(x.ravel() for x in pairs))
    return flat.reshape(inputs, steps.size)


def _compiled_once(kind: Kind) -> Any:
    """`jax.jit` for what runs once: the time to compile it is all that counts."""
    if kind.recipe.opaque:  # no cache may keep it alive
        return _jit(functools.partial(_alive, kind))
    return functools.partial(_jit_of_all(), kind)


@functools.cache
def _jit_of_all() -> Any:
    return _jit(_alive, static_argnums=0)


def _jit(function: Any, **options: Any) -> Any:
    on_cpu = jax.default_backend() == "cpu"
    fast = {"xla_backend_optimization_level": 0} if on_cpu else None
    return jax.jit(function, compiler_options=fast, **options)


def check_room(
    kind: Kind, numbers: tuple[Any, ...], free: np.ndarray, findings: Findings
) -> None:
    """Find how far the free value may move before the map saturates."""
    events, inputs = substrate.event_sizes(kind)
    if inputs > _MOST_COORDINATES or events * inputs**2 > _MOST_ENTRIES or not inputs:
        findings.cells["room"] = "not checked (size)" if inputs else ""
        return
    run = _compiled_once(kind)
    low, high = 0.0, _FURTHEST
    grid = np.concatenate([[0.0], np.geomspace(_FURTHEST / 2**14, _FURTHEST, 15)])
    for _ in range(3):
        steps = np.concatenate([-grid, grid]).astype(kind.compute_dtype)
        alive = jax.device_get(run(numbers, free, steps)).all(axis=0)
        both = alive[: len(grid)] & alive[len(grid) :]
        if both.all():
            break
        first = int(np.argmin(both))
        low, high = grid[max(first - 1, 0)], grid[first]
        grid = np.linspace(low, high, len(grid))
    else:
        if high == 0:
            findings.cells["room"] = "saturated"
            findings.failures.append(
                f"saturated: in {kind.dtype}, moving the free value "
                f"{short(free)} by one unit does not change the leaf"
            )
            return
        findings.cells["room"] = f"{high:.3g}"
        if high < 1:
            findings.notes.append(
                f"{high:.2g} free units from where the map saturates in {kind.dtype}"
            )
        return
    findings.cells["room"] = f"> {_FURTHEST:.0f}"
