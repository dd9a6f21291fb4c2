"""`masked`: a bijector of some entries of a leaf; the others are held."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Int

from ..constraints import Simplex, real, simplexes
from ..foreign import as_bijector
from ..substrate import BIND_ERRORS, Kind, Recipe, bind, is_bijector, split
from ..trees import StaticLeaf, describe
from .spec_items import Dependent, Masked


def masked(bijector: Any, mask: Bool[Array, "..."]) -> Masked:
    """A bijector of those entries of a leaf where a mask is True; the others are held.

    What is held has a value, that of the model, but no coordinate, as a frozen leaf:
    structural zeros of a matrix, one element that fixes a scale. The free coordinates
    are those of the entries that are mapped, in row-major order, and so are the log-det
    and the prior: a density of single entries, or of whole events, counts those that
    are mapped; a Dirichlet counts as that of the parts that are.

    Args:
        bijector: a TFP bijector, a `dependent` or a `location_scale`; `None` is the
            identity. Numbers of it with the leaf's shape, such as bounds, belong to the
            leaf's entries, mapped or not.
        mask: truth values, known when it is made. Where the bijector maps each element,
            one an element: the leaf's shape. Where it maps events, one an event: the
            leaf's shape without the axes of an event. With `bt.simplex` it may also have
            the leaf's shape: then the parts where it is True sum to 1 along the axis,
            and the others are 0.

    Returns:
        A leaf of a spec.

    Raises:
        TypeError: neither a bijector nor a `dependent` is given, or no truth values.
        ValueError: from `Reparam`, that the mask has another shape, that the bijector
            maps events of which the mask would cut one, or that a part of a simplex is
            held at another value than 0; from `Reparam.inverse`, other values of what
            is held than were bound.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> model = {"rates": jnp.array([[0.7, 0.3, 0.0], [0.0, 0.4, 0.6]])}
        >>> spec = {"rates": bt.masked(bt.simplex(), model["rates"] > 0)}
        >>> reparam = bt.Reparam(model, spec)
        >>> reparam.labels
        ['rates.0.0', 'rates.1.0']
        >>> print(reparam.forward({"rates": jnp.zeros(2)})["rates"])
        [[0.5 0.5 0. ]
         [0.  0.5 0.5]]
    """
    bijector = real() if bijector is None else as_bijector(bijector)
    if not is_bijector(bijector) and not isinstance(bijector, Dependent):
        raise TypeError(f"masked takes a TFP bijector, got {describe(bijector)}")
    if isinstance(mask, Tracer):
        raise TypeError("masked: the mask says what is free, so it cannot be traced")
    array = np.array(mask)
    if array.dtype != bool:
        raise TypeError(f"masked: the mask is of truth values, got {describe(array)}")
    return Masked(bijector, array)


# Un-jitted, each of its operations would be compiled, and anew for other entries.
@functools.partial(jax.jit, inline=True)
def _take(leaf: Any, entries: Any) -> Array:
    return jnp.ravel(jnp.asarray(leaf))[entries]


@dataclasses.dataclass(frozen=True)
class Picked:
    """Which entries of a leaf a bijector maps.

    Attributes:
        static_entries: the position of each picked entry in the raveled leaf, in the
            shape that the bijector maps.
        static_labels: the index of each free coordinate, one a row.
        shape: of the leaf.
        cuts: whether the bijector's numbers, if they have axes, have the leaf's, so that
            those of the picked entries are taken.
        zero_axis: the axis along which the picked entries sum to 1, so that the others
            must be 0.
    """

    static_entries: StaticLeaf
    static_labels: StaticLeaf
    shape: tuple[int, ...]
    cuts: bool = False
    zero_axis: int | None = None

    @property
    def entries(self) -> Int[np.ndarray, "..."]:
        """The positions of the picked entries."""
        return self.static_entries.value

    @property
    def labels(self) -> Int[np.ndarray, "dim axes"]:
        """The indices of the free coordinates."""
        return self.static_labels.value

    @functools.cached_property
    def mask(self) -> Bool[np.ndarray, "..."]:
        """Where the leaf is mapped."""
        mask = np.zeros(self.shape, bool)
        mask.flat[self.entries] = True
        return mask

    def take(self, leaf: Any) -> Array:
        """The picked entries of a leaf."""
        return _take(leaf, self.entries)

    def put(self, leaf: Any, mapped: Array) -> Array:
        """A leaf with other values at the picked entries, in the dtype of these."""
        flat = jnp.ravel(jnp.asarray(leaf).astype(mapped.dtype))
        changed = flat.at[self.entries].set(mapped, unique_indices=True)
        return changed.reshape(self.shape)

    def only_held(self, leaf: Any, other: Any) -> Array:
        """A leaf with the values of another at the picked entries."""
        return jnp.where(self.mask, jnp.asarray(other), jnp.asarray(leaf))

    def index(self, index: tuple[int, ...]) -> tuple[int, ...]:
        """Where in the leaf an entry, or the first entry of an event, lies."""
        entry = int(np.ravel(self.entries[index])[0])
        return tuple(int(n) for n in np.unravel_index(entry, self.shape))

    def cut(self, numbers: tuple[Any, ...]) -> tuple[Any, ...]:
        """The numbers of a bijector that belong to the picked entries."""
        return tuple(map(self._cut, numbers)) if self.cuts else numbers

    def _cut(self, number: Any) -> Any:
        if np.ndim(number) == 0:
            return number
        if isinstance(number, jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct(self.entries.shape, number.dtype)
        xp: Any = np if isinstance(number, np.ndarray) else jnp
        return xp.ravel(xp.broadcast_to(number, self.shape))[self.entries]

    def undo_cut(self, number: Any) -> Any:
        """Undo `cut` of one number; held entries get that of the first picked one."""
        if np.ndim(number) == 0:
            return number
        full = np.full(self.shape, np.asarray(number)[0])
        full.flat[self.entries] = np.asarray(number)
        return full if isinstance(number, np.ndarray) else jnp.asarray(full)

    def held_fault(self, leaf: Any) -> str:
        """Why held entries may not have their values; "" if they may, or are traced."""
        unseen = leaf is None or isinstance(leaf, (Tracer, jax.ShapeDtypeStruct))
        if self.zero_axis is None or unseen:
            return ""
        beside = self.mask.any(axis=self.zero_axis, keepdims=True) & ~self.mask
        values = np.asarray(leaf)
        wrong = np.argwhere(beside & (values != 0))
        if not len(wrong):
            return ""
        index = tuple(int(n) for n in wrong[0])
        return (
            f"index {list(index)} is held at {values[index]:g}, and what is held of a "
            "simplex must be 0, for the parts that are mapped sum to 1"
        )


def bind_masked(
    recipe: Recipe,
    numbers: tuple[Any, ...],
    mask: Bool[np.ndarray, "..."],
    shape: tuple[int, ...],
    dtype: Any,
) -> tuple[Kind, tuple[Any, ...], Picked]:
    """Bind a bijector to the entries of a leaf where a mask is True.

    Returns:
        The kind of the picked entries, the numbers for them, and which entries they are.

    Raises:
        ValueError: as `bind`; or the mask does not fit the events of the bijector.
    """
    kind = bind(recipe, numbers, shape, dtype)
    lead = shape[: len(shape) - kind.event_ndims]
    if mask.shape == lead:
        return _bind_events(kind, numbers, mask)
    bijector = None if numbers else recipe.build(())
    if mask.shape == shape and type(bijector) is Simplex:
        return _bind_parts(kind, bijector, mask)
    per = "an event" if kind.event_ndims else "an element"
    only = (
        "; only bt.simplex takes one an element and then maps a part of each event"
        if mask.shape == shape
        else ""
    )
    raise ValueError(
        f"the mask has shape {mask.shape}, expected {lead}, one truth value {per}{only}"
    )


def _bind_events(
    kind: Kind, numbers: tuple[Any, ...], mask: Bool[np.ndarray, "..."]
) -> tuple[Kind, tuple[Any, ...], Picked]:
    """Bind to whole events, or to single elements."""
    shape = kind.shape
    entries = np.arange(math.prod(shape)).reshape(shape)[mask]
    cuts = not _maps_one_event(kind, numbers, shape[mask.ndim :])
    if cuts and not _elements_alike(kind, numbers):
        raise ValueError(
            "it has numbers for single events, and which belong to those that are mapped "
            "is not known; give numbers that all events share"
        )
    of_leaf = np.argwhere(mask)
    picked = Picked(StaticLeaf(entries), StaticLeaf(of_leaf), shape, cuts)
    numbers = picked.cut(numbers)
    kind = bind(kind.recipe, numbers, entries.shape, kind.dtype)
    within = [*np.ndindex(*kind.free_shape[1:])]
    labels = [(*map(int, event), *index) for event in of_leaf for index in within]
    depth = mask.ndim + len(kind.free_shape) - 1
    array = np.array(labels, int).reshape(len(labels), depth)
    return kind, numbers, dataclasses.replace(picked, static_labels=StaticLeaf(array))


def _maps_one_event(kind: Kind, numbers: tuple[Any, ...], shape: tuple[int, ...]) -> bool:
    """Whether a bijector maps one event alone, so that it maps all alike."""
    try:
        bind(kind.recipe, numbers, shape, kind.dtype)
    except BIND_ERRORS:
        return False
    return True


def _elements_alike(kind: Kind, numbers: tuple[Any, ...]) -> bool:
    """Whether elements are mapped alike but for numbers that broadcast to the leaf."""
    scalars = tuple(jax.ShapeDtypeStruct((), jnp.result_type(n)) for n in numbers)
    try:
        return kind.elementwise and bind(kind.recipe, scalars, (), kind.dtype).uniform
    except BIND_ERRORS:
        return False


def _bind_parts(
    kind: Kind, simplex: Simplex, mask: Bool[np.ndarray, "..."]
) -> tuple[Kind, tuple[Any, ...], Picked]:
    """Bind to the free parts of simplexes, as simplexes of their own."""
    shape, axis = kind.shape, simplex.axis
    # The axis of the parts is last, as in the free coordinates.
    by_part = np.moveaxis(np.arange(math.prod(shape)).reshape(shape), axis, -1)
    free = np.moveaxis(mask, axis, -1)
    counts = free.sum(axis=-1)
    sizes = tuple(int(n) for n in counts[counts > 0])
    labels = [
        (*index, n)
        for index in np.ndindex(*counts.shape)
        for n in range(counts[index] - 1)
    ]
    picked = Picked(
        StaticLeaf(by_part[free]),
        StaticLeaf(np.array(labels, int).reshape(len(labels), len(shape))),
        shape,
        zero_axis=axis,
    )
    recipe, numbers = split(simplexes(sizes, simplex))
    return bind(recipe, numbers, (sum(sizes),), kind.dtype), numbers, picked
