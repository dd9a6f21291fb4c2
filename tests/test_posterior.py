"""Posterior: the density against numbers that were computed in other ways."""

import functools
import json
import pickle
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import pytest
import scipy.stats as st
from jaxtyping import Array
from scipy.special import expit, gammaln, logsumexp

import bijectree as bt
from bijectree import tfb, tfd
from bijectree.priors.distribution import _FINITE_AT_THE_EDGE

GOLDEN = json.loads((Path(__file__).parent / "golden" / "eight_schools.json").read_text())


# Eight schools, against Stan.


def eight_schools(*, centred):
    """The posterior, and the model's paths in the order of Stan's coordinates."""
    name = "theta" if centred else "theta_trans"
    model = {name: jnp.zeros(8), "mu": jnp.zeros(()), "tau": jnp.ones(())}
    rules = {"mu": tfd.Normal(0.0, 5.0), "tau": tfd.Cauchy(0.0, 5.0)}
    if not centred:
        rules[name] = tfd.Normal(0.0, 1.0)

    def log_likelihood(model, y, sigma):
        if centred:
            prior = tfd.Normal(model["mu"], model["tau"]).log_prob(model[name]).sum()
            return prior + tfd.Normal(model[name], sigma).log_prob(y).sum()
        theta = model["mu"] + model["tau"] * model[name]
        return tfd.Normal(theta, sigma).log_prob(y).sum()

    reparam = bt.Reparam(model, bt.by_path(model, {"tau": bt.positive()}))
    return bt.Posterior(reparam, log_likelihood, prior=bt.by_path(model, rules))


@pytest.mark.parametrize("jacobian", [True, False], ids=["jacobian", "no-jacobian"])
@pytest.mark.parametrize("number", [0, 1], ids=["centred", "non-centred"])
def test_eight_schools_equals_stan_at_every_point(number, jacobian):
    golden = GOLDEN["posteriors"][number]
    suffix = "jac" if jacobian else "nojac"
    with jax.enable_x64(True):
        posterior = eight_schools(centred=number == 0)
        data = [jnp.array(GOLDEN[k], float) for k in ("y", "sigma")]
        # Stan counts from 1.
        stan = [
            ".".join([head, *(str(int(n) - 1) for n in tail)])
            for head, *tail in (s.split(".") for s in golden["unconstrained_names"])
        ]
        order = np.array([stan.index(label) for label in posterior.labels])
        log_density = jax.jit(
            jax.value_and_grad(
                functools.partial(posterior.flat().log_density, jacobian=jacobian)
            )
        )
        assert len(golden["points"]) == 10
        for point in golden["points"]:
            vector = jnp.array(point["unconstrained"], float)[order]
            value, gradient = log_density(vector, *data)
            np.testing.assert_allclose(value, point[f"lp_full_{suffix}"], rtol=1e-12)
            expected = np.array(point[f"grad_full_{suffix}"])[order]
            scale = np.abs(expected).max()
            np.testing.assert_allclose(gradient, expected, rtol=1e-10, atol=1e-12 * scale)


# Other models: the density by SciPy or by hand, the log-det by autodiff.


class Case(eqx.Module):
    """A model, what is believed of it, and the same in other words.

    `expected` gives the log of prior times likelihood in NumPy and SciPy; `chart`
    picks the model's minimal coordinates, in which the density is one.
    """

    model: dict
    rules: dict
    prior: dict
    log_likelihood: object
    data: tuple
    expected: object
    chart: object


def everything(model):
    return jnp.concatenate([jnp.ravel(x) for x in jtu.tree_leaves(model)])


def ordinal():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=20), rng.integers(0, 4, 20)

    def log_likelihood(model, x, y):
        cut = jnp.concatenate(
            [jnp.array([-jnp.inf]), model["cuts"], jnp.array([jnp.inf])]
        )
        cdf = jax.nn.sigmoid(cut[None] - model["slope"] * x[:, None])
        return jnp.log(jnp.take_along_axis(jnp.diff(cdf), y[:, None], axis=1)).sum()

    def expected(model, x, y):
        edges = np.concatenate([[-np.inf], model["cuts"], [np.inf]])
        shift = model["slope"] * x
        probability = expit(edges[y + 1] - shift) - expit(edges[y] - shift)
        prior = st.norm(0, 3).logpdf(model["cuts"]).sum() + st.norm.logpdf(model["slope"])
        return prior + np.log(probability).sum()

    return Case(
        {"cuts": jnp.array([-1.0, 0.2, 1.5]), "slope": jnp.array(0.3)},
        {"cuts": bt.ordered_vector()},
        {"cuts": tfd.Normal(0.0, 3.0), "slope": tfd.Normal(0.0, 1.0)},
        log_likelihood,
        (jnp.asarray(x), jnp.asarray(y)),
        expected,
        everything,
    )


