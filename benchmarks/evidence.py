"""Log-evidence by a nested sampler, by tempering and by `bt.laplace`, where it is known.

    python -m benchmarks.evidence               # all, or
    python -m benchmarks.evidence --only counts

dynesty draws through `posterior.prior_transform`, BlackJAX's adaptive tempered
sequential Monte Carlo through `flat.log_prior` and `flat.log_likelihood`. What is found
goes to evidence.json beside it, and all that lies there to evidence.md.
"""

import argparse
import json
import math
import pathlib
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import blackjax
import dynesty
import jax
import jax.numpy as jnp
import numpy as np
from blackjax.smc import extend_params, resampling
from scipy.special import logsumexp

import bijectree as bt

from ._pages import HERE, plain
from .evidence_problems import PROBLEMS, Problem

# Repetitions of sequential Monte Carlo, which has no error of its own.
RUNS = 8
# Temperatures that are chosen by the particles bias the evidence by the order of one over
# their number: on the straight line, 250 of them by -0.09 and 1000 by -0.03.
PARTICLES = 4000
LIVE = 500
# An estimate that is off by more errors than that is wrong.
LIMIT = 4.0


def by_dynesty(problem: Problem, seed: int) -> tuple[float, float]:
    """The log-evidence and its error, from the unit cube."""
    posterior, flat = problem.posterior, problem.posterior.flat()
    from_cube = jax.jit(lambda u: flat.inverse(posterior.prior_transform(u)))
    likelihood = jax.jit(lambda vector: flat.log_likelihood(vector, problem.data))
    sampler = dynesty.NestedSampler(
        likelihood, from_cube, flat.dim, nlive=LIVE, rstate=np.random.default_rng(seed)
    )
    sampler.run_nested(print_progress=False, dlogz=0.01)
    return float(sampler.results.logz[-1]), float(sampler.results.logzerr[-1])


def by_tempering(problem: Problem, seed: int) -> tuple[float, float]:
    """The log-evidence and its error, by moving draws of the prior."""
    posterior, flat = problem.posterior, problem.posterior.flat()
    step = jax.jit(_tempered_step(problem), static_argnums=2)
    found = []
    for key in jax.random.split(jax.random.key(seed), RUNS):
        key, own = jax.random.split(key)
        models = posterior.sample_prior(own, PARTICLES)
        state = blackjax.smc.tempered.init(jax.vmap(flat.inverse)(models))
        total = 0.0
        while state.tempering_param < 1:
            key, own = jax.random.split(key)
            variance = jnp.var(state.particles, axis=0)
            numbers = {
                "step_size": 0.6 * flat.dim**-0.25,
                "inverse_mass_matrix": variance,
                "num_integration_steps": 5,
            }
            state, info = step(own, state, 10, extend_params(numbers))
            total += float(info.log_likelihood_increment)
        found.append(total)
    evidence = np.exp(np.array(found) - max(found))
    # The mean of the evidences is unbiased, that of their logarithms is not.
    error = evidence.std(ddof=1) / evidence.mean() / math.sqrt(RUNS)
    return float(logsumexp(found) - math.log(RUNS)), float(error)


def _tempered_step(problem: Problem) -> Callable[..., Any]:
    """A step of adaptive tempering, by Hamiltonian moves."""
    flat = problem.posterior.flat()
    return blackjax.smc.adaptive_tempered.build_kernel(
        flat.log_prior,
        lambda vector: flat.log_likelihood(vector, problem.data),
        blackjax.hmc.build_kernel(),
        blackjax.hmc.init,
        resampling.systematic,
        target_ess=0.9,
    )


def measure(name: str) -> dict[str, Any]:
    """What each method says of one problem, in float64."""
    with jax.enable_x64():
        problem = PROBLEMS[name]()
        posterior = problem.posterior
        start = posterior.reparam.forward(
            posterior.initial(jax.random.key(0), problem.data)
        )
        laplace = bt.laplace(posterior, start, problem.data).log_evidence
        found = {"BlackJAX": by_tempering(problem, seed=1)}
        if problem.of_cube:
            found["dynesty"] = by_dynesty(problem, seed=2)
    return {
        "what": problem.what,
        "dim": posterior.dim,
        "exact": problem.log_evidence,
        "laplace": float(laplace) - problem.log_evidence,
        **{
            method: {
                "difference": value - problem.log_evidence,
                "error": error,
                "in errors": (value - problem.log_evidence) / error,
            }
            for method, (value, error) in found.items()
        },
    }


def wrong(results: dict[str, dict[str, Any]]) -> list[str]:
    """The estimates that are further off than their errors allow."""
    return [
        f"{name}: {method}"
        for name, found in results.items()
        for method in ("dynesty", "BlackJAX")
        if method in found and not abs(found[method]["in errors"]) < LIMIT
    ]


def as_page(results: dict[str, dict[str, Any]]) -> str:
    """The page of all results."""
    names = ("jax", "blackjax", "dynesty", "tfp-nightly")
    lines = [
        "# Log-evidence where it is known",
        "",
        "Made by `python -m benchmarks.evidence` in float64 with "
        + ", ".join(f"{name} {version(name)}" for name in names)
        + ".",
        "",
        "dynesty goes from the unit cube by `posterior.prior_transform`, with "
        f"{LIVE} live points and",
        "the error that it reports. BlackJAX's adaptive tempered sequential Monte Carlo",
        "starts from `posterior.sample_prior` and takes `flat.log_prior` and",
        f"`flat.log_likelihood`; its error is that of the mean of {RUNS} runs of",
        f"{PARTICLES} particles. `bt.laplace` is exact for the first model, whose",
        "density is normal; for the others its number says how good an approximation",
        "is: of eight schools, in coordinates that are not learned, a poor one.",
        "",
        f"Estimates further off than {LIMIT:g} errors: {len(wrong(results))}.",
        "",
        "| model | dimension | exact | dynesty: off by | in errors | BlackJAX: off by | "
        "in errors | `bt.laplace`: off by |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for found in results.values():
        cells = [plain(found["what"]), str(found["dim"]), f"{found['exact']:.4f}"]
        for method in ("dynesty", "BlackJAX"):
            one = found.get(method)
            cells += [f"{one['difference']:+.4f} ± {one['error']:.4f}"] if one else ["–"]
            cells += [f"{one['in errors']:+.1f}"] if one else ["–"]
        # What is left of a difference of rounding has no digits of interest.
        gap = found["laplace"]
        cells.append("0 (below 1e-9)" if abs(gap) < 1e-9 else f"{gap:+.4f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, write the page after each model, and fail where an estimate is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evidence")
    parser.add_argument("--only", nargs="+", choices=PROBLEMS, metavar="MODEL")
    parser.add_argument("--output", type=pathlib.Path, default=HERE)
    args = parser.parse_args()
    kept = args.output / "evidence.json"
    results = json.loads(kept.read_text()) if args.only and kept.exists() else {}
    for name in args.only or PROBLEMS:
        results[name] = measure(name)
        results = {key: results[key] for key in PROBLEMS if key in results}
        kept.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        (args.output / "evidence.md").write_text(as_page(results))
        print(name, results[name], flush=True)
    if faults := wrong(results):
        raise SystemExit("not the exact evidence: " + ", ".join(faults))


if __name__ == "__main__":
    main()
