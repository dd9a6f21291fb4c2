"""The leaves of a model or of free coordinates, compared with what a Reparam expects."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, PyTree

from ..substrate import ROUND_TRIP_TOLERANCE
from ..trees import (
    broadcast,
    describe,
    differences,
    fields_only,
    gather,
    is_array,
    is_spread,
    path_string,
    raise_all,
    short,
)
from .plan import Plan, Row


def model_leaves(plan: Plan, model: PyTree, held: Sequence[Any]) -> list[Any]:
    """The leaves of a model that has the structure and shapes of a plan.

    Args:
        plan: of the model.
        model: one like that which was bound; leaves without coordinates may be `None`.
        held: the values that were bound, for leaves where the model has `None`.
    """
    treedef = plan.structure.treedef
    leaves, got = jtu.tree_flatten(model)
    if got != treedef:
        model = fields_only(model)
        leaves, got = jtu.tree_flatten(model)
    filled = leaves if got == treedef else _filled(plan, model, held)
    if filled is None:
        positions = treedef.unflatten(range(treedef.num_leaves))
        _, faults = broadcast(model, positions, lambda x: False)
        faults = faults or differences(treedef.unflatten(map(_due, plan.rows)), model)
    else:
        leaves = filled
        wrong = [
            (row, leaf)
            for row, leaf in zip(plan.rows, leaves, strict=True)
            if row.dtype is not None
            and (not is_array(leaf) or tuple(leaf.shape) != row.shape)
        ]
        faults = [
            f"at '{row.path}': got None, expected {_due(row)}"
            if leaf is None
            else f"at '{row.path}': got {describe(leaf)}, expected shape {row.shape}"
            for row, leaf in wrong
        ]
        faults += _one_axis_more((row.shape, leaf) for row, leaf in wrong)
    if faults and got == plan.free_treedef and _have_free_shapes(plan, leaves):
        faults.append("these look like free coordinates, which `forward` maps to a model")
    raise_all("the model is not like the one that this Reparam was bound to", faults)
    return leaves


def without_none(plan: Plan, model: PyTree, leaves: Sequence[Any]) -> list[Any]:
    """The leaves of a plan without those at which a model has `None`."""
    if jtu.tree_structure(model).num_leaves == len(leaves):
        return list(leaves)
    here = plan.structure.treedef.flatten_up_to(fields_only(model))
    return [leaf for leaf, x in zip(leaves, here, strict=True) if x is not None]


def _filled(plan: Plan, model: PyTree, held: Sequence[Any]) -> list[Any] | None:
    """The leaves of a model, with the values that were bound where it has `None`.

    The result is `None` where the model is of another structure. At leaves that have
    coordinates, or of which no value was bound, `None` stays in the list.
    """
    try:
        leaves = plan.structure.treedef.flatten_up_to(model)
    except (ValueError, TypeError, KeyError):
        return None
    for i, (row, value) in enumerate(zip(plan.rows, held, strict=True)):
        if leaves[i] is None and row.role in ("frozen", "static"):
            leaves[i] = value if row.value is None else row.value.value
    alone = jtu.all_leaves([x for x in leaves if x is not None])
    return leaves if alone else None


def _one_axis_more(pairs: Iterable[tuple[tuple[int, ...], Any]]) -> list[str]:
    """A hint at `vmap`, where all arrays have one more axis than they should."""
    shapes = [(due, tuple(np.shape(x))) for due, x in pairs]
    sizes = {got[:1] for _, got in shapes}
    if len(sizes) != 1 or any(got[1:] != due or not got for due, got in shapes):
        return []
    return [
        "a batch of models, or of free coordinates, goes through under vmap, as in "
        "eqx.filter_vmap(reparam.forward)(free)"
    ]


def _have_free_shapes(plan: Plan, leaves: Sequence[Any]) -> bool:
    """Whether leaves have the shapes of free coordinates."""
    shapes = [row.free_shape for _, row in plan.free]
    return [np.shape(x) for x in leaves] == shapes


def _due(row: Row) -> str:
    """What is expected at a leaf, in words."""
    return f"a {row.dtype} array of shape {row.shape}" if row.dtype else "a leaf"


def free_leaves(plan: Plan, free: PyTree) -> list[Array]:
    """The leaves of free coordinates that have the structure of a plan."""
    leaves, got = jtu.tree_flatten(free)
    if got != plan.free_treedef:
        free = fields_only(free)
        leaves, got = jtu.tree_flatten(free)
    if got != plan.free_treedef:
        faults = _other_structure(plan, free)
    else:
        wrong = [
            (row, x)
            for (_, row), x in zip(plan.free, leaves, strict=True)
            if np.shape(x) != row.free_shape or not _is_free(x, row.dtype)
        ]
        faults = [
            f"at '{row.path}': got {describe(x)}, expected floats of shape "
            f"{row.free_shape}"
            for row, x in wrong
        ]
        faults += _one_axis_more((row.free_shape, x) for row, x in wrong)
    if faults and _is_model(plan, free):
        faults.append("this looks like a model, which `inverse` maps to its coordinates")
    raise_all("these are not free coordinates of this Reparam", faults)
    return [x if isinstance(x, jax.Array) else jnp.asarray(x) for x in leaves]


def _is_model(plan: Plan, tree: PyTree) -> bool:
    """Whether a tree has the structure and the shapes of the model of a plan."""
    leaves, got = jtu.tree_flatten(tree)
    shapes = [row.shape for row in plan.rows]
    return got == plan.structure.treedef and [*map(np.shape, leaves)] == shapes


def _is_free(x: Any, dtype: Any) -> bool:
    """Whether `x` can be coordinates of a leaf of a dtype: real ones of a real leaf."""
    if isinstance(x, jax.ShapeDtypeStruct):
        return False
    own = jnp.result_type(x)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return bool(jnp.issubdtype(own, jnp.inexact))
    return bool(jnp.issubdtype(own, jnp.floating))


def _other_structure(plan: Plan, free: PyTree) -> list[str]:
    """Where free coordinates have another structure than a plan's."""
    skeleton = plan.structure.treedef.unflatten(range(len(plan.rows)))
    due = {row.path for _, row in plan.free}
    _, faults = broadcast(free, skeleton, lambda x: False)
    if np.shape(free) == (sum(math.prod(row.free_shape) for _, row in plan.free),):
        return ["at the root: got one vector; `unravel` makes free coordinates of it"]
    pairs, _ = jtu.tree_flatten_with_path(free)
    here = {path_string(path): x for path, x in pairs}
    if not faults:
        faults = [
            f"at '{path}': got {describe(x)} where no coordinates are (None)"
            for path, x in here.items()
            if path not in due
        ]
        faults += [
            f"at '{path}': got None, expected coordinates" for path in due - here.keys()
        ]
    words = ["coordinates"] * len(plan.free)
    return faults or differences(plan.free_treedef.unflatten(words), free)


