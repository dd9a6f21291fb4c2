"""Posteriors that differ in what they ask of a map: what `maps.py` runs on.

Each has one density, and a spec for each map of a set; the default is the first.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special, stats

import bijectree as bt
from bijectree import tfb, tfd

Truth = Sequence[tuple[float, float]]


def _entries(model: Any) -> jax.Array:
    return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(model)])


@dataclasses.dataclass(frozen=True)
class Problem:
    """A posterior, with the maps that it may be sampled through.

    Attributes:
        of: the set of the leaf in question.
        model: of the shapes and dtypes of its leaves.
        maps: specs by the name of the map; the default first.
        prior: distributions by path, or a function of the model.
        log_likelihood: of the model, or `None`.
        entries: the numbers of a model whose effective sample sizes are asked for.
        functions: numbers of a model whose means are known.
        truth: those means, each with its sd.
        seeds: how many at most, where a run is dear.
    """

    of: str
    model: Any
    maps: dict[str, Any]
    prior: Any
    log_likelihood: Callable[[Any], jax.Array] | None = None
    entries: Callable[[Any], jax.Array] = _entries
    functions: Callable[[Any], jax.Array] | None = None
    truth: Truth = ()
    seeds: int = 10

    def posterior(self, name: str) -> bt.Posterior:
        """The posterior through one of its maps."""
        reparam = bt.Reparam(self.model, self.maps[name])
        return bt.Posterior(reparam, self.log_likelihood, prior=self.prior)


def moments(log_density: Any, value: Any) -> tuple[float, float]:
    """Mean and sd of values on an even grid, given log-densities there."""
    p = np.exp(log_density - np.max(log_density))
    p /= p.sum()
    mean = float((p * value).sum())
    return mean, float(np.sqrt((p * (value - mean) ** 2).sum()))


def _log_gamma(a: float, rate: float = 1.0) -> tuple[float, float]:
    """Mean and sd of the logarithm of a gamma variable."""
    return special.digamma(a) - np.log(rate), float(np.sqrt(special.polygamma(1, a)))


# Half lines. Their known functions are logarithms.


def half_line(
    prior: Any, scale: Any, truth: Truth, shape: tuple[int, ...] = (), **rest: Any
) -> Problem:
    """One leaf of positive numbers; `scale` is where the softplus is to bend."""
    maps = {
        "exp": {"x": bt.positive()},
        "softplus": {"x": bt.positive(via="softplus")},
    }
    if scale != 1.0:  # that is where it bends without one
        maps["softplus, knee"] = {"x": bt.positive(via="softplus", scale=scale)}
    return Problem(
        "half line",
        {"x": jnp.full(shape, 1.0)},
        maps,
        {"x": prior},
        functions=lambda m: jnp.log(m["x"]).ravel(),
        truth=truth,
        **rest,
    )


def half_student() -> Problem:
    """The positive half of Student's t with three degrees of freedom."""
    mean = (special.digamma(0.5) - special.digamma(1.5) + np.log(3)) / 2
    sd = np.sqrt(special.polygamma(1, 0.5) + special.polygamma(1, 1.5)) / 2
    return half_line(tfd.HalfStudentT(3.0, 0.0, 1.0), 1.0, [(mean, sd)])


def half_normal() -> Problem:
    """The positive half of a standard normal density."""
    mean = (special.digamma(0.5) + np.log(2)) / 2
    sd = np.sqrt(special.polygamma(1, 0.5)) / 2
    return half_line(tfd.HalfNormal(1.0), 1.0, [(mean, sd)])


def known_scale() -> Problem:
    """The scale of 400 normal numbers."""
    n, square = 400, 9.0

    def log_likelihood(m: Any) -> jax.Array:
        return -n * jnp.log(m["x"]) - 0.5 * n * square / m["x"] ** 2

    y = np.linspace(0.0, 2.5, 20_001)
    x = np.exp(y)
    log_p = y - 0.5 * x**2 - n * y - 0.5 * n * square / x**2
    truth = [moments(log_p, y)]
    prior = tfd.HalfNormal(1.0)
    return half_line(prior, 3.0, truth, log_likelihood=log_likelihood)


