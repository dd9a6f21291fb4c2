"""Posteriors whose evidence is known, with constraints of several kinds."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import integrate, stats
from scipy.special import betaln, gammaln, multigammaln

import bijectree as bt
from bijectree import tfd


class Problem(NamedTuple):
    """A posterior whose evidence is known.

    Attributes:
        what: the model in words.
        posterior: of the data.
        data: what its log-likelihood takes.
        log_evidence: the logarithm of the integral of prior times likelihood.
        of_cube: whether its priors have quantile functions.
    """

    what: str
    posterior: bt.Posterior
    data: Any
    log_evidence: float
    of_cube: bool = True


def _problem(
    what: str, model: Any, prior: Any, log_likelihood: Callable, data: Any, exact: float
) -> Problem:
    reparam = bt.Reparam(model, bt.spec_from_prior(model, prior, noncentred=True))
    data = jnp.asarray(data)
    posterior = bt.Posterior(reparam, log_likelihood, prior)
    return Problem(what, posterior, data, float(exact))


def regression() -> Problem:
    """A normal density, of which Laplace's approximation is exact."""
    x = np.stack([np.ones(12), np.linspace(-1.0, 1.0, 12)], axis=1)
    y = x @ [0.5, -1.0] + 0.4 * np.sin(7.0 * np.arange(12))

    def log_likelihood(model: Any, y: jax.Array) -> jax.Array:
        return tfd.Normal(jnp.asarray(x) @ model["w"], 0.5).log_prob(y).sum()

    covariance = 0.25 * np.eye(12) + 4.0 * x @ x.T
    return _problem(
        "a straight line through 12 points of known error",
        {"w": jnp.zeros(2)},
        {"w": tfd.Normal(0.0, 2.0)},
        log_likelihood,
        y,
        stats.multivariate_normal(np.zeros(12), covariance).logpdf(y),
    )


def shares_of_two() -> Problem:
    """Probabilities of success, each in an interval."""
    n, y = np.array([5.0, 12.0, 30.0]), np.array([1.0, 12.0, 4.0])

    def log_likelihood(model: Any, y: jax.Array) -> jax.Array:
        return tfd.Binomial(jnp.asarray(n), probs=model["p"]).log_prob(y).sum()

    choose = gammaln(n + 1) - gammaln(y + 1) - gammaln(n - y + 1)
    exact = choose + betaln(2.0 + y, 3.0 + n - y) - betaln(2.0, 3.0)
    return _problem(
        "3 probabilities, Beta(2, 3), of binomial counts: `unit_interval`",
        {"p": jnp.full(3, 0.5)},
        {"p": tfd.Beta(2.0, 3.0)},
        log_likelihood,
        y,
        exact.sum(),
    )


def rates() -> Problem:
    """Positive numbers."""
    y = np.array([[0.0, 1.0, 0.0], [4.0, 2.0, 3.0], [20.0, 17.0, 25.0]])

    def log_likelihood(model: Any, y: jax.Array) -> jax.Array:
        return tfd.Poisson(model["rate"][:, None]).log_prob(y).sum()

    total, rate = y.sum(1), 0.5 + y.shape[1]
    exact = 2 * math.log(0.5) + gammaln(2 + total) - (2 + total) * math.log(rate)
    return _problem(
        "3 rates, Gamma(2, 0.5), of Poisson counts: `positive`",
        {"rate": jnp.ones(3)},
        {"rate": tfd.Gamma(2.0, 0.5)},
        log_likelihood,
        y,
        exact.sum() - gammaln(y + 1).sum(),
    )


def counts() -> Problem:
    """A simplex."""
    y, concentration = np.array([9.0, 0.0, 3.0, 1.0]), np.array([0.5, 1.0, 2.0, 4.0])

    def log_likelihood(model: Any, y: jax.Array) -> jax.Array:
        return tfd.Multinomial(13.0, probs=model["shares"]).log_prob(y)

    def log_beta(a: np.ndarray) -> Any:
        return gammaln(a).sum() - gammaln(a.sum())

    return _problem(
        "4 shares, Dirichlet(0.5, 1, 2, 4), of multinomial counts: `simplex`",
        {"shares": jnp.full(4, 0.25)},
        {"shares": tfd.Dirichlet(jnp.asarray(concentration))},
        log_likelihood,
        y,
        gammaln(14.0)
        - gammaln(y + 1).sum()
        + log_beta(concentration + y)
        - log_beta(concentration),
    )


def schools() -> Problem:
    """A hierarchy, whose leaves set the priors of others."""
    y = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    error = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])

    def log_likelihood(model: Any, y: jax.Array) -> jax.Array:
        return tfd.Normal(model["theta"], jnp.asarray(error)).log_prob(y).sum()

    def at(angle: float) -> float:
        # With τ = 5 tan(angle), an angle is uniform on (0, π/2).
        variance = np.diag(error**2 + (5.0 * np.tan(angle)) ** 2) + 25.0
        return stats.multivariate_normal(np.zeros(8), variance).pdf(y)

    mean_likelihood, _ = integrate.quad(at, 0.0, np.pi / 2, epsabs=0.0, epsrel=1e-9)
    return _problem(
        "eight schools, non-centred: `location_scale`, `positive`; the exact number is "
        "an integral over τ",
        {"mu": jnp.array(0.0), "tau": jnp.array(1.0), "theta": jnp.zeros(8)},
        {
            "mu": tfd.Normal(0.0, 5.0),
            "tau": tfd.HalfCauchy(0.0, 5.0),
            "theta": bt.dependent(lambda m: tfd.Normal(m["mu"], m["tau"])),
        },
        log_likelihood,
        y,
        math.log(mean_likelihood / (np.pi / 2)),
    )


def precision() -> Problem:
    """A positive definite matrix, whose prior has no quantile function."""
    root = np.linalg.cholesky([[0.3, 0.1, 0.0], [0.1, 0.2, 0.0], [0.0, 0.0, 0.2]])
    z = np.random.default_rng(0).normal(size=(6, 3))

    def log_likelihood(model: Any, y: jax.Array) -> jax.Array:
        lower = jnp.linalg.cholesky(model["precision"])
        log_det = jnp.log(jnp.diagonal(lower)).sum()
        constant = 0.5 * y.size * math.log(2 * math.pi)
        return len(y) * log_det - 0.5 * ((y @ lower) ** 2).sum() - constant

    def log_constant(df: float, inverse_scale: np.ndarray) -> float:
        half_log_det = 0.5 * df * np.linalg.slogdet(inverse_scale)[1]
        return half_log_det - 1.5 * df * math.log(2) - multigammaln(df / 2, 3)

    before = np.linalg.inv(root @ root.T)
    problem = _problem(
        "a precision matrix of 3, Wishart(5), of 6 normal vectors: `positive_definite`",
        {"precision": jnp.eye(3)},
        {"precision": tfd.WishartTriL(5.0, jnp.asarray(root))},
        log_likelihood,
        z,
        log_constant(5.0, before)
        - log_constant(11.0, before + z.T @ z)
        - 9.0 * math.log(2 * math.pi),
    )
    return problem._replace(of_cube=False)


PROBLEMS = {
    "regression": regression,
    "shares_of_two": shares_of_two,
    "rates": rates,
    "counts": counts,
    "schools": schools,
    "precision": precision,
}
