"""Priors that other leaves set: the density of a hierarchy written leaf by leaf."""

import functools
import warnings
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st
from jaxtyping import Array
from terms import dist

import bijectree as bt
from bijectree import tfb, tfd


class Schools(eqx.Module):
    mu: Array
    tau: Array
    theta: Array
    names: str = eqx.field(static=True, default="eight")


class Pair(NamedTuple):
    scale: Any
    effects: Any


# TFP would round Python floats to float32.
f = jnp.asarray

X = np.linspace(-1.0, 1.0, 12).reshape(6, 2)


def schools(n=8):
    """A model, its spec, its prior by path, and that prior as one function."""
    model = Schools(jnp.array(4.0), jnp.array(3.0), jnp.linspace(-1.0, 2.0, n))
    rules = {
        "mu": tfd.Normal(f(0.0), f(5.0)),
        "tau": tfd.HalfCauchy(f(0.0), f(5.0)),
        "theta": bt.dependent(lambda m: tfd.Normal(m.mu, m.tau)),
    }

    def density(m):
        top = tfd.Normal(f(0.0), f(5.0)).log_prob(m.mu)
        top = top + tfd.HalfCauchy(f(0.0), f(5.0)).log_prob(m.tau)
        return top + tfd.Normal(m.mu, m.tau).log_prob(m.theta).sum()

    spec = {"tau": bt.positive(), "theta": bt.location_scale("mu", "tau")}
    return model, spec, rules, density


def one_school():
    return schools(1)


def no_school():
    return schools(0)


def regression():
    """The location is a regression, which the non-centring follows."""
    x = X.astype(jnp.result_type(float))
    model = {"gamma": jnp.zeros(2), "tau": jnp.array(1.0), "alpha": jnp.ones(6)}

    def loc(m):
        return x @ m["gamma"]

    rules = {
        "gamma": tfd.Normal(f(0.0), f(2.0)),
        "tau": tfd.HalfNormal(f(1.5)),
        "alpha": bt.dependent(lambda m: tfd.StudentT(f(4.0), loc(m), m["tau"])),
    }

    def density(m):
        top = tfd.Normal(f(0.0), f(2.0)).log_prob(m["gamma"]).sum()
        top = top + tfd.HalfNormal(f(1.5)).log_prob(m["tau"])
        return top + tfd.StudentT(f(4.0), loc(m), m["tau"]).log_prob(m["alpha"]).sum()

    spec = {"tau": bt.positive(), "alpha": bt.location_scale(loc, "tau")}
    return model, spec, rules, density


def two_levels():
    """A named tuple of lists, three levels deep, and a vector with a normal density."""
    model = Pair({"a": jnp.array(1.0), "b": jnp.array(2.0)}, [jnp.ones(3), jnp.ones(2)])
    rules = {
        "scale.a": tfd.Gamma(f(2.0), f(1.0)),
        "scale.b": bt.dependent(lambda m: tfd.HalfStudentT(f(3.0), f(0.0), m.scale["a"])),
        "effects.0": bt.dependent(lambda m: tfd.Laplace(f(0.0), m.scale["b"])),
        "effects.1": bt.dependent(
            lambda m: tfd.MultivariateNormalDiag(
                m.effects[0][:2], m.scale["b"] * f([1.0, 1.0])
            )
        ),
    }

    def density(m):
        a, b = m.scale["a"], m.scale["b"]
        top = tfd.Gamma(f(2.0), f(1.0)).log_prob(a) + tfd.HalfStudentT(
            f(3.0), f(0.0), a
        ).log_prob(b)
        top = top + tfd.Laplace(f(0.0), b).log_prob(m.effects[0]).sum()
        last = tfd.MultivariateNormalDiag(m.effects[0][:2], f([b, b]))
        return top + last.log_prob(m.effects[1])

    spec = {"scale": bt.positive()}
    return model, spec, rules, density


