"""`carry`: an optimizer's state under another spec of the same model."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import optax
from jaxtyping import Array, PyTree

from .. import numerics
from ..reparam import Bound, Reparam, free_leaves
from ..trees import raise_all, same_bits
from .carry_inner import carry_alone, carry_inner
from .line_searches import forget_searches
from .partial_model import Arrays, absent, arrays_of
from .reparameterize import ReparameterizedState, recent_optimizers
from .steps import Steps


@dataclasses.dataclass(frozen=True)
class CarryReport:
    """What `carry` did with each leaf; `str` of it is one line a leaf.

    Attributes:
        kept: paths whose map did not change: free values and moments are the old ones.
        started: paths that start fresh, and why.
        dropped: paths that have no free coordinates any more, and why.
    """

    kept: tuple[str, ...]
    started: dict[str, str]
    dropped: dict[str, str]

    def __str__(self) -> str:
        lines = [f"kept     {path}" for path in self.kept]
        lines += [f"started  {path}: {why}" for path, why in self.started.items()]
        lines += [f"dropped  {path}: {why}" for path, why in self.dropped.items()]
        return "\n".join(lines)


def carry(
    state: ReparameterizedState,
    old: Reparam,
    new: Reparam,
    params: PyTree,
    *,
    optimizer: optax.GradientTransformation | None = None,
    report: Callable[[CarryReport], Any] | None = None,
) -> ReparameterizedState:
    """Take an optimizer's state over to another spec of the same model.

    Unfreeze a part, freeze another, or give a leaf another bijector, and go on. Leaves
    whose map is the same keep their free values and all that the optimizer remembers of
    them, to the bit; leaves that are newly free, or have another map, start fresh, as
    `optimizer.init` would start them; those that are no longer free are dropped. What
    the leaves share, such as a count of steps, goes on. Call it between steps, outside
    `jit`.

    Args:
        state: of `reparameterize(optimizer, old)`.
        old: the Reparam that the state is of.
        new: another Reparam of the same model, bound to the present parameters.
        params: the present parameters.
        optimizer: the inner optimizer, which says how a leaf starts. It need not be
            given where `reparameterize` made one of `old` or `new` lately: the last 32
            are remembered.
        report: is called with what was done with each leaf, such as `print`.

    Returns:
        A state for `reparameterize(optimizer, new)`.

    Raises:
        ValueError: the Reparams are not of one model, or the state not of `old`; the
            state holds arrays that do not mirror the parameters (the message names the
            class that holds them); `then` mixes coordinates of which some changed; or
            no optimizer is known.
        SupportError: a leaf that starts is outside its support.
        TypeError: the state is not of `reparameterize`.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp, optax
        >>> params = {"rate": jnp.array(2.0), "shape": jnp.array(1.0)}
        >>> old = bt.Reparam(params, {"rate": bt.positive(), "shape": bt.frozen})
        >>> optimizer = bt.reparameterize(optax.adam(0.1), old)
        >>> state = optimizer.init(params)
        >>> grads = {"rate": jnp.array(1.0), "shape": jnp.array(1.0)}
        >>> updates, state = optimizer.update(grads, state, params)
        >>> params = optax.apply_updates(params, updates)
        >>> new = bt.Reparam(params, bt.positive())
        >>> state = bt.carry(state, old, new, params, report=print)
        kept     rate
        started  shape: was frozen
        >>> optimizer = bt.reparameterize(optax.adam(0.1), new)
        >>> updates, state = optimizer.update(grads, state, params)
    """
    if not isinstance(state, ReparameterizedState):
        raise TypeError(
            f"carry takes the state of bt.reparameterize, got {type(state).__name__}; "
            "where that lies in the state of another optimizer, carry it there"
        )
    _same_model(old, new)
    arrays = arrays_of(new, params, "params")
    missing = absent(arrays)
    before, after = Steps(old, missing), Steps(new, missing)
    old_bound, new_bound = before.reparam.bound, after.reparam.bound
    started, dropped = _started(old_bound, new_bound), _dropped(old_bound, new_bound)
    _refuse_then(old_bound, new_bound, changed=bool(started or dropped))
    free = _free(state, after, arrays, (old_bound, new_bound), started)
    inner = state.inner
    if started or dropped:
        inner = _inner(state, old, new, params, free, started, optimizer)
    fingerprints = _fingerprints(state, before, after, arrays, started)
    if report is not None:
        report(_report(old_bound, new_bound, started, dropped))
    carried = ReparameterizedState(inner, free, fingerprints)
    return numerics.beside(carried, (arrays, free))


def _same_model(old: Reparam, new: Reparam) -> None:
    a, b = old.bound.plan, new.bound.plan
    faults = []
    if a.structure != b.structure:
        faults = ["they have another structure"]
    else:
        faults = [
            f"at '{x.path}': {x.dtype} of shape {x.shape}, now {y.dtype} of {y.shape}"
            for x, y in zip(a.rows, b.rows, strict=True)
            if (x.shape, x.dtype) != (y.shape, y.dtype)
        ]
    raise_all("carry: the two Reparams are not of one model", faults)


# The functions below say what becomes of the rows that have free coordinates.


def _started(old: Bound, new: Bound) -> dict[int, str]:
    """Why rows of the new plan start fresh."""
    had = {i for i, _ in old.plan.free}
    found = {}
    for i, row in new.plan.free:
        before = old.describe(old.plan.rows[i])
        if i not in had:
            found[i] = f"was {before}"
        elif not _same_map(old, new, i):
            now = new.describe(row)
            found[i] = f"{before} is now {'of other numbers' if now == before else now}"
    return found


def _dropped(old: Bound, new: Bound) -> dict[int, str]:
    """Why rows of the old plan are gone."""
    have = {i for i, _ in new.plan.free}
    return {
        i: f"is {new.describe(new.plan.rows[i])}"
        for i, _ in old.plan.free
        if i not in have
    }


def _same_map(old: Bound, new: Bound, i: int) -> bool:
    a, b = old.plan.rows[i], new.plan.rows[i]
    same = all(
        getattr(a, name) == getattr(b, name)
        for name in ("kind", "members", "on", "function", "picked")
    )
    return same and (a.slot < 0 or same_bits(old.numbers[a.slot], new.numbers[b.slot]))


def _refuse_then(old: Bound, new: Bound, *, changed: bool) -> None:
    """Raise if outer bijectors changed, or mix coordinates of which some changed."""
    maps = old.plan.outer, new.plan.outer
    kinds = [[kind for kind, _ in outer] for outer in maps]
    same = kinds[0] == kinds[1] and all(
        same_bits(old.numbers[a], new.numbers[b])
        for (_, a), (_, b) in zip(*maps, strict=True)
    )
    if not same or (changed and maps[0]):
        name = [*old.outer_names(), *new.outer_names()][0]
        raise ValueError(
            f"carry: {name}, put on by `then`, mixes all coordinates, and some of them "
            "changed, so that no moment is the same; start with a new state"
        )


# The functions below make the parts of the new state.


def _free(
    state: ReparameterizedState,
    after: Steps,
    arrays: Arrays,
    rows: tuple[Bound, Bound],
    started: dict[int, str],
) -> PyTree:
    """The old free coordinates, with fresh ones for the leaves that start."""
    old, new = rows
    had = free_leaves(old.plan, state.free)
    found = dict(zip((i for i, _ in old.plan.free), had, strict=True))
    if started:
        begun = free_leaves(new.plan, after.start(arrays))
        pairs = zip(new.plan.free, begun, strict=True)
        found |= {i: x for (i, _), x in pairs if i in started}
    return new.free_tree([found[i] for i, _ in new.plan.free])


def _inner(
    state: ReparameterizedState,
    old: Reparam,
    new: Reparam,
    params: PyTree,
    free: PyTree,
    started: dict[int, str],
    optimizer: optax.GradientTransformation | None,
) -> optax.OptState:
    """The new inner state, on which all optimizers that it may be of must agree."""
    known = (
        [optimizer]
        if optimizer is not None
        else _matching_optimizers(state, (old, new), params)
    )
    if not known:
        raise ValueError(
            "carry: reparameterize has not made an optimizer of these Reparams, whose "
            "state has this structure, lately; give the inner one: carry(..., "
            "optimizer=optax.adam(...))"
        )
    structure = new.bound.plan.structure.treedef
    leaves = structure.flatten_up_to(free)
    kept = [x is not None and i not in started for i, x in enumerate(leaves)]
    found = []
    for inner in known:
        fresh = forget_searches(inner.init(free), params)
        if structure == jax.tree.structure(0):
            found.append(carry_alone(inner, state.inner, fresh, leaves[0], kept=kept[0]))
        else:
            found.append(carry_inner(state.inner, fresh, structure, leaves, kept))
    first, *others = found
    if not all(same_bits(*map(jax.tree.leaves, (first, x))) for x in others):
        raise ValueError(
            f"carry: {len(known)} optimizers with states of this structure were made of "
            "these Reparams, which start leaves from other values; say which it is: "
            "carry(..., optimizer=...)"
        )
    return first


def _matching_optimizers(
    state: ReparameterizedState, reparams: tuple[Reparam, ...], params: PyTree
) -> list[optax.GradientTransformation]:
    """The inner optimizers made of these Reparams whose state has this structure."""
    plans = [reparam.bound.plan for reparam in reparams]
    due = jax.tree.structure(state.inner)

    def start(inner: optax.GradientTransformation, free: PyTree) -> Any:
        return forget_searches(inner.init(free), params)

    found: list[optax.GradientTransformation] = []
    for inner, plan in recent_optimizers:
        if plan in plans and inner not in found:
            shapes = jax.eval_shape(functools.partial(start, inner), state.free)
            if jax.tree.structure(shapes) == due:
                found.append(inner)
    return found


def _fingerprints(
    state: ReparameterizedState,
    before: Steps,
    after: Steps,
    arrays: Arrays,
    started: dict[int, str],
) -> Array:
    """The fingerprints of parameters, in which an earlier change from outside shows."""
    found = after.fingerprints(arrays)
    index = {i: n for n, (i, _) in enumerate(before.watched)}
    for n, (i, _) in enumerate(after.watched):
        if i in index and i not in started:
            found = found.at[n].set(state.fingerprints[index[i]])
    return found


def _report(
    old: Bound, new: Bound, started: dict[int, str], dropped: dict[int, str]
) -> CarryReport:
    def name(rows: Bound, i: int) -> str:
        return rows.name(rows.plan.rows[i]).replace("'", "")

    return CarryReport(
        tuple(name(new, i) for i, _ in new.plan.free if i not in started),
        {name(new, i): why for i, why in started.items()},
        {name(old, i): why for i, why in dropped.items()},
    )
