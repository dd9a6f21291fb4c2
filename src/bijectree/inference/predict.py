"""What a function of a model and a random key makes of each draw."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..posterior import Function, Posterior, Target
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
    target = Target(posterior, args)
    return _checked(target, vectors, None, function, key, batch_size)


def predict_of_models(
    posterior: Posterior,
    models: PyTree,
    function: Callable[..., Any],
    key: PRNGKeyArray,
    args: tuple[Any, ...],
    *,
    batch_size: int | None,
) -> Any:
    """As `predict`, of models whose arrays have leading axes (chains, draws)."""
    arrays, rest = eqx.partition(models, eqx.is_array)
    target = Target(posterior, args)
    return _checked(target, arrays, _Model(rest), function, key, batch_size)


class _Model(eqx.Module):
    """Puts the arrays of a model together with the rest of it."""

    rest: PyTree

    def __call__(self, arrays: PyTree) -> PyTree:
        return eqx.combine(arrays, self.rest)


def _checked(
    target: Target,
    rows: PyTree,
    model_of: _Model | None,
    function: Callable[..., Any],
    key: PRNGKeyArray,
    batch_size: int | None,
) -> Any:
    if not callable(function):
        raise TypeError(
            "predict: expected a function (model, key, *args), got "
            f"{describe(function)}; the arguments are (function, key, *args)"
        )
    if batch_size is not None:
        require_counts("predict", batch_size=batch_size)
    chains, draws = jax.tree.leaves(rows)[0].shape[:2]
    size = max(1, min(batch_size or _BATCH, chains * draws))
    return _predict(target, rows, model_of, Function(function), key, size=size)


@eqx.filter_jit
def _predict(
    target: Target,
    rows: PyTree,
    model_of: _Model | None,
    function: Function,
    key: PRNGKeyArray,
    *,
    size: int,
) -> Any:
    """Call a function for every row.

    Args:
        target: the Posterior, with what the function takes besides.
        rows: vectors, or the arrays of models, with leading axes (chains, draws).
        model_of: makes a model of arrays; `None` for vectors.
        function: takes a model, a key and what is besides.
        key: a PRNG key.
        size: how many rows are mapped at once.
    """
    chains, draws = jax.tree.leaves(rows)[0].shape[:2]
    count = chains * draws
    forward, args = model_of or target.posterior.flat().forward, target.data
    static: list[Any] = []

    def one(row: PyTree, number: Array) -> Any:
        own = jax.random.fold_in(jax.random.fold_in(key, number // draws), number % draws)
        found = function.build()(forward(row), own, *args)
        arrays, others = eqx.partition(found, eqx.is_array_like)
        static.append(others)
        return jax.tree.map(jnp.asarray, arrays)

    # The last batch is filled with the last draw.
    numbers = jnp.minimum(jnp.arange(-(-count // size) * size), max(count - 1, 0))

    def in_batches(x: Array) -> Array:
        x = x.reshape(count, *x.shape[2:])
        filled = x[numbers] if count else x
        return filled.reshape(numbers.size // size, size, *x.shape[1:])

    batches = (jax.tree.map(in_batches, rows), numbers.reshape(-1, size))
    found = jax.lax.map(lambda batch: jax.vmap(one)(*batch), batches)

    def by_draw(x: Array) -> Array:
        of_one = x.shape[2:]
        made = x.reshape(numbers.size, *of_one)[:count]
        return made.reshape(chains, draws, *of_one)

    return eqx.combine(jax.tree.map(by_draw, found), static[-1])
