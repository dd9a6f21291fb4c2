"""A distribution of any library: taken apart, its density of a leaf, its draws."""

import functools
import inspect
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxpr_as_fun
from jaxtyping import Array, Float, Inexact, PRNGKeyArray

from .. import substrate
from ..constraints import snap_inside
from ..numerics import run_in_numpy
from ..substrate import Recipe, tfd
from . import at_free
from .lookup import bijector_for
from .spelled_out import put_together, spell_out


def is_distribution(x: Any) -> bool:
    """Whether `x` has a `log_prob`, whichever library made it."""
    return hasattr(x, "log_prob") and not isinstance(x, type)


def split(distribution: Any) -> tuple[Recipe, tuple[Any, ...]]:
    """Take a distribution apart into its structure and its numbers."""
    return substrate.split(spell_out(distribution))


def build(recipe: Recipe, numbers: tuple[Any, ...], dtype: Any = float) -> Any:
    """Put the numbers back, all in one dtype: a distribution again."""
    dtype = jnp.result_type(dtype)
    return put_together(recipe.build(substrate.cast_numbers(numbers, dtype)))


def compute_dtype(leaf_dtype: Any) -> np.dtype:
    """The dtype of a leaf's prior term: that of the leaf, but at least float32."""
    dtype = np.dtype(jax.dtypes.canonicalize_dtype(leaf_dtype))
    return np.dtype(np.float32) if dtype.itemsize < 4 else dtype