def mixture():
    rng = np.random.default_rng(2)
    y = np.concatenate([rng.normal(-2, 0.5, 12), rng.normal(1, 1.0, 18)])

    def log_likelihood(model, y):
        parts = tfd.Normal(model["means"], model["scales"]).log_prob(y[:, None])
        return jax.nn.logsumexp(jnp.log(model["weights"])[None] + parts, axis=1).sum()

    def expected(model, y):
        parts = st.norm(model["means"], model["scales"]).logpdf(y[:, None])
        w = model["weights"]
        prior = st.dirichlet.logpdf(w / w.sum(), [2.0, 3.0, 4.0])
        prior += st.norm(0, 5).logpdf(model["means"]).sum()
        prior += st.gamma(2.0, scale=1 / 3.0).logpdf(model["scales"]).sum()
        return prior + logsumexp(np.log(w) + parts, axis=1).sum()

    return Case(
        {
            "weights": jnp.array([0.2, 0.3, 0.5]),
            "means": jnp.array([-2.0, 0.0, 1.0]),
            "scales": jnp.array([0.5, 1.0, 1.5]),
        },
        {
            "weights": bt.simplex(),
            "means": bt.ordered_vector(),
            "scales": bt.positive(via="softplus"),
        },
        {
            "weights": tfd.Dirichlet([2.0, 3.0, 4.0]),
            "means": tfd.Normal(0.0, 5.0),
            "scales": tfd.Gamma(2.0, 3.0),
        },
        log_likelihood,
        (jnp.asarray(y),),
        expected,
        lambda m: jnp.concatenate([m["weights"][:-1], m["means"], m["scales"]]),
    )


def lkj_log_normalizer(k, eta):
    """Of det(R)^(eta − 1): Lewandowski, Kurowicka and Joe 2009, equation 16."""
    i = np.arange(1, k)
    b = eta + (k - 1 - i) / 2
    beta = 2 * gammaln(b) - gammaln(2 * b)
    return np.sum((2 * eta - 2 + k - i) * (k - i)) * np.log(2) + np.sum((k - i) * beta)


def correlated():
    rng = np.random.default_rng(3)
    y = rng.normal(size=(15, 3)) * [1.0, 2.0, 0.5]
    strict = np.tril_indices(3, -1)

    def log_likelihood(model, y):
        factor = model["scales"][:, None] * model["factor"]
        zero = jnp.zeros(3, y.dtype)
        return tfd.MultivariateNormalTriL(zero, factor).log_prob(y).sum()

    def expected(model, y):
        factor = model["scales"][:, None] * model["factor"]
        prior = st.halfcauchy(0, 2).logpdf(model["scales"]).sum()
        # The density of the factor: that of the matrix times the Jacobian of L L'.
        power = 3 - np.arange(1, 4) + 2 * 2.5 - 2
        prior += np.sum(power * np.log(np.diag(model["factor"])))
        prior -= lkj_log_normalizer(3, 2.5)
        return (
            prior + st.multivariate_normal(np.zeros(3), factor @ factor.T).logpdf(y).sum()
        )

    return Case(
        {
            "scales": jnp.array([1.0, 2.0, 0.5]),
            "factor": jnp.linalg.cholesky(
                jnp.array([[1.0, 0.3, -0.2], [0.3, 1.0, 0.4], [-0.2, 0.4, 1.0]])
            ),
        },
        {"scales": bt.positive(), "factor": bt.corr_cholesky()},
        {"scales": tfd.HalfCauchy(0.0, 2.0), "factor": tfd.CholeskyLKJ(3, 2.5)},
        log_likelihood,
        (jnp.asarray(y),),
        expected,
        lambda m: jnp.concatenate([m["factor"][strict], m["scales"]]),
    )


def autoregressive():
    rng = np.random.default_rng(4)
    y = np.cumsum(rng.normal(size=30)) * 0.3

    def log_likelihood(model, y):
        noise = tfd.Normal(model["persistence"] * y[:-1], model["sd"])
        return noise.log_prob(y[1:]).sum()

    def expected(model, y):
        prior = st.beta(3, 2, loc=-1, scale=2).logpdf(model["persistence"])
        prior += st.truncnorm(-1, 4, loc=1, scale=0.5).logpdf(model["sd"])
        mean = model["persistence"] * y[:-1]
        return prior + st.norm(mean, model["sd"]).logpdf(y[1:]).sum()

    stretch = tfb.Chain([tfb.Shift(-1.0), tfb.Scale(2.0)])
    return Case(
        {"persistence": jnp.array(0.5), "sd": jnp.array(0.8)},
        {"persistence": bt.interval(-1.0, 1.0), "sd": bt.interval(0.5, 3.0)},
        {
            "persistence": tfd.TransformedDistribution(tfd.Beta(3.0, 2.0), stretch),
            "sd": tfd.TruncatedNormal(1.0, 0.5, 0.5, 3.0),
        },
        log_likelihood,
        (jnp.asarray(y),),
        expected,
        everything,
    )


