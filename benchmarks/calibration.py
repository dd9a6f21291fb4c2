"""Simulation-based calibration of models with constraints of every kind.

    python -m benchmarks.calibration                   # all, or
    python -m benchmarks.calibration --only counts correlation

A truth is drawn from the prior, data are simulated from it, and `bt.sample` draws from
the posterior: the ranks of the truths among the draws are even where the log-dets, the
densities and the sampler are right. What is found goes to calibration.json beside it,
model by model, and all that lies there to calibration.md.
"""

import argparse
import json
import pathlib
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import bijectree as bt
from bijectree import tfd

from ._pages import HERE, plain

SIMULATIONS = 200

# Rank histograms with a smaller p-value are off.
LIMIT = 1e-3

# In float32 a mean swallows a tiny scale times a number: then the density of the groups
# of a centred hierarchy is one of rounding, and chains stay there.
DOUBLE = ("hierarchy",)

Key = jax.Array


class Problem(NamedTuple):
    """A model to calibrate.

    Attributes:
        what: the model in words.
        posterior: of the data.
        simulate: draws a model from the prior, and data of it.
    """

    what: str
    posterior: bt.Posterior
    simulate: Callable[[Key], tuple[Any, tuple[Any, ...]]]


def counts() -> Problem:
    """A Dirichlet prior of the probabilities of a multinomial distribution."""
    prior = tfd.Dirichlet(jnp.array([0.5, 1.0, 2.0, 4.0]))

    def log_likelihood(model: Any, y: jax.Array) -> jax.Array:
        return tfd.Multinomial(20.0, probs=model["shares"]).log_prob(y)

    def simulate(key: Key) -> tuple[Any, tuple[Any, ...]]:
        key_prior, key_data = jax.random.split(key)
        shares = prior.sample(seed=key_prior)
        y = tfd.Multinomial(20.0, probs=shares).sample(seed=key_data)
        return {"shares": shares}, (y,)

    reparam = bt.Reparam({"shares": jnp.full(4, 0.25)}, bt.simplex())
    return Problem(
        "Dirichlet(0.5, 1, 2, 4) shares of 20 counts: `simplex`",
        bt.Posterior(reparam, log_likelihood, {"shares": prior}),
        simulate,
    )


def correlation() -> Problem:
    """A correlation matrix with scales."""
    priors = {
        "correlation": tfd.LKJ(4, jnp.array(2.0)),
        "scales": tfd.HalfNormal(jnp.ones(4)),
    }

    def log_likelihood(model: Any, y: jax.Array) -> jax.Array:
        factor = model["scales"][:, None] * jnp.linalg.cholesky(model["correlation"])
        return tfd.MultivariateNormalTriL(jnp.zeros(4), factor).log_prob(y).sum()

    def simulate(key: Key) -> tuple[Any, tuple[Any, ...]]:
        keys = jax.random.split(key, 3)
        truth = {
            "correlation": priors["correlation"].sample(seed=keys[0]),
            "scales": priors["scales"].sample(seed=keys[1]),
        }
        factor = truth["scales"][:, None] * jnp.linalg.cholesky(truth["correlation"])
        return truth, (jax.random.normal(keys[2], (20, 4)) @ factor.T,)

    model = {"correlation": jnp.eye(4), "scales": jnp.ones(4)}
    spec = {"correlation": bt.corr_matrix(), "scales": bt.positive()}
    return Problem(
        "an LKJ(2) correlation matrix of 4 with scales: `corr_matrix`, `positive`",
        bt.Posterior(bt.Reparam(model, spec), log_likelihood, priors),
        simulate,
    )


def factor() -> Problem:
    """The Cholesky factor of a correlation matrix."""
    prior = tfd.CholeskyLKJ(5, jnp.array(1.5))

    def log_likelihood(model: Any, y: jax.Array) -> jax.Array:
        normal = tfd.MultivariateNormalTriL(jnp.zeros(5), model["factor"])
        return normal.log_prob(y).sum()

    def simulate(key: Key) -> tuple[Any, tuple[Any, ...]]:
        key_prior, key_data = jax.random.split(key)
        factor = prior.sample(seed=key_prior)
        return {"factor": factor}, (jax.random.normal(key_data, (10, 5)) @ factor.T,)

    reparam = bt.Reparam({"factor": jnp.eye(5)}, bt.corr_cholesky())
    return Problem(
        "the Cholesky factor of an LKJ(1.5) correlation matrix of 5: `corr_cholesky`",
        bt.Posterior(reparam, log_likelihood, {"factor": prior}),
        simulate,
    )


