"""`Draws.to_arviz`: its eight groups, and the names of axes."""

import contextlib
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jaxtyping import Array, Float

import bijectree as bt
from bijectree import tfd
from bijectree.inference.arviz_data import GROUPS

arviz = pytest.importorskip("arviz")

# Likelihoods below promote as users' code does.
pytestmark = pytest.mark.jax_defaults

SCHOOLS = list("ABCDEFGH")
EFFECT = jnp.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERROR = jnp.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


class Schools(eqx.Module):
    mu: Float[Array, ""]
    tau: Float[Array, ""]
    theta: Float[Array, "school"]  # noqa: F821


def names(data: Any) -> set[str]:
    """The groups of ArviZ data of either version."""
    groups = data.groups() if callable(data.groups) else data.groups
    return {group.strip("/") for group in groups} - {""}


def schools(chains=2, n=100):
    model = Schools(jnp.array(0.0), jnp.array(1.0), jnp.zeros(8))
    prior = Schools(
        tfd.Normal(0.0, 5.0),
        tfd.HalfNormal(5.0),
        bt.dependent(lambda m: tfd.Normal(m.mu, m.tau)),
    )
    likelihood = bt.observed(lambda m, error: tfd.Normal(m.theta, error), name="effect")
    reparam = bt.Reparam(model, bt.spec_from_prior(model, prior, noncentred=True))
    posterior = bt.Posterior(reparam, likelihood, prior)
    vectors = jax.random.normal(jax.random.key(0), (chains, n, 10))
    return bt.Draws(posterior, vectors, {"diverging": jnp.zeros((chains, n), bool)})


def test_all_eight_groups_with_a_name_for_each_axis():
    draws = schools()
    data = draws.to_arviz(
        ERROR, EFFECT, dims={"effect": ["school"]}, coords={"school": tuple(SCHOOLS)}
    )
    assert names(data) == set(GROUPS)
    for group in ("posterior", "unconstrained_posterior"):
        assert data[group]["theta"].dims == ("chain", "draw", "school")
        assert data[group]["theta"].shape == (2, 100, 8)
        assert data[group]["tau"].dims == ("chain", "draw")
    for group, n in (("posterior_predictive", (2, 100)), ("prior_predictive", (1, 500))):
        assert data[group]["effect"].dims == ("chain", "draw", "school")
        assert data[group]["effect"].shape == (*n, 8)
    assert data["observed_data"]["effect"].dims == ("school",)
    assert list(data["prior"]["theta"].coords["school"].values) == SCHOOLS
    np.testing.assert_array_equal(data["observed_data"]["effect"], EFFECT)
    np.testing.assert_allclose(data["posterior"]["theta"], draws.models.theta)
    np.testing.assert_allclose(
        data["unconstrained_posterior"]["theta"], draws.vectors[..., 2:], rtol=1e-6
    )
    terms = scipy.stats.norm(draws.models.theta, ERROR).logpdf(EFFECT)
    np.testing.assert_allclose(data["log_likelihood"]["effect"], terms, rtol=1e-4)


def test_predictions_and_prior_draws_have_the_right_moments():
    draws = schools(4, 1000)
    data = draws.to_arviz(ERROR, EFFECT, prior_draws=4000, key=jax.random.key(3))
    theta, new = draws.models.theta, data["posterior_predictive"]["effect"].values
    z = (new - theta) / ERROR
    assert scipy.stats.kstest(np.ravel(z), "norm").pvalue > 1e-3
    prior = data["prior"]
    assert scipy.stats.kstest(np.ravel(prior["tau"]), "halfnorm", (0, 5)).pvalue > 1e-3
    z = (prior["theta"] - prior["mu"]) / prior["tau"]
    assert scipy.stats.kstest(np.ravel(z), "norm").pvalue > 1e-3
    z = (data["prior_predictive"]["effect"].values - prior["theta"].values) / ERROR
    assert scipy.stats.kstest(np.ravel(z), "norm").pvalue > 1e-3