def groups():
    """Wildcards: each of five groups, whose terms are computed together, its own mean."""
    model = {
        "groups": {n: {"mu": jnp.array(0.1), "theta": jnp.ones(3)} for n in "abcde"},
        "tau": jnp.array(1.0),
    }
    rules = {
        "groups.*.mu": bt.dependent(lambda m: tfd.Normal(f(0.5), m["tau"])),
        "groups.*.theta": bt.dependent(
            lambda m, g: tfd.Normal(m["groups"][g]["mu"], m["tau"])
        ),
        "tau": tfd.LogNormal(f(0.0), f(1.0)),
    }

    def density(m):
        total = tfd.LogNormal(f(0.0), f(1.0)).log_prob(m["tau"])
        for group in m["groups"].values():
            total = total + tfd.Normal(f(0.5), m["tau"]).log_prob(group["mu"])
            each = tfd.Normal(group["mu"], m["tau"]).log_prob(group["theta"])
            total = total + each.sum()
        return total

    spec = {
        "tau": bt.positive(),
        "groups.*.theta": bt.location_scale(lambda m, g: m["groups"][g]["mu"], "tau"),
    }
    return model, spec, rules, density


def moving_support():
    """The support of one prior moves with another leaf."""
    model = {"low": jnp.array(1.0), "x": jnp.array([2.0, 2.5]), "y": jnp.array(3.0)}
    rules = {
        "low": tfd.Normal(f(0.0), f(1.0)),
        "x": bt.dependent(lambda m: tfd.Uniform(m["low"], m["low"] + f(4.0))),
        "y": bt.dependent(lambda m: tfd.HalfCauchy(m["low"], f(2.0))),
    }

    def density(m):
        low = m["low"]
        top = tfd.Normal(f(0.0), f(1.0)).log_prob(low)
        top = top + tfd.Uniform(low, low + f(4.0)).log_prob(m["x"]).sum()
        return top + tfd.HalfCauchy(low, f(2.0)).log_prob(m["y"])

    spec = {
        "x": bt.dependent(lambda m: bt.interval(m["low"], m["low"] + 4.0)),
        "y": bt.dependent(lambda m: bt.greater_than(m["low"])),
    }
    return model, spec, rules, density


CASES = {
    f.__name__: f
    for f in (
        schools,
        one_school,
        no_school,
        regression,
        two_levels,
        groups,
        moving_support,
    )
}


@pytest.mark.jax_defaults
@pytest.mark.parametrize("case", CASES)
def test_the_density_is_that_of_one_function(case, precision, getkey):
    model, spec, rules, density = CASES[case]()
    reparam = bt.Reparam(model, bt.by_path(model, spec))
    by_leaf = bt.Posterior(reparam, None, bt.by_path(model, rules))
    whole = bt.Posterior(reparam, None, density)
    tolerance = 2e-5 if precision == np.float32 else 1e-12
    vectors = jax.random.normal(getkey(), (4, 24), precision)
    vectors = np.asarray(vectors)[:, : by_leaf.dim]
    both = []
    for posterior, at_model in ((by_leaf, by_leaf.prior_terms), (whole, density)):
        computed = compute(posterior.flat(), at_model, vectors, model)
        pair, one, found = jax.device_get(computed)  # JAX would compile each index
        for a, b in zip(pair, one, strict=True):
            np.testing.assert_allclose(a[0], b, rtol=tolerance, atol=tolerance)
            assert a.dtype == precision
        both.append((pair, found))
    (pair, terms), (of_whole, expected) = both
    for a, b in zip(pair, of_whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=10 * tolerance)
    np.testing.assert_allclose(sum(terms.values()), expected, rtol=tolerance)
    if precision == np.float32:  # un-jitted, which no dtype alters
        plain = by_leaf.flat().log_density(vectors[0])
        np.testing.assert_allclose(plain, pair[0][0], rtol=tolerance, atol=tolerance)


@functools.partial(jax.jit, static_argnums=(0, 1))
def compute(flat, at_model, vectors, model):
    """Densities and gradients at all vectors and at one, and a function of the model.

    They are one program, where un-jitted each operation would be one.
    """
    of_one = jax.value_and_grad(flat.log_density)
    return jax.vmap(of_one)(vectors), of_one(vectors[0]), at_model(model)


