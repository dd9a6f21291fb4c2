"""The centeredness λ of `location_scale` leaves: read, changed, and found from draws."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .. import substrate
from ..posterior import Target
from ..reparam import Bound, LocationScale, Plan, Reparam, Row, of_bound, trace
from ..substrate import split
from ..trees import leaf_at
from .other_coordinates import to_other_coordinates

_GRID = 101

# The values of λ that are tried.
_SHARES = np.linspace(0, 1, _GRID)


def with_own_shares(reparam: Reparam) -> tuple[Reparam, tuple[int, ...]]:
    """Give each `location_scale` leaf numbers of its own, with one λ an element.

    Returns:
        A Reparam of the same map, the same one where nothing had to change; and the
        rows of these leaves, none if the spec has no `location_scale`.
    """
    plan = reparam.bound.plan
    rows, numbers = list(plan.rows), list(reparam.bound.numbers)
    at = tuple(i for i, row in plan.free if _function(row, numbers) is not None)
    taken: set[int] = set()
    changed = False
    for i in at:
        row = rows[i]
        function = _function(row, numbers)
        assert function is not None
        alone = row.slot not in taken
        taken.add(row.slot)
        # Numbers of a masked leaf are those of all its entries.
        size = row.shape if row.picked else row.free_shape
        if alone and np.shape(function.centeredness) == size:
            continue
        share = np.broadcast_to(np.asarray(function.centeredness), size)
        structure, own = split(
            eqx.tree_at(lambda f: f.centeredness, function, share.astype(np.float64))
        )
        assert row.kind is not None
        _, shapes, _ = trace(plan.structure, plan.rows, structure, own)
        picked = row.picked and dataclasses.replace(row.picked, cuts=True)
        shapes = picked.cut(shapes) if picked else shapes
        kind = substrate.bind(row.kind.recipe, shapes, row.kind.shape, row.kind.dtype)
        rows[i] = dataclasses.replace(
            row, slot=len(numbers), function=structure, kind=kind, picked=picked
        )
        numbers.append(own)
        changed = True
    if not changed:
        return reparam, at
    plan = Plan(plan.structure, tuple(rows), plan.outer)
    return of_bound(Bound(plan, tuple(numbers), reparam.bound.held)), at


def _function(row: Row, numbers: Sequence[tuple[Any, ...]]) -> LocationScale | None:
    """The function of the `location_scale` of a leaf; `None` if it has none."""
    if row.function is None:
        return None
    function = row.function.build(numbers[row.slot])
    return function if isinstance(function, LocationScale) else None


def shares_of(reparam: Reparam, at: tuple[int, ...]) -> list[Float[Array, "..."]]:
    """λ of each of the rows `at`: the last of a row's numbers."""
    return [reparam.bound.numbers[reparam.bound.plan.rows[i].slot][-1] for i in at]


def with_shares(reparam: Reparam, at: tuple[int, ...], shares: Sequence[Any]) -> Reparam:
    """The Reparam with another λ in each of the rows `at`."""
    return eqx.tree_at(lambda r: shares_of(r, at), reparam, list(shares))