def heavy_and_poles() -> Problem:
    """A half-Cauchy scale and ten gamma variables with a pole, at once."""
    model = {"tail": jnp.ones(()), "pole": jnp.ones(10)}
    maps = {
        "exp": bt.positive(),
        "softplus": bt.positive(via="softplus"),
        "softplus, knee": {
            "tail": bt.positive(via="softplus", scale=1.0),
            "pole": bt.positive(via="softplus", scale=0.2),
        },
        "exp and knee": {
            "tail": bt.positive(),
            "pole": bt.positive(via="softplus", scale=0.2),
        },
    }
    return Problem(
        "half line",
        model,
        maps,
        {"tail": tfd.HalfCauchy(0.0, 1.0), "pole": tfd.Gamma(0.2, 1.0)},
        functions=lambda m: jnp.append(jnp.log(m["pole"]), jnp.log(m["tail"])),
        truth=[*[_log_gamma(0.2)] * 10, (0.0, np.pi / 2)],
    )


def schools() -> Problem:
    """Eight schools, non-centred, with a half-Cauchy scale."""
    y = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    error = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
    mu, log_tau = np.meshgrid(np.linspace(-30, 30, 601), np.linspace(-14, 6, 1001))
    tau = np.exp(log_tau)
    log_p = stats.norm.logpdf(mu, 0, 5) + stats.halfcauchy.logpdf(tau, 0, 5) + log_tau
    for one, e in zip(y, error, strict=True):
        log_p += stats.norm.logpdf(one, mu, np.hypot(tau, e))

    def log_likelihood(m: Any) -> jax.Array:
        theta = m["mu"] + m["tau"] * m["z"]
        return tfd.Normal(theta, jnp.asarray(error)).log_prob(y).sum()

    def maps(tau: Any) -> Any:
        return {"mu": None, "tau": tau, "z": None}

    return Problem(
        "half line",
        {"mu": jnp.zeros(()), "tau": jnp.ones(()), "z": jnp.zeros(8)},
        {
            "exp": maps(bt.positive()),
            "softplus": maps(bt.positive(via="softplus")),
            "softplus, knee": maps(bt.positive(via="softplus", scale=3.0)),
        },
        {
            "mu": tfd.Normal(0.0, 5.0),
            "tau": tfd.HalfCauchy(0.0, 5.0),
            "z": tfd.Normal(0.0, 1.0),
        },
        log_likelihood,
        functions=lambda m: jnp.stack([m["mu"], jnp.log(m["tau"])]),
        truth=[moments(log_p, mu), moments(log_p, log_tau)],
    )


# Intervals.


def interval(
    prior: Any,
    truth: Truth,
    bounds: tuple[float, float] = (0.0, 1.0),
    shape: tuple[int, ...] = (),
    **rest: Any,
) -> Problem:
    """One leaf of numbers between two bounds."""
    maps = {
        "logistic": {"x": bt.interval(*bounds)},
        "normal_cdf": {"x": bt.interval(*bounds, via="normal_cdf")},
    }
    return Problem(
        "interval",
        {"x": jnp.full(shape, bounds[0] + 0.5 * (bounds[1] - bounds[0]))},
        maps,
        {"x": prior},
        functions=lambda m: m["x"].ravel(),
        truth=truth,
        **rest,
    )


def beta(a: float, b: float) -> Problem:
    """A beta density."""
    law = stats.beta(a, b)
    return interval(tfd.Beta(a, b), [(float(law.mean()), float(law.std()))])


def near_unit_root() -> Problem:
    """The coefficient of a series that nearly wanders, uniform on (−1, 1)."""
    rng = np.random.default_rng(4)
    y = [0.0]
    for _ in range(300):
        y.append(0.99 * y[-1] + rng.normal())
    past, now = np.array(y[:-1]), np.array(y[1:])
    square, product = float(past @ past), float(past @ now)

    def log_likelihood(m: Any) -> jax.Array:
        return m["x"] * product - 0.5 * m["x"] ** 2 * square

    x = np.linspace(-1, 1, 400_002)[1:-1]
    truth = [moments(x * product - 0.5 * x**2 * square, x)]
    prior = tfd.Uniform(-1.0, 1.0)
    return interval(prior, truth, (-1.0, 1.0), log_likelihood=log_likelihood)


