"""Affine maps of a vector, low rank plus diagonal, and their closed-form fits."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..substrate import FusedBijector, Number

# An eigenvalue below this share of the largest one is rounding.
_RIDGE = 1e-10

# A map is not fitted to fewer draws.
_FEWEST = 20

# By how much the variance along a direction must differ from the diagonal's to count.
_FACTORS = (1.05, 1.2, 1.5, 2.0, 3.0, 5.0, np.inf)


class LowRankAffine(FusedBijector):
    """loc + scale·(I + V(diag(root) − 1)Vᵀ)z, where the columns of V are orthonormal."""

    def __init__(
        self,
        loc: Number,
        scale: Number,
        directions: Number,
        root: Number,
        name: str = "low_rank_affine",
    ):
        parameters = dict(locals())
        self.loc = loc
        self.scale = scale
        self.directions = directions
        self.root = root
        super().__init__(
            forward_min_event_ndims=1,
            validate_args=False,
            parameters=parameters,
            name=name,
        )

    @jax.default_matmul_precision("highest")
    def _stretch(self, x: Array, root: Array) -> Array:
        directions = self.directions.like(x)
        return x + ((x @ directions) * (root - 1)) @ jnp.swapaxes(directions, -1, -2)

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        scale, root = self.scale.like(x), self.root.like(x)
        log_det = jnp.sum(jnp.log(scale)) + jnp.sum(jnp.log(root))
        value = self.loc.like(x) + scale * self._stretch(x, root)
        return value, log_det + jnp.zeros_like(x[..., 0])

    def _inverse(self, y: Array) -> Array:
        whitened = (y - self.loc.like(y)) / self.scale.like(y)
        return self._stretch(whitened, 1 / self.root.like(y))


@dataclasses.dataclass(frozen=True)
class AffineMap:
    """The numbers of a `LowRankAffine`, in float64 on the host.

    Attributes:
        loc: where the origin goes.
        scale: one positive number a coordinate.
        directions: orthonormal columns, none for a diagonal map, `dim` for a dense one.
        root: how much each direction is stretched, before `scale`.
    """

    loc: Float[np.ndarray, " dim"]
    scale: Float[np.ndarray, " dim"]
    directions: Float[np.ndarray, "dim rank"]
    root: Float[np.ndarray, " rank"]

    def bijector(self) -> LowRankAffine:
        """The map as a TFP bijector."""
        numbers = (self.loc, self.scale, self.directions, self.root)
        loc, scale, directions, root = (Number(np.asarray(x, float)) for x in numbers)
        return LowRankAffine(loc, scale, directions, root)

    @property
    def log_det(self) -> float:
        """The log of the volume of the image of a unit cube."""
        return float(np.sum(np.log(self.scale)) + np.sum(np.log(self.root)))

    def forward(self, z: Float[np.ndarray, "*n dim"]) -> Float[np.ndarray, "*n dim"]:
        """The points that `z` is mapped to."""
        return self.loc + self.scale * self._stretch(z, self.root)

    def inverse(self, x: Float[np.ndarray, "*n dim"]) -> Float[np.ndarray, "*n dim"]:
        """The points that are mapped to `x`."""
        return self._stretch((x - self.loc) / self.scale, 1 / self.root)

    def pull(self, gradient: Float[np.ndarray, "*n dim"]) -> Float[np.ndarray, "*n dim"]:
        """Gradients with respect to z from those with respect to x."""
        return self._stretch(self.scale * gradient, self.root)

    def push(self, gradient: Float[np.ndarray, "*n dim"]) -> Float[np.ndarray, "*n dim"]:
        """Undo `pull`."""
        return self._stretch(gradient, 1 / self.root) / self.scale

    def _stretch(self, x: np.ndarray, root: np.ndarray) -> np.ndarray:
        return x + ((x @ self.directions) * (root - 1)) @ self.directions.T


def diagonal(
    loc: Float[np.ndarray, " dim"], scale: Float[np.ndarray, " dim"]
) -> AffineMap:
    """The map loc + scale·z."""
    return AffineMap(loc, scale, np.zeros((loc.size, 0)), np.ones(0))


def identity(dim: int, columns: int) -> AffineMap:
    """The map that changes nothing, with room for so many directions."""
    return AffineMap(np.zeros(dim), np.ones(dim), np.eye(dim, columns), np.ones(columns))


def padded(fitted: AffineMap, columns: int) -> AffineMap:
    """The same map with so many directions; those added are not stretched."""
    missing = columns - fitted.root.size
    if missing <= 0:
        return fitted
    # The added columns are orthonormal, and orthogonal to those of the map.
    basis = np.linalg.qr(fitted.directions, mode="complete")[0]
    added = basis[:, fitted.root.size : columns]
    return dataclasses.replace(
        fitted,
        directions=np.concatenate([fitted.directions, added], axis=1),
        root=np.concatenate([fitted.root, np.ones(missing)]),
    )


def columns_of(rank: int | None, dim: int) -> int:
    """How many directions a map of this rank has."""
    return dim if rank is None else min(rank, dim)


def directions_needed(rank: int | None, dim: int) -> int:
    """The dimension of the space in which a fit of this rank looks for directions.

    The widest and the narrowest `rank` directions span it. More draws than that are
    needed, else the draws are flat in it.
    """
    columns = columns_of(rank, dim)
    return dim if 2 * columns >= dim else 2 * columns


def from_scores(
    x: Float[np.ndarray, "n dim"],
    gradients: Float[np.ndarray, "n dim"],
    rank: int | None,
) -> AffineMap:
    """The affine map with the least Fisher divergence to a standard normal.

    With x = μ + Az, the mean of ‖Aᵀ∇log p(x) + A⁻¹(x − μ)‖² over the draws is least
    where S = AAᵀ solves S cov(∇) S = cov(x), the geometric mean of cov(x) and
    cov(∇)⁻¹, and μ = mean(x) + S mean(∇). For a diagonal A, S = √(var x / var ∇).
    Seyboldt, Carlson & Carpenter (2026), arXiv 2603.18845: diagonal, dense, and low rank
    plus diagonal, where the diagonal comes first and S is then looked for in the span of
    the principal directions of the scaled draws and of their gradients.

    Args:
        x: draws; every coordinate varies, and so does its gradient.
        gradients: of the log-density there.
        rank: 0 is diagonal, `None` dense.
    """
    found = _stretches(
        x, gradients, 0 if rank == 0 else directions_needed(rank, x.shape[1])
    )
    return found.map(columns_of(rank, x.shape[1]))


def from_scores_of_chains(
    chains: Sequence[tuple[Float[np.ndarray, "n dim"], Float[np.ndarray, "n dim"]]],
    columns: int,
) -> AffineMap | None:
    """`from_scores` with as many directions as pay on draws that a fit has not seen.

    A direction is kept if the draws are wider along it than the diagonal says, or
    narrower, by a factor: that with the least Fisher divergence on the chains that are
    left out in turn (a quarter of the draws, where one chain has any).

    Args:
        chains: the draws of each, and the gradients of the log-density there. A
            coordinate that does not vary, or whose gradient does not, keeps its scale.
        columns: the most directions that are kept.

    Returns:
        The map; `None` if there are too few draws.
    """
    groups = [_finite(*chain) for chain in chains]
    groups = [group for group in groups if len(group[0])]
    if sum(len(draws) for draws, _ in groups) < _FEWEST:
        return None
    if len(groups) == 1:
        parts = (np.array_split(part, 4) for part in groups[0])
        groups = list(zip(*parts, strict=True))
    held = np.zeros(len(_FACTORS))
    for out in range(len(groups)) if columns else ():
        rest = [group for i, group in enumerate(groups) if i != out]
        found = _stretches_of_groups(rest, columns)
        for i, factor in enumerate(_FACTORS):
            fitted = found.map(columns, factor)
            z, score = fitted.inverse(groups[out][0]), fitted.pull(groups[out][1])
            held[i] += np.sum((z + score) ** 2)
    best = _FACTORS[int(np.argmin(held))]
    return _stretches_of_groups(groups, columns).map(columns, best)


class _Stretches(NamedTuple):
    """How wide draws are along directions, next to what the diagonal map says.

    Attributes:
        loc: the mean of the draws.
        scale: of the diagonal map.
        root: the width along each direction, the most unlike 1 first.
        directions: orthonormal columns.
        mean_gradient: by which the origin is moved.
    """

    loc: Float[np.ndarray, " dim"]
    scale: Float[np.ndarray, " dim"]
    root: Float[np.ndarray, " n"]
    directions: Float[np.ndarray, "dim n"]
    mean_gradient: Float[np.ndarray, " dim"]

    def map(self, columns: int, factor: float = 1.0) -> AffineMap:
        """The map with the directions whose variance is off by more than a factor."""
        n = min(columns, int(np.sum(2 * np.abs(np.log(self.root)) >= np.log(factor))))
        fitted = AffineMap(self.loc, self.scale, self.directions[:, :n], self.root[:n])
        # S mean(∇) is A applied to Aᵀ mean(∇).
        loc = fitted.forward(fitted.pull(self.mean_gradient))
        return dataclasses.replace(fitted, loc=loc)


def _stretches(x: np.ndarray, gradients: np.ndarray, needed: int) -> _Stretches:
    """Fit the diagonal, then S in a space of `needed` dimensions, or in all."""
    x, gradients = x.astype(np.float64), gradients.astype(np.float64)
    mean, mean_gradient = x.mean(axis=0), gradients.mean(axis=0)
    with np.errstate(all="ignore"):
        scale = (x.var(axis=0) / gradients.var(axis=0)) ** 0.25
    scale = np.where(np.isfinite(scale) & (scale > 0), scale, 1.0)
    dim = mean.size
    draws = (x - mean) / scale
    scores = (gradients - mean_gradient) * scale
    if needed == 0 or not (draws.any() and scores.any()):
        return _Stretches(mean, scale, np.ones(0), np.zeros((dim, 0)), mean_gradient)
    basis = np.eye(dim)
    if needed < dim:
        parts = [_principal(part, needed // 2) for part in (draws, scores)]
        basis = np.linalg.qr(np.concatenate(parts, axis=1))[0]
    values, vectors = np.linalg.eigh(
        geometric_mean(_covariance(draws @ basis), _covariance(scores @ basis))
    )
    # Draws that do not vary along a direction say nothing of it.
    root = np.sqrt(np.where(values > 0, values, 1.0))
    order = np.argsort(-np.abs(np.log(root)), kind="stable")
    directions = (basis @ vectors)[:, order]
    return _Stretches(mean, scale, root[order], directions, mean_gradient)


def _stretches_of_groups(
    groups: list[tuple[np.ndarray, np.ndarray]], columns: int
) -> _Stretches:
    """Look for no more directions than a quarter of the draws can tell apart."""
    x, gradients = (np.concatenate(part) for part in zip(*groups, strict=True))
    return _stretches(x, gradients, 2 * min(columns, len(x) // 4))


def _principal(x: np.ndarray, n: int) -> Float[np.ndarray, "dim n"]:
    """The first principal directions of centred draws, as columns."""
    if 2 * len(x) >= x.shape[1]:
        return np.linalg.svd(x, full_matrices=False)[2][:n].T
    # The products of few long rows are cheaper, and exact enough for the widest.
    values, mixtures = np.linalg.eigh(x @ x.T)
    return x.T @ (
        mixtures[:, ::-1][:, :n] / np.sqrt(np.maximum(values[::-1][:n], 1e-300))
    )


def _finite(draws: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The draws that can be learnt from."""
    known = np.isfinite(draws).all(axis=1) & np.isfinite(scores).all(axis=1)
    return draws[known].astype(np.float64), scores[known].astype(np.float64)


