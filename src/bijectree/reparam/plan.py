"""The plan that a spec makes of a model: one row a leaf, in an order of dependencies."""

import dataclasses
import functools
import graphlib
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import jax
import numpy as np

from ..substrate import Kind, Recipe
from ..trees import HashedOnce, PicklableTreedef, StaticLeaf
from .masked import Picked


@dataclasses.dataclass(frozen=True)
class Row:
    """What the plan knows of one leaf of the model.

    Attributes:
        path: its path.
        role: "free" has coordinates; "tied" follows another leaf; "frozen" is an
            inexact array without coordinates; "static" is anything else, left alone.
        shape: its shape in the model, `()` if it is no array.
        dtype: its dtype, `None` if it is no array.
        kind: what its bijector does to it; `None` is the identity.
        slot: where `Bound.numbers` has those of its bijector or function.
        value: a static leaf that is no array.
        members: the leaves of its joint, in order, where it is their owner; empty where
            its bijector maps this leaf alone.
        owner: the position of the owner, for the other leaves of a joint.
        on: the leaves that it depends on.
        function: what makes its bijector of these, or its value if it is tied.
        picked: which of its entries its bijector maps; `None` for all.
    """

    path: str
    role: Literal["free", "tied", "frozen", "static"]
    shape: tuple[int, ...] = ()
    dtype: Any = None
    kind: Kind | None = None
    slot: int = -1
    value: StaticLeaf | None = None
    members: tuple[int, ...] = ()
    owner: int | None = None
    on: tuple[int, ...] = ()
    function: Recipe | None = None
    picked: Picked | None = None

    def as_read_now(self) -> "Row":
        """This row, or another one where what its functions read has changed."""
        changed = {}
        for name in ("kind", "value", "function"):
            part = getattr(self, name)
            now = part and part.as_read_now()
            if now is not part:
                changed[name] = now
        return dataclasses.replace(self, **changed) if changed else self

    @property
    def free_shape(self) -> tuple[int, ...]:
        """The shape of its free coordinates."""
        return self.shape if self.kind is None else self.kind.free_shape

    @property
    def free_dtype(self) -> Any:
        """The dtype of its free coordinates."""
        return self.dtype if self.kind is None else self.kind.dtype


@dataclasses.dataclass(frozen=True, eq=False)
class Plan(HashedOnce):
    """A spec bound to a model's structure, shapes and dtypes.

    It holds no array, so it is hashable and does not change when a number does.

    Attributes:
        structure: the model's.
        rows: one for each of the model's leaves.
        outer: the outer bijectors, that next to the rows first, with the slots of their
            numbers.
    """

    structure: PicklableTreedef
    rows: tuple[Row, ...]
    outer: tuple[tuple[Kind, int], ...] = ()

    def as_read_now(self) -> "Plan":
        """This plan, or another one where what its functions read has changed."""
        structure = self.structure.as_read_now()
        rows = tuple(row.as_read_now() for row in self.rows)
        outer = tuple((kind.as_read_now(), slot) for kind, slot in self.outer)
        before = (self.structure, *self.rows, *(kind for kind, _ in self.outer))
        now = (structure, *rows, *(kind for kind, _ in outer))
        same = all(a is b for a, b in zip(now, before, strict=True))
        return self if same else Plan(structure, rows, outer)

    @functools.cached_property
    def free(self) -> tuple[tuple[int, Row], ...]:
        """The rows that have a leaf in `free`, with their positions, in its order."""
        return tuple(
            (i, row)
            for i, row in enumerate(self.rows)
            if row.role == "free" and row.owner is None
        )

    @functools.cached_property
    def places(self) -> dict[int, slice]:
        """The places of each row of `free` in a free vector, by the row's position."""
        sizes = [math.prod(row.free_shape) for _, row in self.free]
        ends = itertools.accumulate(sizes)
        return {
            i: slice(end - size, end)
            for (i, _), size, end in zip(self.free, sizes, ends, strict=True)
        }

    @functools.cached_property
    def tied(self) -> tuple[tuple[int, Row], ...]:
        """The rows that follow others, with their positions."""
        return tuple((i, row) for i, row in enumerate(self.rows) if row.role == "tied")

    @functools.cached_property
    def order(self) -> tuple[tuple[int, Row], ...]:
        """The rows of `free` and `tied`, each after those that it depends on."""
        mapped = dict((*self.free, *self.tied))
        graph = {
            i: mapped.keys() & {owner(self.rows, j) for j in row.on}
            for i, row in mapped.items()
        }
        return tuple(
            (i, mapped[i]) for i in graphlib.TopologicalSorter(graph).static_order()
        )

    @functools.cached_property
    def free_treedef(self) -> Any:
        """The structure of free coordinates: the model's, with `None` at other leaves."""
        leaves: list[Any] = [None] * len(self.rows)
        for i, _ in self.free:
            leaves[i] = 0
        return jax.tree_util.tree_structure(self.structure.treedef.unflatten(leaves))

    @functools.cached_property
    def labels(self) -> tuple[str, ...]:
        """One label a free coordinate."""
        return tuple(label for _, row in self.free for label in self._labels(row))

    def _labels(self, row: Row) -> list[str]:
        if row.picked is not None:
            return [_label(row.path, index) for index in row.picked.labels]
        if not row.members:
            return _numbered(row.path, row.free_shape)
        elements = [
            label
            for i in row.members
            for label in _numbered(self.rows[i].path, self.rows[i].shape)
        ]
        if row.free_shape == (len(elements),):
            return elements
        paths = [self.rows[i].path for i in row.members]
        name = "+".join(paths) if len(paths) <= 4 else f"{paths[0]}+…+{paths[-1]}"
        return _numbered(name, row.free_shape)


def _numbered(path: str, shape: tuple[int, ...]) -> list[str]:
    return [_label(path, index) for index in np.ndindex(*shape)]


def _label(path: str, index: Iterable[int]) -> str:
    return ".".join([*([path] if path else []), *map(str, index)])


def owner(rows: Sequence[Row], i: int) -> int:
    """The position of the row that maps leaf `i`."""
    first = rows[i].owner
    return i if first is None else first
