"""`fit_centeredness`: how far to non-centre each element of each `location_scale`."""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from .. import inference
from ..posterior import Posterior, Target
from ..reparam import Reparam
from . import evidence_bound, held_out, low_rank
from .centeredness import shares_from_draws, shares_of, with_own_shares, with_shares
from .evidence_bound import EvidenceBound
from .fit_report import FitReport


def fit_centeredness(
    posterior: Posterior,
    key: PRNGKeyArray,
    *data: Any,
    start: Literal["uniform", "prior"] | PyTree = "uniform",
    steps: int = 400,
    samples: int = 2,
    learning_rate: float = 0.05,
    progress: bool = True,
) -> tuple[Reparam, FitReport]:
    """Train the centeredness λ of every `location_scale` leaf, element by element.

    λ and an independent normal density of each free coordinate together maximise the
    evidence bound: the nearer the free coordinates are to independent normal ones, the
    higher it gets (Gorinova, Moore & Hoffman 2020, "Automatic reparameterisation of
    probabilistic programs", section 4). Draws by NUTS in these coordinates then refine
    λ, to where they are nearest to independent normal ones: 0, 1 or another λ for all of
    a leaf, or each element its own, whichever the draws of a chain that it is not learnt
    from bear out best. The prior of the leaf may be
    of any location-scale family. λ starts from where it is, and is fixed in what is
    returned: `bt.Posterior(fitted, log_likelihood, prior=prior)` has the same posterior.

    Args:
        posterior: a Posterior whose spec has `bt.location_scale` somewhere.
        key: a PRNG key.
        *data: what its log-likelihood takes after the model.
        start: where the means of the normal densities start, the `start` of
            `Posterior.initial`.
        steps: how many steps Adam makes, rounded up to fifties.
        samples: how many draws each of its gradients is a mean of, in pairs ±z.
        learning_rate: of Adam, which falls to zero along a cosine.
        progress: whether to show a progress bar, on the standard error.

    Returns:
        The Reparam, and a report that has λ by path.

    Raises:
        ImportError: BlackJAX is not installed, which draws for this and for the report.
        ValueError: no leaf of the spec is a `location_scale`; a map lies on top of
            them; no finite start, or gradients that are not finite.

    Example:
        Four groups with little data each: non-centred is better.

        >>> import bijectree as bt, jax, jax.numpy as jnp
        >>> model = {"tau": jnp.ones(()), "theta": jnp.zeros(4)}
        >>> non_centred = bt.location_scale(0.0, "tau", centeredness=0.5)
        >>> def prior(m):
        ...     tau = bt.tfd.LogNormal(0.0, 1.0).log_prob(m["tau"])
        ...     return tau + bt.tfd.Normal(0.0, m["tau"]).log_prob(m["theta"]).sum()
        >>> def log_likelihood(m, y):
        ...     return bt.tfd.Normal(m["theta"], 10.0).log_prob(y).sum()
        >>> spec = {"tau": bt.positive(), "theta": non_centred}
        >>> posterior = bt.Posterior(bt.Reparam(model, spec), log_likelihood, prior)
        >>> fitted, report = bt.fit_centeredness(
        ...     posterior, jax.random.key(0), jnp.zeros(4), steps=200, progress=False
        ... )
        >>> bool((report.centeredness["theta"] < 0.2).all())
        True
    """
    inference.require_free_posterior(posterior, "fit_centeredness")
    inference.require_counts("fit_centeredness", steps=steps, samples=samples)
    if above := posterior.reparam.bound.outer_names():
        raise ValueError(
            f"fit_centeredness: {', '.join(above)} lies on top of the leaves, and was "
            "fitted to the λ beneath it: fit the centeredness of the Reparam without it "
            "first, then put it on again (`fit_affine`, `fit_flow`, `Reparam.then`)"
        )
    reparam, at = with_own_shares(posterior.reparam)
    if not at:
        raise ValueError(
            "fit_centeredness: no leaf of the spec is a bt.location_scale; write "
            "bt.location_scale(loc, scale) at a leaf whose prior has a location and a "
            "scale that are leaves too"
        )
    target = Target(posterior, data).through(reparam)
    key_start, key_guide, key_fit, key_held = jax.random.split(key, 4)
    free = posterior.initial(key_start, *data, start=start)
    if reparam is not posterior.reparam:
        free = reparam.inverse(posterior.reparam.forward(free))
    loc = reparam.ravel(free)
    shares = [jnp.asarray(x, loc.dtype) for x in shares_of(reparam, at)]
    numbers = _Numbers(shares, loc, jnp.full_like(loc, -1.0))
    guide_alone = jax.tree.map(jnp.ones_like, numbers)
    guide_alone = eqx.tree_at(
        lambda n: n.shares, guide_alone, [jnp.zeros_like(x) for x in shares]
    )
    # First the normal densities are trained alone: far from the posterior, the best λ is
    # another.
    first = max(1, steps // 4)
    traces, spent = [], 1
    with evidence_bound.show_progress(steps, progress=progress) as advance:
        for key_part, n, rates in (
            (key_guide, first, guide_alone),
            (key_fit, max(1, steps - first), None),
        ):
            found = evidence_bound.maximise(
                _Centred(target, at),
                numbers,
                key_part,
                steps=n,
                samples=samples,
                learning_rate=learning_rate,
                # λ moves while the bound hardly does.
                patience=steps,
                project=_between_zero_and_one,
                advance=advance,
                rates=rates,
            )
            numbers: _Numbers = found.numbers
            traces.append(found.trace)
            spent += found.spent
    trained = target.through(with_shares(reparam, at, numbers.shares))
    guide = low_rank.diagonal(
        np.asarray(numbers.loc, np.float64), np.exp(np.asarray(numbers.log_scale))
    )
    window = held_out.sample(trained, key_held, guide)
    shares = shares_from_draws(trained, at, window.vectors[:-1], window.gradients[:-1])
    fitted = with_shares(reparam, at, shares)
    held = held_out.compare(
        Target(posterior, data), target.through(fitted), trained, window.vectors[-1]
    )
    notes = []
    if found.rising:
        notes.append("the evidence bound was still rising: give more `steps`")
    if held.fisher[1] > held.fisher[0]:
        notes.append(
            "the divergence counts widths too, which a sampler's mass matrix takes up; "
            "`fit_affine` would bring them to 1"
        )
    rows = reparam.bound.plan.rows
    report = held.report(
        "fit_centeredness",
        objective="evidence bound",
        trace=np.concatenate(traces),
        gradients=spent + window.spent + held.spent,
        divergences=int(window.diverged[-1].sum()),
        centeredness={rows[i].path: share for i, share in zip(at, shares, strict=True)},
        notes=notes,
    )
    return fitted, report


class _Numbers(eqx.Module):
    """The numbers that are trained: λ, and a normal density of the free vector."""

    shares: list[Array]
    loc: Array
    log_scale: Array


class _Centred(EvidenceBound):
    """The bound of a normal density through a map with other λ."""

    target: Target
    at: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, numbers: _Numbers, z: Array) -> Array:
        reparam = self.target.posterior.reparam
        moved = with_shares(reparam, self.at, numbers.shares)
        x = numbers.loc + jnp.exp(numbers.log_scale) * z
        return self.target.through(moved)(x) + jnp.sum(numbers.log_scale)


def _between_zero_and_one(numbers: _Numbers) -> _Numbers:
    shares = [jnp.clip(x, 0, 1) for x in numbers.shares]
    return eqx.tree_at(lambda n: n.shares, numbers, shares)