def wide_uniform() -> Problem:
    """A scale of 3 from ten numbers, uniform on (0, 1000)."""
    n, square = 10, 9.0

    def log_likelihood(m: Any) -> jax.Array:
        return -n * jnp.log(m["x"]) - 0.5 * n * square / m["x"] ** 2

    x = np.linspace(0, 1000, 2_000_001)[1:]
    truth = [moments(-n * np.log(x) - 0.5 * n * square / x**2, x)]
    prior = tfd.Uniform(0.0, 1000.0)
    return interval(prior, truth, (0.0, 1000.0), log_likelihood=log_likelihood)


# Simplexes. Their known functions are the logarithms of the parts.


def simplex(
    concentration: Sequence[float], *, orders: bool = False, **rest: Any
) -> Problem:
    """A Dirichlet density."""
    a = np.asarray(concentration, float)
    size = len(a)
    maps = {
        "ilr": bt.simplex(),
        "stick_breaking": bt.simplex(via="stick_breaking"),
        "additive_log_ratio": bt.simplex(via="additive_log_ratio"),
    }
    if orders:
        turned = tuple(range(size))[::-1]
        maps |= {
            "ilr, turned": bt.simplex(order=turned),
            "stick_breaking, turned": bt.simplex(via="stick_breaking", order=turned),
            "additive_log_ratio, turned": bt.simplex(
                via="additive_log_ratio", order=turned
            ),
        }
    mean = special.digamma(a) - special.digamma(a.sum())
    sd = np.sqrt(special.polygamma(1, a) - special.polygamma(1, a.sum()))
    return Problem(
        "simplex",
        {"x": jnp.full(size, 1 / size)},
        {name: {"x": bijector} for name, bijector in maps.items()},
        {"x": tfd.Dirichlet(jnp.asarray(a))},
        functions=lambda m: jnp.log(m["x"]),
        truth=list(zip(mean, sd, strict=True)),
        **rest,
    )


def weights() -> Problem:
    """The weights of five known normal densities that overlap: no Dirichlet density."""
    rng = np.random.default_rng(8)
    centre, weight = np.arange(5.0), [0.35, 0.05, 0.3, 0.2, 0.1]
    y = rng.normal(rng.choice(centre, 300, p=weight))
    each = jnp.asarray(stats.norm.logpdf(y[:, None], centre))

    def log_likelihood(m: Any) -> jax.Array:
        return jax.nn.logsumexp(each + jnp.log(m["x"]), axis=1).sum()

    dirichlet = simplex([1.0] * 5)
    return dataclasses.replace(
        dirichlet, log_likelihood=log_likelihood, functions=None, truth=()
    )


# Increasing vectors. Known are the means of the cdf at order statistics.


def order_statistics(
    law: Any, size: int, start: Any, *, positive: bool = False
) -> Problem:
    """The order statistics of independent numbers."""
    make = bt.positive_ordered_vector if positive else bt.ordered_vector
    i = np.arange(1, size + 1)
    mean = i / (size + 1)
    sd = np.sqrt(mean * (1 - mean) / (size + 2))
    return Problem(
        "increasing",
        {"x": jnp.asarray(start)},
        {"exp": {"x": make()}, "softplus": {"x": make(via="softplus")}},
        lambda m: law.log_prob(m["x"]).sum(),
        functions=lambda m: law.cdf(m["x"]),
        truth=list(zip(mean, sd, strict=True)),
    )


def ordinal(n: int, cuts: Sequence[float], seed: int) -> Problem:
    """An ordinal regression: a slope and the cut points of its categories."""
    rng = np.random.default_rng(seed)
    levels = np.linspace(-1.5, 1.5, 7)
    x = rng.choice(7, n)
    answer = np.searchsorted(cuts, 1.2 * levels[x] + rng.logistic(size=n))
    count = np.zeros((7, len(cuts) + 1))
    np.add.at(count, (x, answer), 1)

    def log_likelihood(m: Any) -> jax.Array:
        cut = m["cuts"] - m["slope"] * levels[:, None]
        # σ(b) − σ(a) = σ(b) σ(−a) (1 − exp(a − b))
        between = jnp.log(-jnp.expm1(-jnp.diff(m["cuts"])))
        below = jnp.pad(jax.nn.log_sigmoid(cut), ((0, 0), (0, 1)))
        above = jnp.pad(jax.nn.log_sigmoid(-cut), ((0, 0), (1, 0)))
        return jnp.sum(count * (below + above + jnp.pad(between, 1)))

    def log_prior(m: Any) -> jax.Array:
        wide = tfd.Normal(0.0, 5.0).log_prob(m["cuts"]).sum()
        return wide + tfd.Normal(0.0, 2.0).log_prob(m["slope"])

    start = jnp.linspace(-1.0, 1.0, len(cuts))
    maps = {"exp": bt.ordered_vector(), "softplus": bt.ordered_vector(via="softplus")}
    return Problem(
        "increasing",
        {"cuts": start, "slope": jnp.zeros(())},
        {name: {"cuts": b, "slope": None} for name, b in maps.items()},
        log_prior,
        log_likelihood,
    )


