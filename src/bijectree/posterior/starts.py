"""Starting points: proposed until the density and its gradient are finite."""

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..reparam import Reparam
from .ancestral import draw_terms
from .prior_plan import PriorPlan

if TYPE_CHECKING:
    from .posterior import Posterior


def find(
    posterior: "Posterior",
    key: PRNGKeyArray,
    data: tuple[Any, ...],
    *,
    start: Any,
    jitter: float,
    n: int | None,
    tries: int,
) -> PyTree:
    """Find free coordinates to start from, as `Posterior.initial` documents."""
    if (
        posterior.prior_function is not None
        and isinstance(start, str)
        and start == "prior"
    ):
        raise ValueError(
            "start='prior': the prior is a function, which cannot be drawn from; "
            "use 'uniform' or a model"
        )
    propose = Proposal(
        posterior.reparam,
        posterior.prior_plan,
        posterior.prior_numbers,
        start=start,
        jitter=jitter,
    )
    if propose.start is not None and jitter == 0:
        tries = 1
    found, ok = search(
        propose,
        posterior.log_density,
        posterior.reparam.forward_log_det_jacobian,
        key,
        data,
        n=1 if n is None else n,
        tries=tries,
    )
    if not ok:
        first = int(np.argmin(np.asarray(found.ok)))
        free, gradient = jax.tree.map(lambda x: x[first], (found.free, found.gradient))
        raise ValueError(
            f"no start with a finite log-density and gradient in {tries} "
            f"{'try' if tries == 1 else 'tries'}; at the last one:"
            + "".join(
                f"\n  - {fault}" for fault in _faults(posterior, free, gradient, data)
            )
        )
    one = jax.tree.map(lambda x: x[0], found.free)
    ignored = _ignored(posterior, jax.tree.map(lambda x: x.all(axis=0), found.ignored))
    if ignored:
        nearby = flat_nearby(posterior.log_density, one, key, data)
        nearby = set(_ignored(posterior, nearby))
        warn_ignored([label for label in ignored if label in nearby])
    return one if n is None else found.free


class Proposal(eqx.Module):
    """A random point to start from, which need not be finite."""

    reparam: Reparam
    numbers: tuple[tuple[Any, ...], ...]
    plan: PriorPlan = eqx.field(static=True)
    from_prior: bool = eqx.field(static=True)
    start: PyTree | None
    jitter: Float[Array, ""]

    def __init__(
        self,
        reparam: Reparam,
        plan: PriorPlan,
        numbers: tuple[tuple[Any, ...], ...],
        *,
        start: Any,
        jitter: float,
    ):
        if isinstance(start, str) and start not in ("uniform", "prior"):
            raise ValueError(
                f"start: expected 'uniform', 'prior' or a model, got {start!r}"
            )
        self.reparam, self.plan, self.numbers = reparam, plan, numbers
        self.from_prior = isinstance(start, str) and start == "prior"
        self.start = None if isinstance(start, str) else reparam.inverse(start)
        self.jitter = jnp.asarray(jitter, float)

    def __call__(self, key: PRNGKeyArray) -> PyTree:
        """Free coordinates."""
        key_uniform, key_prior, key_jitter = jax.random.split(key, 3)
        free = self.start
        if free is None:
            shape = (self.reparam.dim,)
            flat = jax.random.uniform(key_uniform, shape, minval=-2, maxval=2)
            free = self.reparam.unravel(flat)
        if self.from_prior:
            free = self._draw(key_prior, free)
        leaves, treedef = jtu.tree_flatten(free)
        keys = jax.random.split(key_jitter, max(len(leaves), 1))
        moved = [
            x + (self.jitter * jax.random.normal(k, x.shape)).astype(x.dtype)
            for x, k in zip(leaves, keys, strict=False)
        ]
        return treedef.unflatten(moved)

    def _draw(self, key: PRNGKeyArray, free: PyTree) -> PyTree:
        """Put draws of the priors where there are priors."""
        leaves, treedef = jtu.tree_flatten(self.reparam.forward(free))
        draw_terms(self.reparam.bound, self.plan, self.numbers, leaves, key)
        return self.reparam.inverse(treedef.unflatten(leaves))


