"""Coordinates by hand against fitted ones, on one sampler; every gradient is counted.

    python benchmarks/learned_coordinates.py            # all, or
    python benchmarks/learned_coordinates.py --only "eight schools"

What is measured goes to learned_coordinates.json beside it, problem by problem, and the
tables of all that lies there to learned_coordinates.md.

Each row is one way to sample a posterior with BlackJAX's NUTS: 4 chains, 1,000 steps of
warm-up and 1,000 draws each, with a diagonal mass matrix unless it says dense. The
gradients are those of the fit, of its report, of the sampler's warm-up and of its draws.
The truth is a closed form, or a sum over a grid where all else integrates out.
"""

import argparse
import dataclasses
import json
import pathlib
import platform
import time
from collections.abc import Callable, Sequence
from typing import Any

import blackjax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import bijectree as bt
from bijectree import tfd
from bijectree.inference.diagnostics import diagnose

jax.config.update("jax_enable_x64", val=True)

DATA = pathlib.Path(__file__).with_suffix(".json")
CHAINS, WARM_UP, DRAWS = 4, 1000, 1000


@dataclasses.dataclass
class Problem:
    """A model with its posterior in each set of coordinates that one may write by hand.

    Attributes:
        hand: the coordinates, by name.
        start: those that fits start from.
        partly: whether they have a `location_scale`.
        quantities: what is estimated, numbers of a model.
        truth: mean and sd of some of them.
    """

    hand: dict[str, bt.Posterior]
    start: str
    partly: bool
    quantities: Callable[[Any], dict[str, jax.Array]]
    data: tuple[Any, ...] = ()
    truth: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)


def funnel(n: int) -> Problem:
    """Neal's funnel: v ~ normal(0, 3), x ~ normal(0, exp(v / 2))."""
    model = {"scale": jnp.ones(()), "x": jnp.zeros(n)}

    def log_prior(model: Any) -> jax.Array:
        # scale = exp(v / 2), so that log scale ~ normal(0, 1.5).
        scale = tfd.LogNormal(jnp.zeros(()), 1.5).log_prob(model["scale"])
        return scale + tfd.Normal(0.0, model["scale"]).log_prob(model["x"]).sum()

    def at(share: float) -> bt.Posterior:
        scaled = bt.location_scale(0.0, "scale", centeredness=share)
        return bt.Posterior(
            bt.Reparam(model, {"scale": bt.positive(), "x": scaled}), None, log_prior
        )

    return Problem(
        {"centred": at(1.0), "non-centred": at(0.0)},
        start="centred",
        partly=True,
        quantities=lambda m: {"v": 2 * jnp.log(m["scale"]), "x.0": m["x"][0]},
        truth={"v": (0.0, 3.0)},
    )


def schools() -> Problem:
    """Eight schools, from its centred form."""
    y = jnp.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    sigma = jnp.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
    return hierarchy(y, sigma, 5.0, lambda tau: tfd.HalfCauchy(0.0, 5.0).log_prob(tau))


def regression(observations: int) -> Problem:
    """Slopes of 20 groups around a common one, with so many observations each."""
    rng = np.random.default_rng(7)
    slopes = rng.normal(1.0, 0.5, 20)
    x = rng.normal(size=(20, observations))
    y = slopes[:, None] * x + rng.normal(size=x.shape)
    # The slopes' likelihood is normal, with these means and errors.
    size = np.sqrt((x**2).sum(axis=1))
    return hierarchy(
        jnp.asarray((x * y).sum(axis=1) / size**2),
        jnp.asarray(1 / size),
        2.0,
        lambda tau: tfd.HalfNormal(jnp.ones(())).log_prob(tau),
    )


def mixed() -> Problem:
    """Means of 12 groups, four of them of 1 observation, four of 10, four of 300."""
    size = np.repeat([1, 10, 300], 4)
    rng = np.random.default_rng(3)
    error = 4 / np.sqrt(size)
    y = rng.normal(rng.normal(1.0, 1.0, 12), error)
    return hierarchy(
        jnp.asarray(y),
        jnp.asarray(error),
        5.0,
        lambda tau: tfd.HalfNormal(jnp.asarray(3.0)).log_prob(tau),
    )