# Factors of correlations. Known are means of entries of the matrix, and of their squares.


def _correlations(extra: Any = None) -> dict[str, Any]:
    maps = {
        "tanh": bt.corr_cholesky(),
        "spherical": bt.corr_cholesky(via="spherical"),
        "TFP": tfb.CorrelationCholesky(),
    }
    return {
        name: {"corr": b} if extra is None else {"corr": b, "scale": extra}
        for name, b in maps.items()
    }


def _below(model: Any) -> jax.Array:
    """The entries of the factor, but for the first, and the scales if there are any."""
    factor = model["corr"]
    rows, columns = np.tril_indices(factor.shape[-1])
    found = factor[rows[1:], columns[1:]]
    return jnp.append(found, model["scale"]) if "scale" in model else found


def lkj(size: int, eta: float, seeds: int = 10) -> Problem:
    """The density of Lewandowski, Kurowicka and Joe."""

    def functions(m: Any) -> jax.Array:
        factor = m["corr"]
        ends = jnp.stack([factor[1] @ factor[0], factor[-1] @ factor[-2]])
        return jnp.append(ends, ends**2)

    # An entry is 2b − 1, b of a symmetric beta density.
    a = eta - 1 + size / 2
    square = 1 / (2 * a + 1)
    fourth = 3 / ((2 * a + 1) * (2 * a + 3))
    own, of_square = (0.0, np.sqrt(square)), (square, np.sqrt(fourth - square**2))
    return Problem(
        "correlation",
        {"corr": jnp.eye(size)},
        _correlations(),
        {"corr": tfd.CholeskyLKJ(size, eta)},
        entries=_below,
        functions=functions,
        truth=[own, own, of_square, of_square],
        seeds=seeds,
    )


def covariance(size: int, n: int, correlation: float, seed: int) -> Problem:
    """Scales and correlations of normal rows whose entries are all as correlated."""
    rng = np.random.default_rng(seed)
    root = np.linalg.cholesky(
        (1 - correlation) * np.eye(size) + correlation * np.ones((size, size))
    )
    y = jnp.asarray(rng.normal(size=(n, size)) @ root.T)

    def log_likelihood(m: Any) -> jax.Array:
        factor = m["scale"][:, None] * m["corr"]
        return tfd.MultivariateNormalTriL(jnp.zeros(size), factor).log_prob(y).sum()

    return Problem(
        "correlation",
        {"corr": jnp.eye(size), "scale": jnp.ones(size)},
        _correlations(bt.positive()),
        {"corr": tfd.CholeskyLKJ(size, 2.0), "scale": tfd.HalfCauchy(0.0, 2.5)},
        log_likelihood,
        entries=_below,
    )


COUNTS = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000)

