"""Chains that have stopped in a mode without weight."""

import numpy as np

from .tuned import WarmUp

# A chain in a mode lighter than the best by this factor's logarithm is moved.
_LIGHTER = 30.0


def leave_light_modes(state: WarmUp) -> None:
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
