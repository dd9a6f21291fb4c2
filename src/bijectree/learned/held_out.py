"""Draws that a fit has not seen, to compare coordinates before and after it."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .. import substrate
from ..posterior import Target
from . import short_chains
from .fit_report import Figures, figures, fisher_divergence
from .low_rank import AffineMap
from .short_chains import Window

CHAINS = 4

# A chain has so many steps, of which the last are kept.
_STEPS, _KEPT = 100, 75


def sample(after: Target, key: PRNGKeyArray, guide: AffineMap) -> Window:
    """Draw by NUTS, in the coordinates of `after`; the start of the chains is left out.

    Args:
        after: the posterior.
        key: a PRNG key.
        guide: maps the base about to where the posterior is in these coordinates; only
            the cost of the draws depends on the guide.
    """
    key_start, key_run, key_probe = jax.random.split(key, 3)
    near = after.through(after.posterior.reparam.then(guide.bijector()))
    start = jax.random.normal(key_start, (CHAINS, after.posterior.dim))
    window = short_chains.run(near, key_run, start, _STEPS)
    window = short_chains.require_finite(after, guide, window, key_probe)
    found = window.later(_KEPT)
    return found._replace(
        vectors=guide.forward(found.vectors.astype(np.float64)),
        gradients=guide.push(found.gradients.astype(np.float64)),
    )


def sample_from(
    after: Target, key: PRNGKeyArray, start: Float[Array, "chains dim"]
) -> Window | None:
    """`sample` from given starts, or `None` if a chain cannot leave where it is."""
    if not np.isfinite(start).all():
        return None
    found = short_chains.run(after, key, start, _STEPS)
    return None if found.stuck.any() else found.later(_KEPT)


def compare(
    before: Target, after: Target, sampled: Target, *groups: Float[np.ndarray, "n dim"]
) -> Figures:
    """The figures before and after, at draws in the coordinates of `sampled`."""
    draws = np.concatenate(groups)
    group = np.repeat(np.arange(len(groups)), [len(part) for part in groups])
    pairs = [
        (np.asarray(move(sampled, to, jnp.asarray(draws))), to) for to in (before, after)
    ]
    inside = np.all([np.isfinite(x).all(axis=1) for x, _ in pairs], axis=0)
    if not inside.any():
        nothing = (math.nan, math.nan)
        return Figures(nothing, nothing, worse=True, draws=0, spent=0)
    scored = [(x[inside], short_chains.gradients(to, x[inside])) for x, to in pairs]
    (x, scores), (z, others) = scored
    group = group[inside]
    better = [
        fisher_divergence(z[these], others[these])
        <= fisher_divergence(x[these], scores[these])
        for these in (group == i for i in np.unique(group))
    ]
    return figures(x, scores, z, others, worse=not all(better), spent=2 * len(x))


@eqx.filter_jit
def move(given: Target, wanted: Target, z: Array) -> Array:
    """Vectors of the coordinates of `given` as vectors of those of `wanted`."""
    with substrate.standard_promotion():
        to, back = given.posterior.flat(), wanted.posterior.flat()
        return jax.vmap(lambda z: back.inverse(to.forward(z)))(z)
