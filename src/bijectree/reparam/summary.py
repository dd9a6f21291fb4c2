"""`summary`: what each leaf of a model is to a Reparam, as a table."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import PyTree

from ..trees import as_text, cut_cell, cut_paths, describe, is_array, is_spread
from .leaves import model_leaves
from .plan import Row
from .reparam import Reparam


def expect_reparam(function: str, got: Any) -> None:
    """Raise a TypeError if what a function of a Reparam and a model was given is none."""
    if isinstance(got, Reparam):
        return
    inner = isinstance(getattr(got, "reparam", None), Reparam)
    raise TypeError(
        f"{function}: expected a bt.Reparam, got {describe(got)}; the arguments are "
        f"{function}(reparam, model)" + (". Give its `reparam`" if inner else "")
    )


def summary(reparam: Reparam, model: PyTree) -> str:
    """Tabulate a model's leaves: path, shape, dtype, bijector, support, free size, value.

    Frozen leaves are shown as such, and so are static ones (integers, functions, any
    leaf that is no inexact array). Beneath are the totals, and what `Reparam.then` has
    put over all leaves. The text is plain and as wide as its content, the same wherever
    it is printed. A cell of more than 40 characters is cut: a path in the middle, and no
    shorter than that no other reads alike.

    Args:
        reparam: a spec bound to the model.
        model: a model of the structure and shapes that `reparam` was bound to. Where it
            holds but shapes (`jax.ShapeDtypeStruct`), values are left out.

    Returns:
        The table, without a newline at its end.

    Raises:
        ValueError: the model has another structure or other shapes than bound.
        TypeError: `reparam` is no Reparam.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> model = {"rate": jnp.array([0.5, 2.0]), "shift": jnp.array(1.0), "n": 3}
        >>> spec = {"rate": bt.tfb.Exp(), "shift": bt.frozen, "n": None}
        >>> print(bt.summary(bt.Reparam(model, spec), model))
        leaf   shape  dtype    bijector  support           free  value
        ──────────────────────────────────────────────────────────────────
        n      -      int      static    -                    -  3
        rate   (2,)   float32  exp       positive numbers     2  [0.5, 2]
        shift  ()     float32  frozen    -                    -  1
        <BLANKLINE>
        3 leaves: 1 free, 1 frozen, 1 static; 2 free coordinates for 3 parameters
    """
    expect_reparam("summary", reparam)
    leaves = model_leaves(reparam.bound.plan, model, reparam.bound.held)
    rows = reparam.bound.plan.rows
    from rich.box import SIMPLE_HEAD  # loaded where a table is made
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for name in ("leaf", "shape", "dtype", "bijector", "support"):
        table.add_column(name, no_wrap=True)
    table.add_column("free", no_wrap=True, justify="right")
    table.add_column("value", no_wrap=True)
    paths = cut_paths([row.path or "(the model)" for row in rows])
    for i, row in enumerate(rows):
        cells = map(cut_cell, _cells(reparam, i, row, leaves))
        table.add_row(*(Text(cell) for cell in (paths[i], *cells)))
    text = as_text(table) + "\n\n" if rows else ""
    return text + _totals(reparam) + _outer(reparam)


def _cells(reparam: Reparam, i: int, row: Row, leaves: Sequence[Any]) -> tuple[str, ...]:
    leaf = leaves[i]
    value = _value(leaf)
    shape, dtype = "-", type(leaf).__name__
    if row.dtype is not None:
        shape, dtype = str(row.shape), str(leaf.dtype)
    if row.role != "free" or row.owner is not None:
        return shape, dtype, reparam.bound.describe(row), "-", "-", value
    free = str(math.prod(row.free_shape))
    support = _support(reparam, row, leaves)
    return shape, dtype, reparam.bound.describe(row), support, free, value


def _support(reparam: Reparam, row: Row, leaves: Sequence[Any]) -> str:
    if row.kind is None:
        return "all real numbers"
    if any(_has_no_value(leaves[i]) for i in row.on):
        return "-"  # its bijector depends on values that are not here
    return reparam.bound.support_of(row, leaves)


def _totals(reparam: Reparam) -> str:
    rows = reparam.bound.plan.rows
    counts = dict.fromkeys(("free", "tied", "frozen", "static"), 0)
    for row in rows:
        counts[row.role] += 1
    if not counts["tied"]:
        del counts["tied"]
    parameters = sum(math.prod(row.shape) for row in rows if row.role != "static")
    roles = ", ".join(f"{count} {role}" for role, count in counts.items())
    return (
        f"{_plural(len(rows), 'leaf', 'leaves')}: {roles}; "
        f"{_plural(reparam.dim, 'free coordinate', 'free coordinates')} for "
        f"{_plural(parameters, 'parameter', 'parameters')}"
    )


def _outer(reparam: Reparam) -> str:
    """The lines for the outer bijectors."""
    names = reparam.bound.outer_names()
    return "".join(f"\nthen: {name}, over all free coordinates" for name in names)


def _has_no_value(leaf: Any) -> bool:
    """Whether this process has no value of a leaf."""
    return isinstance(leaf, (Tracer, jax.ShapeDtypeStruct)) or is_spread(leaf)


def _value(leaf: Any) -> str:
    """A leaf's value in one short line; its ends if it has many elements."""
    if not is_array(leaf):
        return getattr(leaf, "__name__", None) or repr(leaf)
    if _has_no_value(leaf):
        return "-"
    if jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
        return str(leaf.dtype)
    array = np.asarray(leaf)
    if jnp.issubdtype(array.dtype, jnp.floating):  # NumPy knows no bfloat16
        array = array.astype(np.float64)
    text = np.array2string(
        array,
        threshold=6,
        edgeitems=2,
        separator=", ",
        formatter={"float_kind": lambda x: f"{x:.4g}"},
    )
    return " ".join(text.split())


def _plural(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
