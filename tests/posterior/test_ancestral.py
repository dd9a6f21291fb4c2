"""Draws of the prior: exact, parents first."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st
from jaxtyping import Array
from terms import Duck, dist

import bijectree as bt
from bijectree import tfb, tfd

N = 4000


def drawn(model, prior, key, n=N, spec=None):
    spec = bt.spec_from_prior(model, prior) if spec is None else spec
    return bt.Posterior(bt.Reparam(model, spec), None, prior).sample_prior(key, n)


def assert_uniform(ranks):
    """Hold numbers to the uniform distribution, by Kolmogorov and Smirnov's test."""
    for column in np.reshape(ranks, (len(ranks), -1)).T:
        assert st.kstest(np.asarray(column, np.float64), "uniform").pvalue > 1e-4


MARGINALS = {
    "normal": (lambda: tfd.Normal(1.0, 2.0), st.norm(1.0, 2.0)),
    "half-cauchy": (lambda: tfd.HalfCauchy(0.0, 3.0), st.halfcauchy(0.0, 3.0)),
    "gamma": (lambda: tfd.Gamma(2.0, 3.0), st.gamma(2.0, scale=1 / 3)),
    "beta": (lambda: tfd.Beta(2.0, 3.0), st.beta(2.0, 3.0)),
    "student": (lambda: tfd.StudentT(3.0, 1.0, 2.0), st.t(3.0, 1.0, 2.0)),
    "log-normal": (lambda: tfd.LogNormal(0.5, 0.7), st.lognorm(0.7, scale=np.exp(0.5))),
    "inverse-gamma": (lambda: tfd.InverseGamma(3.0, 2.0), st.invgamma(3.0, scale=2.0)),
    "truncated": (
        lambda: tfd.TruncatedNormal(0.0, 1.0, -1.0, 0.5),
        st.truncnorm(-1.0, 0.5),
    ),
    "weibull": (lambda: tfd.Weibull(2.0, 1.5), st.weibull_min(2.0, scale=1.5)),
    "numpyro": (lambda: dist.Laplace(1.0, 2.0), st.laplace(1.0, 2.0)),
    "numpyro-event": (
        lambda: dist.Exponential(2.0).expand([3]).to_event(1),
        st.expon(scale=0.5),
    ),
}


@pytest.mark.jax_defaults
@pytest.mark.parametrize("name", MARGINALS)
def test_ranks_of_draws_are_uniform(name, precision, getkey):
    make, marginal = MARGINALS[name]
    found = drawn({"x": jnp.zeros(3)}, {"x": make()}, getkey())["x"]
    assert found.shape == (N, 3)
    assert found.dtype == precision
    assert_uniform(marginal.cdf(np.asarray(found, np.float64)))
    # Elements are drawn apart.
    assert abs(st.spearmanr(found[:, 0], found[:, 1]).statistic) < 0.08


class Schools(eqx.Module):
    mu: Array
    tau: Array
    theta: list[Array]
    count: int = 3


@pytest.mark.jax_defaults
def test_a_hierarchy_has_its_moments(getkey):
    model = Schools(jnp.array(0.0), jnp.array(1.0), [jnp.zeros(()), jnp.zeros((2, 1))])
    rules = {
        "mu": tfd.Normal(1.0, 2.0),
        "tau": tfd.Gamma(4.0, 2.0),
        "theta": bt.dependent(lambda m: tfd.Normal(m.mu, m.tau)),
    }
    found = drawn(model, bt.by_path(model, rules), getkey(), 20_000)
    assert found.count == 3
    assert found.theta[1].shape == (20_000, 2, 1)
    # Given its parents, each leaf has its own distribution.
    for theta in found.theta:
        shape = (-1, *[1] * (theta.ndim - 1))
        z = (theta - found.mu.reshape(shape)) / found.tau.reshape(shape)
        assert_uniform(st.norm.cdf(np.asarray(z)))
    # E θ = 1, Var θ = 2² + E τ² = 4 + 5, Cov(θ, θ') = Var μ = 4.
    both = np.stack([found.theta[0], found.theta[1][:, 0, 0]])
    np.testing.assert_allclose(both.mean(axis=1), 1.0, atol=0.1)
    np.testing.assert_allclose(np.cov(both), [[9, 4], [4, 9]], atol=0.4)


@pytest.mark.jax_defaults
def test_three_levels_whatever_the_order_of_the_leaves(getkey):
    model = {"a": jnp.array(0.0), "b": jnp.array(1.0), "c": jnp.array(1.0)}
    prior = {
        "a": bt.dependent(lambda m: tfd.Normal(2.0 * m["b"], 1.0)),
        "b": bt.dependent(lambda m: tfd.Normal(m["c"], 1.0)),
        "c": tfd.Normal(3.0, 1.0),
    }
    found = drawn(model, prior, getkey(), 20_000)
    values = np.stack([found[name] for name in "abc"])
    np.testing.assert_allclose(values.mean(axis=1), [6.0, 3.0, 3.0], atol=0.1)
    expected = [[9.0, 4.0, 2.0], [4.0, 2.0, 1.0], [2.0, 1.0, 1.0]]
    np.testing.assert_allclose(np.cov(values), expected, atol=0.35)


