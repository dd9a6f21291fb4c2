"""`spec_from_fields`: a spec from what the model's own classes declare."""

import dataclasses
import functools
import typing
from typing import Annotated, Any

import jax
from jaxtyping import PyTree

from ..foreign import is_transform
from ..trees import children, describe, is_inexact, path_string, raise_all
from .spec_items import is_spec_leaf


def spec_from_fields(model: PyTree) -> PyTree:
    """Read a spec from the fields of the model's own classes.

    A field declares its bijector as `eqx.field(metadata={"bijector": bijector})` or as
    `typing.Annotated[Array, bijector]`; `bt.frozen` serves too. Any node that JAX
    flattens by field names counts, at any depth: Equinox modules, registered
    dataclasses, named tuples. A declaration holds for everything beneath its field;
    where one lies within another, the outer one wins.

    Args:
        model: any pytree.

    Returns:
        A pytree of the model's structure with a bijector, `bt.frozen` or `None` at each
        leaf.

    Raises:
        ValueError: fields with a declaration that hold no inexact array; all are
            listed.

    Example:
        >>> import bijectree as bt, equinox as eqx, jax.numpy as jnp
        >>> from jaxtyping import Array
        >>> class Noise(eqx.Module):
        ...     scale: Array = eqx.field(metadata={"bijector": bt.tfb.Exp()})
        >>> spec = bt.spec_from_fields({"noise": Noise(jnp.ones(3))})
        >>> spec["noise"].scale.name
        'exp'
    """
    leaves, treedef = jax.tree_util.tree_flatten(model)
    values: list[Any] = [None] * len(leaves)
    faults: list[str] = []

    def visit(node: Any, positions: Any, path: tuple[Any, ...]) -> None:
        below = children(node)
        if below is None:
            return
        declared = _declarations(node)
        places = children(positions) or []
        for (key, child), (_, place) in zip(below, places, strict=True):
            declaration = declared.pop(getattr(key, "name", None), None)
            if declaration is None:
                visit(child, place, (*path, key))
                continue
            inexact = [
                i for i in jax.tree_util.tree_leaves(place) if is_inexact(leaves[i])
            ]
            for i in inexact:
                values[i] = declaration
            if not inexact:
                faults.append(
                    f"'{path_string((*path, key))}' declares {declaration!r} but holds "
                    f"no inexact array: {describe(child)}"
                )
        for name, declaration in declared.items():
            faults.append(
                f"'{name}' of {type(node).__name__} at '{path_string(path)}' declares "
                f"{declaration!r} but JAX does not see that field as a child"
            )

    visit(model, treedef.unflatten(range(len(leaves))), ())
    raise_all("spec_from_fields: some declarations have no effect", faults)
    return treedef.unflatten(values)


def _declarations(node: Any) -> dict[str | None, Any]:
    """The bijectors that the fields of one node declare, by field name."""
    cls = type(node)
    declared: dict[str | None, Any] = {}
    if dataclasses.is_dataclass(cls):
        for field in dataclasses.fields(cls):
            value = field.metadata.get("bijector")
            if value is not None:
                declared[field.name] = value
    elif not (isinstance(node, tuple) and hasattr(cls, "_fields")):
        return {}
    for name, hint in _annotations(cls).items():
        if typing.get_origin(hint) is Annotated:
            for value in hint.__metadata__:
                if value is not None and (is_spec_leaf(value) or is_transform(value)):
                    declared.setdefault(name, value)
    return declared


@functools.cache
def _annotations(cls: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except NameError:  # an annotation that cannot be evaluated here: take it as written
        found: dict[str, Any] = {}
        for base in reversed(cls.__mro__):
            found |= vars(base).get("__annotations__", {})
        return found
