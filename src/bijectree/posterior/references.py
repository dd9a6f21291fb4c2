"""A few models at which priors and bijectors are looked at, once."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..numerics import call_in_numpy
from ..priors import has_traced_numbers
from ..reparam import Bound, held_leaves
from .prior_plan import Numbers, PriorPlan, Term

# Standard deviations of the free coordinates of the models.
_SPREADS = (0.3, 1.0, 3.0)


class References:
    """Models at random free coordinates, always the same."""

    def __init__(self, bound: Bound):
        self.bound = bound
        self._made: dict[int, list[Any]] = {}  # by slot, of one plan

    @functools.cached_property
    def models(self) -> list[list[Any]]:
        """The leaves of each model; no model where values are traced or missing."""
        plan, bound = self.bound.plan, self.bound
        held = held_leaves(plan, bound.held, None, needed=False)
        missing = any(
            (leaf is None or isinstance(leaf, jax.ShapeDtypeStruct))
            and row.value is None
            and (row.role in ("frozen", "static") or row.picked is not None)
            for leaf, row in zip(held, plan.rows, strict=True)
        )
        if missing or has_traced_numbers(bound):
            return []
        rows = [row for _, row in plan.free]
        sizes = [int(np.prod(row.free_shape, dtype=int)) for row in rows]
        random = np.random.default_rng(0)

        def filled(vector: Array) -> dict[int, Any]:
            leaves = list(held)
            bound.fill(bound.split(vector, [row.free_dtype for row in rows]), leaves)
            return {i: x for i, x in enumerate(leaves) if x is not held[i]}

        found = []
        for spread in _SPREADS:
            vector = np.asarray(spread * random.standard_normal(sum(sizes)), float)
            # Compiling the maps takes long, and three models are looked at once.
            made = call_in_numpy(filled, vector)
            leaves = enumerate(held)
            found.append([jnp.asarray(made[i]) if i in made else x for i, x in leaves])
        return found

    def numbers(self, plan: PriorPlan, numbers: Numbers, term: Term) -> list[Any]:
        """The numbers of a term's distribution, of one plan, at each of the models.

        Where there is no model, those of a distribution that depends on no leaf.
        """
        if plan.functions[term.slot] is None:
            return [numbers[term.slot]] * max(len(self.models), 1)
        if not self.models:
            return []
        if term.slot not in self._made:
            self._made[term.slot] = self._make(plan, numbers, term)
        return self._made[term.slot]

    def _make(self, plan: PriorPlan, numbers: Numbers, term: Term) -> list[Any]:
        """What the function of a term gives at each of the models."""
        arrays = {
            i: jnp.stack([jnp.asarray(leaves[i]) for leaves in self.models])
            for i in term.on
        }
        first = self.models[0]

        # A user's function may raise at values that it does not like, and sees none.
        def make(arrays: dict[int, Any]) -> tuple[Any, ...]:
            leaves = [arrays.get(i, leaf) for i, leaf in enumerate(first)]
            model = self.bound.plan.structure.treedef.unflatten(leaves)
            made = plan.call(term.slot, numbers, model)[1]
            return tuple(jnp.asarray(x) for x in made)

        count = jnp.arange(len(self.models))
        mapped = jax.vmap(lambda _, arrays: make(arrays))(count, arrays)
        made = tuple(map(np.asarray, mapped))
        return [tuple(x[n] for x in made) for n in range(len(self.models))]
