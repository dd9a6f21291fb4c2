"""A posterior with its data, as an argument of compiled functions."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .. import substrate
from ..reparam import Reparam
from .function import Function, as_read_now
from .posterior import Posterior


class Target(eqx.Module):
    """The log-density of vectors of free coordinates, given data.

    Attributes:
        posterior: of vectors and data.
        given: the data, as a `Function`. So classes that check what they hold are never
            built of the placeholders that `filter_jit` puts in place of arrays.
    """

    posterior: Posterior
    given: Function

    def __init__(self, posterior: Posterior, data: Sequence[Any]):
        self.posterior = as_read_now(posterior)
        self.given = Function(tuple(data))

    @property
    def data(self) -> tuple[Any, ...]:
        """What the log-likelihood takes after the model."""
        return self.given.build()

    def __call__(self, vector: Array, *, jacobian: bool = True) -> Array:
        """The log-density at a vector of free coordinates, a scalar."""
        flat = self.posterior.flat()
        return flat.log_density(vector, *self.data, jacobian=jacobian)

    def through(self, reparam: Reparam) -> "Target":
        """The same posterior in the free coordinates of another map of its model."""
        return eqx.tree_at(lambda t: t.posterior.reparam, self, reparam)


@eqx.filter_jit
def negative_hessian(target: Target, vector: Array) -> Array:
    """Minus the Hessian of the log-density."""
    with substrate.standard_promotion():
        return -jax.hessian(target)(vector)


def dtype_of(target: Target) -> np.dtype:
    """The dtype of the vectors of free coordinates."""
    posterior = target.posterior
    shapes = jax.eval_shape(
        lambda x: posterior.reparam.ravel(posterior.reparam.unravel(x)),
        jax.ShapeDtypeStruct((posterior.dim,), jnp.result_type(float)),
    )
    return shapes.dtype
