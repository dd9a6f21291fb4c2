"""What speaks against draws: divergences, chains that do not agree, too few of them."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from ..reparam import Plan, Row, owner
from .diagnostics import diagnose, has_arviz_stats
from .from_models import inverses

if TYPE_CHECKING:
    from .draws import Draws

# The limit is that of Vehtari et al. 2021, section 2.
R_HAT_LIMIT = 1.01

# Where the draws of a number have a value more often than by this share, it is rounded.
_SAME = 0.01

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
    if (rounded := _rounded(draws, x)).any():
        at = int(np.argmax(rounded))
        value, same = _most_frequent(x[..., at])
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


def _rounded(
    draws: "Draws", x: Float[np.ndarray, "chains draws n"]
) -> Bool[np.ndarray, " n"]:
    """Which numbers are often one and the same, where the free coordinates are not."""
    plan = draws.posterior.reparam.bound.plan
    vectors = np.asarray(draws.vectors)
    changed = vectors[:, 1:] != vectors[:, :-1]
    at = _coordinates(plan)
    found = []
    end = 0
    for i, row in enumerate(plan.rows):
        if row.role not in ("free", "tied") or _is_complex(row):
            continue
        start, end = end, end + math.prod(row.shape)
        own, numbers = changed[..., sorted(at[i])], x[..., start:end]
        these = _repeated(own.any(axis=2), numbers)
        # A function may map many numbers to one, and its source is told of.
        these &= row.role == "free"
        kind = plan.rows[owner(plan.rows, i)].kind
        elementwise = kind is None or kind.elementwise
        if elementwise and own.shape[2] == end - start:
            for n in np.flatnonzero(these):
                these[n] = _repeated(own[..., n], numbers[..., [n]]).any()
            found.append(these)
            continue
        # The first number of a Cholesky factor of a correlation is 1 in any draw.
        these &= (numbers != numbers[:1, :1]).any(axis=(0, 1))
        if these.any() and not elementwise:
            # The other numbers of an event may tell what this one does not: in a Cholesky
            # factor of a correlation near 0, a 1 on the diagonal hides nothing.
            known = np.all(_come_back(draws)[..., sorted(at[i])], axis=2)
            for n in np.flatnonzero(these):
                same = numbers[..., n] == _most_frequent(numbers[..., n])[0]
                these[n] = not known[same].all()
        found.append(these)
    return np.concatenate([np.zeros(0, bool), *found])


def _is_complex(row: Row) -> bool:
    return jnp.issubdtype(row.dtype, jnp.complexfloating)


def _coordinates(plan: Plan) -> dict[int, set[int]]:
    """The places in a free vector of the coordinates that each leaf is a function of."""
    sizes = [math.prod(row.free_shape) for _, row in plan.free]
    ends = np.cumsum([0, *sizes]).tolist()
    found: dict[int, set[int]] = {}
    for n, (i, _) in enumerate(plan.free):
        found[i] = set(range(ends[n], ends[n + 1]))
    if plan.outer:
        found = dict.fromkeys(found, set(range(ends[-1])))
    for i, row in plan.order:
        found[i] = found.get(i, set()).union(
            *(found.get(owner(plan.rows, j), set()) for j in row.on)
        )
    return {i: found.get(owner(plan.rows, i), set()) for i in range(len(plan.rows))}


def _repeated(
    moved: Bool[np.ndarray, "chains steps"], x: Float[np.ndarray, "chains draws n"]
) -> Bool[np.ndarray, " n"]:
    """Which numbers are often one and the same, of the draws that a move led to."""
    values = np.sort(x[:, 1:][moved], axis=0)
    least = max(2, round(_SAME * len(values)))
    if least >= len(values):
        return np.zeros(x.shape[2], bool)
    # Where a value comes so often, it stands so many places from itself.
    return (values[least:] == values[:-least]).any(axis=0)


def _come_back(draws: "Draws") -> Bool[np.ndarray, "chains draws dim"]:
    """Which free coordinates models still tell, but for a hundredth of the spread."""
    reparam, z = draws.posterior.reparam, np.asarray(draws.vectors)
    plan = reparam.bound.plan
    leaves = plan.structure.treedef.flatten_up_to(draws.models)
    batch = [
        leaf.reshape(-1, *row.shape) if row.role in ("free", "tied") else None
        for row, leaf in zip(plan.rows, leaves, strict=True)
    ]
    again = np.asarray(inverses(reparam, batch)[0]).reshape(z.shape)
    with np.errstate(invalid="ignore"):
        return np.abs(again - z) <= _SAME * z.std(axis=(0, 1))


def _most_frequent(x: Float[np.ndarray, "chains draws"]) -> tuple[float, int]:
    values, counts = np.unique(x, return_counts=True)
    return float(values[np.argmax(counts)]), int(counts.max())
