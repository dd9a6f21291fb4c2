"""What a function of a model and a random key makes of each draw."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..posterior import Posterior, Target
from ..trees import describe
from .arguments import require_counts

# So many draws are mapped at once, unless it is said how many.
_BATCH = 256


def predict(
    posterior: Posterior,
    vectors: Float[Array, "chains draws dim"],
    function: Callable[..., Any],
    key: PRNGKeyArray,
    args: tuple[Any, ...],
    *,
    batch_size: int | None,
) -> Any:
    """Call a function for every draw, as `Draws.predict` documents."""
    if not callable(function):
        raise TypeError(
            "predict: expected a function (model, key, *args), got "
            f"{describe(function)}; the arguments are (function, key, *args)"
        )
    if batch_size is not None:
        require_counts("predict", batch_size=batch_size)
    chains, draws, _ = vectors.shape
    size = max(1, min(batch_size or _BATCH, chains * draws))
    return _predict(Target(posterior, args), vectors, function, key, size=size)


@eqx.filter_jit
def _predict(
    target: Target,
    vectors: Float[Array, "chains draws dim"],
    function: Callable[..., Any],
    key: PRNGKeyArray,
    *,
    size: int,
) -> Any:
    chains, draws, dim = vectors.shape
    count = chains * draws
    forward, args = target.posterior.flat().forward, target.data
    static: list[Any] = []

    def one(vector: Array, number: Array) -> Any:
        own = jax.random.fold_in(jax.random.fold_in(key, number // draws), number % draws)
        found = function(forward(vector), own, *args)
        arrays, rest = eqx.partition(found, eqx.is_array_like)
        static.append(rest)
        return jax.tree.map(jnp.asarray, arrays)

    # The last batch is filled with the last draw.
    numbers = jnp.minimum(jnp.arange(-(-count // size) * size), max(count - 1, 0))
    rows = vectors.reshape(count, dim)[numbers] if count else vectors.reshape(0, dim)
    batches = (rows.reshape(numbers.size // size, size, dim), numbers.reshape(-1, size))
    found = jax.lax.map(lambda batch: jax.vmap(one)(*batch), batches)

    def by_draw(x: Array) -> Array:
        of_one = x.shape[2:]
        rows = x.reshape(numbers.size, *of_one)[:count]
        return rows.reshape(chains, draws, *of_one)

    return eqx.combine(jax.tree.map(by_draw, found), static[-1])
