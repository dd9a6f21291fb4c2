"""A Posterior as the function that samplers of other packages take."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact

from ..posterior import Posterior


def potential_fn(
    posterior: Posterior, *data: Any
) -> Callable[[Inexact[Array, " dim"]], Float[Array, ""]]:
    """Give NumPyro the potential energy of a Posterior: minus its log-density.

    It has the Jacobian, as every sampler needs.

    Args:
        posterior: a Posterior.
        *data: what its log-likelihood takes after the model.

    Returns:
        A function of one vector of free coordinates.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> reparam = bt.Reparam({"scale": jnp.array(1.0)}, bt.tfb.Exp())
        >>> posterior = bt.Posterior(reparam, None, bt.tfd.Exponential(1.0))
        >>> potential = bt.potential_fn(posterior)
        >>> print(f"{potential(jnp.zeros(1)):.4f}")
        1.0000

        With it, NUTS on four chains::

            nuts = numpyro.infer.NUTS(potential_fn=bt.potential_fn(posterior, y))
            mcmc = numpyro.infer.MCMC(
                nuts, num_warmup=1000, num_samples=1000, num_chains=4,
                chain_method="vectorized",
            )
            starts = posterior.initial(key, y, n=4)
            mcmc.run(key, init_params=jax.vmap(posterior.reparam.ravel)(starts),
                     extra_fields=("diverging",))
            stats = mcmc.get_extra_fields(group_by_chain=True)
            draws = bt.Draws(posterior, mcmc.get_samples(group_by_chain=True), stats)
    """
    flat = posterior.flat()
    return lambda vector: -flat.log_density(vector, *data)


def target_log_prob_fn(
    posterior: Posterior, *data: Any
) -> Callable[[Inexact[Array, "*chains dim"]], Float[Array, "*chains"]]:
    """Give TFP's kernels the log-density of a Posterior.

    It has the Jacobian, as every sampler needs.

    Args:
        posterior: a Posterior.
        *data: what its log-likelihood takes after the model.

    Returns:
        A function of vectors of free coordinates; leading axes are chains.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> reparam = bt.Reparam({"scale": jnp.ones(2)}, bt.tfb.Exp())
        >>> posterior = bt.Posterior(reparam, None, bt.tfd.HalfNormal(1.0))
        >>> target = bt.target_log_prob_fn(posterior)
        >>> target(jnp.zeros((4, 2))).shape
        (4,)
    """
    flat = posterior.flat()
    return jnp.vectorize(
        lambda vector: flat.log_density(vector, *data), signature="(n)->()"
    )
