"""Kepler's third law from the eight planets, as a tour of bijectree.

A power law is fitted to the planets' orbits: period = amplitude · axis^power, with a
relative scatter. With lengths in au and times in Earth's sidereal years, Kepler's law
says that the amplitude is 1 and the power 3/2.
"""

import argparse
import importlib.util
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from rich.console import Console
from rich.table import Table

import bijectree as bt
from bijectree import tfb, tfd

# Semimajor axis in 10^6 km and sidereal orbit period in days, from the orbital
# parameters in the eight planets' fact sheets of NASA's Space Science Data Coordinated
# Archive, nssdc.gsfc.nasa.gov/planetary/factsheet. (The archive's table of all planets
# gives tropical periods, up to 0.7 % shorter.) The planets pull at each other, which
# moves the axes of the outer ones by up to half a percent: that is the scatter.
PLANETS = {
    "Mercury": (57.909, 87.969),
    "Venus": (108.210, 224.701),
    "Earth": (149.598, 365.256),
    "Mars": (227.956, 686.980),
    "Jupiter": (778.479, 4332.589),
    "Saturn": (1432.041, 10755.699),
    "Uranus": (2867.043, 30685.400),
    "Neptune": (4514.953, 60189.018),
}
AU = 149.5978707  # in 10^6 km: IAU 2012 resolution B2
YEAR = 365.256  # Earth's sidereal period in days


