"""Small leaves of one kind, mapped together so that their map is compiled once."""

import functools
import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.core import Tracer
from jaxtyping import Array

from ..numerics import join, part
from .bind import bind
from .kind import Kind

# A function of a leaf: it takes the leaf's kind, the numbers of its bijector and arrays,
# and returns an array of the leaf's size, and a scalar or `None`, which is summed over
# leaves.
Map = Callable[..., tuple[Array, Array | None]]

# For each leaf an array, in a list; or a scalar, in one vector.
Column = list[Array] | Array

# Larger leaves are mapped by themselves: to copy them costs more than to call once more.
_LARGEST = 1024

# How many leaves are joined at the most: XLA takes longer for one concatenation of more.
_TOGETHER = 64

# Fewer leaves of a kind are mapped one by one: XLA's CPU compiler makes the kernels of
# equal leaves once. It makes them anew for leaves of other shapes, so these are joined.
_FEWEST = 8
_FEWEST_SHAPES = 3


def map_batched(
    function: Map,
    calls: Sequence[tuple[Kind, tuple[Any, ...]]],
    *columns: Column,
) -> tuple[list[Array], list[Array]]:
    """Map leaves, small ones of one kind together.

    Leaves whose elements one bijector maps all alike are concatenated; other leaves of
    one kind are stacked, under `vmap`, with their numbers where these differ. Outside of
    a trace leaves are mapped one by one, by what is compiled for each already; so are
    they where there are several devices.

    Args:
        function: of a kind, numbers and one array of each column.
        calls: a kind and numbers for each leaf.
        *columns: of arrays or scalars, the first of arrays. Where the map is
            elementwise, all arrays of a leaf have its shape.

    Returns:
        The arrays, one a leaf, and the scalars, one for each call of `function`.
    """
    arrays: list[Any] = [None] * len(calls)
    scalars = []
    assert isinstance(columns[0], list)
    groups = _groups(calls, columns[0]) if _may_join(columns) else _singly(calls)
    for these in groups:
        kind, numbers = calls[these[0]]
        if len(these) == 1:
            found, scalar = function(kind, numbers, *(c[these[0]] for c in columns))
            results = [found]
        elif all(calls[i][1] is numbers for i in these) and kind.maps_alike(numbers):
            results, scalar = _concatenated(function, kind, numbers, these, columns)
        else:
            of_each = [calls[i][1] for i in these]
            results, scalar = _stacked(function, kind, of_each, these, columns)
            shapes = [results.shape[1:]] * len(these)
            results = part(jnp.ravel(results), shapes)
            scalar = None if scalar is None else jnp.sum(scalar)
        for i, result in zip(these, results, strict=True):
            arrays[i] = result
        if scalar is not None:
            scalars.append(scalar)
    return arrays, scalars


def map_to_scalars(
    function: Callable[..., Array],
    calls: Sequence[tuple[Hashable, tuple[Any, ...]]],
    arrays: list[Array],
) -> Array:
    """A scalar for each array; small ones with equal static parts are mapped together.

    Args:
        function: of what is static, numbers and an array; its scalars have one dtype.
        calls: what is static and numbers for each array.
        arrays: at least one.

    Returns:
        The scalars, as one vector.
    """
    join = _may_join(arrays)
    by_key: dict[Any, list[int]] = {}
    for i, ((static, numbers), x) in enumerate(zip(calls, arrays, strict=True)):
        key: Any = i
        if join and _is_small(x):
            own = tuple((np.shape(n), jnp.result_type(n)) for n in numbers)
            key = (static, x.shape, x.dtype, own)
        by_key.setdefault(key, []).append(i)
    chunks = _chunks(by_key.values(), arrays)
    found = []
    for these in chunks:
        static, numbers = calls[these[0]]
        if len(these) == 1:
            found.append(function(static, numbers, arrays[these[0]])[None])
        else:
            of_each = [calls[i][1] for i in these]
            found.append(_stacked(function, static, of_each, these, [arrays]))
    places = [i for these in chunks for i in these]
    scalars = jnp.concatenate(found)
    # Scalars in order need no index, which XLA would turn into a gather one by one.
    return scalars if places == sorted(places) else scalars[np.argsort(places)]


