"""`spec_from_fields`: a spec from what the model's own classes declare."""

from typing import Any

import jax
from jaxtyping import PyTree

from ..trees import children, describe, is_inexact, path_string, raise_all
from .declarations import Unclear, declarations


def spec_from_fields(model: PyTree) -> PyTree:
    """Read a spec from the fields of the model's own classes.

    A field declares its bijector as `eqx.field(metadata={"bijector": bijector})` or as
    `typing.Annotated[Array, bijector]`, also within a union with `None`, or as what a
    list, tuple or mapping holds; `bt.frozen` serves too. Any node that JAX
    flattens by field names counts, at any depth: Equinox modules, registered
    dataclasses, named tuples. A declaration holds for everything beneath its field;
    where one lies within another, the outer one wins. A field whose annotation allows
    `None` may hold it.

    Args:
        model: any pytree.

    Returns:
        A pytree of the model's structure with a bijector, `bt.frozen` or `None` at each
        leaf.

    Raises:
        ValueError: fields with a declaration that hold no inexact array, or of which it
            is not clear what it holds for; all are listed.

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
        declared = declarations(node)
        places = children(positions) or []
        for (key, child), (_, place) in zip(below, places, strict=True):
            declaration = declared.pop(getattr(key, "name", None), None)
            if declaration is None:
                visit(child, place, (*path, key))
                continue
            if isinstance(declaration, Unclear):
                faults.append(
                    f"the annotation of '{path_string((*path, key))}' {declaration.why}; "
                    'declare the bijector as eqx.field(metadata={"bijector": ...})'
                )
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
            if isinstance(declaration, Unclear):
                continue  # of a field that holds no arrays
            faults.append(
                f"'{name}' of {type(node).__name__} at '{path_string(path)}' declares "
                f"{declaration!r} but JAX does not see that field as a child"
            )

    visit(model, treedef.unflatten(range(len(leaves))), ())
    raise_all("spec_from_fields: some declarations have no effect", faults)
    return treedef.unflatten(values)