# A hint, for a Reparam whose arrays have an axis more than they were bound with.
UNDER_VMAP = (
    "If this Reparam was made under vmap, it is one for each member: call its maps under "
    "vmap too, as in eqx.filter_vmap(lambda reparam, free: reparam.forward(free))"
)


def held_leaves(
    plan: Plan, held: Sequence[Any], like: PyTree | None, *, needed: bool = True
) -> list[Any]:
    """All leaves, with values where there are no coordinates and `None` elsewhere.

    Args:
        plan: of the model.
        held: the values that were bound.
        like: a model to take the values from instead.
        needed: whether a missing value is an error.
    """
    source = held if like is None else model_leaves(plan, like, held)
    leaves: list[Any] = []
    missing, reshaped = [], []
    for row, value in zip(plan.rows, source, strict=True):
        if row.role in ("free", "tied") and row.picked is None:
            leaves.append(None)
        elif row.value is not None:
            leaves.append(row.value.value)
        else:
            if value is None or isinstance(value, jax.ShapeDtypeStruct):
                missing.append(f"'{row.path}' ({_role(row)})")
            elif np.shape(value) != row.shape:
                reshaped.append(
                    f"'{row.path}' ({_role(row)}): got shape {np.shape(value)}, bound "
                    f"with {row.shape}"
                )
            leaves.append(value)
    raise_all(f"values have other shapes than bound. {UNDER_VMAP}", reshaped)
    if like is not None:
        raise_all("forward: like=model cannot be held so", _held_faults(plan, leaves))
    if needed:
        raise_all(
            "forward: bound from shapes alone, so these leaves have no value; pass "
            "like=model",
            missing,
        )
    return leaves


