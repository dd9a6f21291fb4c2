"""`Reparam`: a spec bound to a model, as a pair of pure maps."""

import functools
import itertools
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
from ._constraints import support
from ._spec import Plan, Row, make_plan
from ._tree import Fixed, broadcast, describe, is_array, raise_all


class SupportError(ValueError):
    """Values of a model lie outside the support of their bijectors."""


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
            bijector, `None` (identity) or `bt.frozen` at each leaf. A bijector above
            several leaves maps each of them by itself.

    Raises:
        ValueError: the spec does not fit the model: another structure, a bijector that
            cannot take a leaf's shape or would change it, a bijector on a leaf that is
            not a real inexact array. All faults are listed with their paths.

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
        rows = [
            f"  {row.path}: {_short_name(self._bijector(row), row)}, {row.shape}"
            for row in self._plan.rows[:20]
            if row.role != "static"
        ]
        more = ["  ..."] if len(self._plan.rows) > 20 else []
        return "\n".join([f"Reparam of dimension {self.dim}", *rows, *more])

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
        leaves = self._kept(like)
        for (i, row), x in zip(self._plan.free, self._free_leaves(free), strict=True):
            leaves[i] = x
            if row.kind is not None:
                leaves[i] = _tfp.forward(*self._call(row, x), x)
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
        """
        leaves = self._kept(like)
        free_leaves = self._free_leaves(free)
        terms = []
        for (i, row), x in zip(self._plan.free, free_leaves, strict=True):
            leaves[i] = x
            if row.kind is not None:
                leaves[i], log_det = _tfp.forward_and_log_det(*self._call(row, x), x)
                terms.append(log_det)
        model = self._plan.structure.treedef.unflatten(leaves)
        return model, _total(terms, free_leaves)

    def forward_log_det_jacobian(self, free: PyTree) -> Float[Array, ""]:
        """The log-det of `forward` at free coordinates, a scalar."""
        free_leaves = self._free_leaves(free)
        terms = [
            _tfp.forward_and_log_det(*self._call(row, x), x)[1]
            for (_, row), x in zip(self._plan.free, free_leaves, strict=True)
            if row.kind is not None
        ]
        return _total(terms, free_leaves)

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
            ValueError: another structure or other shapes than bound, or another value
                at a leaf without coordinates (bind again: it does not retrace).
        """
        leaves = self._model_leaves(model)
        self._compare_kept(leaves)
        traced = any(
            isinstance(x, Tracer) for x in jtu.tree_leaves((leaves, self._numbers))
        )
        free: list[Any] = [None] * len(leaves)
        masks: list[Array] = []
        for i, row in self._plan.free:
            if traced and row.kind is not None:
                free[i] = _tfp.inverse(*self._call(row, leaves[i]), leaves[i])
            else:
                free[i], mask = self._inverse_and_outside(row, leaves[i])
                masks.append(mask)
        if not traced:
            self._raise_outside(leaves, free, masks)
        return self._plan.structure.treedef.unflatten(free)

    def inverse_log_det_jacobian(self, model: PyTree) -> Float[Array, ""]:
        """The log-det of `inverse` at the model: minus that of `forward`, a scalar."""
        return -self.forward_log_det_jacobian(self.inverse(model))

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
        leaves = self._model_leaves(model)
        found = [self._inverse_and_outside(row, leaves[i]) for i, row in self._plan.free]
        free = dict(
            zip((i for i, _ in self._plan.free), (x for x, _ in found), strict=True)
        )
        masks = [mask for _, mask in found]
        self._raise_outside(leaves, free, masks)
        for (i, row), mask in zip(self._plan.free, masks, strict=True):
            if isinstance(mask, Tracer):
                message = f"'{row.path}' is outside its support: {self._support(row)}"
                leaves[i] = eqx.error_if(leaves[i], mask, message)
        return self._plan.structure.treedef.unflatten(leaves)

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
        return sum(_size(row.free_shape) for _, row in self._plan.free)

    @property
    def labels(self) -> list[str]:
        """One label a free coordinate, in the order of `ravel`.

        The leaf's path and the coordinate's index: that of the element where the map is
        elementwise (`weights.2`), else the number of the coordinate.
        """
        return [
            ".".join([row.path] * bool(row.path) + [str(i) for i in index])
            for _, row in self._plan.free
            for index in np.ndindex(*row.free_shape)
        ]

    def ravel(self, free: PyTree) -> Inexact[Array, " dim"]:
        """Concatenate the free leaves into one vector of their widest dtype."""
        leaves = self._free_leaves(free)
        dtype = _widest(leaves)
        return jnp.concatenate(
            [jnp.ravel(x).astype(dtype) for x in leaves] or [jnp.zeros(0, dtype)]
        )

    def unravel(self, vector: Inexact[Array, " dim"]) -> PyTree:
        """Undo `ravel`; each leaf gets the dtype that it was bound with.

        Raises:
            ValueError: `vector` does not have the shape `(dim,)`.
        """
        if jnp.shape(vector) != (self.dim,):
            raise ValueError(
                f"unravel: expected a vector of shape ({self.dim},), got shape "
                f"{jnp.shape(vector)}"
            )
        sizes = [_size(row.free_shape) for _, row in self._plan.free]
        ends = itertools.accumulate(sizes)
        leaves: list[Any] = [None] * len(self._plan.rows)
        for (i, row), size, end in zip(self._plan.free, sizes, ends, strict=True):
            part = vector[end - size : end].reshape(row.free_shape)
            leaves[i] = part.astype(row.dtype)
        return self._plan.structure.treedef.unflatten(leaves)

    # Within: one leaf at a time.

    def _bijector(self, row: Row) -> Any:
        """The bijector of a row with its numbers, `None` for the identity."""
        if row.kind is None:
            return None
        return row.kind.structure.build(self._numbers[row.slot])

    def _support(self, row: Row) -> str:
        """The support of a row in words."""
        return "finite" if row.kind is None else support(self._bijector(row)).description

    def _call(self, row: Row, leaf: Any) -> tuple[_tfp.Kind, tuple[Any, ...]]:
        """What `_tfp` needs to map a leaf of this row, whatever float dtype it has."""
        assert row.kind is not None
        numbers = self._numbers[row.slot]
        return row.kind.with_dtype(leaf.dtype, numbers), numbers

    def _inverse_and_outside(self, row: Row, leaf: Any) -> tuple[Array, Array]:
        leaf = jnp.asarray(leaf)
        if row.kind is None:
            return leaf, ~jnp.isfinite(leaf)
        return _tfp.inverse_and_outside(*self._call(row, leaf), leaf)

    def _kept(self, like: PyTree | None) -> list[Any]:
        """All leaves, with values where there are no coordinates."""
        source = self._held if like is None else self._model_leaves(like)
        leaves: list[Any] = []
        missing = []
        for row, value in zip(self._plan.rows, source, strict=True):
            if row.role == "free":
                leaves.append(None)
            elif row.value is not None:
                leaves.append(row.value.value)
            else:
                if value is None or isinstance(value, jax.ShapeDtypeStruct):
                    missing.append(f"'{row.path}' ({row.role})")
                leaves.append(value)
        raise_all(
            "forward: bound from shapes alone, so these leaves have no value; pass "
            "like=model",
            missing,
        )
        return leaves

    def _model_leaves(self, model: PyTree) -> list[Any]:
        """The leaves of a model that has the structure and shapes of this Reparam."""
        treedef = self._plan.structure.treedef
        leaves, got = jtu.tree_flatten(model)
        faults: list[str] = []
        if got != treedef:
            positions = treedef.unflatten(range(treedef.num_leaves))
            _, faults = broadcast(model, positions, lambda x: False)
            faults = faults or ["a static field or a `None` of a node is another"]
        else:
            faults = [
                f"at '{row.path}': got {describe(leaf)}, expected shape {row.shape}"
                for row, leaf in zip(self._plan.rows, leaves, strict=True)
                if row.dtype is not None
                and (not is_array(leaf) or tuple(leaf.shape) != row.shape)
            ]
        raise_all("the model is not like the one that this Reparam was bound to", faults)
        return leaves

    def _compare_kept(self, leaves: Sequence[Any]) -> None:
        """Raise if a leaf without coordinates has another value than bound."""
        faults = []
        for row, leaf, held in zip(self._plan.rows, leaves, self._held, strict=True):
            if row.value is not None:
                same = row.value == Fixed(leaf)
                held = row.value.value
            else:
                same = leaf is held or held is None or _same_array(leaf, held)
            if not same:
                faults.append(
                    f"at '{row.path}' ({row.role}): bound with {_short(held)}, got "
                    f"{_short(leaf)}"
                )
        raise_all(
            "inverse: leaves without coordinates differ from those that this Reparam "
            "was bound with; bind again: bt.Reparam(model, spec)",
            faults,
        )

    def _raise_outside(
        self, leaves: Sequence[Any], free: Any, masks: Sequence[Array]
    ) -> None:
        """Raise for the values that are outside, as far as they can be looked at."""
        seen = [
            (i, row, mask)
            for (i, row), mask in zip(self._plan.free, masks, strict=True)
            if not isinstance(mask, Tracer)
        ]
        faults = []
        counts = jax.device_get([jnp.count_nonzero(mask) for _, _, mask in seen])
        for (i, row, mask), count in zip(seen, counts, strict=True):
            if count:
                index = tuple(int(n) for n in np.argwhere(np.asarray(mask))[0])
                faults.append(self._outside(row, leaves[i], free[i], index, int(count)))
        raise_all("values outside their support", faults, SupportError)

    def _outside(
        self, row: Row, leaf: Any, free: Array, index: tuple[int, ...], count: int
    ) -> str:
        where = f"at '{row.path}'" + (f", index {list(index)}" if index else "")
        value = _short(np.asarray(leaf)[index])
        text = f"{where}: got {value}, expected {self._support(row)}"
        if row.kind is not None and np.isinf(np.asarray(free)[index]).any():
            text += "; on the boundary, where the free value is infinite"
        return text + (f"; and {count - 1} more in this leaf" if count > 1 else "")

    def _free_leaves(self, free: PyTree) -> list[Array]:
        """The leaves of free coordinates that have the structure of this Reparam."""
        leaves, got = jtu.tree_flatten(free)
        faults: list[str] = []
        if got != self._plan.free_treedef:
            at = {i: n for n, (i, _) in enumerate(self._plan.free)}
            positions = self._plan.structure.treedef.unflatten(
                [at.get(i) for i in range(len(self._plan.rows))]
            )
            groups, faults = broadcast(free, positions, lambda x: False)
            leaves = [x for x, place in sorted(groups, key=lambda g: g[1]) if place]
        if not faults:
            faults = [
                f"at '{row.path}': got {describe(x)}, expected floats of shape "
                f"{row.free_shape}"
                for (_, row), x in zip(self._plan.free, leaves, strict=True)
                if x is None or np.shape(x) != row.free_shape or not _is_float(x)
            ]
        raise_all("these are not free coordinates of this Reparam", faults)
        return [x if isinstance(x, jax.Array) else jnp.asarray(x) for x in leaves]


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=int))


