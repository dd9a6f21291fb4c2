"""`bt.sample` beside nutpie and NumPyro's NUTS; every gradient is counted.

    python -m benchmarks.sampling                      # all, 3 seeds, about half an hour
    python -m benchmarks.sampling --only mixture --seeds 1

Needs `pip install "bijectree[bench]"`. Each contestant draws 4 chains of 1,000 from one
density in one set of coordinates, with a warm-up of its own, interleaved in one process.
What was measured goes to sampling.json beside this file, problem by problem, and the
tables of all that lies there to sampling.md.

The ablation: `bt.sample` with one part of its design taken away.
"""

import argparse
import json
import pathlib
import platform
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import bijectree as bt
from bijectree.inference.diagnostics import diagnose

from .sampling_posteriors import PROBLEMS, Problem

HERE = pathlib.Path(__file__).parent
CHAINS, DRAWS = 4, 1000


class Run(NamedTuple):
    """What one run of a sampler gave.

    Attributes:
        ess: the smallest effective sample size of a number of the model, for the bulk.
        r_hat: the largest.
        gradients: all that were spent.
        seconds: from the call to the draws, with compilation.
        diverged: how many draws.
    """

    ess: float
    r_hat: float
    gradients: int
    seconds: float
    diverged: int

    @property
    def efficiency(self) -> float:
        """Effective draws a thousand gradients."""
        return 1000 * self.ess / self.gradients


def by_bijectree(posterior: bt.Posterior, key: Any, **options: Any) -> tuple[Any, ...]:
    """Draws, gradients and divergences of `bt.sample`."""
    draws = bt.sample(posterior, key, progress=False, **options)
    diverged = int(np.sum(draws.stats["diverging"]))
    return draws.posterior, draws.vectors, draws.gradients, diverged


def by_single_chains(posterior: bt.Posterior, key: Any) -> tuple[Any, ...]:
    """As `bt.sample`, but each chain learns from its own draws alone."""
    runs = [
        bt.sample(posterior, k, chains=1, warm_up=300, progress=False)
        for k in jax.random.split(key, CHAINS)
    ]
    given = posterior.reparam
    vectors = [run.map(lambda model: given.ravel(given.inverse(model))) for run in runs]
    diverged = sum(int(np.sum(run.stats["diverging"])) for run in runs)
    gradients = sum(run.gradients or 0 for run in runs)
    return posterior, jnp.concatenate(vectors), gradients, diverged


def by_numpyro(posterior: bt.Posterior, key: Any) -> tuple[Any, ...]:
    """NumPyro's NUTS; its warm-up's steps are taken one by one, to count them."""
    from numpyro.infer import MCMC, NUTS

    starts = jax.vmap(posterior.reparam.ravel)(posterior.initial(key, n=CHAINS))
    nuts = NUTS(potential_fn=bt.potential_fn(posterior))
    mcmc = MCMC(
        nuts,
        num_warmup=1000,
        num_samples=DRAWS,
        num_chains=CHAINS,
        chain_method="sequential",
        progress_bar=False,
    )
    fields = ("num_steps", "diverging")
    mcmc.warmup(key, init_params=starts, extra_fields=fields, collect_warmup=True)
    warm = int(np.sum(mcmc.get_extra_fields()["num_steps"]))
    mcmc.run(key, extra_fields=fields)
    found = mcmc.get_extra_fields()
    gradients = warm + int(np.sum(found["num_steps"])) + 2 * CHAINS
    vectors = mcmc.get_samples(group_by_chain=True)
    return posterior, vectors, gradients, int(np.sum(found["diverging"]))


