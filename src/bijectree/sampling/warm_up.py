"""The warm-up: coordinates and a step size, learned from the draws of all chains."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, PRNGKeyArray

from ..inference import condition_number
from ..learned import low_rank, short_chains
from ..learned.centeredness import (
    recentred,
    shares_from_draws,
    shares_of,
    with_own_shares,
    with_shares,
)
from ..learned.low_rank import AffineMap
from ..posterior import Target
from ..reparam import Reparam
from . import chains_on_devices
from .chains import Chains, Standing, Steps

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

# In so many steps a chain that can move does, however wrong its first step was.
_ENOUGH = 20

# A chain in a mode lighter than the best by this factor's logarithm is moved.
_LIGHTER = 30.0

# A map has at most so many directions; fewer of long vectors, for which a step is dear.
_COLUMNS, _COLUMNS_LONG, _LONG = 64, 16, 1000

# A map is fitted to no more numbers than that.
_MOST = 20_000_000

# The mean acceptance falls by so much where the logarithm of the step size rises by 1.
_SLOPE = 0.7


class Tuned(NamedTuple):
    """What a warm-up found.

    Attributes:
        reparam: the map of the model beneath the affine one, with λ as learned.
        map: the affine map to its free coordinates.
        step_size: of all chains.
        rows: the leaves whose λ was learned.
        learned: whether the draws are kept in the coordinates that were learned.
    """

    reparam: Reparam
    map: AffineMap
    step_size: float
    rows: tuple[int, ...] = ()
    learned: bool = True

    @property
    def centeredness(self) -> dict[str, Float[np.ndarray, "..."]]:
        """λ by path."""
        shares = shares_of(self.reparam, self.rows)
        leaves = self.reparam.bound.plan.rows
        return {
            leaves[i].path: np.asarray(x) for i, x in zip(self.rows, shares, strict=True)
        }

    def target(self, given: Target) -> Target:
        """The posterior in the coordinates that were learned."""
        outer = self.map.bijector()
        return given.through(self.reparam.then(outer, verify=False))


@dataclasses.dataclass
class WarmUp:
    """The state of a warm-up, which its windows change.

    Attributes:
        given: the posterior, in the coordinates of the user.
        tuned: what is known so far.
        standing: where the chains stand, in the coordinates of `tuned.reparam`.
        acceptance: the rate that is aimed at.
        spent: how many gradients the steps cost.
        moved: how many chains were moved out of a mode that is far too light.
        kept: the later half of all steps, in the coordinates of `tuned.reparam`.
        condition: the condition number of the coordinates, as far as it is known.
    """

    given: Target
    tuned: Tuned
    standing: Standing
    acceptance: float
    spent: int = 0
    moved: int = 0
    kept: list[Steps] = dataclasses.field(default_factory=list)
    condition: float = float("nan")

    @property
    def target(self) -> Target:
        """The posterior in the coordinates that the chains move in now."""
        return self.tuned.target(self.given)

    def on_map(self) -> Standing:
        """Where the chains stand, in the coordinates of `target`."""
        now, x = self.tuned.map, self.standing
        dtype = x.vectors.dtype
        return Standing(
            now.inverse(x.vectors.astype(np.float64)).astype(dtype),
            (x.log_density + now.log_det).astype(dtype),
            now.pull(x.gradients.astype(np.float64)).astype(dtype),
        )


def untuned(given: Target, *, learn: bool) -> Tuned:
    """What is known before the first step: the structure of the coordinates.

    Args:
        given: the posterior, in the coordinates of the user.
        learn: whether coordinates are learned: λ, and directions besides scales.
    """
    reparam, rows = given.posterior.reparam, ()
    # A map above the leaves was fitted to the λ beneath it.
    if learn and not reparam.bound.outer_names():
        reparam, rows = with_own_shares(reparam)
    dim = given.posterior.dim
    columns = min(dim, _COLUMNS if dim <= _LONG else _COLUMNS_LONG) if learn else 0
    first = low_rank.identity(dim, columns)
    return Tuned(reparam, first, _first_step(dim), rows, learned=learn)


def begin(
    given: Target, tuned: Tuned, standing: Standing, *, acceptance: float
) -> WarmUp:
    """A warm-up before its first step.

    Args:
        given: the posterior, in the coordinates of the user.
        tuned: of `untuned`.
        standing: where the chains start in the coordinates of the user.
        acceptance: the mean acceptance that is aimed at.
    """
    if tuned.reparam is not given.posterior.reparam:
        standing = _to(given, given.through(tuned.reparam), standing)
    # The curvature is about the square of the gradient where it is one unit away from a
    # mode; what is wrong about that, a window mends.
    with np.errstate(all="ignore"):
        scale = np.mean(np.abs(standing.gradients.astype(np.float64)), axis=0) ** -0.5
    scale = np.clip(np.nan_to_num(scale, nan=1.0, posinf=1.0), 1e-6, 1e3)
    loc = standing.vectors.mean(axis=0, dtype=np.float64)
    first = dataclasses.replace(tuned.map, loc=loc, scale=scale)
    return WarmUp(given, tuned._replace(map=first), standing, acceptance)


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
    for i, (size, early) in enumerate(sizes):
        key, key_steps, key_probe = jax.random.split(key, 3)
        dim, last = state.standing.vectors.shape[1], i == len(sizes) - 1
        if early:
            # The map has just changed, by much.
            first = _first_step(dim)
            state.tuned = state.tuned._replace(step_size=first)
            steps = _early_window(state, chains, key_steps, size, tell)
        else:
            steps = _late_window(state, chains, key_steps, size, tell)
            first_late = sizes[i - 1][1] if i else True
            if steps.diverging.mean() > _DIVERGED * first_late:
                _aim_higher(state)
        judged = early and size >= _ENOUGH and not sizes[i + 1][1]
        if judged:
            _require_moving(state, steps, key_probe)
        _remember(state, steps, sum(size for size, _ in sizes[: i + 1]))
        if judged:
            _leave_light_modes(state)
        if not last:
            if state.tuned.rows and not early:
                _learn_shares(state)
            _learn_map(state, dropping=early)


def _first_step(dim: int) -> float:
    """A step size for a standard normal density."""
    return 0.7 * dim**-0.25


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
    joined = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
    return Steps(*joined)


def _aim_higher(state: WarmUp) -> None:
    """Aim at a higher acceptance, and shorten the step to what that takes."""
    more = _HIGHER * (1 - state.acceptance)
    state.acceptance += more
    shorter = state.tuned.step_size * float(np.exp(-more / _SLOPE))
    state.tuned = state.tuned._replace(step_size=shorter)


def _remember(state: WarmUp, steps: Steps, so_far: int) -> None:
    """Keep the later half of all steps so far, in the coordinates beneath the map."""
    now = state.tuned.map
    dtype = steps.vectors.dtype
    state.condition = _condition(steps.vectors)
    state.spent += steps.spent
    steps = steps._replace(
        vectors=now.forward(steps.vectors.astype(np.float64)).astype(dtype),
        log_density=steps.log_density - now.log_det,
        gradients=now.push(steps.gradients.astype(np.float64)).astype(dtype),
    )
    state.standing = steps.end
    state.kept.append(steps)
    size = steps.vectors.shape[1]
    keep = max(so_far // 2, size // 2, 1)
    joined = (np.concatenate(part, axis=1) for part in zip(*state.kept, strict=True))
    state.kept = [Steps(*(x[:, -keep:] for x in joined))]


def _condition(vectors: Float[np.ndarray, "chains n dim"]) -> float:
    dim = vectors.shape[-1]
    if dim > _LONG:
        return float("nan")
    return condition_number(vectors.reshape(-1, dim))


def _require_moving(state: WarmUp, steps: Steps, key: PRNGKeyArray) -> None:
    """Raise if no chain moved, or where gradients are not finite."""
    window = short_chains.Window(
        steps.vectors, steps.gradients, steps.diverging, steps.spent
    )
    here = state.given.through(state.tuned.reparam)
    state.spent += short_chains.probe_gradients(here, state.tuned.map, window, key)
    if window.stuck.all():
        raise ValueError(
            f"in warm-up, none of {len(window.stuck)} chains moved from where they "
            f"started ({int(steps.diverging.sum())} of {steps.diverging.size} steps "
            "diverged): give another `start`, or more `warm_up`"
        )


def _leave_light_modes(state: WarmUp) -> None:
    """Move chains out of modes without weight, to draws of the others.

    The log of a mode's mass is about the mean log-density of its draws plus their
    entropy. Without their correlations the entropy is too high, but for all modes alike.
    The draws of few steps leave the entropy of many coordinates open, so the log-density
    alone must be far below that of the heaviest chain, too.
    """
    (steps,) = state.kept
    later = slice(-(-steps.vectors.shape[1] // 2), None)
    density = steps.log_density[:, later]
    with np.errstate(all="ignore"):
        spread = steps.vectors[:, later].astype(np.float64).var(axis=1)
        mass = density.mean(axis=1) + np.log(spread).sum(axis=1) / 2
    # A chain that never moved has no spread.
    mass = np.where(np.isnan(mass), -np.inf, mass)
    best = int(np.argmax(mass))
    lowest = density[best].mean() - _LIGHTER - 5 * density[best].std()
    light = ~(mass > mass[best] - _LIGHTER) & ~(density.mean(axis=1) > lowest)
    if not light.any() or not np.isfinite(mass[best]):
        return
    heavy = np.flatnonzero(~light)
    n = steps.vectors.shape[1]
    state.moved = int(light.sum())
    for i, chain in enumerate(np.flatnonzero(light)):
        source = heavy[i % len(heavy)]
        at = n - 1 - (5 * (1 + i // len(heavy))) % n
        for part in steps:
            part[chain] = part[source]
        for to, part in zip(
            state.standing,
            (steps.vectors, steps.log_density, steps.gradients),
            strict=True,
        ):
            to[chain] = part[source, at]


def _learn_map(state: WarmUp, *, dropping: bool) -> None:
    """Fit the map to what was kept, in early windows to what is near the mode alone."""
    (steps,) = state.kept
    x, gradients = steps.vectors, steps.gradients
    dim = x.shape[2]
    stride = max(1, -(-x.size // _MOST))
    known = _settled(steps.log_density, dim) if dropping else np.ones(x.shape[:2], bool)
    groups = [
        (x[i][known[i]][::stride], gradients[i][known[i]][::stride])
        for i in range(len(x))
    ]
    columns = state.tuned.map.root.size
    fitted = low_rank.from_scores_of_chains(groups, columns)
    if fitted is not None:
        padded = low_rank.padded(fitted, columns)
        numbers = chains_on_devices.of_first(dataclasses.asdict(padded))
        numbers = {name: np.asarray(x, np.float64) for name, x in numbers.items()}
        state.tuned = state.tuned._replace(map=AffineMap(**numbers))


def _settled(
    log_density: Float[np.ndarray, "chains n"], dim: int
) -> Bool[np.ndarray, ""]:
    """Which draws do not come from the way to the mode.

    A map is right for a normal density wherever its draws come from, so that to leave
    out is safe, and those far away spoil the map of any other density.
    """
    known = np.where(np.isfinite(log_density), log_density, -np.inf)
    lowest = np.quantile(known, 0.95, method="lower") - 3 * dim - 15
    return known >= min(lowest, np.quantile(known, 0.75, method="lower"))


def _learn_shares(state: WarmUp) -> None:
    """Find λ anew, and take all that is known to the new coordinates."""
    (steps,) = state.kept
    before = state.given.through(state.tuned.reparam)
    shares = shares_from_draws(before, state.tuned.rows, steps.vectors)
    old = shares_of(state.tuned.reparam, state.tuned.rows)
    if all(np.array_equal(a, b) for a, b in zip(old, shares, strict=True)):
        return
    reparam = with_shares(
        state.tuned.reparam,
        state.tuned.rows,
        [np.asarray(x, np.asarray(y).dtype) for x, y in zip(shares, old, strict=True)],
    )
    after = state.given.through(reparam)
    shape = steps.vectors.shape
    # The chains stand at the last rows of one batch.
    flat = Standing(
        np.concatenate([steps.vectors.reshape(-1, shape[2]), state.standing.vectors]),
        np.concatenate([steps.log_density.reshape(-1), state.standing.log_density]),
        np.concatenate([steps.gradients.reshape(-1, shape[2]), state.standing.gradients]),
    )
    moved = _to(before, after, flat)
    state.kept = [
        steps._replace(
            vectors=moved.vectors[: -shape[0]].reshape(shape),
            log_density=moved.log_density[: -shape[0]].reshape(shape[:2]),
            gradients=moved.gradients[: -shape[0]].reshape(shape),
        )
    ]
    state.standing = Standing(*(x[-shape[0] :] for x in moved))
    state.tuned = state.tuned._replace(reparam=reparam)


def _to(before: Target, after: Target, x: Standing) -> Standing:
    """Points in other coordinates of the same model."""
    n = len(x.vectors)
    # One program serves all numbers of rows up to a power of two.
    rows = np.minimum(np.arange(1 << (n - 1).bit_length()), n - 1)
    arrays = (jnp.asarray(x.vectors[rows]), jnp.asarray(x.gradients[rows]))
    moved = jax.device_get(recentred(before, after, *arrays))
    vectors, gradients, more = (part[:n] for part in moved)
    dtype = x.vectors.dtype
    density = (x.log_density + more).astype(dtype)
    return Standing(vectors.astype(dtype), density, gradients.astype(dtype))
