"""Parts of a structure that are no arrays: compared by value, hashed and pickled."""

import dataclasses
import functools
from typing import Any, TypeVar

import jax
import jax.tree_util as jtu
import numpy as np
from jaxtyping import PyTree

from .reads import may_hold_data, reads

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class StaticLeaf:
    """A leaf that is part of a structure: compared by value where that is possible.

    A function is another one when what it reads beside its arguments has changed.

    Attributes:
        value: the leaf.
        once: whether it equals itself alone, for an object whose state may change.
    """

    value: Any
    once: bool = False
    key: Any = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        key = object() if self.once else _key(self.value)
        if self.reads:
            key = key, reads(self.value)
        object.__setattr__(self, "key", key)

    def as_read_now(self) -> "StaticLeaf":
        """This leaf, or another one where what its function reads has changed."""
        if not self.reads or reads(self.value) == self.key[1]:
            return self
        return StaticLeaf(self.value, self.once)

    def is_still(self, value: Any) -> bool:
        """Whether a value is this leaf's, whatever its function reads by now."""
        if self.once or value is self.value:
            return value is self.value
        return (self.key[0] if self.reads else self.key) == _key(value)

    @property
    def reads(self) -> bool:
        """Whether it may read what it does not hold."""
        return self.once or callable(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StaticLeaf) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __reduce__(self) -> tuple[Any, ...]:
        return StaticLeaf, (self.value, self.once)


def _key(value: Any) -> Any:
    """What a static value is compared by."""
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        array = np.asarray(value)
        return array.dtype.str, array.shape, array.tobytes()
    # Floats are compared by their bits: 0.0 is not -0.0, and nan is nan.
    if isinstance(value, (float, complex)):
        return type(value), np.asarray(value).tobytes()
    if isinstance(value, functools.partial):
        parts = (value.func, *value.args, *value.keywords.values())
        return type(value), tuple(value.keywords), tuple(map(_key, parts))
    if type(value).__eq__ is not object.__eq__:
        try:
            hash(value)
        except TypeError:
            return id(value)
        return type(value), value
    return id(value)


@dataclasses.dataclass(frozen=True)
class PicklableTreedef:
    """A tree without its leaves. Unlike a bare treedef of Equinox modules, it pickles.

    It is another one, too, when what its classes' methods, or the functions that are part
    of it, read has changed.
    """

    treedef: Any
    reads: tuple[Any, ...] = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "reads", reads_of_treedef(self.treedef))

    def as_read_now(self) -> "PicklableTreedef":
        """This structure, or another one where what its functions read has changed."""
        return same_or(PicklableTreedef(self.treedef), self)

    def __reduce__(self) -> tuple[Any, ...]:
        skeleton = self.treedef.unflatten(range(self.treedef.num_leaves))
        return _structure_of, (skeleton,)


def same_or(new: T, old: T) -> T:
    """What is old where both are equal, so that its hash is not computed again."""
    return old if new == old else new


def reads_of_treedef(treedef: Any) -> tuple[Any, ...]:
    """What the classes and the functions that are part of a structure read."""
    # Nodes of one class are many.
    once = {id(x): x for x in _functions(treedef)}
    return tuple(part for x in once.values() for part in reads(x))


def _functions(treedef: Any) -> list[Any]:
    """The classes of the nodes of a structure, and what a user put in static fields."""
    data = treedef.node_data()
    found = [] if data is None else [data[0], *_functions_in(data[1])]
    for child in treedef.children():
        found += _functions(child)
    return found


def _functions_in(part: Any) -> list[Any]:
    # Equinox has the values of static fields in a tuple, TFP in dictionaries.
    if isinstance(part, dict):
        part = list(part.values())
    if isinstance(part, (tuple, list)):
        return [x for inner in part for x in _functions_in(inner)]
    return [part] if callable(part) or may_hold_data(type(part)) else []


def _structure_of(skeleton: PyTree) -> PicklableTreedef:
    return PicklableTreedef(jtu.tree_structure(skeleton))


class HashedOnce:
    """A base for frozen dataclasses with `eq=False` that are static arguments of `jit`.

    JAX hashes and compares static arguments at each call. Instances are nearly always
    the same object, and their hash is computed once, so a call's dispatch is fast.
    """

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        same = type(self) is type(other) and hash(self) == hash(other)
        return same and self._key == other._key  # pyright: ignore[reportAttributeAccessIssue]

    def __hash__(self) -> int:
        return self._hash

    @functools.cached_property
    def _key(self) -> tuple[Any, ...]:
        fields = dataclasses.fields(self)  # pyright: ignore[reportArgumentType]
        return tuple(getattr(self, field.name) for field in fields)

    @functools.cached_property
    def _hash(self) -> int:
        return hash(self._key)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._key
