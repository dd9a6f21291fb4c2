"""The evidence bound and its maximisation by optax."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from .. import inference, posterior, substrate
from ..posterior import Target
from . import short_chains

# One compiled call takes so many steps, a chunk; after each the bound is evaluated.
_CHUNK = 50

# The bound is evaluated on so many held-out draws of the base.
_DRAWS = 32


class EvidenceBound(eqx.Module):
    """log p(T(z)) + log |det ∇T(z)| at a draw z of a standard normal density.

    Its mean is the evidence lower bound, but for the entropy of z.
    """

    target: Target

    def __call__(self, numbers: PyTree, z: Array) -> Array:
        """The term of one draw, for the numbers of T."""
        raise NotImplementedError


class Maximum(NamedTuple):
    """What `maximise` found.

    Attributes:
        numbers: of the best map, by the held-out draws of the base.
        trace: the bound at the held-out draws, at the start and after each chunk.
        spent: how many gradients, and values, of the log-density it took.
        rising: whether the bound rose by more than 1 in the last fifth of the steps.
    """

    numbers: PyTree
    trace: Float[np.ndarray, " checks"]
    spent: int
    rising: bool


@contextlib.contextmanager
def show_progress(steps: int, *, progress: bool) -> Iterator[Callable[[int, str], None]]:
    """Show a progress bar, and give the function by which `maximise` moves it."""
    with inference.bar(progress=progress) as bar:
        task = bar.add_task("evidence bound", total=steps)

        def advance(n: int, bound: str) -> None:
            bar.update(task, advance=n, description=f"evidence bound {bound}")

        yield advance


def maximise(
    bound: EvidenceBound,
    numbers: PyTree,
    key: PRNGKeyArray,
    *,
    steps: int,
    samples: int,
    learning_rate: float,
    patience: int,
    project: Callable[[PyTree], PyTree],
    advance: Callable[[int, str], None],
    rates: PyTree | None = None,
) -> Maximum:
    """Maximise the evidence bound by Adam, with early stopping.

    Args:
        bound: the bound.
        numbers: where to start; their `loc` and `log_scale` are the mean and the log of
            the scale of T(z), to first order.
        key: a PRNG key.
        steps: how many steps to make at most.
        samples: how many draws of the base each gradient is a mean of.
        learning_rate: of Adam, which falls to zero along a cosine.
        patience: how many chunks to go on for without a better bound.
        project: brings the numbers back to where they may be, after each step.
        advance: is called with the steps that were made, and with the bound in words.
        rates: what the steps of each number are multiplied by; 1, if `None`.

    Raises:
        ValueError: few of the first steps had a finite gradient, and the gradient is not
            finite at the start either. The message names the coordinates.
    """
    chunks = -(-steps // _CHUNK)
    rates = jax.tree.map(jnp.ones_like, numbers) if rates is None else rates
    schedule = optax.cosine_decay_schedule(learning_rate, chunks * _CHUNK)
    optimizer = optax.adam(schedule, b2=0.99)
    key, key_held = jax.random.split(key)
    dim = bound.target.posterior.dim
    held = jax.random.normal(key_held, (_DRAWS, dim), posterior.dtype_of(bound.target))
    with substrate.standard_promotion():
        state = optimizer.init(numbers)
    start = numbers
    best, trace = numbers, [float(_mean(bound, numbers, held))]
    spent, best_at = _DRAWS, 0
    for i in range(1, chunks + 1):
        key, key_chunk = jax.random.split(key)
        numbers, state, finite = _advance(
            bound, optimizer, numbers, rates, state, key_chunk, samples, project
        )
        if i == 1 and not finite:
            _raise_not_finite(bound, start.loc + jnp.exp(start.log_scale) * held)
            spent += _DRAWS
        trace.append(float(_mean(bound, numbers, held)))
        spent += _CHUNK * samples + _DRAWS
        advance(_CHUNK, f"{trace[-1]:.4g}")
        if trace[-1] > np.nan_to_num(trace[best_at], nan=-np.inf):
            best, best_at = numbers, i
        elif i - best_at >= patience:
            advance(_CHUNK * (chunks - i), f"{trace[-1]:.4g}")
            break
    tail = trace[-max(2, len(trace) // 5) :]
    rising = len(trace) == chunks + 1 and tail[-1] - tail[0] > 1.0
    return Maximum(best, np.array(trace), spent, rising)


def _raise_not_finite(bound: EvidenceBound, draws: Array) -> None:
    slopes = short_chains.gradients(bound.target, np.asarray(draws))
    bad = np.asarray(~np.isfinite(slopes).all(axis=0))
    if bad.any():
        labels = bound.target.posterior.labels
        raise ValueError(
            "the gradient of the log-density is not finite at "
            f"{inference.listed(labels, bad)}: mend the likelihood or the prior there, "
            "or bound the coordinate"
        )


@eqx.filter_jit
def _advance(
    bound: EvidenceBound,
    optimizer: Any,
    numbers: PyTree,
    rates: PyTree,
    state: PyTree,
    key: PRNGKeyArray,
    samples: int,
    project: Callable[[PyTree], PyTree],
) -> tuple[PyTree, PyTree, Array]:
    dim, dtype = bound.target.posterior.dim, posterior.dtype_of(bound.target)

    def loss(numbers: PyTree, key: PRNGKeyArray) -> Array:
        half = jax.random.normal(key, (-(-samples // 2), dim), dtype)
        # The draws are antithetic: odd terms of the gradient cancel.
        z = jnp.concatenate([half, -half])[:samples]
        return -jnp.mean(jax.vmap(lambda z: bound(numbers, z))(z))

    def step(carry: Any, key: PRNGKeyArray) -> tuple[Any, Any]:
        numbers, state = carry
        gradient = jax.grad(loss)(numbers, key)
        finite = jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(gradient)])
        ok = finite.all()
        updates, new = optimizer.update(gradient, state, numbers)
        updates = jax.tree.map(jnp.multiply, updates, rates)
        moved = project(optax.apply_updates(numbers, updates))
        # A step from a draw with no finite gradient is left out.
        keep = lambda new, old: jnp.where(ok, new, old)  # noqa: E731
        return jax.tree.map(keep, (moved, new), (numbers, state)), ok

    with substrate.standard_promotion():
        carry = (numbers, state)
        (numbers, state), ok = jax.lax.scan(step, carry, jax.random.split(key, _CHUNK))
        return numbers, state, ok.mean() > 0.5


@eqx.filter_jit
def _mean(bound: EvidenceBound, numbers: PyTree, z: Array) -> Array:
    with substrate.standard_promotion():
        entropy = 0.5 * z.shape[-1] * (1 + np.log(2 * np.pi))
        return jnp.mean(jax.vmap(lambda z: bound(numbers, z))(z)) + entropy
