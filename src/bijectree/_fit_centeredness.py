"""`fit_centeredness`: how far to non-centre each element of each `location_scale`."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from . import _affine_map, _fit_bound, _fit_chains
from ._fit_bound import Bound
from ._fit_chains import Target
from ._fit_report import FitReport
from ._plan import Plan, Row
from ._posterior import Posterior
from ._reparam import Reparam, _assemble
from ._spec import _LocationScale
from ._tfp import split


def fit_centeredness(
    posterior: Posterior,
    key: PRNGKeyArray,
    *data: Any,
    start: Literal["uniform", "prior"] | PyTree = "uniform",
    steps: int = 800,
    samples: int = 4,
    learning_rate: float = 0.05,
    progress: bool = True,
) -> tuple[Reparam, FitReport]:
    """Train the centeredness λ of every `location_scale` leaf, one number an element.

    λ and an independent normal density of each free coordinate together maximise the
    evidence bound: the nearer the free coordinates are to independent normal ones, the
    higher it gets (Gorinova, Moore & Hoffman 2020, "Automatic reparameterisation of
    probabilistic programs", section 4). The prior of the leaf may be of any
    location-scale family. λ starts from where it is, and is fixed in what is returned;
    `bt.Posterior(fitted, log_likelihood, prior=prior)` has the same posterior.

    Args:
        posterior: a Posterior whose spec has `bt.location_scale` somewhere.
        key: a PRNG key.
        *data: what its log-likelihood takes after the model.
        start: where the means of the normal densities start, the `strategy` of
            `Posterior.initial`.
        steps: how many steps Adam makes.
        samples: how many draws each of its gradients is a mean of.
        learning_rate: of Adam, which falls to zero along a cosine.
        progress: whether to show a progress bar, on the standard error.

    Returns:
        The Reparam, and a report that has λ by path.

    Raises:
        ImportError: BlackJAX is not installed, which draws for the report.
        ValueError: no leaf of the spec is a `location_scale`; no finite start, or
            gradients that are not finite.

    Example:
        Ten groups with little data each: non-centred is better::

            spec = {"mu": None, "tau": bt.positive(),
                    "theta": bt.location_scale("mu", "tau", centeredness=0.5)}
            posterior = bt.Posterior(bt.Reparam(model, spec), log_likelihood, prior)
            fitted, report = bt.fit_centeredness(posterior, key, y)
            print(report.centeredness["theta"])
            posterior = bt.Posterior(fitted, log_likelihood, prior)
    """
    _fit_chains.checked(posterior, "fit_centeredness")
    reparam, at = _prepared(posterior.reparam)
    target = Target(posterior, data).through(reparam)
    key_start, key_fit, key_held = jax.random.split(key, 3)
    free = posterior.initial(key_start, *data, strategy=start)
    if reparam is not posterior.reparam:
        free = reparam.inverse(posterior.reparam.forward(free))
    loc = reparam.ravel(free)
    shares = [jnp.asarray(x, loc.dtype) for x in _shares(reparam, at)]
    numbers = _Numbers(shares, loc, jnp.full_like(loc, -1.0))
    with _fit_chains.bar(progress=progress) as bar:
        task = bar.add_task("evidence bound", total=steps)
        found = _fit_bound.maximise(
            _Centred(target, at),
            numbers,
            key_fit,
            steps=steps,
            samples=samples,
            learning_rate=learning_rate,
            patience=steps,  # λ moves while the bound hardly does
            project=_between_zero_and_one,
            advance=lambda n, bound: bar.update(
                task, advance=n, description=f"evidence bound {bound}"
            ),
        )
    numbers: _Numbers = found.numbers
    fitted = _with_shares(reparam, at, [np.asarray(x) for x in numbers.shares])
    guide = _affine_map.diagonal(
        np.asarray(numbers.loc, np.float64), np.exp(np.asarray(numbers.log_scale))
    )
    before = Target(posterior, data)
    held = _fit_bound.hold(before, target.through(fitted), key_held, guide)
    notes = ["the evidence bound was still rising: give more `steps`"]
    report = FitReport(
        method="fit_centeredness",
        objective="evidence bound",
        trace=found.trace,
        fisher_before=held.fisher[0],
        fisher_after=held.fisher[1],
        condition_before=held.condition[0],
        condition_after=held.condition[1],
        held_out=held.draws,
        gradients=1 + found.spent + held.spent,
        gradients_held_out=held.spent,
        divergences=held.divergences,
        centeredness={
            reparam._plan.rows[i].path: np.asarray(share)
            for i, share in zip(at, numbers.shares, strict=True)
        },
        notes=tuple(notes if found.rising else []),
    )
    return fitted, report


class _Numbers(eqx.Module):
    """What is trained: λ, and a normal density of the free vector."""

    shares: list[Array]
    loc: Array
    log_scale: Array


class _Centred(Bound):
    """The bound of a normal density through a map with other λ."""

    target: Target
    at: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, numbers: _Numbers, z: Array) -> Array:
        reparam = self.target.posterior.reparam
        moved = _with_shares(reparam, self.at, numbers.shares)
        x = numbers.loc + jnp.exp(numbers.log_scale) * z
        return self.target.through(moved)(x) + jnp.sum(numbers.log_scale)


def _between_zero_and_one(numbers: _Numbers) -> _Numbers:
    shares = [jnp.clip(x, 0, 1) for x in numbers.shares]
    return eqx.tree_at(lambda n: n.shares, numbers, shares)


def _prepared(reparam: Reparam) -> tuple[Reparam, tuple[int, ...]]:
    """Give each `location_scale` leaf numbers of its own, with one λ an element.

    Returns:
        A Reparam of the same map, the same one where nothing had to change; and the
        rows of these leaves.
    """
    plan = reparam._plan
    rows, numbers = list(plan.rows), list(reparam._numbers)
    at = tuple(i for i, row in plan.free if _function(row, numbers) is not None)
    if not at:
        raise ValueError(
            "fit_centeredness: no leaf of the spec is a bt.location_scale; write "
            "bt.location_scale(loc, scale) at a leaf whose prior has a location and a "
            "scale that are leaves too"
        )
    taken: set[int] = set()
    changed = False
    for i in at:
        row = rows[i]
        function = _function(row, numbers)
        assert function is not None
        alone = row.slot not in taken
        taken.add(row.slot)
        if alone and np.shape(function.centeredness) == row.free_shape:
            continue
        share = np.broadcast_to(np.asarray(function.centeredness), row.free_shape)
        structure, own = split(
            eqx.tree_at(lambda f: f.centeredness, function, share.astype(np.float64))
        )
        rows[i] = dataclasses.replace(row, slot=len(numbers), function=structure)
        numbers.append(own)
        changed = True
    if not changed:
        return reparam, at
    plan = Plan(plan.structure, tuple(rows), plan.outer)
    return _assemble(plan, tuple(numbers), reparam._held), at


def _function(row: Row, numbers: Sequence[tuple[Any, ...]]) -> _LocationScale | None:
    """What `location_scale` made of a leaf, if it did."""
    if row.function is None:
        return None
    function = row.function.build(numbers[row.slot])
    return function if isinstance(function, _LocationScale) else None


def _shares(reparam: Reparam, at: tuple[int, ...]) -> list[Float[Array, "..."]]:
    """λ of each of these rows: the last of their numbers."""
    return [reparam._numbers[reparam._plan.rows[i].slot][-1] for i in at]


def _with_shares(reparam: Reparam, at: tuple[int, ...], shares: Sequence[Any]) -> Reparam:
    return eqx.tree_at(lambda r: _shares(r, at), reparam, list(shares))
