"""`fit_centeredness`: how far to non-centre each element of each `location_scale`."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from .. import inference, substrate
from ..posterior import Posterior, Target
from ..reparam import Bound, LocationScale, Plan, Reparam, Row, of_bound, trace
from ..substrate import split
from ..trees import leaf_at
from . import evidence_bound, held_out, low_rank
from .evidence_bound import EvidenceBound
from .fit_report import FitReport

_GRID = 101

# The values of λ that are tried.
_SHARES = np.linspace(0, 1, _GRID)


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
    reparam, at = _with_own_shares(posterior.reparam)
    target = Target(posterior, data).through(reparam)
    key_start, key_guide, key_fit, key_held = jax.random.split(key, 4)
    free = posterior.initial(key_start, *data, start=start)
    if reparam is not posterior.reparam:
        free = reparam.inverse(posterior.reparam.forward(free))
    loc = reparam.ravel(free)
    shares = [jnp.asarray(x, loc.dtype) for x in _centeredness_of(reparam, at)]
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
    trained = target.through(_with_shares(reparam, at, numbers.shares))
    guide = low_rank.diagonal(
        np.asarray(numbers.loc, np.float64), np.exp(np.asarray(numbers.log_scale))
    )
    window = held_out.sample(trained, key_held, guide)
    shares = _refined(trained, at, window.vectors[:-1])
    fitted = _with_shares(reparam, at, shares)
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
        moved = _with_shares(reparam, self.at, numbers.shares)
        x = numbers.loc + jnp.exp(numbers.log_scale) * z
        return self.target.through(moved)(x) + jnp.sum(numbers.log_scale)


def _refined(
    target: Target, at: tuple[int, ...], draws: Float[np.ndarray, "chain n dim"]
) -> list[Float[np.ndarray, "..."]]:
    """λ for which the draws are nearest to independent normal ones.

    The evidence bound is a mean over the normal density, and hardly sees what of the
    posterior that leaves out: the neck of a funnel. Here the mean is over draws from
    the posterior.
    """
    reparam = target.posterior.reparam
    found = _parts(target, at, jnp.asarray(draws.reshape(-1, draws.shape[-1])))
    shares = []
    for i, parts in zip(at, found, strict=True):
        row = reparam.bound.plan.rows[i]
        given = np.asarray(reparam.bound.numbers[row.slot][-1], np.float64)
        shape = *draws.shape[:2], given.size
        theta, loc, scale = (np.asarray(x, np.float64).reshape(shape) for x in parts)
        least = _least_divergent(theta, loc, scale, given.ravel())
        shares.append(least.reshape(given.shape))
    return shares


def _least_divergent(
    theta: Float[np.ndarray, "chain n element"],
    loc: Float[np.ndarray, "chain n element"],
    scale: Float[np.ndarray, "chain n element"],
    given: Float[np.ndarray, " element"],
) -> Float[np.ndarray, " element"]:
    """λ of the least divergence, for a whole leaf or for each of its elements.

    One element's draws leave tenths of λ open, those of all together hundredths; but
    elements differ. So it is 0 for all, 1 for all, the best for all or the best for
    each, whichever fits a chain best when it is found from the others (Stone 1974,
    "Cross-validatory choice and assessment of statistical predictions"). An element
    whose draws say nothing keeps what is given.
    """
    with np.errstate(all="ignore"):
        found = _Moments.of(theta, loc, scale)
        chains = list(range(len(theta)))
        others = [[c for c in chains if c != out] for out in chains]
        learnt = [found.divergence(rest, rest) for rest in others]
        held = [
            found.divergence(rest, [c]) for rest, c in zip(others, chains, strict=True)
        ]
        of_all = found.divergence(chains, chains)
    known = np.isfinite([of_all, *learnt, *held]).all(axis=(0, 1))
    lost = np.zeros(4)
    for one, other in zip(learnt, held, strict=True):
        shares = _candidates(one[:, known])
        lost += np.take_along_axis(other[:, known], shares, axis=0).sum(axis=1)
    best = given.copy()
    best[known] = _SHARES[_candidates(of_all[:, known])[np.argmin(lost)]]
    return best


def _candidates(
    divergence: Float[np.ndarray, "share element"],
) -> Int[np.ndarray, "4 element"]:
    """Positions in `_SHARES`: first, last, the best for all, the best for each."""
    each = np.argmin(divergence, axis=0)
    common = np.argmin(divergence.sum(axis=1))
    return np.stack([np.full_like(each, i) for i in (0, _GRID - 1, common)] + [each])


class _Moments(NamedTuple):
    """Moments of η = (θ − loc)/scale^(1−λ) + λ loc in each chain, at each λ.

    Attributes:
        mean: the mean of η less its mean over all chains.
        square: the mean of the square of that difference.
        log_scale: the mean of log scale.
    """

    mean: Float[np.ndarray, "share chain element"]
    square: Float[np.ndarray, "share chain element"]
    log_scale: Float[np.ndarray, "chain element"]

    @classmethod
    def of(
        cls,
        theta: Float[np.ndarray, "chain n element"],
        loc: Float[np.ndarray, "chain n element"],
        scale: Float[np.ndarray, "chain n element"],
    ) -> Self:
        """The moments over the draws of each chain."""
        means, squares = [], []
        for share in _SHARES:
            eta = (theta - loc) / scale ** (1 - share) + share * loc
            eta = eta - eta.mean(axis=(0, 1))
            means.append(eta.mean(axis=1))
            squares.append((eta**2).mean(axis=1))
        return cls(np.stack(means), np.stack(squares), np.log(scale).mean(axis=1))

    def divergence(
        self, fitted: list[int], of: list[int]
    ) -> Float[np.ndarray, "share element"]:
        """The Kullback–Leibler divergence of chains from the normal density of others.

        Terms that do not depend on λ are left out.
        """
        mean = self.mean[:, fitted].mean(axis=1)
        variance = self.square[:, fitted].mean(axis=1) - mean**2
        square = self.square[:, of].mean(axis=1) - 2 * mean * self.mean[:, of].mean(
            axis=1
        )
        log_det = (1 - _SHARES[:, None]) * self.log_scale[of].mean(axis=0)
        return ((square + mean**2) / variance + np.log(variance)) / 2 + log_det


@eqx.filter_jit
def _parts(target: Target, at: tuple[int, ...], draws: Array) -> list[Any]:
    """The leaf, its location and its scale at each draw, for each of the rows `at`."""
    flat = target.posterior.flat()
    reparam = target.posterior.reparam
    rows = reparam.bound.plan.rows

    def one(vector: Array) -> list[Any]:
        model = flat.forward(vector)
        found = []
        for i in at:
            row = rows[i]
            function = _function(row, reparam.bound.numbers)
            assert function is not None
            paths = [rows[m].path for m in row.members] or [row.path]
            leaves = [leaf_at(model, path) for path in paths]
            theta = (
                leaves[0]
                if not row.members
                else jnp.concatenate([jnp.ravel(x) for x in leaves])
            )
            found.append(
                [theta]
                + [
                    jnp.broadcast_to(x, theta.shape)
                    for x in function.loc_and_scale(model)
                ]
            )
        return found

    with substrate.standard_promotion():
        return jax.vmap(one)(draws)


def _between_zero_and_one(numbers: _Numbers) -> _Numbers:
    shares = [jnp.clip(x, 0, 1) for x in numbers.shares]
    return eqx.tree_at(lambda n: n.shares, numbers, shares)


def _with_own_shares(reparam: Reparam) -> tuple[Reparam, tuple[int, ...]]:
    """Give each `location_scale` leaf numbers of its own, with one λ an element.

    Returns:
        A Reparam of the same map, the same one where nothing had to change; and the
        rows of these leaves.
    """
    plan = reparam.bound.plan
    rows, numbers = list(plan.rows), list(reparam.bound.numbers)
    at = tuple(i for i, row in plan.free if _function(row, numbers) is not None)
    if not at:
        raise ValueError(
            "fit_centeredness: no leaf of the spec is a bt.location_scale; write "
            "bt.location_scale(loc, scale) at a leaf whose prior has a location and a "
            "scale that are leaves too"
        )
    taken: set[int] = set()
    changed = False
    for i in at:
        row = rows[i]
        function = _function(row, numbers)
        assert function is not None
        alone = row.slot not in taken
        taken.add(row.slot)
        if alone and np.shape(function.centeredness) == row.free_shape:
            continue
        share = np.broadcast_to(np.asarray(function.centeredness), row.free_shape)
        structure, own = split(
            eqx.tree_at(lambda f: f.centeredness, function, share.astype(np.float64))
        )
        assert row.kind is not None
        _, shapes, _ = trace(plan.structure, plan.rows, structure, own)
        kind = substrate.bind(row.kind.recipe, shapes, row.kind.shape, row.kind.dtype)
        rows[i] = dataclasses.replace(
            row, slot=len(numbers), function=structure, kind=kind
        )
        numbers.append(own)
        changed = True
    if not changed:
        return reparam, at
    plan = Plan(plan.structure, tuple(rows), plan.outer)
    return of_bound(Bound(plan, tuple(numbers), reparam.bound.held)), at


def _function(row: Row, numbers: Sequence[tuple[Any, ...]]) -> LocationScale | None:
    """The function of the `location_scale` of a leaf; `None` if it has none."""
    if row.function is None:
        return None
    function = row.function.build(numbers[row.slot])
    return function if isinstance(function, LocationScale) else None


def _centeredness_of(reparam: Reparam, at: tuple[int, ...]) -> list[Float[Array, "..."]]:
    """λ of each of the rows `at`: the last of a row's numbers."""
    return [reparam.bound.numbers[reparam.bound.plan.rows[i].slot][-1] for i in at]


def _with_shares(reparam: Reparam, at: tuple[int, ...], shares: Sequence[Any]) -> Reparam:
    return eqx.tree_at(lambda r: _centeredness_of(r, at), reparam, list(shares))