def test_a_key_decides_what_is_drawn():
    draws = schools()
    groups = ["posterior_predictive", "prior"]
    first, same, other = (
        draws.to_arviz(ERROR, EFFECT, groups=groups, key=jax.random.key(k))
        for k in (0, 0, 1)
    )
    assert names(first) == set(groups)
    for group, name in (("posterior_predictive", "effect"), ("prior", "mu")):
        np.testing.assert_array_equal(first[group][name], same[group][name])
        assert not np.any(first[group][name].values == other[group][name].values)


def test_free_coordinates_are_those_beneath_an_outer_map():
    model = {"scale": jnp.array(1.0), "x": jnp.zeros(2)}
    reparam = bt.Reparam(model, {"scale": bt.positive(), "x": None})
    whitened = reparam.then(bt.tfb.Scale(jnp.array([2.0, 3.0, 4.0])))
    draws = bt.Draws(bt.Posterior(whitened, None), jnp.ones((1, 2, 3)))
    found = draws.to_arviz()["unconstrained_posterior"]
    np.testing.assert_allclose(found["scale"], np.full((1, 2), 2.0))
    np.testing.assert_allclose(found["x"], np.broadcast_to([3.0, 4.0], (1, 2, 2)))


@pytest.mark.parametrize(
    ("spec", "name", "shape"),
    [
        ({"a": bt.simplex(), "b": None}, "a", (2,)),
        ({"a": bt.joint(bt.ordered_vector()), "b": None}, "a", (3,)),
        (bt.joint(bt.ordered_vector(), over=("a", "b")), "a+b", (5,)),
    ],
)
def test_free_coordinates_of_another_shape_than_the_leaf(spec, name, shape):
    model = {"a": jnp.array([0.2, 0.3, 0.5]), "b": jnp.array([1.0, 2.0])}
    reparam = bt.Reparam(model, spec)
    draws = bt.Draws(bt.Posterior(reparam, None), jnp.zeros((1, 4, reparam.dim)))
    data = draws.to_arviz(dims={"a": ["part"]}, coords={"part": list("xyz")})
    found = data["unconstrained_posterior"][name]
    assert found.shape == (1, 4, *shape)
    assert found.dims[-1] == ("part" if shape == (3,) else f"{name}_dim_0")
    assert data["posterior"]["a"].dims[-1] == "part"


def test_events_have_one_log_density_each():
    likelihood = bt.observed(
        lambda m: tfd.MultivariateNormalDiag(m["mu"] + jnp.zeros((5, 3))), name="y"
    )
    reparam = bt.Reparam({"mu": jnp.zeros(3)}, None)
    posterior = bt.Posterior(reparam, likelihood, {"mu": tfd.Normal(0.0, 1.0)})
    draws = bt.Draws(posterior, jnp.zeros((1, 4, 3)))
    data = draws.to_arviz(jnp.ones((5, 3)), dims={"y": ["time", "axis"]})
    assert data["log_likelihood"]["y"].dims == ("chain", "draw", "time")
    assert data["prior_predictive"]["y"].dims == ("chain", "draw", "time", "axis")
    expected = -1.5 * np.log(2 * np.pi) - 1.5
    np.testing.assert_allclose(data["log_likelihood"]["y"], expected, rtol=1e-5)


def test_integers_and_half_precision():
    likelihood = bt.observed(
        lambda m: tfd.Poisson(m["rate"] * jnp.ones(3, jnp.bfloat16)), name="count"
    )
    model = {"rate": jnp.array(1.0, jnp.bfloat16)}
    reparam = bt.Reparam(model, bt.positive())
    posterior = bt.Posterior(reparam, likelihood, tfd.Gamma(2.0, 1.0))
    draws = bt.Draws(posterior, jnp.zeros((1, 4, 1)))
    groups = ["posterior", "unconstrained_posterior", "observed_data", "log_likelihood"]
    data = draws.to_arviz(np.array([0, 2, 1]), groups=groups)
    kinds = {
        data[group][name].dtype.name
        for group in names(data)
        for name in data[group].data_vars
    }
    assert kinds == {"float32", "int64"}
    assert np.isfinite(data["log_likelihood"]["count"]).all()


