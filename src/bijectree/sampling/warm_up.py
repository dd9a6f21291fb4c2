"""The warm-up: coordinates and a step size, learned from the draws of all chains."""

import dataclasses
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from ..learned import short_chains
from ..posterior import Target
from .chains import Chains, Standing, Steps
from .learning import (
    in_other_coordinates,
    learn_map,
    learn_maps,
    learn_shares,
    learn_warp,
)
from .light_modes import leave_light_modes
from .tuned import Tuned, WarmUp, condition_of, first_step

# The windows grow, in these parts. The step size of each chain is adapted after each
# step in the first, which are far from right, and that of all chains after ten in the
# others.
_EARLY, _LATE = (1, 1, 2), (3, 4, 4)
_TUNED = 10

# While a chain adapts its step size, that wanders, and is too long as often as not: so
# the aim of the early windows is lower.
_EARLY_ACCEPTANCE = 0.6

# Where steps of a late window diverged, this share of what is missing from 1 is added to
# the aim; in the first one, whose map is still a rough one, where more than so many did.
_HIGHER = 2 / 3
_DIVERGED = 0.02

# Where no rate is asked for, the aim is the first of these. A coordinate that is bent has
# tails, and a hierarchy a neck, where few draws of the warm-up come: their aims are the
# second and the third. One of the first two gives way to the last, where steps so long
# went further for their gradients by more than a factor, and none diverged; nor, where a
# coordinate's Fisher divergence is large, had next to no acceptance: one in a hundred
# steps with a large error of the energy tells of one in a thousand with a huge one.
_USUAL, _OF_BENT, _OF_HIERARCHY, _LOWER, _FURTHER = 0.8, 0.85, 0.9, 0.7, 1.25
_FAR, _REFUSED = 0.3, 0.01

# In so many steps a chain that can move does, however wrong its first step was.
_ENOUGH = 20

# The mean acceptance falls by so much where the logarithm of the step size rises by 1.
_SLOPE = 0.7


def begin(
    given: Target, tuned: Tuned, standing: Standing, *, acceptance: float | None
) -> WarmUp:
    """A warm-up before its first step.

    Args:
        given: the posterior, in the coordinates of the user.
        tuned: of `untuned`.
        standing: where the chains start in the coordinates of the user.
        acceptance: the mean acceptance that is aimed at; `None` for the usual one, or a
            lower one where that pays.
    """
    if tuned.reparam is not given.posterior.reparam:
        standing = in_other_coordinates(given, given.through(tuned.reparam), standing)
    # The curvature is about the square of the gradient where it is one unit away from a
    # mode; what is wrong about that, a window mends.
    with np.errstate(all="ignore"):
        scale = np.mean(np.abs(standing.gradients.astype(np.float64)), axis=0) ** -0.5
    scale = np.clip(np.nan_to_num(scale, nan=1.0, posinf=1.0), 1e-6, 1e3)
    loc = standing.vectors.mean(axis=0, dtype=np.float64)
    affine = dataclasses.replace(tuned.outer.affine, loc=loc, scale=scale)
    first = dataclasses.replace(tuned.outer, affine=affine)
    usual = _OF_HIERARCHY if tuned.rows else _USUAL
    aim = usual if acceptance is None else acceptance
    tuned = tuned._replace(outer=first)
    # The neck of a hierarchy may not be seen in one window.
    may_change = acceptance is None and not tuned.rows
    return WarmUp(given, tuned, standing, aim, may_change=may_change)


def windows(total: int) -> Iterator[tuple[int, bool]]:
    """The number of steps of each window, and whether it is an early one."""
    parts = [*_EARLY, *_LATE]
    ends = np.round(np.cumsum(parts) / sum(parts) * total).astype(int)
    for i, size in enumerate(np.diff(ends, prepend=0)):
        if size:
            yield int(size), i < len(_EARLY)


