"""Arrays as one vector and a vector as arrays, so that XLA compiles few kernels.

XLA's CPU compiler makes a kernel once for all places that need the same one. A slice at
a place that is a constant is a kernel of its own, of some 8 ms; where the place is an
operand, all parts of one size share theirs. JAX takes the transpose of a concatenation to
be slices at constants, hence two primitives, each the transpose of the other.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

_join_p = Primitive("join")
_part_p = Primitive("part")
_part_p.multiple_results = True


def join(arrays: Sequence[Array]) -> Array:
    """One vector of arrays of one dtype."""
    return _join_p.bind(*arrays, lead=0)


def part(vector: Array, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    """Undo `join` of arrays of these shapes."""
    return _part_p.bind(vector, shapes=tuple(shapes), lead=0)


# In both functions `lead` is how many axes in front are those of `vmap`.


@functools.partial(jax.jit, static_argnames="lead")
def _join(*arrays: Array, lead: int) -> Array:
    # Sizes are spelled out, since −1 stands for none where `vmap` has no members.
    flat = [x.reshape(*x.shape[:lead], math.prod(x.shape[lead:])) for x in arrays]
    return lax.optimization_barrier(lax.concatenate(flat, lead))


@functools.partial(jax.jit, static_argnames=("shapes", "lead"))
def _part(
    vector: Array, *, shapes: tuple[tuple[int, ...], ...], lead: int
) -> list[Array]:
    before = vector.shape[:lead]
    sizes = [math.prod(shape) for shape in shapes]
    ends = itertools.accumulate(sizes)
    # Unsigned, since a signed place might count from the end.
    places = [np.uint32(end - size) for size, end in zip(sizes, ends, strict=True)]
    # The barrier hides that the places are constants.
    vector, places = lax.optimization_barrier((vector, places))
    zeros = [np.uint32(0)] * lead
    parts = [
        lax.dynamic_slice(vector, (*zeros, place), (*before, size))
        for place, size in zip(places, sizes, strict=True)
    ]
    return [x.reshape(*before, *s) for x, s in zip(parts, shapes, strict=True)]


@_join_p.def_abstract_eval
def _join_aval(*arrays: Any, lead: int) -> Any:
    shapes = [x.shape for x in arrays]
    size = sum(math.prod(shape[lead:]) for shape in shapes)
    return ShapedArray((*shapes[0][:lead], size), arrays[0].dtype)


@_part_p.def_abstract_eval
def _part_avals(vector: Any, *, shapes: Any, lead: int) -> Any:
    before = vector.shape[:lead]
    return [ShapedArray((*before, *shape), vector.dtype) for shape in shapes]


def _join_transpose(cotangent: Any, *arrays: Any, lead: int) -> list[Any]:
    shapes = tuple(
        (x.aval if ad.is_undefined_primal(x) else x).shape[lead:] for x in arrays
    )
    parts = _part_p.bind(cotangent, shapes=shapes, lead=lead)
    return [
        y if ad.is_undefined_primal(x) else None
        for x, y in zip(arrays, parts, strict=True)
    ]


def _part_transpose(
    cotangents: Sequence[Any], vector: Any, *, shapes: Any, lead: int
) -> list[Any]:
    return [_join_p.bind(*map(ad.instantiate_zeros, cotangents), lead=lead)]


def _join_batched(arrays: Any, axes: Any, *, lead: int) -> tuple[Any, int]:
    (count,) = {
        x.shape[axis] for x, axis in zip(arrays, axes, strict=True) if axis is not None
    }
    fronts = [
        jnp.broadcast_to(x, (count, *x.shape))
        if axis is None
        else jnp.moveaxis(x, axis, 0)
        for x, axis in zip(arrays, axes, strict=True)
    ]
    return _join_p.bind(*fronts, lead=lead + 1), 0


def _part_batched(arrays: Any, axes: Any, *, shapes: Any, lead: int) -> tuple[Any, Any]:
    front = jnp.moveaxis(arrays[0], axes[0], 0)
    return _part_p.bind(front, shapes=shapes, lead=lead + 1), [0] * len(shapes)


for _primitive, _function, _transpose, _batched in (
    (_join_p, _join, _join_transpose, _join_batched),
    (_part_p, _part, _part_transpose, _part_batched),
):
    _primitive.def_impl(_function)
    mlir.register_lowering(
        _primitive, mlir.lower_fun(_function, _primitive.multiple_results)
    )
    ad.deflinear2(_primitive, _transpose)
    batching.primitive_batchers[_primitive] = _batched