class Parts(NamedTuple):
    free: Any
    held: Any
    same: Any
    some: Any
    name: Any


@pytest.mark.jax_defaults
def test_held_tied_and_masked_leaves(getkey):
    mask = np.array([True, False, True])
    some = jnp.array([1.0, 7.0, 2.0])
    model = Parts(jnp.ones(2), jnp.array(5.0), 2 * jnp.ones(2), some, "text")
    spec = Parts(
        None, bt.frozen, bt.tied("free", lambda x: 2 * x), bt.masked(None, mask), None
    )
    normal = bt.dependent(lambda m: tfd.Normal(m.held, 1.0))  # of what is held
    prior = Parts(tfd.Normal(0.0, 1.0), tfd.Normal(0.0, 1.0), None, normal, None)
    found = drawn(model, prior, getkey(), spec=spec)
    np.testing.assert_array_equal(found.held, np.full(N, 5.0))
    np.testing.assert_array_equal(found.same, 2 * found.free)
    np.testing.assert_array_equal(found.some[:, 1], np.full(N, 7.0))
    assert_uniform(st.norm(5.0, 1.0).cdf(found.some[:, ::2]))
    assert found.name == "text"


@pytest.mark.jax_defaults
def test_a_tied_leaf_sets_another(getkey):
    model = {"a": jnp.array(1.0), "b": jnp.array(1.0), "x": jnp.array(0.5)}
    prior = {
        "a": tfd.Normal(50.0, 10.0),
        "b": None,
        "x": bt.dependent(lambda m: tfd.Normal(m["b"], 1.0)),
    }
    spec = {"a": None, "b": bt.tied("a"), "x": None}
    found = drawn(model, prior, getkey(), spec=spec)
    assert_uniform(st.norm.cdf(found["x"] - found["a"]))


@pytest.mark.jax_defaults
def test_whole_events(getkey):
    model = {"corr": jnp.eye(3), "parts": jnp.full((2, 4), 0.25)}
    prior = {"corr": tfd.LKJ(3, 2.0), "parts": tfd.Dirichlet(jnp.arange(1.0, 5.0))}
    found = drawn(model, prior, getkey())
    corr = found["corr"][:, [0, 0, 1], [1, 2, 2]]
    # The margins of LKJ(η) of K: Beta on (-1, 1) with both parameters η + (K − 2)/2.
    assert_uniform(st.beta(2.5, 2.5, -1, 2).cdf(np.asarray(corr, np.float64)))
    first = np.asarray(found["parts"][..., 1], np.float64)
    assert_uniform(st.beta(2.0, 8.0).cdf(first))


@pytest.mark.jax_defaults
def test_draws_under_jit_and_few_of_them(getkey):
    model = {"x": jnp.zeros((0, 2)), "y": jnp.zeros(1)}
    prior = {"x": tfd.Normal(0.0, 1.0), "y": tfd.Normal(0.0, 1.0)}
    posterior = bt.Posterior(bt.Reparam(model, None), None, prior)
    key = getkey()
    one = posterior.sample_prior(key, 1)
    assert one["x"].shape == (1, 0, 2)
    again = jax.jit(lambda key: posterior.sample_prior(key, 1))(key)
    np.testing.assert_allclose(again["y"], one["y"], rtol=1e-6)
    assert posterior.sample_prior(key, 0)["y"].shape == (0, 1)


@pytest.mark.jax_defaults
@pytest.mark.parametrize("bijector", [bt.interval(-np.pi, np.pi), bt.circular()])
def test_angles_are_drawn_onto_an_interval_of_a_turn_too(bijector, getkey):
    prior = {"x": tfd.VonMises(0.5, 2.0)}
    reparam = bt.Reparam({"x": jnp.zeros(())}, {"x": bijector})
    drawn = bt.Posterior(reparam, None, prior).sample_prior(getkey(), 4000)["x"]
    # The mean of exp(ix) is exp(i/2) I_1(2)/I_0(2).
    mean = np.exp(1j * np.asarray(drawn)).mean() * np.exp(-0.5j)
    np.testing.assert_allclose(mean, 0.6977746579640079, atol=0.03)


def test_coordinates_that_are_stretched_and_moved_take_all_values(getkey):
    lower = jnp.array([[1.0, 0.0], [0.5, 2.0]])
    white = tfb.Chain([tfb.Shift(jnp.array([1.0, 2.0])), tfb.ScaleMatvecTriL(lower)])
    model = {"x": jnp.zeros(2)}
    prior = {"x": tfd.MultivariateNormalTriL(jnp.array([3.0, -1.0]), lower)}
    posterior = bt.Posterior(bt.Reparam(model, {"x": white}), None, prior)
    drawn = posterior.sample_prior(getkey(), 4000)["x"]
    np.testing.assert_allclose(drawn.mean(axis=0), [3.0, -1.0], atol=0.2)
    np.testing.assert_allclose(jnp.cov(drawn.T), lower @ lower.T, atol=0.5)


