"""Value and gradient of a log-density of free coordinates, 1,000 or more in one scan.

In float64; each evaluation is where the gradient of the last one leads. `bt.Posterior`
and the density by hand share the likelihood and are written over the model and over the
free coordinates; NumPyro's potential is that of a model of its own primitives. The three
agree up to a constant. The models are those of posteriordb (eight schools non-centred,
`irt_2pl`, `radon_hierarchical_intercept_noncentered`, `hmm_example`), the data are drawn
from a seed. The simplices of the HMM are broken from a stick, for that is NumPyro's map.
"By hand, our prior" has the map and its log-det by hand and the prior over the model, as
ours: what it leaves of a difference is the map's, the rest is the prior's.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import bijectree as bt
from bijectree import tfd

from . import peers
from ._timing import OURS, Options, Row, agree, interleave, row

TITLE = "Gradients of posteriors"

Free = dict[str, Array]
Density = Callable[[Free], Array]


@dataclasses.dataclass(frozen=True)
class Problem:
    """A posterior in three ways.

    Attributes:
        model: a value, for the shapes.
        posterior: ours.
        by_hand: the log-density over free coordinates.
        numpyro: a model of NumPyro.
        evaluations: in one scan.
        our_prior: as `by_hand`, with the prior that ours has.
    """

    model: Free
    posterior: bt.Posterior
    by_hand: Density
    numpyro: Callable[[], None]
    evaluations: int
    our_prior: Density | None = None


def run(options: Options) -> Iterator[Row]:
    """Each posterior."""
    problems = {
        "eight schools (10)": eight_schools,
        "IRT 2PL (144)": irt,
        "radon-like hierarchy (90)": radon,
        "HMM (4)": hmm,
    }
    with jax.enable_x64(True):
        for name, make in problems.items():
            yield _measure(name, make(), options)


def _measure(name: str, problem: Problem, options: Options) -> Row:
    densities: dict[str, Density] = {
        OURS: problem.posterior.log_density,
        peers.HAND: problem.by_hand,
    }
    if problem.our_prior is not None:
        densities["by hand, our prior"] = problem.our_prior
    if peers.have("numpyro"):
        from numpyro.infer.util import potential_energy

        potential = functools.partial(potential_energy, problem.numpyro, (), {})
        densities[peers.NUMPYRO] = lambda free: -potential(free)
    reparam = problem.posterior.reparam
    key = jax.random.key(0)
    starts = [
        reparam.unravel(0.5 * jax.random.normal(k, (reparam.dim,), jnp.float64))
        for k in jax.random.split(key)
    ]
    agree({n: _seen(f, starts) for n, f in densities.items()}, 1e-9, name)
    count = 10 if options.quick else problem.evaluations
    compiled = {
        n: jax.jit(_amortised(f, count)).lower(starts[0]).compile()
        for n, f in densities.items()
    }
    runs = {n: functools.partial(f, starts[0]) for n, f in compiled.items()}
    return row(
        "posteriors",
        name,
        interleave(runs, options.rounds(25), shortest=2e-2),
        limits={} if options.quick else {peers.NUMPYRO: 1.0, peers.HAND: 1.05},
        unit="µs",
        per=count,
    )


def _seen(density: Density, starts: list[Free]) -> Any:
    """Gradients, and values up to a constant."""
    found = [jax.jit(jax.value_and_grad(density))(x) for x in starts]
    (first, _), (second, _) = found
    return first - second, [gradient for _, gradient in found]


def _amortised(density: Density, count: int) -> Callable[[Free], tuple[Free, Array]]:
    def step(carry: tuple[Free, Array], _: None) -> tuple[tuple[Free, Array], None]:
        x, total = carry
        value, gradient = jax.value_and_grad(density)(x)
        x = jax.tree.map(lambda a, b: a + 1e-6 * b, x, gradient)
        return (x, total + value), None

    def evaluate(x: Free) -> tuple[Free, Array]:
        return jax.lax.scan(step, (x, jnp.zeros(())), length=count)[0]

    return evaluate


# Log-densities up to constants, for what is written by hand.


def _normal(x: Any, loc: Any, scale: Any) -> Array:
    # One division: XLA does not see that all are by the same number.
    return -0.5 * jnp.sum(((x - loc) * (1 / scale)) ** 2)


def _half_cauchy(x: Any, scale: float) -> Array:
    return -jnp.log1p((x / scale) ** 2)


def _bind(
    model: Free,
    spec: dict[str, Any],
    log_likelihood: Callable[[Free], Array],
    prior: Any,
) -> bt.Posterior:
    rules = {path: bijector for path, bijector in spec.items() if bijector is not None}
    reparam = bt.Reparam(model, bt.by_path(model, rules))
    return bt.Posterior(reparam, log_likelihood, prior=prior)


def eight_schools() -> Problem:
    """Non-centred, with Rubin's data."""
    y = jnp.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    sigma = jnp.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
    model = {"mu": jnp.zeros(()), "tau": jnp.ones(()), "z": jnp.zeros(8)}

    def log_likelihood(m: Free) -> Array:
        return _normal(y, m["mu"] + m["tau"] * m["z"], sigma)

    prior = {
        "mu": tfd.Normal(0.0, 5.0),
        "tau": tfd.HalfCauchy(0.0, 5.0),
        "z": tfd.Normal(0.0, 1.0),
    }

    def by_hand(x: Free) -> Array:
        m = {**x, "tau": jnp.exp(x["tau"])}
        priors = (
            _normal(m["mu"], 0, 5) + _half_cauchy(m["tau"], 5) + _normal(m["z"], 0, 1)
        )
        return log_likelihood(m) + priors + x["tau"]

    def numpyro_model() -> None:
        import numpyro
        from numpyro import distributions as dist

        mu = numpyro.sample("mu", dist.Normal(0, 5))
        tau = numpyro.sample("tau", dist.HalfCauchy(5))
        z = numpyro.sample("z", dist.Normal(0, 1).expand([8]))
        numpyro.sample("y", dist.Normal(mu + tau * z, sigma), obs=y)

    posterior = _bind(model, {"tau": bt.positive()}, log_likelihood, prior)
    return Problem(model, posterior, by_hand, numpyro_model, 100_000)