@pytest.mark.parametrize(
    ("likelihood", "prior", "data", "missing"),
    [
        (None, tfd.Normal(0.0, 1.0), (), "data"),
        (lambda m, y: -jnp.sum((y - m) ** 2), tfd.Normal(0.0, 1.0), (1.0,), "data"),
        ("observed", tfd.Normal(0.0, 1.0), (), "data"),
        ("observed", lambda m: -(m**2), (jnp.array(1.0),), "prior"),
        ("observed", None, (jnp.array(1.0),), "prior"),
    ],
)
def test_groups_that_cannot_be_made_are_left_out_or_refused(
    likelihood, prior, data, missing
):
    if likelihood == "observed":
        likelihood = bt.observed(lambda m: tfd.Normal(m, 1.0), name="y")
    posterior = bt.Posterior(bt.Reparam(jnp.array(0.0), None), likelihood, prior)
    draws = bt.Draws(posterior, jnp.zeros((1, 4, 1)))
    of_data = {"observed_data", "log_likelihood", "posterior_predictive"}
    of_prior = {"prior", "prior_predictive"}
    out = of_prior if missing == "prior" else of_data | {"prior_predictive"}
    useless = bool(data) and missing == "data"
    warned = pytest.warns(UserWarning, match="the data make no group, for the likelihood")
    with warned if useless else contextlib.nullcontext():
        assert names(draws.to_arviz(*data)) == set(GROUPS) - out - {"sample_stats"}
    data = () if useless else data
    for group in out:
        with pytest.raises(ValueError, match="prior|bt.observed|no data"):
            draws.to_arviz(*data, groups=[group])
    with pytest.raises(ValueError, match="come without stats"):
        draws.to_arviz(*data, groups="sample_stats")


def test_all_faults_of_groups_and_names_are_listed():
    draws = schools()
    with pytest.raises(ValueError, match="priors: there is no.*\n.*no data are"):
        draws.to_arviz(groups=["priors", "log_likelihood"])
    with pytest.raises(ValueError, match="nearest: 'effect'") as error:
        draws.to_arviz(
            ERROR, EFFECT, dims={"efect": ["a"], "mu": ["b"], "theta": "school"}
        )
    assert "dims['mu']: got the names ['b'] for the shape ()" in str(error.value)
    assert "dims['theta']: expected a list of names, got 'school'" in str(error.value)
    with pytest.raises(ValueError, match=r"coords\['school'\]: got 3 values for 8 of"):
        draws.to_arviz(coords={"school": list("abc")})
    with pytest.raises(ValueError, match=r"coords\['schol'\]: no axis.*'school'"):
        draws.to_arviz(coords={"schol": SCHOOLS})
    with pytest.raises(ValueError, match="prior_draws"):
        draws.to_arviz(prior_draws=0)


def test_a_name_of_the_user_stands_for_one_length():
    model = {"a": jnp.zeros(2), "b": jnp.zeros(3)}
    posterior = bt.Posterior(bt.Reparam(model, None), None)
    draws = bt.Draws(posterior, jnp.zeros((1, 4, 5)))
    with pytest.raises(ValueError, match="'n' names axes of unlike lengths: 2 of 'a', 3"):
        draws.to_arviz(dims={"a": ["n"], "b": ["n"]})


def test_names_of_a_model_that_do_not_agree_are_not_used():
    class Two(eqx.Module):
        a: Float[Array, "n"]  # noqa: F821
        b: Float[Array, "n m"]  # noqa: F722
        c: Float[Array, " k"] | None

    model = {"in.side/x": Two(jnp.zeros(2), jnp.zeros((3, 4)), jnp.zeros(5))}
    posterior = bt.Posterior(bt.Reparam(model, None), None)
    data = bt.Draws(posterior, jnp.zeros((1, 4, 19))).to_arviz()["posterior"]
    assert data["in.side.x.a"].dims[2:] == ("in.side.x.a_dim_0",)
    assert data["in.side.x.b"].dims[2:] == ("in.side.x.b_dim_0", "m")
    assert data["in.side.x.c"].dims[2:] == ("k",)