@pytest.mark.jax_defaults
def test_the_density_is_that_of_scipy():
    model, spec, rules, _ = schools()
    reparam = bt.Reparam(model, bt.by_path(model, spec))
    posterior = bt.Posterior(reparam, None, bt.by_path(model, rules))
    theta = np.asarray(model.theta)
    expected = st.norm(4.0, 3.0).logpdf(theta).sum()
    np.testing.assert_allclose(posterior.prior_terms(model)["theta"], expected, rtol=1e-6)


@pytest.mark.jax_defaults
def test_numpyro_sets_numbers_too():
    model = {"mu": jnp.array(1.0), "x": jnp.array([0.5, 2.0])}
    prior = {"mu": None, "x": bt.dependent(lambda m: dist.Cauchy(m["mu"], 2.0))}
    posterior = bt.Posterior(bt.Reparam(model, None), None, prior)
    expected = st.cauchy(1.0, 2.0).logpdf([0.5, 2.0]).sum()
    for term in (posterior.prior_terms(model), jax.jit(posterior.prior_terms)(model)):
        np.testing.assert_allclose(term["x"], expected, rtol=1e-6)


class Location(eqx.Module):
    """A function with a number of its own."""

    offset: Array

    def __call__(self, model):
        return tfd.Normal(model["mu"] + self.offset, 1.0)


def test_numbers_of_a_function_change_without_a_new_trace():
    model = {"mu": jnp.array(1.0), "x": jnp.array(0.5)}
    reparam = bt.Reparam(model, None)
    traces = 0

    @eqx.filter_jit
    def value(posterior, model):
        nonlocal traces
        traces += 1
        return posterior.log_prior(model)

    for offset in (0.0, 0.5):
        prior = {"mu": None, "x": bt.dependent(Location(jnp.array(offset)))}
        found = value(bt.Posterior(reparam, None, prior), model)
        np.testing.assert_allclose(found, st.norm.logpdf(0.5, 1.0 + offset), rtol=1e-6)
    assert traces == 1


def test_a_frozen_leaf_is_a_known_value_of_what_free_leaves_set():
    model = {"mu": jnp.array(1.0), "x": jnp.array([0.5, 2.0])}
    normal = bt.dependent(lambda m: tfd.Normal(m["mu"], 1.0))
    prior = {"mu": tfd.Normal(0.0, 1.0), "x": normal}
    posterior = bt.Posterior(bt.Reparam(model, {"mu": None, "x": bt.frozen}), None, prior)
    expected = st.norm.logpdf(1.0) + st.norm(1.0, 1.0).logpdf([0.5, 2.0]).sum()
    np.testing.assert_allclose(posterior.log_prior(model), expected, rtol=1e-6)
    assert "'x' is frozen, and its prior Normal counts all of it" in posterior.notes[0]
    # Where all that is read is held too, the prior is a constant.
    held = bt.Posterior(bt.Reparam(model, bt.frozen), None, prior)
    assert held.prior_terms(model) == {}
    assert len(held.notes) == 2


def test_held_entries_count_where_free_leaves_set_their_distribution():
    mask = np.array([True, False, True])
    model = {"mu": jnp.array(1.0), "x": jnp.array([0.5, 2.0, 3.0])}
    prior = {"mu": None, "x": bt.dependent(lambda m: tfd.Normal(m["mu"], 1.0))}
    for mu, counted in ((None, [0.5, 2.0, 3.0]), (bt.frozen, [0.5, 3.0])):
        reparam = bt.Reparam(model, {"mu": mu, "x": bt.masked(None, mask)})
        posterior = bt.Posterior(reparam, None, prior)
        expected = st.norm(1.0, 1.0).logpdf(counted).sum()
        np.testing.assert_allclose(posterior.log_prior(model), expected, rtol=1e-6)
        assert len(posterior.notes) == 1


