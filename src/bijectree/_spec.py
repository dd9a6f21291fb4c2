"""Specs: what may stand in one, and the plan that a spec makes of a model."""

import collections
import dataclasses
import functools
import typing
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from ._tfp import Kind, bind, is_bijector, split
from ._tree import (
    Fixed,
    Structure,
    broadcast,
    children,
    describe,
    is_array,
    is_inexact,
    path_string,
    raise_all,
)


class _Frozen:
    """The type of `frozen`."""

    def __repr__(self) -> str:
        return "frozen"

    def __reduce__(self) -> str:
        return "frozen"


frozen = _Frozen()
"""In a spec: hold a leaf fixed. It has a value but no free coordinate.

Example:
    >>> import bijectree as bt, jax.numpy as jnp
    >>> model = {"a": jnp.ones(2), "b": jnp.ones(3)}
    >>> bt.Reparam(model, {"a": bt.frozen, "b": None}).dim
    3
"""


def is_spec_leaf(x: Any) -> bool:
    """Whether `x` stands at a leaf of a spec, or above many of the model's."""
    return x is None or x is frozen or is_bijector(x)


@dataclasses.dataclass(frozen=True)
class Row:
    """What the plan knows of one leaf of the model.

    Attributes:
        path: its path.
        role: "free" has coordinates; "frozen" is an inexact array without any;
            "static" is anything else, left alone.
        shape: its shape in the model, `()` if it is no array.
        dtype: its dtype, `None` if it is no array.
        kind: what its bijector does to it; `None` is the identity.
        slot: which numbers of the spec its bijector has.
        value: a static leaf that is no array.
    """

    path: str
    role: Literal["free", "frozen", "static"]
    shape: tuple[int, ...] = ()
    dtype: np.dtype | None = None
    kind: Kind | None = None
    slot: int = -1
    value: Fixed | None = None

    @property
    def free_shape(self) -> tuple[int, ...]:
        """The shape of the leaf's free coordinates."""
        return self.shape if self.kind is None else self.kind.free_shape


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """A spec bound to a model's structure, shapes and dtypes: one row a leaf.

    It holds no array, so it is hashable and does not change when a number does.
    """

    structure: Structure
    rows: tuple[Row, ...]

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Plan)
            and hash(self) == hash(other)
            and self.structure == other.structure
            and self.rows == other.rows
        )

    def __hash__(self) -> int:
        return self._hash

    @functools.cached_property
    def _hash(self) -> int:
        return hash((self.structure, self.rows))

    @functools.cached_property
    def free(self) -> tuple[tuple[int, Row], ...]:
        """The rows that have coordinates, with their leaves' positions."""
        return tuple((i, row) for i, row in enumerate(self.rows) if row.role == "free")

    @functools.cached_property
    def free_treedef(self) -> Any:
        """The treedef of `free`: the model's with `None` where a leaf is not free."""
        leaves = [0 if row.role == "free" else None for row in self.rows]
        return jax.tree_util.tree_structure(self.structure.treedef.unflatten(leaves))

    def __reduce__(self) -> tuple[Any, ...]:
        return Plan, (self.structure, self.rows)