def by_nutpie(posterior: bt.Posterior, key: Any) -> tuple[Any, ...]:
    """Nutpie, with its low-rank mass matrix and its own warm-up."""
    import nutpie
    from nutpie.compiled_pyfunc import from_pyfunc

    both = jax.jit(jax.value_and_grad(posterior.flat().log_density))

    def make_density() -> Callable[..., Any]:
        def density(x: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = both(x)
            return float(value), np.asarray(gradient, np.float64)

        return density

    dim = posterior.dim
    compiled = from_pyfunc(
        dim,
        make_density,
        lambda *_: lambda x: {"v": np.asarray(x, np.float64)},
        [np.dtype("float64")],
        [(dim,)],
        ["v"],
    )
    trace = nutpie.sample(
        compiled,
        chains=CHAINS,
        cores=2,
        draws=DRAWS,
        seed=int(jax.random.key_data(key)[-1]),
        progress_bar=False,
        save_warmup=True,
        low_rank_modified_mass_matrix=True,
    )
    stats = (trace.sample_stats, trace.warmup_sample_stats)
    gradients = sum(int(part["n_steps"].sum()) for part in stats)
    vectors = np.asarray(trace.posterior["v"])
    return posterior, vectors, gradients, int(trace.sample_stats["diverging"].sum())


PEERS: dict[str, Callable[..., Any]] = {
    "bijectree": by_bijectree,
    "nutpie": by_nutpie,
    "NumPyro": by_numpyro,
}
ABLATION: dict[str, Callable[..., Any]] = {
    "given coordinates": lambda p, k: by_bijectree(p, k, coordinates="given"),
    "each chain alone": by_single_chains,
    "acceptance 0.8": lambda p, k: by_bijectree(p, k, target_acceptance=0.8),
    "acceptance 0.6": lambda p, k: by_bijectree(p, k, target_acceptance=0.6),
    "warm-up 150": lambda p, k: by_bijectree(p, k, warm_up=150),
    "warm-up 600": lambda p, k: by_bijectree(p, k, warm_up=600),
}


WAYS = PEERS | ABLATION


def measure(problem: Problem, way: Callable[..., Any], seed: int) -> Run:
    """Run a sampler from nothing compiled."""
    jax.clear_caches()
    posterior = problem.posterior()
    start = time.perf_counter()
    found, vectors, gradients, diverged = way(posterior, jax.random.key(seed))
    seconds = time.perf_counter() - start
    draws = bt.Draws(found, jnp.asarray(vectors))
    columns = [
        np.asarray(x, np.float64).reshape(*x.shape[:2], -1)
        for x in jax.tree.leaves(draws.models)
    ]
    r_hat, ess = diagnose(np.concatenate(columns, axis=2))
    return Run(
        float(np.nanmin(ess)), float(np.nanmax(r_hat)), gradients, seconds, diverged
    )


Results = dict[str, dict[str, list[Run]]]


def middle(runs: list[Run], what: str) -> float:
    """The median over the seeds."""
    return float(np.median([getattr(run, what) for run in runs]))


def ratios(results: Results, peer: str, what: str) -> dict[str, float]:
    """By problem, the median over seeds of bijectree's figure over a peer's."""
    return {
        name: float(
            np.median(
                [
                    getattr(a, what) / getattr(b, what)
                    for a, b in zip(ways["bijectree"], ways[peer], strict=True)
                ]
            )
        )
        for name, ways in results.items()
        if {"bijectree", peer} <= ways.keys()
    }


def page(results: Results, machine: str) -> str:
    """The tables."""
    seeds = max(len(runs) for ways in results.values() for runs in ways.values())
    lines = [
        "# Sampling side by side",
        "",
        f"Made by `python -m benchmarks.sampling` ({machine}); the problems are in "
        "[`sampling_posteriors.py`](sampling_posteriors.py), with data from a seed. "
        f"{CHAINS} chains of {DRAWS:,} draws; medians over {seeds} seeds. *Efficiency* "
        "is the smallest bulk effective sample size, of all numbers of the model, "
        "a thousand gradients, with all gradients counted: starts, warm-up and draws. "
        "Seconds are from the call to the draws, with compilation.",
        "",
        "| posterior | sampler | efficiency | gradients, thousands | seconds | "
        "diverged | worst R-hat |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for name, ways in results.items():
        for way in PEERS:
            if way in ways:
                runs = ways[way]
                lines.append(
                    f"| {name} | {way} | {middle(runs, 'efficiency'):.3g} | "
                    f"{middle(runs, 'gradients') / 1000:.3g} | "
                    f"{middle(runs, 'seconds'):.1f} | {middle(runs, 'diverged'):.0f} | "
                    f"{max(run.r_hat for run in runs):.3f} |"
                )
    lines += ["", "## bijectree over its peers", ""]
    lines += [
        "| | efficiency: median | least | seconds: median | most |",
        "|---|---:|---:|---:|---:|",
    ]
    for peer in ("nutpie", "NumPyro"):
        better, slower = (ratios(results, peer, w) for w in ("efficiency", "seconds"))
        if not better:
            continue
        least, most = min(better, key=better.get), max(slower, key=slower.get)
        better_half, slower_half = (
            float(np.median(list(x.values()))) for x in (better, slower)
        )
        lines.append(
            f"| {peer}, {len(better)} posteriors | {better_half:.2f} | "
            f"{better[least]:.2f} ({least}) | {slower_half:.2f} | "
            f"{slower[most]:.2f} ({most}) |"
        )
    lines += [
        "",
        "## What brought what",
        "",
        "Efficiency over that of `bt.sample` as it is, with one part of it taken away: "
        "the median over the problems, and the extremes.",
        "",
        "| | median | least | most |",
        "|---|---:|---:|---:|",
    ]
    what = "efficiency"
    for way in ABLATION:
        found = {
            name: middle(ways[way], what) / middle(ways["bijectree"], what)
            for name, ways in results.items()
            if way in ways
        }
        if found:
            least, most = min(found, key=found.get), max(found, key=found.get)
            lines.append(
                f"| {way}, {len(found)} posteriors | "
                f"{np.median(list(found.values())):.2f} | {found[least]:.2f} "
                f"({least}) | {found[most]:.2f} ({most}) |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run, and write the data and the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sampling", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--only", nargs="*", default=list(PROBLEMS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ways", nargs="*", default=list(WAYS))
    parser.add_argument("--output", type=pathlib.Path, default=HERE)
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", val=True)
    warnings.simplefilter("ignore")
    file = args.output / "sampling.json"
    kept = json.loads(file.read_text())["problems"] if file.exists() else {}
    # The first sampler of a process would pay for the imports of all.
    first = PROBLEMS["independent normal"](np.random.default_rng(0))
    for way in PEERS.keys() & set(args.ways):
        measure(first, PEERS[way], 0)
    machine = (
        f"{platform.machine()}, Python {platform.python_version()}, JAX {jax.__version__}"
    )
    for name in args.only:
        problem = PROBLEMS[name](np.random.default_rng(0))
        found: dict[str, list[Run]] = {}
        for seed in range(args.seeds):
            for way in args.ways:
                run = measure(problem, WAYS[way], seed)
                found.setdefault(way, []).append(run)
                print(name, way, seed, run, flush=True)
        kept[name] = kept.get(name, {}) | {
            way: [run._asdict() for run in runs] for way, runs in found.items()
        }
        file.write_text(json.dumps({"machine": machine, "problems": kept}, indent=1))
    whole = {
        name: {way: [Run(**run) for run in runs] for way, runs in kept[name].items()}
        for name in PROBLEMS
        if name in kept
    }
    (args.output / "sampling.md").write_text(page(whole, machine))


if __name__ == "__main__":
    main()
