"""What speaks against draws: divergences, chains that do not agree, too few of them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
import numpy as np

from .diagnostics import has_arviz_stats

if TYPE_CHECKING:
    from .draws import Draws

# The limit is that of Vehtari et al. 2021, section 2.
R_HAT_LIMIT = 1.01

# The limit is for each chain, after Vehtari et al. 2021, section 4.3.
ESS_LIMIT = 100


class Summary(NamedTuple):
    """What the draws of one number of the model say.

    Attributes:
        mean: the mean.
        sd: the standard deviation.
        low: the 5 % quantile.
        high: the 95 % quantile.
        r_hat: the rank-normalised split R-hat, the larger of that of the values and
            that of their distances from the median; NaN for a constant, or one chain.
        ess: the effective sample size for the bulk; NaN for a constant.
    """

    mean: float
    sd: float
    low: float
    high: float
    r_hat: float
    ess: float


def reasons_for_doubt(draws: "Draws", summary: Mapping[str, Summary]) -> list[str]:
    """What speaks against trusting draws, in plain words.

    Args:
        draws: the draws.
        summary: of them.
    """
    chains, n, _ = draws.vectors.shape
    found = []
    diverging = int(jnp.sum(draws.stats.get("diverging", jnp.zeros(()))))
    if diverging:
        found.append(
            f"{diverging} of {chains * n} transitions diverged: the sampler "
            "could not follow the posterior there, and the draws may miss a part of "
            "it. Raise the target acceptance, or choose other coordinates "
            "(non-centred ones for a hierarchy; where λ was learned, the given ones)"
        )
    if draws.report is not None and draws.report.moved:
        found.append(
            f"in warm-up {draws.report.moved} chains stood in modes that weigh next "
            "to nothing beside that of the others, by a normal approximation, and "
            "went on from the others: the draws do not hold those modes"
        )
    vectors = np.asarray(draws.vectors)
    bad = int(np.sum(~np.isfinite(vectors)))
    if bad:
        found.append(f"{bad} free coordinates of the draws are not finite")
    infinite = [k for k, s in summary.items() if not np.isfinite([s.mean, s.sd]).all()]
    if infinite and not bad:
        found.append(
            f"values of the model are not finite in some draws: {infinite[0]!r}"
            + (f" and {len(infinite) - 1} more" if len(infinite) > 1 else "")
        )
    still = (vectors == vectors[:, :1]).all(axis=1).any(axis=0) & (n > 1)
    if still.any():
        labels = [draws.posterior.labels[i] for i in np.flatnonzero(still)]
        found.append(
            f"a chain never moved in {len(labels)} of {vectors.shape[2]} free "
            f"coordinates, such as '{labels[0]}'"
        )
    if not has_arviz_stats():
        found.append(
            "R-hat and effective sample sizes are not known without the package "
            'arviz-stats: pip install "bijectree[blackjax]"'
        )
    apart = {k: s for k, s in summary.items() if s.r_hat > R_HAT_LIMIT}
    if apart:
        worst = max(apart, key=lambda k: apart[k].r_hat)
        found.append(
            f"the chains do not agree on {len(apart)} of {len(summary)} numbers: "
            f"R-hat of '{worst}' is {apart[worst].r_hat:.3f}, above {R_HAT_LIMIT}. "
            "Run longer, or look for several modes"
        )
    few = {k: s for k, s in summary.items() if s.ess < ESS_LIMIT * chains}
    if few:
        worst = min(few, key=lambda k: few[k].ess)
        found.append(
            f"too few independent draws of {len(few)} of {len(summary)} numbers: "
            f"'{worst}' has an effective sample size of {few[worst].ess:.0f}, below "
            f"{ESS_LIMIT} per chain. Run longer"
        )
    return found
