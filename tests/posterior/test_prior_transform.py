"""`prior_transform`: from the unit cube to the prior."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st
from terms import dist

import bijectree as bt
from bijectree import tfb, tfd

f = jnp.asarray

# A leaf, and which of its entries are its coordinates; all without it.
PRIORS = {
    "normal": (lambda: tfd.Normal(f(1.0), f(2.0)), (3,), None),
    "iid": (lambda: tfd.Gamma(f(2.0), f(3.0)), (2, 2), None),
    "batch": (lambda: tfd.Laplace(f([0.0, 1.0]), f(2.0)), (3, 2), None),
    "beta": (lambda: tfd.Beta(f(2.0), f(3.0)), (), None),
    "cauchy": (lambda: tfd.Cauchy(f(1.0), f(2.0)), (1,), None),
    "chi": (lambda: tfd.Chi(f(3.0)), (2,), None),
    "chi2": (lambda: tfd.Chi2(f(3.0)), (2,), None),
    "exp-gamma": (lambda: tfd.ExpGamma(f(2.0), f(3.0)), (2,), None),
    "exponential": (lambda: tfd.Exponential(f(2.0)), (2,), None),
    "generalized-normal": (
        lambda: tfd.GeneralizedNormal(f(0.0), f(1.0), f(1.5)),
        (2,),
        None,
    ),
    "generalized-pareto": (
        lambda: tfd.GeneralizedPareto(f(0.0), f(1.0), f(0.2)),
        (2,),
        None,
    ),
    "gumbel": (lambda: tfd.Gumbel(f(0.5), f(2.0)), (2,), None),
    "half-cauchy": (lambda: tfd.HalfCauchy(f(0.0), f(2.0)), (2,), None),
    "half-normal": (lambda: tfd.HalfNormal(f(2.0)), (2,), None),
    "half-student": (lambda: tfd.HalfStudentT(f(3.0), f(0.0), f(2.0)), (2,), None),
    "inverse-gamma": (lambda: tfd.InverseGamma(f(3.0), f(2.0)), (2,), None),
    "johnson": (lambda: tfd.JohnsonSU(f(0.5), f(1.5), f(0.0), f(1.0)), (2,), None),
    "kumaraswamy": (lambda: tfd.Kumaraswamy(f(2.0), f(3.0)), (2,), None),
    "log-logistic": (lambda: tfd.LogLogistic(f(0.5), f(0.3)), (2,), None),
    "log-normal": (lambda: tfd.LogNormal(f(0.5), f(0.7)), (2,), None),
    "logistic": (lambda: tfd.Logistic(f(0.5), f(0.7)), (2,), None),
    "logit-normal": (lambda: tfd.LogitNormal(f(0.5), f(0.7)), (2,), None),
    "moyal": (lambda: tfd.Moyal(f(0.5), f(0.7)), (2,), None),
    "pareto": (lambda: tfd.Pareto(f(3.0), f(2.0)), (2,), None),
    "pert": (lambda: tfd.PERT(f(0.0), f(0.3), f(1.0)), (2,), None),
    "sigmoid-beta": (lambda: tfd.SigmoidBeta(f(2.0), f(3.0)), (2,), None),
    "student": (lambda: tfd.StudentT(f(3.0), f(1.0), f(2.0)), (2,), None),
    "truncated": (
        lambda: tfd.TruncatedNormal(f(0.0), f(1.0), f(-1.0), f(2.0)),
        (2,),
        None,
    ),
    "truncated-cauchy": (
        lambda: tfd.TruncatedCauchy(f(0.0), f(1.0), f(-1.0), f(2.0)),
        (2,),
        None,
    ),
    "two-piece": (lambda: tfd.TwoPieceNormal(f(0.0), f(1.0), f(1.5)), (2,), None),
    "uniform": (lambda: tfd.Uniform(f(-1.0), f(2.0)), (2,), None),
    "weibull": (lambda: tfd.Weibull(f(2.0), f(1.5)), (2,), None),
    "independent": (
        lambda: tfd.Independent(tfd.Normal(f([0.0, 1.0]), f(2.0)), 1),
        (2,),
        None,
    ),
    "sample": (lambda: tfd.Sample(tfd.Exponential(f(2.0)), 3), (2, 3), None),
    "falling-map": (
        lambda: tfd.TransformedDistribution(
            tfd.Exponential(f(2.0)), tfb.Chain([tfb.Shift(f(1.0)), tfb.Scale(f(-1.0))])
        ),
        (2,),
        None,
    ),
    "multivariate": (
        lambda: tfd.MultivariateNormalTriL(f([1.0, 2.0]), f([[2.0, 0.0], [0.5, 1.0]])),
        (3, 2),
        None,
    ),
    "multivariate-diag": (
        lambda: tfd.MultivariateNormalDiag(f([1.0, 2.0]), f([2.0, 0.5])),
        (2,),
        None,
    ),
    "dirichlet": (
        lambda: tfd.Dirichlet(f([0.7, 1.5, 2.5])),
        (2, 3),
        ([0, 0, 1, 1], [0, 1, 0, 1]),
    ),
    "lkj": (lambda: tfd.LKJ(4, f(1.7)), (4, 4), np.tril_indices(4, -1)),
    "cholesky-lkj": (lambda: tfd.CholeskyLKJ(3, f(0.8)), (3, 3), np.tril_indices(3, -1)),
    "np-normal": (lambda: dist.Normal(f(1.0), f(2.0)), (2,), None),
    "np-event": (lambda: dist.Gamma(f(2.0), f(3.0)).expand([2]).to_event(1), (2,), None),
    "np-log-normal": (lambda: dist.LogNormal(f(0.5), f(0.7)), (2,), None),
    "np-beta": (lambda: dist.Beta(f(2.0), f(3.0)), (2,), None),
    "np-weibull": (lambda: dist.Weibull(f(1.5), f(2.0)), (2,), None),
    "np-pareto": (lambda: dist.Pareto(f(2.0), f(3.0)), (2,), None),
    "np-multivariate": (
        lambda: dist.MultivariateNormal(
            f([1.0, 2.0]), scale_tril=f([[2.0, 0.0], [0.5, 1.0]])
        ),
        (3, 2),
        None,
    ),
    "np-dirichlet": (
        lambda: dist.Dirichlet(f([0.7, 1.5, 2.5])),
        (3,),
        ([0, 1],),
    ),
    "np-cholesky": (lambda: dist.LKJCholesky(3, f(0.8)), (3, 3), np.tril_indices(3, -1)),
    "np-lkj": (lambda: dist.LKJ(3, f(1.7)), (3, 3), np.tril_indices(3, -1)),
    "np-ordered": (
        lambda: dist.TransformedDistribution(
            dist.Normal(f([0.0, 0.5]), f(1.0)).to_event(1),
            dist.transforms.OrderedTransform(),
        ),
        (2,),
        None,
    ),
}


def of_one_leaf(make, shape):
    model = {"x": jnp.zeros(shape)}
    prior = {"x": make()}
    return bt.Posterior(bt.Reparam(model, bt.spec_from_prior(model, prior)), None, prior)


def assert_pushes_uniform_to(posterior, coordinates, u):
    """Hold the log-det of a map from the cube to minus the log-density that it makes.

    The density of uniform numbers is 1, so that of what they are mapped to is the
    inverse of the Jacobian's determinant: the one fact that a transport must satisfy.
    """

    def chart(u):
        return coordinates(posterior.prior_transform(u))

    jacobian = jax.jit(jax.jacfwd(chart))(u)
    _, log_det = np.linalg.slogdet(np.asarray(jacobian, np.float64))
    log_prior = posterior.log_prior(posterior.prior_transform(u))
    np.testing.assert_allclose(log_det, -log_prior, rtol=1e-6, atol=1e-6)


# The others take seconds each to compile.
QUICK = ("normal", "batch", "falling-map", "multivariate", "dirichlet", "np-weibull")
MARKED = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in PRIORS
]


@pytest.mark.jax_defaults
@pytest.mark.parametrize("name", MARKED)
def test_uniform_numbers_become_the_prior(name, getkey):
    make, shape, entries = PRIORS[name]
    with jax.enable_x64(True):
        posterior = of_one_leaf(make, shape)
        at = (
            tuple(np.indices(shape)) if entries is None else tuple(map(np.array, entries))
        )
        for _ in range(2):
            u = jax.random.uniform(getkey(), (posterior.dim,), minval=0.05, maxval=0.95)
            assert_pushes_uniform_to(posterior, lambda m: jnp.ravel(m["x"][at]), u)
    # In float32 it is the same map.
    with jax.enable_x64(False):
        small = of_one_leaf(make, shape).prior_transform(u.astype(jnp.float32))["x"]
    assert small.dtype == jnp.float32
    with jax.enable_x64(True):
        wide = np.asarray(posterior.prior_transform(u)["x"])
    np.testing.assert_allclose(small, wide, rtol=2e-4, atol=2e-5)


@pytest.mark.jax_defaults
@pytest.mark.parametrize("name", ["beta", "dirichlet", "log-normal"])
def test_a_second_point_compiles_nothing(name, caplog):
    make, shape, _ = PRIORS[name]
    posterior = of_one_leaf(make, shape)
    u = np.full(posterior.dim, 0.4, np.float32)
    posterior.prior_transform(u)  # this may be compiled, or known from another test
    with jax.log_compiles():
        posterior.prior_transform(u / 2)
        assert "Compiling" not in caplog.text
        jax.jit(lambda u: u / 2)(u)
        assert "Compiling" in caplog.text


@pytest.mark.parametrize("corner", [[0, 1, 0], np.array([False, True, False])])
def test_a_corner_may_be_integers(corner):
    posterior = bt.Posterior(
        bt.Reparam({"x": jnp.zeros(3)}, bt.interval(0.0, 2.0)),
        None,
        tfd.Uniform(0.0, 2.0),
    )
    found = posterior.prior_transform(corner)["x"]
    np.testing.assert_allclose(found, [0.0, 2.0, 0.0], atol=1e-6)


@pytest.mark.jax_defaults
def test_a_hierarchy_under_jit_and_vmap(getkey):
    with jax.enable_x64(True):
        model = {"a": jnp.ones(2), "b": jnp.array(1.0), "c": jnp.eye(2), "held": f(2.0)}
        prior = {
            "a": bt.dependent(lambda m: tfd.Normal(m["c"][1, 0], m["b"])),
            "b": bt.dependent(lambda m: tfd.Gamma(m["held"], f(1.0))),
            "c": tfd.LKJ(2, f(2.0)),
            "held": None,
        }
        spec = bt.spec_from_prior(model, prior, noncentred=True)
        spec["held"] = bt.frozen
        posterior = bt.Posterior(bt.Reparam(model, spec), None, prior)

        def coordinates(m):
            return jnp.concatenate([m["a"], f([m["b"], m["c"][1, 0]])])

        u = jax.random.uniform(getkey(), (5000, 4))
        assert_pushes_uniform_to(posterior, coordinates, u[0])
        found = jax.jit(jax.vmap(posterior.prior_transform))(u)
        drawn = posterior.sample_prior(getkey(), 5000)
        for name, index in (("a", [0]), ("b", []), ("c", [1, 0])):
            a, b = (np.asarray(x[name])[:, *index] for x in (found, drawn))
            assert st.ks_2samp(a, b).pvalue > 1e-4
        np.testing.assert_array_equal(found["held"], np.full(5000, 2.0))


def test_masked_and_tied_leaves():
    mask = np.array([True, False, True])
    model = {"x": jnp.array([1.0, 7.0, 2.0]), "y": jnp.array([1.0, 7.0, 2.0])}
    spec = {"x": bt.masked(None, mask), "y": bt.tied("x")}
    prior = {"x": tfd.Laplace(3.0, 2.0), "y": None}
    posterior = bt.Posterior(bt.Reparam(model, spec), None, prior)
    found = posterior.prior_transform(jnp.array([0.25, 0.5]))
    for leaf in found.values():
        np.testing.assert_allclose(leaf, [3.0 - 2.0 * np.log(2.0), 7.0, 3.0], rtol=1e-6)


@pytest.mark.jax_defaults
def test_held_leaves_stay_what_they_are():
    """Also those of NumPy in a dtype that JAX would round to a narrower one."""
    held = {"wide": np.array([1 / 3]), "long": np.array([2**40]), "word": "name"}
    model = held | {"x": jnp.array(0.5)}
    spec = dict.fromkeys(held, bt.frozen) | {"x": None}
    prior = dict.fromkeys(held) | {"x": tfd.Laplace(3.0, 2.0)}
    posterior = bt.Posterior(bt.Reparam(model, spec), None, prior)
    found = posterior.prior_transform(jnp.array([0.5]))
    np.testing.assert_allclose(found["x"], 3.0)
    for name in ("wide", "long"):
        assert found[name].dtype == held[name].dtype
        np.testing.assert_array_equal(found[name], held[name])
    assert found["word"] == "name"


class NeverEqual:
    """A likelihood that holds arrays, so that it cannot be compared."""

    def __eq__(self, other):
        raise ValueError("the truth value of an array")

    def __hash__(self):
        return 0

    def __call__(self, model):
        return 0 * model["x"]


def test_the_likelihood_has_no_part_in_it():
    reparam = bt.Reparam({"x": jnp.array(0.5)}, None)
    for loc in (1.0, 2.0):
        prior = {"x": tfd.Laplace(loc, 1.0)}
        posterior = bt.Posterior(reparam, NeverEqual(), prior)
        found = posterior.prior_transform(jnp.array([0.5]))
        np.testing.assert_allclose(found["x"], loc)


def test_numbers_are_traced_at_a_point_that_is_known():
    def at(loc):
        prior = {"x": tfd.Laplace(loc, 1.0)}
        posterior = bt.Posterior(bt.Reparam({"x": jnp.array(0.5)}, None), None, prior)
        return posterior.prior_transform(point)["x"]

    point = jnp.array([0.5])
    np.testing.assert_allclose(jax.jit(at)(3.0), 3.0)


def test_what_has_no_quantile_is_refused_by_path():
    model = {"a": jnp.ones(2), "b": jnp.array(1.0)}
    prior = {"a": tfd.Horseshoe(1.0), "b": tfd.NormalInverseGaussian(0.0, 1.0, 0.0, 1.0)}
    posterior = bt.Posterior(bt.Reparam(model, None), None, prior)
    message = "'a': Horseshoe has no quantile(.|\n)*'b': NormalInverseGaussian has no"
    with pytest.raises(ValueError, match=message):
        posterior.prior_transform(jnp.full(3, 0.5))


def test_points_of_another_shape_or_outside_are_refused():
    posterior = of_one_leaf(lambda: tfd.Normal(0.0, 1.0), (2,))
    with pytest.raises(ValueError, match=r"expected 2 numbers .* got shape \(3,\)"):
        posterior.prior_transform(jnp.full(3, 0.5))
    with pytest.raises(ValueError, match="expected numbers from 0 to 1"):
        posterior.prior_transform(jnp.array([0.5, 1.5]))
    whole = bt.Posterior(posterior.reparam, None, lambda m: m["x"].sum())
    with pytest.raises(ValueError, match="the prior is a function of the whole model"):
        whole.prior_transform(jnp.full(2, 0.5))


@jax.tree_util.register_pytree_node_class
class Mistaken:
    """A normal density whose quantile function is another one's."""

    event_shape = batch_shape = ()

    def __init__(self, scale):
        self.scale = scale

    def tree_flatten(self):
        return (self.scale,), None

    @classmethod
    def tree_unflatten(cls, aux, children):
        return cls(*children)

    def log_prob(self, x):
        return tfd.Normal(0.0 * self.scale, self.scale).log_prob(x)

    def sample(self, key, shape):
        return self.scale * jax.random.normal(key, shape)

    def quantile(self, u):
        return tfd.Normal(0.0 * self.scale, 2.0 * self.scale).quantile(u)


