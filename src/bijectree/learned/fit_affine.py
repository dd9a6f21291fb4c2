"""`fit_affine`: an affine map that brings a posterior near a standard normal density."""

import dataclasses
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from .. import inference
from ..inference import Draws, find_map, listed
from ..posterior import Posterior, Target, negative_hessian
from ..reparam import Reparam
from ..trees import describe
from . import low_rank, short_chains
from .fit_report import FitReport, figures, fisher_divergence
from .low_rank import AffineMap
from .short_chains import CHUNK, Window

# Gradients are computed for so many of the held-out draws, at most.
_HELD_OUT = 200


def fit_affine(
    posterior: Posterior,
    key: PRNGKeyArray,
    *data: Any,
    method: Literal["fisher", "draws", "laplace"] = "fisher",
    rank: int | None = 10,
    draws: Draws | Float[Array, "*chains n dim"] | None = None,
    start: Literal["uniform", "prior"] | PyTree = "uniform",
    chains: int = 4,
    warm_up: int = 200,
    progress: bool = True,
) -> tuple[Reparam, FitReport]:
    """Fit an affine map of the free vector, to bring the posterior near N(0, I).

    The new free coordinates z give the present ones as μ + diag(s)(I + V(Λ − I)Vᵀ)z,
    where V has `rank` orthonormal columns. The numbers are fixed in what is returned:
    `bt.Posterior(fitted, log_likelihood, prior=prior)` has the same posterior of the
    model. To fit again from there, hand that Posterior in.

    Args:
        posterior: a Posterior.
        key: a PRNG key.
        *data: what its log-likelihood takes after the model.
        method: what the map is made of.
            - "fisher": draws and their gradients, which it makes itself by NUTS, in
              windows that each start from the map of the window before. The map has the
              least Fisher divergence to a standard normal density.
            - "draws": the mean and the covariance of `draws`, the correlations shrunk
              towards zero.
            - "laplace": the mode of the density of free coordinates, and its Hessian
              there.
        rank: how many directions are stretched beside the diagonal: 0 for a diagonal
            map, `None` for a dense one. The ones that need it most are taken.
        draws: for "draws": `Draws` of the same model through any Reparam, or vectors of
            the present free coordinates, of shape (n, dim) or (chains, n, dim).
        start: where the chains or the search for the mode start, the `start` of
            `Posterior.initial`.
        chains: for "fisher": how many chains; the last is held out.
        warm_up: for "fisher": how many steps each chain takes in all, rounded to
            chunks, of which there are at least three.
        progress: whether to show a progress bar, on the standard error.

    Returns:
        The Reparam, and a report.

    Raises:
        ImportError: BlackJAX is not installed ("fisher", and "laplace" for its report).
        ValueError: no more draws than the map needs; at the mode, directions along which
            the density does not fall; a gradient that is not finite; no start. The
            message names the coordinates by their labels.

    Example:
        >>> import bijectree as bt, jax, jax.numpy as jnp
        >>> reparam = bt.Reparam({"rate": jnp.ones(3)}, bt.tfb.Exp())
        >>> posterior = bt.Posterior(reparam, None, bt.tfd.LogNormal(2.0, 0.5))
        >>> vectors = 2.0 + 0.5 * jax.random.normal(jax.random.key(0), (400, 3))
        >>> fitted, report = bt.fit_affine(
        ...     posterior, jax.random.key(1), method="draws", draws=vectors, rank=0
        ... )
        >>> report.fisher_before > 100 * report.fisher_after
        True
        >>> fitted.inverse({"rate": jnp.exp(jnp.full(3, 2.0))})["rate"].round(0) + 0.0
        Array([0., 0., 0.], dtype=float32)
    """
    inference.require_free_posterior(posterior, "fit_affine")
    integer = isinstance(rank, int | np.integer) and not isinstance(rank, bool)
    if rank is not None and not (integer and rank >= 0):
        raise ValueError(
            f"fit_affine: rank must be None or an integer of at least 0, got {rank!r}"
        )
    inference.require_counts("fit_affine", chains=chains, warm_up=warm_up)
    if (draws is None) == (method == "draws"):
        raise ValueError(
            f"fit_affine: method='draws' takes `draws`, the others do not; got "
            f"method={method!r} with draws={'None' if draws is None else 'given'}"
        )
    target = Target(posterior, data)
    if method == "fisher":
        if chains < 2:
            raise ValueError(f"fit_affine: needs 2 chains, one to hold out; got {chains}")
        fitted, report = _fisher(
            target, key, rank, start, chains, warm_up, progress=progress
        )
    elif method == "draws":
        fitted, report = _draws(target, rank, draws)
    elif method == "laplace":
        fitted, report = _laplace(target, key, rank, start)
    else:
        raise ValueError(
            f"fit_affine: method must be 'fisher', 'draws' or 'laplace', got {method!r}"
        )
    name = {0: "diagonal", None: "dense"}.get(rank, f"diagonal and rank {rank}")
    report = dataclasses.replace(report, method=f"fit_affine, {method}, {name}")
    return posterior.reparam.then(fitted.bijector()), report


