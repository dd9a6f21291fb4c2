"""`Reparam`: a spec bound to a model, as a pair of pure maps."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Inexact, PyTree

from . import _tfp
from ._binding import BIND_ERRORS, make_plan
from ._constraints import support
from ._leaves import (
    compare_kept,
    cut,
    free_leaves,
    kept_leaves,
    model_leaves,
    short,
    tie_fault,
    widest,
)
from ._plan import Plan, Row, build_bijector, dependent_numbers
from ._tree import describe, raise_all


class SupportError(ValueError):
    """Values of a model lie outside the support of their bijectors."""

    __module__ = "bijectree"  # as users import it, and as tracebacks name it


class Reparam(eqx.Module):
    """A spec bound to a model: a pair of pure maps between it and free coordinates.

    `forward` goes from free coordinates to the model, `inverse` back; the log-det is
    that of `forward`, in minimal coordinates, one scalar for the whole model. `free`
    is a pytree of the model's structure that holds inexact arrays, and `None` where
    the model's leaf is not free. Frozen leaves, and leaves that are not inexact arrays,
    live in the Reparam.

    A Reparam is an immutable pytree whose leaves are the bijectors' numbers (bounds,
    scales) and the frozen values, so neither changing one nor building an equal spec
    again retraces. It hashes by identity: `jax.jit(reparam.forward)` works.

    Args:
        model: any pytree of arrays, or of `jax.ShapeDtypeStruct`s; only structure,
            shapes, dtypes and the values without coordinates are used.
        spec: a pytree of the model's structure, or of its upper part, with a TFP
            bijector, `None` (identity), `bt.frozen`, `bt.joint`, `bt.dependent` or
            `bt.tied` at each leaf. A bijector above several leaves maps each of them by
            itself.

    Raises:
        ValueError: the spec does not fit the model: another structure, a bijector that
            cannot take a leaf's shape or would change it, a bijector on a leaf that is
            not a real inexact array, a cycle of dependencies. All faults are listed
            with their paths.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> model = {"scale": jnp.array([1.0, 2.0]), "shift": jnp.array(0.5)}
        >>> reparam = bt.Reparam(model, {"scale": bt.tfb.Exp(), "shift": None})
        >>> free = reparam.inverse(model)
        >>> model, log_det = reparam.forward_and_log_det(free)
        >>> print(f"{log_det:.4f}")  # log 1 + log 2
        0.6931
    """

    _plan: Plan = eqx.field(static=True)
    _numbers: tuple[tuple[Any, ...], ...]
    _held: tuple[Any, ...]

    def __init__(self, model: PyTree, spec: PyTree):
        self._plan, self._numbers, self._held = make_plan(model, spec)

    def __repr__(self) -> str:
        rows = [row for row in self._plan.rows if row.role != "static"]
        lines = [f"  {row.path}: {self.describe(row)}" for row in rows[:20]]
        more = [f"  ... {len(rows) - 20} more"] if len(rows) > 20 else []
        for kind, slot in self._plan.outer:
            more.append(f"  then: {kind.structure.build(self._numbers[slot]).name}")
        return "\n".join([f"Reparam of dimension {self.dim}", *lines, *more])

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    # Between the model and its free coordinates.

    def forward(self, free: PyTree, *, like: PyTree | None = None) -> PyTree:
        """Map free coordinates to the model.

        Args:
            free: free coordinates, as `inverse` gives them.
            like: a model to take the leaves without coordinates from; needed where the
                Reparam was bound from shapes alone.

        Returns:
            The model; each leaf has the dtype of its free leaf.

        Raises:
            ValueError: `free` does not have the structure or shapes of this Reparam, or
                values are missing.
        """
        leaves = kept_leaves(self._plan, self._held, like)
        self._fill(free_leaves(self._plan, free), leaves)
        return self._plan.structure.treedef.unflatten(leaves)

    def forward_and_log_det(
        self, free: PyTree, *, like: PyTree | None = None
    ) -> tuple[PyTree, Float[Array, ""]]:
        """Map free coordinates to the model, with the log-det of that map.

        The log-det is summed over every element of every leaf. It is at least float32
        and has the widest dtype of the free leaves.

        Args:
            free: free coordinates.
            like: as in `forward`.

        Returns:
            The model and the log-det, a scalar.

        Raises:
            ValueError: as `forward`.
        """
        leaves = kept_leaves(self._plan, self._held, like)
        log_det = self._fill_and_log_det(free_leaves(self._plan, free), leaves)
        return self._plan.structure.treedef.unflatten(leaves), log_det

    def forward_log_det_jacobian(
        self, free: PyTree, *, like: PyTree | None = None
    ) -> Float[Array, ""]:
        """The log-det of `forward` at free coordinates, a scalar."""
        leaves = kept_leaves(self._plan, self._held, like, needed=False)
        return self._fill_and_log_det(free_leaves(self._plan, free), leaves)

    def inverse(self, model: PyTree) -> PyTree:
        """Map the model to its free coordinates.

        Under a transformation such as `jit` values cannot be looked at; one outside its
        support gives NaN or infinity there, and `error_if_outside` is the check.

        Args:
            model: a model of the structure and shapes that this Reparam was bound to.

        Returns:
            Free coordinates: the model's structure, `None` at leaves that have none.

        Raises:
            SupportError: values outside their support, or on its boundary where the
                free value would be infinite. Every such leaf is listed.
            ValueError: another structure or other shapes than bound, another value at a
                leaf without coordinates (bind again: it does not retrace), or a tied
                leaf that differs from what it is tied to.
        """
        leaves = model_leaves(self._plan, model)
        compare_kept(self._plan, self._held, leaves)
        self._compare_tied(leaves)
        if any(isinstance(x, Tracer) for x in jtu.tree_leaves((leaves, self._numbers))):
            found = [self._inverse(i, row, leaves) for i, row in self._plan.free]
        else:
            pairs = [
                self._inverse_and_outside(i, row, leaves) for i, row in self._plan.free
            ]
            self._raise_outside(leaves, pairs)
            found = [x for x, _ in pairs]
        found, _ = self._inverse_outer(found)
        return self._free_tree(found)

    def inverse_log_det_jacobian(self, model: PyTree) -> Float[Array, ""]:
        """The log-det of `inverse` at the model: minus that of `forward`, a scalar."""
        return -self.forward_log_det_jacobian(self.inverse(model), like=model)

    def error_if_outside(self, model: PyTree) -> PyTree:
        """Return the model, or an error if a value is outside its support.

        Use what it returns: under `jit` the check runs where its result is used.

        Args:
            model: a model of the structure and shapes that this Reparam was bound to.

        Returns:
            The same model.

        Raises:
            SupportError: as `inverse`, on concrete values.
            RuntimeError: from `eqx.error_if` under `jit`; it names the first path.
        """
        leaves = model_leaves(self._plan, model)
        self._compare_tied(leaves)
        pairs = [self._inverse_and_outside(i, row, leaves) for i, row in self._plan.free]
        self._raise_outside(leaves, pairs)
        for (i, row), (_, mask) in zip(self._plan.free, pairs, strict=True):
            if isinstance(mask, Tracer):
                expected = self._support(row, leaves)
                message = f"{self._name(row)} is outside its support: {expected}"
                leaves[i] = eqx.error_if(leaves[i], mask, message)
        _, mask = self._inverse_outer([x for x, _ in pairs])
        if isinstance(mask, Tracer):
            free = [leaves[i] for i, _ in self._plan.free]
            free = eqx.error_if(free, mask, "the model is outside what `then` maps onto")
            for (i, _), leaf in zip(self._plan.free, free, strict=True):
                leaves[i] = leaf
        return self._plan.structure.treedef.unflatten(leaves)

    def then(self, bijector: Any) -> "Reparam":
        """Put one more bijector over the whole vector of free coordinates.

        Such as a preconditioner: the new free coordinates are those that `bijector`
        maps to the present ones, in the order of `ravel`.

        Args:
            bijector: a TFP bijector of vectors of `dim` numbers that keeps their
                number. Where it does not map onto all vectors, nor does the result onto
                all models, and `inverse` says so.

        Returns:
            A Reparam of the same model, whose `free` has the structure of this one's.

        Raises:
            TypeError: it is not a TFP bijector.
            ValueError: it does not map `dim` numbers to as many.

        Example:
            >>> import bijectree as bt, jax.numpy as jnp
            >>> model = {"a": jnp.array(1.0), "b": jnp.array(4.0)}
            >>> reparam = bt.Reparam(model, bt.positive()).then(bt.tfb.Scale(2.0))
            >>> print(reparam.inverse(model)["b"])  # log(4) / 2
            0.6931472
        """
        if not _tfp.is_bijector(bijector):
            raise TypeError(f"then takes a TFP bijector, got {describe(bijector)}")
        structure, numbers = _tfp.split(bijector)
        dtype = widest([row.free_dtype for _, row in self._plan.free])
        what = f"then: {bijector.name} does not fit a vector of {self.dim} numbers"
        try:
            kind = _tfp.bind(structure, numbers, (self.dim,), dtype)
        except BIND_ERRORS as error:
            raise ValueError(f"{what}: {error}") from error
        if kind.free_shape != (self.dim,):
            raise ValueError(
                f"{what}: it has free coordinates of shape {kind.free_shape}, and must "
                "keep their number"
            )
        outer = (*self._plan.outer, (kind, len(self._numbers)))
        plan = Plan(self._plan.structure, self._plan.rows, outer)
        return _assemble(plan, (*self._numbers, numbers), self._held)

    def compose(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Turn a function of the model into one of its free coordinates.

        No log-det is added: a minimum stays where the function has it.

        Args:
            function: takes a model first, such as a loss.

        Returns:
            A function that takes free coordinates first and the same arguments after.

        Example:
            >>> import bijectree as bt, jax, jax.numpy as jnp
            >>> model = {"scale": jnp.array(2.0)}
            >>> reparam = bt.Reparam(model, bt.tfb.Exp())
            >>> loss = reparam.compose(lambda m: m["scale"] ** 2)
            >>> print(jax.grad(loss)(reparam.inverse(model)))
            {'scale': Array(8., dtype=float32)}
        """

        @functools.wraps(function)
        def composed(free: PyTree, *args: Any, **kwargs: Any) -> Any:
            return function(self.forward(free), *args, **kwargs)

        return composed

    # The free coordinates as one vector.

    @property
    def dim(self) -> int:
        """The number of free coordinates."""
        return sum(math.prod(row.free_shape) for _, row in self._plan.free)

    @property
    def labels(self) -> list[str]:
        """One label a free coordinate, in the order of `ravel`.

        The leaf's path and the coordinate's index: that of the element where the map is
        elementwise (`weights.2`), else the number of the coordinate. Coordinates of a
        joint have the labels of its elements where there are as many, else the path
        that its leaves share. Under `then` they are those of the map within.
        """
        return list(self._plan.labels)

    def ravel(self, free: PyTree) -> Inexact[Array, " dim"]:
        """Concatenate the free leaves into one vector of their widest dtype."""
        return _ravel(free_leaves(self._plan, free))

    def unravel(self, vector: Inexact[Array, " dim"]) -> PyTree:
        """Undo `ravel`; each leaf gets the dtype that it was bound with.

        Raises:
            ValueError: `vector` does not have the shape `(dim,)`.
        """
        if np.shape(vector) != (self.dim,):
            raise ValueError(
                f"unravel: expected a vector of shape ({self.dim},), got shape "
                f"{np.shape(vector)}"
            )
        dtypes = [row.free_dtype for _, row in self._plan.free]
        return self._free_tree(self._split(vector, dtypes))

    def _split(self, vector: Array, dtypes: Sequence[Any]) -> list[Array]:
        """Cut a vector into the free leaves."""
        parts = cut(vector, [math.prod(row.free_shape) for _, row in self._plan.free])
        return [
            part.reshape(row.free_shape).astype(dtype)
            for (_, row), dtype, part in zip(self._plan.free, dtypes, parts, strict=True)
        ]

    def _free_tree(self, free_leaves: Sequence[Array]) -> PyTree:
        leaves: list[Any] = [None] * len(self._plan.rows)
        for (i, _), x in zip(self._plan.free, free_leaves, strict=True):
            leaves[i] = x
        return self._plan.structure.treedef.unflatten(leaves)

    # Within: the rows, in the order of their dependencies.

    def _fill(self, free: Sequence[Array], leaves: list[Any]) -> None:
        """Fill in the leaves that come from free coordinates."""
        for kind, slot in reversed(self._plan.outer):
            vector = _ravel(free)
            vector = _tfp.forward(*self._cast(kind, slot, vector.dtype), vector)
            free = self._split(vector, [x.dtype for x in free])
        at = {i: x for (i, _), x in zip(self._plan.free, free, strict=True)}
        for i, row in self._plan.order:
            y = at.get(i)
            if row.kind is not None and y is not None:
                y = _tfp.forward(*self._call(row, y.dtype, leaves), y)
            self._place(i, row, y, leaves)

    def _fill_and_log_det(self, free: Sequence[Array], leaves: list[Any]) -> Array:
        """`_fill`, with the log-det of all of it."""
        terms: list[Array] = []
        wide = any(jnp.finfo(x.dtype).bits == 64 for x in free)
        dtype = np.dtype(np.float64 if wide else np.float32)
        for kind, slot in reversed(self._plan.outer):
            vector = _ravel(free)
            call = self._cast(kind, slot, vector.dtype)
            vector, log_det = _tfp.forward_and_log_det(*call, vector)
            free = self._split(vector, [x.dtype for x in free])
            terms.append(log_det)
        at = {i: x for (i, _), x in zip(self._plan.free, free, strict=True)}
        for i, row in self._plan.order:
            y = at.get(i)
            if row.kind is not None and y is not None:
                call = self._call(row, y.dtype, leaves)
                y, log_det = _tfp.forward_and_log_det(*call, y)
                terms.append(log_det)
            self._place(i, row, y, leaves)
        return _total([term.astype(dtype) for term in terms], dtype)

    def _place(self, i: int, row: Row, y: Array | None, leaves: list[Any]) -> None:
        """Put what a row maps to where it belongs."""
        if row.role == "tied":
            leaves[i] = self._follow(row, leaves)
        elif not row.members:
            leaves[i] = y
        else:
            assert y is not None
            members = [self._plan.rows[m] for m in row.members]
            parts = cut(y, [math.prod(member.shape) for member in members])
            for m, member, part in zip(row.members, members, parts, strict=True):
                dtype = y.dtype if member.dtype == row.free_dtype else member.dtype
                leaves[m] = part.reshape(member.shape).astype(dtype)

    def _gather(self, i: int, row: Row, leaves: Sequence[Any]) -> Array:
        """What a row's bijector maps: its leaf, or its members as one vector."""
        if not row.members:
            return jnp.asarray(leaves[i])
        parts = [jnp.ravel(jnp.asarray(leaves[m])) for m in row.members]
        return _ravel(parts)

    def _follow(self, row: Row, leaves: Sequence[Any]) -> Array:
        """The value of a tied leaf."""
        assert row.function is not None
        function = row.function.build(self._numbers[row.slot])
        source = leaves[row.on[0]]
        same = self._plan.rows[row.on[0]].dtype == row.dtype
        return jnp.asarray(function(source)).astype(source.dtype if same else row.dtype)

    def _bijector(self, row: Row, leaves: Sequence[Any]) -> Any:
        """The bijector of a row, `None` for the identity.

        Args:
            row: a row of `self._plan.free`.
            leaves: the model's; only those that the row depends on are looked at.
        """
        if row.kind is None:
            return None
        self._require(row, leaves)
        return build_bijector(self._plan, row, self._numbers[row.slot], leaves)

    def _require(self, row: Row, leaves: Sequence[Any]) -> None:
        """Raise if leaves that the bijector of a row depends on have no value."""
        raise_all(
            f"the bijector of '{row.path}' depends on leaves without a value; pass "
            "like=model",
            (
                f"'{self._plan.rows[i].path}'"
                for i in row.on
                if leaves[i] is None or isinstance(leaves[i], jax.ShapeDtypeStruct)
            ),
        )

    def _call(
        self, row: Row, dtype: Any, leaves: Sequence[Any]
    ) -> tuple[_tfp.Kind, tuple[Any, ...]]:
        """What `_tfp` needs to map this row at a float dtype."""
        assert row.kind is not None
        numbers = self._numbers[row.slot]
        if row.function is not None:
            self._require(row, leaves)
            numbers = dependent_numbers(self._plan, row, numbers, leaves)
        return row.kind.with_dtype(dtype, numbers), numbers

    def _cast(
        self, kind: _tfp.Kind, slot: int, dtype: Any
    ) -> tuple[_tfp.Kind, tuple[Any, ...]]:
        return kind.with_dtype(dtype, self._numbers[slot]), self._numbers[slot]

    def _inverse_outer(self, free: list[Array]) -> tuple[list[Array], Any]:
        """Undo `then`, and say whether that is outside what it maps onto."""
        outside: Any = False
        for kind, slot in self._plan.outer:
            vector = _ravel(free)
            call = self._cast(kind, slot, vector.dtype)
            vector, mask = _tfp.inverse_and_outside(*call, vector)
            if not isinstance(mask, Tracer) and mask.any():
                name = kind.structure.build(self._numbers[slot]).name
                found = [
                    label
                    for label, off in zip(
                        self.labels, np.broadcast_to(mask, self.dim), strict=True
                    )
                    if off
                ]
                raise SupportError(
                    f"the coordinates {', '.join(found[:5])} of the model are outside "
                    f"what {name}, given to `then`, maps onto"
                )
            outside = outside | mask.any()
            free = self._split(vector, [x.dtype for x in free])
        return free, outside

    def _inverse(self, i: int, row: Row, leaves: Sequence[Any]) -> Array:
        y = self._gather(i, row, leaves)
        if row.kind is None:
            return y
        return _tfp.inverse(*self._call(row, y.dtype, leaves), y)

    def _inverse_and_outside(
        self, i: int, row: Row, leaves: Sequence[Any]
    ) -> tuple[Array, Array]:
        """Free coordinates of a row, and which of its events are off the support."""
        y = self._gather(i, row, leaves)
        if row.kind is None:
            return y, ~jnp.isfinite(y)
        return _tfp.inverse_and_outside(*self._call(row, y.dtype, leaves), y)

    # Within: words for messages.

    def describe(self, row: Row) -> str:
        """What is done with a leaf, in a few words."""
        if row.role in ("frozen", "static"):
            return row.role
        rows = self._plan.rows
        if row.role == "tied":
            return f"tied to {rows[row.on[0]].path}"
        if row.owner is not None:
            return f"joint with {rows[row.owner].path}"
        if row.kind is None:
            return "identity"
        if row.function is None:
            name = row.kind.structure.build(self._numbers[row.slot]).name
        else:
            name = "dependent on " + ", ".join(rows[i].path for i in row.on)
        if row.members:
            name += " joint over " + ", ".join(rows[i].path for i in row.members)
        return name

    def _name(self, row: Row) -> str:
        """The leaf or leaves that a row maps, in quotes."""
        return (
            ", ".join(f"'{self._plan.rows[i].path}'" for i in row.members)
            or f"'{row.path}'"
        )

    def _support(self, row: Row, leaves: Sequence[Any]) -> str:
        """The support of a row in words."""
        try:
            bijector = self._bijector(row, leaves)
        except ValueError as error:
            on = ", ".join(f"'{self._plan.rows[i].path}'" for i in row.on)
            return f"the support of a bijector that cannot be made of {on}: {error}"
        return "finite" if bijector is None else support(bijector).description

    def _compare_tied(self, leaves: Sequence[Any]) -> None:
        """Raise if a tied leaf is not what it is tied to, as far as it can be seen."""
        faults = (
            tie_fault(
                row, self._plan.rows[row.on[0]], self._follow(row, leaves), leaves[i]
            )
            for i, row in self._plan.tied
        )
        raise_all(
            "tied leaves disagree; set both, or bind without the tie",
            filter(None, faults),
        )

    def _raise_outside(
        self, leaves: Sequence[Any], pairs: Sequence[tuple[Array, Array]]
    ) -> None:
        """Raise for the values that are outside, as far as they can be looked at."""
        seen = [
            (i, row, free, mask)
            for (i, row), (free, mask) in zip(self._plan.free, pairs, strict=True)
            if not isinstance(mask, Tracer)
        ]
        counts = jax.device_get([jnp.count_nonzero(mask) for *_, mask in seen])
        faults = []
        for (i, row, free, mask), count in zip(seen, counts, strict=True):
            if not count:
                continue
            index = tuple(int(n) for n in np.argwhere(np.asarray(mask))[0])
            where = f", index {list(index)}" if index else ""
            value = short(np.asarray(self._gather(i, row, leaves))[index])
            text = f"at {self._name(row)}{where}: got {value}, expected "
            text += self._support(row, leaves)
            if row.kind is not None and np.isinf(np.asarray(free)[index]).any():
                text += "; on the boundary, where the free value is infinite"
            faults.append(
                text + (f"; and {count - 1} more in this leaf" if count > 1 else "")
            )
        raise_all("values outside their support", faults, SupportError)