MODEL = {"a": 1.0, "b": 2.0, "c": np.ones(2)}
REFUSED = {
    "function": (None, lambda m: -(m["a"] ** 2), "the prior is a function of the whole"),
    "no-prior": (
        None,
        {"a": tfd.Normal(0.0, 1.0), "b": None, "c": None},
        "'b' has no prior(.|\n)*'c' has no prior",
    ),
    "no-draws": (
        None,
        {
            "a": Duck(),
            "b": tfd.Normal(0.0, 1.0),
            "c": tfd.Cauchy(0.0, 1.0),
        },
        "at 'a': Duck cannot be drawn from",
    ),
    "cut-off": (
        {"a": bt.positive(), "b": bt.interval(0.0, 1.0), "c": None},
        tfd.Normal(0.0, 1.0),
        r"'a' \(positive\) does not take all values of its prior Normal(.|\n)*'b'",
    ),
    "of a turn": (
        {"a": bt.circular(), "b": None, "c": None},
        tfd.Normal(0.0, 1.0),
        r"'a' \(circular\) does not take all values of its prior Normal",
    ),
    "not known": (
        {
            "a": tfb.Inline(
                jnp.sinh,
                jnp.arcsinh,
                forward_log_det_jacobian_fn=lambda x: jnp.log(jnp.cosh(x)),
                forward_min_event_ndims=0,
            ),
            "b": None,
            "c": None,
        },
        tfd.Normal(0.0, 1.0),
        "'a' .* is not known to take all values of its prior Normal",
    ),
    "joint": (
        bt.joint(bt.ordered_vector(), over=("a", "b", "c")),
        tfd.Normal(0.0, 1.0),
        "'a', 'b', 'c' are one vector",
    ),
    "held": (
        {"a": bt.frozen, "b": None, "c": None},
        {
            "a": bt.dependent(lambda m: tfd.Normal(m["b"], 1.0)),
            "b": tfd.Normal(0.0, 1.0),
            "c": tfd.Normal(0.0, 1.0),
        },
        "'a' is held, at least in part, and its prior Normal depends on 'b'",
    ),
}


@pytest.mark.jax_defaults
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_drawn_is_refused(case, getkey):
    spec, prior, message = REFUSED[case]
    reparam = bt.Reparam(jax.tree.map(jnp.asarray, MODEL), spec)
    posterior = bt.Posterior(reparam, None, prior, verify=False)
    with pytest.raises(ValueError, match=message):
        posterior.sample_prior(getkey(), 3)


@pytest.mark.parametrize("ends", [2.0, [1.0, 2.0, 3.0]])
def test_bounds_with_fewer_axes_than_the_leaf_need_no_promotion(ends, getkey):
    # Not `jax_defaults`: what is ours stands strict promotion.
    model, upper = {"x": jnp.full((2, 3), 0.5)}, jnp.array(ends)
    found = drawn(model, {"x": tfd.Uniform(jnp.zeros_like(upper), upper)}, getkey(), 100)
    x = np.asarray(found["x"])
    assert x.shape == (100, 2, 3)
    assert np.all((x > 0) & (x < np.asarray(upper)))
    np.testing.assert_allclose(x.max(axis=(0, 1)), np.broadcast_to(upper, 3), rtol=0.1)


@pytest.mark.parametrize("shape", [0.01, 0.2])
def test_draws_that_run_out_of_numbers_are_inside_their_set(shape, precision, getkey):
    """Some two fifths of Gamma(0.01) are below the smallest number of float32."""
    model = {"g": jnp.ones(4), "b": jnp.full(3, 0.5), "w": jnp.full(4, 0.25)}
    model = jax.tree.map(lambda x: x.astype(precision), model)
    prior = {
        "g": tfd.Gamma(shape, 1.0),
        "b": tfd.Beta(shape, shape),
        "w": tfd.Dirichlet([shape] * 4),
    }
    reparam = bt.Reparam(model, bt.spec_from_prior(model, prior))
    posterior = bt.Posterior(reparam, None, prior)
    flat = posterior.flat()
    models = posterior.sample_prior(getkey(), 300)
    vectors = jax.jit(jax.vmap(flat.inverse))(models)
    assert np.isfinite(vectors).all()
    assert np.isfinite(jax.jit(jax.vmap(flat.log_density))(vectors)).all()
    for u in (0.0, 1.0):
        vector = flat.inverse(posterior.prior_transform(jnp.full(flat.dim, u, precision)))
        assert np.isfinite(vector).all()
