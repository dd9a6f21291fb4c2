"""`fit_maps`: choose the map of each leaf by draws, and bend it where that pays."""

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import PRNGKeyArray, PyTree
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from ..inference import (
    Draws,
    require_counts,
    require_free_posterior,
    require_host,
    typed_key,
)
from ..inference.diagnostics import diagnose
from ..learned.choose_maps import LeafChoice, choose_maps, with_maps
from ..learned.held_out import move
from ..learned.short_chains import gradients
from ..posterior import Posterior, Target
from ..reparam import Reparam
from ..trees import as_text, cut_paths
from .sample import sample

# Each chain keeps so many draws to choose by.
_DRAWS = 200

# With a larger R-hat they have not seen the same density.
_AGREE = 1.1


@dataclasses.dataclass(frozen=True, eq=False)
class MapsReport:
    """What `fit_maps` chose, and what that cost.

    `str(report)` is a plain table, the same wherever it is printed.

    Attributes:
        leaves: the choices, one a leaf: `path`, `before` and `after` in words, and
            `divergence_before` and `divergence_after`: the Fisher divergence to a
            standard normal density that an affine map of the leaf leaves, a coordinate,
            of draws that it was not fitted to. 0 is a normal density.
        gradients: how many gradients of the log-density were spent.
        notes: what is to be said against the draws.
    """

    leaves: tuple[LeafChoice, ...]
    gradients: int
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The table as plain text."""
        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
        for name in ("leaf", "map", "left", "new map", "left"):
            justify = "right" if name == "left" else "left"
            table.add_column(name, no_wrap=True, justify=justify)
        paths = cut_paths([leaf.path or "(the model)" for leaf in self.leaves])
        for path, leaf in zip(paths, self.leaves, strict=True):
            after = leaf.after if leaf.changed else "as it is"
            figures = (leaf.divergence_before, leaf.divergence_after)
            before, left = (f"{x:.2g}" for x in figures)
            cells = (path, leaf.before, before, after, left if leaf.changed else "")
            table.add_row(*map(Text, cells))
        lines = [as_text(table)] if self.leaves else []
        lines += [
            "",
            "left: the Fisher divergence to a normal density, a coordinate; 0 is normal",
            f"gradients spent: {self.gradients:,}",
        ]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    __repr__ = __str__


def fit_maps(
    posterior: Posterior,
    key: PRNGKeyArray,
    *data: Any,
    start: Literal["uniform", "prior"] | PyTree = "uniform",
    chains: int = 4,
    warm_up: int | None = None,
    progress: bool = True,
) -> tuple[Reparam, MapsReport]:
    """Choose each leaf's map from those of its set, and bend it where that pays.

    `sample` draws a few hundred times. For each leaf by itself, the draws and the
    gradients of the log-density are taken to the free coordinates of each map of its set
    (`positive` by exp or softplus, `interval` by the logistic function or the normal
    one, `simplex` by log-ratios or stick-breaking in several orders, `corr_cholesky` by
    tanh or angles), with and without a `sinh_arcsinh` map of each coordinate before it.
    That with the least Fisher divergence to a normal density is taken, on chains that it
    was not fitted to; the given one stays where no other is clearly better.

    The density of the model stays the same: only the geometry changes. The numbers are
    rounded to three digits, so that the spec can be read (`summary`), saved
    (`save_spec`) and written into a script; in words, "a, after b" maps by b and then by
    a. `sample` bends coordinates by itself in its warm-up, and changes a map only where
    that leaves a simplex, an ordered vector or a factor of correlations far from normal:
    to fit the maps first pays where several runs share them, another sampler uses them,
    or a map of numbers is far from the best.

    Args:
        posterior: a Posterior.
        key: a PRNG key.
        *data: what its log-likelihood takes after the model.
        start: where the chains start, the `start` of `Posterior.initial`.
        chains: how many chains.
        warm_up: as in `sample`.
        progress: whether to show a progress bar, on the standard error.

    Returns:
        The Reparam, and a report. A leaf keeps its map if that depends on other leaves,
        is masked or joint, is augmented (`sphere`, `circular`), or is onto a set that is
        not known.

    Raises:
        ImportError: BlackJAX is not installed.
        ValueError: the posterior's coordinates have a map over all leaves (`then`), which
            was made for the maps that are there; and all that `sample` raises.

    Example:
        >>> import bijectree as bt, jax, jax.numpy as jnp
        >>> reparam = bt.Reparam({"scale": jnp.array(100.0)}, bt.positive(via="softplus"))
        >>> posterior = bt.Posterior(reparam, None, bt.tfd.LogNormal(5.0, 0.3))
        >>> fitted, report = bt.fit_maps(posterior, jax.random.key(0), progress=False)
        >>> report.leaves[0].before, report.leaves[0].after
        ('positive via softplus', 'positive')
    """
    require_host("fit_maps", posterior=posterior, start=start, data=data, key=key)
    require_free_posterior(posterior, "fit_maps")
    require_counts("fit_maps", chains=chains, warm_up=1 if warm_up is None else warm_up)
    key = typed_key("fit_maps", key)
    names = posterior.reparam.bound.outer_names()
    if names:
        raise ValueError(
            f"fit_maps: over all free coordinates there is {', '.join(names)}, made for "
            "the maps that are there; fit the maps first, then that"
        )
    with warnings.catch_warnings():
        # So few draws are not to estimate from.
        warnings.simplefilter("ignore", UserWarning)
        draws = sample(
            posterior,
            key,
            *data,
            start=start,
            chains=chains,
            draws=_DRAWS,
            warm_up=warm_up,
            progress=progress,
        )
    given = Target(posterior, data)
    sampled = given.through(draws.posterior.reparam)
    flat = draws.vectors.reshape(-1, draws.vectors.shape[2])
    vectors = np.asarray(move(sampled, given, flat))
    scores = gradients(given, vectors)
    shape = draws.vectors.shape[:2] + (posterior.dim,)
    choices = choose_maps(
        posterior.reparam, vectors.reshape(shape), scores.reshape(shape)
    )
    spent = (draws.gradients or 0) + len(vectors)
    changed = {choice.row: choice.bijector for choice in choices if choice.changed}
    fitted = with_maps(posterior.reparam, changed)
    return fitted, MapsReport(tuple(choices), spent, _doubts(draws, choices))


def _doubts(draws: Draws, choices: Sequence[LeafChoice]) -> tuple[str, ...]:
    """What is to be said against draws to choose by, which need not be many."""
    r_hat, _ = diagnose(np.asarray(draws.vectors, np.float64))
    worst = np.max(r_hat, initial=1.0, where=np.isfinite(r_hat))
    found = [
        f"'{choice.path}' was not looked at: over a tenth of its draws are so near the "
        "edge of its set, or so large, that rounding leaves no free coordinates of "
        "them; float64 has room for more"
        for choice in choices
        if np.isinf(choice.divergence_before)
    ]
    if worst >= _AGREE:
        found.append(
            "the choice is not to be relied on, since the chains do not agree (R-hat up "
            f"to {worst:.2f}): give more `warm_up`, or another `start`; or a direction "
            "is bounded neither by the data nor by the prior"
        )
    return tuple(found)
