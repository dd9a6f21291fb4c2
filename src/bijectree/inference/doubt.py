"""What speaks against draws: divergences, chains that do not agree, too few of them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .diagnostics import diagnose, has_arviz_stats
from .rounded import most_frequent, rounded_numbers

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


def summarise(
    names: Sequence[str], x: Float[np.ndarray, "chains draws n"]
) -> dict[str, Summary]:
    """What the draws of numbers say, by the names of these."""
    if not names:
        return {}
    # Infinite draws are told of by `reasons_for_doubt`.
    with np.errstate(invalid="ignore"):
        low, high = np.quantile(x, [0.05, 0.95], axis=(0, 1))
        mean, sd = x.mean(axis=(0, 1)), x.std(axis=(0, 1))
        rows = zip(mean, sd, low, high, *diagnose(x), strict=True)
    return {
        name: Summary(*map(float, row)) for name, row in zip(names, rows, strict=True)
    }


def reasons_for_doubt(
    draws: "Draws",
    summary: Mapping[str, Summary],
    x: Float[np.ndarray, "chains draws n"],
) -> list[str]:
    """What speaks against trusting draws, in plain words.

    Args:
        draws: the draws.
        summary: of them.
        x: the numbers of the model that the summary is of.
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
    if (rounded := rounded_numbers(draws, x)).any():
        at = int(np.argmax(rounded))
        value, same = most_frequent(x[..., at])
        more = int(rounded.sum()) - 1
        found.append(
            f"{same} of {chains * n} draws of '{list(summary)[at]}'"
            + (f", and many of {more} other numbers," if more else "")
            + f" are one number, {value:.9g}, though their free coordinates differ: "
            "rounding hides how far they are from the edge of their set, or how little "
            "they vary. Use float64, or make the distance from that edge the parameter"
        )
    if chains == 1:
        found.append(
            "one chain alone says nothing of whether chains agree: R-hat is not known. "
            "A sampler of Markov chains should draw several"
        )
    if n < 4:
        found.append(
            f"{n} draws of each chain are too few to say anything of: R-hat and "
            "effective sample sizes need 4. Run longer"
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
            "Run longer. If they stand in several modes, of which one outweighs the "
            "others, start from the model that bt.find_map(..., starts=8) finds"
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
