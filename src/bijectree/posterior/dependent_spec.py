"""Bijectors for leaves whose priors other leaves set."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal, jaxpr_as_fun
from jax.interpreters.partial_eval import dce_jaxpr
from jaxtyping import PyTree

from .. import priors
from ..reparam import Bound, Dependent, Plan, location_scale, view
from ..substrate import BIND_ERRORS, split
from .dependent_terms import look_into, words_of


class _Support(eqx.Module):
    """A function from the model to the bijector onto a support that leaves move."""

    function: Callable[..., Any]

    def __call__(self, model: PyTree) -> Any:
        distribution = priors.build(*priors.split(self.function(model)))
        return priors.bijector_for(distribution)


class _Parameter(eqx.Module):
    """A function from the model to a distribution's location (0) or scale (1)."""

    function: Callable[..., Any]
    which: int = eqx.field(static=True)

    def __call__(self, model: PyTree) -> Any:
        found = priors.location_and_scale(self.function(model))
        assert found is not None
        return found[self.which]


def item_for(
    item: Dependent, bound: Bound, at: Sequence[int], *, noncentred: bool
) -> tuple[Any, list[str]]:
    """The item of a spec for leaves with a dependent prior, or why there is none.

    Args:
        item: the prior.
        bound: of the model.
        at: the positions of the leaves.
        noncentred: whether the item is a `location_scale` where leaves set the location
            or the scale.
    """
    rows = bound.plan.rows
    try:
        function, numbers = split(item.function)
        looked = look_into(function, numbers, bound, [rows[i] for i in at])
        made = _non_centred(item.function, bound.plan) if noncentred else None
        if made is None:
            made = _onto_support(item.function, bound.plan)
    except BIND_ERRORS as error:
        where = ", ".join(f"'{rows[i].path}'" for i in at)
        return None, [f"at {where}: {words_of(error)}"]
    faults = zip(at, looked.misfits, strict=True)
    return made, [f"at '{rows[i].path}': {fault}" for i, fault in faults if fault]


def _non_centred(function: Callable[..., Any], plan: Plan) -> Dependent | None:
    """The `location_scale` of a leaf; `None` where leaves set neither of its numbers."""
    parameters = _parts_of(function, plan, priors.location_and_scale)
    if all(isinstance(x, np.ndarray) for x in parameters):  # of no family, or constant
        return None

    def given(which: int) -> Any:
        found: Any = parameters[which]
        if found is None:
            return _Parameter(function, which)
        return plan.rows[found].path if isinstance(found, int) else found

    return location_scale(given(0), given(1))


def _onto_support(function: Callable[..., Any], plan: Plan) -> Any:
    """The bijector onto the support of what a function makes, or a function to it."""
    recipes = []

    def numbers_of(distribution: Any) -> Any:
        made = priors.build(*priors.split(distribution))
        recipe, numbers = split(priors.bijector_for(made))
        recipes.append(recipe)
        return numbers

    numbers = _parts_of(function, plan, numbers_of)
    if all(isinstance(x, np.ndarray) for x in numbers):
        return recipes[0].build(tuple(map(jnp.asarray, numbers)))
    return Dependent(_Support(function), ())


def _parts_of(
    function: Callable[..., Any], plan: Plan, take: Callable[[Any], Any]
) -> list[np.ndarray | int | None]:
    """The arrays that `take` finds in what a function of the model makes.

    Returns:
        For each array its value; the position of a floating-point leaf if it is that
        leaf; `None` if it is made of leaves.
    """
    shapes = {
        i: jax.ShapeDtypeStruct(row.shape, row.dtype)
        for i, row in enumerate(plan.rows)
        if row.value is None
    }

    def make(arrays: dict[int, Any]) -> Any:
        return take(function(view(plan.structure, plan.rows, arrays)))

    program = jax.make_jaxpr(make)(shapes)
    jaxpr, positions = program.jaxpr, sorted(shapes)
    found: list[np.ndarray | int | None] = []
    for n, out in enumerate(jaxpr.outvars):
        if not isinstance(out, Literal) and out in jaxpr.invars:
            i = positions[jaxpr.invars.index(out)]
            found.append(i if jnp.issubdtype(shapes[i].dtype, jnp.inexact) else None)
            continue
        needed = [k == n for k in range(len(jaxpr.outvars))]
        own, used = dce_jaxpr(jaxpr, needed)
        if any(used):
            found.append(None)
        else:
            value = jax.jit(jaxpr_as_fun(program.replace(jaxpr=own)))
            found.append(np.asarray(value()[0]))
    return found