def make_plan(
    model: PyTree, spec: PyTree
) -> tuple[Plan, tuple[tuple[Any, ...], ...], tuple[Any, ...]]:
    """Bind a spec to a model.

    Returns:
        The plan; the numbers of each distinct bijector of the spec; the leaves that
        have no coordinates but a value, `None` for all others and where the model
        gives but a shape.

    Raises:
        ValueError: the spec does not fit the model; all faults are listed.
    """
    pairs, treedef = jax.tree_util.tree_flatten_with_path(model)
    # A distribution is a tree to JAX; here it is one thing in the wrong place.
    groups, faults = broadcast(
        spec, model, lambda x: is_spec_leaf(x) or hasattr(x, "log_prob")
    )
    raise_all("Reparam: the spec's structure is not the model's", faults)
    values: list[Any] = [None] * len(pairs)
    for value, positions in groups:
        for i in positions:
            values[i] = value
        faults += _covers_nothing(value, [pairs[i] for i in positions])
    slots: dict[int, int] = {}
    parts: list[tuple[Any, tuple[Any, ...]]] = []
    rows: list[Row] = []
    held: list[Any] = []
    causes: list[Exception] = []
    for (keys, leaf), value in zip(pairs, values, strict=True):
        path = path_string(keys)
        shape = tuple(leaf.shape) if is_array(leaf) else ()
        dtype = _dtype(leaf) if is_array(leaf) else None
        kept = leaf if is_array(leaf) else None
        if isinstance(leaf, jax.ShapeDtypeStruct):
            kept = None
        if not is_spec_leaf(value):
            faults.append(f"at '{path}': {_not_a_spec_leaf(value)}")
        elif not is_inexact(leaf):
            fixed = None if is_array(leaf) else Fixed(leaf)
            rows.append(Row(path, "static", shape, dtype, value=fixed))
            held.append(kept)
        elif value is frozen:
            rows.append(Row(path, "frozen", shape, dtype))
            held.append(kept)
        elif value is None:
            rows.append(Row(path, "free", shape, dtype))
            held.append(None)
        elif jnp.issubdtype(leaf.dtype, jnp.complexfloating):
            faults.append(
                f"at '{path}': {value.name} stands at a {leaf.dtype} leaf; a complex "
                "leaf may be frozen or left as it is (None)"
            )
        else:
            slot = slots.setdefault(id(value), len(parts))
            if slot == len(parts):
                parts.append(split(value))
            structure, numbers = parts[slot]
            try:
                kind = bind(structure, numbers, shape, dtype)
            except _BIND_ERRORS as error:
                causes.append(error)
                faults.append(
                    f"at '{path}': {value.name} does not fit {describe(leaf)}: {error}"
                )
            else:
                rows.append(Row(path, "free", shape, kind.dtype, kind, slot))
                held.append(None)
    faults += _ambiguous([path_string(keys) for keys, _ in pairs], rows)
    try:
        raise_all("Reparam: the spec does not fit the model", faults)
    except ValueError as error:
        if causes:
            raise error from ExceptionGroup("what the bijectors raised", causes)
        raise
    plan = Plan(Structure(treedef), tuple(rows))
    return plan, tuple(numbers for _, numbers in parts), tuple(held)


def _covers_nothing(value: Any, pairs: list[tuple[Any, Any]]) -> list[str]:
    """A fault if a bijector stands where there is no inexact array to map."""
    if not is_bijector(value) or any(is_inexact(leaf) for _, leaf in pairs):
        return []
    found = ", ".join(
        f"'{path_string(keys)}' is {describe(leaf)}" for keys, leaf in pairs
    )
    return [f"{value.name} stands where no inexact array is: {found or 'no leaf at all'}"]


# What TFP and a user's own bijector raise when shapes or dtypes do not suit them.
_BIND_ERRORS = (
    ValueError,
    TypeError,
    NotImplementedError,
    IndexError,
    AttributeError,
    AssertionError,
    ZeroDivisionError,
)


