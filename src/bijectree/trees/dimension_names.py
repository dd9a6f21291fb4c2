"""Names of the axes of leaves, as the annotations of a model's classes give them."""

import dataclasses
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from jaxtyping import AbstractArray, PyTree

from .paths import children, path_string


def dimension_names(model: PyTree) -> dict[str, tuple[str | None, ...]]:
    """The names of axes that jaxtyping's annotations of dataclass fields give.

    Args:
        model: any pytree; its leaves are not looked at.

    Returns:
        By path of the leaf, a name for each axis, `None` where the annotation has a
        number or an expression. Leaves whose annotation does not fix the number of axes
        are left out.

    Example:
        >>> import equinox as eqx, jax.numpy as jnp
        >>> from jaxtyping import Array, Float
        >>> class Schools(eqx.Module):
        ...     theta: Float[Array, "school"]
        >>> dimension_names({"a": Schools(jnp.zeros(8))})
        {'a.theta': ('school',)}
    """
    return dict(_walk(model, (), None))


def _walk(
    node: Any, path: Sequence[Any], annotation: Any
) -> Iterator[tuple[str, tuple[str | None, ...]]]:
    below = children(node)
    if below is None:
        names = _names(annotation)
        if names:
            yield path_string(path), names
        return
    fields = _annotations(type(node))
    for key, child in below:
        yield from _walk(child, (*path, key), fields.get(getattr(key, "name", None)))


def _annotations(cls: type) -> dict[Any, Any]:
    """The annotations of a dataclass's fields; none if one of them cannot be read."""
    if not dataclasses.is_dataclass(cls):
        return {}
    try:
        return typing.get_type_hints(cls)
    except (NameError, AttributeError, TypeError, SyntaxError):
        return {}


def _names(annotation: Any) -> tuple[str | None, ...]:
    """The names in an annotation such as `Float[Array, "school 2"] | None`."""
    arrays = [
        part
        for part in (annotation, *typing.get_args(annotation))
        if isinstance(part, type) and issubclass(part, AbstractArray)
    ]
    if len(arrays) != 1:
        return ()
    words = arrays[0].dim_str.split()
    if any(word == "..." or "*" in word for word in words):
        return ()
    named = [word.split("=")[0] for word in words]
    return tuple(word if word.isidentifier() and word != "_" else None for word in named)
