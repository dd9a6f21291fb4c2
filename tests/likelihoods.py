"""Five likelihoods of four thousand data, each with a start a way off its maximum."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import bijectree as bt
from bijectree import tfd

COUNT = 4000


class Problem(NamedTuple):
    """A model to start from, its spec by path, a log-likelihood and data of a seed."""

    model: Any
    rules: dict[str, Any]
    log_likelihood: Callable[..., Any]
    data: Callable[[np.random.Generator], tuple[np.ndarray, ...]]

    def posterior(self, dtype: Any) -> tuple[bt.Posterior, Any]:
        model = jax.tree.map(lambda x: jnp.asarray(x, dtype), self.model)
        reparam = bt.Reparam(model, bt.by_path(model, self.rules))
        return bt.Posterior(reparam, self.log_likelihood), model


def _line(random):
    x = random.normal(size=COUNT)
    return x, 1.5 * x - 0.7 + 0.3 * random.normal(size=COUNT)


def _classes(random):
    x = random.normal(size=(COUNT, 8))
    probability = 1 / (1 + np.exp(-x @ random.normal(size=8)))
    return x, (random.uniform(size=COUNT) < probability).astype(float)


def _counts(random):
    x = random.uniform(0, 3, size=COUNT)
    return x, random.poisson(5 * np.exp(0.5 * np.sin(2 * x))).astype(float)


def _clusters(random):
    first = random.uniform(size=COUNT) < 0.3
    one, other = random.normal(size=(2, COUNT))
    return (np.where(first, 100 + one, 104 + 0.7 * other),)


def _heavy_tails(random):
    factor = np.array([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [-0.3, 0.2, 0.93]])
    y = random.standard_normal((COUNT, 3)) @ factor.T
    return (3 + y * np.sqrt(5 / random.chisquare(5, size=(COUNT, 1))),)


def _log_density_of_classes(m, x, y):
    logits = x @ m["w"] + m["b"]
    return jnp.sum(y * logits - jax.nn.softplus(logits))


def _log_density_of_counts(m, x, y):
    rate = m["rate"] * jnp.exp(m["swing"] * jnp.sin(m["frequency"] * x))
    return jnp.sum(y * jnp.log(rate) - rate)


def _log_density_of_clusters(m, y):
    first, other = (tfd.Normal(m["mu"][i], m["sigma"][i]).log_prob(y) for i in (0, 1))
    share = m["share"]
    return jnp.sum(jnp.logaddexp(jnp.log(share) + first, jnp.log1p(-share) + other))


def _log_density_of_heavy_tails(m, y):
    factor, nu = m["factor"], m["nu"]
    whitened = jax.scipy.linalg.solve_triangular(factor, (y - m["mu"]).T, lower=True)
    constant = (
        jax.scipy.special.gammaln((nu + 3) / 2)
        - jax.scipy.special.gammaln(nu / 2)
        - 1.5 * jnp.log(nu * jnp.pi)
        - jnp.sum(jnp.log(jnp.diagonal(factor)))
    )
    tails = jnp.log1p(jnp.sum(whitened * whitened, axis=0) / nu)
    return jnp.sum(constant - (nu + 3) / 2 * tails)


PROBLEMS = {
    "line": Problem(
        {"slope": 0.0, "offset": 0.0, "sigma": 1.0},
        {"sigma": bt.positive()},
        lambda m, x, y: (
            tfd.Normal(m["slope"] * x + m["offset"], m["sigma"]).log_prob(y).sum()
        ),
        _line,
    ),
    "classes": Problem(
        {"w": np.zeros(8), "b": 0.0}, {}, _log_density_of_classes, _classes
    ),
    "counts": Problem(
        {"rate": 1.0, "swing": 0.1, "frequency": 1.8},
        {"rate": bt.positive(), "frequency": bt.positive()},
        _log_density_of_counts,
        _counts,
    ),
    "clusters": Problem(
        {"mu": np.array([99.0, 105.0]), "sigma": np.ones(2), "share": 0.5},
        {"mu": bt.ordered_vector(), "sigma": bt.positive(), "share": bt.unit_interval()},
        _log_density_of_clusters,
        _clusters,
    ),
    "heavy tails": Problem(
        {"mu": np.zeros(3), "factor": np.eye(3), "nu": 10.0},
        {"factor": bt.lower_cholesky(), "nu": bt.positive()},
        _log_density_of_heavy_tails,
        _heavy_tails,
    ),
}
