"""A Reparam as an optimizer of the model needs it: changes, gradients and steps."""

import copy
import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, PyTree, UInt32

from .. import substrate
from ..constraints import snap_inside_interval
from ..numerics import add_exactly, fingerprint
from ..reparam import Reparam, Row, free_leaves, owner
from ..substrate import map_batched, map_to_scalars
from .gradients import bounded, bounded_by_all
from .landing import step_of_leaf, step_with, sum_of
from .map_salts import salts_of_maps
from .misfits import leaves_of_state
from .outside_changes import inverse_if_moved
from .partial_model import Arrays, with_frozen
from .programs import compiled


class Steps:
    """Steps in the free coordinates of those leaves that a tree of parameters holds.

    Attributes:
        reparam: of the whole model; leaves that the parameters lack are frozen in it.
        watched: the rows of which a change from outside is noticed, in the order of
            `fingerprints`.
    """

    def __init__(self, reparam: Reparam, missing: frozenset[int]):
        self.reparam = with_frozen(reparam, missing)
        self._bound = bound = self.reparam.bound
        self._plan = plan = bound.plan
        self._moving = [
            i for i, row in enumerate(plan.rows) if row.role in ("free", "tied")
        ]
        self._needed = {owner(plan.rows, j) for row in plan.rows for j in row.on}
        self._followers = {i: self._leaves_set_by(i) for i in self._needed}
        # These rows have a bijector of one leaf, which depends on no other.
        self._alone = {
            i
            for i, row in plan.free
            if row.kind and not row.on and not row.members and row.picked is None
        }
        # These leaves have no bijector and are their own free coordinates. They are
        # watched only if others depend on them.
        self._own = {i for i, row in plan.free if row.kind is None and not plan.outer}
        # A frozen leaf may be changed from outside too, and others depend on it.
        self.watched = [
            (i, row) for i, row in plan.free if i not in self._own or i in self._needed
        ] + [
            (i, row)
            for i, row in enumerate(plan.rows)
            if row.role == "frozen" and i in self._needed - missing
        ]
        # Where all maps are elementwise, leaves are inverted on the way, in a step that
        # reads and writes them anyway.
        self._all_elementwise = not plan.outer and all(
            row.kind is None or row.kind.elementwise for _, row in self.watched
        )
        self._salts = salts_of_maps(bound, [row for _, row in self.watched])
        # The programs, which others share, hold no values but of what is missing.
        values = tuple(x if i in missing else None for i, x in enumerate(bound.held))
        bare = copy.copy(self)
        del bare.reparam
        bare._bound = dataclasses.replace(bound, held=values)
        own = bare._fingerprints, bare._pull_back, bare._refresh, bare._land
        found = compiled(bare._bound, missing, own)
        self.fingerprints, self.pull_back, self.refresh, self.land = found

    def _leaves_set_by(self, i: int) -> list[int]:
        """The leaves whose values the free coordinates of a row set."""
        rows, found = self._plan.rows, {i}
        for j, row in self._plan.order:
            if found & {owner(rows, k) for k in row.on}:
                found.add(j)
        return [m for j in sorted(found) for m in rows[j].members or (j,)]

    def start(self, arrays: Arrays) -> PyTree:
        """Free coordinates of the parameters, in arrays of their own."""
        model = self._model(arrays)
        free = self.reparam.inverse(model)
        traced = any(isinstance(x, Tracer) for x in jtu.tree_leaves(free))
        if traced:
            free = self.reparam.inverse(self.reparam.error_if_outside(model))
        # The dtype is given, so that no array is weak: zeros like a weak array are not
        # sharded as it is.
        return jtu.tree_map(lambda x: jnp.array(x, x.dtype), free)

    def _model(self, arrays: Arrays) -> PyTree:
        """The whole model; what the parameters lack is as it was bound."""
        leaves = [
            row.value.value if row.value is not None else held if array is None else array
            for row, held, array in zip(
                self._plan.rows, self._bound.held, arrays, strict=True
            )
        ]
        for i, row in enumerate(self._plan.rows):
            if leaves[i] is None and row.value is None:
                leaves[i] = jax.ShapeDtypeStruct(row.shape, row.dtype)
        return self._plan.structure.treedef.unflatten(leaves)

    def values(self, free: PyTree, arrays: Arrays) -> Arrays:
        """The leaves that move, at free coordinates."""
        leaves = self._unmoved(arrays)
        self._bound.fill(free_leaves(self._plan, free), leaves)
        return self._only_moving(leaves)

    def inside(self, free: PyTree, arrays: Arrays) -> Arrays:
        """`values`, with numbers on the boundary of an interval moved inside."""
        bound, leaves = self._bound, self._unmoved(arrays)
        bound.fill(free_leaves(self._plan, free), leaves)
        for i, row in self._plan.order:
            if row.role == "tied":
                bound.put(i, row, None, leaves)
            elif row.kind is not None:
                y = bound.gather(i, row, leaves)
                kind, numbers = bound.call(row, y.dtype, leaves)
                y = snap_inside_interval(kind.recipe.build(numbers), y)
                bound.put(i, row, y, leaves)
        return self._only_moving(leaves)

    def _unmoved(self, arrays: Arrays) -> list[Any]:
        """All leaves, with `None` at those that move as a whole."""
        leaves: list[Any] = []
        for row, held, array in zip(
            self._plan.rows, self._bound.held, arrays, strict=True
        ):
            value = held if array is None else array
            if row.role in ("free", "tied") and row.picked is None:
                value = None
            elif row.value is not None:
                value = row.value.value
            leaves.append(value)
        return leaves

    def _only_moving(self, leaves: Sequence[Any]) -> Arrays:
        moving = set(self._moving)
        return [x if i in moving else None for i, x in enumerate(leaves)]

    def _pull_back(
        self, free: PyTree, arrays: Arrays, gradients: Arrays
    ) -> tuple[Arrays, PyTree]:
        """The leaves at free coordinates, and gradients with respect to the latter."""
        values, pull = jax.vjp(lambda free: self.values(free, arrays), free)
        cotangents = [
            None if y is None else jnp.zeros_like(y) if g is None else g.astype(y.dtype)
            for y, g in zip(values, gradients, strict=True)
        ]
        pulled = free_leaves(self._plan, pull(cotangents)[0])
        for n, (i, row) in enumerate(self._plan.free):
            if jnp.issubdtype(pulled[n].dtype, jnp.complexfloating):
                continue
            if self._plan.outer or i in self._needed:
                these = self._moving if self._plan.outer else self._followers[i]
                pulled[n] = bounded_by_all(
                    pulled[n], [_get(cotangents, j) for j in these]
                )
            elif row.kind is not None:
                gradient = self._bound.gather(i, row, cotangents)
                pulled[n] = bounded(row.kind, pulled[n], gradient)
        return values, self._bound.free_tree(pulled)

    # The methods below find changes from outside, and invert what was changed.

    def _fingerprints(self, arrays: Arrays) -> UInt32[Array, " watched"]:
        """A number for the bits of each leaf that is watched, or joint of leaves."""
        if not self.watched:
            # Orbax saves no empty array.
            return jnp.asarray(self._salts)
        places, owners, weights = [], [], []
        for n, (i, row) in enumerate(self.watched):
            for power, m in enumerate(row.members or (i,)):
                places.append(m)
                owners.append(n)
                weights.append(pow(3, power, 2**32))
        found = map_to_scalars(
            lambda _, __, x: fingerprint(x),
            [((), ())] * len(places),
            [_get(arrays, m) for m in places],
        )
        if len(places) == len(self.watched):
            return found + self._salts
        found = found * np.asarray(weights, np.uint32)
        sums = jax.ops.segment_sum(found, np.asarray(owners), len(self.watched))
        return sums + self._salts

    def _refresh(self, free: PyTree, fingerprints: Array, arrays: Arrays) -> PyTree:
        """Invert again where parameters are not those that `fingerprints` are of."""
        found = leaves_of_state(self._plan, free, fingerprints, len(self.watched))
        found = [
            _get(arrays, i) if i in self._own else x
            for (i, _), x in zip(self._plan.free, found, strict=True)
        ]
        if not self.watched:
            return self._bound.free_tree(found)
        these = fingerprints != self._fingerprints(arrays), found, arrays
        if self._all_elementwise:
            # A GPU's host would wait in each step for what the loop's turns depend on.
            found = jax.lax.platform_dependent(
                *these, cpu=self._invert_if_any, default=self._invert
            )
        else:
            found = self._invert_if_any(*these)
        return self._bound.free_tree(found)

    def _invert_if_any(
        self, changed: Array, free: list[Array], arrays: Arrays
    ) -> list[Array]:
        """`_invert`, at no cost where nothing changed."""

        def invert(carry: tuple[Array, list[Array]]) -> tuple[Array, list[Array]]:
            # XLA would take out of the loop, and so do in each step, what its turns share
            # (a barrier that the carry goes through is no invariant).
            (changed, free), these = jax.lax.optimization_barrier((carry, arrays))
            return jnp.zeros_like(changed), self._invert(changed, free, these)

        def any_changed(carry: tuple[Array, list[Array]]) -> Array:
            return jnp.any(carry[0])

        # This is a loop of no turn or one: unlike `cond`, it leaves `free` where it is.
        return jax.lax.while_loop(any_changed, invert, (changed, free))[1]

    def _invert(self, changed: Array, free: list[Array], arrays: Arrays) -> list[Array]:
        """Free coordinates of the leaves that changed; the others keep theirs.

        In a leaf that changed, the elements or events that are still where their free
        coordinates put them keep those too: near saturation many map to one value.
        """
        bound, plan = self._bound, self._plan
        index = {i: n for n, (i, _) in enumerate(self.watched)}
        flags: dict[int, Array] = {}
        inner, _ = bound.peel_outer(free)
        at = {i: x for (i, _), x in zip(plan.free, inner, strict=True)}
        leaves = self._unmoved(arrays)
        alone = self._alone - self._needed
        flags |= {
            i: changed[n] for i, n in index.items() if plan.rows[i].role == "frozen"
        }
        for i, row in plan.order:
            if i in alone:
                continue
            flag = changed[index[i]] if i in index else jnp.zeros((), bool)
            for j in row.on:
                flag = flag | flags.get(owner(plan.rows, j), jnp.zeros((), bool))
            flags[i] = flag
            if row.role == "tied":
                bound.put(i, row, None, leaves)
                continue
            x, y = at[i], bound.gather(i, row, arrays)
            if row.kind is None:
                at[i] = value = jnp.where(flag, y, x)
            else:
                kind, numbers = bound.call(row, y.dtype, leaves)
                at[i], _ = inverse_if_moved(kind, numbers, y, x, flag)
                value = substrate.forward(kind, numbers, at[i])
            bound.put(i, row, value, leaves)
        these = sorted(alone)
        found, _ = map_batched(
            inverse_if_moved,
            [bound.call(plan.rows[i], _get(arrays, i).dtype, leaves) for i in these],
            [_get(arrays, i) for i in these],
            [at[i] for i in these],
            changed[np.asarray([index[i] for i in these], int)],
        )
        at.update(zip(these, found, strict=True))
        inner = [at[i] for i, _ in plan.free]
        if not plan.outer:
            return inner
        outer, _ = bound.wrap_outer(inner)
        return [
            jnp.where(jnp.any(changed), a, b) for a, b in zip(outer, free, strict=True)
        ]

    # The methods below make the steps.

    def finish_before(self, before: Arrays, free: PyTree) -> tuple[Arrays, PyTree]:
        """The arguments, where `before` is computed and does not need `free` any more.

        XLA would compute `before` from `free` again after the new free coordinates. These
        are to lie where `free` does in memory, so it would copy all leaves first.
        """
        order = [i for i, _ in self._plan.free]
        found = dict(zip(order, free_leaves(self._plan, free), strict=True))
        mapped = {i: x for i, x in found.items() if i not in self._own}
        before, mapped = jax.lax.optimization_barrier((before, mapped))
        return before, self._bound.free_tree([(found | mapped)[i] for i in order])

    def _land(
        self, arrays: Arrays, before: Arrays, free: PyTree, steps: PyTree
    ) -> tuple[Arrays, Array]:
        """Steps of the parameters to where free coordinates are.

        Args:
            arrays: the parameters.
            before: what `values` gave at the free coordinates before this step.
            free: the new free coordinates.
            steps: of the free coordinates, taken as they are for leaves without a
                bijector.

        Returns:
            What to add to each leaf that moves, and the fingerprints of the sums.
        """
        bound, plan = self._bound, self._plan
        targets = self.values(free, arrays)
        order = [i for i, _ in plan.free]
        moved = dict(zip(order, free_leaves(plan, steps), strict=True))
        below, _ = bound.peel_outer(free_leaves(plan, free))
        inner = dict(zip(order, below, strict=True))
        these = sorted(self._alone)
        found, _ = map_batched(
            step_of_leaf,
            [bound.call(plan.rows[i], _get(arrays, i).dtype, arrays) for i in these],
            *([_get(leaves, i) for i in these] for leaves in (arrays, targets, before)),
            [inner[i] for i in these],
        )
        at = dict(zip(these, found, strict=True))
        updates: Arrays = [None] * len(plan.rows)
        ends: list[Any] = self._unmoved(arrays)
        for i, row in plan.order:
            if row.role == "tied":
                updates[i] = self._step_of_tied(row, i, arrays, updates, ends)
            elif i in self._own:
                updates[i] = moved[i].astype(_get(arrays, i).dtype)
            elif row.kind is None:
                step = add_exactly(_get(targets, i), -_get(arrays, i))
                still = _get(targets, i) == _get(before, i)
                updates[i] = jnp.where(still, jnp.asarray(-0.0, step.dtype), step)
            elif i in at:
                updates[i] = at[i]
            else:
                start, target, last = (
                    bound.gather(i, row, leaves) for leaves in (arrays, targets, before)
                )
                call = *bound.call(row, start.dtype, ends), start, target, last, inner[i]
                if row.members:
                    add = functools.partial(self._add, i, row, arrays)
                    step, _ = step_with(add, *call)
                else:
                    step, _ = step_of_leaf(*call)
                if row.picked is not None:
                    array = _get(arrays, i)
                    updates[i] = jnp.full_like(array, -0.0)
                bound.put(i, row, step, updates)
            for m in row.members or (i,):
                ends[m] = sum_of(_get(arrays, m), _get(updates, m))
        return updates, self._fingerprints(ends) + self._overflown(targets, ends)

    def _overflown(
        self, targets: Arrays, ends: Sequence[Any]
    ) -> UInt32[Array, " watched"]:
        """What to add to the fingerprints of leaves with events that overflowed.

        Such an event stayed, or came some of the way. The next update finds it changed
        and inverts it where it is: at its free coordinates there is no gradient.
        """
        found = jnp.zeros(max(len(self.watched), 1), jnp.uint32)
        for n, (i, row) in enumerate(self.watched):
            if row.role == "frozen" or row.kind is None or row.kind.elementwise:
                continue
            for m in row.members or (i,):
                lost = ~jnp.isfinite(_get(targets, m)) & jnp.isfinite(_get(ends, m))
                found = found.at[n].add(jnp.any(lost).astype(jnp.uint32))
        return found

    def _add(self, i: int, row: Row, arrays: Arrays, step: Array) -> Array:
        """Where a step of a row ends, rounded as each of its leaves will be."""
        parts: list[Any] = [None] * len(self._plan.rows)
        self._bound.put(i, row, step, parts)
        for m in row.members or (i,):
            parts[m] = sum_of(_get(arrays, m), parts[m])
        return self._bound.gather(i, row, parts)

    def _step_of_tied(
        self, row: Row, i: int, arrays: Arrays, updates: Arrays, ends: list[Any]
    ) -> Array:
        """The step of a tied leaf: its source's, if the sum with that is right."""
        start, end = _get(arrays, i), self._bound.tied_value(row, ends)
        step = add_exactly(end, -start)
        of_source = self._bound.tied_value(row, updates)
        step = jnp.where(sum_of(start, of_source) == end, of_source, step)
        still = end == self._bound.tied_value(row, arrays)
        return jnp.where(still, jnp.asarray(-0.0, step.dtype), step)


def _get(arrays: Sequence[Any], i: int) -> Array:
    array = arrays[i]
    assert array is not None
    return jnp.asarray(array)