def from_covariance(
    mean: Float[np.ndarray, " dim"],
    covariance: Float[np.ndarray, "dim dim"],
    scale: Float[np.ndarray, " dim"],
    rank: int | None,
) -> AffineMap:
    """The map that whitens a covariance, but for what its rank leaves out.

    Args:
        mean: where the origin goes.
        covariance: positive definite.
        scale: of the coordinates, by which they are divided before directions are found.
        rank: 0 is diagonal, `None` dense.
    """
    dim = mean.size
    if rank == 0:
        return diagonal(mean, scale)
    values, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
    root, directions = _strongest(np.sqrt(values), vectors, rank, dim)
    return AffineMap(mean, scale, directions, root)


def shrunk_covariance(
    x: Float[np.ndarray, "n dim"],
) -> tuple[Float[np.ndarray, " dim"], Float[np.ndarray, "dim dim"]]:
    """The mean of draws, and their covariance with its correlations shrunk to zero.

    The share that is taken away is Schäfer & Strimmer's (2005, "A shrinkage approach to
    large-scale covariance matrix estimation", equation 10 for target D): the sum of the
    correlations' variances over that of their squares.
    """
    x = x.astype(np.float64)
    n = len(x)
    mean, sd = x.mean(axis=0), x.std(axis=0, ddof=1)
    z = (x - mean) / sd
    products = z.T @ z / n
    spread = ((z**2).T @ z**2 / n - products**2) * n / (n - 1) ** 3 * n
    off = ~np.eye(mean.size, dtype=bool)
    correlation = products * n / (n - 1)
    squares = (correlation[off] ** 2).sum()
    share = np.clip(spread[off].sum() / squares, 0, 1) if squares > 0 else 0.0
    correlation = np.where(off, (1 - share) * correlation, 1.0)
    return mean, correlation * np.outer(sd, sd)


def geometric_mean(
    covariance: Float[np.ndarray, "n n"], precision: Float[np.ndarray, "n n"]
) -> Float[np.ndarray, "n n"]:
    """The positive definite S with S·precision·S = covariance."""
    values, vectors = np.linalg.eigh(precision)
    values = np.maximum(values, _RIDGE * values[-1])
    half = vectors * np.sqrt(values) @ vectors.T
    inverse_half = vectors / np.sqrt(values) @ vectors.T
    middle, rotation = np.linalg.eigh(half @ covariance @ half)
    middle = np.sqrt(np.maximum(middle, _RIDGE * middle[-1]))
    found = inverse_half @ (rotation * middle @ rotation.T) @ inverse_half
    return (found + found.T) / 2


def _covariance(x: np.ndarray) -> np.ndarray:
    return x.T @ x / len(x)


def _strongest(
    root: np.ndarray, directions: np.ndarray, rank: int | None, dim: int
) -> tuple[np.ndarray, np.ndarray]:
    """The directions that are stretched or shrunk most."""
    order = np.argsort(-np.abs(np.log(root)), kind="stable")[: columns_of(rank, dim)]
    return root[order], directions[:, order]
