"""A Reparam as an optimizer of the model needs it: changes, gradients and steps."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax.core import Tracer
from jaxtyping import Array, PyTree, UInt32

from . import _tfp
from ._interior import add_exactly, settle, step_inside
from ._leaves import free_leaves, model_leaves
from ._plan import Plan, Row, owner
from ._reparam import Reparam, _assemble
from ._tree import describe, is_array, raise_all

# Arrays by the position of their leaf in the model; `None` where there is none.
Arrays = list[Array | None]


class Steps:
    """Steps in the free coordinates of those leaves that a tree of parameters holds.

    Attributes:
        reparam: of the whole model; leaves that the parameters lack are frozen in it.
    """

    def __init__(self, reparam: Reparam, missing: frozenset[int]):
        self.reparam = _without(reparam, missing)
        self._plan = plan = self.reparam._plan
        self._moving = [
            i for i, row in enumerate(plan.rows) if row.role in ("free", "tied")
        ]
        self._needed = {owner(plan.rows, j) for row in plan.rows for j in row.on}
        # What else is a coordinate itself needs no watching.
        self._own = {i for i, row in plan.free if row.kind is None and not plan.outer}
        self._watched = [
            (i, row) for i, row in plan.free if i not in self._own or i in self._needed
        ]
        self.marks = jax.jit(self._marks)
        self.pull_back = jax.jit(self._pull_back)
        self.refresh = jax.jit(self._refresh)
        self.land = jax.jit(self._land)

    def start(self, arrays: Arrays) -> PyTree:
        """Free coordinates of the parameters, in arrays of their own."""
        model = self._model(arrays)
        free = self.reparam.inverse(model)
        traced = any(isinstance(x, Tracer) for x in jtu.tree_leaves(free))
        if traced:
            free = self.reparam.inverse(self.reparam.error_if_outside(model))
        return jtu.tree_map(jnp.copy, free)

    def _model(self, arrays: Arrays) -> PyTree:
        """The whole model; what the parameters lack is as it was bound."""
        leaves = [
            row.value.value if row.value is not None else held if array is None else array
            for row, held, array in zip(
                self._plan.rows, self.reparam._held, arrays, strict=True
            )
        ]
        for i, row in enumerate(self._plan.rows):
            if leaves[i] is None and row.value is None:
                leaves[i] = jax.ShapeDtypeStruct(row.shape, row.dtype)
        return self._plan.structure.treedef.unflatten(leaves)

    def values(self, free: PyTree, arrays: Arrays) -> Arrays:
        """The leaves that move, at free coordinates."""
        leaves = self._kept(arrays)
        self.reparam._fill(free_leaves(self._plan, free), leaves)
        return self._only_moving(leaves)

    def inside(self, free: PyTree, arrays: Arrays) -> Arrays:
        """`values`, with numbers on the boundary of an interval moved inside."""
        leaves: list[Any] = self._kept(arrays)
        self.reparam._fill(free_leaves(self._plan, free), leaves)
        for i, row in self._plan.order:
            if row.role == "tied":
                self.reparam._place(i, row, None, leaves)
            elif row.kind is not None:
                y = self.reparam._gather(i, row, leaves)
                kind, numbers = self.reparam._call(row, y.dtype, leaves)
                y = settle(kind.structure.build(numbers), y)
                self.reparam._place(i, row, y, leaves)
        return self._only_moving(leaves)

    def _kept(self, arrays: Arrays) -> list[Any]:
        """The leaves that do not move."""
        leaves: list[Any] = []
        for row, held, array in zip(
            self._plan.rows, self.reparam._held, arrays, strict=True
        ):
            value = held if array is None else array
            if row.role in ("free", "tied"):
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
        return values, pull(cotangents)[0]

    # Changes from outside.

    def _marks(self, arrays: Arrays) -> UInt32[Array, " watched"]:
        """A number for the bits of each leaf that is watched, or joint of leaves."""
        marks = []
        for i, row in self._watched:
            mark = jnp.zeros((), jnp.uint32)
            for m in row.members or (i,):
                mark = jnp.uint32(3) * mark + _mark(_get(arrays, m))
            marks.append(mark)
        return jnp.stack(marks) if marks else jnp.zeros(0, jnp.uint32)

    def _refresh(self, free: PyTree, marks: Array, arrays: Arrays) -> PyTree:
        """Invert again where parameters are not those that `marks` were made of."""
        found = free_leaves(self._plan, free)
        found = [
            _get(arrays, i) if i in self._own else x
            for (i, _), x in zip(self._plan.free, found, strict=True)
        ]
        changed = marks != self._marks(arrays)

        # A loop of no turn or one: unlike `cond`, it leaves `free` where it is.
        def invert(carry: tuple[Array, list[Array]]) -> tuple[Array, list[Array]]:
            changed, found = carry
            return jnp.zeros_like(changed), self._invert(changed, found, arrays)

        def any_changed(carry: tuple[Array, list[Array]]) -> Array:
            return jnp.any(carry[0])

        if self._watched:
            _, found = jax.lax.while_loop(any_changed, invert, (changed, found))
        return self.reparam._free_tree(found)

    def _invert(self, changed: Array, free: list[Array], arrays: Arrays) -> list[Array]:
        """Free coordinates of the leaves that changed; the others keep theirs.

        In a leaf that changed, the elements or events that are still where their free
        coordinates put them keep those too: near saturation many map to one value.
        """
        reparam, plan = self.reparam, self._plan
        flags = {i: changed[n] for n, (i, _) in enumerate(self._watched)}
        inner = self._within(free)
        place = {i: n for n, (i, _) in enumerate(plan.free)}
        leaves = self._kept(arrays)
        alike: dict[Any, list[int]] = {}
        for i, row in plan.order:
            if row.role == "tied":
                reparam._place(i, row, None, leaves)
                continue
            flag = flags.get(i, jnp.zeros((), bool))
            for j in row.on:
                flag = flag | flags.get(owner(plan.rows, j), jnp.zeros((), bool))
            flags[i] = flag
            x, y = inner[place[i]], reparam._gather(i, row, arrays)
            if row.kind is None:
                inner[place[i]] = value = jnp.where(flag, y, x)
                reparam._place(i, row, value, leaves)
                continue
            kind, numbers = reparam._call(row, y.dtype, leaves)
            if row.on or row.members or i in self._needed:
                inner[place[i]] = x = _again(kind, numbers, flag, x, y)
                reparam._place(i, row, _tfp.forward(kind, numbers, x), leaves)
            else:
                alike.setdefault((kind, row.slot), []).append(i)
        for (kind, slot), these in alike.items():
            # together: XLA's compiler takes long for many small leaves
            again = functools.partial(_again, kind, reparam._numbers[slot])
            found = _each(
                again,
                [flags[i] for i in these],
                [inner[place[i]] for i in these],
                [_get(arrays, i) for i in these],
            )
            for i, x in zip(these, found, strict=True):
                inner[place[i]] = x
        if not plan.outer:
            return inner
        outer, _ = reparam._inverse_outer(inner)
        return [
            jnp.where(jnp.any(changed), a, b) for a, b in zip(outer, free, strict=True)
        ]

    def _within(self, free: list[Array]) -> list[Array]:
        """The coordinates of the rows, below what `then` put over them."""
        for kind, slot in reversed(self._plan.outer):
            vector = self.reparam.ravel(self.reparam._free_tree(free))
            call = self.reparam._cast(kind, slot, vector.dtype)
            free = self.reparam._split(
                _tfp.forward(*call, vector), [x.dtype for x in free]
            )
        return list(free)

    # Steps.

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
            What to add to each leaf that moves, and the marks of the sums.
        """
        reparam, plan = self.reparam, self._plan
        targets = self.values(free, arrays)
        moved = dict(
            zip((i for i, _ in plan.free), free_leaves(plan, steps), strict=True)
        )
        updates: Arrays = [None] * len(plan.rows)
        ends: list[Any] = self._kept(arrays)
        for i, row in plan.order:
            if row.role == "tied":
                updates[i] = self._follow(row, i, arrays, updates, ends)
                ends[i] = _sum(_get(arrays, i), _get(updates, i))
                continue
            members = row.members or (i,)
            if i in self._own:
                updates[i] = moved[i].astype(_get(arrays, i).dtype)
            elif row.kind is None:
                step = add_exactly(_get(targets, i), -_get(arrays, i))
                still = _get(targets, i) == _get(before, i)
                updates[i] = jnp.where(still, jnp.asarray(-0.0, step.dtype), step)
            else:
                place = reparam._gather(i, row, arrays)
                target = reparam._gather(i, row, targets)
                kind, numbers = reparam._call(row, place.dtype, ends)
                still = target == reparam._gather(i, row, before)

                def add(step: Array, i: int = i, row: Row = row) -> Array:
                    parts: list[Any] = [None] * len(plan.rows)
                    reparam._place(i, row, step, parts)
                    for m in row.members or (i,):
                        parts[m] = _sum(_get(arrays, m), parts[m])
                    return reparam._gather(i, row, parts)

                step = step_inside(
                    kind.structure.build(numbers), place, target, still, add
                )
                reparam._place(i, row, step, updates)
            for m in members:
                ends[m] = _sum(_get(arrays, m), _get(updates, m))
        return updates, self._marks(self._only_moving(ends))

    def _follow(
        self, row: Row, i: int, arrays: Arrays, updates: Arrays, ends: list[Any]
    ) -> Array:
        """The step of a tied leaf: that of its source, where this lands better."""
        place, end = _get(arrays, i), self.reparam._follow(row, ends)
        step = add_exactly(end, -place)
        same = self.reparam._follow(row, updates)
        step = jnp.where(_sum(place, same) == end, same, step)
        still = end == self.reparam._follow(row, arrays)
        return jnp.where(still, jnp.asarray(-0.0, step.dtype), step)


