"""Chains that have stopped in a mode without weight."""

import numpy as np

from .tuned import WarmUp

# A chain in a mode lighter than another by this factor's logarithm is moved; for each
# coordinate the second is added, since few draws leave the mass open.
_LIGHTER, _OPEN = 25.0, 0.5


def leave_light_modes(state: WarmUp) -> None:
    """Move chains out of modes without weight, to draws of the others.

    The log of a mode's mass is about the mean log-density of its draws plus their
    entropy, for a normal density log|Σ|/2. That is at most half the sum of the logs of
    the draws' variances, and at least minus that of the gradients', whose covariance is
    Σ⁻¹ (Hadamard's inequality for both). So a mode counts as light if the most that it
    may weigh is far below the least that another weighs; and the log-density, of which
    all is known, must be far below, too.
    """
    (steps,) = state.kept
    later = slice(-(-steps.vectors.shape[1] // 2), None)
    density = steps.log_density[:, later].astype(np.float64)
    with np.errstate(all="ignore"):
        wide, steep = (
            np.log(x[:, later].astype(np.float64).var(axis=1)).sum(axis=1) / 2
            for x in (steps.vectors, steps.gradients)
        )
        most, least = density.mean(axis=1) + wide, density.mean(axis=1) - steep
    # A chain that never moved has no spread.
    most, least = (np.where(np.isfinite(x), x, -np.inf) for x in (most, least))
    best = int(np.argmax(least))
    margin = _LIGHTER + _OPEN * steps.vectors.shape[2]
    lowest = density[best].mean() - margin - 5 * density[best].std()
    light = ~(most > least[best] - margin) & ~(density.mean(axis=1) > lowest)
    if not light.any() or not np.isfinite(least[best]):
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