def log_prob(
    recipe: Recipe, numbers: tuple[Any, ...], leaf: Inexact[Array, "..."]
) -> Float[Array, ""]:
    """The log-density of a leaf: independent over its elements, or events, and summed."""
    dtype = compute_dtype(leaf.dtype)
    return _log_prob(recipe.as_read_now(), dtype, substrate.as_arrays(numbers), leaf)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _log_prob(
    recipe: Recipe, dtype: np.dtype, numbers: tuple[Any, ...], leaf: Array
) -> Array:
    program = jax.make_jaxpr(
        lambda numbers, leaf: jnp.sum(log_probs(recipe, dtype, numbers, leaf))
    )(numbers, leaf)

    # A derivative rule inside a third party's code runs when the derivative is taken,
    # outside any context of ours; the rule below runs it within one. Both work on the
    # program, for the third party's code is slow to trace.
    @jax.custom_jvp
    def total(*arrays: Array) -> Array:
        return jaxpr_as_fun(program)(*arrays)[0].astype(dtype)

    @total.defjvp
    def _(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
        with substrate.exactly():
            return jax.jvp(total.fun, primals, tangents)

    return total(*numbers, leaf)


def log_probs(
    recipe: Recipe, dtype: np.dtype, numbers: tuple[Any, ...], leaf: Array
) -> Array:
    """The log-densities of a leaf: one for each element, or event."""

    def evaluate() -> Array:
        distribution = build(recipe, numbers, dtype)
        return distribution.log_prob(_inside(distribution, leaf, dtype))

    with substrate.exactly():
        try:
            return evaluate()
        except ERRORS as error:
            # Some of TFP's compute shapes as arrays and then ask for the arrays' values.
            try:
                with jax.ensure_compile_time_eval():
                    return evaluate()
            except ERRORS:
                raise error from None


# What TFP and NumPyro raise when shapes or dtypes do not suit them.
ERRORS = (
    ValueError,
    TypeError,
    NotImplementedError,
    IndexError,
    AttributeError,
    AssertionError,
)


def log_prob_at_free(
    recipe: Recipe,
    bijector: Recipe,
    numbers: tuple[Any, ...],
    free: Inexact[Array, "..."],
) -> Float[Array, ""]:
    """The log-density of a leaf from its free coordinates, summed.

    Args:
        recipe: with `bijector`, a distribution that `knows_at_free`.
        bijector: of the leaf.
        numbers: the distribution's, then the bijector's.
        free: the leaf's free coordinates.
    """
    numbers = substrate.as_arrays(numbers)
    recipe, bijector = recipe.as_read_now(), bijector.as_read_now()
    return _log_prob_at_free(recipe, bijector, compute_dtype(free.dtype), numbers, free)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _log_prob_at_free(
    recipe: Recipe,
    bijector: Recipe,
    dtype: np.dtype,
    numbers: tuple[Any, ...],
    free: Array,
) -> Array:
    with substrate.exactly():
        own, others = numbers[: recipe.count], numbers[recipe.count :]
        distribution = build(recipe, own, dtype)
        made = bijector.build(substrate.cast_numbers(others, dtype))
        return at_free.log_prob_at_free(distribution, made, free.astype(dtype))


# Distributions whose density and its slope are finite at the end of their support.
FINITE_AT_THE_EDGE = (
    tfd.HalfCauchy,
    tfd.HalfNormal,
    tfd.HalfStudentT,
)


def _inside(distribution: Any, leaf: Array, dtype: np.dtype) -> Array:
    """A leaf in the dtype of its prior; moved inside where its map has saturated.

    On the boundary a density may have a pole, as that of Beta(½, ½), which a sampler
    would never leave; the log-det, which is not rounded, still falls. For numbers that
    were moved, the gradient is that of the log-det alone, which points inwards.
    """
    x = leaf.astype(dtype)
    if leaf.dtype == dtype and type(distribution) in FINITE_AT_THE_EDGE:
        return x
    try:
        return snap_inside(bijector_for(distribution), x, leaf.dtype)
    except (TypeError, ValueError):  # its support is not known
        return x


def sample(
    recipe: Recipe,
    dtype: np.dtype,
    numbers: tuple[Any, ...],
    shape: tuple[int, ...],
    key: PRNGKeyArray,
) -> Inexact[Array, "..."]:
    """Draw a leaf of a shape from its prior, independent over elements or events."""
    with substrate.exactly():
        distribution = build(recipe, numbers, dtype)
        event = _as_shape(getattr(distribution, "event_shape", ())) or ()
        batch = _as_shape(getattr(distribution, "batch_shape", ())) or ()
        lead = shape[: len(shape) - len(event)]
        if lead[len(lead) - len(batch) :] == batch:
            return draw(distribution, lead[: len(lead) - len(batch)], key).astype(dtype)
        # The batch broadcasts along the leaf: draw for each pair, keep those that match.
        draws = draw(distribution, lead, key)
        here = np.indices(lead)
        ofs = zip(here[len(lead) - len(batch) :], batch, strict=True)
        return draws[(*here, *(0 * i if n == 1 else i for i, n in ofs))].astype(dtype)


def sample_in_numpy(
    recipe: Recipe, numbers: tuple[Any, ...], shape: tuple[int, ...]
) -> np.ndarray | None:
    """Draw a leaf of a shape in float64, always the same, compiling nothing if possible.

    Returns:
        The draws; `None` if the distribution cannot be drawn from.
    """
    with jax.enable_x64(True):
        draw = functools.partial(sample, recipe, np.dtype(np.float64), numbers, shape)
        key = jax.random.key(0)
        try:
            try:
                return np.asarray(run_in_numpy(jax.make_jaxpr(draw)(key), key)[0])
            except ERRORS:  # a sampler that cannot be traced, or with keys in arrays
                return np.asarray(draw(key))
        except NoDrawsError:
            return None


def sample_shape(distribution: Any, n: int) -> tuple[int, ...]:
    """The shape of `n` draws, each of the distribution's own shape."""
    batch = _as_shape(getattr(distribution, "batch_shape", ())) or ()
    event = _as_shape(getattr(distribution, "event_shape", ())) or ()
    return (n, *batch, *event)


class NoDrawsError(ValueError):
    """A distribution has a density but no draws."""


def draw(distribution: Any, shape: tuple[int, ...], key: PRNGKeyArray) -> Array:
    """Sample, whichever library made the distribution."""
    none = f"{name(distribution)} cannot be drawn from"
    if not hasattr(distribution, "sample"):
        raise NoDrawsError(f"{none}: it has no `sample`")
    with warnings.catch_warnings():
        # TFP's samplers use what newer JAX is about to drop, and ask for int64.
        warnings.simplefilter("ignore")
        try:
            if "seed" in inspect.signature(distribution.sample).parameters:
                return distribution.sample(sample_shape=shape, seed=key)  # TFP, distrax
            return distribution.sample(key, shape)  # NumPyro, flowjax
        except ERRORS as error:
            raise NoDrawsError(f"{none}: {_words(error)}") from error


def name(distribution: Any) -> str:
    """What to call a distribution."""
    return type(distribution).__name__.removeprefix("_")


def _as_shape(shape: Any) -> tuple[int, ...] | None:
    """A shape as a tuple of integers, `None` if it is that of several parts."""
    try:
        return tuple(int(n) for n in shape)
    except (TypeError, ValueError):
        return None


def _words(error: Exception) -> str:
    """The message of an error; its type where there is none, as of a bare `assert`."""
    # In JAX's errors, the lines after the first are about its own code.
    return str(error).strip().partition("\n")[0] or type(error).__name__
