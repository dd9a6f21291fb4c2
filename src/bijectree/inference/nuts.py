"""The one loop of BlackJAX's NUTS: steps of a chain, of fixed or adapted size."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, PRNGKeyArray


def take_steps(
    blackjax: Any,
    target: Callable[[Array], Array],
    key: PRNGKeyArray,
    state: Any,
    tuning: Any,
    keep: Callable[[Any, Any], Any],
    *,
    n: ArrayLike,
    room: int,
    adapt: ArrayLike,
    acceptance: ArrayLike,
    max_tree_depth: int,
) -> tuple[tuple[Any, Any], Any]:
    """Take steps in one chain, under `jit`; the mass matrix is the identity.

    Args:
        blackjax: the package.
        target: the log-density of a vector.
        key: a PRNG key.
        state: of the chain, as `blackjax.nuts.init` gives it.
        tuning: the state of BlackJAX's dual averaging of the step size.
        keep: from the chain's state and BlackJAX's info to what is kept of a step.
        n: how many steps; no more than `room`. It may be traced, so that one program
            serves all numbers of steps.
        room: how many steps there is room for.
        adapt: whether the step size changes after each step. If not, it is the average
            of `tuning`.
        acceptance: the rate that the step size is adapted to.
        max_tree_depth: a trajectory has at most 2 to this power steps.

    Returns:
        The chain's state and the tuning after the steps; and what was kept, with a
        leading axis of length `room`, where what lies beyond `n` means nothing.
    """
    kernel = blackjax.nuts.build_kernel()
    averaging = blackjax.adaptation.step_size.dual_averaging_adaptation
    _, update, _ = averaging(acceptance)
    unit = jnp.ones_like(state.position)

    def density(vector: Array) -> Array:
        # The data may be of another precision than the model, which BlackJAX mixes up.
        return target(vector).astype(unit.dtype)

    # It is traced once, for the shapes of what is kept and for the loop.
    @jax.jit
    def step(carry: tuple[Any, Any], key: PRNGKeyArray) -> tuple[Any, Any]:
        state, tuning = carry
        now = jnp.where(adapt, tuning.log_step_size, tuning.log_step_size_avg)
        size = jnp.exp(now).astype(unit.dtype)
        state, info = kernel(key, state, density, size, unit, max_tree_depth)
        # A trajectory that ended in NaN was too long: its acceptance counts as 0.
        new = update(tuning, jnp.nan_to_num(info.acceptance_rate))
        tuning = jax.tree.map(
            lambda new, old: jnp.where(adapt, new, old).astype(old.dtype), new, tuning
        )
        return (state, tuning), keep(state, info)

    kept = jax.eval_shape(step, (state, tuning), key)[1]
    empty = jax.tree.map(lambda x: jnp.zeros((room, *x.shape), x.dtype), kept)

    def turn(i: Array, found: tuple[Any, Any]) -> tuple[Any, Any]:
        carry, rows = found
        carry, row = step(carry, jax.random.fold_in(key, i))
        return carry, jax.tree.map(lambda rows, x: rows.at[i].set(x), rows, row)

    return jax.lax.fori_loop(0, n, turn, ((state, tuning), empty))


def first_tuning(blackjax: Any, step_size: Array) -> Any:
    """The state of dual averaging before the first step.

    Its average is the step size too, which is so taken where nothing is adapted.
    """
    averaging = blackjax.adaptation.step_size.dual_averaging_adaptation
    init, _, _ = averaging(0.8)
    tuning = jax.tree.map(jnp.asarray, init(step_size))
    return tuning._replace(log_step_size_avg=jnp.log(step_size))