def _assemble(plan: Plan, numbers: tuple[Any, ...], held: tuple[Any, ...]) -> Reparam:
    """A Reparam from its fields."""
    reparam = object.__new__(Reparam)
    fields = {"_plan": plan, "_numbers": numbers, "_held": held}
    for name, value in fields.items():
        object.__setattr__(reparam, name, value)
    return reparam


def _total(terms: list[Array], dtype: Any) -> Array:
    """The sum of scalars, by sixteens.

    One chain of additions would be one fusion to XLA, whose CPU compiler takes time
    more than in proportion: 1,000 leaves compile in a third of the time so.
    """
    while len(terms) > 1:
        terms = [sum(terms[i + 1 : i + 16], terms[i]) for i in range(0, len(terms), 16)]
        if len(terms) > 1 and any(isinstance(term, Tracer) for term in terms):
            terms = list(jax.lax.optimization_barrier(tuple(terms)))
    return terms[0] if terms else jnp.zeros((), dtype)


def _ravel(leaves: Sequence[Array]) -> Array:
    """One vector of the leaves' widest dtype."""
    dtype = widest([x.dtype for x in leaves])
    parts = [jnp.ravel(x).astype(dtype) for x in leaves]
    return jnp.concatenate(parts or [jnp.zeros(0, dtype)])
