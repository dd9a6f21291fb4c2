"""Which map suits which posterior: every map of a set, on posteriors that differ.

    python -m benchmarks.maps                          # all
    python -m benchmarks.maps --only "HalfCauchy(1)" --seeds 3
    python -m benchmarks.maps --ways blackjax modes    # only these ways
    python -m benchmarks.maps --only                   # the page and the pictures alone

What is measured goes to maps.json beside it, posterior by posterior; maps.md and the
pictures of docs/choosing-a-map.md are made of all that lies there.

Fixed maps are sampled by BlackJAX's NUTS with its diagonal window adaptation, all seeds
and chains in one program; defaults and the best fixed maps by `bt.sample` as well, with
nothing learned of maps, and the defaults with all that it learns, or with the maps that
`bt.fit_maps` chose before.
"""

import argparse
import contextlib
import functools
import json
import pathlib
import platform
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import blackjax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from arviz_stats.base import array_stats

import bijectree as bt
from bijectree.inference.diagnostics import diagnose
from bijectree.sampling import warm_up

from ._pages import HERE
from .map_conditions import conditions
from .map_modes import measure_modes
from .map_pages import draw, page
from .map_posteriors import PROBLEMS, Problem

DATA = HERE / "maps.json"
CHAINS, WARM_UP, DRAWS = 4, 1000, 1000


@eqx.filter_jit
def nuts(
    posterior: bt.Posterior, keys: jax.Array, starts: jax.Array
) -> tuple[jax.Array, ...]:
    """Window adaptation and NUTS of many chains: draws, their steps, and divergences."""
    density = posterior.flat().log_density
    adaptation = blackjax.window_adaptation(
        blackjax.nuts,
        density,
        adaptation_info_fn=lambda state, info, *_: info.num_integration_steps,
    )

    def one(key: jax.Array, start: jax.Array) -> tuple[jax.Array, ...]:
        warm, sample = jax.random.split(key)
        (state, tuned), warm_steps = adaptation.run(warm, start, WARM_UP)
        kernel = blackjax.nuts(density, **tuned)

        def step(state: Any, key: jax.Array) -> tuple[Any, tuple[jax.Array, ...]]:
            state, info = kernel.step(key, state)
            found = info.num_integration_steps, info.is_divergent
            return state, (state.position, *found)

        keys = jax.random.split(sample, DRAWS)
        _, (vectors, steps, diverged) = jax.lax.scan(step, state, keys)
        return vectors, steps.sum() + warm_steps.sum(), diverged.sum()

    return jax.vmap(one)(keys, starts)


@eqx.filter_jit
def quantities(
    problem_functions: Any, posterior: bt.Posterior, vectors: jax.Array
) -> tuple[jax.Array, ...]:
    """The entries of the models of vectors, and the functions whose means are known."""
    flat = posterior.flat()

    def one(vector: jax.Array) -> tuple[jax.Array, ...]:
        model = flat.forward(vector)
        return tuple(function(model) for function in problem_functions)

    return jax.vmap(jax.vmap(one))(vectors)


Row = dict[str, float]


def judge(
    problem: Problem,
    posterior: bt.Posterior,
    vectors: jax.Array,
    gradients: int,
    diverged: int,
) -> Row:
    """What the draws of one seed, chain by chain, are worth, and how far they are off."""
    functions = (problem.entries,)
    if problem.functions is not None:
        functions += (problem.functions,)
    entries, *known = (
        np.asarray(x) for x in quantities(functions, posterior, jnp.asarray(vectors))
    )
    r_hat, ess = diagnose(entries)
    least = float(np.min(np.nan_to_num(ess, nan=0.0)))
    tails, squares = ess_of_tails_and_squares(entries)
    row = {
        "efficiency": 1000 * least / gradients,
        "of_tails": 1000 * tails / gradients,
        "of_squares": 1000 * squares / gradients,
        "ess": least,
        "gradients": gradients,
        "diverged": diverged,
        "r_hat": float(np.max(np.nan_to_num(r_hat, nan=np.inf))),
    }
    if known:
        mean, sd = (np.array(x) for x in zip(*problem.truth, strict=True))
        off = np.abs(known[0].mean(axis=(0, 1)) - mean) / sd
        _, own = diagnose(known[0])
        row["off"] = float(off.max())
        row["off_mcse"] = float(np.max(off * np.sqrt(np.nan_to_num(own, nan=0.0))))
    return row


def ess_of_tails_and_squares(entries: np.ndarray) -> tuple[float, float]:
    """The least ESS for the quantiles of 5 and 95 %, and that for the variance.

    Draws on alternate sides of the mean have a large one for the bulk, but not for these.
    """
    squares = (entries - entries.mean(axis=(0, 1))) ** 2
    axes = {"chain_axis": 0, "draw_axis": 1}
    tails = array_stats.ess(entries, method="tail", prob=(0.05, 0.95), **axes)
    of_squares = array_stats.ess(squares, method="mean", **axes)
    return float(np.nanmin(tails)), float(np.nanmin(of_squares))