def _get(arrays: Sequence[Any], i: int) -> Array:
    array = arrays[i]
    assert array is not None
    return jnp.asarray(array)


def _sum(place: Array, step: Array) -> Array:
    """What `optax.apply_updates` makes of a leaf."""
    if jnp.issubdtype(place.dtype, jnp.complexfloating):
        return place + step
    return add_exactly(place, step)


def _again(
    kind: _tfp.Kind, numbers: tuple[Any, ...], flag: Array, x: Array, y: Array
) -> Array:
    """Free coordinates of `y` where it is not what `x` maps to, if the flag is up."""
    bijector = kind.structure.build(numbers)
    carried = settle(bijector, _tfp.forward(kind, numbers, x))
    again = _tfp.inverse(kind, numbers, settle(bijector, y))
    return jnp.where(_by_event(kind, carried == y) | ~flag, x, again)


def _each(function: Callable[..., Array], *arguments: list[Array]) -> list[Array]:
    """Map lists of arrays that are alike."""
    if len(arguments[0]) == 1:
        return [function(*(a[0] for a in arguments))]
    stacked = jax.lax.optimization_barrier([jnp.stack(a) for a in arguments])
    found = jax.lax.optimization_barrier(jax.vmap(function)(*stacked))
    return list(found)


def _by_event(kind: _tfp.Kind, same: Array) -> Array:
    """Whether an event is the same throughout, in the shape of its free coordinates."""
    if kind.elementwise:
        return same
    batch = same.ndim - kind.event_ndims
    whole = jnp.all(same, axis=tuple(range(batch, same.ndim)))
    if kind.free_shape[:batch] != whole.shape:
        return jnp.all(whole)
    return jnp.expand_dims(whole, tuple(range(batch, len(kind.free_shape))))


