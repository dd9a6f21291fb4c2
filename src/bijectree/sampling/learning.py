"""What a warm-up learns from the draws of all chains: maps, bends, an affine map, λ."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from ..constraints import SetTag
from ..learned import low_rank
from ..learned.centeredness import recentred, shares_from_draws, shares_of, with_shares
from ..learned.choose_maps import choose_maps, with_alternatives
from ..learned.fit_warp import fit_warp
from ..learned.low_rank import AffineMap
from ..learned.warp import Warp
from ..posterior import Target
from ..reparam import Reparam
from . import chains_on_devices
from .chains import Standing
from .tuned import WarmUp

# A map is fitted to no more numbers than that.
_MOST = 20_000_000

# Another map of one of these sets is taken where the given one, bent, leaves more than a
# divergence a coordinate, and the other less by a share: the program of the chains must
# be compiled anew.
_SETS = (SetTag.SIMPLEX, SetTag.INCREASING, SetTag.CORR_CHOLESKY)
_FAR, _CLEARLY = 0.3, 0.5


def learn_warp(state: WarmUp, *, dropping: bool) -> None:
    """Bend the coordinates for which that pays, from the draws that `learn_map` takes."""
    outer = state.tuned.outer
    if outer.warp is None:
        return
    (steps,) = state.kept
    known = _near(steps.log_density, steps.vectors.shape[2], dropping=dropping)
    chains = [
        (x[near], gradients[near])
        for x, gradients, near in zip(steps.vectors, steps.gradients, known, strict=True)
    ]
    fitted = fit_warp(chains, outer.affine.root.size, judged=False).warp
    numbers = chains_on_devices.of_first(dataclasses.asdict(fitted))
    warp = Warp(**{name: np.asarray(x, np.float64) for name, x in numbers.items()})
    state.tuned = state.tuned._replace(outer=dataclasses.replace(outer, warp=warp))


def learn_map(state: WarmUp, *, dropping: bool) -> None:
    """Fit the map to what was kept, in early windows to what is near the mode alone."""
    (steps,) = state.kept
    outer = state.tuned.outer
    point = (steps.vectors, steps.log_density, steps.gradients)
    x, _, gradients = outer.straightened(*(part.astype(np.float64) for part in point))
    dim = x.shape[2]
    stride = max(1, -(-x.size // _MOST))
    known = _near(steps.log_density, dim, dropping=dropping)
    groups = [
        (x[i][known[i]][::stride], gradients[i][known[i]][::stride])
        for i in range(len(x))
    ]
    columns = outer.affine.root.size
    fitted = low_rank.from_scores_of_chains(groups, columns)
    if fitted is not None:
        padded = low_rank.padded(fitted, columns)
        numbers = chains_on_devices.of_first(dataclasses.asdict(padded))
        numbers = {name: np.asarray(x, np.float64) for name, x in numbers.items()}
        affine = AffineMap(**numbers)
        state.tuned = state.tuned._replace(
            outer=dataclasses.replace(outer, affine=affine)
        )


def _near(
    log_density: Float[np.ndarray, "chains n"], dim: int, *, dropping: bool
) -> Bool[np.ndarray, "chains n"]:
    """Which draws do not come from the way to the mode; all, if none are to be dropped.

    A map is right for a normal density wherever its draws come from, so that to leave
    out is safe, and those far away spoil the map of any other density.
    """
    if not dropping:
        return np.ones(log_density.shape, bool)
    known = np.where(np.isfinite(log_density), log_density, -np.inf)
    lowest = np.quantile(known, 0.95, method="lower") - 3 * dim - 15
    return known >= min(lowest, np.quantile(known, 0.75, method="lower"))


def learn_maps(state: WarmUp) -> bool:
    """Take another map of a set where bending the given one leaves it far from normal.

    The maps of single numbers stay: they differ by little that bending does not mend.

    Returns:
        Whether the coordinates are of another structure now.
    """
    reparam = state.tuned.reparam
    if state.tuned.outer.warp is None or reparam.bound.outer_names():
        return False
    (steps,) = state.kept
    choices = choose_maps(
        reparam,
        steps.vectors.astype(np.float64),
        steps.gradients.astype(np.float64),
        sets=_SETS,
        far=_FAR,
        share=_CLEARLY,
    )
    found = {c.row: (np.asarray(c.number), c.middle) for c in choices}
    found = chains_on_devices.of_first(found)
    maps = {row: (int(n), np.asarray(x)) for row, (n, x) in found.items() if n >= 0}
    if not maps:
        return False
    state.tuned = state.tuned._replace(maps=maps)
    _change_coordinates(state, with_alternatives(reparam, maps))
    return True


def learn_shares(state: WarmUp) -> None:
    """Find λ anew, and take all that is known to the new coordinates."""
    (steps,) = state.kept
    before = state.given.through(state.tuned.reparam)
    shares = shares_from_draws(before, state.tuned.rows, steps.vectors, steps.gradients)
    old = shares_of(state.tuned.reparam, state.tuned.rows)
    if all(np.array_equal(a, b) for a, b in zip(old, shares, strict=True)):
        return
    reparam = with_shares(
        state.tuned.reparam,
        state.tuned.rows,
        [np.asarray(x, np.asarray(y).dtype) for x, y in zip(shares, old, strict=True)],
    )
    _change_coordinates(state, reparam)


def _change_coordinates(state: WarmUp, reparam: Reparam) -> None:
    """Take all that is known to other coordinates beneath the outer map."""
    (steps,) = state.kept
    before, after = (state.given.through(x) for x in (state.tuned.reparam, reparam))
    shape = steps.vectors.shape
    # The chains stand at the last rows of one batch.
    flat = Standing(
        np.concatenate([steps.vectors.reshape(-1, shape[2]), state.standing.vectors]),
        np.concatenate([steps.log_density.reshape(-1), state.standing.log_density]),
        np.concatenate([steps.gradients.reshape(-1, shape[2]), state.standing.gradients]),
    )
    moved = in_other_coordinates(before, after, flat)
    state.kept = [
        steps._replace(
            vectors=moved.vectors[: -shape[0]].reshape(shape),
            log_density=moved.log_density[: -shape[0]].reshape(shape[:2]),
            gradients=moved.gradients[: -shape[0]].reshape(shape),
        )
    ]
    state.standing = Standing(*(x[-shape[0] :] for x in moved))
    state.tuned = state.tuned._replace(reparam=reparam)


def in_other_coordinates(before: Target, after: Target, x: Standing) -> Standing:
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