def test_names_that_cannot_be_names_of_axes():
    class Matrix(eqx.Module):
        covariance: Float[Array, "k k"]  # noqa: F722
        chain: Float[Array, "draw"]  # noqa: F821
        w: Float[Array, "chain"]  # noqa: F821
        n: Float[Array, "part"]  # noqa: F821

    model = Matrix(jnp.eye(3), jnp.zeros(2), jnp.zeros(2), jnp.zeros(4))
    draws = bt.Draws(bt.Posterior(bt.Reparam(model, None), None), jnp.zeros((1, 4, 17)))
    data = draws.to_arviz(dims={"w": ["part"]})["posterior"]
    assert data["covariance"].dims[2:] == ("k", "covariance_dim_1")
    assert data["chain_"].dims[2:] == ("chain__dim_0",)
    assert data["w"].dims[2:] == ("part",)
    assert data["n"].dims[2:] == ("n_dim_0",)  # its own name has another length
    with pytest.raises(ValueError, match="has a name twice") as error:
        draws.to_arviz(
            dims={"covariance": ["k", "k"], "w": ["n"], "n": ["draw"]},
        )
    assert "dims['w']: 'n' is the name of a variable" in str(error.value)
    assert "dims['n']: 'draw' is the name of a variable, or of the axis" in str(
        error.value
    )


class OnlyDensity:
    """A distribution without draws."""

    event_shape, batch_shape = (), ()

    def __init__(self, mu):
        self.mu = mu

    def log_prob(self, x):
        return tfd.Normal(self.mu, 1.0).log_prob(x)


def test_what_cannot_be_drawn_is_left_out_or_refused():
    likelihood = bt.observed(OnlyDensity, name="y")
    posterior = bt.Posterior(
        bt.Reparam(jnp.array(0.0), None), likelihood, tfd.Normal(0.0, 1.0)
    )
    draws = bt.Draws(posterior, jnp.zeros((1, 4, 1)))
    y = jnp.array(1.0)
    assert names(draws.to_arviz(y)) == set(GROUPS) - {
        *("sample_stats", "posterior_predictive", "prior_predictive")
    }
    with pytest.raises(ValueError, match="'posterior_predictive': OnlyDensity cannot be"):
        draws.to_arviz(y, groups=["posterior_predictive"])
    # What is wrong with the data is never passed over.
    with pytest.raises(ValueError, match=r"the observed value has shape \(3,\)"):
        draws.to_arviz(jnp.zeros(3))


@pytest.mark.filterwarnings("ignore")
def test_loo_and_compare_take_one_line():
    wide = schools(4, 1000)
    draws = bt.Draws(wide.posterior, 0.1 * wide.vectors)
    data = draws.to_arviz(ERROR, EFFECT)
    loo = arviz.loo(data)
    terms = data["log_likelihood"]["effect"].values.reshape(4000, 8)
    lppd = (scipy.special.logsumexp(terms, axis=0) - np.log(4000)).sum()
    found = getattr(loo, "elpd", None) or loo.elpd_loo
    assert lppd - 5 < found < lppd
    table = arviz.compare({"one": data, "same": data})
    assert set(table.index) == {"one", "same"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the chains do not agree", "ignore:too few")
def test_other_data_than_those_that_were_sampled_are_refused():
    given = schools().posterior
    draws = bt.sample(
        given, jax.random.key(0), ERROR, EFFECT, draws=50, warm_up=100, progress=False
    )
    assert names(draws.to_arviz(ERROR, EFFECT)) == set(GROUPS)
    with pytest.raises(ValueError, match="give the data that bt.sample was given"):
        draws.to_arviz(ERROR, EFFECT + 10.0)
    with pytest.raises(ValueError, match="give the data that bt.sample was given"):
        draws.to_arviz(EFFECT, ERROR)
