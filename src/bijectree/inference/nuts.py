"""The one loop of BlackJAX's NUTS: steps of a chain, of fixed or adapted size."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray


def take_steps(
    blackjax: Any,
    target: Callable[[Array], Array],
    key: PRNGKeyArray,
    state: Any,
    step_size: Any,
    inverse_mass_matrix: Array,
    keep: Callable[[Any, Any], Any],
    *,
    n: int,
    max_tree_depth: int,
    acceptance: float | None = None,
) -> tuple[tuple[Any, Any], Any]:
    """Take steps in one chain, under `jit`.

    Args:
        blackjax: the package.
        target: the log-density of a vector.
        key: a PRNG key.
        state: of the chain, as `blackjax.nuts.init` gives it.
        step_size: a number; with `acceptance`, the state of BlackJAX's dual averaging.
        inverse_mass_matrix: the diagonal of the inverse mass matrix.
        keep: from the chain's state and BlackJAX's info to what is kept of a step.
        n: how many steps.
        max_tree_depth: a trajectory has at most 2 to this power steps.
        acceptance: the rate that the step size is adapted to after each step.

    Returns:
        The chain's state and the step size after the steps; and what was kept, with a
        leading axis of length `n`.
    """
    kernel = blackjax.nuts.build_kernel()
    averaging = blackjax.adaptation.step_size.dual_averaging_adaptation
    adapt = None if acceptance is None else averaging(acceptance)[1]

    def step(carry: tuple[Any, Any], key: PRNGKeyArray) -> tuple[Any, Any]:
        state, size = carry
        now = size if adapt is None else jnp.exp(size.log_step_size)
        state, info = kernel(key, state, target, now, inverse_mass_matrix, max_tree_depth)
        if adapt is not None:
            # A trajectory that ended in NaN was too long: its acceptance counts as 0.
            new = adapt(size, jnp.nan_to_num(info.acceptance_rate))
            size = jax.tree.map(lambda x, old: jnp.asarray(x, old.dtype), new, size)
        return (state, size), keep(state, info)

    return jax.lax.scan(step, (state, step_size), jax.random.split(key, n))
