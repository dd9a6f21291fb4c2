"""What the fields of a class declare: bijectors in their metadata and annotations."""

import collections.abc
import dataclasses
import functools
import sys
import types
import typing
from typing import Annotated, Any, ClassVar, Union

from ..foreign import is_transform
from .spec_items import is_spec_leaf

# Annotations that say of a field what they say of their one argument.
_QUALIFIERS = [
    found
    for found in (
        getattr(typing, name, None) for name in ("Final", "Required", "ReadOnly")
    )
    if found is not None
]
_UNIONS = Union, types.UnionType


@dataclasses.dataclass(frozen=True)
class Unclear:
    """A declaration of which it is not known what it holds for, and why."""

    why: str


class _Unknown:
    """A base of what stands for names that cannot be looked up."""

    def __class_getitem__(cls, _: Any) -> Any:
        return cls


def declarations(node: Any) -> dict[str | None, Any]:
    """The bijectors that the fields of one node declare, by field name.

    A field that may be absent, as its annotation says, and is, declares nothing.
    """
    cls = type(node)
    declared: dict[str | None, Any] = {}
    if dataclasses.is_dataclass(cls):
        for field in dataclasses.fields(cls):
            value = field.metadata.get("bijector")
            if value is not None:
                declared[field.name] = value
    elif not (isinstance(node, tuple) and hasattr(cls, "_fields")):
        return {}
    for name, (hint, value) in _annotations(cls).items():
        if value is not None:
            declared.setdefault(name, value)
        if name in declared and getattr(node, name, ...) is None and _may_be_none(hint):
            del declared[name]
    return declared


@functools.cache
def _annotations(cls: type) -> dict[str, tuple[Any, Any]]:
    """The annotation of each field, and what it declares."""
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except NameError:
        hints = {}
        for base in reversed(cls.__mro__):
            for name, hint in vars(base).get("__annotations__", {}).items():
                hints[name] = _evaluated(name, hint, base)
    return {name: (hint, _declared(hint)) for name, hint in hints.items()}


def _evaluated(name: str, hint: Any, cls: type) -> Any:
    """An annotation in which some names cannot be looked up, which stay unknown."""
    module = vars(sys.modules.get(cls.__module__, types.ModuleType("")))
    field = types.SimpleNamespace(__annotations__={name: hint})
    names = dict(vars(cls))
    while True:
        try:
            return typing.get_type_hints(field, module, names, include_extras=True)[name]
        except NameError as error:
            if error.name is None or error.name in names:
                return hint
            names[error.name] = type(error.name, (_Unknown,), {})
        except (AttributeError, TypeError, SyntaxError):
            return hint


def _resolved(hint: Any) -> Any:
    """An annotation without names of aliases and what says nothing of the value."""
    while True:
        if type(hint).__name__ == "TypeAliasType":
            hint = hint.__value__
        elif typing.get_origin(hint) in _QUALIFIERS:
            (hint,) = typing.get_args(hint)
        else:
            return hint


def _may_be_none(hint: Any) -> bool:
    hint = _resolved(hint)
    if typing.get_origin(hint) is Annotated:
        return _may_be_none(hint.__origin__)
    members = typing.get_args(hint) if typing.get_origin(hint) in _UNIONS else (hint,)
    return any(member is type(None) for member in members)


def _declared(hint: Any) -> Any:
    """What an annotation declares: of the value, or of all within it alike."""
    hint = _resolved(hint)
    if isinstance(hint, str):
        unknown = "Annotated" in hint
        return Unclear(f"cannot be evaluated: {hint!r}") if unknown else None
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        for value in hint.__metadata__:
            if isinstance(value, type) and issubclass(value, _Unknown):
                return Unclear(f"reads the name '{value.__name__}', which is not known")
            if value is not None and (is_spec_leaf(value) or is_transform(value)):
                return value
        return _declared(hint.__origin__)
    if origin is None or origin is ClassVar:
        return None
    if isinstance(origin, type) and issubclass(origin, collections.abc.Mapping):
        parts = parts[-1:]
    parts = [part for part in parts if part not in (type(None), Ellipsis)]
    found = [_declared(part) for part in parts if not isinstance(part, (list, str))]
    first = next((value for value in found if value is not None), None)
    if first is None or isinstance(first, Unclear):
        return first
    holds = isinstance(origin, type) and issubclass(origin, collections.abc.Collection)
    if not (holds or origin in _UNIONS):
        return Unclear(f"declares {first!r} within {hint}, whose own fields are to")
    if any(value is not first for value in found):
        return Unclear(f"declares {first!r} for a part of what it may hold: {hint}")
    return first