def hierarchy(y: Any, sigma: Any, sd: float, log_prior_tau: Callable) -> Problem:
    """Y ~ normal(theta, sigma), theta ~ normal(mu, tau); theta integrates out."""
    model = {"mu": jnp.zeros(()), "tau": jnp.ones(()), "theta": jnp.zeros(y.shape)}

    def log_prior(model: Any) -> jax.Array:
        theta = tfd.Normal(model["mu"], model["tau"]).log_prob(model["theta"]).sum()
        mu = tfd.Normal(jnp.zeros(()), sd).log_prob(model["mu"])
        return mu + log_prior_tau(model["tau"]) + theta

    def log_likelihood(model: Any, y: Any, sigma: Any) -> jax.Array:
        return tfd.Normal(model["theta"], sigma).log_prob(y).sum()

    def at(share: float) -> bt.Posterior:
        theta = bt.location_scale("mu", "tau", centeredness=share)
        spec = {"mu": None, "tau": bt.positive(), "theta": theta}
        return bt.Posterior(bt.Reparam(model, spec), log_likelihood, log_prior)

    # A grid over mu and log tau, with theta integrated out.
    log_tau = np.linspace(-12, 6, 1801)[None]
    mu = np.linspace(-6, 6, 1201)[:, None] * sd
    tau = np.exp(log_tau)
    log_p = -0.5 * (mu / sd) ** 2 + np.asarray(log_prior_tau(jnp.asarray(tau))) + log_tau
    for one, error in zip(np.asarray(y), np.asarray(sigma), strict=True):
        scale = np.hypot(error, tau)
        log_p = log_p - 0.5 * ((one - mu) / scale) ** 2 - np.log(scale)
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    truth = {}
    for name, value in (("mu", mu + 0 * tau), ("log tau", log_tau + 0 * mu)):
        mean = (p * value).sum()
        truth[name] = (mean, float(np.sqrt((p * (value - mean) ** 2).sum())))
    return Problem(
        {"centred": at(1.0), "non-centred": at(0.0)},
        start="centred",
        partly=True,
        quantities=lambda m: {
            "mu": m["mu"],
            "log tau": jnp.log(m["tau"]),
            **{f"theta.{i}": m["theta"][i] for i in range(y.size)},
        },
        data=(y, sigma),
        truth=truth,
    )


def linear(dim: int, condition: float) -> Problem:
    """A linear regression whose columns are correlated: its posterior is normal."""
    rng = np.random.default_rng(11)
    rotate = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    # A few directions that the data say much of and a few that they say little of.
    strength = np.ones(dim)
    if condition > 1:
        strength[:4], strength[-4:] = condition**0.25, condition**-0.25
    design = 10 * np.linalg.qr(rng.normal(size=(200, dim)))[0] * strength @ rotate.T
    y = design @ rng.normal(size=dim) + rng.normal(size=200)
    precision = design.T @ design + np.eye(dim) / 100**2
    covariance = np.linalg.inv(precision)
    mean = covariance @ design.T @ y
    sd = np.sqrt(np.diagonal(covariance))
    model = {"weights": jnp.zeros(dim)}

    def log_likelihood(model: Any, design: Any, y: Any) -> jax.Array:
        return tfd.Normal(design @ model["weights"], jnp.ones(())).log_prob(y).sum()

    prior = tfd.Normal(jnp.zeros(()), 100.0)
    posterior = bt.Posterior(bt.Reparam(model, None), log_likelihood, prior)
    return Problem(
        {"as written": posterior},
        start="as written",
        partly=False,
        quantities=lambda m: {f"weights.{i}": m["weights"][i] for i in range(dim)},
        data=(jnp.asarray(design), jnp.asarray(y)),
        truth={f"weights.{i}": (mean[i], sd[i]) for i in range(dim)},
    )


PROBLEMS = {
    "funnel, 9 + 1": lambda: funnel(9),
    "funnel, 99 + 1": lambda: funnel(99),
    "eight schools": schools,
    "regression, 20 groups, 2 observations each": lambda: regression(2),
    "regression, 20 groups, 200 observations each": lambda: regression(200),
    "12 groups, of 1, 10 and 300 observations": mixed,
    "correlated regression, 30 weights, condition 1e4": lambda: linear(30, 1e4),
    "control: 30 weights, condition 1": lambda: linear(30, 1.0),
}


FLOWS = ("funnel, 9 + 1",)  # where a flow is fitted, too
# Where eight seeds leave open which way is better, and these are cheap.
MANY_SEEDS = 40
MANY = {
    "funnel, 99 + 1": (
        "hand: non-centred, diagonal",
        "fit_centeredness",
        "fit_centeredness, then fit_affine",
    )
}