def hierarchical():
    rng = np.random.default_rng(5)
    group = np.repeat(np.arange(4), 6)
    y = rng.poisson(np.exp(rng.normal(1.0, 0.5, 4))[group])

    def log_likelihood(model, group, y):
        between = tfd.Normal(model["mean"], model["sd"]).log_prob(model["effects"]).sum()
        rate = jnp.exp(model["effects"])[group]
        return between + tfd.Poisson(rate).log_prob(y.astype(rate.dtype)).sum()

    def expected(model, group, y):
        prior = st.norm(0, 2).logpdf(model["mean"]) + st.expon.logpdf(model["sd"])
        prior += st.norm(model["mean"], model["sd"]).logpdf(model["effects"]).sum()
        return prior + st.poisson(np.exp(model["effects"])[group]).logpmf(y).sum()

    return Case(
        {"mean": jnp.array(1.0), "sd": jnp.array(0.5), "effects": jnp.zeros(4)},
        {"sd": tfb.Exp()},
        {"mean": tfd.Normal(0.0, 2.0), "sd": tfd.Exponential(1.0)},
        log_likelihood,
        (jnp.asarray(group), jnp.asarray(y)),
        expected,
        everything,
    )


def robust():
    rng = np.random.default_rng(6)
    x = rng.normal(size=(25, 2))
    y = x @ [1.0, -2.0] + rng.standard_t(3, 25)

    def log_likelihood(model, x, y):
        noise = tfd.StudentT(model["dof"], x @ model["slopes"], model["sd"])
        return noise.log_prob(y).sum()

    def expected(model, x, y):
        prior = st.multivariate_normal([0, 1], [[2, 0.5], [0.5, 1]]).logpdf(
            model["slopes"]
        )
        prior += st.pareto(1.5, scale=2).logpdf(model["dof"])
        prior += st.invgamma(3, scale=2).logpdf(model["sd"])
        return (
            prior + st.t(model["dof"], x @ model["slopes"], model["sd"]).logpdf(y).sum()
        )

    covariance = jnp.array([[2.0, 0.5], [0.5, 1.0]], jnp.float32)
    return Case(
        {"slopes": jnp.zeros(2), "dof": jnp.array(4.0), "sd": jnp.array(1.0)},
        {"dof": bt.greater_than(2.0), "sd": tfb.Softplus()},
        {
            "slopes": tfd.MultivariateNormalFullCovariance([0.0, 1.0], covariance),
            "dof": tfd.Pareto(1.5, 2.0),
            "sd": tfd.InverseGamma(3.0, 2.0),
        },
        log_likelihood,
        (jnp.asarray(x), jnp.asarray(y)),
        expected,
        everything,
    )


def covariance():
    rng = np.random.default_rng(7)
    y = rng.normal(size=(10, 2))
    lower = np.tril_indices(2)

    def log_likelihood(model, y):
        factor = jnp.linalg.cholesky(model["covariance"])
        zero = jnp.zeros(2, y.dtype)
        return tfd.MultivariateNormalTriL(zero, factor).log_prob(y).sum()

    def expected(model, y):
        matrix = model["covariance"]
        prior = st.wishart(5, np.diag([1.0, 4.0])).logpdf(matrix)
        return prior + st.multivariate_normal([0, 0], matrix).logpdf(y).sum()

    return Case(
        {"covariance": jnp.array([[1.0, 0.3], [0.3, 2.0]])},
        {"covariance": bt.positive_definite()},
        {"covariance": tfd.WishartTriL(5.0, jnp.diag(jnp.array([1.0, 2.0])))},
        log_likelihood,
        (jnp.asarray(y),),
        expected,
        lambda m: m["covariance"][lower],
    )


CASES = [ordinal, mixture, correlated, autoregressive, hierarchical, robust, covariance]


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_the_density_equals_scipys_plus_the_log_det_by_autodiff(make, getkey):
    # The likelihoods are written as users write them, with broadcasting.
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
        case = make()
        reparam = bt.Reparam(case.model, bt.by_path(case.model, case.rules))
        prior = bt.by_path(case.model, case.prior)
        posterior = bt.Posterior(reparam, case.log_likelihood, prior=prior)
        flat = posterior.flat()
        start = flat.inverse(case.model)
        for _ in range(3):
            vector = start + 0.5 * jax.random.normal(getkey(), start.shape)
            model = jax.tree.map(np.asarray, flat.forward(vector))
            written = case.expected(model, *(np.asarray(d) for d in case.data))
            jacobian = jax.jacfwd(lambda v: case.chart(flat.forward(v)))(vector)
            log_det = np.linalg.slogdet(np.asarray(jacobian))[1]
            np.testing.assert_allclose(
                flat.log_density(vector, *case.data, jacobian=False), written, rtol=1e-10
            )
            np.testing.assert_allclose(
                flat.log_density(vector, *case.data), written + log_det, rtol=1e-10
            )
            np.testing.assert_allclose(
                posterior.log_prior(model) + posterior.log_likelihood(model, *case.data),
                written,
                rtol=1e-10,
            )


