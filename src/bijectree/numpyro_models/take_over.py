"""A model function with its arguments, looked into and taken over as a program."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import PyTree

from ..posterior import Function
from ..substrate import BIND_ERRORS
from ..trees import PicklableTreedef, StaticLeaf, raise_all
from .latents import Found, find_latents
from .program import Program


def take_over(
    model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Program, tuple[Any, ...]]:
    """A model function with its arguments as a program, and the arrays among these.

    Arrays whose values the model's Python code asks for are a part of the program.

    Raises:
        ValueError: sites that cannot be taken over; all are listed.
        Exception: whatever the model itself raises.
    """
    given = Function((model, args, kwargs))
    program, arrays, faults = _with_fewest_constants(given)
    raise_all(
        "from_numpyro: some sites of the model cannot be taken over",
        (f"'{name}' {fault}" for name, fault in faults.items()),
    )
    return program, arrays


# A program, the arrays that are none of its constants, and why it is refused, by site.
Look = tuple[Program, tuple[Any, ...], dict[str, str]]


def _with_fewest_constants(given: Function) -> Look:
    for is_constant in (_is_none, _is_no_float):
        try:
            return _look_into(given, is_constant)
        except BIND_ERRORS:  # with all arrays as constants the model says what is wrong
            continue
    try:
        return _look_into(given, _is_any)
    except _ASKS_FOR_VALUES as error:
        said = str(error).partition("\n")[0]
        raise ValueError(
            "from_numpyro: the Python code of the model asks for the value of a latent "
            "site, so that its sites, or their shapes, could change with it: use "
            "jnp.where or jax.lax.cond. Or it asks for the value of an argument that is "
            f"an array of JAX: give a NumPy array. JAX says: {said}"
        ) from error


def _look_into(given: Function, is_constant: Callable[[Any], bool]) -> Look:
    arrays, fixed, rest = iter(given.arrays), [], []
    for leaf in given.fixed:
        array = next(arrays) if leaf is None else None
        if array is not None and is_constant(array):
            leaf = StaticLeaf(array)
        elif array is not None:
            rest.append(array)
        fixed.append(leaf)
    avals = tuple((jnp.shape(x), _dtype_of(x)) for x in rest)
    program = Program(given.structure, tuple(fixed), avals)
    found: list[Found] = []

    def look(*arrays: Any) -> dict[str, Any]:
        found.append(find_latents(*program.call(arrays)))
        return found[-1].params

    params = jax.eval_shape(look, *program.arrays)
    latents, _, faults = found[-1]
    program = dataclasses.replace(
        program,
        latents=tuple(sorted(latents.items())),
        params=tuple((name, *_taken_apart(params[name])) for name in params),
    )
    if faults:
        return program, tuple(rest), {**faults, **dict.fromkeys(params, _OF_PARAM)}
    faults = dict.fromkeys(program.trace().parameters_read(), _OF_PARAM)
    return program.with_content(), tuple(rest), faults


def _taken_apart(shapes: PyTree) -> tuple[PicklableTreedef, tuple[Any, ...]]:
    leaves, treedef = jtu.tree_flatten(shapes)
    return PicklableTreedef(treedef), tuple((x.shape, x.dtype) for x in leaves)


_OF_PARAM = (
    "is a numpyro.param, which has no distribution: give it a prior by handlers.lift, or "
    "a value by handlers.substitute(model, {param: value})"
)


def _dtype_of(x: Any) -> Any:
    """The dtype of an array, that of a random key too, in any precision."""
    return x.dtype if isinstance(x, jax.Array) else np.asarray(x).dtype


def _is_none(x: Any) -> bool:
    return False


def _is_no_float(x: Any) -> bool:
    return not jnp.issubdtype(x.dtype, jnp.inexact)


def _is_any(x: Any) -> bool:
    return True


_ASKS_FOR_VALUES = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
)
