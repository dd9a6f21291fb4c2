"""A bijector taken apart: its structure, and its numbers."""

import dataclasses
import functools
import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..trees import StaticLeaf, may_change, reads_of_treedef, same_or
from .tfp import is_bijector, tfb


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A bijector without its numbers: hashable, equal when the bijectors are alike.

    Integers in a bijector (a permutation, a shape) belong to the recipe. An object
    that is no JAX pytree may change its state, so that each `split` of it gives another
    recipe.
    """

    treedef: Any
    fixed: tuple[StaticLeaf | None, ...]
    # The shapes and dtypes of the numbers of the bijector that was split, which TFP's
    # constructors look at when it is built for pickling.
    avals: tuple[tuple[Any, Any], ...] = dataclasses.field(compare=False, repr=False)
    reads: tuple[Any, ...] = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "reads", reads_of_treedef(self.treedef))

    def build(self, numbers: tuple[Any, ...]) -> Any:
        """Put the numbers back: a bijector again."""
        rest = iter(numbers)
        leaves = [next(rest) if f is None else f.value for f in self.fixed]
        return jax.tree_util.tree_unflatten(self.treedef, leaves)

    def as_read_now(self) -> "Recipe":
        """This recipe, or another one where what its functions read has changed."""
        if not self._reads_what_may_change:
            return self
        fixed = tuple(f and f.as_read_now() for f in self.fixed)
        return same_or(dataclasses.replace(self, fixed=fixed), self)

    def as_made_now(self) -> "tuple[Recipe, Recipe]":
        """What may be made where this was: the recipe, and as its functions read now."""
        return self, self.as_read_now()

    @functools.cached_property
    def _reads_what_may_change(self) -> bool:
        leaves = [leaf for leaf in self.fixed if leaf is not None]
        return any(leaf.reads for leaf in leaves) or may_change(self.reads)

    @property
    def count(self) -> int:
        """How many numbers there are."""
        return sum(leaf is None for leaf in self.fixed)

    @functools.cached_property
    def opaque(self) -> bool:
        """Whether the bijector, or a part of it, is no JAX pytree.

        Caches that outlive it must not hold such a bijector, which may hold arrays: what
        is made of its recipe is kept in the recipe, and goes with it.
        """
        return any(f is not None and is_bijector(f.value) for f in self.fixed)

    @functools.cached_property
    def kinds(self) -> dict[Any, Any]:
        """The kinds of an opaque recipe, by the shapes and dtypes it was bound to."""
        return {}

    def __reduce__(self) -> tuple[Any, ...]:
        if pickle.loads(pickle.dumps(self.treedef)) == self.treedef:
            return Recipe, (self.treedef, self.fixed, self.avals)
        # Treedefs that hold Equinox modules do not survive pickling; bijectors do.
        # Nor do numbers of NumPy: `ScaleMatvecTriL` would make them part of itself.
        zeros = tuple(jnp.zeros(shape, dtype) for shape, dtype in self.avals)
        bijector = self.build(zeros)
        if _recipe_of(bijector) != self:
            raise pickle.PicklingError(f"{bijector!r} is not the same when made again")
        return _recipe_of, (bijector,)


def _recipe_of(bijector: Any) -> Recipe:
    return split(bijector)[0]


def _is_number(leaf: Any) -> bool:
    array = isinstance(leaf, (np.ndarray, np.generic, jax.Array))
    return array and jnp.issubdtype(leaf.dtype, jnp.inexact)


def _may_change(leaf: Any) -> bool:
    """Whether a leaf is a bijector or a distribution that JAX cannot look into."""
    return is_bijector(leaf) or hasattr(leaf, "log_prob")


# TFP's maps of single elements that know no position, and whose parameters are numbers
# that all show as leaves.
_OF_NUMBERS = frozenset(
    (
        *(tfb.Identity, tfb.Shift, tfb.Scale, tfb.Exp, tfb.Log, tfb.Expm1, tfb.Log1p),
        *(tfb.Softplus, tfb.Sigmoid, tfb.Tanh, tfb.Sinh, tfb.Softsign, tfb.SinhArcsinh),
        *(tfb.Square, tfb.Power, tfb.Reciprocal, tfb.LambertWTail, tfb.GumbelCDF),
        *(tfb.NormalCDF, tfb.FrechetCDF, tfb.GompertzCDF, tfb.KumaraswamyCDF),
        *(tfb.MoyalCDF, tfb.RayleighCDF, tfb.ShiftedGompertzCDF, tfb.WeibullCDF),
    )
)


class _ScaleMatvecDiag(tfb.ScaleMatvecDiag):
    """TFP's class without `dtype`, which would stay what it was when numbers are cast."""

    def __init__(self, scale_diag: Any, *, adjoint: bool, validate_args: bool, name: str):
        super().__init__(scale_diag, adjoint, validate_args, name)


