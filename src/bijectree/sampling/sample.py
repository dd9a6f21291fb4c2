"""`sample`: learn coordinates, tune and draw, by BlackJAX's NUTS."""

import time
import warnings
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from ..inference import (
    Draws,
    SamplingReport,
    bar,
    load_statistics,
    optional_import,
    require_counts,
    require_free_posterior,
    require_host,
    typed_key,
)
from ..learned.held_out import move
from ..posterior import Posterior, Target, dtype_of, find_starts
from . import checkpoint as checkpoints, warm_up as warming
from .chains import ROOM, Chains, Standing, Steps, evaluate
from .run import Run, again
from .tuned import LONG, Tuned, condition_of, untuned

# Four chains of so many steps learn coordinates; fewer chains take more steps, up to the
# most.
_WARM_UP, _MOST_WARM_UP = 300, 1000


def sample(
    posterior: Posterior,
    key: PRNGKeyArray,
    *data: Any,
    start: Literal["uniform", "prior"] | PyTree = "uniform",
    jitter: float = 0.0,
    chains: int = 4,
    draws: int = 1000,
    warm_up: int | None = None,
    coordinates: Literal["learned", "given"] = "learned",
    target_acceptance: float | None = None,
    max_tree_depth: int = 10,
    checkpoint: str | Path | None = None,
    resume: Draws | None = None,
    progress: bool = True,
) -> Draws:
    """Learn coordinates, tune and draw with NUTS, in one call.

    The density has the Jacobian, so the draws of the model have the posterior.

    The warm-up learns from the draws of all chains together: λ of every
    `location_scale` leaf; a sinh–arcsinh map of each coordinate (see `sinh_arcsinh`) for
    which that pays; and an affine map of the vector with the least Fisher divergence to a
    standard normal density (Seyboldt, Carlson & Carpenter 2026, arXiv 2603.18845), with
    as many directions as pay on chains that they were not fitted to. A simplex, an
    ordered vector or a factor of correlations whose coordinates stay far from normal
    gets another map of its set, which compiles the program anew. No density changes by
    that, and `draws.report` tells of it. `fit_maps` chooses for all leaves, beforehand.
    Nothing changes any more while draws are kept. The step size is one for all chains,
    of the mean acceptance that is aimed at; where steps of the warm-up diverge, that is
    raised. A chain that has stopped in a mode that weighs next to nothing beside the best
    one goes on from another chain's draws, and a warning says so.

    On a CPU each chain has a thread, and its draws do not depend on how many threads run
    at once. Several devices, of all processes where there are several, share the chains;
    if the model or the data are sharded, they are left so and the chains are not. Every
    process gets all draws; the first alone shows progress, warns and writes.

    Ctrl-C while draws are kept gives back those so far, with a warning.

    Args:
        posterior: a Posterior.
        key: a PRNG key.
        *data: what its log-likelihood takes after the model.
        start: where the chains start, the `start` of `Posterior.initial`.
        jitter: as in `Posterior.initial`; give some where `start` is a model.
        chains: how many chains.
        draws: how many draws to keep of each chain.
        warm_up: how many steps each chain takes to learn; they are not kept. 300 for
            four chains or more, 1,200 shared by fewer, at most 1,000 each.
        coordinates: "learned", or "given" for those of `posterior`, where no more than
            the scales of a diagonal mass matrix are learned.
        target_acceptance: the mean acceptance that is aimed at. Without it, 0.9 for a
            spec with a `location_scale`, else 0.85 where coordinates were bent, and 0.8
            where not; or 0.7 for the latter two, where steps so long went a quarter
            further for their gradients and show no sign of divergences.
        max_tree_depth: a trajectory has at most 2 to this power steps.
        checkpoint: a file that is written after the warm-up, and then about twenty
            times. The same call goes on from it, to the same draws as a run that nothing
            stopped. It is not deleted at the end.
        resume: draws of this function, from whose last ones each chain goes on, tuned as
            it was, in the same coordinates; `chains`, `warm_up`, `coordinates` and
            `target_acceptance` then mean nothing. Only the new draws are returned;
            `Draws.join` puts them together.
        progress: whether to show a progress bar, on the standard error.

    Returns:
        The draws, with the sampler's statistics and its report. They are vectors of the
        coordinates that were learned, and `draws.posterior.reparam` is the map from them
        to the model.

    Raises:
        ImportError: BlackJAX is not installed.
        TypeError: `posterior` or `resume` is something else; it is called under `jit`,
            `vmap` or `grad`.
        ValueError: no start with a finite density and gradient, see `initial`; a
            gradient that is not finite in the warm-up, by path; numbers out of range;
            chains that several processes cannot share evenly; a model without free
            coordinates, or with complex ones; a checkpoint of another call, or one that
            was cut off.

    Warns:
        UserWarning: each of `Draws.warnings`, such as divergences or a large R-hat; and
            where draws were stopped, or a checkpoint could not be written.

    Example:
        >>> import bijectree as bt, jax, jax.numpy as jnp
        >>> reparam = bt.Reparam({"scale": jnp.array(1.0)}, bt.tfb.Exp())
        >>> posterior = bt.Posterior(reparam, None, bt.tfd.LogNormal(0.0, 1.0))
        >>> draws = bt.sample(posterior, jax.random.key(0), progress=False)
        >>> draws.models["scale"].shape
        (4, 1000)
    """
    blackjax = optional_import("blackjax")
    require_host("sample", posterior=posterior, start=start, data=data, key=key)
    require_free_posterior(posterior, "sample")
    if resume is not None:
        chains = _chains_of(resume, posterior)
    key = typed_key("sample", key)
    counts = {"chains": chains, "draws": draws, "max_tree_depth": max_tree_depth}
    require_counts("sample", **counts, warm_up=1 if warm_up is None else warm_up)
    if warm_up is None:
        warm_up = min(_MOST_WARM_UP, max(_WARM_UP, 4 * _WARM_UP // chains))
    if coordinates not in ("learned", "given"):
        raise ValueError(
            f"sample: `coordinates` must be 'learned' or 'given', got {coordinates!r}"
        )
    if target_acceptance is not None:
        target_acceptance = _rate(target_acceptance)
    chains, draws, warm_up = int(chains), int(draws), int(warm_up)
    given = Target(posterior, data)
    first = jax.process_index() == 0
    load_statistics()
    together = Chains(blackjax, (posterior, data), chains, max_tree_depth)
    key_start, key_warm_up, key_draw = jax.random.split(key, 3)
    settings = checkpoints.settings(
        posterior,
        key,
        start,
        jitter=float(jitter),
        chains=chains,
        warm_up=warm_up,
        coordinates=coordinates,
        target_acceptance=target_acceptance,
        max_tree_depth=int(max_tree_depth),
        resume=None if resume is None else resume.fingerprint_of_last(),
    )
    path = None if checkpoint is None else Path(checkpoint)
    try:
        with bar(progress=progress and first) as shown:
            run = None if path is None else checkpoints.load(path, settings, given)
            if run is None and resume is not None:
                run = again(resume, given, _dtype(given))
            if run is None:
                run = _warmed_up(
                    given,
                    together,
                    shown,
                    (key_start, key_warm_up),
                    start=start,
                    jitter=jitter,
                    steps=warm_up,
                    acceptance=target_acceptance,
                    learn=coordinates == "learned",
                )
            if run.follows is not None:
                # The same key gives other draws than before.
                key_draw = jax.random.fold_in(key_draw, run.follows)
            keeper = checkpoints.Keeper(
                path if first else None, settings, every=draws // 20
            )
            _draw(run, given, together, key_draw, draws, shown, keeper)
    finally:
        together.close()
    result = _result(run, given, draws)
    for text in result.warnings() if first else []:
        warnings.warn(text, stacklevel=2)
    return result


def _warmed_up(
    given: Target,
    together: Chains,
    shown: Any,
    keys: tuple[PRNGKeyArray, PRNGKeyArray],
    *,
    start: Any,
    jitter: float,
    steps: int,
    acceptance: float | None,
    learn: bool,
) -> Run:
    """Look for starts, compile, and run the warm-up."""
    began = time.perf_counter()
    task = shown.add_task("compiling, and looking for starts", total=None)
    tuned = untuned(given, learn=learn)
    dtype = _dtype(given)
    together.begin_compiling(tuned.target(given), keys[1], dtype)
    starts = find_starts(
        given.posterior,
        keys[0],
        given.data,
        start=start,
        jitter=jitter,
        n=together.n,
        stacklevel=4,
    )
    vectors = jax.vmap(given.posterior.reparam.ravel)(starts.free).astype(dtype)
    density, gradients = jax.device_get(evaluate(given, vectors))
    standing = Standing(np.asarray(vectors), density.astype(dtype), gradients)
    state = warming.begin(given, tuned, standing, acceptance=acceptance)
    found = time.perf_counter()
    shown.update(task, description="compiling")
    compiling = together.compile(state.target, keys[1], state.on_map())
    shown.remove_task(task)
    task = shown.add_task("warm-up", total=steps)

    def tell(n: int, condition: float) -> None:
        known = f" (condition number {condition:.3g})" if np.isfinite(condition) else ""
        shown.update(task, advance=n, description=f"warm-up{known}")

    before = time.perf_counter()
    warming.run(state, together, keys[1], steps, tell)
    return Run(
        tuned=state.tuned,
        standing=state.on_map(),
        gradients={
            "starts": starts.gradients + together.n,
            "warm-up": state.spent,
            "draws": 0,
        },
        seconds={
            "starts": found - began,
            "compiling": compiling + state.compiling,
            "warm-up": time.perf_counter() - before - state.compiling,
            "draws": 0.0,
        },
        moved=state.moved,
    )


def _draw(
    run: Run,
    given: Target,
    together: Chains,
    key: PRNGKeyArray,
    draws: int,
    shown: Any,
    keeper: checkpoints.Keeper,
) -> None:
    """Draw until there are enough, or somebody presses Ctrl-C."""
    target = run.tuned.target(given)
    task = shown.add_task("sampling", total=draws, completed=run.n)
    keeper.write(run)
    run.seconds["compiling"] += together.compile(target, key, run.standing)
    try:
        while run.n < draws:
            before = time.perf_counter()
            n = min(ROOM, draws - run.n)
            tuning = together.tuning(run.standing, run.tuned.step_size)
            part = jax.random.fold_in(key, run.n)
            _, steps = together.advance(target, part, run.standing, tuning, n)
            run.add(steps, time.perf_counter() - before)
            keeper.write_sometimes(run, draws)
            text = (
                f"sampling ({run.diverged} divergences)" if run.diverged else "sampling"
            )
            shown.update(task, advance=n, description=text)
    except KeyboardInterrupt:
        if not run.n:
            raise
        warnings.warn(
            f"sampling was stopped: these are {run.n} of {draws} draws of each chain",
            stacklevel=3,
        )


def _result(run: Run, given: Target, draws: int) -> Draws:
    """The draws, in the coordinates that were asked for, and the report."""
    tuned, steps = run.tuned, Steps(*(x[:, :draws] for x in run.steps))
    vectors, density = steps.vectors, steps.log_density
    base = tuned.outer.forward(vectors.astype(np.float64))
    simple = tuned._replace(outer=tuned.outer.simplified())
    posterior = simple.target(given).posterior
    if not tuned.learned:
        vectors = base.astype(vectors.dtype)
        density = (density - tuned.outer.affine.log_det).astype(density.dtype)
        posterior = given.posterior
    report = SamplingReport(
        gradients=dict(run.gradients),
        seconds=dict(run.seconds),
        step_size=tuned.step_size,
        directions=int(np.sum(tuned.outer.affine.root != 1)),
        condition_before=condition_of(_as_given(base, tuned, given)),
        condition_after=condition_of(steps.vectors),
        centeredness=tuned.centeredness,
        maps=tuned.other_maps,
        bent=tuned.bent,
        moved=run.moved,
        follows=run.follows,
        tuned=tuned,
    )
    stats = {
        "lp": density,
        "diverging": steps.diverging,
        "acceptance_rate": steps.acceptance_rate,
        "energy": steps.energy,
        "n_steps": steps.n_steps,
        "tree_depth": steps.tree_depth,
    }
    return Draws(posterior, jnp.asarray(vectors), stats, report)


def _as_given(base: np.ndarray, tuned: Tuned, given: Target) -> np.ndarray:
    """Vectors beneath the affine map in the coordinates of the user."""
    if tuned.reparam is given.posterior.reparam or base.shape[-1] > LONG:
        return base
    dim = base.shape[-1]
    beneath, vectors = given.through(tuned.reparam), jnp.asarray(base.reshape(-1, dim))
    return np.asarray(move(beneath, given, vectors)).reshape(base.shape)


def _dtype(given: Target) -> np.dtype:
    """The dtype of the vectors that steps are taken in.

    Half precision is too coarse, and BlackJAX takes steps in JAX's default dtype alone.
    """
    return np.result_type(dtype_of(given), jnp.result_type(float))


def _rate(value: Any) -> float:
    try:
        rate = float(value)
    except (TypeError, ValueError):
        rate = 0.0
    if not 0 < rate < 1:
        raise ValueError(
            f"sample: `target_acceptance` must lie between 0 and 1, got {value!r}"
        )
    return rate


def _chains_of(resume: Any, posterior: Posterior) -> int:
    """How many chains there are to go on with."""
    if not isinstance(resume, Draws):
        raise TypeError(f"sample: `resume` must be a bt.Draws, got {type(resume)}")
    if resume.report is None:
        raise ValueError(
            "sample: `resume` takes draws of bt.sample, which know how they were tuned; "
            "these came from elsewhere"
        )
    if resume.posterior.dim != posterior.dim:
        raise ValueError(
            f"sample: `resume` has draws of {resume.posterior.dim} free coordinates, and "
            f"the posterior has {posterior.dim}"
        )
    return resume.vectors.shape[0]
