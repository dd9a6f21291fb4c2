"""Models in the manner of NumPyro's examples, on data made from a seed."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.special as jss
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.experimental.ode import odeint
from numpyro import handlers
from numpyro.contrib.control_flow import scan
from numpyro.infer.reparam import LocScaleReparam, TransformReparam

_RANDOM = np.random.default_rng(3)


def _normal(*shape: int) -> np.ndarray:
    return _RANDOM.normal(size=shape)


def _counts(rate: float, *shape: int) -> np.ndarray:
    return _RANDOM.poisson(rate, shape)


def eight_schools(sigma, y):
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfCauchy(5))
    with numpyro.plate("schools", len(sigma)):
        theta = numpyro.sample("theta", dist.Normal(mu, tau))
        numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


def eight_schools_of_standard_effects(sigma, y):
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfCauchy(5))
    with numpyro.plate("schools", len(sigma)):
        config = {
            "theta": TransformReparam()
        }  # within the model: the sites are those that it leaves
        with handlers.reparam(config=config):
            affine = dist.transforms.AffineTransform(mu, tau)
            normal = dist.TransformedDistribution(dist.Normal(0.0, 1.0), affine)
            theta = numpyro.sample("theta", normal)
        numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


def batting(at_bats, hits):
    share = numpyro.sample("share", dist.Uniform(0, 1))
    log_size = numpyro.sample("log_size", dist.Exponential(1.5))
    size = jnp.exp(log_size)
    with numpyro.plate("players", at_bats.shape[0]):
        phi = numpyro.sample("phi", dist.Beta(share * size, (1 - share) * size))
        numpyro.sample("hits", dist.Binomial(at_bats, probs=phi), obs=hits)


def network(x, y, width):
    first = numpyro.sample("first", dist.Normal(jnp.zeros((x.shape[1], width)), 1.0))
    second = numpyro.sample("second", dist.Normal(jnp.zeros((width, width)), 1.0))
    last = numpyro.sample("last", dist.Normal(jnp.zeros((width, 1)), 1.0))
    hidden = jnp.tanh(jnp.tanh(x @ first) @ second)
    precision = numpyro.sample("precision", dist.Gamma(3.0, 1.0))
    with numpyro.plate("data", x.shape[0]):
        mean, scale = hidden @ last, 1 / jnp.sqrt(precision)
        numpyro.sample("y", dist.Normal(mean, scale).to_event(1), obs=y)


def hidden_markov(words, states, symbols):
    with numpyro.plate("states", states):
        moves = numpyro.sample("moves", dist.Dirichlet(jnp.ones(states)))
        emits = numpyro.sample("emits", dist.Dirichlet(jnp.full(symbols, 0.8)))

    def step(log_alpha, word):
        log_alpha = jss.logsumexp(log_alpha[:, None] + jnp.log(moves), axis=0)
        return log_alpha + jnp.log(emits[:, word]), None

    first = jnp.log(emits[:, words[0]]) - jnp.log(states)
    last, _ = jax.lax.scan(step, first, words[1:])
    numpyro.factor("forward", jss.logsumexp(last))


def logistic(x, labels):
    coefficients = numpyro.sample(
        "coefficients", dist.Normal(jnp.zeros(x.shape[1]), jnp.ones(x.shape[1]))
    )
    numpyro.sample("labels", dist.Bernoulli(logits=x @ coefficients), obs=labels)


def stochastic_volatility(returns):
    step = numpyro.sample("step", dist.Exponential(50.0))
    walk = numpyro.sample(
        "walk", dist.GaussianRandomWalk(scale=step, num_steps=returns.shape[0])
    )
    df = numpyro.sample("df", dist.Exponential(0.1))
    numpyro.sample("returns", dist.StudentT(df, 0.0, jnp.exp(walk)), obs=returns)


def gaussian_process(x, y):
    variance = numpyro.sample("variance", dist.LogNormal(0.0, 10.0))
    noise = numpyro.sample("noise", dist.LogNormal(0.0, 10.0))
    length = numpyro.sample("length", dist.LogNormal(0.0, 10.0))
    gaps = (x[:, None] - x[None]) / length
    kernel = variance * jnp.exp(-0.5 * gaps**2) + (noise + 1e-6) * jnp.eye(x.shape[0])
    mean = jnp.zeros(x.shape[0])
    numpyro.sample("y", dist.MultivariateNormal(mean, kernel), obs=y)


def horseshoe(x, y):
    local = numpyro.sample("local", dist.HalfCauchy(jnp.ones(x.shape[1])))
    overall = numpyro.sample("overall", dist.HalfCauchy(jnp.ones(1)))
    raw = numpyro.sample("raw", dist.Normal(jnp.zeros(x.shape[1]), 1.0))
    betas = numpyro.deterministic("betas", overall * local * raw)
    precision = numpyro.sample("precision", dist.Gamma(3.0, 1.0))
    numpyro.sample("y", dist.Normal(x @ betas, 1 / jnp.sqrt(precision)), obs=y)


def funnel(size):
    y = numpyro.sample("y", dist.Normal(0, 3))
    numpyro.sample("x", dist.Normal(jnp.zeros(size), jnp.exp(y / 2)))


def ordinal(x, levels, count):
    slope = numpyro.sample("slope", dist.Normal(0, 1))
    spread = dist.ImproperUniform(dist.constraints.ordered_vector, (), (count - 1,))
    cuts = numpyro.sample("cuts", spread)
    numpyro.factor("cuts_prior", dist.Normal(0, 2).log_prob(cuts).sum())
    numpyro.sample("levels", dist.OrderedLogistic(slope * x, cuts), obs=levels)


def correlated(y):
    size = y.shape[1]
    scales = numpyro.sample("scales", dist.HalfCauchy(jnp.ones(size)))
    factor = numpyro.sample("factor", dist.LKJCholesky(size, concentration=1.5))
    mean = numpyro.sample("mean", dist.Normal(0, 1).expand([size]).to_event(1))
    tril = scales[:, None] * factor
    with numpyro.plate("data", y.shape[0]):
        numpyro.sample("y", dist.MultivariateNormal(mean, scale_tril=tril), obs=y)


def zero_inflated(x, counts):
    with numpyro.plate("features", x.shape[1], dim=-1):
        betas = numpyro.sample("betas", dist.Normal(0, 1))
        gates = numpyro.sample("gates", dist.Normal(0, 0.5))
    rate, gate = jnp.exp(x @ betas), jax.nn.sigmoid(x @ gates)
    with numpyro.plate("data", x.shape[0]):
        numpyro.sample("counts", dist.ZeroInflatedPoisson(gate, rate=rate), obs=counts)


def mixture(y, parts):
    weights = numpyro.sample("weights", dist.Dirichlet(jnp.full(parts, 2.0)))
    ordered = dist.transforms.OrderedTransform()
    normal = dist.Normal(0, 3).expand([parts]).to_event(1)
    means = numpyro.sample("means", dist.TransformedDistribution(normal, ordered))
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    mixed = dist.MixtureSameFamily(
        dist.Categorical(probs=weights), dist.Normal(means, scale)
    )
    with numpyro.plate("data", y.shape[0]):
        numpyro.sample("y", mixed, obs=y)


def autoregression(y):
    first = numpyro.sample("first", dist.Normal(0, 1))
    second = numpyro.sample("second", dist.Normal(0, 1))
    const = numpyro.sample("const", dist.Normal(0, 1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))

    def step(carry, _):
        before, last = carry
        mean = const + first * last + second * before
        now = numpyro.sample("y", dist.Normal(mean, sigma))
        return (last, now), None

    steps = jnp.arange(y.shape[0] - 2)
    with handlers.condition(data={"y": jnp.asarray(y)[2:]}):
        scan(step, (y[0], y[1]), steps)


def topics(words, documents, count, vocabulary, topic_count):
    with numpyro.plate("topics", topic_count):
        emits = numpyro.sample("emits", dist.Dirichlet(jnp.full(vocabulary, 0.5)))
    with numpyro.plate("documents", count):
        shares = numpyro.sample("shares", dist.Dirichlet(jnp.full(topic_count, 0.7)))
    probabilities = (shares @ emits)[documents]
    with numpyro.plate("positions", words.shape[0]):
        numpyro.sample("words", dist.Categorical(probabilities), obs=words)


def seasonal(y, period):
    level_scale = numpyro.sample("level_scale", dist.HalfCauchy(0.1))
    season_scale = numpyro.sample("season_scale", dist.HalfCauchy(0.3))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    start = numpyro.sample("start", dist.Normal(0, 1))
    seasons = numpyro.sample("seasons", dist.ZeroSumNormal(1.0, (period,)))

    def step(carry, value):
        level, season = carry
        level = numpyro.sample("level", dist.Normal(level, level_scale))
        now = numpyro.sample("season", dist.Normal(season[0], season_scale))
        numpyro.sample("y", dist.StudentT(5.0, level + now, sigma), obs=value)
        return (level, jnp.concatenate([season[1:], now[None]])), None

    scan(step, (start, seasons), y)


def admissions(department, male, applications, admitted):
    mean = numpyro.sample("mean", dist.Normal(0, 1))
    spread = numpyro.sample("spread", dist.HalfCauchy(1))
    slope = numpyro.sample("slope", dist.Normal(0, 1))
    with numpyro.plate("departments", 6):
        own = numpyro.sample("own", dist.Normal(mean, spread))
    logits = own[department] + slope * male
    numpyro.sample("admitted", dist.Binomial(applications, logits=logits), obs=admitted)


def lotka_volterra(times, y):
    start = numpyro.sample("start", dist.LogNormal(jnp.log(10.0), jnp.ones(2)))
    rates = numpyro.sample(
        "rates",
        dist.TruncatedNormal(
            low=0.0,
            loc=jnp.array([1.0, 0.05, 1.0, 0.05]),
            scale=jnp.array([0.2, 0.01, 0.2, 0.01]),
        ),
    )

    def slope(state, _, a, b, c, d):
        prey, predators = state
        return jnp.stack([(a - b * predators) * prey, (d * prey - c) * predators])

    found = odeint(slope, start, times, *rates, rtol=1e-7, atol=1e-6)
    sigma = numpyro.sample("sigma", dist.LogNormal(-1, jnp.ones(2)))
    numpyro.sample("y", dist.LogNormal(jnp.log(found), sigma), obs=y)


def recapture(seen):
    """Animals that were seen on some occasions; whether one is alive is summed out."""
    survives = numpyro.sample("survives", dist.Uniform(0, 1))
    shown = numpyro.sample("shown", dist.Beta(2, 2).expand([seen.shape[1] - 1]))

    def unseen_after(later, probability):
        now = 1 - survives + survives * (1 - probability) * later
        return now, now

    _, found = jax.lax.scan(unseen_after, 1.0, shown, reverse=True)
    never = jnp.append(found, 1.0)
    columns = jnp.arange(seen.shape[1])
    first = jnp.argmax(seen, axis=1)
    last = seen.shape[1] - 1 - jnp.argmax(seen[:, ::-1], axis=1)
    between = (columns[1:] > first[:, None]) & (columns[1:] <= last[:, None])
    each = jnp.where(seen[:, 1:] == 1, jnp.log(shown), jnp.log1p(-shown))
    terms = jnp.where(between, each + jnp.log(survives), 0.0).sum(axis=1)
    with numpyro.plate("animals", seen.shape[0]):
        numpyro.factor("histories", terms + jnp.log(never[last]))


def item_response(pupil, item, right, pupils, items):
    spread = numpyro.sample("spread", dist.LogNormal(0, 1))
    with numpyro.plate("pupils", pupils):
        ability = numpyro.sample("ability", dist.Normal(0, 1))
    with numpyro.plate("items", items):
        difficulty = numpyro.sample("difficulty", dist.Normal(0, spread))
        sharpness = numpyro.sample("sharpness", dist.LogNormal(0, 0.5))
    logits = sharpness[item] * (ability[pupil] - difficulty[item])
    with numpyro.plate("answers", right.shape[0]):
        numpyro.sample("right", dist.Bernoulli(logits=logits), obs=right)


def shells(radius, width):
    x = numpyro.sample("x", dist.Uniform(-6, 6).expand([2]).to_event(1))
    centres = jnp.array([[-3.0, 0.0], [3.0, 0.0]])
    gaps = (jnp.linalg.norm(x - centres, axis=1) - radius) / width
    numpyro.factor("shells", jss.logsumexp(-0.5 * gaps**2))


def between(y):
    """Bounds that other sites set, and a support in the middle of a chain of them."""
    top = numpyro.sample("top", dist.Gamma(5.0, 1.0))
    low = numpyro.sample("low", dist.Uniform(0.0, top))
    rate = numpyro.sample("rate", dist.TruncatedNormal(1.0, 2.0, low=low, high=top))
    cut = numpyro.sample("cut", dist.Pareto(rate, 3.0))
    numpyro.sample("y", dist.Normal(cut, top), obs=y)


def of_missing_values(x, y):
    """Missing entries of `x`, where it is NaN, are a site of their own."""
    missing = np.isnan(x)
    mean = numpyro.sample("mean", dist.Normal(0, 1))
    scale = numpyro.sample("scale", dist.HalfNormal(1))
    count = int(missing.sum())
    imputed = numpyro.sample("imputed", dist.Normal(mean, scale).expand([count]))
    full = jnp.asarray(np.nan_to_num(x)).at[np.nonzero(missing)].set(imputed)
    with handlers.mask(mask=~missing):
        numpyro.sample("x", dist.Normal(mean, scale), obs=np.nan_to_num(x))
    slope = numpyro.sample("slope", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(slope * full, 1.0), obs=y)


def scoped(y):
    """Sites with a stroke or a dot in their names, of which one half is scaled."""

    def part(y):
        loc = numpyro.sample("loc", dist.Normal(0.0, 2.0))
        scale = numpyro.sample("log.scale", dist.Normal(loc, 1.0))
        numpyro.sample("y", dist.Normal(loc, jnp.exp(scale)), obs=y)

    handlers.scope(part, prefix="left")(y[0])
    handlers.scale(handlers.scope(part, prefix="right", divider="."), scale=0.25)(y[1])


def reparameterised(sigma, y):
    """Eight schools, wrapped in a reparameterisation."""
    model = handlers.reparam(eight_schools, config={"theta": LocScaleReparam(0)})
    return model(sigma, y)


_TIMES = np.linspace(0.0, 5.0, 6)
_WORDS = _RANDOM.integers(0, 6, 25)
_X = _normal(20, 3)
_SCHOOLS = (_RANDOM.uniform(8, 18, 8), 10 * _normal(8))
_GAPPY = np.where(_RANDOM.random(15) < 0.3, np.nan, _normal(15))

ZOO: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "eight schools": (eight_schools, _SCHOOLS),
    "eight schools, standard": (eight_schools_of_standard_effects, _SCHOOLS),
    "batting": (batting, (_RANDOM.integers(10, 50, 9), _RANDOM.integers(0, 10, 9))),
    "network": (network, (_X, _normal(20, 1), 4)),
    "hidden Markov": (hidden_markov, (_WORDS, 3, 6)),
    "logistic": (logistic, (_X, _RANDOM.integers(0, 2, 20))),
    "stochastic volatility": (stochastic_volatility, (0.1 * _normal(15),)),
    "Gaussian process": (gaussian_process, (_TIMES, _normal(6))),
    "horseshoe": (horseshoe, (_X, _normal(20))),
    "funnel": (funnel, (4,)),
    "ordinal": (ordinal, (_normal(20), _RANDOM.integers(0, 4, 20), 4)),
    "correlated": (correlated, (_X,)),
    "zero inflated": (zero_inflated, (_X, _counts(1.0, 20))),
    "mixture": (mixture, (_normal(12), 3)),
    "autoregression": (autoregression, (_normal(12),)),
    "topics": (topics, (_WORDS, np.sort(_RANDOM.integers(0, 4, 25)), 4, 6, 2)),
    "seasonal": (seasonal, (_normal(9), 4)),
    "admissions": (
        admissions,
        (np.arange(12) // 2, np.arange(12) % 2, np.full(12, 30), _counts(9.0, 12)),
    ),
    "Lotka-Volterra": (lotka_volterra, (_TIMES, np.exp(2 + 0.3 * _normal(6, 2)))),
    "recapture": (recapture, (np.maximum(_counts(0.7, 8, 5) > 0, np.eye(8, 5)),)),
    "item response": (
        item_response,
        (np.arange(30) % 6, np.arange(30) // 6, _RANDOM.integers(0, 2, 30), 6, 5),
    ),
    "shells": (shells, (2.0, 0.3)),
    "between": (between, (_normal(7),)),
    "missing values": (of_missing_values, (_GAPPY, _normal(15))),
    "scoped": (scoped, (_normal(2, 5),)),
}