def test_a_normalised_prior_integrates_to_one_and_a_posterior_to_its_evidence():
    with jax.enable_x64(True):
        grid = jnp.linspace(-30, 30, 601)
        step = grid[1] - grid[0]

        model = {"weights": jnp.ones(3) / 3}
        counts = jnp.array([4.0, 2.0, 7.0])
        alpha = jnp.array([1.0, 2.0, 3.0])

        def log_likelihood(model, counts):
            return jnp.sum(counts * jnp.log(model["weights"]))

        prior = tfd.Dirichlet(alpha)
        flat = bt.Posterior(
            bt.Reparam(model, bt.simplex()), log_likelihood, {"weights": prior}
        ).flat()
        plane = jnp.stack(jnp.meshgrid(grid, grid), axis=-1)
        over_plane = jax.jit(jax.vmap(jax.vmap(flat.log_density, (0, None)), (0, None)))
        log_beta = lambda a: gammaln(a).sum() - gammaln(a.sum())  # noqa: E731
        for n in (0 * counts, counts):
            evidence = jnp.exp(over_plane(plane, n)).sum() * step**2
            exact = np.exp(log_beta(np.asarray(alpha + n)) - log_beta(np.asarray(alpha)))
            np.testing.assert_allclose(evidence, exact, rtol=1e-9)


# What it promises besides its value.


def identity(x):
    return x


class Line(eqx.Module):
    """Callable, with a static field and an integer, as models are."""

    slope: Array
    scale: Array
    degree: int = 1
    activation: object = identity

    def __call__(self, x):
        return self.slope * x


def line_likelihood(model, x, y):
    return tfd.Normal(model(x), model.scale).log_prob(y).sum()


def line(dtype=jnp.float32, prior=True, scale=1.0):
    model = Line(jnp.array(0.5, dtype), jnp.array(2.0, dtype))
    reparam = bt.Reparam(model, bt.by_path(model, {"scale": bt.positive()}))
    rules = {"slope": tfd.Normal(0.0, scale), "scale": tfd.HalfNormal(2.0)}
    priors = bt.by_path(model, rules) if prior else None
    posterior = bt.Posterior(reparam, line_likelihood, prior=priors)
    x = jnp.arange(4, dtype=dtype)
    return posterior, reparam.inverse(model), (x, 2 * x)


@pytest.mark.parametrize("how", ["jit", "vmap", "grad", "scan", "argument"])
def test_transformations_change_nothing(how):
    posterior, free, data = line()
    expected = posterior.log_density(free, *data)
    if how == "jit":
        value = jax.jit(posterior.log_density)(free, *data)
    elif how == "vmap":
        many = jax.tree.map(lambda x: jnp.stack([x, x]), free)
        value = jax.vmap(lambda f: posterior.log_density(f, *data))(many)[1]
    elif how == "grad":
        value, _ = jax.value_and_grad(posterior.log_density)(free, *data)
    elif how == "scan":

        def step(carry, _):
            return carry, posterior.log_density(carry, *data)

        _, values = jax.lax.scan(step, free, length=2)
        value = values[1]
    else:
        value = jax.jit(lambda p, f: p.log_density(f, *data))(posterior, free)
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_an_equal_posterior_and_new_numbers_do_not_retrace():
    traces = []

    @jax.jit
    def log_density(posterior, free, *data):
        traces.append(None)
        return posterior.log_density(free, *data)

    posterior, free, data = line()
    first = log_density(posterior, free, *data)
    again, _, _ = line()
    assert log_density(again, free, *data) == first
    other, _, _ = line(scale=3.0)
    assert log_density(other, free, *data) != first
    assert len(traces) == 1


def test_a_posterior_can_be_pickled():
    posterior, free, data = line()
    again = pickle.loads(pickle.dumps(posterior))
    assert again.log_density(free, *data) == posterior.log_density(free, *data)
    assert jtu.tree_structure(again) == jtu.tree_structure(posterior)


def test_no_tracer_leaks():
    posterior, free, data = line()
    with jax.checking_leaks():
        jax.jit(jax.grad(posterior.log_density))(free, *data)


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_density_has_the_dtype_of_free_but_at_least_float32(dtype, x64):
    with jax.enable_x64(x64):
        posterior, free, data = line(dtype=dtype)
        assert posterior.log_density(free, *data).dtype == "float32"
        gradient = jax.grad(posterior.log_density)(free, *data)
        assert gradient.slope.dtype == dtype