def _mark(x: Array) -> Array:
    """A number for the bits of an array, in their order, the same on any device.

    Each word is multiplied and folded, which can be undone: a change of one element
    always shows, one of several unless their words happen to sum to the same.
    """
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        return jnp.uint32(3) * _mark(jnp.real(x)) + _mark(jnp.imag(x))
    x = jnp.ravel(x)
    if x.size < 4 * _BLOCK:
        return jnp.sum(_scrambled(x, 0), dtype=jnp.uint32)
    return jax.lax.platform_dependent(x, cpu=_mark_by_blocks, default=_mark_at_once)


# Words in the first cache, where XLA's CPU compiler vectorises a loop over them. A sum of
# all of them it would first write out word by word.
_BLOCK = 2048


def _mark_at_once(x: Array) -> Array:
    return jnp.sum(_scrambled(x, 0), dtype=jnp.uint32)


def _mark_by_blocks(x: Array) -> Array:
    count = x.size // _BLOCK

    def add(i: Array, sums: Array) -> Array:
        block = jax.lax.dynamic_slice(x, (i * _BLOCK,), (_BLOCK,))
        return sums + _scrambled(block, i.astype(jnp.uint32) * jnp.uint32(_BLOCK))

    rest = _scrambled(x[count * _BLOCK :], count * _BLOCK)
    zeros = jnp.zeros_like(_scrambled(x[:_BLOCK], 0))
    sums = jax.lax.fori_loop(0, count, add, zeros)
    return jnp.sum(sums, dtype=jnp.uint32) + jnp.sum(rest, dtype=jnp.uint32)