class Attempt(NamedTuple):
    """What was found at proposed free coordinates, with one leading axis.

    Attributes:
        free: the free coordinates.
        ok: whether the density and its gradient are finite there.
        gradient: the gradient with the log-det.
        ignored: where the gradient without the log-det is exactly zero.
    """

    free: PyTree
    ok: Array
    gradient: PyTree
    ignored: PyTree


@eqx.filter_jit
def attempt(
    propose: Callable[[PRNGKeyArray], PyTree],
    log_density: Callable[..., Array],
    log_det: Callable[[PyTree], Array],
    keys: PRNGKeyArray,
    data: Sequence[Any],
) -> Attempt:
    """Propose one start a key, and look at the density there."""

    def one(key: PRNGKeyArray) -> Attempt:
        free = propose(key)

        def parts(free: PyTree) -> tuple[Array, Array]:
            return log_density(free, *data, jacobian=False), log_det(free)

        (value, extra), pull = jax.vjp(parts, free)
        one, none = jnp.ones_like(value), jnp.zeros_like(value)
        (written,) = pull((one, jnp.zeros_like(extra)))
        (jacobian,) = pull((none, jnp.ones_like(extra)))
        gradient = jax.tree.map(jnp.add, written, jacobian)
        finite = [jnp.isfinite(x).all() for x in jtu.tree_leaves((written, gradient))]
        ok = jnp.isfinite(value) & jnp.isfinite(extra) & jnp.all(jnp.array(finite))
        return Attempt(free, ok, gradient, jax.tree.map(lambda x: x == 0, written))

    return jax.vmap(one)(keys)


@eqx.filter_jit
def flat_nearby(
    log_density: Callable[..., Array],
    free: PyTree,
    key: PRNGKeyArray,
    data: Sequence[Any],
) -> PyTree:
    """Where the gradient without the log-det is zero all round a point.

    A start may be a stationary point, where a zero says nothing.
    """
    leaves, treedef = jtu.tree_flatten(free)

    def gradient(key: PRNGKeyArray) -> PyTree:
        keys = jax.random.split(key, max(len(leaves), 1))
        moved = [
            x + 0.1 * jax.random.normal(k, x.shape, x.dtype)
            for x, k in zip(leaves, keys, strict=False)
        ]
        density = functools.partial(log_density, jacobian=False)
        return jax.grad(density)(treedef.unflatten(moved), *data)

    gradients = jax.vmap(gradient)(jax.random.split(key, 4))
    return jax.tree.map(lambda x: jnp.all(x == 0, axis=0), gradients)


def search(
    propose: Callable[[PRNGKeyArray], PyTree],
    log_density: Callable[..., Array],
    log_det: Callable[[PyTree], Array],
    key: PRNGKeyArray,
    data: Sequence[Any],
    *,
    n: int,
    tries: int,
) -> tuple[Attempt, bool]:
    """Propose until all of `n` starts are finite, each at most `tries` times.

    Returns:
        The starts, and whether all of them are finite.
    """
    first, *rest = jax.random.split(key, tries)
    found = attempt(propose, log_density, log_det, jax.random.split(first, n), data)
    for key_of_try in rest:
        if found.ok.all():
            break
        keys = jax.random.split(key_of_try, n)
        new = attempt(propose, log_density, log_det, keys, data)
        found = jax.tree.map(functools.partial(_choose, found.ok), found, new)
    return found, bool(found.ok.all())


def _choose(mask: Array, a: Array, b: Array) -> Array:
    """Take the rows of `a` where `mask` says so, else those of `b`."""
    return jnp.where(mask.reshape(mask.shape + (1,) * (a.ndim - 1)), a, b)


def not_finite(values: Any) -> str:
    """How many numbers of an array are not finite, in words; "" if all are."""
    array = np.asarray(values, dtype=np.float64)
    bad = ~np.isfinite(array)
    if not bad.any():
        return ""
    if array.ndim == 0:
        return f"is {array}"
    index = [int(i) for i in np.argwhere(bad)[0]]
    return (
        f"has {bad.sum()} of {array.size} numbers that are not finite, the first "
        f"({array[tuple(index)]}) at index {index}"
    )


