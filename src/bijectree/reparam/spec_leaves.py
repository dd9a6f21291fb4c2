"""The leaves of a spec beside a model, things that do not belong there included."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jaxtyping import PyTree

from ..foreign import as_bijector, is_constraint, is_transform, is_transform_class
from ..trees import broadcast, node_types
from .spec_items import is_spec_leaf


def is_distribution(x: Any) -> bool:
    """Whether `x` is a distribution of a package, not a model with `log_prob`."""
    return any(
        cls.__name__ == "Distribution"
        and cls.__module__.partition(".")[0] in _OF_DISTRIBUTIONS
        for cls in type(x).__mro__
    )


_OF_DISTRIBUTIONS = ("tensorflow_probability", "numpyro", "distrax", "distreqx")


def leaf_of_spec(nodes: set[type]) -> Callable[[Any], bool]:
    """A function that says what counts as a leaf of a spec beside a model.

    A distribution, a transform and a constraint may be trees to JAX, and are leaves of a
    spec (the first and the last by mistake, for a message). But a transform or constraint
    of a class that the model has nodes of is a node of the spec too.

    Args:
        nodes: the types of the model's nodes.
    """

    def is_leaf(x: Any) -> bool:
        if is_spec_leaf(x) or is_distribution(x):
            return True
        return (is_transform(x) or is_constraint(x)) and type(x) not in nodes

    return is_leaf


def match_to_model(
    spec: PyTree, model: PyTree
) -> tuple[list[tuple[Any, list[int]]], list[str]]:
    """The leaves of a spec, each with the leaves of the model beneath it; and faults."""
    nodes = node_types(jax.tree.structure(model))
    groups, faults = broadcast(spec, model, leaf_of_spec(nodes))
    of_both = nodes & node_types(jax.tree.structure(spec)) if faults else set()
    kept = sorted(cls.__name__ for cls in of_both if is_transform_class(cls))
    if kept:
        faults.append(
            f"the model is made of {', '.join(kept)} too, so that the spec is a tree "
            "there; where one is to map a leaf, give bt.bijector_for of it"
        )
    return groups, faults


def with_bijectors(
    groups: Sequence[tuple[Any, list[int]]], paths: Sequence[str]
) -> tuple[list[tuple[Any, list[int]]], list[str]]:
    """The leaves of a spec, with bijectors in place of other packages' transforms.

    One transform at several leaves becomes one bijector.
    """
    made: dict[int, Any] = {}
    faults = []
    for item, positions in groups:
        if is_transform(item) and id(item) not in made:
            try:
                made[id(item)] = as_bijector(item)
            except ValueError as error:
                where = ", ".join(f"'{paths[i]}'" for i in positions[:3])
                faults.append(f"at {where}: {error}")
                made[id(item)] = None
    return [(made.get(id(item), item), positions) for item, positions in groups], faults