def irt() -> Problem:
    """Two parameters an item: 20 items, 100 persons."""
    items, persons = 20, 100
    rng = np.random.default_rng(0)
    a, b = rng.lognormal(0, 0.5, (items, 1)), rng.normal(0.5, 1.0, (items, 1))
    chance = 1 / (1 + np.exp(-a * (rng.normal(size=persons) - b)))
    y = jnp.asarray(rng.random((items, persons)) < chance, float)
    one = jnp.ones(())
    scales = ("sigma_theta", "sigma_a", "sigma_b")
    model = {
        **dict.fromkeys(scales, one),
        "theta": jnp.zeros(persons),
        "a": jnp.ones(items),
        "mu_b": jnp.zeros(()),
        "b": jnp.zeros(items),
    }

    def logits(m: Free) -> Array:
        return m["a"][:, None] * (m["theta"] - m["b"][:, None])

    def log_likelihood(m: Free) -> Array:
        # As NumPyro writes it, which is faster here than `jax.nn.softplus`.
        z = logits(m)
        return jnp.sum(y * z - jnp.maximum(z, 0) - jnp.log1p(jnp.exp(-jnp.abs(z))))

    def prior(m: Free) -> Array:
        zero = jnp.zeros(())
        priors = sum(tfd.HalfCauchy(zero, 2 * one).log_prob(m[name]) for name in scales)
        return (
            priors
            + tfd.Normal(zero, m["sigma_theta"]).log_prob(m["theta"]).sum()
            + tfd.LogNormal(zero, m["sigma_a"]).log_prob(m["a"]).sum()
            + tfd.Normal(zero, 5 * one).log_prob(m["mu_b"])
            + tfd.Normal(m["mu_b"], m["sigma_b"]).log_prob(m["b"]).sum()
        )

    def mapped(x: Free) -> Free:
        return {n: jnp.exp(v) if n in (*scales, "a") else v for n, v in x.items()}

    def our_prior(x: Free) -> Array:
        m = mapped(x)
        log_det = sum(x[name] for name in scales) + x["a"].sum()
        return log_likelihood(m) + prior(m) + log_det

    def by_hand(x: Free) -> Array:
        m = mapped(x)
        # The log-normal's 1/a and the Jacobian a are one.
        return (
            log_likelihood(m)
            + sum(_half_cauchy(m[name], 2.0) + x[name] for name in scales)
            + _normal(m["theta"], 0, m["sigma_theta"])
            - persons * x["sigma_theta"]
            + _normal(x["a"], 0, m["sigma_a"])
            - items * x["sigma_a"]
            + _normal(m["mu_b"], 0, 5)
            + _normal(m["b"], m["mu_b"], m["sigma_b"])
            - items * x["sigma_b"]
        )

    def numpyro_model() -> None:
        import numpyro
        from numpyro import distributions as dist

        m = {name: numpyro.sample(name, dist.HalfCauchy(2)) for name in scales}
        theta = dist.Normal(0, m["sigma_theta"]).expand([persons])
        m["theta"] = numpyro.sample("theta", theta)
        m["a"] = numpyro.sample("a", dist.LogNormal(0, m["sigma_a"]).expand([items]))
        m["mu_b"] = numpyro.sample("mu_b", dist.Normal(0, 5))
        b = dist.Normal(m["mu_b"], m["sigma_b"]).expand([items])
        m["b"] = numpyro.sample("b", b)
        numpyro.sample("y", dist.Bernoulli(logits=logits(m)), obs=y)

    rules = {"sigma_*": bt.positive(), "a": bt.positive()}
    posterior = _bind(model, rules, log_likelihood, prior)
    return Problem(model, posterior, by_hand, numpyro_model, 1_000, our_prior)


