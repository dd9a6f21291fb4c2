"""Binding a spec to a model: the plan of it, or an error with every fault."""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from ..constraints import dtype_fault, why_unproven
from ..substrate import BIND_ERRORS, Kind, Recipe, bind, is_bijector, split
from ..trees import (
    Paths,
    PicklableTreedef,
    StaticLeaf,
    describe,
    fields_only,
    is_array,
    is_inexact,
    raise_all,
    shape_and_dtype,
    unwrappable,
)
from .binding_faults import (
    _ambiguous,
    _at_raw_numbers,
    _item_name,
    _scale_faults,
    _split_events,
    not_a_spec_leaf,
    raise_if_swapped,
)
from .dependence import in_order, trace
from .leaves import tie_fault
from .masked import bind_masked
from .plan import Plan, Row
from .rebuilding import rebuilding_faults
from .spec_items import Dependent, Joint, Masked, Tied, frozen, is_spec_leaf
from .spec_leaves import match_to_model, with_bijectors


def make_plan(
    model: PyTree, spec: PyTree, *, verify: bool
) -> tuple[Plan, tuple[tuple[Any, ...], ...], tuple[Any, ...]]:
    """Bind a spec to a model.

    Args:
        model: the model, or its shapes.
        spec: the spec.
        verify: whether bijectors that the table of facts does not know are verified.

    Returns:
        The plan; the numbers of each distinct bijector or function of the spec, by slot;
        and the held values by leaf: `None` at leaves with coordinates, and where the
        model gives only a shape.

    Raises:
        ValueError: the spec does not fit the model; all faults are listed.
    """
    groups, faults = match_to_model(spec, model)
    if faults:
        raise_if_swapped(model, spec)
    raise_all("Reparam: the spec's structure is not the model's", faults)
    binding = _Binding(model, verify=verify)
    groups, binding.faults = with_bijectors(groups, binding.model.paths)
    binding.assign(groups)
    binding.fill()
    binding.order()
    if binding.faults or not any(row.role == "free" for row in binding.rows):
        raise_if_swapped(model, spec)
    try:
        raise_all("Reparam: the spec does not fit the model", binding.faults)
    except ValueError as error:
        if binding.causes:
            raise error from ExceptionGroup("what was raised", binding.causes)
        raise
    plan = Plan(binding.structure, tuple(binding.rows))
    numbers = tuple(numbers for _, numbers in binding.parts)
    return plan, numbers, tuple(binding.held)


