"""`from_dynamax`: a spec from the properties of dynamax's parameters."""

from typing import Any

import jax.tree_util as jtu
from jaxtyping import PyTree

from ..constraints import simplex
from ..foreign import as_bijector
from ..substrate import is_bijector, tfb
from ..trees import broadcast, describe, path_string, raise_all
from .spec_items import frozen


def from_dynamax(params: PyTree, props: PyTree) -> PyTree:
    """Take dynamax's properties of parameters over as a spec of these.

    What is not trainable becomes `bt.frozen`, a constrainer stands as it is, and without
    one a parameter is free as it is. In place of TFP's `SoftmaxCentered`, whose log-det
    is that of the space around the simplex, stands `bt.simplex()`, of the same set.

    Args:
        params: the parameters, a pytree of arrays such as dynamax's named tuples.
        props: a tree of the structure of `params`, or of its upper part, with a
            `ParameterProperties` at each leaf: anything that has `trainable` and
            `constrainer`.

    Returns:
        A pytree of the structure of `params` with a bijector, `bt.frozen` or `None` at
        each leaf, for `Reparam`.

    Raises:
        ValueError: another structure, or leaves that are no properties, by path.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> from typing import NamedTuple
        >>> class Properties(NamedTuple):  # or dynamax.parameters.ParameterProperties
        ...     trainable: bool = True
        ...     constrainer: bt.tfb.Bijector | None = None
        >>> params = {"rate": jnp.ones(2), "start": jnp.array([0.2, 0.8])}
        >>> props = {"rate": Properties(constrainer=bt.tfb.Softplus()),
        ...          "start": Properties(trainable=False)}
        >>> spec = bt.from_dynamax(params, props)
        >>> spec["rate"].name, spec["start"]
        ('softplus', frozen)
    """
    pairs, treedef = jtu.tree_flatten_with_path(params)
    groups, faults = broadcast(props, params, lambda x: _is_property(x) or is_bijector(x))
    raise_all("from_dynamax: props have not the structure of params", faults)
    items: list[Any] = [None] * len(pairs)
    for prop, positions in groups:
        where = ", ".join(f"'{path_string(pairs[i][0])}'" for i in positions[:3])
        if not positions:
            continue
        if not _is_property(prop):
            faults.append(
                f"at {where}: got {describe(prop)}, expected ParameterProperties: "
                "something with `trainable` and `constrainer`"
            )
            continue
        try:
            item = _item(prop)
        except ValueError as error:
            faults.append(f"at {where}: {error}")
            continue
        for i in positions:
            items[i] = item
    raise_all("from_dynamax: some leaves of props are no properties", faults)
    return treedef.unflatten(items)


def _is_property(x: Any) -> bool:
    return hasattr(x, "trainable") and hasattr(x, "constrainer")


def _item(prop: Any) -> Any:
    if not prop.trainable:
        return frozen
    constrainer = as_bijector(prop.constrainer)
    if type(constrainer) is tfb.SoftmaxCentered:
        return simplex()
    if constrainer is not None and not is_bijector(constrainer):
        raise ValueError(f"the constrainer is {describe(constrainer)}, and no bijector")
    return constrainer
