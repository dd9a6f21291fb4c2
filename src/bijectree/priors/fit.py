"""Whether a distribution can stand at a leaf."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import substrate
from ..foreign import is_constraint, is_transform
from ..substrate import Recipe
from ..trees import UNWRAP_FIRST, describe, node_types
from .distribution import (
    ERRORS,
    _as_shape,
    _words,
    compute_dtype,
    is_distribution,
    log_probs,
    name,
)
from .facts import parts_of, wrong_by_value
from .lookup import why_no_density


@functools.lru_cache(maxsize=4096)
def _abstract_log_probs(
    recipe: Recipe, avals: tuple, shape: tuple[int, ...], dtype: np.dtype
) -> jax.ShapeDtypeStruct:
    numbers = tuple(jax.ShapeDtypeStruct(*aval) for aval in avals)
    leaf = jax.ShapeDtypeStruct(shape, dtype)
    return jax.eval_shape(functools.partial(log_probs, recipe, dtype), numbers, leaf)


def misfit(
    distribution: Any,
    recipe: Recipe,
    numbers: tuple[Any, ...],
    shape: tuple[int, ...],
    leaf_dtype: Any,
) -> str:
    """Why a distribution cannot stand at a leaf, from shapes alone; "" if it can."""
    try:
        return _misfit(distribution, recipe, numbers, shape, leaf_dtype)
    except ERRORS as error:
        return cannot_be_looked_into(distribution, error)


def cannot_be_looked_into(distribution: Any, error: Exception) -> str:
    """What a message should say of a distribution that raises when it is made again."""
    kind = type(error).__name__
    return f"{name(distribution)} cannot be looked into: {kind}: {_words(error)}"


def _misfit(
    distribution: Any,
    recipe: Recipe,
    numbers: tuple[Any, ...],
    shape: tuple[int, ...],
    leaf_dtype: Any,
) -> str:
    what = name(distribution)
    leaf = f"the leaf's shape {shape}"
    if _is_discrete(distribution):
        return f"{what} is discrete, the leaf is continuous"
    why = _why_no_density(distribution)
    if why:
        return f"{what} has no density there: {why}"
    expected: tuple[int, ...] | None = None
    if hasattr(distribution, "event_shape"):
        event = _as_shape(distribution.event_shape)
        batch = _as_shape(distribution.batch_shape)
        if event is None or batch is None:
            return f"{what} is a distribution of several parts; one leaf takes one part"
        cut = len(shape) - len(event)
        if cut < 0 or shape[cut:] != event:
            return (
                f"{what} has events of shape {event}, which are not the last axes of "
                f"{leaf}"
            )
        expected = shape[:cut]
        if not _broadcasts(batch, expected):
            return (
                f"{what} has the batch shape {batch}, which does not fit {expected}, "
                f"{leaf} without the event: a leaf is never broadcast to more elements"
            )
    dtype = compute_dtype(leaf_dtype)
    avals = tuple((jnp.shape(n), jnp.result_type(n)) for n in numbers)
    opaque = any(part is not None and part.once for part in recipe.fixed)
    look = _abstract_log_probs.__wrapped__ if opaque else _abstract_log_probs
    try:
        result = look(recipe, avals, shape, dtype)
    except ERRORS as error:
        return f"{what} does not fit {describe_leaf(shape, leaf_dtype)}: {_words(error)}"
    if not jnp.issubdtype(result.dtype, jnp.floating):
        return f"{what} gives a log-density of dtype {result.dtype} there"
    got = tuple(result.shape)
    fits = got == expected if expected is not None else got == shape[: len(got)]
    if not fits:
        return f"{what} gives log-densities of shape {got} for {leaf}"
    return ""


def at_raw_number(what: str, node: str) -> str:
    """What a message should say of a prior at a leaf that a node unwraps."""
    return (
        f"{what} would be a density of the raw number of {node}, which "
        f"makes its value of that by `unwrap`. {UNWRAP_FIRST}"
    )


def _why_no_density(distribution: Any) -> str:
    """Why a distribution, or one that it is made of, has no density, or a wrong one."""
    why = why_no_density(distribution) or wrong_by_value(distribution)
    if why:
        return why
    for part in parts_of(distribution):
        why = _why_no_density(part)
        if why or _is_discrete(part):
            return f"it is made of {name(part)}: {why or 'that is discrete'}"
    return ""


def describe_leaf(shape: tuple[int, ...], dtype: Any) -> str:
    """A leaf in words."""
    return describe(jax.ShapeDtypeStruct(shape, dtype))


def refuse(value: Any) -> str:
    """What a message should say of a value that is no distribution."""
    expected = "expected a distribution (anything with log_prob) or None (flat)"
    if isinstance(value, type):
        return (
            f"got the class {value.__name__}; {expected}. Call it: {value.__name__}(...)"
        )
    if substrate.is_bijector(value):
        return (
            f"got the bijector {value.name}; {expected}. A bijector goes into the spec "
            "of the Reparam"
        )
    if is_constraint(value):
        return (
            f"got the constraint {type(value).__name__.strip('_')}; {expected}. "
            "bt.bijector_for makes a bijector of a constraint, which goes into the spec "
            "of the Reparam"
        )
    if is_transform(value):
        return (
            f"got the transform {type(value).__name__}; {expected}. A transform goes "
            "into the spec of the Reparam"
        )
    if callable(value):
        name = getattr(value, "__name__", type(value).__name__)
        if str(getattr(value, "__module__", "")).startswith(_PACKAGE):
            return f"got the function bt.{name}; {expected}. It makes what a spec holds"
        return (
            f"got the function {name}; {expected}. A prior that is a function takes the "
            f"whole model: prior={name}"
        )
    if hasattr(value, "logpdf"):
        return f"got {describe(value)}, which has logpdf; {expected}"
    return f"got {describe(value)}; {expected}"


_PACKAGE = __name__.partition(".")[0] + "."


def _broadcasts(batch: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether a batch shape broadcasts to exactly `shape`."""
    try:
        return np.broadcast_shapes(batch, shape) == shape
    except ValueError:
        return False


def _is_discrete(distribution: Any) -> bool:
    if getattr(getattr(distribution, "support", None), "is_discrete", False):
        return True
    dtype = getattr(distribution, "dtype", None)
    try:
        return dtype is not None and jnp.issubdtype(dtype, jnp.integer)
    except TypeError:  # a distribution of several parts has several dtypes
        return False


def leaf_of_prior(treedef: Any) -> Callable[[Any], bool]:
    """A function that says what is a leaf of a prior beside a model of some structure.

    A model, or a node of it, may have a `log_prob` of its own.
    """
    nodes = node_types(treedef)

    def is_leaf(x: Any) -> bool:
        # What is none is a leaf too, of which `refuse` says what to write.
        wrong = substrate.is_bijector(x) or is_constraint(x) or is_transform(x)
        return type(x) not in nodes and (is_distribution(x) or wrong)

    return is_leaf
