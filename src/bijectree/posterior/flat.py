"""`FlatPosterior`: a Posterior over vectors of free coordinates."""

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Inexact, PyTree

if TYPE_CHECKING:
    from .posterior import Posterior


class FlatPosterior(eqx.Module):
    """A Posterior over vectors of free coordinates.

    Attributes:
        posterior: the Posterior.

    Example:
        >>> import bijectree as bt, jax, jax.numpy as jnp
        >>> reparam = bt.Reparam({"scale": jnp.ones(3)}, bt.tfb.Exp())
        >>> flat = bt.Posterior(reparam, None, bt.tfd.HalfNormal(1.0)).flat()
        >>> flat.dim, flat.labels
        (3, ['scale.0', 'scale.1', 'scale.2'])
        >>> print(jax.grad(flat.log_density)(jnp.zeros(3)))
        [0. 0. 0.]
    """

    posterior: "Posterior"

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    @property
    def dim(self) -> int:
        """The length of the vectors."""
        return self.posterior.dim

    @property
    def labels(self) -> list[str]:
        """One label an element of the vectors."""
        return self.posterior.labels

    def log_density(
        self, vector: Inexact[Array, " dim"], *data: Any, jacobian: bool = True
    ) -> Float[Array, ""]:
        """As `Posterior.log_density`, which says when to leave the Jacobian out."""
        vector = jnp.asarray(vector)
        free = self.posterior.reparam.unravel(vector)
        value = self.posterior.log_density(free, *data, jacobian=jacobian)
        return value.astype(density_dtype([vector]))

    def log_prior(self, vector: Inexact[Array, " dim"]) -> Float[Array, ""]:
        """The log-prior of the vector itself: with the log-det, and without the data.

        With `log_likelihood` it is what tempering and sequential samplers take: the sum
        of both is `log_density`.
        """
        vector = jnp.asarray(vector)
        value, _ = self.posterior._log_prior_at(self.posterior.reparam.unravel(vector))
        return _never_infinite(value.astype(density_dtype([vector])))

    def log_likelihood(
        self, vector: Inexact[Array, " dim"], *data: Any
    ) -> Float[Array, ""]:
        """The log-likelihood at the model of a vector, which has no log-det."""
        vector = jnp.asarray(vector)
        value = self.posterior.log_likelihood(self.forward(vector), *data)
        return value.astype(density_dtype([vector]))

    def forward(self, vector: Inexact[Array, " dim"]) -> PyTree:
        """The model at a vector of free coordinates."""
        reparam = self.posterior.reparam
        return reparam.forward(reparam.unravel(jnp.asarray(vector)))

    def inverse(self, model: PyTree) -> Inexact[Array, " dim"]:
        """The vector of free coordinates of a model."""
        reparam = self.posterior.reparam
        return reparam.ravel(reparam.inverse(model))


@jax.custom_jvp
def _never_infinite(log_density: Array) -> Array:
    """Replace +∞ by −∞: a sampler would never leave it, and an optimiser stop there."""
    return jnp.where(log_density == jnp.inf, -jnp.inf, log_density)


@_never_infinite.defjvp
def _never_infinite_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple:
    # The tangent passes unchanged: with `where`, each partial derivative would need the
    # whole density.
    return _never_infinite(*primals), tangents[0]


def density_dtype(leaves: list[Any]) -> np.dtype:
    """The dtype of a log-density: the widest of the leaves', at least float32."""
    dtypes = [jax.dtypes.canonicalize_dtype(jnp.result_type(x)) for x in leaves]
    with jax.numpy_dtype_promotion("standard"):
        widest = jnp.result_type(*([np.float32, *dtypes] if dtypes else [float]))
    return np.dtype(jnp.finfo(widest).dtype)
