"""Errors for arguments and states that do not belong to an optimizer."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, PyTree

from ..reparam import Plan, Reparam, free_leaves
from ..trees import describe, raise_all


def check_arguments(optimizer: Any, reparam: Any) -> None:
    """Raise a TypeError if these are no optimizer and no Reparam, in this order."""
    faults = []
    if not callable(getattr(optimizer, "update", None)):
        call = ". Call it, as in optax.adam(1e-2)" if callable(optimizer) else ""
        faults.append(f"expected an optax optimizer, got {describe(optimizer)}{call}")
    if not isinstance(reparam, Reparam):
        inner = getattr(reparam, "reparam", None)
        own = ". Give its `reparam`" if isinstance(inner, Reparam) else ""
        faults.append(f"expected a bt.Reparam, got {describe(reparam)}{own}")
    written = "the arguments are reparameterize(optimizer, reparam)"
    raise_all(f"reparameterize: {written}", faults, TypeError)


_MEND = (
    "If it is the state of another Reparam of the model, take it over by "
    "state = bt.carry(state, old_reparam, reparam, params); else start anew by "
    "state = optimizer.init(params)"
)


def no_state(got: Any) -> str:
    """The message for a state that `reparameterize` has not made."""
    name = type(got).__name__
    return f"update: expected the state that `init` gives, got {name}. {_MEND}"


def leaves_of_state(
    plan: Plan, free: PyTree, fingerprints: Array, watched: int
) -> list[Array]:
    """The free coordinates in a state, of a plan of which so many rows are watched.

    Raises:
        ValueError: the state is not that of an optimizer of this plan.
    """
    try:
        leaves = free_leaves(plan, free)
    except ValueError as error:
        raise ValueError(f"update: the state does not fit. {error}\n{_MEND}") from None
    due, got = max(watched, 1), jnp.shape(fingerprints)
    if got != (due,):
        raise ValueError(
            f"update: the state does not fit. It has {got} fingerprints of leaves, "
            f"expected ({due},)\n{_MEND}"
        )
    return leaves


def is_placeholder(params: Any) -> bool:
    """Whether `optax.tree_map_params` calls `init` to see what its state is made of."""
    cls = type(params)
    return cls.__name__ == "_ParamsPlaceholder" and cls.__module__.startswith("optax.")
