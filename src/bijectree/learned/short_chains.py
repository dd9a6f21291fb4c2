"""Short runs of NUTS with their gradients, which fits learn from or are judged by."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from .. import inference, substrate
from ..inference import listed, optional_import
from ..posterior import Target, dtype_of
from .low_rank import AffineMap
from .outer_map import OuterMap

# One compiled call takes so many steps.
CHUNK = 25

_ACCEPTANCE = 0.8

# A trajectory of this depth has at most 127 steps: a map is learnt from short ones, too.
_DEPTH = 7

# Gradients are probed at so many points around the draws of chains in trouble.
_PROBES = 128

# A coordinate is named if its gradient is not finite at more than this share of probes.
_MANY = 0.05

# A chain is in trouble if more than this share of its steps diverged.
_TROUBLED = 0.2


class Window(NamedTuple):
    """Consecutive steps of chains.

    Attributes:
        vectors: where each step ended, of shape (chains, steps, dim).
        gradients: of the log-density there.
        diverged: whether each step diverged, of shape (chains, steps).
        spent: how many gradients all steps cost.
    """

    vectors: Float[np.ndarray, "chains steps dim"]
    gradients: Float[np.ndarray, "chains steps dim"]
    diverged: np.ndarray
    spent: int

    @property
    def stuck(self) -> np.ndarray:
        """Which chains never moved, of shape (chains,)."""
        return (self.vectors == self.vectors[:, :1]).all(axis=(1, 2))

    def later(self, steps: int) -> "Window":
        """The last steps alone; what was spent stays."""
        return self._replace(
            vectors=self.vectors[:, -steps:],
            gradients=self.gradients[:, -steps:],
            diverged=self.diverged[:, -steps:],
        )


def run(
    target: Target,
    key: PRNGKeyArray,
    start: Float[ArrayLike, "chains dim"],
    steps: int,
) -> Window:
    """Take steps of NUTS from where chains stand, adapting their step size.

    Args:
        target: the density.
        key: a PRNG key.
        start: where each chain starts.
        steps: how many to take, rounded up to a multiple of `CHUNK`.

    Raises:
        ImportError: BlackJAX is not installed.
    """
    blackjax = optional_import("blackjax")
    vectors = jnp.asarray(start, dtype_of(target))
    chains = len(vectors)
    carry = _start(blackjax, target, vectors)
    parts = []
    for chunk in jax.random.split(key, -(-steps // CHUNK)):
        keys = jax.random.split(chunk, chains)
        carry, new = _advance(blackjax, target, keys, carry)
        parts.append(jax.device_get(new))
    found, gradients, diverged, spent = (
        np.concatenate(part, axis=1) for part in zip(*parts, strict=True)
    )
    return Window(found, gradients, diverged, int(spent.sum()) + chains)


def require_finite(
    target: Target, guide: AffineMap, window: Window, key: PRNGKeyArray
) -> Window:
    """Raise if chains cannot be learnt from.

    Args:
        target: the density, in the coordinates that have the labels.
        guide: maps the coordinates of the chains to those of `target`.
        window: what the chains did.
        key: a PRNG key.

    Returns:
        The window, with the cost of probes added to `spent`.

    Raises:
        ValueError: a gradient is not finite, or a chain stands still.
    """
    probes = probe_gradients(target, guide, window, key)
    stuck = window.stuck
    if not stuck.any():
        return window._replace(spent=window.spent + probes)
    raise ValueError(
        f"in warm-up, {int(stuck.sum())} of {len(stuck)} chains did not move from where "
        f"they started ({int(window.diverged.sum())} of {window.diverged.size} steps "
        "diverged): give another `start`, or more `warm_up`"
    )


def probe_gradients(
    target: Target, guide: AffineMap | OuterMap, window: Window, key: PRNGKeyArray
) -> int:
    """Look for coordinates without a finite gradient around chains in trouble.

    Args:
        target: the density, in the coordinates that have the labels.
        guide: maps the coordinates of the chains to those of `target`.
        window: what the chains did.
        key: a PRNG key.

    Returns:
        How many gradients that cost, none if no chain is in trouble.

    Raises:
        ValueError: a gradient is not finite at many places.
    """
    lost = ~np.isfinite(window.gradients).all(axis=(1, 2))
    troubled = window.stuck | lost | (window.diverged.mean(axis=1) > _TROUBLED)
    if not troubled.any():
        return 0
    # A trajectory into where there is no gradient is given up, and leaves no trace: the
    # probes lie as far around the chains' draws as those of one chain lie apart.
    found = window.vectors[troubled].astype(np.float64)
    spread = found.std(axis=1).mean(axis=0)
    draws = found.reshape(-1, found.shape[2])
    draws = draws[np.isfinite(draws).all(axis=1)]
    points = draws[np.linspace(0, len(draws) - 1, _PROBES).astype(int)]
    noise = np.asarray(jax.random.normal(key, points.shape), np.float64)
    noise = noise * np.maximum(np.nan_to_num(spread), 0.1)
    found = gradients(target, guide.forward(points + noise))
    bad = (~np.isfinite(found)).mean(axis=0) > _MANY
    if bad.any():
        raise ValueError(
            "in warm-up, the gradient of the log-density is not finite at "
            f"{listed(target.posterior.labels, bad)}: mend the likelihood or the prior "
            "there (a square root or a norm at zero, a logarithm of what may be "
            "negative), or bound the coordinate; where rounding takes a value to the "
            "edge of its set, as a share to 1, make the distance from that edge the "
            "parameter"
        )
    return _PROBES


def gradients(
    target: Target, vectors: Float[np.ndarray, "n dim"]
) -> Float[np.ndarray, "n dim"]:
    """The gradients of the log-density at vectors."""
    return np.asarray(_gradients(target, jnp.asarray(vectors, dtype_of(target))))


def windows(total: int) -> Iterator[int]:
    """Cut a warm-up into windows that grow, in chunks; the last is two fifths of it."""
    chunks = max(3, total // CHUNK)
    last = max(1, round(0.4 * chunks))
    left, size = chunks - last, 1
    while left:
        now = left if left < 3 * size else size
        yield now * CHUNK
        left -= now
        size *= 2
    yield last * CHUNK


@eqx.filter_jit
def _start(blackjax: Any, target: Target, start: Array) -> Any:
    with substrate.standard_promotion():

        def one(vector: Array) -> Any:
            # This step size suits a standard normal density.
            first = jnp.asarray(0.5 * vector.size**-0.25, vector.dtype)
            tuning = inference.first_tuning(blackjax, first)
            return blackjax.nuts.init(vector, target), tuning

        return jax.vmap(one)(start)


@eqx.filter_jit
def _advance(
    blackjax: Any, target: Target, keys: PRNGKeyArray, carry: Any
) -> tuple[Any, tuple[Array, ...]]:
    with substrate.standard_promotion():

        def one(key: PRNGKeyArray, carry: Any) -> Any:
            state, tuning = carry
            return inference.take_steps(
                blackjax,
                target,
                key,
                state,
                tuning,
                _draw_and_gradient,
                n=CHUNK,
                room=CHUNK,
                adapt=True,
                acceptance=_ACCEPTANCE,
                max_tree_depth=_DEPTH,
            )

        return jax.vmap(one)(keys, carry)


def _draw_and_gradient(state: Any, info: Any) -> tuple[Array, ...]:
    return (
        state.position,
        state.logdensity_grad,
        info.is_divergent,
        info.num_integration_steps,
    )


@eqx.filter_jit
def _gradients(target: Target, vectors: Array) -> Array:
    with substrate.standard_promotion():
        return jax.vmap(jax.grad(target))(vectors)