def _may_join(arrays: Any) -> bool:
    """Whether to join arrays saves compilation and moves nothing between devices.

    Where there are several devices, arrays may be sharded in ways that are not known
    while tracing; to concatenate them would gather them. Nor are arrays joined whose
    types say how they are sharded, which those of joined ones do not.
    """
    leaves = jtu.tree_leaves(arrays)
    traced = any(isinstance(x, Tracer) for x in leaves)
    return traced and jax.device_count() == 1 and not any(map(_has_typed_axes, leaves))


def _has_typed_axes(x: Any) -> bool:
    """Whether an array has explicit axes of a mesh, or is in `shard_map`."""
    sharding = getattr(jax.typeof(x), "sharding", None)
    if sharding is None:
        return False
    return bool(sharding.mesh.explicit_axes or sharding.mesh.manual_axes)


def _is_small(x: Array) -> bool:
    return 0 < x.size <= _LARGEST


def _chunks(groups: Iterable[list[int]], arrays: Sequence[Array]) -> list[list[int]]:
    """Groups cut into chunks; those that are too small are taken apart."""
    return [
        these[i : i + size]
        for these in groups
        for size in [_chunk_size(len(these)) if _are_joined(these, arrays) else 1]
        for i in range(0, len(these), size)
    ]


def _are_joined(these: Sequence[int], arrays: Sequence[Array]) -> bool:
    shapes = {arrays[i].shape for i in these}
    return len(these) >= _FEWEST or len(shapes) >= _FEWEST_SHAPES


def _chunk_size(count: int) -> int:
    """How many of so many leaves to join, in chunks that are as equal as they can be."""
    return math.ceil(count / math.ceil(count / _TOGETHER))


def _singly(calls: Sequence[Any]) -> list[list[int]]:
    return [[i] for i in range(len(calls))]


def _groups(
    calls: Sequence[tuple[Kind, tuple[Any, ...]]], leaves: Sequence[Array]
) -> list[list[int]]:
    """Which leaves to map together, in chunks."""
    by_bijector: dict[Any, list[int]] = {}
    for i, ((kind, numbers), leaf) in enumerate(zip(calls, leaves, strict=True)):
        key: Any = i
        if _is_small(leaf):
            key = (kind.recipe, kind.dtype) if kind.maps_alike(numbers) else kind
            key = key, id(numbers)
        by_bijector.setdefault(key, []).append(i)
    groups = []
    by_kind: dict[Any, list[int]] = {}
    for these in by_bijector.values():
        if _are_joined(these, leaves):
            groups.append(these)
            continue
        for i in these:
            by_kind.setdefault(calls[i][0] if _is_small(leaves[i]) else i, []).append(i)
    return _chunks([*groups, *by_kind.values()], leaves)


def _concatenated(
    function: Map,
    kind: Kind,
    numbers: tuple[Any, ...],
    these: list[int],
    columns: Sequence[Column],
) -> tuple[list[Array], Array | None]:
    shapes = [columns[0][i].shape for i in these]
    sizes = [math.prod(shape) for shape in shapes]
    joined = bind(kind.recipe, numbers, (sum(sizes),), kind.dtype)
    vectors = [
        join([column[i] for i in these])
        if isinstance(column, list)
        else jnp.asarray(column)[np.repeat(these, sizes)]
        for column in columns
    ]
    found, scalar = function(joined, numbers, *vectors)
    return part(found, shapes), scalar


def _stacked(
    function: Callable[..., Any],
    static: Any,
    numbers: list[tuple[Any, ...]],
    these: list[int],
    columns: Sequence[Column],
) -> Any:
    """The results of a function, with an axis for the leaves in front."""
    of_one = all(n is numbers[0] for n in numbers)
    shared = numbers[0]
    if not of_one:
        shared = tuple(jnp.stack(n) for n in zip(*numbers, strict=True))
    axes = (None if of_one else 0, *[0] * len(columns))
    over = jax.vmap(functools.partial(function, static), in_axes=axes)
    stacks = [
        join([column[i] for i in these]).reshape(len(these), *column[these[0]].shape)
        if isinstance(column, list)
        else jnp.asarray(column)[np.asarray(these)]
        for column in columns
    ]
    return over(shared, *stacks)