@pytest.mark.jax_defaults
def test_a_quantile_function_is_held_to_the_density():
    model = {"s": jnp.array(1.0), "x": jnp.zeros(2)}
    for mistaken in (Mistaken(f(3.0)), bt.dependent(lambda m: Mistaken(m["s"]))):
        prior = {"s": tfd.LogNormal(0.0, 1.0), "x": mistaken}
        reparam = bt.Reparam(model, {"s": bt.positive(), "x": None})
        posterior = bt.Posterior(reparam, None, prior)
        with pytest.raises(ValueError, match="'x': the quantile function of Mistaken is"):
            posterior.prior_transform(jnp.full(3, 0.4))


@pytest.mark.parametrize("u", [0.5, 0.25, 0.75, 0.5 + 1e-12, 0.01])
def test_quantiles_at_numbers_where_tfp_is_off(u, precision):
    shapes = [(1.0, 2.0), (10.0, 1.0), (0.5, 0.5), (2.0, 3.0), (0.1, 0.1)]
    a, b = np.array(shapes, precision).T
    model = {"b": jnp.full(5, 0.4, precision), "t": jnp.zeros(3, precision)}
    freedom = np.array([1.0, 2.0, 4.0], precision)
    prior = {"b": tfd.Beta(a, b), "t": tfd.StudentT(freedom, 0.0, 1.0)}
    reparam = bt.Reparam(model, bt.spec_from_prior(model, prior))
    posterior = bt.Posterior(reparam, None, prior)
    found = posterior.prior_transform(jnp.full(8, u, precision))
    u = float(np.asarray(u, precision))
    rtol = 1e-9 if precision == np.float64 else 1e-4
    np.testing.assert_allclose(found["b"], st.beta(a, b).ppf(u), rtol=rtol)
    due = st.t(freedom).ppf(u)
    np.testing.assert_allclose(found["t"], due, rtol=rtol, atol=rtol)
