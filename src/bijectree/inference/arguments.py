"""Arguments that samplers and fits share, checked."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.core import Tracer
from jaxtyping import PRNGKeyArray

from ..posterior import Posterior, Target, dtype_of
from ..trees import describe, raise_all


def require_free_posterior(posterior: Posterior, what: str) -> None:
    """Raise if there is nothing that a map of the free vector could be fitted to."""
    if not isinstance(posterior, Posterior):
        raise TypeError(f"{what}: expected a bt.Posterior, got {describe(posterior)}")
    if posterior.dim == 0:
        raise ValueError(f"{what}: the model has no free coordinates")
    if jnp.issubdtype(dtype_of(Target(posterior, ())), jnp.complexfloating):
        raise ValueError(f"{what}: a complex leaf is free; freeze it")


def require_host(what: str, **arguments: Any) -> None:
    """Raise if something is traced, or would be."""
    traced = [
        f"'{name}'"
        for name, value in arguments.items()
        if any(isinstance(x, Tracer) for x in jtu.tree_leaves(value))
    ]
    # Under `jit` every new array is traced.
    if traced or isinstance(jnp.zeros(()), Tracer):
        raise TypeError(
            f"{what}: called under jit, vmap or grad ({', '.join(traced) or 'all'} "
            f"traced); {what} runs on the host, where it looks at values to know how to "
            "go on. Call it outside, once for each member of a batch"
        )


def require_counts(what: str, **counts: Any) -> None:
    """Raise for counts that are not integers of at least 1."""
    faults = [
        f"`{name}` must be an integer of at least 1, got {value!r}"
        for name, value in counts.items()
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1
    ]
    raise_all(f"{what}: some numbers cannot be used", faults)


def typed_key(what: str, key: Any) -> PRNGKeyArray:
    """A key with JAX's dtype of keys, of one that may be an array of integers."""
    array = isinstance(key, jax.Array)
    if array and jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.ndim == 0:
        return key
    if array and key.dtype == jnp.uint32 and key.ndim == 1:
        return jax.random.wrap_key_data(key)
    raise TypeError(f"{what}: expected one key of jax.random, got {describe(key)}")


def listed(labels: Sequence[str], mask: np.ndarray) -> str:
    """The first eight labels that a mask picks, in quotes; then how many more."""
    found = [f"'{labels[int(i)]}'" for i in np.flatnonzero(mask)]
    more = [f"{len(found) - 8} more"] if len(found) > 8 else []
    return ", ".join([*found[:8], *more])
