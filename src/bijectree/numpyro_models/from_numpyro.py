"""`from_numpyro`: the posterior of a NumPyro model."""

from collections.abc import Callable
from typing import Any

from ..inference import optional_import
from ..posterior import Posterior
from ..reparam import Reparam
from ..trees import describe, raise_all
from .by_site import by_site
from .observed_sites import ObservedSites
from .running import values_given, without_reparam
from .take_over import take_over


def from_numpyro(model: Callable[..., Any], *args: Any, **kwargs: Any) -> Posterior:
    """Take a NumPyro model over: the Posterior of its latent sites.

    Its model, in this package's sense, is a dictionary of the latent sites by name, with
    their constrained values; plates are leading axes, as in NumPyro. The density of these
    values is NumPyro's. The priors are the sites' own distributions, by path, dependent
    where other sites set them; the likelihood is the observed sites and the terms of
    `numpyro.factor`.

    The coordinates are this package's: the bijector onto the support of each site, or
    `bt.location_scale` where other sites set its location or scale. `handlers.reparam`
    around the model is left out, for that is the work of these; one within the model
    function is kept, and its auxiliary sites are the model's.

    The density needs no data: `posterior.log_density(free)`. `posterior.likelihood` has
    `names`, those of the observed sites, `terms(model)`, `sample(model, key)` and
    `observed`, each a dictionary by these names; and `deterministic(model)`.

    The model is traced, so its Python code cannot ask for values of sites. Where it asks
    for values of its arguments, such as the greatest index, these are constants. Called
    again with other arrays of the same shapes, it gives a Posterior for which nothing
    that was compiled compiles again.

    Args:
        model: a NumPyro model. Wrapped in `handlers.condition`, `seed`, `scale`, `mask`,
            `scope`, `lift` or `do` it is what these make of it.
        *args: of the model, with the data.
        **kwargs: of the model.

    Returns:
        A Posterior. Sites in a scan that depend on each other have one prior term, which
        is the first one's.

    Raises:
        ImportError: NumPyro is not installed.
        TypeError: `model` is no function.
        ValueError: sites that cannot be taken over, all by name: discrete ones, those
            with a `Delta`, a `numpyro.param` without a value that something depends on, a
            plate that draws a part of its data, the missing part of an `obs_mask`, a
            site that `handlers.substitute` gives a value, one whose support is not
            known. Or the model asks for a random key, or its sites change with their
            values.

    Example:
        >>> import bijectree as bt, jax, jax.numpy as jnp, numpyro
        >>> import numpyro.distributions as dist
        >>> def schools(sigma, y):
        ...     mu = numpyro.sample("mu", dist.Normal(0, 5))
        ...     tau = numpyro.sample("tau", dist.HalfCauchy(5))
        ...     with numpyro.plate("schools", len(y)):
        ...         theta = numpyro.sample("theta", dist.Normal(mu, tau))
        ...         numpyro.sample("y", dist.Normal(theta, sigma), obs=y)
        >>> sigma, y = jnp.array([15.0, 10.0, 16.0]), jnp.array([28.0, 8.0, -3.0])
        >>> posterior = bt.from_numpyro(schools, sigma, y)
        >>> posterior.reparam
        Reparam of dimension 5
          mu: identity
          tau: positive
          theta: location_scale on mu, tau, λ 0
        >>> model = {"mu": jnp.array(4.0), "tau": jnp.array(2.0), "theta": jnp.ones(3)}
        >>> print(f"{posterior.log_density(posterior.reparam.inverse(model)):.4f}")
        -22.9328
        >>> print(f"{posterior.likelihood.terms(model)['y'][0]:.4f}")
        -5.2470
    """
    optional_import("numpyro")
    if not callable(model):
        raise TypeError(
            "from_numpyro takes a NumPyro model, a function with numpyro.sample in it, "
            f"and its arguments; got {describe(model)}"
        )
    bare = without_reparam(model)
    try:
        program, arrays = take_over(bare, args, kwargs)
    except NotImplementedError as error:
        if bare is model:
            raise
        raise NotImplementedError(
            "from_numpyro leaves handlers.reparam around a model out, and without it: "
            f"{error} Use it within the model function, around the statement of the site"
        ) from error
    if bare is not model:
        lost = values_given(model) - set(program.trace().record.axes)
        raise_all(
            "from_numpyro leaves handlers.reparam around a model out, and with it sites "
            "to which handlers give values",
            (
                f"'{name}': give the site of the model itself a value, or use "
                "handlers.reparam within the model function"
                for name in sorted(lost)
            ),
        )
    found = by_site(program, arrays)
    reparam = Reparam(found.model, found.spec)
    return Posterior(reparam, ObservedSites(program, arrays), found.prior)
