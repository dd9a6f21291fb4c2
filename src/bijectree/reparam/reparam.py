"""`Reparam`: a spec bound to a model, as a pair of pure maps."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Inexact, PyTree

from .. import substrate
from ..constraints import why_unproven
from ..foreign import as_bijector
from ..numerics import ravel, widest
from ..substrate import BIND_ERRORS
from ..trees import describe, on_host, raise_all, short
from .binding import make_plan
from .bound import Bound
from .leaves import (
    compare_held,
    free_leaves,
    held_leaves,
    model_leaves,
    tie_fault,
    without_none,
)
from .outside import SupportError, _error_if, counts_of, raise_off_then
from .plan import Plan
from .spec_items import Then


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
            bijector, `None` (identity), `bt.frozen`, `bt.masked`, `bt.joint`,
            `bt.dependent` or `bt.tied` at each leaf; or a transform of another package,
            as in `bt.bijector_for`, unless the model is made of its class too. A
            bijector above several leaves maps each of them by itself.
        verify: whether bijectors whose class, or whose composition, is not in the table
            of what is known are verified: that the Jacobian at three random free points
            has full rank, that its determinant in minimal coordinates is the log-det,
            and that the inverse comes back. A new kind (structure, shape and dtype)
            takes a fraction of a second, once. Where numbers are not known when bound,
            being traced or made of other leaves, others stand in for them, and only a
            log-det that is wrong with those is refused.

    Raises:
        ValueError: the spec does not fit the model: another structure, a bijector that
            cannot take a leaf's shape or would change it, a bijector on a leaf that is
            not a real inexact array, one that is not one to one or has a wrong log-det,
            a cycle of dependencies. All faults are listed with their paths.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> model = {"scale": jnp.array([1.0, 2.0]), "shift": jnp.array(0.5)}
        >>> reparam = bt.Reparam(model, {"scale": bt.tfb.Exp(), "shift": None})
        >>> free = reparam.inverse(model)
        >>> model, log_det = reparam.forward_and_log_det(free)
        >>> print(f"{log_det:.4f}")  # log 1 + log 2
        0.6931
    """

    bound: Bound

    def __init__(self, model: PyTree, spec: PyTree, *, verify: bool = True):
        spec, maps = (spec.spec, spec.maps) if isinstance(spec, Then) else (spec, ())
        self.bound = Bound(*make_plan(model, spec, verify=verify))
        for bijector in maps:
            self.bound = self.then(bijector, verify=verify).bound

    def __repr__(self) -> str:
        rows = [row for row in self.bound.plan.rows if row.role != "static"]
        lines = [f"  {row.path}: {self.bound.describe(row)}" for row in rows[:20]]
        more = [f"  ... {len(rows) - 20} more"] if len(rows) > 20 else []
        more += [f"  then: {name}" for name in self.bound.outer_names()]
        return "\n".join([f"Reparam of dimension {self.dim}", *lines, *more])

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    # The methods below map between the model and its free coordinates.

    def forward(self, free: PyTree, *, like: PyTree | None = None) -> PyTree:
        """Map free coordinates to the model.

        `jax.vmap(reparam.forward)` serves a model of arrays alone. Where it has leaves
        such as strings or functions, which JAX cannot give back from a map, use
        `eqx.filter_vmap(reparam.forward)`.

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
        leaves = held_leaves(self.bound.plan, self.bound.held, like)
        self.bound.fill(free_leaves(self.bound.plan, free), leaves)
        return self.bound.plan.structure.treedef.unflatten(leaves)

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
        leaves = held_leaves(self.bound.plan, self.bound.held, like)
        free = free_leaves(self.bound.plan, free)
        _, log_det = self.bound.fill_and_log_det(free, leaves)
        return self.bound.plan.structure.treedef.unflatten(leaves), log_det

    def forward_log_det_jacobian(
        self, free: PyTree, *, like: PyTree | None = None
    ) -> Float[Array, ""]:
        """The log-det of `forward` at free coordinates, a scalar."""
        leaves = held_leaves(self.bound.plan, self.bound.held, like, needed=False)
        free = free_leaves(self.bound.plan, free)
        return self.bound.fill_and_log_det(free, leaves)[1]

    def inverse(self, model: PyTree) -> PyTree:
        """Map the model to its free coordinates.

        Under a transformation such as `jit` values cannot be looked at; one outside its
        support gives NaN or infinity there, and `error_if_outside` is the check.

        Args:
            model: a model of the structure and shapes that this Reparam was bound to.
                What has no coordinates may be `None`, as `eqx.partition` leaves it.

        Returns:
            Free coordinates: the model's structure, `None` at leaves that have none.

        Raises:
            SupportError: values outside their support, or on its boundary where the
                free value would be infinite. Every such leaf is listed.
            ValueError: another structure or other shapes than bound, another value at a
                leaf without coordinates (bind again: it does not retrace), or a tied
                leaf that differs from what it is tied to.
        """
        leaves = model_leaves(self.bound.plan, model, self.bound.held)
        compare_held(self.bound.plan, self.bound.held, leaves)
        self._compare_tied(leaves)
        if any(isinstance(x, Tracer) for x in jtu.tree_leaves((leaves, self.bound))):
            found = self.bound.inverses(leaves)
        else:
            found = [x for x, _ in self._inverse_inside(leaves)]
        free, masks = self.bound.wrap_outer(found)
        raise_off_then(self.bound, masks)
        return self.bound.free_tree(free)

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
                Where there are several devices, the leaf is NaN instead.
        """
        leaves = model_leaves(self.bound.plan, model, self.bound.held)
        self._compare_tied(leaves)
        pairs = self._inverse_inside(leaves)
        for (i, row), (_, mask) in zip(self.bound.plan.free, pairs, strict=True):
            if isinstance(mask, Tracer):
                expected = self.bound.support_of(row, leaves)
                message = f"{self.bound.name(row)} is outside its support: {expected}"
                leaves[i] = _error_if(leaves[i], mask, message)
        _, masks = self.bound.wrap_outer([x for x, _ in pairs])
        raise_off_then(self.bound, masks)
        traced = [mask.any() for *_, mask in masks if isinstance(mask, Tracer)]
        if traced:
            mask = jnp.any(jnp.stack(traced))
            for i, _ in self.bound.plan.free:
                message = "the model is outside what `then` maps onto"
                leaves[i] = _error_if(leaves[i], mask, message)
        leaves = without_none(self.bound.plan, model, leaves)
        return jtu.tree_structure(model).unflatten(leaves)

    def then(self, bijector: Any, *, verify: bool = True) -> "Reparam":
        """Put one more bijector over the whole vector of free coordinates.

        The new free coordinates are those that `bijector`, such as a preconditioner,
        maps to the present ones, in the order of `ravel`.

        Args:
            bijector: a TFP bijector, or one that `bijector_for` takes from another
                package, of vectors of `dim` numbers that keeps their number. Where it
                does not map onto all vectors, nor does the result onto all models, and
                `inverse` says so.
            verify: as in `Reparam`.

        Returns:
            A Reparam of the same model, whose `free` has the structure of this one's.

        Raises:
            TypeError: it is not a TFP bijector.
            ValueError: it does not map `dim` numbers to as many, or is not one to one,
                or has a wrong log-det.

        Example:
            >>> import bijectree as bt, jax.numpy as jnp
            >>> model = {"a": jnp.array(1.0), "b": jnp.array(4.0)}
            >>> reparam = bt.Reparam(model, bt.positive()).then(bt.tfb.Scale(2.0))
            >>> print(reparam.inverse(model)["b"])  # log(4) / 2
            0.6931472
        """
        bijector = as_bijector(bijector)
        if not substrate.is_bijector(bijector):
            raise TypeError(f"then takes a TFP bijector, got {describe(bijector)}")
        structure, numbers = substrate.split(bijector)
        dtype = widest([row.free_dtype for _, row in self.bound.plan.free])
        what = f"then: {bijector.name} does not fit a vector of {self.dim} numbers"
        try:
            kind = substrate.bind(structure, numbers, (self.dim,), dtype)
        except BIND_ERRORS as error:
            raise ValueError(f"{what}: {error}") from error
        if kind.free_shape != (self.dim,):
            raise ValueError(
                f"{what}: it has free coordinates of shape {kind.free_shape}, and must "
                "keep their number"
            )
        if verify:
            faults = why_unproven(bijector, kind, numbers)
            raise_all(f"then: {bijector.name} cannot be put over the coordinates", faults)
        outer = (*self.bound.plan.outer, (kind, len(self.bound.numbers)))
        plan = Plan(self.bound.plan.structure, self.bound.plan.rows, outer)
        return of_bound(Bound(plan, (*self.bound.numbers, numbers), self.bound.held))

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

    # The methods below have the free coordinates as one vector.

    @property
    def dim(self) -> int:
        """The number of free coordinates."""
        return sum(math.prod(row.free_shape) for _, row in self.bound.plan.free)

    @property
    def labels(self) -> list[str]:
        """One label a free coordinate, in the order of `ravel`.

        The leaf's path and the coordinate's index: that of the element where the map is
        elementwise (`weights.2`), else the number of the coordinate. Coordinates of a
        joint have the labels of its elements where there are as many, else the path
        that its leaves share. Under `then` they are those of the map within.
        """
        return list(self.bound.plan.labels)

    def ravel(self, free: PyTree) -> Inexact[Array, " dim"]:
        """Concatenate the free leaves into one vector of their widest dtype."""
        return ravel(free_leaves(self.bound.plan, free))

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
        dtypes = [row.free_dtype for _, row in self.bound.plan.free]
        return self.bound.free_tree(self.bound.split(vector, dtypes))

    # The methods below raise errors for a model's values.

    def _compare_tied(self, leaves: Sequence[Any]) -> None:
        """Raise if a tied leaf is not what it is tied to, as far as it can be seen."""
        plan, follow = self.bound.plan, self.bound.tied_value
        faults = (
            tie_fault(row, plan.rows[row.on[0]], follow(row, leaves), leaves[i])
            for i, row in plan.tied
        )
        raise_all(
            "tied leaves disagree; set both, or bind without the tie",
            filter(None, faults),
        )

    def _inverse_inside(self, leaves: Sequence[Any]) -> list[tuple[Array, Array]]:
        """The rows' own coordinates, and which of their events are outside.

        Raises:
            SupportError: some concrete values are outside.
        """
        bound = self.bound
        pairs = [bound.inverse_and_outside(i, row, leaves) for i, row in bound.plan.free]
        seen = [
            (i, row, x, mask)
            for (i, row), (x, mask) in zip(bound.plan.free, pairs, strict=True)
            if not isinstance(mask, Tracer)
        ]
        counts = counts_of([mask for *_, mask in seen])
        faults = []
        for (i, row, x, mask), count in zip(seen, counts, strict=True):
            if not count:
                continue
            index = tuple(int(n) for n in np.argwhere(on_host(mask))[0])
            value = short(on_host(bound.gather(i, row, leaves))[index])
            shown = index if row.picked is None else row.picked.index(index)
            where = f", index {list(shown)}" if shown else ""
            text = f"at {bound.name(row)}{where}: got {value}, expected "
            text += bound.support_of(row, leaves)
            if row.kind is not None and np.isinf(on_host(x)[index]).any():
                text += "; on the boundary, where the free value is infinite"
            if count > 1:
                text += f"; and {count - 1} more in this leaf"
            mend = bound.mend_of(row, leaves)
            faults.append(f"{text}; {mend}" if mend else text)
        raise_all("values outside their support", faults, SupportError)
        return pairs


def of_bound(bound: Bound) -> Reparam:
    """A Reparam of a `Bound` that is given."""
    reparam = object.__new__(Reparam)
    object.__setattr__(reparam, "bound", bound)
    return reparam