PROBLEMS: dict[str, Callable[[], Problem]] = {
    "HalfNormal(1)": half_normal,
    "HalfStudentT(3)": half_student,
    "HalfCauchy(1)": lambda: half_line(tfd.HalfCauchy(0.0, 1.0), 1.0, [(0.0, np.pi / 2)]),
    "Gamma(0.2, 1)": lambda: half_line(tfd.Gamma(0.2, 1.0), 0.2, [_log_gamma(0.2)]),
    "LogNormal(5, 0.3)": lambda: half_line(tfd.LogNormal(5.0, 0.3), 148.0, [(5.0, 0.3)]),
    "ten Gamma(3, 0.001)": lambda: half_line(
        tfd.Gamma(3.0, 0.001), 3000.0, [_log_gamma(3.0, 0.001)] * 10, (10,)
    ),
    "scale of 400 numbers": known_scale,
    "eight schools, non-centred": schools,
    "HalfCauchy(1) and ten Gamma(0.2, 1)": heavy_and_poles,
    "Uniform(0, 1)": lambda: interval(tfd.Uniform(0.0, 1.0), [(0.5, 12**-0.5)]),
    "ten Uniform(0, 1)": lambda: interval(
        tfd.Uniform(0.0, 1.0), [(0.5, 12**-0.5)] * 10, shape=(10,)
    ),
    "Beta(0.3, 0.3)": lambda: beta(0.3, 0.3),
    "Beta(0.5, 20.5)": lambda: beta(0.5, 20.5),
    "Beta(2, 50)": lambda: beta(2.0, 50.0),
    "Beta(2, 5000)": lambda: beta(2.0, 5000.0),
    "Beta(300, 700)": lambda: beta(300.0, 700.0),
    "coefficient near 1, on (−1, 1)": near_unit_root,
    "scale of ten numbers, on (0, 1000)": wide_uniform,
    "iid Normal(0, 1), K = 5": lambda: order_statistics(
        tfd.Normal(0.0, 1.0), 5, np.linspace(-1, 1, 5)
    ),
    "iid Normal(0, 1), K = 30": lambda: order_statistics(
        tfd.Normal(0.0, 1.0), 30, np.linspace(-2, 2, 30)
    ),
    "iid Normal(0, 1000), K = 5": lambda: order_statistics(
        tfd.Normal(0.0, 1000.0), 5, np.linspace(-1000, 1000, 5)
    ),
    "iid StudentT(2), K = 5": lambda: order_statistics(
        tfd.StudentT(*np.array([2.0, 0.0, 1.0])), 5, np.linspace(-1, 1, 5)
    ),
    "iid Exponential(1), K = 10, positive": lambda: order_statistics(
        tfd.Exponential(1.0), 10, np.linspace(0.1, 2, 10), positive=True
    ),
    "cut points, 5 of 200 answers": lambda: ordinal(200, (-2.0, -1.0, 0.0, 1.0, 2.0), 1),
    "cut points, 4 of 5000 answers": lambda: ordinal(5000, (-2.0, 0.0, 1.0, 4.0), 2),
    "cut points, 6 of 40 answers": lambda: ordinal(
        40, (-3.0, -2.8, -0.1, 0.0, 2.0, 2.2), 3
    ),
    "Dirichlet(1), K = 3": lambda: simplex([1.0] * 3),
    "Dirichlet(1), K = 10": lambda: simplex([1.0] * 10),
    "Dirichlet(0.2), K = 10": lambda: simplex([0.2] * 10),
    "Dirichlet(100), K = 10": lambda: simplex([100.0] * 10),
    "one part of 1000, nine of 0.5": lambda: simplex([1000.0, *[0.5] * 9]),
    "weights of 5 densities, 300 numbers": weights,
    "rising 1, 3, …, 30,000": lambda: simplex(COUNTS, orders=True),
    "falling 30,000, …, 3, 1": lambda: simplex(COUNTS[::-1]),
    "LKJ(1), K = 3": lambda: lkj(3, 1.0),
    "LKJ(0.3), K = 5": lambda: lkj(5, 0.3),
    "LKJ(1), K = 10": lambda: lkj(10, 1.0, seeds=6),
    "LKJ(30), K = 10": lambda: lkj(10, 30.0, seeds=6),
    "covariance of 80 rows, K = 5": lambda: covariance(5, 80, 0.3, 5),
    "covariance of 80 rows, K = 5, correlated by 0.98": lambda: covariance(
        5, 80, 0.98, 6
    ),
    # The dear ones, last.
    "Dirichlet(1), K = 100": lambda: simplex([1.0] * 100, seeds=4),
    "Dirichlet(0.2), K = 100": lambda: simplex([0.2] * 100, seeds=4),
    "LKJ(30), K = 30": lambda: lkj(30, 30.0, seeds=2),
    "LKJ(1), K = 30": lambda: lkj(30, 1.0, seeds=2),
}