def _scrambled(x: Array, start: Any) -> Array:
    """The words of a vector, each a bijection of its bits that depends on its place."""
    narrow = {1: jnp.uint8, 2: jnp.uint16}.get(x.dtype.itemsize, jnp.uint32)
    words = jax.lax.bitcast_convert_type(x, narrow).astype(jnp.uint32)
    each = words.size // max(x.size, 1)  # two for float64
    words = jnp.ravel(words)
    order = jnp.asarray(start, jnp.uint32) * jnp.uint32(each)
    order = order + jax.lax.iota(jnp.uint32, words.size)
    # 2³² over the golden ratio, and a multiplier of MurmurHash3
    words = (words ^ (order * jnp.uint32(0x9E3779B9))) * jnp.uint32(0x85EBCA6B)
    return words ^ (words >> jnp.uint32(16))


# Trees of parameters.


def _without(reparam: Reparam, missing: frozenset[int]) -> Reparam:
    """A Reparam in which leaves are frozen.

    Raises:
        ValueError: another leaf needs one of them.
    """
    plan = reparam._plan
    rows = list(plan.rows)
    gone = {i for i in missing if rows[i].role in ("free", "tied")}
    faults = []
    for i, row in enumerate(rows):
        name = f"'{row.path}'"
        lost = [f"'{rows[j].path}'" for j in row.members if j in gone]
        if lost and len(lost) < len(row.members):
            faults.append(f"{', '.join(lost)} without the rest of the joint of {name}")
        if i not in gone and (needed := [j for j in row.on if j in gone]):
            paths = ", ".join(f"'{rows[j].path}'" for j in needed)
            faults.append(f"{paths}, on which {name} depends")
    if gone and plan.outer:
        paths = ", ".join(f"'{rows[j].path}'" for j in sorted(gone))
        faults.append(f"{paths}, and `then` mixes all leaves")
    raise_all(
        "the parameters lack leaves that others need (None or MaskedNode there)", faults
    )
    for i in gone:
        rows[i] = dataclasses.replace(
            rows[i],
            role="frozen",
            kind=None,
            members=(),
            owner=None,
            on=(),
            function=None,
        )
    changed = Plan(plan.structure, tuple(rows), plan.outer)
    return _assemble(changed, reparam._numbers, reparam._held) if gone else reparam


def absent(arrays: Arrays) -> frozenset[int]:
    """The leaves of the model that a tree of parameters lacks."""
    return frozenset(i for i, x in enumerate(arrays) if x is None)


def arrays_of(reparam: Reparam, tree: PyTree, name: str) -> Arrays:
    """The arrays in a tree like the model, which may hold `None` at any leaf.

    Args:
        reparam: of the model.
        tree: parameters or gradients.
        name: what they are, for messages.

    Raises:
        ValueError: another structure or shape than bound.
    """
    faults = []
    arrays: Arrays = []
    for row, leaf in zip(reparam._plan.rows, _leaves(reparam, tree, name), strict=True):
        array = is_array(leaf) and leaf.dtype != jax.dtypes.float0
        arrays.append(leaf if array else None)
        if row.role == "static" or (not array and not jtu.tree_leaves(leaf)):
            continue
        if not array and getattr(leaf, "dtype", None) == jax.dtypes.float0:
            continue
        if not array or tuple(leaf.shape) != row.shape:
            faults.append(
                f"at '{row.path}': got {describe(leaf)}, expected shape {row.shape}"
            )
    raise_all(f"the {name} are not like the model of this Reparam", faults)
    return arrays


def put(reparam: Reparam, tree: PyTree, arrays: Arrays) -> PyTree:
    """Replace leaves of a tree like the model, where there is an array for them."""
    leaves = [
        leaf if array is None else array
        for leaf, array in zip(_leaves(reparam, tree, "params"), arrays, strict=True)
    ]
    return reparam._plan.structure.treedef.unflatten(leaves)


def _leaves(reparam: Reparam, tree: PyTree, name: str) -> list[Any]:
    """What a tree has at each leaf of the model: that leaf, or anything in its place."""
    plan = reparam._plan
    try:
        return plan.structure.treedef.flatten_up_to(tree)
    except (ValueError, TypeError, KeyError) as error:
        try:
            model_leaves(plan, tree)
        except ValueError as fault:
            raise ValueError(f"{name}: {fault}") from error
        raise