def _is_float(x: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(x), jnp.inexact)


def _widest(leaves: Sequence[Array], *, at_least: Any = None) -> np.dtype:
    """The dtype that all leaves fit in."""
    dtypes = [x.dtype for x in leaves] + ([] if at_least is None else [at_least])
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(*(dtypes or [float]))


def _total(terms: Sequence[Array], leaves: Sequence[Array]) -> Array:
    """The sum of the leaves' log-dets: at least float32, real, of the widest dtype."""
    dtype = jnp.finfo(_widest(leaves, at_least=np.dtype(np.float32))).dtype
    return sum((term.astype(dtype) for term in terms), start=jnp.zeros((), dtype))


def _same_array(a: Any, b: Any) -> bool:
    """Whether two arrays hold the same values; `True` if one cannot be looked at."""
    abstract = (Tracer, jax.ShapeDtypeStruct)
    if isinstance(a, abstract) or isinstance(b, abstract):
        return True
    if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
        a, b = jax.random.key_data(a), jax.random.key_data(b)
    inexact = jnp.issubdtype(a.dtype, jnp.inexact)
    return np.array_equal(np.asarray(a), np.asarray(b), equal_nan=inexact)


def _short_name(bijector: Any, row: Row) -> str:
    if row.role == "frozen":
        return "frozen"
    return "identity" if bijector is None else bijector.name


def _short(value: Any) -> str:
    """A value in one line, cut if it is long."""
    if is_array(value) and not isinstance(value, jax.ShapeDtypeStruct):
        if jnp.issubdtype(value.dtype, jax.dtypes.extended):
            return describe(value)
        text = np.array2string(np.asarray(value), threshold=6, separator=", ")
        text = " ".join(text.split())
    else:
        text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