def test_the_density_of_float64_coordinates_is_float64():
    with jax.enable_x64(True):
        posterior, free, data = line(dtype=jnp.float64)
        assert posterior.log_density(free, *data).dtype == jnp.float64
        low = jax.tree.map(lambda x: x.astype(jnp.float32), free)
        data = jax.tree.map(lambda x: x.astype(jnp.float32), data)
        assert posterior.log_density(low, *data).dtype == jnp.float32


def test_terms_add_up_and_flat_leaves_have_none():
    posterior, free, data = line()
    model = posterior.reparam.forward(free)
    terms = posterior.prior_terms(model)
    assert list(terms) == ["slope", "scale"]
    np.testing.assert_allclose(terms["slope"], st.norm.logpdf(0.5), rtol=1e-6)
    np.testing.assert_allclose(sum(terms.values()), posterior.log_prior(model))
    flat, _, _ = line(prior=False)
    assert flat.prior_terms(model) == {}
    assert flat.log_prior(model) == 0
    value = flat.log_density(free, *data, jacobian=False)
    np.testing.assert_allclose(value, flat.log_likelihood(model, *data))


def test_a_prior_may_be_a_function_and_hold_arrays():
    class Ridge(eqx.Module):
        strength: Array

        def __call__(self, model):
            return -self.strength * model.slope**2

    posterior, free, data = line()
    model = posterior.reparam.forward(free)
    ridge = bt.Posterior(posterior.reparam, line_likelihood, Ridge(jnp.array(3.0)))
    np.testing.assert_allclose(ridge.log_prior(model), -0.75)
    np.testing.assert_allclose(ridge.prior_terms(model)[""], -0.75)
    slope = jax.grad(lambda p: p.log_density(free, *data), allow_int=True)
    np.testing.assert_allclose(slope(ridge)._prior.arrays[0], -0.25)


def test_a_tree_of_a_callable_models_own_class_is_a_tree():
    posterior, free, _ = line()
    prior = Line(tfd.Normal(0.0, 1.0), None, None, None)
    again = bt.Posterior(posterior.reparam, None, prior)
    assert list(again.prior_terms(posterior.reparam.forward(free))) == ["slope"]


def test_the_flat_form_is_the_same_density():
    posterior, free, data = line()
    flat = posterior.flat()
    vector = posterior.reparam.ravel(free)
    assert flat.dim == posterior.dim == 2
    assert flat.labels == ["slope", "scale"]
    assert flat.log_density(vector, *data) == posterior.log_density(free, *data)
    np.testing.assert_allclose(flat.inverse(flat.forward(vector)), vector, rtol=1e-6)


def test_a_short_description_lists_the_priors():
    posterior, _, _ = line()
    assert "scale: HalfNormal" in repr(posterior)


def test_half_of_a_mixed_precision_model_does_not_lower_the_other():
    with jax.enable_x64(True):
        model = {"a": jnp.array(0.1, jnp.float16), "b": jnp.array(0.1, jnp.float64)}
        reparam = bt.Reparam(model, None)
        posterior = bt.Posterior(reparam, None, tfd.Normal(0.0, 1.0))
        value = posterior.log_density(reparam.inverse(model))
        assert value.dtype == jnp.float64
        expected = st.norm.logpdf(0.1) + st.norm.logpdf(np.float64(np.float16(0.1)))
        np.testing.assert_allclose(value, expected, rtol=1e-7)


def test_leaves_that_belong_together_are_counted_once_each(getkey):
    with jax.enable_x64(True):
        model = {
            "pair": {"low": jnp.array(0.2), "high": jnp.array([0.5, 0.9])},
            "bound": jnp.array(2.0),
            "below": jnp.array(1.0),
            "copy": jnp.array(2.0),
        }
        spec = bt.by_path(
            model,
            {
                "pair": bt.joint(bt.ordered_vector(), over=("pair.low", "pair.high")),
                "bound": bt.positive(),
                "below": bt.dependent(lambda m: bt.interval(0.0, m["bound"]), on="bound"),
                "copy": bt.tied("bound"),
            },
        )
        reparam = bt.Reparam(model, spec)
        posterior = bt.Posterior(reparam, None, tfd.Normal(0.0, 2.0))
        paths = ["below", "bound", "pair.high", "pair.low"]
        assert list(posterior.prior_terms(model)) == paths
        assert "'copy' is tied" in posterior.notes[0]
        flat = posterior.flat()

        def chart(vector):
            model = flat.forward(vector)
            return everything({k: v for k, v in model.items() if k != "copy"})

        vector = flat.inverse(model) + 0.3 * jax.random.normal(getkey(), (5,))
        log_det = np.linalg.slogdet(jax.jacfwd(chart)(vector))[1]
        expected = st.norm(0, 2).logpdf(np.asarray(chart(vector))).sum() + log_det
        np.testing.assert_allclose(flat.log_density(vector), expected, rtol=1e-12)


