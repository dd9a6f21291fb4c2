"""States of line searches, which remember values in free coordinates."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import optax
from jaxtyping import Array, PyTree

from ..trees import is_array

_LINE_SEARCHES = (
    optax.ScaleByZoomLinesearchState,
    optax.ScaleByBacktrackingLinesearchState,
)


def forget_searches(state: optax.OptState, like: PyTree) -> optax.OptState:
    """Let line searches forget the value and the gradient where they ended.

    Both are of free coordinates, and `optax.value_and_grad_from_state` would take them
    for the model's. The gradient gets the structure of `like`, so that it fits
    into the function's other branch.
    """

    def searches(node: Any) -> bool:
        return isinstance(node, _LINE_SEARCHES)

    def forget(node: Any) -> Any:
        if not searches(node):
            return node
        grad = node.grad
        if grad is not None:
            grad = jtu.tree_map(lambda x: filled_like(x, 0) if is_array(x) else x, like)
        return node._replace(value=jnp.full_like(node.value, jnp.inf), grad=grad)

    return jtu.tree_map(forget, state, is_leaf=searches)


def filled_like(x: Array, value: float) -> Array:
    """As `jnp.full_like`, but depending on `x`, so that XLA shards it as `x` is."""
    if jnp.issubdtype(x.dtype, jax.dtypes.extended):
        return jnp.full_like(x, value)
    number = jnp.asarray(value, x.dtype)
    return jnp.where(x == x, number, number)
