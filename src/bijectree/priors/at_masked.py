"""Priors at masked leaves: they count the entries that are mapped, not those held."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, xlogy
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..constraints import Support, simplex
from ..trees import StaticLeaf
from .distribution import draw, name
from .lookup import _table, bijector_for


def at_masked(
    distribution: Any, mask: Bool[np.ndarray, "..."], zero_axis: int | None
) -> Any:
    """A distribution that counts only the entries of a leaf that are mapped.

    Args:
        distribution: of the leaf, which it fits.
        mask: where the leaf is mapped.
        zero_axis: the axis along which what is mapped sums to 1, if it does.

    Raises:
        ValueError: it is a density of events of which some entries are held.
    """
    events = _by_event(distribution, mask)
    if not splits_events(distribution, mask):
        return _Counted(distribution, StaticLeaf(events.all(axis=-1)))
    if zero_axis == -1 and events.ndim == mask.ndim and _is_dirichlet(distribution):
        return _DirichletOfParts(distribution.concentration, StaticLeaf(mask))
    raise ValueError(
        f"{name(distribution)} is a density of whole events, of some of which entries "
        "are held; at bt.masked(bt.simplex(), ...) a Dirichlet is taken as that of the "
        "parts that are mapped. Give a prior that is a function of the model"
    )


def splits_events(distribution: Any, mask: Bool[np.ndarray, "..."]) -> bool:
    """Whether of some event of a distribution a part is mapped and another is not."""
    events = _by_event(distribution, mask)
    return not np.array_equal(events.all(axis=-1), events.any(axis=-1))


def _by_event(
    distribution: Any, mask: Bool[np.ndarray, "..."]
) -> Bool[np.ndarray, "... entry"]:
    """A mask with the entries of each event of a distribution along the last axis."""
    ndim = _event_ndims(distribution, mask.shape)
    return mask.reshape(*mask.shape[: mask.ndim - ndim], -1)


def counted_inside(prior: Any, support: Support, leaf: Array) -> Bool[Array, " events"]:
    """Whether the events that a prior of a masked leaf counts are in its support.

    Parts that are mapped by a simplex are.
    """
    if isinstance(prior, _DirichletOfParts):
        return jnp.ones(0, bool)
    inside = support.contains(leaf)
    return inside[prior.counted.value] if isinstance(prior, _Counted) else inside


def _event_ndims(distribution: Any, shape: tuple[int, ...]) -> int:
    if hasattr(distribution, "event_shape"):
        return len(distribution.event_shape)
    leaf = jax.ShapeDtypeStruct(shape, jnp.result_type(float))
    return len(shape) - len(jax.eval_shape(distribution.log_prob, leaf).shape)


def _is_dirichlet(distribution: Any) -> bool:
    """Whether it is the Dirichlet of TFP, NumPyro or distrax."""
    return type(distribution).__name__ == "Dirichlet" and hasattr(
        distribution, "concentration"
    )


@jax.tree_util.register_pytree_node_class
class _Counted:
    """A distribution of single entries or whole events, of which some count."""

    def __init__(self, distribution: Any, counted: StaticLeaf):
        self.distribution, self.counted = distribution, counted

    def tree_flatten(self) -> tuple[Any, StaticLeaf]:
        return (self.distribution,), self.counted

    @classmethod
    def tree_unflatten(cls, counted: StaticLeaf, children: Any) -> "_Counted":
        (distribution,) = children
        return cls(distribution, counted)

    @property
    def event_shape(self) -> Any:
        return getattr(self.distribution, "event_shape", ())

    @property
    def batch_shape(self) -> Any:
        return getattr(self.distribution, "batch_shape", ())

    def log_prob(self, value: Array) -> Array:
        found = self.distribution.log_prob(value)
        return jnp.where(self.counted.value, found, jnp.zeros_like(found))

    def sample(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
        return draw(self.distribution, shape, key)


@jax.tree_util.register_pytree_node_class
class _DirichletOfParts:
    """A Dirichlet of those parts of the last axis that are mapped; the others are 0."""

    def __init__(self, concentration: Float[Array, "... K"], mask: StaticLeaf):
        self.concentration, self.mask = concentration, mask

    def tree_flatten(self) -> tuple[Any, StaticLeaf]:
        return (self.concentration,), self.mask

    @classmethod
    def tree_unflatten(cls, mask: StaticLeaf, children: Any) -> "_DirichletOfParts":
        (concentration,) = children
        return cls(concentration, mask)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.mask.value.shape[-1:]

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return self.mask.value.shape[:-1]

    def log_prob(self, value: Array) -> Array:
        mask = self.mask.value
        alpha = jnp.broadcast_to(jnp.asarray(self.concentration), mask.shape)
        one = jnp.ones_like(value)
        # A part that is held at 0 is replaced, for its logarithm and slope are infinite.
        powers = xlogy(alpha - 1, jnp.where(mask, value, one))
        found = jnp.sum(jnp.where(mask, powers - gammaln(alpha), 0), axis=-1)
        any_part = mask.any(axis=-1)
        total = jnp.sum(jnp.where(mask, alpha, 0), axis=-1)
        return found + jnp.where(any_part, gammaln(jnp.where(any_part, total, 1)), 0)

    def sample(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
        mask = self.mask.value
        alpha = jnp.broadcast_to(jnp.asarray(self.concentration), mask.shape)
        # Gamma variates are drawn as logarithms: for small concentrations all would be 0.
        log = jax.random.loggamma(key, alpha, (*shape, *mask.shape))
        log = jnp.where(mask, log, -jnp.inf)
        some = mask.any(axis=-1, keepdims=True)
        return jnp.where(some, jax.nn.softmax(jnp.where(some, log, 0)), 0)


_table[_Counted] = lambda prior: bijector_for(prior.distribution)
_table[_DirichletOfParts] = lambda prior: simplex()
