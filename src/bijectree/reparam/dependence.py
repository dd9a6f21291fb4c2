"""Bijectors that depend on other leaves: what their functions read and make."""

import graphlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.interpreters.partial_eval import dce_jaxpr
from jaxtyping import Array, PyTree

from ..foreign import as_bijector
from ..substrate import Recipe, is_bijector, split
from ..trees import PicklableTreedef, describe
from .plan import Plan, Row, owner


def build_bijector(
    plan: Plan, row: Row, numbers: tuple[Any, ...], leaves: Sequence[Any]
) -> Any:
    """The bijector of a row, of its numbers and the leaves that it depends on."""
    if row.function is None:
        assert row.kind is not None
        return row.kind.recipe.build(numbers)
    shown = view(plan.structure, plan.rows, {i: leaves[i] for i in row.on})
    return as_bijector(row.function.build(numbers)(shown))


def dependent_numbers(
    plan: Plan, row: Row, numbers: tuple[Any, ...], leaves: Sequence[Any]
) -> tuple[Array, ...]:
    """The numbers of a row's bijector, from the leaves that it depends on."""

    def make(numbers: tuple[Any, ...], on: list[Any]) -> tuple[Array, ...]:
        at = dict(zip(row.on, on, strict=True))
        structure, found = split(
            build_bijector(plan, row, numbers, [at.get(i) for i in range(len(leaves))])
        )
        bound = () if row.kind is None else row.kind.recipe.as_made_now()
        if structure not in bound:
            raise ValueError(
                f"the function of '{row.path}' made another sort of bijector than when "
                "it was bound; only its numbers may depend on the model"
            )
        return found

    on = [leaves[i] for i in row.on]
    if any(isinstance(x, Tracer) for x in jax.tree_util.tree_leaves((numbers, on))):
        return make(numbers, on)
    # A user's function may raise at concrete values, such as a bound that has run into
    # another, where the same map under `jit` goes on. Under `vmap` it sees tracers.
    many = jax.tree_util.tree_map(lambda x: jnp.asarray(x)[None], (numbers, on))
    return tuple(x[0] for x in jax.vmap(make)(*many))


def view(
    structure: PicklableTreedef, rows: Sequence[Row], seen: Mapping[int, Any]
) -> PyTree:
    """The model for a function that reads only the leaves `seen`."""
    shown = []
    for i, row in enumerate(rows):
        if row.value is not None:
            shown.append(row.value.value)
        elif i in seen:
            shown.append(seen[i])
        elif isinstance(row.dtype, np.dtype):  # not read, as tracing has shown
            shown.append(np.broadcast_to(np.zeros((), row.dtype), row.shape))
        else:  # nor is a PRNG key
            shown.append(None)
    return structure.treedef.unflatten(shown)


def trace(
    structure: PicklableTreedef,
    rows: Sequence[Row],
    function: Recipe,
    numbers: tuple[Any, ...],
    take: Callable[[Any], tuple[Recipe, tuple[Any, ...]]] | None = None,
) -> tuple[Recipe, tuple[Any, ...], list[int]]:
    """Find what a function of the model makes, from shapes alone.

    Args:
        structure: of the model.
        rows: of the model.
        function: the recipe of the function.
        numbers: of the function, or their shapes.
        take: takes what the function makes apart, and raises if it is of a wrong sort;
            by default for a bijector.

    Returns:
        The recipe of what is made, the shapes of its numbers, and the arrays of the model
        that the function reads.

    Raises:
        TypeError: the function makes no bijector, or one that cannot be split, or another
            one at each call.
    """
    take = take or _take_bijector
    avals = {
        i: jax.ShapeDtypeStruct(row.shape, row.dtype)
        for i, row in enumerate(rows)
        if row.value is None
    }
    found: list[Recipe] = []

    def make(numbers: tuple[Any, ...], arrays: dict[int, Any]) -> tuple[Any, ...]:
        made = function.build(numbers)(view(structure, rows, arrays))
        recipe, result = take(made)
        again, _ = take(function.build(numbers)(view(structure, rows, arrays)))
        if recipe != again:
            name = getattr(made, "name", type(made).__name__)
            raise TypeError(
                f"its function makes another {name} at each call, such as one that holds "
                "a new function; only numbers may depend on the model"
            )
        found.append(recipe)
        return result

    jaxpr, shapes = jax.make_jaxpr(make, return_shape=True)(numbers, avals)
    # An array is read if it is left after the removal of dead code.
    _, used = dce_jaxpr(jaxpr.jaxpr, [True] * len(jaxpr.jaxpr.outvars))
    pairs = zip(sorted(avals), used[-len(avals) :], strict=True)
    return found[0], shapes, [i for i, read in pairs if read]


def _take_bijector(made: Any) -> tuple[Recipe, tuple[Any, ...]]:
    bijector = as_bijector(made)
    if not is_bijector(bijector):
        raise TypeError(f"its function returned {describe(bijector)}, not a bijector")
    recipe, numbers = split(bijector)
    if recipe.opaque:
        raise TypeError(
            f"{bijector.name} is no JAX pytree, so it cannot depend on a leaf; derive "
            "its class from tfb.AutoCompositeTensorBijector"
        )
    return recipe, numbers


def in_order(rows: Sequence[Row]) -> tuple[list[int], list[str]]:
    """The rows by position, each after those that it depends on, and cycles as faults."""

    def name(i: int) -> str:
        members = [rows[m].path for m in rows[i].members]
        return f"({', '.join(members)})" if members else rows[i].path or "the model"

    graph = {
        i: {owner(rows, j) for j in row.on}
        for i, row in enumerate(rows)
        if row.owner is None
    }
    return order_or_cycles(graph, name)


def order_or_cycles(
    graph: dict[int, set[int]], name: Callable[[int], str]
) -> tuple[list[int], list[str]]:
    """Nodes by number, each after those that it depends on, and cycles as faults."""
    faults: list[str] = []
    while True:
        try:
            return list(graphlib.TopologicalSorter(graph).static_order()), faults
        except graphlib.CycleError as error:
            loop = error.args[1]  # each one before what depends on it
            names = " → ".join(name(j) for j in reversed(loop))
            faults.append(f"a cycle, where each depends on the next: {names}")
            graph[loop[1]].discard(loop[0])
