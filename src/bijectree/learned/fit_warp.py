"""The `Warp` with the least Fisher divergence, found from draws and their gradients."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from . import low_rank
from .warp import Warp, straight

# Numbers of a coordinate whose location and scale are taken away: location, log of the
# scale, skewness and log of the tail weight. All are 0 where it stays as it is.
_LOWEST = np.array([-3.0, -2.0, -2.0, -1.0])
_HIGHEST = np.array([3.0, 2.0, 2.0, 1.5])

# What is least has a ridge: this over the number of draws, times the squares of the four.
_RIDGE = 10.0

# A coordinate is bent if that lowers the divergence of draws that were left out by so
# much, and by this share of it where an affine map follows: where more is left, it is no
# coordinate alone that is far from normal. It is looked at if a first step promises as
# much of draws that were not left out.
_PAYS, _SHARE = 0.03, 0.5

# A half of the draws has at least so many.
_FEWEST = 10

# Of a density on all numbers the variances of draws and of scores multiply to 1 or more.
# Where it is less, there is an edge, or the chains have not mixed.
_LEAST_PRODUCT = 0.5

# Searches start from these, since a far one has hollows besides the deepest.
_STARTS = ((0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.7, 0.3), (0.0, 0.0, -0.7, 0.3))
_ITERATIONS, _SETTLED, _MOST_DAMPED = 25, 1e-4, 1e3

# Draws are thinned to so many, and to fewer where many coordinates are looked at.
_MOST_DRAWS, _MOST_NUMBERS = 800, 100_000

# Draws and gradients of coordinates, one a row.
_Pairs = tuple[Float[np.ndarray, "dim n"], Float[np.ndarray, "dim n"]]


class FittedWarp(NamedTuple):
    """A warp, and how near it brings draws that it was not fitted to.

    Attributes:
        warp: the map.
        divergence: the Fisher divergence that is left of them, a coordinate, after an
            affine map that is fitted to the draws that the warp is fitted to.
        unbent: what is left by the affine map alone.
    """

    warp: Warp
    divergence: float
    unbent: float


def fit_warp(
    chains: Sequence[tuple[Float[np.ndarray, "n dim"], Float[np.ndarray, "n dim"]]],
    columns: int,
    *,
    judged: bool = True,
) -> FittedWarp:
    """Bend each coordinate so that it is nearer to a standard normal density.

    With u the coordinate before the map and s its score, the mean of (s + u)² is least:
    the Fisher divergence to a standard normal density, whose score is −u. A coordinate
    stays as it is unless what is fitted to half of the chains brings the other half much
    nearer, in the mean over both halves and with the affine map that follows: coordinates
    that depend on each other may be bent one by one to a worse whole.

    Args:
        chains: the draws of each, and the gradients of the log-density there.
        columns: how many directions the affine map may have that follows.
        judged: whether the divergence is asked for where nothing is bent, which takes a
            while for many coordinates; it is NaN else.
    """
    halves = _halves(chains)
    loc, scale = _straight(_joined(halves))
    halves = [_moved(half, loc, scale) for half in halves]
    dim = loc.size
    if min(half[0].shape[1] for half in halves) < _FEWEST:
        return FittedWarp(straight(dim), math.inf, math.inf)
    with np.errstate(all="ignore"):
        x, scores = _joined(halves)
        smooth = x.var(axis=1) * scores.var(axis=1) > _LEAST_PRODUCT
        at = np.flatnonzero((_first_gain((x, scores)) > _PAYS) & smooth)
    if not (at.size or judged):
        return FittedWarp(straight(dim), math.nan, math.nan)
    left = unbent = _left([straight(dim)] * 2, halves, columns)
    bent = _Bent(at[:0], np.zeros((0, 4)))
    if at.size:
        stride = -(-at.size * halves[0][0].shape[1] // _MOST_NUMBERS)
        these = [_pairs(part[at, ::stride] for part in half) for half in halves]
        found = [_Bent(at, _fit(half)) for half in these]
        gain = _gain(found[0].numbers, *these) + _gain(found[1].numbers, *these[::-1])
        pays = gain / 2 > _PAYS
        # Those that do not pay together with the others are left out, twice at most.
        for last in (False, False, True):
            less = _left([part.of(pays).warp(dim) for part in found], halves, columns)
            stay = pays & (less[at] < _SHARE * left[at])
            if last or (stay == pays).all():
                break
            pays = stay
        if pays.any() and less.sum() < left.sum():
            both = _pairs(part[pays] for part in _joined(these))
            bent, left = _Bent(at[pays], _fit(both)), less
    warp = bent.warp(dim, loc, scale)
    return FittedWarp(warp, float(left.mean()), float(unbent.mean()))


class _Bent(NamedTuple):
    """The numbers of the coordinates that are bent.

    Attributes:
        at: which coordinates these are.
        numbers: the four of each.
    """

    at: Int[np.ndarray, " n"]
    numbers: Float[np.ndarray, "n 4"]

    def of(self, which: Bool[np.ndarray, " n"]) -> "_Bent":
        """Those of some of the coordinates."""
        return _Bent(self.at[which], self.numbers[which])

    def warp(
        self,
        dim: int,
        loc: np.ndarray | float = 0.0,
        scale: np.ndarray | float = 1.0,
    ) -> Warp:
        """The warp, where a location and a scale were taken away."""
        first, by = (np.broadcast_to(x, dim)[self.at] for x in (loc, scale))
        low, log_scale, skewness, log_tail = self.numbers.T
        warp = straight(dim)
        warp.loc[self.at] = first + by * low
        warp.scale[self.at] = by * np.exp(log_scale)
        warp.skewness[self.at] = skewness
        warp.tailweight[self.at] = np.exp(log_tail)
        return warp


def _halves(chains: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[_Pairs]:
    """Every other chain, and the rest; or both halves of the only one."""
    stride = max(1, sum(len(x) for x, _ in chains) // _MOST_DRAWS)
    groups = [_pairs(part[::stride].astype(np.float64).T for part in c) for c in chains]
    if len(groups) == 1:
        x, scores = groups[0]
        middle = x.shape[1] // 2
        groups = [
            (x[:, :middle], scores[:, :middle]),
            (x[:, middle:], scores[:, middle:]),
        ]
    return [_joined(groups[::2]), _joined(groups[1::2])]


def _joined(groups: Sequence[_Pairs]) -> _Pairs:
    return _pairs(np.concatenate(part, axis=1) for part in zip(*groups, strict=True))


def _pairs(parts: Iterable[np.ndarray]) -> _Pairs:
    x, scores = parts
    return x, scores


def _straight(pairs: _Pairs) -> tuple[np.ndarray, np.ndarray]:
    """The location and scale of the least divergence where nothing is bent."""
    x, scores = pairs
    with np.errstate(all="ignore"):
        scale = (x.var(axis=1) / scores.var(axis=1)) ** 0.25
        scale = np.where(np.isfinite(scale) & (scale > 0), scale, 1.0)
        loc = x.mean(axis=1) + scale**2 * scores.mean(axis=1)
    return np.where(np.isfinite(loc), loc, 0.0), scale


def _moved(pairs: _Pairs, loc: np.ndarray, scale: np.ndarray) -> _Pairs:
    x, scores = pairs
    return (x - loc[:, None]) / scale[:, None], scores * scale[:, None]


def _first_gain(pairs: _Pairs) -> Float[np.ndarray, " dim"]:
    """How much of the divergence the four numbers explain where nothing is bent yet."""
    residual, slopes = _residuals(np.zeros((len(pairs[0]), 4)), *pairs)
    n = residual.shape[1]
    normal = np.einsum("mni,mnj->mij", slopes, slopes) / n + 1e-6 * np.eye(4)
    pull = np.einsum("mni,mn->mi", slopes, residual) / n
    # Nothing is explained where a density is flat, or beyond the range of numbers.
    known = np.isfinite(normal).all(axis=(1, 2)) & np.isfinite(pull).all(axis=1)
    known &= np.linalg.matrix_rank(np.where(known[:, None, None], normal, 0.0)) == 4
    normal[~known], pull[~known] = np.eye(4), 0.0
    return np.einsum("mi,mi->m", pull, np.linalg.solve(normal, pull[..., None])[..., 0])


def _gain(numbers: np.ndarray, fitted: _Pairs, held: _Pairs) -> Float[np.ndarray, " dim"]:
    """By how much what is fitted to some draws lowers the divergence of others."""
    straight = _moved(held, *_straight(fitted))
    before = np.mean((straight[0] + straight[1]) ** 2, axis=1)
    residual = _residuals(numbers, *held)[0]
    after = np.mean(residual**2, axis=1)
    return np.nan_to_num(before - after, nan=-np.inf)


def _left(
    warps: Sequence[Warp], halves: Sequence[_Pairs], columns: int
) -> Float[np.ndarray, " dim"]:
    """The divergence of each coordinate, in the mean over both halves.

    Args:
        warps: what is fitted to each half.
        halves: the draws, each of which is left out once.
        columns: how many directions the affine map may have.
    """
    left = np.zeros(len(halves[0][0]))
    for warp, fitted, held in zip(warps, halves, halves[::-1], strict=True):
        known = warp.straightened(*(part.T for part in fitted))
        affine = low_rank.from_scores_of_chains([known], columns)
        if affine is None:
            return np.full_like(left, np.inf)
        x, scores = warp.straightened(*(part.T for part in held))
        left += np.mean((affine.inverse(x) + affine.pull(scores)) ** 2, axis=0) / 2
    return np.nan_to_num(left, nan=np.inf)


def _residuals(
    numbers: Float[np.ndarray, "dim 4"], x: np.ndarray, scores: np.ndarray
) -> tuple[Float[np.ndarray, "dim n"], Float[np.ndarray, "dim n 4"]]:
    """S + u of each draw, and its derivatives with respect to the numbers.

    With t = (x − loc)/scale, c = √(1 + t²), w = arcsinh(t)/δ − ε, u = sinh w and
    C = cosh w, for a skewness ε and a tail weight δ, and the score g of x, that of u is
    s = δ(g·scale·c + t/c)/C − u/C².
    """
    loc, log_scale, skewness, log_tail = numbers.T[:, :, None]
    scale, tail = np.exp(log_scale), np.exp(log_tail)
    t = (x - loc) / scale
    c = np.sqrt(1 + t * t)
    bend = np.arcsinh(t) / tail
    w = bend - skewness
    u = np.sinh(w)
    q = 1 / np.sqrt(1 + u * u)
    slope = scores * scale * c + t / c
    residual = tail * slope * q - u * q * q + u
    by_w = -tail * slope * q * q * u - q + 2 * q**3 * u * u + 1 / q
    by_t = by_w / (c * tail) + tail * q * (scores * scale * t / c + 1 / c**3)
    derivatives = [
        -by_t / scale,
        -by_t * t + tail * q * scores * scale * c,
        -by_w,
        -by_w * bend + tail * slope * q,
    ]
    return residual, np.stack(derivatives, axis=-1)


def _fit(pairs: _Pairs) -> Float[np.ndarray, "dim 4"]:
    """The numbers of the least divergence, by a search from each start."""
    found = [_descend(np.tile(start, (len(pairs[0]), 1)), pairs) for start in _STARTS]
    best = np.argmin([value for _, value in found], axis=0)
    return np.stack([numbers for numbers, _ in found])[best, np.arange(len(best))]


def _descend(
    numbers: Float[np.ndarray, "dim 4"], pairs: _Pairs
) -> tuple[Float[np.ndarray, "dim 4"], Float[np.ndarray, " dim"]]:
    """Levenberg–Marquardt's method, in all coordinates at once.

    Returns:
        Where it ended, and what is least there.
    """
    x, scores = pairs
    ridge = _RIDGE / x.shape[1]

    def evaluate(at: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, ...]:
        residual, slopes = _residuals(numbers, x[at], scores[at])
        n = residual.shape[1]
        value = np.mean(residual**2, axis=1) + ridge * np.sum(numbers**2, axis=1)
        normal = np.einsum("mni,mnj->mij", slopes, slopes) / n + ridge * np.eye(4)
        pull = np.einsum("mni,mn->mi", slopes, residual) / n + ridge * numbers
        return np.where(np.isfinite(value), value, np.inf), normal, pull

    at = np.arange(len(x))
    damping = np.full(len(x), 1e-2)
    with np.errstate(all="ignore"):
        value, normal, pull = evaluate(at, numbers)
        at = at[np.isfinite(value)]
        for _ in range(_ITERATIONS):
            if not at.size:
                break
            damped = normal[at] * (1 + damping[at, None, None] * np.eye(4))
            step = np.linalg.solve(damped, pull[at, :, None])[..., 0]
            tried = np.clip(numbers[at] - step, _LOWEST, _HIGHEST)
            new = evaluate(at, tried)
            fallen = value[at] - new[0]
            better = fallen > 0
            damping[at] = np.where(better, damping[at] / 4, damping[at] * 5)
            to = at[better]
            numbers[to], value[to] = tried[better], new[0][better]
            normal[to], pull[to] = new[1][better], new[2][better]
            ended = np.where(better, fallen < _SETTLED, damping[at] > _MOST_DAMPED)
            at = at[~ended]
    return numbers, value