def run(
    state: WarmUp,
    chains: Chains,
    key: PRNGKeyArray,
    total: int,
    tell: Callable[[int, float], None],
) -> None:
    """Run all windows.

    Args:
        state: of `begin`; it is changed.
        chains: that take the steps.
        key: a PRNG key.
        total: how many steps each chain takes.
        tell: is called with the number of steps after some were taken, and the condition
            number of the coordinates; NaN where it is not known yet.

    Raises:
        ValueError: no chain moved, or a gradient is not finite at many places.
    """
    sizes = list(windows(total))
    before = None
    for i, (size, early) in enumerate(sizes):
        key, key_steps, key_probe = jax.random.split(key, 3)
        dim, last = state.standing.vectors.shape[1], i == len(sizes) - 1
        if early:
            # The map has just changed, by much.
            first = first_step(dim)
            state.tuned = state.tuned._replace(step_size=first)
            steps = _early_window(state, chains, key_steps, size, tell)
        elif (
            last
            and before is not None
            and size >= _ENOUGH
            and state.may_change
            and state.acceptance in (_USUAL, _OF_BENT)
        ):
            steps = _lower_window(state, chains, key_steps, size, tell, before)
        else:
            steps = before = _late_window(state, chains, key_steps, size, tell)
            first_late = sizes[i - 1][1] if i else True
            if steps.diverging.mean() > _DIVERGED * first_late:
                _aim_higher(state)
        judged = early and size >= _ENOUGH and not sizes[i + 1][1]
        if judged:
            _require_moving(state, steps, key_probe)
        _remember(state, steps, sum(size for size, _ in sizes[: i + 1]))
        if judged:
            leave_light_modes(state)
            if learn_maps(state):
                chains.forget()
                standing = state.on_map()
                state.compiling += chains.compile(state.target, key, standing)
        if not last:
            if state.tuned.rows and not early:
                learn_shares(state)
            if judged or not early:
                learn_warp(state, dropping=early)
                if state.may_change and state.tuned.outer.bent:
                    state.acceptance = max(state.acceptance, _OF_BENT)
            learn_map(state, dropping=early)


def _early_window(
    state: WarmUp,
    chains: Chains,
    key: PRNGKeyArray,
    size: int,
    tell: Callable[[int, float], None],
) -> Steps:
    """Steps whose size each chain adapts after every one."""
    standing = state.on_map()
    tuning, steps = chains.advance(
        state.target,
        key,
        standing,
        chains.tuning(standing, state.tuned.step_size),
        size,
        acceptance=_EARLY_ACCEPTANCE,
    )
    found = float(np.exp(np.median(tuning.log_step_size_avg)))
    state.tuned = state.tuned._replace(step_size=found)
    tell(size, state.condition)
    return steps


def _late_window(
    state: WarmUp,
    chains: Chains,
    key: PRNGKeyArray,
    size: int,
    tell: Callable[[int, float], None],
) -> Steps:
    """Steps of one size, which is changed for all chains after every few.

    The mean acceptance of steps whose size stays is what the draws will have; while each
    chain adapts its own it is lower. The logarithm of the size moves by the error over
    the slope, and by ever smaller shares of it after the error changed its sign (Kesten
    1958, "Accelerated stochastic approximation").
    """
    target, standing = state.target, state.on_map()
    step_size, parts, sizes = state.tuned.step_size, [], []
    turns, sign = 0, 0.0
    for i, start in enumerate(range(0, size, _TUNED)):
        n = min(_TUNED, size - start)
        tuning = chains.tuning(standing, step_size)
        part = jax.random.fold_in(key, i)
        _, steps = chains.advance(target, part, standing, tuning, n)
        standing = steps.end
        parts.append(steps)
        rate = float(np.mean(np.nan_to_num(steps.acceptance_rate)))
        error = rate - state.acceptance
        turns += sign * error < 0
        sign = np.sign(error)
        # Far above the aim, the error says little of how far.
        far = 2.0 if rate > 0.95 else 1.0
        step_size *= float(np.exp(error / _SLOPE * far * max(0.15, 1 / (1 + turns))))
        sizes.append(np.log(step_size))
        tell(n, state.condition)
    average = float(np.exp(np.mean(sizes[-6:])))
    state.tuned = state.tuned._replace(step_size=average)
    return Steps.joined(parts)


