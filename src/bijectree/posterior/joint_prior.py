"""A joint distribution of TFP as a prior by path: each part stands at a leaf."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax.tree_util as jtu
from jaxtyping import PyTree

from ..reparam import Dependent
from ..substrate import tfd
from ..trees import Paths, leaf_at, raise_all


class _Named(eqx.Module):
    """A part of a `JointDistributionNamed`: a function of leaves, named as arguments."""

    function: Callable[..., Any] = eqx.field(static=True)
    paths: tuple[str, ...] = eqx.field(static=True)

    def __call__(self, model: PyTree) -> Any:
        values = {path: leaf_at(model, path) for path in self.paths}
        return _without_root(self.function(**values))


class _Yielded(eqx.Module):
    """A part of a `JointDistributionCoroutine`, which is run up to that part."""

    coroutine: Callable[..., Any] = eqx.field(static=True)
    paths: tuple[str, ...] = eqx.field(static=True)

    def __call__(self, model: PyTree) -> Any:
        parts = self.coroutine()
        made = next(parts)
        for path in self.paths:
            made = parts.send(leaf_at(model, path))
        return _without_root(made)


def by_leaf(prior: Any, model: PyTree) -> Any:
    """The parts of a joint distribution at the leaves of a model; other priors as given.

    Args:
        prior: a prior. The parts of a joint distribution have the paths of leaves as
            names.
        model: the model, or its shapes.

    Raises:
        ValueError: names that are no leaves' paths; all are listed.
        TypeError: a joint distribution whose parts have no names.
    """
    if not isinstance(prior, tfd.JointDistribution):
        return prior
    paths = Paths(model)
    names = _names(prior)
    found, faults = {}, []
    for name in names:
        picked, fault = paths.pick(name)
        if len(picked) > 1:
            fault = "names several leaves; name one"
        faults += [f"'{name}' {fault}"] if fault else []
        found[name] = min(picked, default=-1)
    raise_all("the parts of a joint distribution have the paths of leaves", faults)
    values: list[Any] = [None] * len(paths.leaves)
    for n, (name, i) in enumerate(found.items()):
        if isinstance(prior.model, Mapping):
            values[i] = _named_part(prior.model[name])
        else:
            values[i] = Dependent(_Yielded(prior.model, tuple(names[:n])), ())
    return jtu.tree_structure(model).unflatten(values)


def _names(prior: Any) -> list[str]:
    """The names of the parts, in their order."""
    if isinstance(prior.model, Mapping):
        return list(prior.model)
    fields = getattr(prior.dtype, "_fields", None)
    if fields is None or not callable(prior.model):
        raise TypeError(
            f"the parts of {type(prior).__name__} have no names, by which to find their "
            "leaves; use tfd.JointDistributionNamed or tfd.JointDistributionCoroutine"
        )
    return list(fields)


def _named_part(part: Any) -> Any:
    """A distribution, or a function to one of other parts, as an item of a prior."""
    if isinstance(part, tfd.Distribution) or not callable(part):
        return _without_root(part)
    arguments = inspect.signature(part).parameters
    return Dependent(_Named(part, tuple(arguments)), ())


def _without_root(part: Any) -> Any:
    """The distribution that a `Root` of a coroutine holds."""
    root = isinstance(part, tfd.JointDistributionCoroutine.Root)
    return part.distribution if root else part
