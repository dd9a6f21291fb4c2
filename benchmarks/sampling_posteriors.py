"""Posteriors to sample, each with data made from a seed: what `sampling.py` runs on."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import bijectree as bt
from bijectree import tfd


@dataclasses.dataclass(frozen=True)
class Problem:
    """A posterior, in the coordinates that one would write first.

    Attributes:
        model: of the shapes and dtypes of its leaves.
        spec: beside it.
        log_likelihood: of a model, with its priors.
        hard: why no sampler converges on it with defaults; "" where they do.
    """

    model: Any
    spec: Any
    density: Callable[[Any], jax.Array]
    hard: str = ""

    def posterior(self) -> bt.Posterior:
        """The posterior."""
        return bt.Posterior(bt.Reparam(self.model, self.spec), self.density)


def _log(distribution: Any, value: Any) -> jax.Array:
    return jnp.sum(distribution.log_prob(value))


def regression(rng: np.random.Generator) -> Problem:
    """A regression with an interaction, in raw units: correlations of 0.999."""
    n = 400
    x, z = rng.normal(100, 15, n), rng.integers(0, 2, n)
    design = np.stack([np.ones(n), z, x, x * z], axis=1)
    y = design @ np.array([20.0, 5.0, 0.6, -0.1]) + 15 * rng.normal(size=n)

    def density(m: Any) -> jax.Array:
        fit = tfd.Normal(jnp.asarray(design) @ m["beta"], m["sigma"])
        return _log(fit, y) + _log(tfd.HalfCauchy(0.0, 2.5), m["sigma"])

    model = {"beta": jnp.zeros(4), "sigma": jnp.ones(())}
    return Problem(model, {"beta": None, "sigma": bt.positive()}, density)


def autoregression(rng: np.random.Generator) -> Problem:
    """An autoregressive series of order five."""
    truth, series = np.array([0.5, -0.3, 0.2, 0.1, 0.1]), list(rng.normal(size=5))
    for _ in range(200):
        series.append(truth @ np.array(series[:-6:-1]) + rng.normal())
    y = np.array(series)
    past = np.stack([y[5 - k : -k] for k in range(1, 6)], axis=1)

    def density(m: Any) -> jax.Array:
        mean = m["alpha"] + jnp.asarray(past) @ m["beta"]
        total = _log(tfd.Normal(mean, m["sigma"]), y[5:])
        total += _log(tfd.Normal(0.0, 10.0), m["beta"])
        total += _log(tfd.Normal(0.0, 10.0), m["alpha"])
        return total + _log(tfd.HalfCauchy(0.0, 2.5), m["sigma"])

    model = {"alpha": jnp.zeros(()), "beta": jnp.zeros(5), "sigma": jnp.ones(())}
    return Problem(model, {"alpha": None, "beta": None, "sigma": bt.positive()}, density)


def volatility(rng: np.random.Generator) -> Problem:
    """A GARCH(1, 1) series, whose bounds depend on another parameter."""
    y, variance = [rng.normal()], 1.0
    for _ in range(200):
        variance = 0.3 + 0.4 * y[-1] ** 2 + 0.3 * variance
        y.append(np.sqrt(variance) * rng.normal())
    y = np.array(y)

    def density(m: Any) -> jax.Array:
        shock = m["base"] + m["alpha"] * (y[:-1] - m["mu"]) ** 2

        def step(variance: jax.Array, shock: jax.Array) -> tuple[jax.Array, jax.Array]:
            variance = shock + m["beta"] * variance
            return variance, variance

        _, variances = jax.lax.scan(step, jnp.ones_like(shock[0]), shock)
        return _log(tfd.Normal(m["mu"], jnp.sqrt(variances)), y[1:])

    model = {k: jnp.asarray(0.3) for k in ("mu", "base", "alpha", "beta")}
    rest = bt.dependent(
        lambda m: bt.interval(jnp.zeros_like(m["alpha"]), 1.0 - m["alpha"]),
        on=("alpha",),
    )
    spec = {
        "mu": None,
        "base": bt.positive(),
        "alpha": bt.unit_interval(),
        "beta": rest,
    }
    return Problem(model, spec, density)


def mixture(rng: np.random.Generator) -> Problem:
    """Two normal densities, in order."""
    z = rng.random(500) < 0.35
    y = np.where(z, rng.normal(-2.7, 0.8, 500), rng.normal(2.6, 1.1, 500))

    def density(m: Any) -> jax.Array:
        weights = jnp.log(jnp.stack([m["share"], 1 - m["share"]]))
        each = tfd.Normal(m["mu"], m["sigma"]).log_prob(y[:, None])
        total = jnp.sum(jax.nn.logsumexp(weights + each, axis=1))
        total += _log(tfd.Normal(0.0, 2.0), m["mu"]) + _log(
            tfd.Beta(5.0, 5.0), m["share"]
        )
        return total + _log(tfd.HalfNormal(2.0), m["sigma"])

    model = {
        "mu": jnp.array([-1.0, 1.0]),
        "sigma": jnp.ones(2),
        "share": jnp.asarray(0.5),
    }
    spec = {
        "mu": bt.ordered_vector(),
        "sigma": bt.positive(),
        "share": bt.unit_interval(),
    }
    return Problem(model, spec, density)


def hidden_markov(rng: np.random.Generator) -> Problem:
    """A chain of two hidden states, with rows of transitions that are simplexes."""
    state, y = 0, []
    for _ in range(100):
        state = int(rng.random() < (0.2 if state == 0 else 0.9))
        y.append(rng.normal([3.0, 10.0][state], 1.0))
    y = np.array(y)

    def density(m: Any) -> jax.Array:
        move, emit = jnp.log(m["move"]), tfd.Normal(m["mu"], 1.0).log_prob(y[:, None])

        def step(alpha: jax.Array, emitted: jax.Array) -> tuple[jax.Array, None]:
            return jax.nn.logsumexp(alpha[:, None] + move, axis=0) + emitted, None

        alpha, _ = jax.lax.scan(step, emit[0], emit[1:])
        prior = tfd.Normal(jnp.array([3.0, 10.0]), 1.0)
        return jax.nn.logsumexp(alpha) + _log(prior, m["mu"])

    model = {"mu": jnp.array([3.0, 10.0]), "move": jnp.full((2, 2), 0.5)}
    return Problem(model, {"mu": bt.ordered_vector(), "move": bt.simplex()}, density)


def varying_intercepts(rng: np.random.Generator) -> Problem:
    """Forty groups of unequal size, non-centred by hand."""
    group = rng.choice(40, 400, p=rng.dirichlet(np.ones(40)))
    x = rng.normal(size=400)
    y = 1.5 + 0.3 * rng.normal(size=40)[group] - 0.7 * x + 0.8 * rng.normal(size=400)

    def density(m: Any) -> jax.Array:
        level = m["mu"] + m["tau"] * m["z"]
        total = _log(tfd.Normal(level[group] + m["slope"] * x, m["sigma"]), y)
        total += _log(tfd.Normal(0.0, 1.0), m["z"]) + _log(tfd.Normal(0.0, 10.0), m["mu"])
        total += _log(tfd.HalfNormal(1.0), m["tau"]) + _log(
            tfd.HalfNormal(1.0), m["sigma"]
        )
        return total + _log(tfd.Normal(0.0, 10.0), m["slope"])

    scalars = ("mu", "tau", "slope", "sigma")
    model = {k: jnp.ones(()) for k in scalars} | {"z": jnp.zeros(40)}
    spec = bt.by_path(model, {"tau": bt.positive(), "sigma": bt.positive()})
    return Problem(model, spec, density)


def item_response(rng: np.random.Generator) -> Problem:
    """Twenty items answered by sixty people, with a discrimination each."""
    ability, hard = rng.normal(size=60), rng.normal(size=20)
    sharp = np.exp(0.3 * rng.normal(size=20))
    p = 1 / (1 + np.exp(-sharp[:, None] * (ability - hard[:, None])))
    y = (rng.random(p.shape) < p).astype(float)

    def density(m: Any) -> jax.Array:
        logits = m["sharp"][:, None] * (m["ability"] - m["hard"][:, None])
        total = _log(tfd.Bernoulli(logits=logits), y)
        total += _log(tfd.Normal(0.0, 1.0), m["ability"])
        total += _log(tfd.LogNormal(0.0, 0.5), m["sharp"])
        return total + _log(tfd.Normal(0.0, 1.5), m["hard"])

    model = {"ability": jnp.zeros(60), "hard": jnp.zeros(20), "sharp": jnp.ones(20)}
    spec = {"ability": None, "hard": None, "sharp": bt.positive()}
    return Problem(model, spec, density)


def _schools(theta: Any) -> Problem:
    y = jnp.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    error = jnp.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])

    def density(m: Any) -> jax.Array:
        total = _log(tfd.Normal(m["mu"], m["tau"]), m["theta"])
        total += _log(tfd.Normal(0.0, 5.0), m["mu"])
        total += _log(tfd.HalfCauchy(0.0, 5.0), m["tau"])
        return total + _log(tfd.Normal(m["theta"], error), y)

    model = {"mu": jnp.zeros(()), "tau": jnp.ones(()), "theta": jnp.zeros(8)}
    return Problem(model, {"mu": None, "tau": bt.positive(), "theta": theta}, density)


def schools(rng: np.random.Generator) -> Problem:
    """Eight schools, with a `location_scale`."""
    del rng
    return _schools(bt.location_scale("mu", "tau"))


def schools_centred(rng: np.random.Generator) -> Problem:
    """Eight schools as written down: a funnel."""
    del rng
    hard = "a funnel in the coordinates that were given, with no `location_scale`"
    return dataclasses.replace(_schools(None), hard=hard)


def funnel(rng: np.random.Generator) -> Problem:
    """A scale and nine numbers of that scale, with a `location_scale`."""
    del rng

    def density(m: Any) -> jax.Array:
        total = _log(tfd.LogNormal(0.0, 1.5), m["scale"])
        return total + _log(tfd.Normal(0.0, m["scale"]), m["x"])

    model = {"scale": jnp.ones(()), "x": jnp.zeros(9)}
    spec = {"scale": bt.positive(), "x": bt.location_scale(0.0, "scale")}
    return Problem(model, spec, density)


def logistic(rng: np.random.Generator) -> Problem:
    """A logistic regression with twenty-five correlated columns."""
    mix = rng.normal(size=(25, 25)) / 5 + np.eye(25)
    x = rng.normal(size=(600, 25)) @ mix
    y = (rng.random(600) < 1 / (1 + np.exp(-x @ rng.normal(0, 0.3, 25)))).astype(float)

    def density(m: Any) -> jax.Array:
        fit = tfd.Bernoulli(logits=jnp.asarray(x) @ m["beta"])
        return _log(fit, y) + _log(tfd.Normal(0.0, 2.5), m["beta"])

    return Problem({"beta": jnp.zeros(25)}, {"beta": None}, density)


def covariance(rng: np.random.Generator) -> Problem:
    """A correlation matrix of five with scales, from eighty rows."""
    root = np.tril(rng.normal(size=(5, 5)))
    y = rng.normal(size=(80, 5)) @ root.T

    def density(m: Any) -> jax.Array:
        factor = m["scale"][:, None] * m["corr"]
        fit = tfd.MultivariateNormalTriL(jnp.zeros(5), factor)
        total = _log(fit, y) + _log(tfd.HalfCauchy(0.0, 2.5), m["scale"])
        return total + _log(tfd.CholeskyLKJ(5, 2.0), m["corr"])

    model = {"scale": jnp.ones(5), "corr": jnp.eye(5)}
    return Problem(model, {"scale": bt.positive(), "corr": bt.corr_cholesky()}, density)


def independent(rng: np.random.Generator) -> Problem:
    """A hundred independent standard normal numbers: there is nothing to learn."""
    del rng
    normal = tfd.Normal(0.0, 1.0)
    return Problem({"x": jnp.zeros(100)}, {"x": None}, lambda m: _log(normal, m["x"]))


PROBLEMS: dict[str, Callable[[np.random.Generator], Problem]] = {
    "regression in raw units": regression,
    "autoregression": autoregression,
    "volatility": volatility,
    "mixture": mixture,
    "hidden Markov model": hidden_markov,
    "varying intercepts": varying_intercepts,
    "item response": item_response,
    "eight schools, location_scale": schools,
    "eight schools, centred": schools_centred,
    "funnel, location_scale": funnel,
    "logistic regression": logistic,
    "covariance": covariance,
    "independent normal": independent,
}
