"""What a user's function reads beside its arguments: globals, closures, defaults.

What JAX has compiled of a function goes on with what it read then. Whoever loads other
data into a global of the same name, and makes a posterior of the same function again,
would get the answer to the old data.
"""

import collections
import collections.abc
import dataclasses
import dis
import functools
import hashlib
import pickle
import sys
import sysconfig
import types
import weakref
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import jax
import numpy as np

# What is installed does not change while a program runs.
_INSTALLED = (Path(__file__).parents[1], Path(sysconfig.get_path("stdlib")))
_PLAIN = (bool, int, str, bytes, range, type(None), type(Ellipsis), types.CodeType)
_CONTAINERS = (
    collections.abc.Mapping,
    collections.abc.Sequence,
    collections.abc.Set,
)
_SIMPLE = frozenset({bool, int, float, complex, str, bytes, type(None)})
# Longer containers are told apart by a digest: the shorter ones of simple things alone.
_SHORT, _LONG = 20, 1000
# No more objects are looked into.
_MOST = 10_000


def reads(x: Any) -> tuple[Hashable, ...]:
    """What a function, or each in an object, reads beside its arguments.

    Numbers, strings, containers, NumPy's arrays and tables are told by their content,
    JAX's arrays and other objects by being the same one; functions and classes that are
    not installed, by their code and what that reads in turn. What code finds by a name
    that it computes (`globals()[name]`, `getattr(module, name)`) is not seen.

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
    return _Walk().parts(x)


def may_change(parts: tuple[Hashable, ...]) -> bool:
    """Whether other parts may be read later: not of installed classes and functions."""
    return not all(isinstance(part, _Same) for part in parts)


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
    """One walk through what functions read, in which each object is met once.

    The objects that are still to be looked at wait in a queue. So those near by come
    first where there are too many, and users' may be linked deeper than Python's calls.
    """

    def __init__(self) -> None:
        self._parts: list[Hashable] = []
        self._ahead = collections.deque[Any]()
        self._met: dict[int, int] = {}
        self._kept: list[Any] = []
        self._modules: list[types.ModuleType] = []
        self._attributes: set[str] = set()
        self._read_of_modules: set[tuple[int, str]] = set()

    def parts(self, x: Any) -> tuple[Hashable, ...]:
        """What tells an object."""
        self._ahead.append(x)
        while self._ahead:
            self._look_at(self._ahead.popleft())
            if not self._ahead:
                self._look_into_modules()
        return tuple(self._parts)

    def _say(self, *parts: Hashable) -> None:
        self._parts.extend(parts)

    def _go_on_to(self, *some: Any) -> None:
        self._ahead.extend(some)

    def _look_at(self, x: Any) -> None:
        try:
            self._tell(x)
        except Exception:  # a user's object raises errors of any kind when looked at
            self._say(_Same(x))

    def _tell(self, x: Any) -> None:
        if isinstance(x, _PLAIN):
            self._say(type(x), x)
        elif isinstance(x, (float, complex)):
            self._say(type(x), np.asarray(x).tobytes())
        elif isinstance(x, jax.Array):
            self._say(_Same(x))
        elif id(x) in self._met:
            self._say("met before", self._met[id(x)])
        elif len(self._met) > _MOST:
            self._say(_Same(x))
        else:
            self._met[id(x)] = len(self._met)
            self._kept.append(x)  # so that no other object gets its id
            self._look_into(x)

    def _look_into(self, x: Any) -> None:
        if isinstance(x, types.ModuleType):
            self._say(types.ModuleType, x.__name__)
            if not _is_installed_module(x):
                self._modules.append(x)
        elif isinstance(x, (np.ndarray, np.generic)):
            self._of_array(x)
        elif isinstance(x, types.FunctionType):
            self._of_function(x)
        elif isinstance(x, (types.MethodType, types.BuiltinMethodType)):
            self._go_on_to(getattr(x, "__func__", x.__name__), x.__self__)
        elif isinstance(x, functools.partial):
            self._go_on_to(x.func, x.args, x.keywords)
        elif isinstance(x, type):
            self._say(_Same(x))
            self._of_class(x)
        elif isinstance(x, _CONTAINERS) and not _is_table(x):
            self._of_container(x)
            if may_hold_data(type(x)):
                self._of_attributes(x)
        elif may_hold_data(type(x)) or dataclasses.is_dataclass(x):
            self._of_attributes(x)
        elif "__wrapped__" in getattr(x, "__dict__", ()):  # what `jax.jit` returns, say
            self._say(_Same(x))
            self._go_on_to(vars(x))
        elif _is_table(x):
            self._of_table(x)
        else:
            self._say(_Same(x))

    def _of_array(self, x: Any) -> None:
        self._say(x.dtype.str, x.shape)
        if x.dtype.hasobject:
            self._of_container(x.tolist() if x.ndim else [x.item()])
        else:
            content = np.ascontiguousarray(x).reshape(-1).view(np.uint8)
            self._say(hashlib.blake2b(content.data).digest())
        if type(x) is not np.ndarray:  # as masked ones, which hold more
            self._go_on_to(getattr(x, "__dict__", None))

    def _of_table(self, x: Any) -> None:
        names = list(getattr(x, "columns", ()))
        columns = [x[name].to_numpy() for name in names] or [x.to_numpy()]
        self._say(type(x), len(names))
        self._go_on_to(getattr(x, "index", None), *names, *columns)

    def _of_container(self, x: Any) -> None:
        self._say(type(x), len(x))
        content = x.values() if isinstance(x, collections.abc.Mapping) else x
        long, short = len(x) > _LONG, len(x) <= _SHORT
        if long or not short and _SIMPLE.issuperset(map(type, content)):
            try:
                self._say(hashlib.blake2b(pickle.dumps(x)).digest())
            except Exception:  # what cannot be pickled raises errors of any kind
                pass
            else:
                return
        if isinstance(x, collections.abc.Mapping):
            self._go_on_to(*x.keys(), *content)
        elif isinstance(x, collections.abc.Set) and all(isinstance(y, _PLAIN) for y in x):
            self._say(frozenset((type(y), y) for y in x))  # their order says nothing
        else:
            self._go_on_to(*x)

    def _of_function(self, x: types.FunctionType) -> None:
        if _is_installed(x.__code__.co_filename):
            self._say(_Same(x))
            self._go_on_to(vars(x).get("__wrapped__"))
            return
        self._say(x.__code__)
        self._go_on_to(x.__defaults__, x.__kwdefaults__, vars(x))
        for cell in x.__closure__ or ():
            try:
                self._go_on_to(cell.cell_contents)
            except ValueError:  # a name without a value yet
                self._say(None)
        names = _names(x.__code__)
        self._attributes.update(names.attributes)
        modules = [sys.modules[name] for name in names.imported if name in sys.modules]
        read = [name for name in names.read if name in x.__globals__]
        self._say(*read)
        self._go_on_to(*modules, *(x.__globals__[name] for name in read))

    def _of_attributes(self, x: Any) -> None:
        held = _held_by(x)
        self._say(*held)
        self._go_on_to(type(x), *held.values())

    def _of_class(self, x: type) -> None:
        for base in filter(may_hold_data, x.__mro__):
            for name, value in sorted(vars(base).items()):
                if isinstance(value, property):
                    read = value.fget
                elif isinstance(value, functools.cached_property):
                    read = value.func
                else:
                    read = getattr(base, name, None)  # Equinox wraps what is in `vars`
                    read = getattr(read, "__func__", read) if callable(read) else value
                if callable(read) or not name.startswith("__"):
                    self._say(name)
                    self._go_on_to(read)

    def _look_into_modules(self) -> None:
        """Look at what the functions that were met read of the modules that were met."""
        for module in self._modules:
            for name in sorted(self._attributes.intersection(vars(module))):
                if (id(module), name) not in self._read_of_modules:
                    self._read_of_modules.add((id(module), name))
                    self._say(module.__name__, name)
                    self._go_on_to(vars(module)[name])


@dataclasses.dataclass(frozen=True)
class _Names:
    """The names in code, with those in the functions within.

    Attributes:
        read: the names of globals.
        imported: the names of modules.
        attributes: the names of attributes, with those that are imported of modules.
    """

    read: tuple[str, ...]
    imported: tuple[str, ...]
    attributes: frozenset[str]


@functools.lru_cache(maxsize=4096)
def _names(code: types.CodeType) -> _Names:
    read, imported, attributes = set[str](), set[str](), set[str](code.co_names)
    for step in dis.get_instructions(code):
        if step.opname in {"LOAD_GLOBAL", "LOAD_NAME"}:
            read.add(step.argval)
        elif step.opname == "IMPORT_NAME":
            imported.add(step.argval)
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            within = _names(inner)
            read.update(within.read)
            imported.update(within.imported)
            attributes |= within.attributes
    return _Names(tuple(sorted(read)), tuple(sorted(imported)), frozenset(attributes))


def _held_by(x: Any) -> dict[str, Any]:
    """The attributes of an object: those in its `__dict__`, and those in its slots."""
    held = dict(getattr(x, "__dict__", {}))
    for base in filter(may_hold_data, type(x).__mro__):
        for name, slot in vars(base).items():
            if isinstance(slot, types.MemberDescriptorType) and hasattr(x, name):
                held[name] = getattr(x, name)
    return held


def _is_table(x: Any) -> bool:
    """Whether an object is an array or a table of pandas, polars, or xarray, say."""
    return hasattr(type(x), "to_numpy")


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


def may_hold_data(cls: type) -> bool:
    """Whether a class is a user's own, or a mere holder of names."""
    plain = (cls.__module__, cls.__name__) in _HOLDERS
    return plain or not _is_installed_module(sys.modules.get(cls.__module__))


_HOLDERS = {
    ("types", "SimpleNamespace"),
    ("argparse", "Namespace"),
    ("ml_collections.config_dict.config_dict", "ConfigDict"),
}
