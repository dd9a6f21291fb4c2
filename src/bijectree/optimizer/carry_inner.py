"""The state of an optax optimizer, taken over to other free coordinates."""

import dataclasses
import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import optax

from ..trees import children, describe, is_array, is_inexact, path_string

# Arrays that belong to all coordinates together, by the state that holds them.
_SHARED = {
    ("ScaleByLBFGSState", "weights_memory"),
    ("MuonState", "ns_coeffs"),
    *(("MechanicState", name) for name in ("r", "m", "v", "s")),
}

# Arrays that a line search finds again at each step, in the structure of the parameters.
_FORGOTTEN = {
    ("ScaleByZoomLinesearchState", "grad"),
    ("ScaleByBacktrackingLinesearchState", "grad"),
}


def carry_inner(
    old: optax.OptState,
    fresh: optax.OptState,
    structure: Any,
    free: Sequence[Any],
    kept: Sequence[bool],
) -> optax.OptState:
    """Put what is kept of an old state into a fresh one.

    A part of the state mirrors the parameters if it has an array, or what stands for
    none, at each leaf of the model. In such a part each leaf is the old or the fresh
    one; elsewhere the two states must be alike, and the old numbers go on.

    Args:
        old: the state of an optimizer.
        fresh: what it starts with at the new free coordinates.
        structure: of the model.
        free: for each leaf of the model, its new free coordinates, if it has any.
        kept: for each leaf of the model, whether its old part is taken.

    Raises:
        ValueError: the states are not of one optimizer, or hold arrays that neither
            mirror the parameters nor are known to belong to all of them.
    """
    return _Carrying(structure, free, kept).node(old, fresh, (), "")


def carry_alone(
    inner: optax.GradientTransformation,
    old: optax.OptState,
    fresh: optax.OptState,
    free: Any,
    *,
    kept: bool,
) -> optax.OptState:
    """As `carry_inner`, for a model that is one array.

    Any array may mirror such a model, a count of steps as well. Those do so that lie one
    step deeper where the model is a tuple of that array.
    """
    before, begun = (jtu.tree_flatten(x, is_leaf=_is_none) for x in (old, fresh))
    of_one = _paths(jax.eval_shape(inner.init, free))
    of_tuple = _paths(jax.eval_shape(inner.init, (free,)))
    deeper = [
        path == (*whole, jtu.SequenceKey(0))
        for whole, path in zip(of_one, of_tuple, strict=False)
    ]
    same = [whole == path for whole, path in zip(of_one, of_tuple, strict=False)]
    counts = {len(x) for x in (before[0], begun[0], of_one, of_tuple)}
    if len(counts) > 1 or not all(map(operator.xor, deeper, same)):
        return carry_inner(old, fresh, jtu.tree_structure(0), [free], [kept])

    def within(leaves: list[Any], treedef: Any) -> Any:
        pairs = zip(leaves, deeper, strict=True)
        return treedef.unflatten([(x,) if deep else x for x, deep in pairs])

    structure = jtu.tree_structure((0,))
    states = within(*before), within(*begun)
    made = carry_inner(*states, structure, [free], [kept])
    # Each tuple is as deep as it was put.
    leaves = begun[1].flatten_up_to(made)
    pairs = zip(leaves, deeper, strict=True)
    return begun[1].unflatten([x[0] if deep else x for x, deep in pairs])


def _paths(state: Any) -> list[tuple[Any, ...]]:
    return [path for path, _ in jtu.tree_leaves_with_path(state, is_leaf=_is_none)]