class _ScaleMatvecTriL(tfb.ScaleMatvecTriL):
    """TFP's class without `dtype`, for the same reason as `_ScaleMatvecDiag`."""

    def __init__(self, scale_tril: Any, *, adjoint: bool, validate_args: bool, name: str):
        super().__init__(scale_tril, adjoint, validate_args, name)


_MATVECS = {
    tfb.ScaleMatvecDiag: (_ScaleMatvecDiag, "scale_diag"),
    tfb.ScaleMatvecTriL: (_ScaleMatvecTriL, "scale_tril"),
}


def class_in_recipes(cls: type) -> type:
    """The class that `split` puts in the place of a class of bijectors, if it does."""
    return _MATVECS[cls][0] if cls in _MATVECS else cls


def _as_float(number: Any) -> Any:
    """A number of a bijector as an inexact array; integers become floats."""
    array = jnp.asarray(number)
    return array if jnp.issubdtype(array.dtype, jnp.inexact) else array.astype(float)


def _with_floats(part: Any) -> Any:
    """A part of a bijector whose numbers are all leaves, and floats.

    Integers would be part of the recipe, and TFP casts what such a bijector maps to
    their dtype: `Scale(jnp.array(2))` maps 0.5 to 0.
    """
    if type(part) in _MATVECS:
        cls, matrix = _MATVECS[type(part)]
        numbers = _as_float(part.parameters[matrix])
        return cls(
            numbers,
            adjoint=part.adjoint,
            validate_args=part.validate_args,
            name=part.name,
        )
    if type(part) in _OF_NUMBERS:
        leaves = jax.tree_util.tree_leaves(part)
        if not all(jnp.issubdtype(jnp.result_type(x), jnp.inexact) for x in leaves):
            return jax.tree_util.tree_map(_as_float, part)
    return part


def castable(bijector: Any) -> Any:
    """A bijector all of whose numbers show as leaves that can be cast."""
    return _with_all_floats(*_spelled_out_parts(bijector))


def _spelled_out_parts(bijector: Any) -> tuple[Any, list[Any], Any]:
    """A bijector, its parts down to those whose numbers are all leaves, its treedef."""
    bijector = spelled_out(bijector)
    return bijector, *jax.tree_util.tree_flatten(bijector, is_leaf=_is_of_numbers)


def _with_all_floats(bijector: Any, parts: list[Any], treedef: Any) -> Any:
    changed = [_with_floats(part) for part in parts]
    if all(a is b for a, b in zip(parts, changed, strict=True)):
        return bijector
    return treedef.unflatten(changed)


def _is_of_numbers(x: Any) -> bool:
    return type(x) in _OF_NUMBERS or type(x) in _MATVECS


def spelled_out(bijector: Any) -> Any:
    """Spell out subclasses of `Chain`, so that the numbers they make show as leaves.

    `FillScaleTriL()` makes a float32 `Shift(1e-5)` in its constructor, where nothing
    could cast it to a float64 leaf's dtype.
    """
    if isinstance(bijector, tfb.Chain) and not _maps_by_itself(type(bijector)):
        parts = [spelled_out(part) for part in bijector.bijectors]
        unchanged = all(a is b for a, b in zip(parts, bijector.bijectors, strict=True))
        if type(bijector) is not tfb.Chain or not unchanged:
            return tfb.Chain(parts, name=bijector.name)
    return bijector


def _maps_by_itself(cls: type) -> bool:
    """Whether a subclass of `Chain` has a map or a log-det of its own."""
    bases = cls.__mro__[: cls.__mro__.index(tfb.Chain)]
    names = {name for base in bases for name in vars(base)}
    return any("forward" in name or "inverse" in name for name in names)


def split(bijector: Any) -> tuple[Recipe, tuple[Any, ...]]:
    """Take a bijector apart into its recipe and its numbers (inexact arrays)."""
    bijector, leaves, treedef = _spelled_out_parts(bijector)
    if any(_is_of_numbers(part) for part in leaves):
        bijector = _with_all_floats(bijector, leaves, treedef)
        leaves, treedef = jax.tree_util.tree_flatten(bijector)
    fixed = tuple(
        None if _is_number(leaf) else StaticLeaf(leaf, once=_may_change(leaf))
        for leaf in leaves
    )
    numbers = tuple(leaf for leaf in leaves if _is_number(leaf))
    avals = tuple((jnp.shape(n), jnp.result_type(n)) for n in numbers)
    return Recipe(treedef, fixed, avals), numbers
