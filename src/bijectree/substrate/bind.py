"""Whether a bijector fits a leaf, found from shapes and dtypes alone."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .apply import cast_numbers, forward_and_log_det, inverse
from .errors import BIND_ERRORS
from .kind import Kind
from .links import _is_uniform, all_parts
from .recipe import Recipe


def bind(
    recipe: Recipe, numbers: tuple[Any, ...], shape: tuple[int, ...], dtype: Any
) -> Kind:
    """Find the free shape of a leaf and that the bijector fits it, from shapes alone.

    Raises:
        ValueError: the bijector cannot take the leaf, would change its shape, or does
            not give one scalar log-det; the message lacks only the leaf's path.
    """
    avals = tuple((jnp.shape(n), jnp.result_type(n)) for n in numbers)
    key = avals, tuple(shape), jax.dtypes.canonicalize_dtype(dtype)
    if not recipe.opaque:
        return _interned(recipe, *key)
    if key not in recipe.kinds:
        recipe.kinds[key] = _bind(recipe, *key)
    return recipe.kinds[key]


def with_dtype(kind: Kind, dtype: Any, numbers: tuple[Any, ...]) -> Kind:
    """The same kind for leaves of another dtype."""
    if dtype == kind.dtype:
        return kind
    return bind(kind.recipe, numbers, kind.shape, dtype)


def _bind(recipe: Recipe, avals: tuple, shape: tuple[int, ...], dtype: Any) -> Kind:
    numbers = tuple(jax.ShapeDtypeStruct(*aval) for aval in avals)
    half = np.dtype(dtype).itemsize < 4
    compute_dtype = np.dtype(np.float32) if half else np.dtype(dtype)

    def look(attribute: Callable[[Any], Any]) -> Any:
        # The bijector is built of tracers, whose values its constructor cannot check.
        seen: list[Any] = []

        def build(*numbers: Any) -> None:
            seen.append(attribute(recipe.build(cast_numbers(numbers, compute_dtype))))

        jax.eval_shape(build, *numbers)
        return seen[0]

    name, min_ndims, injective, uniform, augmented = look(
        lambda b: (
            getattr(b, "name", type(b).__name__),
            (b.forward_min_event_ndims, b.inverse_min_event_ndims),
            b._is_injective,
            _is_uniform(b),
            any(getattr(part, "auxiliary_coordinates", 0) for part in all_parts(b)),
        )
    )
    if not all(isinstance(n, (int, np.integer)) for n in min_ndims):
        raise ValueError(
            f"{name} maps several parts; one leaf takes a bijector of one part"
        )
    if not injective:
        raise ValueError(f"{name} is not injective, so it has no inverse")
    if len(shape) < min_ndims[1]:
        raise ValueError(
            f"{name} needs at least {min_ndims[1]} axes, the leaf's shape is {shape}"
        )
    kind = Kind(
        recipe=recipe,
        shape=shape,
        free_shape=shape,
        dtype=np.dtype(dtype),
        compute_dtype=compute_dtype,
        event_ndims=int(min_ndims[1]),
        elementwise=min_ndims == (0, 0),
        uniform=uniform,
        number_shapes=tuple(aval_shape for aval_shape, _ in avals),
        eager=False,
    )
    try:
        found = _shapes(kind, numbers)
    except (TypeError, ValueError, IndexError) as error:
        # Some of TFP's bijectors compute shapes as arrays, and then ask for their values.
        kind = dataclasses.replace(kind, eager=True)
        try:
            found = _shapes(kind, numbers)
        except BIND_ERRORS:
            raise error from None
    free, model, log_det = found
    kind = dataclasses.replace(kind, free_shape=tuple(free.shape))
    if tuple(model.shape) != shape:
        raise ValueError(
            f"{name} would turn the leaf's shape {shape} into {tuple(model.shape)}; "
            "its own parameters must not broadcast the leaf"
        )
    coordinates, entries = math.prod(kind.free_shape), math.prod(shape)
    if coordinates > entries and not augmented:
        raise ValueError(
            f"not bijective: {name} has {coordinates} free coordinates for {entries} "
            "numbers of the leaf"
        )
    if log_det.shape != ():
        raise ValueError(
            f"the log-det of {name} has shape {log_det.shape} where a scalar is due"
        )
    return kind


_interned = functools.lru_cache(maxsize=4096)(_bind)


def _shapes(kind: Kind, numbers: tuple[Any, ...]) -> tuple[Any, Any, Any]:
    """The shapes of a leaf's free value, of the value it maps to, and of the log-det."""
    leaf = jax.ShapeDtypeStruct(kind.shape, kind.dtype)
    try:
        free = jax.eval_shape(functools.partial(inverse, kind), numbers, leaf)
    except NotImplementedError:  # a map that only goes forward
        seen: list[Any] = []
        jax.eval_shape(
            lambda *n: seen.append(kind.recipe.build(n).inverse_event_shape(kind.shape)),
            *numbers,
        )
        free = jax.ShapeDtypeStruct(seen[0], kind.dtype)
    return free, *jax.eval_shape(
        functools.partial(forward_and_log_det, kind), numbers, free
    )