def compare_held(plan: Plan, held: Sequence[Any], leaves: Sequence[Any]) -> None:
    """Raise if leaves without coordinates have other values than bound."""
    faults = []
    for row, leaf, value in zip(plan.rows, leaves, held, strict=True):
        if row.value is not None:
            same = row.value.is_still(leaf)
            value = row.value.value
        elif row.picked is not None and value is not None and leaf is not value:
            same = same_array(row.picked.only_held(leaf, value), value)
        else:
            same = leaf is value or value is None or same_array(leaf, value)
        if not same:
            faults.append(
                f"at '{row.path}' ({_role(row)}): bound with {short(value)}, got "
                f"{short(leaf)}"
            )
    raise_all(
        "inverse: leaves without coordinates differ from those that this Reparam was "
        "bound with; bind again: bt.Reparam(model, spec)",
        faults,
    )


def _role(row: Row) -> str:
    return row.role if row.picked is None else "held where it is masked"


def _held_faults(plan: Plan, leaves: Sequence[Any]) -> list[str]:
    """Faults of the values that masked leaves hold."""
    found = [
        (row, row.picked.held_fault(leaf))
        for row, leaf in zip(plan.rows, leaves, strict=True)
        if row.picked is not None
    ]
    return [f"at '{row.path}': {fault}" for row, fault in found if fault]


def same_array(a: Any, b: Any) -> bool:
    """Whether two arrays hold the same values; `True` if one cannot be looked at.

    Arrays that are split over processes alike are compared where they lie.
    """
    abstract = (Tracer, jax.ShapeDtypeStruct)
    if isinstance(a, abstract) or isinstance(b, abstract):
        return True
    if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
        a, b = jax.random.key_data(a), jax.random.key_data(b)
    inexact = bool(jnp.issubdtype(a.dtype, jnp.inexact))
    if _lie_alike(a, b):
        return bool(_equal(a, b, equal_nan=inexact))
    a, b = gather((a, b))
    return np.array_equal(np.asarray(a), np.asarray(b), equal_nan=inexact)


def _lie_alike(a: Any, b: Any) -> bool:
    """Whether two arrays are split over processes in one way."""
    return is_spread(a) and is_spread(b) and a.sharding == b.sharding


_equal = jax.jit(jnp.array_equal, static_argnames="equal_nan")


def tie_fault(row: Row, source: Row, expected: Any, got: Any) -> str:
    """Say how a tied leaf differs from what its source makes it; "" if it does not.

    A function may round differently when it is compiled, so "the same" is as in the
    test of a support.
    """
    if isinstance(expected, Tracer) or isinstance(got, Tracer):
        return ""
    exact = np.promote_types(np.dtype(row.dtype).type(0).dtype, np.float32)
    tolerance = ROUND_TRIP_TOLERANCE[jnp.finfo(row.dtype).bits // 8]
    xp: Any = jnp if _lie_alike(expected, got) else np
    if xp is np:
        expected, got = gather((expected, got))
    a, b = (xp.asarray(x).astype(exact) for x in (expected, got))
    size = float(xp.max(xp.abs(a), initial=0.0, where=xp.isfinite(a)))
    if xp.allclose(a, b, rtol=tolerance, atol=tolerance * size, equal_nan=True):
        return ""
    return (
        f"'{row.path}' is {short(got)}, but '{source.path}', to which it is tied, makes "
        f"it {short(expected)}"
    )
