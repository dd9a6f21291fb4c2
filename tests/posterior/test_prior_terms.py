"""Priors beside a model: what may stand where, and what it counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st
from terms import Duck, dist

import bijectree as bt
from bijectree import tfb, tfd


def term(leaf, prior):
    """What a prior counts at a model of one leaf."""
    model = {"leaf": leaf}
    posterior = bt.Posterior(bt.Reparam(model, None), None, {"leaf": prior})
    return posterior.prior_terms(model)["leaf"]


# Builders, since the precision is set only when a test runs.
FITTING = {
    "scalar": (lambda: tfd.Normal(0.0, 2.0), (), lambda x: st.norm(0, 2).logpdf(x)),
    "iid": (lambda: tfd.Normal(0.0, 2.0), (2, 3), lambda x: st.norm(0, 2).logpdf(x)),
    "empty": (lambda: tfd.Normal(0.0, 2.0), (0,), lambda x: 0.0),
    "batch": (
        lambda: tfd.Normal([0.0, 1.0, 2.0], 1.0),
        (2, 3),
        lambda x: st.norm([0, 1, 2], 1).logpdf(x),
    ),
    "batch-column": (
        lambda: tfd.Normal([[0.0], [1.0]], 1.0),
        (2, 3),
        lambda x: st.norm([[0], [1]], 1).logpdf(x),
    ),
    "events": (
        lambda: tfd.MultivariateNormalDiag([0.0, 1.0, 2.0], [1.0, 2.0, 3.0]),
        (5, 3),
        lambda x: st.norm([0, 1, 2], [1, 2, 3]).logpdf(x),
    ),
    "independent": (
        lambda: tfd.Independent(tfd.Laplace([0.0, 1.0, 2.0], 1.0), 1),
        (3,),
        lambda x: st.laplace([0, 1, 2], 1).logpdf(x),
    ),
    "sample": (
        lambda: tfd.Sample(tfd.Normal(0.0, 1.0), 3),
        (2, 3),
        lambda x: st.norm.logpdf(x),
    ),
    "mixture": (
        lambda: tfd.MixtureSameFamily(
            tfd.Categorical(probs=[0.3, 0.7]), tfd.Normal([0.0, 1.0], [1.0, 2.0])
        ),
        (2,),
        lambda x: np.log(0.3 * st.norm(0, 1).pdf(x) + 0.7 * st.norm(1, 2).pdf(x)),
    ),
    "transformed": (
        lambda: tfd.TransformedDistribution(tfd.Normal(0.0, 1.0), tfb.Shift(1.0)),
        (2,),
        lambda x: st.norm(1, 1).logpdf(x),
    ),
    "numpyro": (lambda: dist.Normal(0.0, 2.0), (3,), lambda x: st.norm(0, 2).logpdf(x)),
    "numpyro-integers": (
        lambda: dist.Normal(0, 2),
        (3,),
        lambda x: st.norm(0, 2).logpdf(x),
    ),
    "numpyro-event": (
        lambda: dist.StudentT(3.0, 0.0, 2.0).expand([3]).to_event(1),
        (4, 3),
        lambda x: st.t(3, 0, 2).logpdf(x),
    ),
    "duck": (Duck, (2, 2), lambda x: -np.abs(x) - np.log(2.0)),
}


@pytest.mark.parametrize("name", FITTING)
def test_a_distribution_counts_once_for_each_element_or_event(name, getkey, precision):
    make, shape, expected = FITTING[name]
    for dtype in dict.fromkeys(["float32", precision.name]):
        leaf = jax.random.normal(getkey(), shape, dtype)
        found = term(leaf, make())
        assert found.shape == ()
        assert found.dtype == dtype
        rtol = 1e-5 if dtype == "float32" else 1e-13
        np.testing.assert_allclose(
            found, np.sum(expected(np.asarray(leaf, np.float64))), rtol=rtol
        )


def test_parameters_of_one_precision_serve_leaves_of_another():
    with jax.enable_x64(True):
        low, high = np.zeros(3, np.float32), np.zeros(3, np.float64)
        for parameter in (low, high):
            for leaf in (low, high):
                prior = tfd.Normal(parameter, np.ones_like(parameter))
                assert term(jnp.asarray(leaf), prior).dtype == leaf.dtype


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_leaves_have_terms_of_float32(dtype):
    leaf = jnp.linspace(0, 1, 2000).astype(dtype)
    found = term(leaf, tfd.Normal(0.0, 1.0))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(
        found, st.norm.logpdf(np.asarray(leaf, np.float64)).sum(), rtol=1e-6
    )


def test_a_prior_may_stand_above_leaves_and_skips_what_is_not_free():
    model = {"net": {"w": jnp.ones((2, 2)), "n": 3, "b": jnp.zeros(2)}, "s": jnp.ones(())}
    spec = bt.by_path(model, {"net.b": bt.frozen})
    prior = {"net": tfd.Normal(0.0, 1.0), "s": None}
    posterior = bt.Posterior(bt.Reparam(model, spec), None, prior)
    assert list(posterior.prior_terms(model)) == ["net.w"]
    assert posterior.notes == (
        "'net.b' is frozen: its prior Normal is not added, for the leaf is a constant",
    )
    assert "note: 'net.b' is frozen" in repr(posterior)


def test_a_model_may_have_a_log_prob_of_its_own():
    import equinox as eqx

    class Density(eqx.Module):
        scale: jax.Array

        def log_prob(self, x):
            return -x / self.scale

    model = Density(jnp.ones(3))
    prior = bt.by_path(model, {"scale": tfd.Normal(0.0, 1.0)})
    posterior = bt.Posterior(bt.Reparam(model, None), None, prior)
    assert list(posterior.prior_terms(model)) == ["scale"]


@pytest.mark.parametrize(
    ("make", "shape", "text"),
    [
        (lambda: tfd.Dirichlet(jnp.ones(3)), (5, 4), r"events of shape \(3,\)"),
        (
            lambda: tfd.MultivariateNormalDiag(jnp.zeros(3)),
            (1,),
            r"events of shape \(3,\)",
        ),
        (lambda: tfd.MultivariateNormalDiag(jnp.zeros(3)), (), r"events of shape \(3,\)"),
        (lambda: dist.Dirichlet(jnp.ones(3)), (2,), r"events of shape \(3,\)"),
        (
            lambda: tfd.Normal(jnp.zeros(3), 1.0),
            (),
            r"batch shape \(3,\).*never broadcast",
        ),
        (lambda: tfd.Normal(jnp.zeros(3), 1.0), (1,), r"batch shape \(3,\)"),
        (lambda: tfd.Normal(jnp.zeros((4, 1)), 1.0), (3,), r"batch shape \(4, 1\)"),
        (lambda: dist.Normal(jnp.zeros(2), 1.0), (3,), r"batch shape \(2,\)"),
        (
            lambda: tfd.MultivariateNormalDiag(jnp.zeros((3, 3))),
            (3,),
            r"batch shape \(3,\), which does not fit \(\)",
        ),
        (lambda: tfd.Bernoulli(0.5), (3,), "Bernoulli is discrete"),
        (lambda: dist.Poisson(3.0), (3,), "Poisson is discrete"),
        (
            lambda: tfd.JointDistributionSequential([tfd.Normal(0.0, 1.0)]),
            (3,),
            "several parts",
        ),
        (lambda: tfd.Normal, (3,), r"the class Normal; .*Call it: Normal\(...\)"),
        (lambda: st.norm(), (3,), "has logpdf"),
        (lambda: 3.0, (3,), "got float 3.0; expected a distribution"),
        (lambda: tfb.Exp(), (3,), "expected a distribution"),
        (lambda: lambda model: 0.0, (3,), "takes the whole model"),
    ],
)
def test_what_does_not_fit_a_leaf_is_refused_with_its_path(make, shape, text):
    model = {"a": {"leaf": jnp.ones(shape)}}
    with pytest.raises(ValueError, match=text) as error:
        bt.Posterior(bt.Reparam(model, None), None, {"a": {"leaf": make()}})
    assert "'a.leaf'" in str(error.value)


def test_all_faults_are_in_one_error():
    model = {"a": jnp.ones(2), "b": jnp.ones(3), "n": jnp.arange(2), "f": "text"}
    prior = {
        "a": tfd.Dirichlet(jnp.ones(3)),
        "b": tfd.Normal(jnp.zeros(2), 1.0),
        "n": tfd.Normal(0.0, 1.0),
        "f": tfd.Normal(0.0, 1.0),
    }
    with pytest.raises(ValueError, match="the prior does not fit") as error:
        bt.Posterior(bt.Reparam(model, None), None, prior)
    text = str(error.value)
    for part in ("'a'", "'b'", "'n' is int32 array", "'f' is str 'text'"):
        assert part in text
    assert text.count("\n  - ") == 4


def test_a_tree_of_another_structure_is_refused_with_the_stray_path():
    model = {"a": jnp.ones(2), "b": jnp.ones(3)}
    prior = {"a": tfd.Normal(0.0, 1.0), "c": tfd.Normal(0.0, 1.0)}
    with pytest.raises(ValueError, match="structure is not the model's") as error:
        bt.Posterior(bt.Reparam(model, None), None, prior)
    assert "'c' is not in the model" in str(error.value)
    assert "'b' is missing" in str(error.value)


@pytest.mark.parametrize("make", [tfd.Normal, dist.Normal], ids=["tfp", "numpyro"])
def test_new_numbers_do_not_retrace_and_have_gradients(make):
    traces = []
    model = {"leaf": jnp.ones(3)}
    reparam = bt.Reparam(model, None)

    @jax.jit
    def log_prior(posterior):
        traces.append(None)
        return posterior.log_prior(model)

    for scale in (1.0, 2.0):
        posterior = bt.Posterior(reparam, None, {"leaf": make(0.5, scale)})
        expected = 3 * st.norm(0.5, scale).logpdf(1.0)
        np.testing.assert_allclose(log_prior(posterior), expected, rtol=1e-6)
    assert len(traces) == 1


class Ramp:
    """A density without draws."""

    def log_prob(self, x):
        return -x


def _improper():
    return dist.ImproperUniform(dist.constraints.positive, (), ())


def _state_space():
    one = tfd.MultivariateNormalDiag(jnp.ones(1))
    return tfd.LinearGaussianStateSpaceModel(3, jnp.eye(1), one, jnp.eye(1), one, one)


@pytest.mark.parametrize(
    ("make", "shape"),
    [(Ramp, ()), (_improper, ()), (_state_space, (3, 1))],
    ids=["ramp", "improper", "state-space"],
)
def test_priors_that_jax_or_a_sampler_cannot_look_into(make, shape, getkey, monkeypatch):
    monkeypatch.setattr("bijectree.priors.lookup._table", dict(bt.priors.lookup._table))
    bt.register(Ramp, lambda prior: bt.positive())
    model, prior = {"a": jnp.ones(shape)}, {"a": make()}
    posterior = bt.Posterior(
        bt.Reparam(model, bt.spec_from_prior(model, prior)), None, prior
    )
    expected = prior["a"].log_prob(model["a"])
    np.testing.assert_allclose(posterior.log_prior(model), expected, rtol=1e-6)
    if make is not _state_space:
        with pytest.raises(ValueError, match=f"{type(prior['a']).__name__} cannot be dr"):
            posterior.initial(getkey(), start="prior")


def test_a_prior_that_fails_without_words_is_refused_in_words():
    class Silent:
        def log_prob(self, x):
            raise AssertionError

    reparam = bt.Reparam({"a": jnp.array(1.0)}, None)
    with pytest.raises(ValueError, match=r"'a': Silent does not fit .*: AssertionError"):
        bt.Posterior(reparam, None, {"a": Silent()})


def test_a_numpyro_prior_that_loses_its_support_is_known():
    reparam = bt.Reparam({"a": jnp.array(2.0)}, bt.greater_than(1.0))
    posterior = bt.Posterior(reparam, None, {"a": dist.Levy(1.0, 2.0)})
    expected = st.levy(1.0, 2.0).logpdf(2.0)
    found = posterior.log_prior({"a": jnp.array(2.0)})
    np.testing.assert_allclose(found, expected, rtol=1e-6)