class Density(eqx.Module):
    """What the compiled sampler is handed."""

    posterior: bt.Posterior
    data: tuple[Any, ...]

    def __call__(self, vector: jax.Array) -> jax.Array:
        """The log-density of the free vector."""
        return self.posterior.flat().log_density(vector, *self.data)


@eqx.filter_jit
def nuts(density: Density, key: jax.Array, starts: jax.Array, kind: str) -> Any:
    """Window adaptation and NUTS, with the steps of both."""
    adaptation = blackjax.window_adaptation(
        blackjax.nuts,
        density,
        is_mass_matrix_diagonal=kind == "diagonal",
        adaptation_info_fn=lambda state, info, *_: info.num_integration_steps,
    )

    def one(key: jax.Array, start: jax.Array) -> Any:
        warm, sample = jax.random.split(key)
        (state, tuned), steps = adaptation.run(warm, start, WARM_UP)
        kernel = blackjax.nuts(density, **tuned)

        def step(state: Any, key: jax.Array) -> Any:
            state, info = kernel.step(key, state)
            found = info.num_integration_steps, info.is_divergent
            return state, (state.position, *found)

        _, found = jax.lax.scan(step, state, jax.random.split(sample, DRAWS))
        return *found, steps

    return jax.vmap(one)(jax.random.split(key, len(starts)), starts)


@dataclasses.dataclass
class Row:
    """What one way to sample gave, of one seed."""

    ess: float
    gradients: int
    fit: int
    divergences: int
    error: float
    sd_error: float
    r_hat: float
    sd: float
    note: str = ""

    @property
    def efficiency(self) -> float:
        """The least effective sample size for the bulk per 1,000 gradients."""
        return 1000 * self.ess / self.gradients


def sample(
    problem: Problem, posterior: bt.Posterior, seed: int, kind: str, fit: int = 0
) -> Row:
    """Run the sampler in these coordinates, and hold it to the truth."""
    key_start, key = jax.random.split(jax.random.key(seed))
    starts = posterior.initial(key_start, *problem.data, n=CHAINS)
    vectors, steps, diverged, warm = nuts(
        Density(posterior, problem.data),
        key,
        jax.vmap(posterior.reparam.ravel)(starts),
        kind,
    )
    flat = posterior.flat()
    found = jax.vmap(jax.vmap(lambda x: problem.quantities(flat.forward(x))))(vectors)
    values = {name: np.asarray(value) for name, value in found.items()}
    names = list(values)
    r_hat, ess = diagnose(np.stack([values[name] for name in names], axis=-1))
    # The squares, too: their mean's error is what the sd's error comes from.
    error, sd_error = 0.0, 0.0
    for name, (mean, sd) in problem.truth.items():
        x = values[name]
        at = names.index(name)
        error = max(error, abs(x.mean() - mean) / (x.std() / np.sqrt(ess[at])))
        square = (x - mean) ** 2
        _, square_ess = diagnose(square[..., None])
        square_mcse = square.std() / np.sqrt(square_ess[0])
        sd_mcse = square_mcse / (2 * np.sqrt(square.mean()))
        sd_error = max(sd_error, abs(np.sqrt(square.mean()) - sd) / sd_mcse)
    # One gradient at each chain's start, in the sampler and in the search for it.
    spent = int(steps.sum()) + int(warm.sum()) + 2 * CHAINS
    return Row(
        ess=float(np.min(ess)),
        gradients=spent + fit,
        fit=fit,
        divergences=int(diverged.sum()),
        error=error,
        sd_error=sd_error,
        r_hat=float(np.max(r_hat)),
        sd=float(values[next(iter(values))].std()),
    )


