"""`eval_params`: parameters averaged in free coordinates."""

from collections.abc import Callable
from typing import Any

import jax.tree_util as jtu
import optax
from jaxtyping import PyTree
from optax.contrib import ScheduleFreeState, schedule_free_eval_params

from ..reparam import Reparam
from .partial_model import absent, arrays_of, put
from .reparameterize import ReparameterizedState
from .steps import Steps


def eval_params(
    state: ReparameterizedState,
    params: PyTree,
    reparam: Reparam,
    average: Callable[[optax.OptState, PyTree], PyTree] | None = None,
) -> PyTree:
    """Parameters for evaluation, averaged in free coordinates.

    In the model's coordinates the average of `optax.contrib.schedule_free` may leave
    the support. An exponential moving average needs no help: keep it of `state.free`,
    with `optax.incremental_update`, and call `reparam.forward`.

    Args:
        state: of `reparameterize`.
        params: the parameters; what has no free coordinates is taken from them.
        reparam: that the optimizer was made with.
        average: takes `state.inner` and `state.free` and returns free coordinates; by
            default `optax.contrib.schedule_free_eval_params` of the one schedule-free
            state that there is.

    Returns:
        Parameters of the structure of `params`.

    Raises:
        ValueError: no schedule-free state, or more than one, and no `average`.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp, optax
        >>> params = {"scale": jnp.array(2.0)}
        >>> reparam = bt.Reparam(params, bt.positive())
        >>> inner = optax.contrib.schedule_free_sgd(0.1)
        >>> state = bt.reparameterize(inner, reparam).init(params)
        >>> print(f"{bt.eval_params(state, params, reparam)['scale']:.3f}")
        2.000
    """
    if average is None:
        nodes = jtu.tree_leaves(state.inner, is_leaf=_is_schedule_free)
        found = [node for node in nodes if _is_schedule_free(node)]
        if len(found) != 1:
            raise ValueError(
                f"eval_params: found {len(found)} schedule-free states; pass `average`, "
                "a function of state.inner and state.free"
            )
        free = schedule_free_eval_params(found[0], state.free)
    else:
        free = average(state.inner, state.free)
    arrays = arrays_of(reparam, params, "params")
    return put(reparam, params, Steps(reparam, absent(arrays)).inside(free, arrays))


def _is_schedule_free(node: Any) -> bool:
    return isinstance(node, ScheduleFreeState)