def covariance() -> Problem:
    """A precision matrix."""
    root = jnp.linalg.cholesky(jnp.array([[0.3, 0.1, 0.0], [0.1, 0.2, 0.0], [0, 0, 0.2]]))
    prior = tfd.WishartTriL(5.0, root)

    def log_likelihood(model: Any, y: jax.Array) -> jax.Array:
        lower = jnp.linalg.cholesky(model["precision"])
        log_det = jnp.log(jnp.diagonal(lower)).sum()
        return len(y) * log_det - 0.5 * ((y @ lower) ** 2).sum()

    def simulate(key: Key) -> tuple[Any, tuple[Any, ...]]:
        key_prior, key_data = jax.random.split(key)
        precision = prior.sample(seed=key_prior)
        lower = jnp.linalg.cholesky(precision)
        z = jax.random.normal(key_data, (3, 8))
        y = jax.scipy.linalg.solve_triangular(lower, z, trans="T", lower=True).T
        return {"precision": precision}, (y,)

    reparam = bt.Reparam({"precision": jnp.eye(3)}, bt.positive_definite())
    return Problem(
        "a Wishart(5) precision matrix of 3: `positive_definite`",
        bt.Posterior(reparam, log_likelihood, {"precision": prior}),
        simulate,
    )


def ordinal() -> Problem:
    """An ordinal regression."""
    x = jnp.linspace(-1.5, 1.5, 40)

    def log_prior(model: Any) -> jax.Array:
        # Of three sorted draws, up to the constant log 3!.
        cuts = tfd.Normal(0.0, 1.5).log_prob(model["cuts"]).sum()
        return cuts + tfd.Normal(0.0, 1.0).log_prob(model["slope"])

    def categories(model: Any) -> Any:
        return tfd.OrderedLogistic(model["cuts"], model["slope"] * x)

    def log_likelihood(model: Any, y: jax.Array) -> jax.Array:
        return categories(model).log_prob(y).sum()

    def simulate(key: Key) -> tuple[Any, tuple[Any, ...]]:
        keys = jax.random.split(key, 3)
        cuts = jnp.sort(1.5 * jax.random.normal(keys[0], (3,)))
        truth = {"cuts": cuts, "slope": jax.random.normal(keys[1])}
        return truth, (categories(truth).sample(seed=keys[2]),)

    model = {"cuts": jnp.array([-1.0, 0.0, 1.0]), "slope": jnp.zeros(())}
    spec = {"cuts": bt.ordered_vector(), "slope": None}
    return Problem(
        "an ordinal regression with 3 cut points: `ordered_vector`",
        bt.Posterior(bt.Reparam(model, spec), log_likelihood, log_prior),
        simulate,
    )


def mixture() -> Problem:
    """Two normal components, told apart by their order."""

    def log_prior(model: Any) -> jax.Array:
        means = tfd.Normal(0.0, 2.0).log_prob(model["means"]).sum()
        share = tfd.Beta(2.0, 2.0).log_prob(model["share"])
        return means + share + tfd.LogNormal(-0.5, 0.3).log_prob(model["sd"])

    def components(model: Any) -> Any:
        share = jnp.stack([model["share"], 1 - model["share"]])
        return tfd.MixtureSameFamily(
            tfd.Categorical(probs=share), tfd.Normal(model["means"], model["sd"])
        )

    def log_likelihood(model: Any, y: jax.Array) -> jax.Array:
        return components(model).log_prob(y).sum()

    def simulate(key: Key) -> tuple[Any, tuple[Any, ...]]:
        keys = jax.random.split(key, 4)
        truth = {
            "means": jnp.sort(2.0 * jax.random.normal(keys[0], (2,))),
            "sd": tfd.LogNormal(-0.5, 0.3).sample(seed=keys[1]),
            "share": tfd.Beta(2.0, 2.0).sample(seed=keys[2]),
        }
        return truth, (components(truth).sample(30, seed=keys[3]),)

    model = {
        "means": jnp.array([-1.0, 1.0]),
        "sd": jnp.array(0.6),
        "share": jnp.array(0.5),
    }
    spec = {
        "means": bt.ordered_vector(),
        "sd": bt.positive(via="softplus"),
        "share": bt.unit_interval(),
    }
    return Problem(
        "a mixture of two normal components: `ordered_vector`, `unit_interval`, "
        '`positive(via="softplus")`',
        bt.Posterior(bt.Reparam(model, spec), log_likelihood, log_prior),
        simulate,
    )