def ways(
    problem: Problem, seed: int, *, flow: bool = False
) -> dict[str, Callable[[], Row]]:
    """Every way to sample a problem, by name."""
    found: dict[str, Callable[[], Row]] = {}
    for name, posterior in problem.hand.items():
        for kind in ("diagonal", "dense"):
            found[f"hand: {name}, {kind}"] = lambda p=posterior, k=kind: sample(
                problem, p, seed, k
            )
    key = jax.random.key(1000 + seed)

    def fitted(fit: Callable[..., Any], posterior: bt.Posterior, **settings: Any) -> Any:
        reparam, report = fit(posterior, key, *problem.data, progress=False, **settings)
        return eqx.tree_at(lambda p: p.reparam, posterior, reparam), report

    def run(*steps: tuple[Callable[..., Any], dict[str, Any]]) -> Row:
        posterior, spent, note = problem.hand[problem.start], 0, ""
        for fit, settings in steps:
            posterior, report = fitted(fit, posterior, **settings)
            spent += report.gradients
            for share in report.centeredness.values():
                low, high = float(share.min()), float(share.max())
                note += f"λ {low:.3f} to {high:.3f}, mean {share.mean():.3f}"
        row = sample(problem, posterior, seed, "diagonal", spent)
        return dataclasses.replace(row, note=note)

    if not problem.partly:  # a centred hierarchy has no mode
        found["fit_affine laplace, dense"] = lambda: run(
            (bt.fit_affine, {"method": "laplace", "rank": None})
        )
    # Of ten coordinates, rank 10 is dense.
    dim = problem.hand[problem.start].dim
    for rank in (0, 10, None) if dim > 10 else (0, None):
        name = {0: "diagonal", None: "dense"}.get(rank, f"rank {rank}")
        found[f"fit_affine fisher, {name}"] = lambda r=rank: run(
            (bt.fit_affine, {"rank": r})
        )
    if problem.partly:
        found["fit_centeredness"] = lambda: run((bt.fit_centeredness, {}))
        found["fit_centeredness, then fit_affine"] = lambda: run(
            (bt.fit_centeredness, {}), (bt.fit_affine, {"rank": None})
        )
    if flow:
        found["fit_flow"] = lambda: run((bt.fit_flow, {}))
    return found


HEADER = """| way | seeds | min bulk ESS / 1,000 gradients | gradients, thousands | \
of the fit | divergences | mean off, MCSE | sd off, MCSE | worst R-hat | |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---|
"""


def spread(values: Sequence[float], form: str) -> str:
    """The median over the seeds, and the range where they differ."""
    text = format(float(np.median(values)), form)
    if min(values) < max(values):
        text += f" ({format(min(values), form)} to {format(max(values), form)})"
    return text


def line(name: str, rows: list[Row]) -> str:
    """One row of a table: medians and ranges over the seeds."""

    def of(what: str, form: str, scale: float = 1.0) -> str:
        return spread([getattr(row, what) * scale for row in rows], form)

    cells = (
        name,
        str(len(rows)),
        of("efficiency", ".2f"),
        f"{np.median([row.gradients for row in rows]) / 1000:.0f}",
        f"{np.median([row.fit for row in rows]) / 1000:.1f}",
        of("divergences", ".0f"),
        of("error", ".1f"),
        of("sd_error", ".1f"),
        f"{max(row.r_hat for row in rows):.3f}",
        "; ".join(dict.fromkeys(row.note for row in rows if row.note)),
    )
    return "| " + " | ".join(cells) + " |"


def gates(results: dict[str, dict[str, list[Row]]]) -> list[str]:
    """What was asked of the fits, and whether it holds."""
    found: list[tuple[str, bool, str]] = []

    def median(rows: list[Row]) -> float:
        return float(np.median([row.efficiency for row in rows]))

    for name, rows in results.items():
        if name.startswith("funnel"):
            good, said = False, []
            for way in ("fit_centeredness", "fit_flow"):
                if way not in rows:
                    continue
                bad = spread([row.divergences for row in rows[way]], ".0f")
                off = max(row.sd_error for row in rows[way])
                sds = spread([row.sd for row in rows[way]], ".2f")
                good |= off < 4 and not any(row.divergences for row in rows[way])
                said.append(
                    f"{way}: sd {sds}, at most {off:.1f} MCSE off, {bad} diverged"
                )
            text = f"{name}: by a fit, no divergence and the sd of v within 4 MCSE of 3"
            found.append((text, good, "; ".join(said)))
            way = "hand: centred, diagonal"
            sds = spread([row.sd for row in rows[way]], ".2f")
            bad = spread([row.divergences for row in rows[way]], ".0f")
            worst = max(row.r_hat for row in rows[way])
            found.append(
                (
                    f"{name}, centred: shown to go wrong",
                    all(row.sd < 2.9 or row.r_hat > 1.05 for row in rows[way]),
                    f"sd {sds} for 3, {bad} divergences, R-hat up to {worst:.2f}",
                )
            )
        shares = [row.note for row in rows.get("fit_centeredness", [])]
        means = [float(note.split("mean ")[1]) for note in shares]
        if name.startswith("eight"):
            said = "; ".join(dict.fromkeys(shares))
            found.append((f"{name}: mean λ < 0.05", max(means) < 0.05, said))
        if "200 observations" in name:
            lows = [float(note.split()[1]) for note in shares]
            said = "; ".join(dict.fromkeys(shares))
            found.append((f"{name}: every λ > 0.9", min(lows) > 0.9, said))
        if name.startswith("correlated"):
            low = median(rows["fit_affine fisher, rank 10"])
            flat = median(rows["fit_affine fisher, diagonal"])
            said = f"{low:.2f} against {flat:.2f}: {low / flat:.1f} ×"
            text = f"{name}: rank 10 at least 3 × the diagonal"
            found.append((text, low >= 3 * flat, said))
        hand = {n: median(r) for n, r in rows.items() if n.startswith("hand")}
        fits = {n: median(r) for n, r in rows.items() if n.startswith("fit")}
        best, fit = max(hand, key=hand.__getitem__), max(fits, key=fits.__getitem__)
        ratio = fits[fit] / hand[best]
        free = [1000 * row.ess / (row.gradients - row.fit) for row in rows[fit]]
        without = float(np.median(free)) / hand[best]
        found.append(
            (
                f"{name}: the best fit at least 0.9 × the best hand choice",
                ratio >= 0.9,
                f"{fit} {fits[fit]:.2f}, {best} {hand[best]:.2f}: {ratio:.2f} ×; "
                f"{without:.2f} × if the fit had cost nothing",
            )
        )
    return [f"| {'met' if ok else '**missed**'} | {a} | {b} |" for a, ok, b in found]