class PowerLaw(eqx.Module):
    """y = amplitude · x^power."""

    amplitude: Float[Array, ""]
    power: Float[Array, ""]

    def __call__(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """The law at each of `x`."""
        return self.amplitude * x**self.power


class Orbits(eqx.Module):
    """A law for the period in years, and the relative scatter of the planets."""

    law: PowerLaw
    scatter: Float[Array, ""]


def log_likelihood(
    model: Orbits, axis: Float[Array, " n"], period: Float[Array, " n"]
) -> Float[Array, ""]:
    """Log-density of the logarithms of the periods."""
    expected = jnp.log(model.law(axis))
    return tfd.Normal(expected, model.scatter).log_prob(jnp.log(period)).sum()


def draw(
    posterior: bt.Posterior, start: Orbits, key: PRNGKeyArray, *data: Array
) -> bt.Draws:
    """Draws by NUTS where BlackJAX is installed, else from the normal approximation."""
    if importlib.util.find_spec("blackjax"):
        return bt.sample(posterior, key, *data, target_acceptance=0.9)
    print('\nNo BlackJAX here (pip install "bijectree[blackjax]"): Laplace\'s draws.')
    return bt.laplace(posterior, start, *data).sample(key, 4000)


COLUMNS = ("parameter", "mean", "std. dev.", "95 % interval", "truth")


def comparison(draws: Orbits) -> list[tuple[str, ...]]:
    """What was recovered beside what is true: a row of `COLUMNS` a parameter."""
    rows = []
    for name, values, truth in (
        ("law.power", draws.law.power, "1.5"),
        ("law.amplitude", draws.law.amplitude, "1"),
        ("scatter [%]", 100 * draws.scatter, ""),
    ):
        low, high = np.quantile(values, [0.025, 0.975])
        interval = f"{low:.5f} to {high:.5f}"
        mean, deviation = np.mean(values), np.std(values)
        rows.append((name, f"{mean:.5f}", f"{deviation:.5f}", interval, truth))
    return rows


def print_table(console: Console, title: str, rows: list[tuple[str, ...]]) -> None:
    """Print rows of `COLUMNS`; where they are too wide, one cell below the other."""
    table = Table(*COLUMNS, title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*row)
    wide = console.options.update(width=1000)
    if console.measure(table, options=wide).maximum > console.width:
        table = Table(title=title, show_header=False)
        for row in rows:
            for column, cell in zip(COLUMNS, row, strict=True):
                table.add_row(column, cell)
            table.add_section()
    console.print(table)


def plot(path: Path, axis: np.ndarray, period: np.ndarray, draws: Orbits) -> None:
    """Write a picture of data, fit and residuals to `path`."""
    from matplotlib.figure import Figure  # an optional dependency

    grid = np.geomspace(0.3, 60.0, 200)
    flat = jax.tree.map(lambda leaf: leaf.ravel()[::20], draws)
    median = np.median(jax.vmap(lambda law: law(grid))(flat.law), axis=0)
    at_planets = np.median(jax.vmap(lambda law: law(axis))(flat.law), axis=0)
    scatter = 100 * float(np.median(flat.scatter))

    figure = Figure(figsize=(7.0, 7.0), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    power = f"{np.mean(draws.law.power):.4f} ± {np.std(draws.law.power):.4f}"
    above.loglog(grid, median, label=f"fitted law, power {power}")
    above.loglog(axis, period, "o", label="planets (NASA fact sheets)")
    for name, x, y in zip(PLANETS, axis, period, strict=True):
        above.annotate(name, (x, y), (6, -10), textcoords="offset points")
    above.set_ylabel("sidereal period [yr]")
    above.set_title("Kepler's third law from eight planets")
    above.legend(frameon=False)
    below.axhspan(-scatter, scatter, alpha=0.2, label="fitted scatter (1 std. dev.)")
    below.axhline(0.0)
    below.semilogx(axis, 100 * (period / at_planets - 1), "o", color="C1")
    below.set_xlabel("semi-major axis [au]")
    below.set_ylabel("residual [%]")
    below.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=150)


def demonstrate(picture: Path | None) -> None:
    """Fit, sample, report, and draw where `picture` says."""
    console = Console()
    axis, period = np.array(list(PLANETS.values())).T / np.array([[AU], [YEAR]])

    start = Orbits(PowerLaw(jnp.array(3.0), jnp.array(1.0)), jnp.array(0.5))
    spec = bt.by_path(
        start,
        {
            "law.amplitude": tfb.Exp(),  # any TFP bijector
            "scatter": bt.positive(),  # or one of bijectree's constraints
        },  # law.power has no rule: it may be any real number
    )
    reparam = bt.Reparam(start, spec)
    report = bt.check(reparam, start)
    print(
        "Kepler's third law from the orbits of the eight planets: period = amplitude · "
        "axis^power,\nin years and au, with a relative scatter.\n",
        "The spec beside the model, each bijector checked against autodiff:\n",
        report,
        "\nWhat each leaf is, and where the fit starts:\n",
        bt.summary(reparam, start),
        sep="\n",
    )
    report.raise_if_failed()

    prior = bt.by_path(
        start,
        {
            "law.amplitude": tfd.LogNormal(jnp.array(0.0), jnp.array(1.0)),
            "law.power": tfd.Normal(jnp.array(0.0), jnp.array(3.0)),
            "scatter": tfd.HalfNormal(jnp.array(1.0)),
        },
    )
    posterior = bt.Posterior(reparam, log_likelihood, prior=prior)

    # Without the Jacobian: the most probable model, whatever the bijectors.
    mode = bt.find_map(posterior, start, axis, period)
    print("\nThe most probable model:\n", mode, sep="\n")
    # With it: what a sampler needs. In 1619 Kepler published the law.
    draws = draw(posterior, mode.model, jax.random.key(1619), axis, period)
    print("\nDraws from the posterior:\n", draws, "", sep="\n")
    print_table(console, "Recovered from the planets", comparison(draws.models))
    if picture is not None:
        plot(picture, axis, period, draws.models)
        print(f"Data, fit and residuals: {picture}")


def main(arguments: list[str] | None = None) -> None:
    """The command line of `python -m bijectree`."""
    parser = argparse.ArgumentParser(
        prog="python -m bijectree",
        description="Recover Kepler's third law from the orbits of the eight planets.",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(),
        metavar="PATH",
        help="the picture, if it ends in .png, .pdf or .svg, else the folder for "
        "kepler.png (default: the current one)",
    )
    parser.add_argument(
        "--no-plot", action="store_true", help="print only; needs no matplotlib"
    )
    options = parser.parse_args(arguments)
    picture = options.output
    if picture.suffix.lower() not in (".png", ".pdf", ".svg"):
        picture = picture / "kepler.png"
    if options.no_plot:
        picture = None
    else:
        # Both faults would else show only after the work is done.
        try:
            import matplotlib.figure  # noqa: F401
        except ImportError:
            sys.exit('matplotlib is missing: pip install "bijectree[plot]" or --no-plot')
        try:
            picture.parent.mkdir(parents=True, exist_ok=True)
            new = not picture.exists()
            picture.open("ab").close()  # Nothing that is there is lost.
            if new:
                picture.unlink()
        except OSError as error:
            sys.exit(f"cannot write to {picture}: {error.strerror}")
    with jax.enable_x64(True):
        demonstrate(picture)


if __name__ == "__main__":
    main()