def autoregression() -> Problem:
    """A stationary series."""
    priors = {
        "correlation": tfd.Uniform(-1.0, 1.0),
        "level": tfd.Normal(0.0, 1.0),
        "sd": tfd.LogNormal(0.0, 0.5),
    }

    def log_likelihood(model: Any, y: jax.Array) -> jax.Array:
        x = y - model["level"]
        rho, sd = model["correlation"], model["sd"]
        first = tfd.Normal(0.0, sd / jnp.sqrt(1 - rho**2)).log_prob(x[0])
        return first + tfd.Normal(rho * x[:-1], sd).log_prob(x[1:]).sum()

    def simulate(key: Key) -> tuple[Any, tuple[Any, ...]]:
        *keys, key_data = jax.random.split(key, 4)
        truth = {
            name: prior.sample(seed=key)
            for key, (name, prior) in zip(keys, priors.items(), strict=True)
        }
        rho = truth["correlation"]

        def step(x: jax.Array, z: jax.Array) -> tuple[jax.Array, jax.Array]:
            x = rho * x + truth["sd"] * z
            return x, x

        z = jax.random.normal(key_data, (25,))
        first = z[0] * truth["sd"] / jnp.sqrt(1 - rho**2)
        _, rest = jax.lax.scan(step, first, z[1:])
        return truth, (truth["level"] + jnp.concatenate([first[None], rest]),)

    model = {"correlation": jnp.zeros(()), "level": jnp.zeros(()), "sd": jnp.ones(())}
    spec = {"correlation": bt.interval(-1.0, 1.0), "level": None, "sd": bt.positive()}
    return Problem(
        "an autoregressive series of 25: `interval`, `positive`",
        bt.Posterior(bt.Reparam(model, spec), log_likelihood, priors),
        simulate,
    )


def hierarchy() -> Problem:
    """Groups around a common mean, from their centred form."""
    error = jnp.array([0.3, 0.5, 0.8, 1.0, 1.5, 2.0])

    def log_prior(model: Any) -> jax.Array:
        groups = tfd.Normal(model["mu"], model["tau"]).log_prob(model["groups"]).sum()
        mu = tfd.Normal(0.0, 1.0).log_prob(model["mu"])
        return groups + mu + tfd.HalfNormal(1.0).log_prob(model["tau"])

    def log_likelihood(model: Any, y: jax.Array) -> jax.Array:
        return tfd.Normal(model["groups"], error).log_prob(y).sum()

    def simulate(key: Key) -> tuple[Any, tuple[Any, ...]]:
        keys = jax.random.split(key, 4)
        mu = jax.random.normal(keys[0])
        tau = jnp.abs(jax.random.normal(keys[1]))
        groups = mu + tau * jax.random.normal(keys[2], (6,))
        y = groups + error * jax.random.normal(keys[3], (6,))
        return {"groups": groups, "mu": mu, "tau": tau}, (y,)

    model = {"groups": jnp.zeros(6), "mu": jnp.zeros(()), "tau": jnp.ones(())}
    spec = {
        "groups": bt.location_scale("mu", "tau"),
        "mu": None,
        "tau": bt.positive(),
    }
    return Problem(
        "six groups around a common mean: `location_scale`, λ learned, and `positive`",
        bt.Posterior(bt.Reparam(model, spec), log_likelihood, log_prior),
        simulate,
    )


def direction() -> Problem:
    """A direction in space, of which a few are seen."""
    pole = jnp.array([0.0, 0.6, 0.8])
    prior = tfd.VonMisesFisher(pole, jnp.array(1.0))

    def log_likelihood(model: Any, y: jax.Array) -> jax.Array:
        return tfd.Normal(model["direction"], 0.7).log_prob(y).sum()

    def simulate(key: Key) -> tuple[Any, tuple[Any, ...]]:
        key_prior, key_data = jax.random.split(key)
        truth = prior.sample(seed=key_prior)
        y = truth + 0.7 * jax.random.normal(key_data, (3, 3))
        return {"direction": truth}, (y,)

    reparam = bt.Reparam({"direction": pole}, bt.sphere())
    return Problem(
        "a direction in space, von Mises-Fisher(1): `sphere`",
        bt.Posterior(reparam, log_likelihood, {"direction": prior}),
        simulate,
    )


