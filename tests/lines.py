"""A line through points, as a posterior."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

import bijectree as bt
from bijectree import tfd

# What it promises besides its value.


def identity(x):
    return x


class Line(eqx.Module):
    """Callable, with a static field and an integer, as models are."""

    slope: Array
    scale: Array
    degree: int = 1
    activation: object = identity

    def __call__(self, x):
        return self.slope * x


def line_likelihood(model, x, y):
    return tfd.Normal(model(x), model.scale).log_prob(y).sum()


def line(dtype=jnp.float32, prior=True, scale=1.0):
    model = Line(jnp.array(0.5, dtype), jnp.array(2.0, dtype))
    reparam = bt.Reparam(model, bt.by_path(model, {"scale": bt.positive()}))
    rules = {"slope": tfd.Normal(0.0, scale), "scale": tfd.HalfNormal(2.0)}
    priors = bt.by_path(model, rules) if prior else None
    posterior = bt.Posterior(reparam, line_likelihood, prior=priors)
    x = jnp.arange(4, dtype=dtype)
    return posterior, reparam.inverse(model), (x, 2 * x)
