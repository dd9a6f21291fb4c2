"""Coordinates that neither a prior nor the likelihood knows of."""

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from .function import Function

if TYPE_CHECKING:
    from .posterior import Posterior

# So many gradients tell whether the density is flat all round a point.
_NEARBY = 4


def value_and_gradient(
    function: Callable[[PyTree], Array], free: PyTree
) -> tuple[Array, PyTree]:
    """A scalar and its gradient, of complex coordinates too."""
    value, pull = jax.vjp(function, free)
    (gradient,) = pull(jnp.ones_like(value))
    return value, gradient


def leaves_without_prior(posterior: "Posterior") -> tuple[int, ...]:
    """The positions, among the free leaves, of those that no prior tells of.

    Nothing is known where the prior is a function; and after `then` no coordinate belongs
    to a leaf.
    """
    plan = posterior.reparam.bound.plan
    if posterior.prior_function is not None or plan.outer:
        return ()
    with_prior = {term.position for term in posterior.prior_plan.terms}
    return tuple(
        n
        for n, (i, row) in enumerate(plan.free)
        if with_prior.isdisjoint(row.members or (i,))
    )


def flat_at(
    posterior: "Posterior", free: PyTree, gradient: PyTree, *, jacobian: bool = True
) -> list[Array]:
    """Where the likelihood may be flat, at each leaf without a prior.

    Args:
        posterior: a Posterior.
        free: free coordinates.
        gradient: the gradient of its log-density there.
        jacobian: whether the log-density had the log-det. Its gradient then is that of
            the log-det alone where the likelihood is flat, but for rounding.
    """
    places = leaves_without_prior(posterior)
    leaves = jtu.tree_leaves(gradient)
    if not (jacobian and places):
        return [leaves[n] == 0 for n in places]
    log_det = posterior.reparam.forward_log_det_jacobian
    alone = jtu.tree_leaves(value_and_gradient(log_det, free)[1])
    pairs = [(leaves[n], alone[n]) for n in places]
    return [
        jnp.abs(x - y) <= float(jnp.finfo(x.dtype).eps) ** 0.5 * jnp.abs(y)
        for x, y in pairs
    ]


def warn_of_ignored(
    posterior: "Posterior",
    flat: Sequence[Any],
    free: PyTree,
    key: PRNGKeyArray,
    data: tuple[Any, ...],
    *,
    stacklevel: int,
) -> int:
    """Warn of coordinates that neither a prior nor the likelihood knows of.

    Args:
        posterior: a Posterior.
        flat: of `flat_at`, at all starts.
        free: the first of them, near which to look again: a start may be a stationary
            point, where a zero says nothing.
        key: a PRNG key.
        data: what the log-likelihood takes after the model.
        stacklevel: of the warning, as seen from the caller.

    Returns:
        How many gradients that took.
    """
    places = leaves_without_prior(posterior)
    doubtful = {
        n: np.ravel(mask)
        for n, mask in zip(places, flat, strict=True)
        if np.any(mask) and not _bounded(posterior, n)
    }
    if not doubtful:
        return 0
    nearby = jtu.tree_leaves(_flat_nearby(posterior, Function(data), free, key))
    masks = [
        np.ravel(mask) & doubtful.get(n, np.zeros(mask.size, bool))
        for n, mask in enumerate(nearby)
    ]
    labels = [posterior.labels[i] for i in np.flatnonzero(np.concatenate(masks))]
    if labels:
        shown = ", ".join(repr(label) for label in labels[:5])
        more = f" and {len(labels) - 5} more" if len(labels) > 5 else ""
        warnings.warn(
            f"no prior stands at {shown}{more}, and the gradient of the log-likelihood "
            "there is exactly zero: the posterior is improper, and a sampler would "
            "wander off. Give a prior, freeze the leaf, or use it in the likelihood",
            stacklevel=stacklevel + 1,
        )
    return _NEARBY


@eqx.filter_jit
def _flat_nearby(
    posterior: "Posterior", given: Function, free: PyTree, key: PRNGKeyArray
) -> PyTree:
    """Where the gradient without the log-det is zero all round a point."""
    leaves, treedef = jtu.tree_flatten(free)
    density = functools.partial(posterior.log_density, jacobian=False)
    data = given.build()

    def gradient(key: PRNGKeyArray) -> PyTree:
        keys = jax.random.split(key, max(len(leaves), 1))
        moved = treedef.unflatten(
            x + 0.1 * jax.random.normal(k, x.shape, x.dtype)
            for x, k in zip(leaves, keys, strict=False)
        )
        return value_and_gradient(lambda free: density(free, *data), moved)[1]

    gradients = jax.lax.map(gradient, jax.random.split(key, _NEARBY))
    return jax.tree.map(lambda x: jnp.all(x == 0, axis=0), gradients)


def _bounded(posterior: "Posterior", n: int) -> bool:
    """Whether a leaf stays where it is far out: flat on a bounded set is proper."""
    position, _ = posterior.reparam.bound.plan.free[n]
    signs = np.where(np.arange(posterior.dim) % 2, 1.0, -1.0)
    reach = []
    for far in (40.0, 80.0):
        points = [jnp.asarray(far * sign, float) for sign in (signs, -signs)]
        models = [posterior.reparam.forward(posterior.reparam.unravel(x)) for x in points]
        leaves = [np.asarray(jtu.tree_leaves(model)[position]) for model in models]
        reach.append(max(np.max(np.abs(leaf), initial=0.0) for leaf in leaves))
    return bool(np.isfinite(reach[1]) and reach[1] <= 1.01 * reach[0])
