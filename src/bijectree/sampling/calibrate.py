"""`calibrate`: simulation-based calibration of a model, its coordinates and `sample`."""

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from ..inference import bar, optional_import, require_counts
from ..posterior import Posterior
from ..trees import describe, raise_all
from .calibration import Calibration
from .quantities import constant
from .sample import sample
from .simulations import EXPECTED, Simulation, Simulations

# A chi-squared test of fewer simulations says nothing.
_FEWEST = 20

# So many draws are taken for each that is kept: more than independence asks for, so that
# R-hat means something. Where the effective sample size is too small, this many times as
# many are taken, at most.
_THIN, _MOST = 10, 10


def calibrate(
    make: Callable[[PRNGKeyArray], tuple[PyTree, Posterior, tuple[Any, ...]]],
    key: PRNGKeyArray,
    *,
    n: int = 200,
    draws: int = 99,
    chains: int = 4,
    thin: int | None = None,
    progress: bool = True,
    **options: Any,
) -> Calibration:
    """Test a posterior and its sampler, by truths drawn from the prior.

    A truth that is drawn from the prior, and draws from its posterior given data that are
    simulated from it, have one distribution: the rank of each number of the truth among
    independent draws is any from 0 to their number, with equal probability (Talts,
    Betancourt, Simpson, Vehtari & Gelman 2018, arXiv 1804.06788, theorem 1). Ranks that
    are not even say that the prior, the likelihood, a Jacobian or the sampler is wrong,
    or that the simulator is not that of the model. Draws that ignore some of the data
    leave the ranks of the model's numbers even; they show in those of the log-likelihood,
    which are counted, too (Modrák, Moon, Kim, Bürkner, Huurre, Faltejsková, Gelman &
    Vehtari 2023, arXiv 2211.02383), as are those of the log-prior. A
    log-likelihood that itself leaves out data is right for the rest, and shows nowhere.

    One set of programs serves all simulations, as long as the posteriors differ in
    nothing but numbers: define the log-likelihood outside of `make`, and give the data as
    arrays. Where no number differs either, `make` may return one posterior each time.

    Numbers without coordinates, tied ones and those that never vary, such as the diagonal
    of a correlation matrix, are left out, and so are those whose ranks are those of
    another one, as of the other half of a symmetric matrix.

    Args:
        make: a function of a PRNG key that draws a model from the prior and simulates
            data from it. It returns the model, the Posterior and a tuple of what the
            log-likelihood takes after the model.
        key: a PRNG key.
        n: how many simulations, at least 20; 200 find what is off by much, more what is
            off by less.
        draws: among how many draws a truth is ranked. 99 give a hundred ranks, which
            bins share evenly.
        chains: how many chains each simulation has.
        thin: of how many draws one is kept, evenly over the chains. By default of ten;
            and where the smallest effective sample size says that so many are still not
            independent, of up to a hundred (Talts et al. 2018, algorithm 2).
        progress: whether to show a progress bar, on the standard error.
        **options: of `sample`: `start`, `jitter`, `warm_up`, `coordinates`,
            `target_acceptance`, `max_tree_depth`.

    Returns:
        The ranks, with p-values and what the sampler said. Ctrl-C gives those so far,
        with a warning, after 20 simulations.

    Raises:
        ImportError: BlackJAX or arviz-stats is not installed.
        TypeError: `make` is no function, or returns something else; an option that
            `sample` does not have, or that cannot be given here.
        ValueError: numbers out of range; a truth that is not like the model of the
            posterior, or has other values where there are no coordinates; models of
            unlike shapes; NaN among the truth or the draws; nothing that varies; what
            `sample` refuses. A note says by which key to make the simulation again.

    Warns:
        UserWarning: the second simulation needs other programs than the first, and so
            compiles again; or it was stopped.

    Example:
        >>> import bijectree as bt, jax, jax.numpy as jnp
        >>> from bijectree import tfd
        >>> prior = tfd.LogNormal(0.0, 1.0)
        >>> reparam = bt.Reparam({"width": jnp.array(1.0)}, bt.positive())
        >>> def log_likelihood(model, y):
        ...     return tfd.Normal(0.0, model["width"]).log_prob(y).sum()
        >>> posterior = bt.Posterior(reparam, log_likelihood, prior)
        >>> def make(key):
        ...     key_prior, key_data = jax.random.split(key)
        ...     truth = {"width": prior.sample(seed=key_prior)}
        ...     y = truth["width"] * jax.random.normal(key_data, (5,))
        ...     return truth, posterior, (y,)
        >>> found = bt.calibrate(
        ...     make, jax.random.key(0), n=20, draws=19, warm_up=100, progress=False
        ... )
        >>> list(found.ranks), found.p_value > 1e-3
        (['width', 'log-prior', 'log-likelihood'], True)
    """
    _check(make, n, draws, chains, thin, options)
    optional_import("arviz_stats")
    options = {**options, "chains": chains}
    per_chain = -(-(thin or _THIN) * draws // chains)
    run = Simulations(make, draws, per_chain, 1 if thin else _MOST, options)
    found: list[Simulation] = []
    with bar(progress=progress and jax.process_index() == 0) as shown:
        task = shown.add_task("simulations", total=n)
        try:
            for i in range(n):
                part = jax.random.fold_in(key, i)
                try:
                    found.append(run.simulate(part))
                except (TypeError, ValueError) as error:
                    error.add_note(
                        f"in simulation {i} of {n}; bt.calibrate called "
                        f"make(jax.random.split(jax.random.fold_in(key, {i}), 3)[0])"
                    )
                    raise
                shown.update(task, advance=1)
        except KeyboardInterrupt:
            if len(found) < _FEWEST:
                raise
            warnings.warn(
                f"calibrate was stopped: these are {len(found)} of {n} simulations",
                stacklevel=2,
            )
    return _together(run.names, found, draws)


def _check(
    make: Any, n: Any, draws: Any, chains: Any, thin: Any, options: dict[str, Any]
) -> None:
    if not callable(make):
        raise TypeError(
            f"calibrate: `make` must be a function key -> {EXPECTED}, got "
            f"{describe(make)}"
        )
    known = {*inspect.signature(sample).parameters} - {"posterior", "key", "data"}
    known -= {"draws", "chains", "progress", "checkpoint", "resume"}
    raise_all(
        "calibrate: some options cannot be used",
        [
            f"`{name}` is not one of {', '.join(sorted(known))}"
            for name in options
            if name not in known
        ],
        error=TypeError,
    )
    require_counts(
        "calibrate", n=n, draws=draws, chains=chains, thin=1 if thin is None else thin
    )
    if n < _FEWEST:
        raise ValueError(
            f"calibrate: `n` must be at least {_FEWEST}, got {n}: so few ranks say "
            "nothing of how they are spread"
        )


def _together(names: list[str], found: list[Simulation], draws: int) -> Calibration:
    """The ranks of what varies, each once."""
    lowest = np.min([s.lowest for s in found], axis=0)
    highest = np.max([s.highest for s in found], axis=0)
    columns = np.stack([s.ranks for s in found], axis=1)
    still = constant(lowest, highest, found[0].rounding)
    ranks: dict[str, np.ndarray] = {}
    seen = set()
    for name, column, left_out in zip(names, columns, still, strict=True):
        if not left_out and column.tobytes() not in seen:
            seen.add(column.tobytes())
            ranks[name] = column
    if not ranks:
        raise ValueError("calibrate: no number of the model varies")
    return Calibration(
        ranks=ranks,
        draws=draws,
        diverging=np.array([s.diverging for s in found]),
        r_hat=np.array([s.r_hat for s in found]),
        ess=np.array([s.ess for s in found]),
        outside=np.array([s.outside for s in found]),
    )
