"""The one way in which everything here is timed, and what a measurement holds.

Contestants are interleaved in one process, in an order that changes from round to round;
a ratio is the median over rounds of the ratio within a round. So what else the machine
does falls on all alike.
"""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import numpy as np

OURS = "bijectree"
BEST = "best peer"

# By contestant, the seconds of each round.
Times = dict[str, list[float]]


@dataclasses.dataclass(frozen=True)
class Options:
    """What the command was asked for.

    Attributes:
        quick: small sizes and few rounds, to prove that it runs; the figures say nothing.
        device: "cpu" or "gpu".
    """

    quick: bool
    device: str

    def rounds(self, full: int = 15) -> int:
        """How many rounds to time."""
        return 2 if self.quick else full


@dataclasses.dataclass(frozen=True)
class Target:
    """A ratio that must not be exceeded.

    Attributes:
        over: the contestant that ours is divided by.
        ratio: what was found.
        limit: what was asked.
        quartiles: of the ratio over rounds, where there are several.
    """

    over: str
    ratio: float
    limit: float
    quartiles: tuple[float, float] | None = None

    @property
    def met(self) -> bool:
        """Whether the ratio, to two decimals, is within its limit."""
        return round(self.ratio, 2) <= self.limit


@dataclasses.dataclass(frozen=True)
class Row:
    """What was found of one thing.

    Attributes:
        cell: the family it belongs to.
        case: what was timed.
        unit: of the values.
        values: by contestant.
        ratios: by contestant, ours over it.
        rounds: how many were timed.
        size: elements, events or leaves, for the plots.
        targets: what was asked of it.
        note: what else a reader must know.
    """

    cell: str
    case: str
    unit: str
    values: Mapping[str, float]
    ratios: Mapping[str, float]
    rounds: int
    size: int | None = None
    targets: Sequence[Target] = ()
    note: str = ""


def interleave(
    contestants: Mapping[str, Callable[[], Any]], rounds: int, shortest: float = 2e-3
) -> Times:
    """Time contestants in turn.

    Args:
        contestants: functions that return arrays, which are waited for.
        rounds: how many to time, after two that are not.
        shortest: seconds; faster contestants are called several times a round.
    """
    fastest = math.inf
    for _ in range(2):
        for run in contestants.values():
            start = time.perf_counter()
            jax.block_until_ready(run())
            fastest = min(fastest, time.perf_counter() - start)
    calls = max(1, math.ceil(shortest / fastest))
    names = list(contestants)
    times: Times = {name: [] for name in names}
    for turn in range(rounds):
        for i in range(len(names)):
            name = names[(turn + i) % len(names)]
            run = contestants[name]
            start = time.perf_counter()
            for _ in range(calls):
                out = run()
            jax.block_until_ready(out)
            times[name].append((time.perf_counter() - start) / calls)
    return times


def _ratios(times: Times, over: str) -> list[float]:
    """Of ours to a contestant, by round."""
    # A slow one may have had fewer rounds.
    return [a / b for a, b in zip(times[OURS], times[over], strict=False)]


def _target(times: Times, over: str, name: str, limit: float) -> Target:
    found = _ratios(times, over)
    quartiles = None
    if len(found) > 3:
        low, _, high = statistics.quantiles(found, n=4)
        quartiles = low, high
    return Target(name, statistics.median(found), limit, quartiles)


def row(
    cell: str,
    case: str,
    times: Times,
    *,
    limits: Mapping[str, float],
    unit: str,
    per: float = 1.0,
    peers: Collection[str] = (),
    size: int | None = None,
    note: str = "",
) -> Row:
    """What the times say.

    Args:
        cell: the family.
        case: what was timed.
        times: of all contestants.
        limits: by contestant, or for the best of the peers, the largest ratio. One for
            which there was nobody to compare with is left out.
        unit: of the values: "s", "ms", "µs" or "ns", perhaps with what it is divided by.
        per: what the seconds are divided by.
        peers: among whom the best is looked for.
        size: for the plots.
        note: what else a reader must know.
    """
    medians = {name: statistics.median(ts) for name, ts in times.items()}
    ratios = {
        name: statistics.median(_ratios(times, name)) for name in times if name != OURS
    }
    here = [name for name in peers if name in medians]
    targets = []
    for over, limit in limits.items():
        if over == BEST and here:
            best = min(here, key=medians.__getitem__)
            targets.append(_target(times, best, f"{BEST} ({best})", limit))
        elif over in ratios:
            targets.append(_target(times, over, over, limit))
    scale = {"s": 1.0, "ms": 1e3, "µs": 1e6, "ns": 1e9}[unit.split()[0].split("/")[0]]
    values = {name: t / per * scale for name, t in medians.items()}
    rounds = min(len(ts) for ts in times.values())
    return Row(cell, case, unit, values, ratios, rounds, size, targets, note)


def agree(results: Mapping[str, Any], tolerance: float, what: str) -> None:
    """Raise unless all contestants computed the same numbers.

    Args:
        results: by contestant, a pytree of arrays.
        tolerance: relative to the largest number in an array.
        what: for the message.

    Raises:
        AssertionError: some differ, or are not finite.
    """
    names = list(results)
    first = jax.tree.leaves(results[names[0]])
    for name in names:
        leaves = jax.tree.leaves(results[name])
        assert len(leaves) == len(first), f"{what}: {name} has {len(leaves)} arrays"
        for a, b in zip(first, leaves, strict=True):
            a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
            scale = max(1.0, float(np.max(np.abs(a), initial=0.0)))
            error = float(np.max(np.abs(a - b), initial=0.0)) / scale
            # Not `error > tolerance`, which holds for no NaN.
            if not error <= tolerance:
                raise AssertionError(
                    f"{what}: {name} and {names[0]} differ by {error:.2g} of {scale:.3g}"
                )