class _Binding:
    """A spec on its way to become a plan, with the faults found so far."""

    def __init__(self, model: PyTree, *, verify: bool):
        self.verify = verify
        self.tree = fields_only(model)
        self.model = Paths(self.tree)
        self.structure = PicklableTreedef(self.model.treedef)
        self.leaves = self.model.leaves
        self.items: list[Any] = [None] * len(self.leaves)
        self.joints: dict[int, list[int]] = {}  # a joint's id: its leaves in order
        self.rows = [
            Row(
                path,
                "static",
                *shape_and_dtype(leaf),
                value=None if is_array(leaf) else StaticLeaf(leaf),
            )
            for path, leaf in zip(self.model.paths, self.leaves, strict=True)
        ]
        self.held: list[Any] = [
            leaf
            if is_array(leaf) and not isinstance(leaf, jax.ShapeDtypeStruct)
            else None
            for leaf in self.leaves
        ]
        self.parts: list[tuple[Recipe, tuple[Any, ...]]] = []
        self.slots: dict[int, int] = {}
        self.made: dict[Any, Any] = {}  # bijectors that functions make, traced
        self.dtype_faults: dict[
            tuple[int, Kind], str | None
        ] = {}  # faults by slot and kind
        self.proofs: dict[tuple[int, Kind], tuple[str, ...]] = {}
        self.faults: list[str] = []
        self.causes: list[Exception] = []

    def assign(self, groups: list[tuple[Any, list[int]]]) -> None:
        """Put the spec's leaves at the model's."""
        distinct: dict[int, Joint] = {}
        for item, positions in groups:
            inexact = [i for i in positions if is_inexact(self.leaves[i])]
            if not inexact and item is not None and item is not frozen:
                self._covers_nothing(item, positions)
            if isinstance(item, Joint):
                distinct[id(item)] = item
                self.joints.setdefault(id(item), []).extend(inexact)
            if not isinstance(item, Joint) or not item.over:
                for i in inexact:
                    self.items[i] = item
        # A joint with `over` has the leaves that it names, wherever it stands.
        for joint in distinct.values():
            if joint.over:
                self._assign_over(joint)

    def _assign_over(self, joint: Joint) -> None:
        """Give a joint the leaves that its `over` names, in that order."""
        where = self._paths(self.joints[id(joint)])
        named = self._resolve(f"at {where}: `over` of the joint", joint.over)
        ordered = [i for i in named if is_inexact(self.leaves[i])]
        if named and not ordered:
            self._covers_nothing(joint, named)
        for i in ordered:
            if self.items[i] is not None:
                self.faults.append(
                    f"'{self.rows[i].path}' has {_item_name(self.items[i])} in the spec "
                    f"and is in {_item_name(joint)} too; leave one of them"
                )
            self.items[i] = joint
        self.joints[id(joint)] = ordered

    def _resolve(self, name: str, globs: Iterable[str]) -> list[int]:
        """The leaves that globs name, in their order."""
        found: dict[int, None] = {}
        for glob in globs:
            picked, fault = self.model.pick(glob)
            if fault:
                self.faults.append(f"{name} names '{glob}', which {fault}")
            found.update(dict.fromkeys(sorted(picked)))
        return list(found)

    def _paths(self, positions: Iterable[int]) -> str:
        return ", ".join(f"'{self.rows[i].path}'" for i in positions)

    def _covers_nothing(self, item: Any, positions: list[int]) -> None:
        found = ", ".join(
            f"'{self.rows[i].path}' is {describe(self.leaves[i])}" for i in positions[:3]
        )
        if is_spec_leaf(item):
            self.faults.append(
                f"{_item_name(item)} stands where no inexact array is: "
                f"{found or 'no leaf at all'}"
            )

    def fill(self) -> None:
        """Make the rows of all leaves that are inexact arrays."""
        self.faults += _at_raw_numbers(self.items, self.rows, unwrappable(self.tree))
        for i, (leaf, item) in enumerate(zip(self.leaves, self.items, strict=True)):
            if not is_inexact(leaf):
                continue
            row = self.rows[i]
            if not is_spec_leaf(item):
                self.faults.append(f"at '{row.path}': {not_a_spec_leaf(item)}")
            elif item is frozen:
                self.rows[i] = dataclasses.replace(row, role="frozen")
            elif isinstance(item, Tied):
                self._tie(i, item)
            elif item is None:
                self._free(i, row)
            elif jnp.issubdtype(row.dtype, jnp.complexfloating):
                self.faults.append(
                    f"at '{row.path}': {_item_name(item)} stands at a {row.dtype} leaf; "
                    "a complex leaf may be frozen or left as it is (None)"
                )
            elif isinstance(item, Joint):
                self._join(i, item)
            elif isinstance(item, Masked):
                self._mask(i, item)
            else:
                self._map(i, item, row.shape, row.dtype)
        self.faults += _ambiguous(self.rows)

    def _free(self, i: int, row: Row, **changes: Any) -> None:
        self.rows[i] = dataclasses.replace(row, role="free", **changes)
        self.held[i] = None

    def _mask(self, i: int, item: Masked) -> None:
        """Bind a bijector to some entries of a leaf; the others keep their values."""
        row, held = self.rows[i], self.held[i]
        if not item.mask.any() and item.mask.shape == row.shape[: item.mask.ndim]:
            self.rows[i] = dataclasses.replace(row, role="frozen")
            return
        self._map(i, item.bijector, row.shape, row.dtype, mask=item.mask)
        self.held[i], picked = held, self.rows[i].picked
        fault = picked.held_fault(held) if picked is not None else ""
        self.faults += [f"at '{row.path}': {fault}"] if fault else []

    def _map(
        self, i: int, item: Any, shape: tuple[int, ...], dtype: Any, **more: Any
    ) -> None:
        """Bind a bijector, or a function that makes one, to leaf `i`."""
        row, mask = self.rows[i], more.pop("mask", None)
        dependent = isinstance(item, Dependent)
        if dependent or mask is None:
            slot = self._slot(item.function if dependent else item)
            structure, numbers = self.parts[slot]
        else:  # a masked bijector has the numbers of the picked entries alone
            slot, (structure, numbers) = len(self.parts), split(item)
        where = self._paths(more.get("members", (i,)))
        function, kind, known = None, None, True
        on: list[int] = []
        if dependent:
            count = len(self.faults)
            function = structure
            on = self._resolve(f"at {where}: `on` of the dependent", item.on)
            known = len(self.faults) == count
        try:
            if function is not None and known:
                structure, numbers = self._depend(slot, on, named=bool(item.on))
            if known and mask is not None:
                found = bind_masked(structure, numbers, mask, shape, dtype)
                kind, numbers, more["picked"] = found
                if function is None:
                    item = kind.recipe.build(numbers)
                    self.parts.append((kind.recipe, numbers))
            elif known:
                kind = bind(structure, numbers, shape, dtype)
        except BIND_ERRORS as error:
            what = describe(jax.ShapeDtypeStruct(shape, dtype))
            self._note_error(f"at {where}: {_item_name(item)} does not fit {what}", error)
        if kind is not None:
            together = more.get("members") or ((i,) if "picked" in more else None)
            self.faults += _split_events(item, kind, self.rows, self.leaves, i, together)
            if function is None:
                self._check_dtype(where, item, slot, kind)
            if self.verify:
                self._check_proof(where, item, slot, kind, numbers)
        self._free(i, row, kind=kind, slot=slot, on=tuple(on), function=function, **more)

    def _check_dtype(self, where: str, item: Any, slot: int, kind: Kind) -> None:
        """Note bounds and other numbers that the leaf's dtype cannot hold."""
        key = slot, kind
        if key not in self.dtype_faults:
            self.dtype_faults[key] = dtype_fault(item, self.parts[slot][1], kind)
        fault = self.dtype_faults[key]
        if fault:
            self.faults.append(
                f"at {where}: {_item_name(item)} does not fit {kind.dtype}: {fault}; "
                "give a wider dtype or other numbers"
            )

    def _check_proof(
        self, where: str, item: Any, slot: int, kind: Kind, numbers: tuple[Any, ...]
    ) -> None:
        """Note what is wrong with a bijector that the table of facts does not know."""
        key = slot, kind
        if key not in self.proofs:
            bijector = item.bijector if isinstance(item, Joint) else item
            if not is_bijector(bijector):  # a function makes it: only shapes are known
                bijector = None
            self.proofs[key] = why_unproven(bijector, kind, numbers)
        self.faults += [
            f"at {where}: {_item_name(item)}: {fault}" for fault in self.proofs[key]
        ]

    def _note_error(self, what: str, error: Exception) -> None:
        """Note what TFP, or a user's function, has raised."""
        self.causes.append(error)
        plain = type(error) in (ValueError, TypeError, NotImplementedError)
        name = "" if plain else f"{type(error).__name__}: "
        self.faults.append(f"{what}: {name}{error}")

    def _depend(
        self, slot: int, on: list[int], *, named: bool
    ) -> tuple[Recipe, tuple[Any, ...]]:
        """The recipe, and the numbers' shapes, of the bijector that a function makes.

        What is read is added to `on`. Where the spec has `named` what the function reads,
        to read another inexact array is an error.
        """
        function, numbers = self.parts[slot]
        key = function, *((jnp.shape(n), jnp.result_type(n)) for n in numbers)
        if key not in self.made:
            self.made[key] = trace(self.structure, self.rows, function, numbers)
        structure, shapes, read = self.made[key]
        unnamed = [i for i in read if i not in on]
        on += unnamed
        unnamed = [i for i in unnamed if is_inexact(self.leaves[i])]
        if unnamed and named:
            raise ValueError(
                f"its function reads {self._paths(unnamed)}, which `on` does not name; "
                "name it there"
            )
        return structure, shapes

    def _slot(self, item: Any) -> int:
        """The slot of a bijector or function, in which its numbers are kept."""
        slot = self.slots.setdefault(id(item), len(self.parts))
        if slot == len(self.parts):
            self.parts.append(split(item))
        return slot

    def _join(self, i: int, joint: Joint) -> None:
        """Bind a joint at its first leaf; the others point there."""
        members = tuple(self.joints[id(joint)])
        first = min(members)
        if i != first:
            self._free(i, self.rows[i], owner=first)
            return
        with jax.numpy_dtype_promotion("standard"):
            dtype = jnp.result_type(*(self.rows[m].dtype for m in members))
        size = sum(math.prod(self.rows[m].shape) for m in members)
        self._map(i, joint.bijector, (size,), dtype, members=members)

    def _tie(self, i: int, tie: Tied) -> None:
        row = self.rows[i]
        picked, fault = self.model.pick(tie.source)
        if not fault and len(picked) > 1:
            fault = f"names the leaves {self._paths(sorted(picked)[:3])}; name one"
        elif not fault and not is_inexact(self.leaves[min(picked)]):
            found = describe(self.leaves[min(picked)])
            fault = f"is {found}; tie to an array of floats"
        if fault:
            self.faults.append(f"'{row.path}' is tied to '{tie.source}', which {fault}")
            return
        (source,) = picked
        slot = self._slot(tie.function)
        function, numbers = self.parts[slot]
        try:
            result = jax.eval_shape(
                lambda numbers, x: function.build(numbers)(x),
                numbers,
                jax.ShapeDtypeStruct(*shape_and_dtype(self.leaves[source])),
            )
            if not hasattr(result, "shape") or result.shape != row.shape:
                raise ValueError(f"its function gives {describe(result)}")
        except BIND_ERRORS as error:
            self._note_error(
                f"'{row.path}' ({describe(self.leaves[i])}) is tied to '{tie.source}' "
                f"({describe(self.leaves[source])})",
                error,
            )
        self.rows[i] = dataclasses.replace(
            row, role="tied", slot=slot, on=(source,), function=function
        )

    def order(self) -> None:
        """Check that dependencies have an order; freeze leaves tied to frozen ones."""
        order, cycles = in_order(self.rows)
        self.faults += cycles
        self.faults += _scale_faults(self.items, self.rows, self.leaves, self.model)
        if not self.faults:
            self.faults += rebuilding_faults(self.structure, self.rows, self.leaves)
        for i in order:
            if self.rows[i].role == "tied":
                self._freeze_or_release(i)

    def _freeze_or_release(self, i: int) -> None:
        """Freeze a tied leaf if its source is frozen; else hold no value of it."""
        row = self.rows[i]
        (source,) = row.on
        if self.rows[source].role != "frozen":
            self.held[i] = None
            return
        self.rows[i] = dataclasses.replace(
            row, role="frozen", slot=-1, on=(), function=None
        )
        if row.function is None or self.held[i] is None or self.held[source] is None:
            return
        function = row.function.build(self.parts[row.slot][1])
        expected = jnp.asarray(function(self.held[source]))
        fault = tie_fault(row, self.rows[source], expected, self.held[i])
        if fault:
            self.faults.append(fault + "; set both, or freeze both without the tie")