def _lower_window(
    state: WarmUp,
    chains: Chains,
    key: PRNGKeyArray,
    size: int,
    tell: Callable[[int, float], None],
    before: Steps,
) -> Steps:
    """Try longer steps, and keep them if they go further for their gradients.

    In coordinates where the density is nearly normal a trajectory may end at a multiple
    of the orbits' period, and steps a little longer need half as many gradients.
    """
    aim, state.acceptance = state.acceptance, _LOWER
    longer = float(np.exp((aim - _LOWER) / _SLOPE))
    state.tuned = state.tuned._replace(step_size=state.tuned.step_size * longer)
    steps = _late_window(state, chains, key, size, tell)
    if _too_long(steps) or _reach(steps) < _FURTHER * _reach(before):
        state.acceptance = aim
        state.tuned = state.tuned._replace(step_size=state.tuned.step_size / longer)
    return steps


def _too_long(steps: Steps) -> bool:
    """Whether more steps of this size would diverge."""
    residual = steps.vectors.astype(np.float64) + steps.gradients
    far = np.mean(residual**2, axis=(0, 1)).max() > _FAR
    refused = np.nan_to_num(steps.acceptance_rate) < _REFUSED
    return bool(steps.diverging.any() or (far and refused.any()))


def _reach(steps: Steps) -> float:
    """The mean square of a step's way for a gradient, when the size has settled."""
    vectors, n_steps = steps.vectors[:, _ENOUGH:], steps.n_steps[:, _ENOUGH:]
    if vectors.shape[1] < 2:
        return 0.0
    way = np.diff(vectors.astype(np.float64), axis=1)
    return float(np.mean(np.sum(way**2, axis=2)) / np.mean(n_steps))


def _aim_higher(state: WarmUp) -> None:
    """Aim at a higher acceptance, and shorten the step to what that takes."""
    more = _HIGHER * (1 - state.acceptance)
    state.acceptance += more
    shorter = state.tuned.step_size * float(np.exp(-more / _SLOPE))
    state.tuned = state.tuned._replace(step_size=shorter)


def _remember(state: WarmUp, steps: Steps, so_far: int) -> None:
    """Keep the later half of all steps so far, in the coordinates beneath the map."""
    dtype = steps.vectors.dtype
    point = (steps.vectors, steps.log_density, steps.gradients)
    found = state.tuned.outer.from_base(*(x.astype(np.float64) for x in point))
    vectors, log_density, gradients = (x.astype(dtype) for x in found)
    state.condition = condition_of(steps.vectors)
    state.spent += steps.spent
    steps = steps._replace(vectors=vectors, log_density=log_density, gradients=gradients)
    state.standing = steps.end
    state.kept.append(steps)
    size = steps.vectors.shape[1]
    keep = max(so_far // 2, size // 2, 1)
    state.kept = [Steps(*(x[:, -keep:] for x in Steps.joined(state.kept)))]


def _require_moving(state: WarmUp, steps: Steps, key: PRNGKeyArray) -> None:
    """Raise if no chain moved, or where gradients are not finite."""
    window = short_chains.Window(
        steps.vectors, steps.gradients, steps.diverging, steps.spent
    )
    here = state.given.through(state.tuned.reparam)
    state.spent += short_chains.probe_gradients(here, state.tuned.outer, window, key)
    if window.stuck.all():
        raise ValueError(
            f"in warm-up, none of {len(window.stuck)} chains moved from where they "
            f"started ({int(steps.diverging.sum())} of {steps.diverging.size} steps "
            "diverged): give another `start`, or more `warm_up`"
        )