def bad_data(data: Sequence[Any]) -> list[str]:
    """Which arrays of the data hold NaN or infinity."""
    faults = []
    for path, leaf in jtu.tree_leaves_with_path(tuple(data)):
        dtype = getattr(
            leaf, "dtype", np.dtype(type(leaf)) if type(leaf) is float else None
        )
        if dtype is not None and jnp.issubdtype(dtype, jnp.floating):
            text = not_finite(leaf)
            if text:
                faults.append(f"data{jtu.keystr(path)} {text}")
    return faults


def warn_ignored(labels: list[str]) -> None:
    """Warn of coordinates that neither a prior nor the likelihood knows of."""
    if labels:
        shown = ", ".join(repr(label) for label in labels[:5])
        more = f" and {len(labels) - 5} more" if len(labels) > 5 else ""
        warnings.warn(
            f"no prior stands at {shown}{more}, and the gradient of the log-likelihood "
            "there is exactly zero: the posterior is improper, and a sampler would "
            "wander off. Give a prior, freeze the leaf, or use it in the likelihood",
            stacklevel=5,  # `Posterior.initial` and Equinox's wrapper of it stand between
        )


def _faults(
    posterior: "Posterior", free: PyTree, gradient: PyTree, data: tuple[Any, ...]
) -> list[str]:
    """What is not finite at free coordinates."""
    faults = []
    paths = [row.path for _, row in posterior.reparam.bound.plan.free]
    for path, leaf in zip(paths, jtu.tree_leaves(free), strict=True):
        if not np.isfinite(leaf).all():
            faults.append(
                f"the free coordinate of '{path}' {not_finite(leaf)}: its "
                "prior has draws outside the support of its bijector"
            )
    model = posterior.reparam.forward(free)
    values = {
        f"the log-prior of '{path}'" if path else "the log-prior": value
        for path, value in posterior.prior_terms(model).items()
    }
    values["the log-likelihood"] = posterior.log_likelihood(model, *data)
    values["the log-det"] = posterior.reparam.forward_log_det_jacobian(free)
    for name, value in values.items():
        if not np.isfinite(value):
            faults.append(f"{name} is {value}")
    faults += bad_data(data)
    for path, leaf in zip(paths, jtu.tree_leaves(gradient), strict=True):
        if not np.isfinite(leaf).all():
            faults.append(f"the gradient at '{path}' {not_finite(leaf)}")
    return faults


def _ignored(posterior: "Posterior", zeros: PyTree) -> list[str]:
    """Labels of coordinates without a prior where the gradient is zero."""
    plan = posterior.reparam.bound.plan
    # Under `then` no coordinate belongs to a leaf.
    if posterior.prior_function is not None or plan.outer:
        return []
    with_prior = {term.position for term in posterior.prior_plan.terms}
    masks = [
        np.ravel(zero)
        & (with_prior.isdisjoint(row.members or (i,)) and not _bounded(posterior, i))
        for (i, row), zero in zip(plan.free, jtu.tree_leaves(zeros), strict=True)
    ]
    mask = np.concatenate(masks) if masks else np.zeros(0, bool)
    return [posterior.labels[i] for i in np.flatnonzero(mask)]


def _bounded(posterior: "Posterior", i: int) -> bool:
    """Whether a leaf stays where it is far out: flat on a bounded set is proper."""
    signs = np.where(np.arange(posterior.dim) % 2, 1.0, -1.0)
    reach = []
    for far in (40.0, 80.0):
        points = [jnp.asarray(far * sign, float) for sign in (signs, -signs)]
        models = [posterior.reparam.forward(posterior.reparam.unravel(x)) for x in points]
        leaves = [np.asarray(jtu.tree_leaves(model)[i]) for model in models]
        reach.append(max(np.max(np.abs(leaf), initial=0.0) for leaf in leaves))
    return bool(np.isfinite(reach[1]) and reach[1] <= 1.01 * reach[0])
