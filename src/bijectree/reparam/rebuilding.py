"""Users' classes whose constructor changes the values that JAX rebuilds them with."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.tree_util as jtu
import numpy as np

from ..substrate import BIND_ERRORS
from ..trees import PicklableTreedef, is_array, node_types, short
from .plan import Row


def rebuilding_faults(
    structure: PicklableTreedef, rows: Sequence[Row], leaves: Sequence[Any]
) -> list[str]:
    """Faults for classes whose constructor changes values whenever JAX unflattens them.

    Free coordinates are held by the classes of the model: one that normalises its
    weights would normalise free coordinates too.
    """
    classes = _with_code_of_their_own(structure.treedef)
    if not classes:
        return []
    free: list[Any] = [None] * len(rows)
    model = list(leaves)
    for i, row in enumerate(rows):
        if row.role in ("free", "tied"):
            model[i] = _probe(row.shape, row.dtype)
        if row.role == "free" and row.owner is None:
            free[i] = _probe(row.free_shape, row.free_dtype)
    faults = []
    for put in (free, model):
        here = [(row, x) for row, x in zip(rows, put, strict=True) if x is not None]
        try:
            got = jtu.tree_leaves(structure.treedef.unflatten(put))
        except BIND_ERRORS as error:
            faults.append(f"rebuilding the model raises {type(error).__name__}: {error}")
            continue
        if len(got) != len(here):
            faults.append(f"rebuilding the model makes {len(got)} leaves of {len(here)}")
            continue
        faults += [
            f"at '{row.path}': rebuilding the model turns {short(x)} into {short(y)}"
            for (row, x), y in zip(here, got, strict=True)
            if row.role in ("free", "tied") and y is not x and not _same(x, y)
        ]
    mend = (
        f"JAX rebuilds {', '.join(classes)} by its constructor, which must leave any "
        "values as they are, `None` too; register it so that only attributes are set, or "
        "make an eqx.Module of it"
    )
    return [f"{fault}. {mend}" for fault in dict.fromkeys(faults)]


def _with_code_of_their_own(treedef: Any) -> list[str]:
    """The classes in a tree that may run code of theirs when they are unflattened."""
    plain = (dict, list, tuple, eqx.Module, type(None))
    return sorted(
        cls.__name__ for cls in node_types(treedef) if not issubclass(cls, plain)
    )


def _probe(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Numbers that a constructor which changes values is very likely to change."""
    last = shape[-1] if shape else 1
    row = np.resize(np.cos(7.0 * np.arange(1, 100)) * 123.0, last).astype(dtype)
    return np.broadcast_to(row if shape else row[0], shape)


def _same(x: Any, y: Any) -> bool:
    return is_array(y) and x.dtype == y.dtype and np.array_equal(x, np.asarray(y))
