"""A plan with its numbers: the maps of its rows, and these in words for messages."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PyTree

from .. import substrate
from ..constraints import support, words_of
from ..numerics import cut, ravel
from ..substrate import Kind, map_batched
from ..trees import raise_all
from .dependence import build_bijector, dependent_numbers
from .leaves import UNDER_VMAP
from .location_scale import LocationScale
from .plan import Plan, Row

# What `substrate` needs to map a leaf: its kind and the numbers of its bijector.
Call = tuple[Kind, tuple[Any, ...]]


# This is no `eqx.Module`, which makes an object of each method that is looked up: an
# eager `forward` of ten leaves would spend four fifths of its time on that.
@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["numbers", "held"],
    meta_fields=["plan"],
)
@dataclasses.dataclass(frozen=True, eq=False)
class Bound:
    """A plan, the numbers of its bijectors, and the values that have no coordinates.

    In all methods `leaves` is a list of the model's leaves by position, which may hold
    `None` where they are not needed or not yet known; `free` is a list of the leaves of
    free coordinates. A row's own coordinates lie beneath the outer bijectors.

    Attributes:
        plan: one row a leaf of the model.
        numbers: the numbers of each distinct bijector or function, by slot.
        held: the value that was bound, by leaf, where the leaf has no coordinates.
    """

    plan: Plan
    numbers: tuple[tuple[Any, ...], ...]
    held: tuple[Any, ...]

    # All rows, in the order of their dependencies.

    def fill(self, free: Sequence[Array], leaves: list[Any]) -> list[Array]:
        """Fill in the leaves that come from free coordinates.

        Returns:
            The rows' own coordinates.
        """
        return self._fill(free, leaves, _forward)[0]

    def fill_and_log_det(
        self, free: Sequence[Array], leaves: list[Any]
    ) -> tuple[list[Array], Float[Array, ""]]:
        """As `fill`, with the log-det of the whole map."""
        wide = any(jnp.finfo(x.dtype).bits == 64 for x in free)
        dtype = np.dtype(np.float64 if wide else np.float32)
        own, terms = self._fill(free, leaves, substrate.forward_and_log_det)
        return own, _total([term.astype(dtype) for term in terms], dtype)

    def _fill(
        self,
        free: Sequence[Array],
        leaves: list[Any],
        function: Callable[..., tuple[Array, Array | None]],
    ) -> tuple[list[Array], list[Array]]:
        """Fill in leaves by `function` of the substrate, and collect its log-dets."""
        own, terms = self.peel_outer(free, function)
        at = {i: x for (i, _), x in zip(self.plan.free, own, strict=True)}
        alone = [(i, row) for i, row in self.plan.free if row.kind and not row.on]
        calls = [self.call(row, at[i].dtype, leaves) for i, row in alone]
        values, found = map_batched(function, calls, [at[i] for i, _ in alone])
        terms += found
        at.update(zip((i for i, _ in alone), values, strict=True))
        for i, row in self.plan.order:
            y = at.get(i)
            if row.kind and row.on and y is not None:
                y, term = function(*self.call(row, y.dtype, leaves), y)
                terms += [] if term is None else [term]
            self.put(i, row, y, leaves)
        return own, terms

    def peel_outer(
        self,
        free: Sequence[Array],
        function: Callable[..., tuple[Array, Array | None]] | None = None,
    ) -> tuple[list[Array], list[Array]]:
        """The rows' own coordinates, and the log-dets of the outer bijectors."""
        terms = []
        for kind, slot in reversed(self.plan.outer):
            vector = ravel(free)
            call = self._call_outer(kind, slot, vector.dtype)
            vector, term = (function or _forward)(*call, vector)
            free = self.split(vector, [x.dtype for x in free])
            terms += [] if term is None else [term]
        return list(free), terms

    def wrap_outer(
        self, free: Sequence[Array]
    ) -> tuple[list[Array], list[tuple[Kind, int, Array]]]:
        """Undo `peel_outer`, and say which coordinates each bijector cannot map onto."""
        masks = []
        for kind, slot in self.plan.outer:
            vector = ravel(free)
            call = self._call_outer(kind, slot, vector.dtype)
            vector, mask = substrate.inverse_and_outside(*call, vector)
            masks.append((kind, slot, mask))
            free = self.split(vector, [x.dtype for x in free])
        return list(free), masks

    def inverses(self, leaves: Sequence[Any]) -> list[Array]:
        """The rows' own coordinates, from leaves of the model."""
        found = [self.gather(i, row, leaves) for i, row in self.plan.free]
        mapped = [n for n, (_, row) in enumerate(self.plan.free) if row.kind]
        calls = [self.call(self.plan.free[n][1], found[n].dtype, leaves) for n in mapped]
        values, _ = map_batched(_inverse, calls, [found[n] for n in mapped])
        for n, x in zip(mapped, values, strict=True):
            found[n] = x
        return found

    def split(self, vector: Array, dtypes: Sequence[Any]) -> list[Array]:
        """Cut a vector into the free leaves."""
        return cut(vector, [row.free_shape for _, row in self.plan.free], dtypes)

    def free_tree(self, free: Sequence[Array]) -> PyTree:
        """Free coordinates as the user sees them."""
        leaves: list[Any] = [None] * len(self.plan.rows)
        for (i, _), x in zip(self.plan.free, free, strict=True):
            leaves[i] = x
        return self.plan.structure.treedef.unflatten(leaves)

    # One row.

    def put(self, i: int, row: Row, y: Array | None, leaves: list[Any]) -> None:
        """Put the value `y` of a row's map into its leaf, or into its members."""
        if row.role == "tied":
            leaves[i] = self.tied_value(row, leaves)
        elif row.picked is not None:
            # Without values of the held entries, the leaf has none.
            base = leaves[i]
            known = base is not None and not isinstance(base, jax.ShapeDtypeStruct)
            leaves[i] = row.picked.put(base, y) if known and y is not None else None
        elif not row.members:
            leaves[i] = y
        else:
            assert y is not None
            members = [self.plan.rows[m] for m in row.members]
            dtypes = [
                y.dtype if member.dtype == row.free_dtype else member.dtype
                for member in members
            ]
            parts = cut(y, [member.shape for member in members], dtypes)
            for m, part in zip(row.members, parts, strict=True):
                leaves[m] = part

    def gather(self, i: int, row: Row, leaves: Sequence[Any]) -> Array:
        """The value that a row maps: its leaf, the picked entries, or its members."""
        if row.picked is not None:
            return row.picked.take(leaves[i])
        if not row.members:
            return jnp.asarray(leaves[i])
        return ravel([jnp.ravel(jnp.asarray(leaves[m])) for m in row.members])

    def tied_value(self, row: Row, leaves: Sequence[Any]) -> Array:
        """The value of a tied leaf."""
        assert row.function is not None
        function = row.function.build(self.numbers[row.slot])
        source = leaves[row.on[0]]
        same = self.plan.rows[row.on[0]].dtype == row.dtype
        return jnp.asarray(function(source)).astype(source.dtype if same else row.dtype)

    def inverse_and_outside(
        self, i: int, row: Row, leaves: Sequence[Any]
    ) -> tuple[Array, Array]:
        """Free coordinates of a row, and which of its events are off the support."""
        y = self.gather(i, row, leaves)
        if row.kind is None:
            return y, _not_finite(y)
        return substrate.inverse_and_outside(*self.call(row, y.dtype, leaves), y)

    def bijector(self, row: Row, leaves: Sequence[Any]) -> Any:
        """The bijector of a row, `None` for the identity.

        Args:
            row: a row of `plan.free`.
            leaves: only those that the row depends on are looked at.
        """
        if row.kind is None:
            return None
        self._require(row, leaves)
        if row.picked is not None and row.function is not None:
            return row.kind.recipe.build(self.call(row, row.kind.dtype, leaves)[1])
        return build_bijector(self.plan, row, self.numbers[row.slot], leaves)

    def call(self, row: Row, dtype: Any, leaves: Sequence[Any]) -> Call:
        """The kind and the numbers of a row's map at a float dtype."""
        assert row.kind is not None
        numbers = self.numbers[row.slot]
        if row.function is not None:
            self._require(row, leaves)
            numbers = dependent_numbers(self.plan, row, numbers, leaves)
            numbers = numbers if row.picked is None else row.picked.cut(numbers)
        _compare_shapes(row.kind, numbers, f"at '{row.path}'")
        return substrate.with_dtype(row.kind, dtype, numbers), numbers

    def _call_outer(self, kind: Kind, slot: int, dtype: Any) -> Call:
        numbers = self.numbers[slot]
        _compare_shapes(kind, numbers, "in the bijector given to `then`")
        return substrate.with_dtype(kind, dtype, numbers), numbers

    def _require(self, row: Row, leaves: Sequence[Any]) -> None:
        """Raise if leaves that the bijector of a row depends on have no value."""
        raise_all(
            f"the bijector of '{row.path}' depends on leaves without a value; pass "
            "like=model",
            (
                f"'{self.plan.rows[i].path}'"
                for i in row.on
                if leaves[i] is None or isinstance(leaves[i], jax.ShapeDtypeStruct)
            ),
        )

    # Words for messages and tables.

    def describe(self, row: Row) -> str:
        """The role of a row, or the name of its bijector, in a few words."""
        if row.role in ("frozen", "static"):
            return row.role
        rows = self.plan.rows
        if row.role == "tied":
            return f"tied to {rows[row.on[0]].path}"
        if row.owner is not None:
            return f"joint with {rows[row.owner].path}"
        if row.kind is None:
            return "identity"
        if row.function is None:
            name = words_of(row.kind.recipe.build(self.numbers[row.slot]))
        else:
            function = row.function.build(self.numbers[row.slot])
            made = isinstance(function, LocationScale)
            name = "location_scale" if made else "dependent"
            name += " on " + ", ".join(rows[i].path for i in row.on)
            name += f", {function.centeredness_words}" if made else ""
        if row.picked is not None:
            name = f"masked {name}"
        if row.members:
            name += " joint over " + ", ".join(rows[i].path for i in row.members)
        return name

    def outer_names(self) -> list[str]:
        """The bijectors that `then` has put on, the first one first."""
        return [
            kind.recipe.build(self.numbers[slot]).name for kind, slot in self.plan.outer
        ]

    def name(self, row: Row) -> str:
        """The leaf or leaves that a row maps, in quotes."""
        return (
            ", ".join(f"'{self.plan.rows[i].path}'" for i in row.members)
            or f"'{row.path}'"
        )

    def map_words(self, row: Row) -> str:
        """Words that differ where the maps of two rows do, by more than their numbers.

        They are the same in every process, so they do not name a function.
        """
        if row.kind is None or row.function is not None:
            return f"{row.role} on {row.on}"
        parts = substrate.all_parts(row.kind.recipe.build(self.numbers[row.slot]))
        words = [
            (type(part).__qualname__, part.name, _plain_arguments(part)) for part in parts
        ]
        return f"{words} over {row.members}"

    def support_of(self, row: Row, leaves: Sequence[Any]) -> str:
        """The support of a row in words."""
        try:
            bijector = self.bijector(row, leaves)
        except ValueError as error:
            on = ", ".join(f"'{self.plan.rows[i].path}'" for i in row.on)
            return f"the support of a bijector that cannot be made of {on}: {error}"
        return "finite" if bijector is None else support(bijector).description

    def mend_of(self, row: Row, leaves: Sequence[Any]) -> str:
        """How to mend a value outside the support of a row, "" if that is plain."""
        try:
            bijector = self.bijector(row, leaves)
        except ValueError:  # `support_of` says that the bijector cannot be made
            return ""
        return "" if bijector is None else support(bijector).mend