def test_parts_of_a_masked_simplex():
    mask = np.array([True, False, True])
    model = {"a": jnp.array(2.0), "x": jnp.array([0.25, 0.0, 0.75])}
    three = bt.dependent(lambda m: tfd.Dirichlet(m["a"] * jnp.ones(3)))
    spec = {"a": bt.positive(), "x": bt.masked(bt.simplex(), mask)}
    posterior = bt.Posterior(bt.Reparam(model, spec), None, {"a": None, "x": three})
    expected = st.dirichlet([2.0, 2.0]).logpdf([0.25, 0.75])
    np.testing.assert_allclose(posterior.log_prior(model), expected, rtol=2e-5)
    rows = {"a": model["a"], "x": jnp.stack([model["x"], jnp.full(3, 1 / 3)])}
    mixed = bt.masked(bt.simplex(), np.stack([mask, np.zeros(3, bool)]))
    with pytest.raises(ValueError, match="'x': Dirichlet depends on leaves that have"):
        bt.Posterior(
            bt.Reparam(rows, {"a": bt.positive(), "x": mixed}),
            None,
            {"a": None, "x": three},
        )


def test_a_tied_leaf_is_read_as_its_source():
    model = {"a": jnp.array(1.0), "b": jnp.array(1.0), "x": jnp.array(0.5)}
    reparam = bt.Reparam(model, {"a": None, "b": bt.tied("a"), "x": None})
    normal = bt.dependent(lambda m: tfd.Normal(m["b"], 1.0))
    posterior = bt.Posterior(reparam, None, {"a": None, "b": None, "x": normal})
    gradient = jax.grad(lambda free: posterior.log_density(free))(reparam.inverse(model))
    np.testing.assert_allclose(gradient["a"], -0.5)
    with pytest.raises(ValueError, match="reads 'a' itself, of which it is the prior"):
        bt.Posterior(reparam, None, {"a": normal, "b": None, "x": None})


MODEL = {"mu": 0.5, "tau": 2.0, "theta": np.arange(3.0), "n": np.arange(2)}
FAULTS = {
    "cycle": (
        {
            "mu": lambda m: tfd.Normal(m["theta"][0], 1.0),
            "theta": lambda m: tfd.Normal(m["mu"], 1.0),
        },
        "a cycle, where each depends on the next: mu → theta → mu",
    ),
    "itself": ({"mu": lambda m: tfd.Normal(m["mu"], 1.0)}, "'mu': its function reads"),
    "no-distribution": ({"mu": lambda m: m["tau"]}, "'mu': its function: got float"),
    "bijector": ({"mu": lambda m: bt.positive()}, "'mu': its function: got the bijector"),
    "no-such-leaf": (
        {"mu": lambda m: tfd.Normal(m["tua"], 1.0)},
        "'mu': its function raised KeyError: 'tua'",
    ),
    "batch": (
        {"mu": lambda m: tfd.Normal(m["theta"], 1.0)},
        r"'mu': Normal has the batch shape \(3,\), which does not fit \(\)",
    ),
    "event": (
        {"tau": lambda m: tfd.MultivariateNormalDiag(m["theta"])},
        r"'tau': MultivariateNormalDiag has events of shape \(3,\)",
    ),
    "sort": (
        {"mu": lambda m: tfd.Normal(0.0, 1.0) if m["tau"] > 0 else tfd.Cauchy(0.0, 1.0)},
        "Only the numbers of a distribution may depend on the model",
    ),
    "another-each-time": (
        {"mu": lambda m: tfd.TransformedDistribution(tfd.Normal(0.0, 1.0), new_map())},
        "'mu': its function makes another .* at each call",
    ),
    "discrete": ({"mu": lambda m: tfd.Poisson(m["tau"])}, "'mu': Poisson has no density"),
    "wrong-density": (
        {"mu": lambda m: Doubled(m["tau"])},
        "'mu': the density of Doubled integrates to 2",
    ),
    "several": (
        {"mu": lambda m: m["tau"], "theta": lambda m: m["mu"]},
        "'mu': its function: got(.|\n)*'theta': its function: got",
    ),
}


def new_map():
    return tfb.Inline(lambda x: x, lambda x: x, lambda x: 0.0, forward_min_event_ndims=0)


@jax.tree_util.register_pytree_node_class
class Doubled:
    """A normal density that counts twice."""

    def __init__(self, scale):
        self.scale = scale

    def tree_flatten(self):
        return (self.scale,), None

    @classmethod
    def tree_unflatten(cls, aux, children):
        return cls(*children)

    def log_prob(self, x):
        return tfd.Normal(0.0, self.scale).log_prob(x) + np.log(2.0)

    def sample(self, key, shape):
        return self.scale * jax.random.normal(key, shape)


