"""Distributions spelled out: nodes in one order in every process, with all given digits.

JAX flattens a distribution of NumPyro in the order of a set of strings, which depends on
PYTHONHASHSEED: what one process saves or pickles, another reads with its numbers swapped.
TFP rounds Python floats to float32 before JAX sees them, and its bijectors keep numbers
where no cast reaches them. A *node* stands for a distribution: it holds the parts by
name, and makes the distribution of them again.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.core import Tracer
from jaxtyping import PyTree

from ..substrate import castable, is_bijector, tfd


class _NumpyroNode:
    """A distribution of NumPyro, its fields in the order of their names."""

    def __init__(self, cls: type, names: tuple[str, ...], parts: Any, static: Any):
        self.cls, self.names, self.parts, self.static = cls, names, parts, static

    def put_together(self) -> Any:
        cls: Any = self.cls
        parts = dict(zip(self.names, map(put_together, self.parts), strict=True))
        static = dict(self.static)
        return cls.tree_unflatten(
            tuple(static[name] for name in cls.gather_pytree_aux_fields()),
            tuple(parts[name] for name in cls.gather_pytree_data_fields()),
        )


class _TfpNode:
    """A distribution of TFP, with the numbers that its constructor was given."""

    def __init__(self, treedef: Any, parts: Any):
        self.treedef, self.parts = treedef, parts

    def put_together(self) -> Any:
        return self.treedef.unflatten([put_together(part) for part in self.parts])


class _OpaqueNode:
    """A distribution that is registered with JAX, and raises when JAX flattens it."""

    def __init__(self, distribution: Any):
        self.distribution = distribution

    def put_together(self) -> Any:
        return self.distribution

    # By this method `split` knows that the leaf may change its state.
    def log_prob(self, value: Any) -> Any:
        return self.distribution.log_prob(value)


jtu.register_pytree_node(
    _NumpyroNode,
    lambda node: (node.parts, (node.cls, node.names, node.static)),
    lambda aux, parts: _NumpyroNode(*aux[:2], tuple(parts), aux[2]),
)
jtu.register_pytree_node(
    _TfpNode,
    lambda node: (node.parts, node.treedef),
    lambda treedef, parts: _TfpNode(treedef, tuple(parts)),
)
_NODES = (_NumpyroNode, _TfpNode, _OpaqueNode)


def spell_out(tree: PyTree, *, digits: bool = True) -> PyTree:
    """Put a node in place of each distribution of NumPyro or TFP in a tree.

    `put_together` undoes it. The leaves of the tree are in an order that depends on
    names alone.

    Args:
        tree: a tree that holds distributions.
        digits: whether numbers have all their digits: a Python float is a float64 leaf,
            and the numbers of a distribution must be cast to one dtype before it is put
            together.
    """
    spelled_out = functools.partial(_spelled_out, digits=digits)
    return jax.tree.map(spelled_out, tree, is_leaf=_can_be_spelled_out)


def put_together(tree: PyTree) -> PyTree:
    """Put the distributions of `spell_out` in place of their nodes again."""

    def one(x: Any) -> Any:
        return x.put_together() if isinstance(x, _NODES) else x

    return jax.tree.map(one, tree, is_leaf=lambda x: isinstance(x, _NODES))


def _is_of_numpyro(x: Any) -> bool:
    return hasattr(type(x), "gather_pytree_data_fields")


def _can_be_spelled_out(x: Any) -> bool:
    return _is_of_numpyro(x) or isinstance(x, tfd.Distribution) or is_bijector(x)


def _spelled_out(x: Any, *, digits: bool) -> Any:
    if _is_of_numpyro(x):
        return _numpyro_node(x, digits=digits)
    if digits and is_bijector(x):
        return castable(x)
    return _tfp_node(x) if digits and isinstance(x, tfd.Distribution) else x


def _numpyro_node(x: Any, *, digits: bool) -> Any:
    names, static_names = (
        type(x).gather_pytree_data_fields(),
        type(x).gather_pytree_aux_fields(),
    )
    parts, static = x.tree_flatten()
    if len(names) != len(parts) or len(static_names) != len(static):
        return x  # a class with a flattening of its own
    if digits:  # NumPyro keeps Python floats, which are numbers like others
        parts = _as_numbers(parts)
    by_name = sorted(zip(names, parts, strict=True), key=lambda pair: pair[0])
    return _NumpyroNode(
        type(x),
        tuple(name for name, _ in by_name),
        tuple(spell_out(part, digits=digits) for _, part in by_name),
        tuple(sorted(zip(static_names, static, strict=True), key=lambda pair: pair[0])),
    )


def _as_numbers(tree: PyTree) -> PyTree:
    return jax.tree.map(
        lambda x: np.float64(x) if type(x) is float else x,
        tree,
        is_leaf=_can_be_spelled_out,
    )


def _tfp_node(x: Any) -> Any:
    try:
        parts, treedef = jtu.tree_flatten(x, is_leaf=lambda part: part is not x)
    except NotImplementedError:
        return _OpaqueNode(x)
    data = treedef.node_data()
    if data is None:
        return x  # no pytree at all
    try:
        names, _ = data[1]
        given = [x.parameters.get(name) for name in names]
    except (TypeError, ValueError):
        given = [None] * len(parts)
    if len(given) != len(parts):
        given = [None] * len(parts)
    pairs = zip(given, parts, strict=True)
    return _TfpNode(treedef, tuple(spell_out(_in_full(*pair)) for pair in pairs))


def _in_full(given: Any, part: Any) -> Any:
    """A number as it was given, in float64, where TFP made float32 of Python floats."""
    if not _is_of_floats(given) or not isinstance(
        part, (np.ndarray, np.generic, jax.Array)
    ):
        return part
    number = np.asarray(given, np.float64)
    if number.shape != part.shape or not jnp.issubdtype(part.dtype, jnp.floating):
        return part
    if not isinstance(part, Tracer):
        same = np.array_equal(np.asarray(part), number.astype(part.dtype), equal_nan=True)
        return number[()] if same else part
    return number[()]


def _is_of_floats(given: Any) -> bool:
    """Whether something is a Python float, or lists of them (integers are exact)."""
    if isinstance(given, (list, tuple)):
        return bool(given) and all(map(_is_of_floats, given))
    return type(given) in (float, int)