# Bad input.


def test_a_likelihood_that_is_not_a_real_scalar_says_so():
    posterior, free, data = line()
    for function, text in {
        lambda m, x, y: tfd.Normal(m(x), m.scale).log_prob(y): r"scalar.*\(4,\).*sum",
        lambda m, x, y: jnp.array(1j): "real number.*complex",
    }.items():
        bad = bt.Posterior(posterior.reparam, function)
        with pytest.raises(ValueError, match=f"log-likelihood must return a {text}"):
            bad.log_density(free, *data)
    bad = bt.Posterior(posterior.reparam, None, lambda m: jnp.zeros(2))
    with pytest.raises(ValueError, match=r"the prior must return a scalar.*\(2,\)"):
        bad.log_density(free)


def test_wrong_kinds_of_argument_are_refused():
    posterior, _, _ = line()
    with pytest.raises(TypeError, match="expected a bt.Reparam"):
        bt.Posterior({"a": 1.0}, line_likelihood)
    with pytest.raises(TypeError, match="log_likelihood: expected a function"):
        bt.Posterior(posterior.reparam, 3.0)


# Starts.


@pytest.mark.parametrize("start", ["uniform", "prior"])
def test_starts_are_finite_and_as_many_as_asked_for(start, getkey, precision):
    posterior, _, data = line(dtype=precision)
    free = posterior.initial(getkey(), *data, start=start, n=3)
    assert jax.tree.map(jnp.shape, free).slope == (3,)
    assert len(np.unique(free.slope)) == 3
    assert free.slope.dtype == precision
    values = jax.vmap(lambda f: posterior.log_density(f, *data))(free)
    assert jnp.isfinite(values).all()
    one = posterior.initial(getkey(), *data, start=start)
    assert one.slope.shape == ()


@pytest.mark.slow
def test_starts_from_the_prior_have_its_distribution(getkey):
    model = {"a": jnp.ones((5, 2)), "p": jnp.ones((4, 3)) / 3}
    centre = jnp.arange(5.0)[:, None] * 10
    prior = {"a": tfd.Normal(centre, 0.1), "p": tfd.Dirichlet([5.0, 3.0, 2.0])}
    reparam = bt.Reparam(model, {"a": None, "p": bt.simplex()})
    posterior = bt.Posterior(reparam, None, prior)
    free = posterior.initial(getkey(), start="prior", n=500)
    drawn = jax.vmap(reparam.forward)(free)
    np.testing.assert_allclose(drawn["a"].mean(0), np.tile(centre, (1, 2)), atol=0.03)
    np.testing.assert_allclose(drawn["p"].mean((0, 1)), [0.5, 0.3, 0.2], atol=0.04)
    apart = np.corrcoef(drawn["a"].reshape(500, 10), rowvar=False) - np.eye(10)
    assert np.abs(apart).max() < 0.25


def test_a_start_at_a_model_is_that_model_or_near_it(getkey):
    posterior, free, data = line()
    model = posterior.reparam.forward(free)
    same = posterior.initial(getkey(), *data, start=model)
    assert same.slope == free.slope
    near = posterior.initial(getkey(), *data, start=model, jitter=0.01, n=2)
    assert 0 < jnp.abs(near.slope - free.slope).max() < 0.1
    outside = eqx.tree_at(lambda m: m.scale, model, jnp.array(-1.0))
    with pytest.raises(bt.SupportError, match="scale"):
        posterior.initial(getkey(), *data, start=outside)


def test_starts_are_tried_again_until_finite(getkey):
    model = {"a": jnp.zeros(())}

    def log_likelihood(model):  # finite in a quarter of the starts
        return jnp.where(model["a"] > 1, -(model["a"] ** 2), -jnp.inf)

    posterior = bt.Posterior(bt.Reparam(model, None), log_likelihood)
    free = posterior.initial(getkey(), n=8)
    assert jnp.all(free["a"] > 1)


def test_nan_in_the_data_is_named(getkey):
    posterior, _, (x, y) = line()
    y = y.at[2].set(jnp.nan)
    with pytest.raises(ValueError, match="no start with a finite log-density") as error:
        posterior.initial(getkey(), x, y, tries=3)
    text = str(error.value)
    assert "in 3 tries" in text
    assert "the log-likelihood is nan" in text
    assert "data[1] has 1 of 4 numbers that are not finite, the first (nan)" in text
    assert "the gradient at 'scale' is nan" in text