def radon() -> Problem:
    """Intercepts of 85 groups, non-centred, and two slopes: 919 observations."""
    groups, observations = 85, 919
    rng = np.random.default_rng(0)
    group = jnp.asarray(rng.integers(groups, size=observations))
    inputs = jnp.asarray(rng.normal(size=(observations, 2)))
    intercepts = rng.normal(1.0, 0.5, groups)
    mean = intercepts[np.asarray(group)] + np.asarray(inputs) @ np.array([0.7, -0.6])
    y = jnp.asarray(rng.normal(mean, 0.8))
    model = {
        "z": jnp.zeros(groups),
        "beta": jnp.zeros(2),
        "mu": jnp.zeros(()),
        "sigma": jnp.ones(()),
        "noise": jnp.ones(()),
    }

    def mean_of(m: Free) -> Array:
        alpha = m["mu"] + m["sigma"] * m["z"]
        return alpha[group] + inputs @ m["beta"]

    def log_likelihood(m: Free) -> Array:
        return _normal(y, mean_of(m), m["noise"]) - observations * jnp.log(m["noise"])

    prior = {
        "z": tfd.Normal(0.0, 1.0),
        "beta": tfd.Normal(0.0, 10.0),
        "mu": tfd.Normal(0.0, 10.0),
        "sigma": tfd.HalfNormal(1.0),
        "noise": tfd.HalfNormal(1.0),
    }

    def by_hand(x: Free) -> Array:
        m = {**x, "sigma": jnp.exp(x["sigma"]), "noise": jnp.exp(x["noise"])}
        return (
            _normal(y, mean_of(m), m["noise"])
            - observations * x["noise"]
            + _normal(m["z"], 0, 1)
            + _normal(m["beta"], 0, 10)
            + _normal(m["mu"], 0, 10)
            + _normal(m["sigma"], 0, 1)
            + _normal(m["noise"], 0, 1)
            + x["sigma"]
            + x["noise"]
        )

    def numpyro_model() -> None:
        import numpyro
        from numpyro import distributions as dist

        m = {
            "z": numpyro.sample("z", dist.Normal(0, 1).expand([groups])),
            "beta": numpyro.sample("beta", dist.Normal(0, 10).expand([2])),
            "mu": numpyro.sample("mu", dist.Normal(0, 10)),
            "sigma": numpyro.sample("sigma", dist.HalfNormal(1)),
            "noise": numpyro.sample("noise", dist.HalfNormal(1)),
        }
        numpyro.sample("y", dist.Normal(mean_of(m), m["noise"]), obs=y)

    rules = {"sigma": bt.positive(), "noise": bt.positive()}
    posterior = _bind(model, rules, log_likelihood, prior)
    return Problem(model, posterior, by_hand, numpyro_model, 1_000)


def hmm() -> Problem:
    """Two states with ordered means, 100 observations."""
    rng = np.random.default_rng(0)
    stays = rng.random(100) < 0.8
    state = np.cumsum(~stays) % 2
    y = jnp.asarray(rng.normal(np.array([3.0, 10.0])[state], 1.0))
    half = jnp.full((2, 2), 0.5)
    model = {"theta": half, "mu": jnp.array([3.0, 10.0])}

    def log_likelihood(m: Free) -> Array:
        log_theta = jnp.log(m["theta"])
        emitted = -0.5 * (y[:, None] - m["mu"]) ** 2

        def step(log_alpha: Array, here: Array) -> tuple[Array, None]:
            moved = jax.nn.logsumexp(log_alpha[:, None] + log_theta, axis=0)
            return moved + here, None

        return jax.nn.logsumexp(jax.lax.scan(step, emitted[0], emitted[1:])[0])

    centre = jnp.array([3.0, 10.0])
    prior = {"theta": None, "mu": tfd.Independent(tfd.Normal(centre, jnp.ones(2)), 1)}

    def by_hand(x: Free) -> Array:
        # One stick broken once is a logistic; an order adds exponentials.
        part = jax.nn.sigmoid(x["theta"][:, 0])
        gap = x["mu"][1]
        mu = jnp.stack([x["mu"][0], x["mu"][0] + jnp.exp(gap)])
        m = {"theta": jnp.stack([part, 1 - part], axis=-1), "mu": mu}
        log_det = jnp.sum(jnp.log(part) + jnp.log1p(-part)) + gap
        return log_likelihood(m) + _normal(mu, centre, 1) + log_det

    def numpyro_model() -> None:
        import numpyro
        from numpyro import distributions as dist

        theta = numpyro.sample("theta", dist.Dirichlet(jnp.ones(2)).expand([2]))
        constraint = dist.constraints.ordered_vector
        mu = numpyro.sample("mu", dist.ImproperUniform(constraint, (), (2,)))
        numpyro.factor("mean", _normal(mu, centre, 1))
        numpyro.factor("y", log_likelihood({"theta": theta, "mu": mu}))

    rules = {"theta": bt.simplex(via="stick_breaking"), "mu": bt.ordered_vector()}
    posterior = _bind(model, rules, log_likelihood, prior)
    return Problem(model, posterior, by_hand, numpyro_model, 1_000)
