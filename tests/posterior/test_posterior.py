"""Posterior: the density against numbers that were computed in other ways."""

import functools
import json
import pickle
from io import StringIO
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import pytest
import scipy.stats as st
from jaxtyping import Array
from lines import Line, line, line_likelihood
from scipy.special import expit, gammaln, logsumexp

import bijectree as bt
from bijectree import tfb, tfd

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "golden" / "eight_schools.json").read_text()
)


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
# Ordered leaves with a prior at each entry, whose constant is of no matter here.
@pytest.mark.filterwarnings("ignore:the prior Normal at:UserWarning")
def test_the_density_equals_scipys_plus_the_log_det_by_autodiff(make, getkey):
    # The likelihoods are written as users write them, with broadcasting.
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
        case = make()
        reparam = bt.Reparam(case.model, bt.by_path(case.model, case.rules))
        prior = bt.by_path(case.model, case.prior)
        posterior = bt.Posterior(reparam, case.log_likelihood, prior=prior)
        flat = posterior.flat()
        start = flat.inverse(case.model)

        @jax.jit
        def computed(vector):
            model = flat.forward(vector)
            jacobian = jax.jacfwd(lambda v: case.chart(flat.forward(v)))(vector)
            without = flat.log_density(vector, *case.data, jacobian=False)
            return model, jacobian, without, flat.log_density(vector, *case.data)

        @jax.jit
        def of_model(model):
            likelihood = posterior.log_likelihood(model, *case.data)
            return posterior.log_prior(model) + likelihood

        for _ in range(3):
            vector = start + 0.5 * jax.random.normal(getkey(), start.shape)
            model, jacobian, without, density = computed(vector)
            model = jax.tree.map(np.asarray, model)
            written = case.expected(model, *(np.asarray(d) for d in case.data))
            log_det = np.linalg.slogdet(np.asarray(jacobian))[1]
            np.testing.assert_allclose(without, written, rtol=1e-10)
            np.testing.assert_allclose(density, written + log_det, rtol=1e-10)
            np.testing.assert_allclose(of_model(model), written, rtol=1e-10)


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
    traces = StringIO()  # a list would be read, and seem to change

    @jax.jit
    def log_density(posterior, free, *data):
        traces.write(".")
        return posterior.log_density(free, *data)

    posterior, free, data = line()
    first = log_density(posterior, free, *data)
    again, _, _ = line()
    assert log_density(again, free, *data) == first
    other, _, _ = line(scale=3.0)
    assert log_density(other, free, *data) != first
    assert traces.tell() == 1


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
        of = jax.value_and_grad(posterior.log_density)
        value, gradient = jax.eval_shape(of, free, *data)
        assert value.dtype == "float32"
        assert gradient.slope.dtype == dtype


def test_the_density_of_float64_coordinates_is_float64():
    with jax.enable_x64(True):
        posterior, free, data = line(dtype=jnp.float64)
        assert jax.eval_shape(posterior.log_density, free, *data).dtype == jnp.float64
        low = jax.tree.map(lambda x: x.astype(jnp.float32), free)
        data = jax.tree.map(lambda x: x.astype(jnp.float32), data)
        assert jax.eval_shape(posterior.log_density, low, *data).dtype == jnp.float32


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
    np.testing.assert_allclose(slope(ridge).prior_function.arrays[0], -0.25)


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
        with pytest.warns(UserWarning, match=r"'pair.high', 'pair.low' hold .* 1/3!"):
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