def test_the_leaf_whose_prior_or_gradient_is_not_finite_is_named(getkey):
    model = {"a": jnp.ones(2), "b": jnp.ones(())}
    reparam = bt.Reparam(model, None)
    with pytest.warns(UserWarning, match="'b' has the support: numbers between 3 and 4"):
        posterior = bt.Posterior(reparam, None, {"a": None, "b": tfd.Uniform(3.0, 4.0)})
    with pytest.raises(ValueError, match="the log-prior of 'b' is -inf"):
        posterior.initial(getkey())

    def kink(model):  # finite, with an infinite gradient at one element
        return jnp.sqrt(model["a"][1] * 0) + model["a"][0] + model["b"]

    with pytest.raises(ValueError, match=r"gradient at 'a' has 1 of 2 .*\[1\]") as error:
        bt.Posterior(reparam, kink).initial(getkey())
    assert "'b'" not in str(error.value)


def test_a_bijector_that_leaves_the_support_of_the_prior_is_warned_of():
    model = {"w": jnp.full(3, 1 / 3), "s": jnp.array(1.0)}
    prior = {"w": tfd.Dirichlet(jnp.ones(3)), "s": tfd.Gamma(2.0, 1.0)}
    spec = {"w": None, "s": bt.positive(via="softplus")}
    with pytest.warns(UserWarning, match=r"Dirichlet at 'w'.*sum to 1.*\(identity\)"):
        bt.Posterior(bt.Reparam(model, spec), None, prior)
    # Right ones, half-normals by a normal, and what is traced: warnings are errors here.
    bt.Posterior(bt.Reparam(model, bt.spec_from_prior(model, prior)), None, prior)
    positive = bt.Reparam({"s": model["s"]}, bt.positive())
    bt.Posterior(positive, None, {"s": tfd.Normal(0.0, 1.0)})
    jax.jit(lambda r: bt.Posterior(r, None, {"s": tfd.Normal(0.0, 1.0)}).dim)(positive)


def test_flat_coordinates_of_a_bounded_set_are_proper(getkey):
    model = {"p": jnp.array(0.5), "w": jnp.full(3, 1 / 3)}
    reparam = bt.Reparam(model, {"p": bt.unit_interval(), "w": bt.simplex()})
    bt.Posterior(reparam, lambda m: jnp.zeros(())).initial(getkey())


@pytest.mark.parametrize(
    "prior",
    [
        tfd.Poisson(2.0),
        tfd.Geometric(0.5),
        tfd.Deterministic(1.5),
        tfd.Independent(tfd.Poisson(2.0)),
    ],
    ids=lambda p: p.name,
)
def test_priors_without_a_density_are_refused(prior):
    reparam = bt.Reparam({"r": jnp.array(1.5)}, bt.positive())
    with pytest.raises(ValueError, match="at 'r'.* has no density there"):
        bt.Posterior(reparam, None, {"r": prior})


def test_coordinates_that_nothing_knows_of_are_reported(getkey):
    model = {"a": jnp.ones(3), "b": jnp.ones(())}
    reparam = bt.Reparam(model, bt.positive())
    log_likelihood = lambda m: -(m["a"][0] ** 2) - m["a"][2] ** 2  # noqa: E731
    prior = {"a": None, "b": tfd.HalfNormal(1.0)}
    with pytest.warns(UserWarning, match=r"no prior stands at 'a\.1', and .* improper"):
        bt.Posterior(reparam, log_likelihood, prior).initial(getkey())
    # A start where the likelihood is stationary says nothing.
    stationary = {"a": jnp.ones(3), "b": jnp.ones(())}
    known = lambda m: -jnp.sum((m["a"] - 1) ** 2)  # noqa: E731
    bt.Posterior(reparam, known, prior).initial(getkey(), start=stationary)
    # With a prior everywhere there is nothing to report: warnings are errors here.
    bt.Posterior(reparam, log_likelihood, tfd.HalfNormal(1.0)).initial(getkey())


def test_a_start_that_cannot_be_is_refused(getkey):
    posterior, _, data = line()
    with pytest.raises(ValueError, match="expected 'uniform', 'prior' or a model"):
        posterior.initial(getkey(), *data, start="sideways")
    function = bt.Posterior(posterior.reparam, None, lambda m: -(m.slope**2))
    with pytest.raises(ValueError, match="which cannot be drawn from"):
        function.initial(getkey(), start="prior")


def test_data_without_a_likelihood_are_refused():
    posterior = bt.Posterior(
        bt.Reparam({"a": jnp.ones(2)}, None), None, tfd.Normal(0.0, 1.0)
    )
    free = {"a": jnp.zeros(2)}
    posterior.log_density(free)
    with pytest.raises(ValueError, match="1 data given to a Posterior without a log-lik"):
        posterior.log_density(free, jnp.ones(3))