def by_blackjax(problem: Problem, name: str, seeds: int) -> list[Row]:
    """A fixed map, sampled by BlackJAX's NUTS."""
    posterior = problem.posterior(name)
    starts, keys = [], []
    for seed in range(seeds):
        first, key = jax.random.split(jax.random.key(seed))
        starts.append(jax.vmap(posterior.reparam.ravel)(posterior.initial(first, n=4)))
        keys.append(jax.random.split(key, CHAINS))
    vectors, steps, diverged = nuts(
        posterior, jnp.concatenate(keys), jnp.concatenate(starts)
    )
    # A gradient at each chain's start, in the sampler and in the search for it.
    spent = np.asarray(steps).reshape(seeds, CHAINS).sum(axis=1) + 2 * CHAINS
    lost = np.asarray(diverged).reshape(seeds, CHAINS).sum(axis=1)
    each = vectors.reshape(seeds, CHAINS, *vectors.shape[1:])
    return [
        judge(problem, posterior, each[i], int(spent[i]), int(lost[i]))
        for i in range(seeds)
    ]


@contextlib.contextmanager
def keeping_maps(*, keep: bool) -> Iterator[None]:
    """Let the warm-up of `bt.sample` bend nothing, and change no map."""
    if not keep:
        yield
        return
    with (
        mock.patch.object(warm_up, "learn_warp"),
        mock.patch.object(warm_up, "learn_maps", return_value=False),
    ):
        yield


def by_bijectree(problem: Problem, name: str, seeds: int, *, learn: bool) -> list[Row]:
    """A map, sampled by `bt.sample`, which may change it."""
    rows = []
    for seed in range(seeds):
        with keeping_maps(keep=not learn):
            rows.append(sampled(problem, problem.posterior(name), jax.random.key(seed)))
    return rows


def by_fitting(problem: Problem, name: str, seeds: int) -> list[Row]:
    """The maps that `bt.fit_maps` chooses, sampled by `bt.sample`; the fit is counted."""
    rows = []
    for seed in range(seeds):
        given = problem.posterior(name)
        first, second = jax.random.split(jax.random.key(seed))
        fitted, report = bt.fit_maps(given, first, chains=CHAINS, progress=False)
        posterior = bt.Posterior(fitted, problem.log_likelihood, prior=problem.prior)
        rows.append(sampled(problem, posterior, second, spent=report.gradients))
    return rows


def sampled(
    problem: Problem, posterior: bt.Posterior, key: jax.Array, spent: int = 0
) -> Row:
    """What the draws of `bt.sample` are worth, where gradients were spent before."""
    draws = bt.sample(posterior, key, chains=CHAINS, draws=DRAWS, progress=False)
    diverged = int(np.sum(draws.stats["diverging"]))
    cost = spent + (draws.gradients or 0)
    return judge(problem, draws.posterior, draws.vectors, cost, diverged)


Kept = dict[str, list[Row]]


def best_fixed(kept: Kept) -> str:
    """The fixed map with the largest median of what a gradient brings."""
    fixed = {way: rows for way, rows in kept.items() if way.startswith("blackjax, ")}
    best = max(fixed, key=lambda way: np.median([r["efficiency"] for r in fixed[way]]))
    return best.removeprefix("blackjax, ")


def ways(problem: Problem, kept: Kept) -> dict[str, Callable[[int], list[Row]]]:
    """Every way to sample a posterior, by name; the best map is one that is kept."""
    found: dict[str, Callable[[int], list[Row]]] = {
        f"blackjax, {name}": functools.partial(by_blackjax, problem, name)
        for name in problem.maps
    }
    plain = functools.partial(by_bijectree, problem, learn=False)
    default = next(iter(problem.maps))
    found["bt.sample, default map"] = lambda seeds: plain(default, seeds)

    def best(seeds: int) -> list[Row]:
        name = best_fixed(kept)
        same = kept.get("bt.sample, default map", []) if name == default else []
        return same if len(same) == seeds else plain(name, seeds)

    found["bt.sample, best fixed map"] = best
    found["bt.sample, learned"] = functools.partial(
        by_bijectree, problem, default, learn=True
    )
    found["bt.fit_maps, then bt.sample"] = functools.partial(by_fitting, problem, default)
    return found


def main() -> None:
    """Run, and write the data, the page and the pictures."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.maps", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--only", nargs="*", default=list(PROBLEMS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument(
        "--ways",
        nargs="*",
        default=["blackjax", "bt.", "modes"],
        help="beginnings of the names of ways; modes for those of optimisers",
    )
    parser.add_argument("--output", type=pathlib.Path, default=HERE)
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", val=True)
    warnings.simplefilter("ignore")
    file = args.output / DATA.name
    kept = json.loads(file.read_text()) if file.exists() else {}
    kept["machine"] = (
        f"{platform.machine()}, Python {platform.python_version()}, JAX "
        f"{jax.__version__}, BlackJAX {blackjax.__version__}"
    )

    def store() -> None:
        file.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")

    with tempfile.TemporaryDirectory() as cache:
        jax.config.update("jax_compilation_cache_dir", cache)
        if "modes" in args.ways and args.only:
            kept["modes"] = measure_modes()
            kept["conditions"] = conditions()
            store()
        for name in args.only:
            problem = PROBLEMS[name]()
            of = kept.setdefault("sampling", {}).setdefault(name, {})
            for way, run in ways(problem, of).items():
                if way.startswith(tuple(w for w in args.ways if w != "modes")):
                    start = time.perf_counter()
                    of[way] = run(min(args.seeds, problem.seeds))
                    seconds = time.perf_counter() - start
                    middle = np.median([row["efficiency"] for row in of[way]])
                    print(f"{name}; {way}: {middle:.2f}, {seconds:.0f} s", flush=True)
            store()
            jax.clear_caches()
    (args.output / "maps.md").write_text(page(kept))
    draw(kept, HERE.parent / "docs" if args.output == HERE else args.output)


if __name__ == "__main__":
    main()