PROBLEMS = {
    "counts": counts,
    "correlation": correlation,
    "ordinal": ordinal,
    "autoregression": autoregression,
    "hierarchy": hierarchy,
    "mixture": mixture,
    "factor": factor,
    "covariance": covariance,
    "direction": direction,
}


def calibrate(name: str, n: int) -> dict[str, Any]:
    """What calibration says of one model, in the precision that it asks for."""
    if name in DOUBLE:
        with jax.enable_x64():
            return {"precision": "float64", **_calibrate(name, n)}
    return {"precision": "float32", **_calibrate(name, n)}


def _calibrate(name: str, n: int) -> dict[str, Any]:
    problem = PROBLEMS[name]()
    simulate = jax.jit(problem.simulate)

    def make(key: Key) -> tuple[Any, bt.Posterior, tuple[Any, ...]]:
        truth, data = simulate(key)
        return truth, problem.posterior, data

    found = bt.calibrate(make, jax.random.key(22), n=n)
    p_values = found.p_values
    worst = min(p_values, key=lambda number: p_values[number])
    return {
        "what": problem.what,
        "numbers": len(p_values),
        "p-value": p_values[worst],
        "worst": worst,
        "together": found.p_value,
        "diverged": int((found.diverging > 0).sum()),
        "table": str(found),
    }


def as_page(results: dict[str, dict[str, Any]], n: int) -> str:
    """The page of all results."""
    off = sum(found["p-value"] < LIMIT for found in results.values())
    names = ("jax", "blackjax", "tfp-nightly")
    lines = [
        "# Simulation-based calibration",
        "",
        "Made by `python -m benchmarks.calibration` on a CPU with "
        + ", ".join(f"{name} {version(name)}" for name in names)
        + ".",
        "",
        f"In each of {n} simulations of a model a truth is drawn from the prior, data",
        "are simulated from it, and `bt.sample` draws from the posterior. The rank of",
        "each number of the truth among 99 draws is even where bijector, log-det,",
        "densities and sampler are right (Talts et al. 2018); a p-value is that of",
        "Pearson's chi-squared test of its histogram. The log-prior and the",
        "log-likelihood are ranked, too (Modrák et al. 2023). Together: the smallest",
        "p-value times the number of them.",
        "",
        "The hierarchy is in float64: in float32 a chain may stay where the scale of the",
        "groups is below the rounding of their mean, for there their density is one of",
        "rounding.",
        "",
        f"Models with a histogram that is off at p < {LIMIT:g}: {off} of {len(results)}.",
        "",
        "| | model | precision | ranked | smallest p-value | of | together | "
        "simulations with divergences |",
        "|---|---|---|---:|---:|---|---:|---:|",
    ]
    for name, found in results.items():
        cells = (
            name,
            plain(found["what"]),
            found["precision"],
            str(found["numbers"]),
            f"{found['p-value']:.2g}",
            f"`{found['worst']}`",
            f"{found['together']:.2g}",
            str(found["diverged"]),
        )
        lines.append("| " + " | ".join(cells) + " |")
    for name, found in results.items():
        lines += ["", f"## {name}", "", "```text", found["table"], "```"]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Calibrate, and write the page after each model."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration")
    parser.add_argument("--only", nargs="+", choices=PROBLEMS, metavar="MODEL")
    parser.add_argument("--n", type=int, default=SIMULATIONS, help="simulations a model")
    parser.add_argument("--output", type=pathlib.Path, default=HERE)
    args = parser.parse_args()
    kept = args.output / "calibration.json"
    results = json.loads(kept.read_text()) if args.only and kept.exists() else {}
    for name in args.only or PROBLEMS:
        results[name] = calibrate(name, args.n)
        results = {key: results[key] for key in PROBLEMS if key in results}
        kept.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        (args.output / "calibration.md").write_text(as_page(results, args.n))
        print(results[name]["table"], flush=True)


if __name__ == "__main__":
    main()
