"""What a user's function reads beside its arguments: globals, closures, defaults.

What JAX has compiled of a function goes on with what it read then. Whoever loads other
data into a global of the same name, and makes a posterior of the same function again,
would get the answer to the old data.
"""

import functools
import hashlib
import inspect
import pickle
import sys
import sysconfig
import types
import weakref
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

# What is installed does not change while a program runs.
_INSTALLED = (Path(__file__).parents[1], Path(sysconfig.get_path("stdlib")))
_PLAIN = (bool, int, str, bytes, type(None), type(Ellipsis), types.CodeType)
_CONTAINERS = (list, tuple, set, frozenset, dict)
# Longer containers are told apart by a digest, and no more objects are looked into.
_LONG, _MOST = 1000, 10_000


def reads(x: Any) -> tuple[Hashable, ...]:
    """What a function, or each in an object, reads beside its arguments.

    Numbers, strings, containers and NumPy's arrays are told by their content, JAX's
    arrays and other objects by being the same one; functions and classes that are not
    installed, by their code and what that reads in turn.

    Args:
        x: a function, a class, or an object that holds some.

    Returns:
        Parts, equal to those of another call where nothing has changed in between.

    Example:
        >>> scale = 2.0
        >>> def double(x):
        ...     return scale * x
        >>> before = reads(double)
        >>> scale = 3.0
        >>> reads(double) == before
        False
    """
    try:
        return tuple(_Walk().parts(x))
    except RecursionError:
        return (_Same(object()),)


class _Same:
    """An object that is equal to itself alone, which is not kept alive if it can be."""

    def __init__(self, x: Any):
        try:
            self._get = weakref.ref(x)
        except TypeError:
            self._get = lambda: x
        self._hash = id(x)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Same):
            return False
        mine = self._get()
        return self is other or mine is not None and mine is other._get()

    def __hash__(self) -> int:
        return self._hash


class _Walk:
    """One walk through what functions read, in which each object is met once."""

    def __init__(self) -> None:
        self._met: dict[int, int] = {}
        self._kept: list[Any] = []

    def parts(self, x: Any) -> Iterator[Hashable]:
        """What tells an object."""
        if isinstance(x, _PLAIN):
            yield type(x), x
        elif isinstance(x, (float, complex)):
            yield type(x), np.asarray(x).tobytes()
        elif isinstance(x, (np.ndarray, np.generic)):
            content = hashlib.blake2b(np.ascontiguousarray(x).tobytes()).digest()
            yield x.dtype.str, x.shape, content
        elif isinstance(x, types.ModuleType):
            yield types.ModuleType, x.__name__
        elif isinstance(x, jax.Array):
            yield _Same(x)
        elif id(x) in self._met:
            yield "met before", self._met[id(x)]
        elif len(self._met) > _MOST:
            yield _Same(x)
        else:
            self._met[id(x)] = len(self._met)
            self._kept.append(x)  # so that no other object gets its id
            yield from self._parts_within(x)

    def _parts_within(self, x: Any) -> Iterator[Hashable]:
        if isinstance(x, _CONTAINERS):
            yield from self._of_container(x)
        elif isinstance(x, types.FunctionType):
            yield from self._of_function(x)
        elif isinstance(x, types.MethodType):
            yield from self._of_all((x.__func__, x.__self__))
        elif isinstance(x, functools.partial):
            yield from self._of_all((x.func, x.args, x.keywords))
        elif isinstance(x, type):
            yield _Same(x)
            yield from self._of_class(x)
        elif callable(x) and hasattr(x, "__wrapped__"):  # what `jax.jit` returns, say
            yield _Same(x)
            yield from self.parts(inspect.unwrap(x))
        elif hasattr(x, "__dict__") and _may_hold_data(type(x)):
            yield from self._of_all((type(x), vars(x)))
        else:
            yield _Same(x)

    def _of_all(self, some: Any) -> Iterator[Hashable]:
        for x in some:
            yield from self.parts(x)

    def _of_container(self, x: Any) -> Iterator[Hashable]:
        yield type(x), len(x)
        if len(x) > _LONG:
            try:
                yield hashlib.blake2b(pickle.dumps(x)).digest()
            except Exception:  # what cannot be pickled raises errors of any kind
                yield _Same(x)
        elif isinstance(x, (set, frozenset)):  # of which the order says nothing
            yield frozenset(part for y in x for part in self.parts(y))
        else:
            pairs = x.items() if isinstance(x, dict) else ()
            yield from self._of_all([*x, *(value for _, value in pairs)])

    def _of_function(self, x: types.FunctionType) -> Iterator[Hashable]:
        if _is_installed(x.__code__.co_filename):
            yield _Same(x)
            inner = inspect.unwrap(x)
            yield from self.parts(inner) if inner is not x else ()
            return
        yield x.__code__
        yield from self._of_all((x.__defaults__, x.__kwdefaults__))
        for cell in x.__closure__ or ():
            try:
                content = cell.cell_contents
            except ValueError:  # a name without a value yet
                continue
            yield from self.parts(content)
        names = sorted(_names(x.__code__))
        for name in names:
            if name not in x.__globals__:
                continue
            value = x.__globals__[name]
            yield name
            yield from self.parts(value)
            if isinstance(value, types.ModuleType) and not _is_installed_module(value):
                for attribute in names:
                    if attribute in vars(value):
                        yield from self.parts(vars(value)[attribute])

    def _of_class(self, x: type) -> Iterator[Hashable]:
        for base in x.__mro__:
            if not _may_hold_data(base):
                continue
            for name in sorted(vars(base)):
                value = getattr(base, name, None)  # Equinox wraps what is in `vars`
                value = getattr(value, "fget", getattr(value, "func", value))
                kinds = (types.FunctionType, types.MethodType, float, np.ndarray)
                if isinstance(value, (*kinds, *_PLAIN, jax.Array)):
                    yield name
                    yield from self.parts(value)


def _names(code: types.CodeType) -> set[str]:
    """The names that code reads, with those of the functions within."""
    inner = (c for c in code.co_consts if isinstance(c, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))


@functools.lru_cache(maxsize=4096)
def _is_installed(file: str) -> bool:
    if file.startswith("<frozen "):
        return True
    path = Path(file)
    packages = {"site-packages", "dist-packages"}.intersection(path.parts)
    return bool(packages) or any(map(path.is_relative_to, _INSTALLED))


def _is_installed_module(module: types.ModuleType | None) -> bool:
    # What has no file is built in, or is where a user types.
    file = getattr(module, "__file__", None)
    return module is not None and (
        _is_installed(file) if file else module.__name__ != "__main__"
    )


def _may_hold_data(cls: type) -> bool:
    """Whether a class is a user's own, or a mere holder of names."""
    plain = (cls.__module__, cls.__name__) in _HOLDERS
    return plain or not _is_installed_module(sys.modules.get(cls.__module__))


_HOLDERS = {("types", "SimpleNamespace"), ("argparse", "Namespace")}
