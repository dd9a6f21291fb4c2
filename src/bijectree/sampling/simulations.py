"""One simulation of a calibration after another: a truth, its data, draws, ranks."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray, PyTree

from ..inference import Draws, diagnose
from ..posterior import Posterior, Target
from ..reparam import Row, SupportError, model_leaves
from ..trees import describe, is_array, raise_all
from .quantities import at_draws, at_model, constant, names_of, rounding_of
from .ranks import ranks_of
from .sample import sample

EXPECTED = "(truth, posterior, data)"


class Simulation(NamedTuple):
    """What one simulation found.

    Attributes:
        ranks: of the truth among the draws, one a quantity.
        lowest: the smallest value of each quantity, of the truth and all draws.
        highest: the largest.
        rounding: the relative rounding of each.
        diverging: how many transitions diverged.
        r_hat: the largest; NaN if it is not known.
        ess: the smallest effective sample size; NaN if it is not known.
        outside: whether the truth is outside the support of the coordinates.
    """

    ranks: Int[np.ndarray, " k"]
    lowest: Float[np.ndarray, " k"]
    highest: Float[np.ndarray, " k"]
    rounding: Float[np.ndarray, " k"]
    diverging: int
    r_hat: float
    ess: float
    outside: bool


class _Drawn(NamedTuple):
    """All quantities at draws, and what the sampler said of these."""

    values: Float[np.ndarray, "chains draws k"]
    diverging: int
    r_hat: float
    ess: float


class Simulations:
    """What the simulations of a calibration have in common.

    Args:
        make: of the user.
        draws: how many are kept.
        per_chain: how many are taken at once of each chain.
        most: how often so many are taken, at most.
        options: of `sample`.
    """

    def __init__(
        self,
        make: Callable[..., Any],
        draws: int,
        per_chain: int,
        most: int,
        options: dict[str, Any],
    ):
        self._make, self._options = make, options
        self._draws, self._per_chain, self._most = draws, per_chain, most
        self._rows: tuple[Row, ...] = ()
        self._rounding = np.zeros(0)
        self._program: Any = None
        self._warned = False

    @property
    def names(self) -> list[str]:
        """One name a quantity; empty before the first simulation."""
        return names_of(self._rows)

    def simulate(self, key: PRNGKeyArray) -> Simulation:
        """Make a truth and its data, sample, and rank."""
        key_make, key_sample, key_ties = jax.random.split(key, 3)
        truth, posterior, data = _parts(self._make(key_make))
        self._compare_models(posterior)
        outside = False
        try:
            posterior.reparam.inverse(truth)
        except SupportError:
            outside = True
        target = Target(posterior, data)
        self._compare_programs(target)
        bound = posterior.reparam.bound
        wanted = at_model(target, model_leaves(bound.plan, truth, bound.held))
        self._refuse_nan(wanted, "the truth")
        drawn = self._sample(posterior, data, key_sample)
        flat = drawn.values.reshape(-1, len(wanted))
        kept = (2 * np.arange(self._draws) + 1) * len(flat) // (2 * self._draws)
        uniform = np.asarray(jax.random.uniform(key_ties, wanted.shape))
        return Simulation(
            ranks=ranks_of(wanted, flat[kept], uniform),
            lowest=np.minimum(flat.min(axis=0), wanted),
            highest=np.maximum(flat.max(axis=0), wanted),
            rounding=self._rounding,
            diverging=drawn.diverging,
            r_hat=drawn.r_hat,
            ess=drawn.ess,
            outside=outside,
        )

    def _sample(
        self, posterior: Posterior, data: tuple[Any, ...], key: PRNGKeyArray
    ) -> _Drawn:
        """Draw until as many draws are independent as are kept.

        The parts have one size, so that one program serves them.
        """
        parts, diverging, last, drawn = [], 0, None, None
        while True:
            part_key = jax.random.fold_in(key, len(parts))
            try:
                last = self._sample_part(posterior, data, part_key, last)
            except ValueError:
                if drawn is None:
                    raise
                # `sample` does not go on where rounding decides the density of its last
                # draws. The effective sample size tells of it.
                return drawn
            if last.vectors.shape[1] < self._per_chain:
                # `sample` gives back what there is at Ctrl-C.
                raise KeyboardInterrupt
            diverging += int(last.stats["diverging"].sum())
            part = at_draws(Target(last.posterior, data), last.vectors)
            self._refuse_nan(part.reshape(-1, part.shape[-1]).T, "draws")
            parts.append(part)
            values = np.concatenate(parts, axis=1)
            ends = values.min(axis=(0, 1)), values.max(axis=(0, 1))
            varies = ~constant(*ends, self._rounding)
            r_hat, ess = diagnose(values[..., varies])
            least = _nan_or(np.min, ess)
            drawn = _Drawn(values, diverging, _nan_or(np.max, r_hat), least)
            # What is not known, as that of a constant, does not grow either.
            if not least < self._draws or len(parts) >= self._most:
                return drawn

    def _sample_part(
        self,
        posterior: Posterior,
        data: tuple[Any, ...],
        key: PRNGKeyArray,
        last: Draws | None,
    ) -> Draws:
        with warnings.catch_warnings():
            # What a sampler warns of is counted.
            warnings.simplefilter("ignore", UserWarning)
            return sample(
                posterior,
                key,
                *data,
                draws=self._per_chain,
                resume=last,
                progress=False,
                **self._options,
            )

    def _compare_models(self, posterior: Posterior) -> None:
        """Raise if a model has other leaves with coordinates than the first one."""
        rows = posterior.reparam.bound.plan.rows
        if not self._rows:
            self._rows, self._rounding = rows, rounding_of(rows)
        now = {row.path: row.shape for row in rows if row.role == "free"}
        first = {row.path: row.shape for row in self._rows if row.role == "free"}
        raise_all(
            "calibrate: `make` must return models of one kind",
            [
                f"at '{path}': got {_word(now.get(path))}, in the first simulation "
                f"{_word(first.get(path))}"
                for path in {**first, **now}
                if now.get(path) != first.get(path)
            ],
        )

    def _compare_programs(self, target: Target) -> None:
        """Warn once if a posterior needs other programs than the one before."""
        leaves, treedef = jtu.tree_flatten(target)
        kinds = [(np.shape(x), x.dtype) if is_array(x) else x for x in leaves]
        program = (treedef, kinds)
        if self._program is not None and program != self._program and not self._warned:
            self._warned = True
            warnings.warn(
                "calibrate: the posteriors of two simulations are not one program, so "
                "that each is compiled. Define the log-likelihood and the prior's "
                "functions outside of `make`, and give data of one shape, as arrays",
                stacklevel=4,
            )
        self._program = program

    def _refuse_nan(self, values: Float[np.ndarray, "k ..."], what: str) -> None:
        mask = np.isnan(values).reshape(len(values), -1).any(axis=1)
        raise_all(
            f"calibrate: NaN has no rank; it stands in {what}",
            [f"'{self.names[i]}'" for i in np.flatnonzero(mask)[:8]],
        )


def _parts(made: Any) -> tuple[PyTree, Posterior, tuple[Any, ...]]:
    """What `make` returned, or an error that says what is wrong with it."""
    if not isinstance(made, tuple) or len(made) != 3:
        raise TypeError(f"calibrate: `make` must return {EXPECTED}, got {describe(made)}")
    truth, posterior, data = made
    faults = []
    if not isinstance(posterior, Posterior):
        faults.append(f"the second must be a bt.Posterior, got {describe(posterior)}")
    if isinstance(truth, Posterior):
        faults.append("the first must be a model, got a Posterior, which is the second")
    if not isinstance(data, tuple):
        faults.append(
            "the third must be a tuple of what the log-likelihood takes after the "
            f"model, as (y,), got {describe(data)}"
        )
    raise_all(f"calibrate: `make` must return {EXPECTED}", faults, error=TypeError)
    return truth, posterior, data


def _nan_or(function: Callable[..., Any], x: np.ndarray) -> float:
    """A statistic of what is known of `x`; NaN if nothing is."""
    known = x[~np.isnan(x)]
    return float(function(known)) if known.size else float("nan")


def _word(shape: tuple[int, ...] | None) -> str:
    return "no coordinates" if shape is None else f"shape {shape}"
