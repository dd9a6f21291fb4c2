"""How correlated a Dirichlet density leaves the log-ratios of its parts, in closed form.

The parts are gamma variables over their sum, whose logarithms have the variances ψ′(aᵢ);
log-ratios are linear in them. The coordinates of the broken stick are independent.
"""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

import bijectree as bt

from .map_posteriors import COUNTS

DIRICHLETS = {
    "Dirichlet(1), K = 3": np.ones(3),
    "Dirichlet(1), K = 10": np.ones(10),
    "Dirichlet(1), K = 100": np.ones(100),
    "one part of 1000, nine of 0.5": np.array([1000.0, *[0.5] * 9]),
    "rising 1, 3, …, 30,000": np.array(COUNTS, float),
}


def condition(concentration: np.ndarray, via: str, *, turned: bool) -> float:
    """The condition number of the correlations of free coordinates."""
    size = len(concentration)
    order = tuple(range(size))[::-1] if turned else None
    bijector = bt.simplex(via=via, order=order)  # pyright: ignore[reportArgumentType]

    def free(log: jax.Array) -> jax.Array:
        return bijector.inverse(jax.nn.softmax(log))

    slope = np.asarray(jax.jacobian(free)(jnp.zeros(size)))
    covariance = slope * special.polygamma(1, concentration) @ slope.T
    sd = np.sqrt(np.diagonal(covariance))
    values = np.linalg.eigvalsh(covariance / sd / sd[:, None])
    return float(values[-1] / values[0])


def conditions() -> dict[str, dict[str, float]]:
    """Condition numbers by Dirichlet density and map."""
    return {
        name: {
            f"{via}{', turned' if turned else ''}": condition(a, via, turned=turned)
            for via in ("ilr", "additive_log_ratio")
            for turned in (False, True)
        }
        for name, a in DIRICHLETS.items()
    }