@pytest.mark.jax_defaults
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("case", FAULTS)
def test_what_cannot_stand_is_refused_by_path(case):
    functions, message = FAULTS[case]
    model = jax.tree.map(jnp.asarray, MODEL)
    reparam = bt.Reparam(model, bt.by_path(model, {"tau": bt.positive()}))
    prior = {path: bt.dependent(function) for path, function in functions.items()}
    with pytest.raises(ValueError, match=message):
        bt.Posterior(reparam, None, bt.by_path(model, prior))


def test_what_is_named_is_held_to():
    model = {"mu": jnp.array(0.5), "tau": jnp.array(2.0), "x": jnp.zeros(2)}
    reparam = bt.Reparam(model, {"mu": None, "tau": bt.positive(), "x": None})

    def bind(on):
        normal = bt.dependent(lambda m: tfd.Normal(m["mu"], m["tau"]), on)
        return bt.Posterior(reparam, None, {"mu": None, "tau": None, "x": normal})

    assert bind(("mu", "tau")).prior_plan.terms[0].on == (0, 1)
    assert bind("*").prior_plan.terms[0].on == (0, 1)
    with pytest.raises(ValueError, match="'x': its function reads 'tau', which"):
        bind("mu")
    with pytest.raises(ValueError, match="names 'sigma', which matches nothing"):
        bind(("mu", "sigma"))


def test_a_function_that_makes_another_distribution_later():
    model = {"mu": jnp.array(0.5), "x": jnp.array(1.0)}
    made = [tfd.Normal, tfd.Normal]

    def sometimes(m):
        return (made.pop() if made else tfd.Cauchy)(m["mu"], 1.0)

    prior = {"mu": None, "x": bt.dependent(sometimes)}
    reparam = bt.Reparam(model, None)
    with pytest.raises(ValueError, match="prior at 'x' made another sort"):
        bt.Posterior(reparam, None, prior)


def test_a_bijector_that_leaves_a_support_that_moves():
    model = {"low": jnp.array(1.0), "x": jnp.array(2.0)}
    prior = {"low": None, "x": bt.dependent(lambda m: tfd.Pareto(2.0, jnp.exp(m["low"])))}
    with pytest.warns(UserWarning, match="prior Pareto at 'x' has the support"):
        bt.Posterior(bt.Reparam(model, {"low": None, "x": bt.positive()}), None, prior)
    above = bt.dependent(lambda m: bt.greater_than(jnp.exp(m["low"])))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bt.Posterior(bt.Reparam(model, {"low": None, "x": above}), None, prior)


def test_bound_from_shapes_alone():
    model = {"mu": jnp.array(0.5), "s": jnp.array(2.0), "x": jnp.zeros(2)}
    shapes = jax.eval_shape(lambda: model)
    reparam = bt.Reparam(shapes, {"mu": None, "s": bt.frozen, "x": None})
    normal = bt.dependent(lambda m: tfd.Normal(m["mu"], m["s"]))
    posterior = bt.Posterior(reparam, None, {"mu": None, "s": None, "x": normal})
    expected = st.norm(0.5, 2.0).logpdf([0.0, 0.0]).sum()
    np.testing.assert_allclose(posterior.log_prior(model), expected, rtol=1e-6)


@pytest.mark.jax_defaults
def test_starts_from_the_prior_follow_what_sets_them(getkey):
    model, _, rules, _ = schools()
    rules = {**rules, "mu": tfd.Normal(100.0, 1.0), "tau": tfd.LogNormal(-5.0, 0.1)}
    reparam = bt.Reparam(model, bt.by_path(model, {"tau": bt.positive()}))
    posterior = bt.Posterior(reparam, None, bt.by_path(model, rules))
    starts = posterior.initial(getkey(), start="prior", n=50)
    models = eqx.filter_vmap(reparam.forward)(starts)
    assert np.abs(models.theta - models.mu[:, None]).max() < 0.1
    assert np.std(models.mu) > 0.5
