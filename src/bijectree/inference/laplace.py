"""`laplace`: a normal approximation at the mode."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..posterior import Posterior, Target, negative_hessian
from .draws import Draws
from .find_map import find_map


class Laplace(eqx.Module):
    """A normal approximation of a posterior in free coordinates.

    Attributes:
        posterior: what is approximated.
        mean: the mode of the density of free coordinates, a vector.
        scale_tril: the Cholesky factor of the covariance, the inverse of minus the
            Hessian at the mode; a lower triangular matrix.
        log_evidence: the approximation of the logarithm of the integral of prior times
            likelihood.
    """

    posterior: Posterior
    mean: Float[Array, " dim"]
    scale_tril: Float[Array, "dim dim"]
    log_evidence: Float[Array, ""]

    def __repr__(self) -> str:
        deviations = np.linalg.norm(np.asarray(self.scale_tril), axis=1)
        labels = self.posterior.labels
        rows = zip(labels, np.asarray(self.mean), deviations, strict=True)
        lines = [f"  {label}: {mean:.4g} ± {sd:.4g}" for label, mean, sd in rows]
        more = [f"  ... {len(lines) - 20} more"] if len(lines) > 20 else []
        title = f"Laplace approximation: log-evidence {float(self.log_evidence):.6g}"
        return "\n".join([title + "; free coordinates:", *lines[:20], *more])

    @jax.default_matmul_precision("highest")
    def sample(self, key: PRNGKeyArray, draws: int = 1000) -> Draws:
        """Draw independently from the approximation, as one chain."""
        normal = jax.random.normal(key, (draws, self.mean.size), self.mean.dtype)
        vectors = self.mean[None] + normal @ self.scale_tril.T
        return Draws(self.posterior, vectors[None])


def laplace(
    posterior: Posterior,
    start: PyTree,
    *data: Any,
    tolerance: float | None = None,
    max_steps: int = 1000,
) -> Laplace:
    """Approximate the posterior by a normal density of the free coordinates.

    The mode is that of the density with the Jacobian: what is approximated is a density
    of free coordinates. It therefore depends on the bijectors; the nearer they bring
    the posterior to a normal one, the better.

    Args:
        posterior: a Posterior.
        start: a model to start the search for the mode from.
        *data: what its log-likelihood takes after the model.
        tolerance: as in `find_map`, the norm of the gradient to stop at.
        max_steps: as in `find_map`.

    Returns:
        The approximation.

    Raises:
        ValueError: minus the Hessian at the mode is not positive definite; the message
            names the coordinate along which it is worst.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> model = {"rate": jnp.array(1.0)}
        >>> posterior = bt.Posterior(
        ...     bt.Reparam(model, bt.tfb.Exp()), None, bt.tfd.LogNormal(0.0, 0.5)
        ... )
        >>> print(f"{bt.laplace(posterior, model).scale_tril[0, 0]:.3f}")  # it is exact
        0.500
    """
    mode = find_map(
        posterior,
        start,
        *data,
        jacobian=True,
        tolerance=tolerance,
        max_steps=max_steps,
    )
    precision = negative_hessian(Target(posterior, data), mode.vector)
    values, directions = np.linalg.eigh(np.asarray(precision))
    if not values[0] > 0:
        worst = posterior.labels[int(np.argmax(np.abs(directions[:, 0])))]
        raise ValueError(
            f"the log-density does not fall away from its mode along '{worst}': minus "
            f"its Hessian has the eigenvalue {values[0]:.3g}. A coordinate may have no "
            "prior and be ignored by the likelihood"
        )
    # The inverse of a factor of the precision, read from the last row and column, is
    # the lower factor of the covariance.
    upper = jnp.linalg.cholesky(precision[::-1, ::-1])[::-1, ::-1]
    identity = jnp.eye(mode.vector.size, dtype=precision.dtype)
    scale_tril = jax.scipy.linalg.solve_triangular(upper, identity, lower=False).T
    half_log_det = jnp.sum(jnp.log(jnp.diagonal(scale_tril)))
    constant = 0.5 * mode.vector.size * np.log(2 * np.pi)
    log_evidence = mode.log_density + half_log_det + constant
    return Laplace(posterior, mode.vector, scale_tril, log_evidence)