def _fisher(
    target: Target,
    key: PRNGKeyArray,
    rank: int | None,
    start: Any,
    chains: int,
    warm_up: int,
    *,
    progress: bool,
) -> tuple[AffineMap, FitReport]:
    posterior, reparam = target.posterior, target.posterior.reparam
    key, key_start, key_probe = jax.random.split(key, 3)
    free = posterior.initial(key_start, *target.data, start=start, n=chains)
    sizes = list(short_chains.windows(warm_up))
    needed = low_rank.directions_needed(rank, posterior.dim)
    used = (chains - 1) * sizes[-1]
    if used <= needed:
        raise ValueError(_too_few(used, needed, rank, f"warm_up={warm_up}", "warm_up"))
    columns = low_rank.columns_of(rank, posterior.dim)
    fitted = low_rank.identity(posterior.dim, columns)
    x = np.asarray(jax.vmap(reparam.ravel)(free), np.float64)
    # Each start has cost one gradient.
    trace, spent = [], chains
    with inference.bar(progress=progress) as bar:
        task = bar.add_task("warm-up", total=sum(sizes))

        def sample(size: int, key: PRNGKeyArray) -> Window:
            now = target.through(reparam.then(fitted.bijector()))
            window = short_chains.run(now, key, fitted.inverse(x), size)
            bar.update(task, advance=size)
            window = short_chains.require_finite(target, fitted, window, key_probe)
            return _in_base(window, fitted)

        for size in sizes[:-1]:
            key, key_run = jax.random.split(key)
            found = sample(size, key_run)
            x, spent = found.vectors[:, -1], spent + found.spent
            # The first steps of a window still come from where the last one ended.
            kept = found.later(max(size // 2, size - 2 * CHUNK))
            draws, scores = _pooled(kept, slice(None))
            # Too few draws for the directions are enough for the diagonal.
            rank_now = rank if len(draws) > needed + 5 else 0
            partial = _from_scores(posterior, draws, scores, rank_now)
            fitted = low_rank.padded(partial, columns)
            trace.append(_divergence(fitted, *_pooled(found, slice(-1, None))))
        found = sample(sizes[-1], key)
    fitted = _from_scores(posterior, *_pooled(found, slice(-1)), rank)
    held_out = _pooled(found, slice(-1, None))
    trace.append(_divergence(fitted, *held_out))
    report = _report(
        fitted,
        *held_out,
        gradients=spent + found.spent,
        divergences=int(found.diverged[-1].sum()),
        trace=np.array(trace),
        objective="Fisher divergence of one chain, by window; of the last one held out",
    )
    return fitted, report


def _draws(target: Target, rank: int | None, draws: Any) -> tuple[AffineMap, FitReport]:
    posterior = target.posterior
    x = _vectors(posterior, draws)
    # Consecutive draws are alike: those that are held out lie together.
    held = x[-1] if len(x) > 1 else x[0, -max(1, x.shape[1] // 4) :]
    rest = x[:-1].reshape(-1, posterior.dim) if len(x) > 1 else x[0, : -len(held)]
    held = held[:: max(1, -(-len(held) // _HELD_OUT))]
    needed = 1 if rank == 0 else posterior.dim
    if len(rest) <= needed:
        got = f"{x.shape[0] * x.shape[1]} draws"
        raise ValueError(_too_few(len(rest), needed, rank, got, None))
    mean, covariance = low_rank.shrunk_covariance(_varying(posterior, rest))
    sd = np.sqrt(np.diagonal(covariance))
    fitted = low_rank.from_covariance(mean, covariance, sd, rank)
    found = short_chains.gradients(target, held).astype(np.float64)
    bad = np.asarray(~np.isfinite(found).all(axis=0))
    if bad.any():
        raise ValueError(
            "fit_affine: at the draws that are held out, the gradient of the log-density "
            f"is not finite at {listed(posterior.labels, bad)}"
        )
    report = _report(fitted, held, found, gradients=len(held), spent_on_figures=len(held))
    return fitted, report


def _laplace(
    target: Target, key: PRNGKeyArray, rank: int | None, start: Any
) -> tuple[AffineMap, FitReport]:
    posterior = target.posterior
    key, key_mode = jax.random.split(key)
    free = posterior.initial(key_mode, *target.data, start=start)
    first = posterior.reparam.forward(free)
    mode = find_map(posterior, first, *target.data, jacobian=True)
    precision = np.asarray(negative_hessian(target, mode.vector), np.float64)
    _require_positive(posterior, precision)
    covariance = np.linalg.inv(precision)
    # This is the diagonal map with the least Fisher divergence from the normal density.
    scale = (np.diagonal(covariance) / np.diagonal(precision)) ** 0.25
    mean = np.asarray(mode.vector, np.float64)
    fitted = low_rank.from_covariance(mean, covariance, scale, rank)
    now = target.through(posterior.reparam.then(fitted.bijector()))
    key_start, key_run, key_probe = jax.random.split(key, 3)
    z = jax.random.normal(key_start, (4, posterior.dim))
    window = short_chains.run(now, key_run, z, 3 * CHUNK)
    window = short_chains.require_finite(target, fitted, window, key_probe)
    found = _in_base(window, fitted).later(2 * CHUNK)
    report = _report(
        fitted,
        *_pooled(found, slice(None)),
        gradients=mode.gradients + posterior.dim + window.spent,
        spent_on_figures=window.spent,
        divergences=int(found.diverged.sum()),
        trace=np.array([float(mode.log_density)]),
        objective="log-density at the mode",
    )
    return fitted, report


def _report(
    fitted: AffineMap,
    x: np.ndarray,
    scores: np.ndarray,
    *,
    gradients: int,
    spent_on_figures: int = 0,
    divergences: int = 0,
    trace: np.ndarray | None = None,
    objective: str = "",
) -> FitReport:
    """The report at held-out draws, whose gradients an affine map takes over."""
    held = figures(
        x, scores, fitted.inverse(x), fitted.pull(scores), spent=spent_on_figures
    )
    return held.report(
        "",
        objective=objective,
        trace=np.zeros(0) if trace is None else trace,
        gradients=gradients,
        divergences=divergences,
    )


def _divergence(fitted: AffineMap, x: np.ndarray, scores: np.ndarray) -> float:
    return fisher_divergence(fitted.inverse(x), fitted.pull(scores))


def _in_base(window: Window, fitted: AffineMap) -> Window:
    """A window of the map's base, taken to the coordinates that it leads to."""
    x = fitted.forward(window.vectors.astype(np.float64))
    scores = fitted.push(window.gradients.astype(np.float64))
    return window._replace(vectors=x, gradients=scores)


def _pooled(window: Window, chains: slice) -> tuple[np.ndarray, np.ndarray]:
    dim = window.vectors.shape[-1]
    return (
        window.vectors[chains].reshape(-1, dim),
        window.gradients[chains].reshape(-1, dim),
    )


def _from_scores(
    posterior: Posterior, x: np.ndarray, scores: np.ndarray, rank: int | None
) -> AffineMap:
    flat = scores.std(axis=0) == 0
    if flat.any():
        raise ValueError(
            "fit_affine: the log-density does not curve along "
            f"{listed(posterior.labels, flat)}: its gradient is the same at all draws"
        )
    return low_rank.from_scores(_varying(posterior, x), scores, rank)


def _varying(posterior: Posterior, x: np.ndarray) -> np.ndarray:
    """The draws, if they can be learnt from."""
    bad = np.asarray(~np.isfinite(x).all(axis=0))
    if bad.any():
        raise ValueError(
            f"fit_affine: draws are not finite at {listed(posterior.labels, bad)}"
        )
    fixed = (x == x[:1]).all(axis=0)
    if fixed.any():
        raise ValueError(
            f"fit_affine: all draws are the same at {listed(posterior.labels, fixed)}"
        )
    return x


def _too_few(got: int, needed: int, rank: int | None, what: str, more: str | None) -> str:
    text = (
        f"fit_affine: {what} leave{'s' if more else ''} {got} draws to fit a map with "
        f"rank={rank} to, and it takes more than {needed}: "
    )
    text += f"give more `{more}`" if more else "give more draws"
    return text + (", or a smaller rank" if more and rank != 0 else ", or rank=0")


def _vectors(posterior: Posterior, draws: Any) -> Float[np.ndarray, "chains n dim"]:
    """Draws as vectors of the present free coordinates."""
    if isinstance(draws, Draws):
        reparam = posterior.reparam
        if draws.posterior.reparam is reparam:
            return np.asarray(draws.vectors, np.float64)
        found = draws.map(lambda model: reparam.ravel(reparam.inverse(model)))
        return np.asarray(found, np.float64)
    shape = np.shape(draws)
    if len(shape) not in (2, 3) or shape[-1] != posterior.dim or 0 in shape[:-1]:
        raise ValueError(
            f"fit_affine: draws must be a bt.Draws, or have shape (n, {posterior.dim}) "
            f"or (chains, n, {posterior.dim}); got {describe(draws)}"
        )
    array = np.asarray(draws, np.float64)
    return array if array.ndim == 3 else array[None]


def _require_positive(posterior: Posterior, precision: np.ndarray) -> None:
    """Raise for the directions along which the density does not fall from its mode."""
    if not np.isfinite(precision).all():
        bad = np.asarray(~np.isfinite(precision).all(axis=0))
        raise ValueError(
            "fit_affine: the Hessian at the mode is not finite at "
            f"{listed(posterior.labels, bad)}"
        )
    # The Hessian is in units of its curvatures, so that no coordinate is called flat for
    # its large scale.
    size = np.sqrt(np.abs(np.diagonal(precision)))
    size = np.where(size > 0, size, 1.0)
    values, directions = np.linalg.eigh(precision / np.outer(size, size))
    lowest = len(size) * np.finfo(np.float32).eps * max(values[-1], 0.0)
    flat = values <= lowest
    if not flat.any():
        return
    lines = []
    for value, direction in zip(values[flat], directions[:, flat].T, strict=True):
        part = np.abs(direction) > 0.3 * np.abs(direction).max()
        lines.append(f"\n  - {listed(posterior.labels, part)}: {value:.3g}")
    raise ValueError(
        "fit_affine: minus the Hessian at the mode is not positive definite. The "
        "log-density does not fall away from it along the coordinates below, with the "
        "eigenvalues of the Hessian of unit diagonal; give them a prior, or, if they "
        "have one, use method='fisher'" + "".join(lines)
    )
