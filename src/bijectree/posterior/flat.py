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

    def forward(self, vector: Inexact[Array, " dim"]) -> PyTree:
        """The model at a vector of free coordinates."""
        reparam = self.posterior.reparam
        return reparam.forward(reparam.unravel(jnp.asarray(vector)))

    def inverse(self, model: PyTree) -> Inexact[Array, " dim"]:
        """The vector of free coordinates of a model."""
        reparam = self.posterior.reparam
        return reparam.ravel(reparam.inverse(model))


def density_dtype(leaves: list[Any]) -> np.dtype:
    """The dtype of a log-density: the widest of the leaves', at least float32."""
    dtypes = [jax.dtypes.canonicalize_dtype(jnp.result_type(x)) for x in leaves]
    with jax.numpy_dtype_promotion("standard"):
        widest = jnp.result_type(*([np.float32, *dtypes] if dtypes else [float]))
    return np.dtype(jnp.finfo(widest).dtype)
