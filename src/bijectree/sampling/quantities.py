"""The quantities that a calibration ranks: numbers of a model, and two densities."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Bool, Float

from .. import substrate
from ..posterior import Target
from ..reparam import Row

# What does not vary by more than so many times the rounding is a constant.
_ROUNDING = 64


def names_of(rows: Sequence[Row]) -> list[str]:
    """One name a quantity."""
    numbers = [
        ".".join([row.path or "model", *map(str, index)])
        for row in rows
        if row.role == "free"
        for index in np.ndindex(*row.shape)
    ]
    return [*numbers, "log-prior", "log-likelihood"]


def rounding_of(rows: Sequence[Row]) -> Float[np.ndarray, " k"]:
    """The relative rounding of each quantity."""
    free = [row for row in rows if row.role == "free"]
    each = [float(jnp.finfo(row.dtype).eps) for row in free]
    sizes = [int(np.prod(row.shape)) for row in free]
    # A log-density is a sum of terms of all leaves.
    return np.repeat([*each, max(each), max(each)], [*sizes, 1, 1])


def constant(
    lowest: Float[np.ndarray, " k"],
    highest: Float[np.ndarray, " k"],
    rounding: Float[np.ndarray, " k"],
) -> Bool[np.ndarray, " k"]:
    """Which quantities of this range vary by rounding alone."""
    size = np.maximum(np.abs(lowest), np.abs(highest))
    # A log-density may be infinite somewhere.
    with np.errstate(invalid="ignore"):
        close = highest - lowest <= _ROUNDING * rounding * size
    return (lowest == highest) | (close & np.isfinite(size))


def at_model(target: Target, leaves: Sequence[Any]) -> Float[np.ndarray, " k"]:
    """The quantities at the leaves of a model."""
    return _joined(_of_model(target, list(leaves)))


def at_draws(target: Target, vectors: Array) -> Float[np.ndarray, "chains draws k"]:
    """The quantities at vectors of free coordinates."""
    return _joined(_of_draws(target, vectors))


@eqx.filter_jit
def _of_model(target: Target, leaves: list[Any]) -> list[Array]:
    with substrate.standard_promotion():
        return _quantities(target, leaves)


@eqx.filter_jit
def _of_draws(target: Target, vectors: Array) -> list[Array]:
    forward = target.posterior.flat().forward

    def one(vector: Array) -> list[Array]:
        return _quantities(target, jtu.tree_leaves(forward(vector)))

    with substrate.standard_promotion():
        return eqx.filter_vmap(eqx.filter_vmap(one))(vectors)


def _quantities(target: Target, leaves: list[Any]) -> list[Array]:
    """The numbers of each free leaf, the log-prior and the log-likelihood."""
    posterior = target.posterior
    plan = posterior.reparam.bound.plan
    free = [
        jnp.asarray(leaf, row.dtype).ravel()
        for row, leaf in zip(plan.rows, leaves, strict=True)
        if row.role == "free"
    ]
    model = plan.structure.treedef.unflatten(leaves)
    log_prior = posterior.log_prior(model)
    log_likelihood = posterior.log_likelihood(model, *target.data)
    return [*free, log_prior[None], log_likelihood[None]]


def _joined(parts: list[Array]) -> Float[np.ndarray, "..."]:
    """The parts along their last axis, on the host."""
    arrays = jax.device_get(parts)
    return np.concatenate([np.asarray(x, np.float64) for x in arrays], axis=-1)