def shares_from_draws(
    target: Target,
    at: tuple[int, ...],
    draws: Float[np.ndarray, "chain n dim"],
    gradients: Float[np.ndarray, "chain n dim"],
) -> list[Float[np.ndarray, "..."]]:
    """λ for which the draws are nearest to independent normal ones.

    Near means a small Fisher divergence, which gradients tell of: those of the neck of a
    funnel are so large that few draws there outweigh many elsewhere.

    Args:
        target: the posterior, in the coordinates of the draws.
        at: the rows whose λ is sought.
        draws: from the posterior.
        gradients: of the log-density at the draws.

    Returns:
        λ of each row.
    """
    reparam = target.posterior.reparam
    plan = reparam.bound.plan
    found = _parts(target, at, jnp.asarray(draws.reshape(-1, draws.shape[-1])))
    shares = []
    for i, parts in zip(at, found, strict=True):
        share = np.array(reparam.bound.numbers[plan.rows[i].slot][-1], np.float64)
        picked = plan.rows[i].picked
        entries = picked.entries if picked else np.arange(share.size)
        given = share.ravel()[entries]
        whole = shape = *draws.shape[:2], given.size
        if len(draws) == 1:
            # One chain is held against itself: each quarter against the others.
            shape = 4, draws.shape[1] // 4, given.size
        last = np.s_[:, draws.shape[1] - math.prod(shape[:2]) // len(draws) :]
        theta, loc, scale, score = (
            np.asarray(x, np.float64).reshape(whole)[last].reshape(shape)
            for x in (*parts, gradients[..., plan.places[i]])
        )
        share.ravel()[entries] = _least_divergent(theta, loc, scale, score, given)
        shares.append(share)
    return shares


def _least_divergent(
    theta: Float[np.ndarray, "chain n element"],
    loc: Float[np.ndarray, "chain n element"],
    scale: Float[np.ndarray, "chain n element"],
    scores: Float[np.ndarray, "chain n element"],
    given: Float[np.ndarray, " element"],
) -> Float[np.ndarray, " element"]:
    """λ of the least divergence, for a whole leaf or for each of its elements.

    One element's draws leave tenths of λ open, those of all together hundredths; but
    elements differ. So it is 0 for all, 1 for all, the best for all or the best for
    each, whichever fits a chain best when it is found from the others (Stone 1974,
    "Cross-validatory choice and assessment of statistical predictions"). An element
    whose draws say nothing keeps what is given.
    """
    with np.errstate(all="ignore"):
        found = _Moments.of(theta, loc, scale, scores, given)
        chains = list(range(len(theta)))
        others = [[c for c in chains if c != out] for out in chains]
        learnt = [found.divergence(rest, rest) for rest in others]
        held = [
            found.divergence(rest, [c]) for rest, c in zip(others, chains, strict=True)
        ]
        of_all = found.divergence(chains, chains)
    known = np.isfinite([of_all, *learnt, *held]).all(axis=(0, 1))
    lost = np.zeros(4)
    for one, other in zip(learnt, held, strict=True):
        shares = _candidates(one[:, known])
        lost += np.take_along_axis(other[:, known], shares, axis=0).sum(axis=1)
    best = given.copy()
    best[known] = _SHARES[_candidates(of_all[:, known])[np.argmin(lost)]]
    return best


def _candidates(
    divergence: Float[np.ndarray, "share element"],
) -> Int[np.ndarray, "4 element"]:
    """Positions in `_SHARES`: first, last, the best for all, the best for each."""
    each = np.argmin(divergence, axis=0)
    common = np.argmin(divergence.sum(axis=1))
    return np.stack([np.full_like(each, i) for i in (0, _GRID - 1, common)] + [each])


class _Moments(NamedTuple):
    """Moments of η = (θ − loc)/scale^(1−λ) + λ loc in each chain, at each λ.

    Attributes:
        mean: the mean of η less its mean over all chains.
        square: the mean of the square of that difference.
        score: the mean square of the log-density's derivative by η.
    """

    mean: Float[np.ndarray, "share chain element"]
    square: Float[np.ndarray, "share chain element"]
    score: Float[np.ndarray, "share chain element"]

    @classmethod
    def of(
        cls,
        theta: Float[np.ndarray, "chain n element"],
        loc: Float[np.ndarray, "chain n element"],
        scale: Float[np.ndarray, "chain n element"],
        scores: Float[np.ndarray, "chain n element"],
        given: Float[np.ndarray, " element"],
    ) -> Self:
        """The moments over the draws of each chain, whose scores are those at `given`."""
        moments = []
        for share in _SHARES:
            eta = (theta - loc) / scale ** (1 - share) + share * loc
            eta = eta - eta.mean(axis=(0, 1))
            score = scores * scale ** (given - share)
            squares = ((eta**2).mean(axis=1), (score**2).mean(axis=1))
            moments.append((eta.mean(axis=1), *squares))
        return cls(*map(np.stack, zip(*moments, strict=True)))

    def divergence(
        self, fitted: list[int], of: list[int]
    ) -> Float[np.ndarray, "share element"]:
        """How far chains are from the normal density that the others are nearest to.

        That is the density for which a² E(score + (η − mean)/a²)², the Fisher divergence
        from it, is least: its a² is the root of Var η over E score². Since E(score η)
        is −1 for any density, the divergence is Var η/a² + a² E score² − 2; what is
        returned is the logarithm of half the sum without the 2, which is 0 at the least.
        """
        mean, score = (x[:, fitted].mean(axis=1) for x in (self.mean, self.score))
        variance = self.square[:, fitted].mean(axis=1) - mean**2
        width = np.sqrt(variance / score)
        square = self.square[:, of].mean(axis=1) - 2 * mean * self.mean[:, of].mean(
            axis=1
        )
        held = (square + mean**2) / width + width * self.score[:, of].mean(axis=1)
        return np.log(held / 2)


@eqx.filter_jit
def _parts(target: Target, at: tuple[int, ...], draws: Array) -> list[Any]:
    """The leaf, its location and its scale at each draw, for each of the rows `at`."""
    flat = target.posterior.flat()
    reparam = target.posterior.reparam
    rows = reparam.bound.plan.rows

    def one(vector: Array) -> list[Any]:
        model = flat.forward(vector)
        found = []
        for i in at:
            row = rows[i]
            function = _function(row, reparam.bound.numbers)
            assert function is not None
            paths = [rows[m].path for m in row.members] or [row.path]
            leaves = [leaf_at(model, path) for path in paths]
            theta = (
                leaves[0]
                if not row.members
                else jnp.concatenate([jnp.ravel(x) for x in leaves])
            )
            own = [
                jnp.broadcast_to(x, theta.shape) for x in function.loc_and_scale(model)
            ]
            take = row.picked.take if row.picked else lambda x: x
            found.append([take(x) for x in (theta, *own)])
        return found

    with substrate.standard_promotion():
        return jax.vmap(one)(draws)


def recentred(
    given: Target, wanted: Target, z: Float[Array, "n dim"], gradients: Array
) -> tuple[Array, Array, Array]:
    """Take points and their gradients to other coordinates of the same model.

    Args:
        given: the posterior in the coordinates of `z`.
        wanted: the same posterior in others.
        z: vectors.
        gradients: of the log-density of `given` there.

    Returns:
        Vectors of the coordinates of `wanted`, the gradients there, and what is to be
        added to the log-density.
    """
    return _recentred(given.posterior.reparam, wanted.posterior.reparam, z, gradients)


@eqx.filter_jit
def _recentred(
    given: Reparam, wanted: Reparam, z: Array, gradients: Array
) -> tuple[Array, Array, Array]:
    def log_det(reparam: Reparam, vector: Array) -> Array:
        return reparam.forward_log_det_jacobian(reparam.unravel(vector))

    def move(source: Reparam, to: Reparam, vector: Array) -> Array:
        found = to.ravel(to.inverse(source.forward(source.unravel(vector))))
        # Vectors of a float32 model may be float64.
        return found.astype(vector.dtype)

    one = functools.partial(
        to_other_coordinates,
        functools.partial(move, given, wanted),
        functools.partial(move, wanted, given),
        (functools.partial(log_det, given), functools.partial(log_det, wanted)),
    )
    with substrate.standard_promotion():
        return jax.vmap(one)(z, gradients)