@dataclasses.dataclass(frozen=True)
class _Carrying:
    structure: Any
    free: Sequence[Any]
    kept: Sequence[bool]

    def node(self, old: Any, fresh: Any, path: tuple[Any, ...], owner: str) -> Any:
        """Put what is kept of an old node of the state into a fresh one.

        Args:
            old: the old node.
            fresh: the fresh node.
            path: of the node in the state.
            owner: the name of the innermost named tuple around the node.
        """
        if (owner, path_string(path[-1:])) in _FORGOTTEN:
            return fresh
        if isinstance(fresh, optax.ScaleByLBFGSState):
            fresh = self._as_if_at_rest(fresh)
        mirrored, begun = self._mirrored(old), self._mirrored(fresh)
        if mirrored is not None and begun is not None:
            return self.structure.unflatten(self._leaves(mirrored, begun, path, owner))
        below, fresh_below = children(old), children(fresh)
        if below is None and fresh_below is None:
            return self._shared(old, fresh, path, owner)
        keys = [[key for key, _ in pairs or ()] for pairs in (below, fresh_below)]
        if type(old) is not type(fresh) or keys[0] != keys[1]:
            raise _unlike(path, old, fresh)
        assert below is not None
        assert fresh_below is not None
        if hasattr(old, "_fields"):
            owner = type(old).__name__
        values = [
            self.node(a, b, (*path, key), owner)
            for (key, a), (_, b) in zip(below, fresh_below, strict=True)
        ]
        _, treedef = jtu.tree_flatten(fresh, is_leaf=lambda x: x is not fresh)
        made = treedef.unflatten(values)
        if isinstance(made, optax.ScaleByLBFGSState):
            made = self._without_lost(old, made)
        return made

    def _leaves(
        self, old: list[Any], fresh: list[Any], path: tuple[Any, ...], owner: str
    ) -> list[Any]:
        """The leaves of a part that mirrors the parameters."""
        found = []
        for keep, a, b in zip(self.kept, old, fresh, strict=True):
            # In another group of a partition, the leaf has no history there.
            keep = keep and _is_none(a) == _is_none(b)
            if keep and _avals(a) != _avals(b):
                raise _unlike(path, a, b, owner)
            found.append(a if keep else b)
        return found

    def _shared(self, old: Any, fresh: Any, path: tuple[Any, ...], owner: str) -> Any:
        """The old value of what belongs to all coordinates."""
        name = path_string(path[-1:])
        if _avals(old) != _avals(fresh):
            raise _unlike(path, old, fresh, owner)
        vector = is_inexact(old) and np.ndim(old) and (owner, name) not in _SHARED
        if vector:
            raise ValueError(
                f"carry: {owner or 'the state'} holds {describe(old)} at "
                f"'{path_string(path)}', which does not mirror the parameters, so that "
                "what belongs to which leaf is not known; start with a new state"
            )
        return old

    def _as_if_at_rest(self, fresh: Any) -> Any:
        """A fresh state of L-BFGS whose last parameters are the present ones.

        L-BFGS differences parameters with those of the step before, which it starts at
        0: a leaf that is newly free would seem to have come from there.
        """
        entries = self._mirrored(fresh.params)
        assert entries is not None
        pairs = zip(entries, self.free, strict=True)
        leaves = [entry if _is_none(entry) else x for entry, x in pairs]
        return fresh._replace(params=self.structure.unflatten(leaves))

    def _without_lost(self, old: Any, made: Any) -> Any:
        """A state of L-BFGS with weights for the leaves that are left.

        L-BFGS weighs each pair of differences by 1/(s·y), where s·y is a sum over leaves.
        """
        memories = old.diff_params_memory, old.diff_updates_memory
        lost = [
            entry
            for memory in memories
            for keep, entry in zip(self.kept, self._mirrored(memory) or (), strict=True)
            if not keep and not _is_none(entry)
        ]
        if not any(jnp.any(entry != 0) for entry in lost):
            return made
        memories = made.diff_params_memory, made.diff_updates_memory
        pairs = zip(*map(jtu.tree_leaves, memories), strict=True)
        size = len(made.weights_memory)
        products = sum((s * y).reshape(size, -1).sum(axis=1) for s, y in pairs)
        weights = jnp.where(products > 0, 1 / products, 0)
        return made._replace(weights_memory=weights.astype(made.weights_memory.dtype))

    def _mirrored(self, node: Any) -> list[Any] | None:
        """What a node has at each leaf of the model; `None` if it does not mirror it."""
        try:
            entries = self.structure.flatten_up_to(node)
        except (ValueError, TypeError, KeyError):
            return None
        return entries if all(map(_is_entry, entries)) else None


def _is_none(x: Any) -> bool:
    return x is None or isinstance(x, optax.MaskedNode)


def _is_entry(x: Any) -> bool:
    """Whether an optimizer may hold this for one leaf, and not for all of them."""
    if isinstance(x, (list, tuple)) and not hasattr(x, "_fields"):
        return all(map(_is_entry, x))
    return is_array(x) or _is_none(x)


def _avals(node: Any) -> Any:
    leaves, structure = jtu.tree_flatten(node)
    return structure, [(np.shape(x), jnp.result_type(x)) for x in leaves]


def _unlike(path: tuple[Any, ...], old: Any, fresh: Any, owner: str = "") -> ValueError:
    where = f"'{path_string(path)}'" if path else "the root"
    return ValueError(
        f"carry: at {where} of the inner state{f', in {owner},' if owner else ''} got "
        f"{_words(old)}, where the optimizer starts with {_words(fresh)}; a state goes "
        "on with the optimizer that it is of"
    )


def _words(node: Any) -> str:
    if isinstance(node, (list, tuple)) and not hasattr(node, "_fields"):
        return f"({', '.join(map(_words, node))})"
    return describe(node) if is_array(node) else type(node).__name__