def main() -> None:
    """Print the tables, and write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--only", default="", help="'none' only writes the tables again")
    parser.add_argument("--way", default="", help="measure these again, keep the others")
    args = parser.parse_args()
    for name, make in PROBLEMS.items():
        if args.only not in name:
            continue
        problem, flow = make(), name in FLOWS
        saved = json.loads(DATA.read_text()) if DATA.exists() else {}
        rows: dict[str, list[Row]] = {}
        begin = time.perf_counter()
        print(f"\n{name}", flush=True)
        for way in ways(problem, 0, flow=flow):
            if args.way not in way:
                continue
            seeds = MANY_SEEDS if way in MANY.get(name, ()) else args.seeds
            rows[way] = [ways(problem, seed, flow=flow)[way]() for seed in range(seeds)]
            print(line(way, rows[way]), flush=True)
        jax.clear_caches()
        minutes = (time.perf_counter() - begin) / 60
        print(f"{minutes:.1f} minutes", flush=True)
        new = {way: list(map(dataclasses.asdict, found)) for way, found in rows.items()}
        saved[name] = (saved.get(name, {}) if args.way else {}) | new
        DATA.write_text(json.dumps(saved, indent=1, ensure_ascii=False) + "\n")
    write()


def write() -> None:
    """Write the tables of all that was measured."""
    saved = json.loads(DATA.read_text())
    results = {
        name: {way: [Row(**row) for row in rows] for way, rows in saved[name].items()}
        for name in PROBLEMS
        if name in saved
    }
    verdicts = gates(results)
    print("\n".join(verdicts))
    head = (
        "# Coordinates by hand against fitted ones\n\n"
        "Medians over the seeds, with the range in brackets. JAX "
        f"{jax.__version__}, BlackJAX {blackjax.__version__}, "
        f"{jax.devices()[0].device_kind}, {platform.machine()}; by "
        "`benchmarks/learned_coordinates.py`, which says what is counted.\n\n"
        'Fits start from the centred coordinates. "Off" is the worst error of a mean, '
        "or of an sd, in Monte-Carlo standard errors, where the truth is known.\n\n"
        "## What was asked\n\n| | | |\n|---|---|---|\n"
    )
    missing = [name for name in PROBLEMS if name not in results]
    text = [f"\nNot measured: {', '.join(missing)}.\n"] if missing else []
    text.append(
        "\nOn the funnel the non-centred coordinates are exactly normal: no fit can "
        "better them, and what it costs is lost. On the large one what the same "
        "coordinates are worth varies by a third from seed to seed: the ways that are "
        f"compared there have {MANY_SEEDS} seeds. A flow is fitted to "
        "the small funnel alone; draws diverge in the coordinates that it finds.\n"
    )
    for name, rows in results.items():
        lines = "\n".join(line(*pair) for pair in rows.items())
        text.append(f"\n## {name}\n\n{HEADER}{lines}\n")
    DATA.with_suffix(".md").write_text(head + "\n".join(verdicts) + "\n" + "".join(text))


if __name__ == "__main__":
    main()