def _compare_shapes(kind: Kind, numbers: tuple[Any, ...], where: str) -> None:
    """Raise if numbers have other shapes than when they were bound."""
    if tuple(map(np.shape, numbers)) == kind.number_shapes:
        return
    shapes = zip(numbers, kind.number_shapes, strict=True)
    got, due = next((np.shape(n), shape) for n, shape in shapes if np.shape(n) != shape)
    raise ValueError(
        f"{where}: got numbers of shape {got}, bound with shape {due}. {UNDER_VMAP}"
    )


@jax.jit
def _not_finite(y: Array) -> Array:
    return ~jnp.isfinite(y)


def _forward(*call_and_leaf: Any) -> tuple[Array, None]:
    return substrate.forward(*call_and_leaf), None


def _inverse(*call_and_leaf: Any) -> tuple[Array, None]:
    return substrate.inverse(*call_and_leaf), None


def _total(terms: list[Array], dtype: Any) -> Array:
    """The sum of scalars, by sixteens.

    A chain of additions is one fusion to XLA, whose CPU compiler takes time more than in
    proportion to its length: by sixteens, 1,000 leaves compile in a third of the time.
    """
    while len(terms) > 1:
        sixteens = (terms[i : i + 16] for i in range(0, len(terms), 16))
        terms = [functools.reduce(jax.lax.add, some) for some in sixteens]
        if len(terms) > 1 and any(isinstance(term, Tracer) for term in terms):
            terms = list(jax.lax.optimization_barrier(tuple(terms)))
    return terms[0] if terms else jnp.zeros((), dtype)


def _plain_arguments(bijector: Any) -> list[tuple[str, Any]]:
    """The arguments of a bijector that are no arrays, functions or other bijectors."""
    plain = (bool, int, str, tuple, type(None))
    found = dict(bijector.parameters).items()
    return sorted((name, repr(x)) for name, x in found if isinstance(x, plain))