# Densities with a pole at the edge of the support, at free values where the leaf is on
# that edge in float32; with the log-density there, where it is not astronomical.
SATURATED = {
    "beta": (lambda: tfd.Beta(0.5, 0.5), 17.5, -0.5 * 17.5 - np.log(np.pi)),
    "beta_far": (lambda: tfd.Beta(0.5, 0.5), 60.0, None),
    "beta_low": (lambda: tfd.Beta(0.5, 0.5), -95.0, None),
    "gamma": (lambda: tfd.Gamma(0.5, 1.0), -95.0, -0.5 * 95 - 0.5 * np.log(np.pi)),
    "weibull": (lambda: tfd.Weibull(0.5, 1.0), -95.0, -0.5 * 95 + np.log(0.5)),
    "chi2": (lambda: tfd.Chi2(1.0), -95.0, -0.5 * 95 - 0.5 * np.log(2 * np.pi)),
    "kumaraswamy": (lambda: tfd.Kumaraswamy(0.5, 0.5), -95.0, None),
    "logit_normal": (lambda: tfd.LogitNormal(0.0, 1.0), 18.0, None),
    "inverse_gamma": (lambda: tfd.InverseGamma(2.0, 1.0), -95.0, None),
    "dirichlet": (lambda: tfd.Dirichlet([0.5, 0.5]), 95.0, None),
    "cholesky_lkj": (lambda: tfd.CholeskyLKJ(2, 0.25), 30.0, None),
}


@pytest.mark.jax_defaults  # TFP promotes ranks
@pytest.mark.parametrize(
    ("prior", "free"),
    [
        (tfd.HalfCauchy(3.14159, 2.0), -6.0),
        (tfd.Pareto(2.0, 3.14159), -6.0),
        (tfd.Uniform(3.14159, 4.0), -20.0),
        (tfd.Uniform(3.0, 3.24), 20.0),
    ],
    ids=["half_cauchy", "pareto", "uniform", "uniform_above"],
)
def test_a_bound_that_bfloat16_rounds_out_of_the_support_is_on_its_edge(prior, free):
    model = {"x": jnp.array(3.5, jnp.bfloat16)}
    reparam = bt.Reparam(model, bt.spec_from_prior(model, {"x": prior}))
    posterior = bt.Posterior(reparam, None, prior={"x": prior})
    value, gradient = jax.value_and_grad(posterior.log_density)(
        {"x": jnp.array(free, jnp.bfloat16)}
    )
    assert np.isfinite(value)
    assert np.isfinite(gradient["x"])


@pytest.mark.jax_defaults  # TFP promotes ranks
@pytest.mark.parametrize(
    "prior",
    [
        tfd.HalfCauchy(0.0, 2.0),
        tfd.HalfNormal(2.0),
        tfd.HalfStudentT(3.0, 0.0, 2.0),
    ],
    ids=lambda prior: type(prior).__name__,
)
def test_where_a_density_without_a_pole_ends(prior):
    assert type(prior) in _FINITE_AT_THE_EDGE
    value, gradient = jax.value_and_grad(prior.log_prob)(jnp.zeros(()))
    assert np.isfinite(value)
    assert np.isfinite(gradient)


@pytest.mark.jax_defaults  # TFP promotes ranks
@pytest.mark.parametrize("name", SATURATED)
def test_the_density_is_never_infinite_where_a_leaf_saturates(name):
    make, place, expected = SATURATED[name]
    shape = (*make().batch_shape, *make().event_shape)
    model, prior = {"x": jnp.zeros(shape)}, {"x": make()}
    reparam = bt.Reparam(model, bt.spec_from_prior(model, prior))
    flat = bt.Posterior(reparam, None, prior).flat()
    for sign in (1.0, -1.0) if shape else (1.0,):
        value, gradient = jax.jit(jax.value_and_grad(flat.log_density))(
            jnp.array([sign * place], jnp.float32)
        )
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
    if expected is not None:  # the leaf is where the dtype ends, not quite where it is
        np.testing.assert_allclose(value, expected, atol=8)


@pytest.mark.jax_defaults  # TFP promotes ranks
def test_a_pole_within_the_support_is_not_a_place_to_be():
    model, prior = {"x": jnp.zeros(())}, {"x": tfd.Horseshoe(1.0)}
    posterior = bt.Posterior(bt.Reparam(model, None), None, prior)
    assert posterior.log_density(model) == -jnp.inf


def test_bounds_of_a_prior_have_a_gradient_where_a_leaf_is_on_the_edge():
    model = {"x": jnp.zeros(())}

    def value(high):
        prior = {"x": tfd.Uniform(0.0, high)}
        reparam = bt.Reparam(model, bt.interval(0.0, high))
        return bt.Posterior(reparam, None, prior).log_prior({"x": jnp.array(2.0)})

    np.testing.assert_allclose(jax.grad(value)(2.0), -0.5)