def _dtype(leaf: Any) -> Any:
    """The dtype that JAX will give a leaf: float64 only where it is enabled."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
        return leaf.dtype
    return jax.dtypes.canonicalize_dtype(leaf.dtype)


def _not_a_spec_leaf(value: Any) -> str:
    expected = "expected a TFP bijector, None (identity) or bt.frozen"
    if hasattr(value, "log_prob"):
        return (
            f"got the distribution {type(value).__name__}; {expected}. A prior goes to "
            "bt.Posterior"
        )
    if callable(value):
        name = getattr(value, "__name__", type(value).__name__)
        return f"got the function {name}; {expected}. Call it: {name}()"
    return f"got {describe(value)}; {expected}"


def _ambiguous(paths: list[str], rows: list[Row]) -> list[str]:
    """Faults for leaves that no path string, or no label, could tell apart."""
    faults = [
        f"{count} leaves have the path '{path}'; rename a key"
        for path, count in collections.Counter(paths).items()
        if count > 1
    ]
    # {"a": 2 elements, "a.0": scalar}: "a.0" would name two coordinates.
    ndims = {row.path: len(row.free_shape) for row in rows if row.role == "free"}
    for path, ndim in ndims.items():
        base, _, index = path.rpartition(".")
        while index.isdecimal():
            ndim += 1
            if ndims.get(base) == ndim:
                faults.append(
                    f"'{path}' and the elements of '{base}' have the same labels; "
                    "rename a key"
                )
            base, _, index = base.rpartition(".")
    return faults


def spec_from_fields(model: PyTree) -> PyTree:
    """Read a spec from the fields of the model's own classes.

    A field declares its bijector as `eqx.field(metadata={"bijector": bijector})` or as
    `typing.Annotated[Array, bijector]`; `bt.frozen` serves too. Any node that JAX
    flattens by field names counts, at any depth: Equinox modules, registered
    dataclasses, named tuples. A declaration holds for everything beneath its field;
    where one lies within another, the outer one wins.

    Args:
        model: any pytree.

    Returns:
        A pytree of the model's structure with a bijector, `bt.frozen` or `None` at each
        leaf.

    Raises:
        ValueError: fields with a declaration that hold no inexact array; all are
            listed.

    Example:
        >>> import bijectree as bt, equinox as eqx, jax.numpy as jnp
        >>> from jaxtyping import Array
        >>> class Noise(eqx.Module):
        ...     scale: Array = eqx.field(metadata={"bijector": bt.tfb.Exp()})
        >>> spec = bt.spec_from_fields({"noise": Noise(jnp.ones(3))})
        >>> spec["noise"].scale.name
        'exp'
    """
    leaves, treedef = jax.tree_util.tree_flatten(model)
    values: list[Any] = [None] * len(leaves)
    faults: list[str] = []

    def visit(node: Any, positions: Any, path: tuple[Any, ...]) -> None:
        below = children(node)
        if below is None:
            return
        declared = _declarations(node)
        places = children(positions) or []
        for (key, child), (_, place) in zip(below, places, strict=True):
            declaration = declared.pop(getattr(key, "name", None), None)
            if declaration is None:
                visit(child, place, (*path, key))
                continue
            inexact = [
                i for i in jax.tree_util.tree_leaves(place) if is_inexact(leaves[i])
            ]
            for i in inexact:
                values[i] = declaration
            if not inexact:
                faults.append(
                    f"'{path_string((*path, key))}' declares {declaration!r} but holds "
                    f"no inexact array: {describe(child)}"
                )
        for name, declaration in declared.items():
            faults.append(
                f"'{name}' of {type(node).__name__} at '{path_string(path)}' declares "
                f"{declaration!r} but JAX does not see that field as a child"
            )

    visit(model, treedef.unflatten(range(len(leaves))), ())
    raise_all("spec_from_fields: some declarations have no effect", faults)
    return treedef.unflatten(values)


def _declarations(node: Any) -> dict[str | None, Any]:
    """The bijectors that the fields of one node declare, by field name."""
    cls = type(node)
    declared: dict[str | None, Any] = {}
    if dataclasses.is_dataclass(cls):
        for field in dataclasses.fields(cls):
            value = field.metadata.get("bijector")
            if value is not None:
                declared[field.name] = value
    elif not (isinstance(node, tuple) and hasattr(cls, "_fields")):
        return {}
    for name, hint in _annotations(cls).items():
        if typing.get_origin(hint) is Annotated:
            for value in hint.__metadata__:
                if value is frozen or is_bijector(value):
                    declared.setdefault(name, value)
    return declared


@functools.cache
def _annotations(cls: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except NameError:  # an annotation that cannot be evaluated here: take it as written
        found: dict[str, Any] = {}
        for base in reversed(cls.__mro__):
            found |= vars(base).get("__annotations__", {})
        return found
