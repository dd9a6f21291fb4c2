"""`plot_prior`."""

import sys

import jax.numpy as jnp
import numpy as np
import pytest

import bijectree as bt
from bijectree import tfb, tfd

pytestmark = [
    pytest.mark.filterwarnings("ignore:the bijector"),
    pytest.mark.usefixtures("no_window"),
]


def posterior(bijector, prior, shape=()):
    return bt.Posterior(bt.Reparam({"x": jnp.full(shape, 0.5)}, bijector), None, prior)


def lines(axes):
    return [line.get_data() for line in axes.lines]


CASES = {
    "half-normal through exp": (bt.positive(), tfd.HalfNormal(2.0)),
    "gamma through softplus": (bt.positive(via="softplus"), tfd.Gamma(3.0, 2.0)),
    "beta through sigmoid": (bt.unit_interval(), tfd.Beta(2.0, 5.0)),
    "exponential through a falling map": (
        tfb.Chain([tfb.Exp(), tfb.Scale(-1.0)]),
        tfd.Exponential(1.0),
    ),
    "normal, far and narrow": (None, tfd.Normal(1e3, 0.1)),
    "cauchy tails": (bt.positive(), tfd.HalfCauchy(0.0, 1.0)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_free_curve_is_a_density(name, precision):
    bijector, prior = CASES[name]
    _, free = bt.plot_prior(posterior(bijector, prior), "x")
    ((y, density),) = lines(free)
    # Their tails reach beyond what is drawn, but little is there.
    assert np.trapezoid(density, y) == pytest.approx(1.0, abs=2e-3)


@pytest.mark.parametrize("name", CASES)
def test_both_curves_are_those_of_the_prior(name):
    bijector, prior = CASES[name]
    values, free = bt.plot_prior(posterior(bijector, prior), "x")
    ((x, density),), ((y, pushed),) = lines(values), lines(free)
    # A slope by differences: independent of every log-det and of autodiff.
    middle = slice(200, -200)
    slope = np.abs(np.gradient(x, y))[middle]
    expected = np.exp(np.asarray(prior.log_prob(jnp.asarray(x, jnp.float32))))
    np.testing.assert_allclose(density[middle], expected[middle], rtol=2e-2)
    np.testing.assert_allclose(pushed[middle], (density[middle] * slope), rtol=3e-2)


def test_labels_say_what_is_drawn_and_in_which_coordinates():
    values, free = bt.plot_prior(posterior(bt.positive(), tfd.HalfNormal(1.0)), "x")
    assert values.get_xlabel() == "x"
    assert values.get_ylabel() == "prior density"
    assert values.get_title() == "HalfNormal, over x"
    assert free.get_xlabel() == "free coordinate of x"
    assert free.get_ylabel() == "prior density × |Jacobian|"
    assert free.get_title() == "through positive"


def test_elements_that_differ_have_a_curve_each_and_a_label():
    priors = tfd.Normal(jnp.array([0.0, 5.0, 0.0]), 1.0)
    values, free = bt.plot_prior(posterior(None, priors, (3,)), "x")
    assert [line.get_label() for line in free.lines] == ["x.0", "x.1"]
    peaks = [x[np.argmax(p)] for x, p in lines(values)]
    np.testing.assert_allclose(peaks, [0.0, 5.0], atol=0.05)


def test_it_draws_into_axes_that_are_given():
    figure, axes = sys.modules["matplotlib.pyplot"].subplots(2, 1)
    drawn = bt.plot_prior(posterior(None, tfd.Normal(0.0, 1.0)), "x", axes=axes)
    assert [*drawn] == [*axes]
    assert len(sys.modules["matplotlib.pyplot"].get_fignums()) == 1


class _Bump:
    def log_prob(self, x):
        return -(x**2)


MODEL = {
    "alone": jnp.array(0.5),
    "bare": jnp.array(0.5),
    "count": 3,
    "follower": jnp.array(0.5),
    "held": jnp.array(0.5),
    "low": jnp.array(0.1),
    "moving": jnp.array(0.5),
    "parts": jnp.array([0.5, 0.5]),
    "vector": jnp.ones(2),
}
RULES = {
    "held": bt.frozen,
    "follower": bt.tied("alone"),
    "low": bt.joint(tfb.Ascending(), over=("low", "bare")),
    "bare": bt.joint(tfb.Ascending(), over=("low", "bare")),
    "moving": bt.dependent(lambda m: bt.greater_than(m["low"] - 1.0), on="low"),
    "parts": bt.simplex(),
}
PRIORS = {
    "alone": _Bump(),
    "bare": tfd.Normal(0.0, 1.0),
    "moving": tfd.Normal(0.0, 1.0),
    "parts": tfd.Dirichlet(jnp.ones(2)),
    "vector": tfd.MultivariateNormalDiag(jnp.zeros(2), jnp.ones(2)),
}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("alnoe", "'alnoe' matches nothing; nearest paths: 'alone'"),
        ("*", "names 9 leaves, such as 'alone', 'bare', 'count'; name one"),
        ("alone", "the prior of 'alone', Bump, has no method sample"),
        ("bare", "'bare' shares one bijector with other leaves"),
        ("count", "'count' is static: it has no free coordinate"),
        ("follower", "'follower' is tied: it has no free coordinate"),
        ("held", "'held' is frozen: it has no free coordinate"),
        ("moving", "'low' has no prior; give it a distribution"),
        ("parts", "'parts' has the bijector simplex, which maps arrays as a whole"),
        ("vector", "the prior of 'vector' is of events"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_its_path(path, message):
    rules = {k: v for k, v in RULES.items() if k != "bare"}
    reparam = bt.Reparam(MODEL, bt.by_path(MODEL, rules))
    it = bt.Posterior(reparam, None, bt.by_path(MODEL, PRIORS), verify=False)
    with pytest.raises(ValueError, match="plot_prior: ") as fault:
        bt.plot_prior(it, path)
    assert message in str(fault.value)


def test_a_leaf_without_a_prior_and_a_prior_of_the_whole_are_refused():
    model = {"a": jnp.array(1.0), "b": jnp.array(1.0)}
    reparam = bt.Reparam(model, bt.positive())
    it = bt.Posterior(reparam, None, bt.by_path(model, {"a": tfd.HalfNormal(1.0)}))
    with pytest.raises(ValueError, match="'b' has no prior.*with a prior: 'a'"):
        bt.plot_prior(it, "b")
    whole = bt.Posterior(reparam, None, lambda model: -model["a"])
    with pytest.raises(ValueError, match="the prior is a function of the whole model"):
        bt.plot_prior(whole, "a")
    mixed = bt.Posterior(reparam.then(tfb.Scale(2.0)), None, tfd.HalfNormal(1.0))
    with pytest.raises(ValueError, match="`then` mixes"):
        bt.plot_prior(mixed, "a")


def test_a_missing_matplotlib_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot")
    with pytest.raises(ImportError, match=r'matplotlib is not.*"bijectree\[plot\]"'):
        bt.plot_prior(posterior(None, tfd.Normal(0.0, 1.0)), "x")


def test_a_prior_wider_than_the_support_says_how_much_is_lost():
    wide = bt.Posterior(
        bt.Reparam(jnp.array(1.0), bt.positive()), None, tfd.Normal(0.0, 1.0)
    )
    values, free = bt.plot_prior(wide, "")
    assert "50% of it is outside the support" in values.get_title()
    assert values.get_xlim()[0] >= 0
    far = bt.Reparam(jnp.array(100.0), bt.greater_than(90.0))
    far = bt.Posterior(far, None, tfd.Normal(0.0, 1.0))
    with pytest.raises(ValueError, match="all 4000 draws of the prior"):
        bt.plot_prior(far, "")


def test_other_types_are_refused():
    it = posterior(None, tfd.Normal(0.0, 1.0))
    with pytest.raises(TypeError, match="path of a leaf, got .* and int 3"):
        bt.plot_prior(it, 3)
    with pytest.raises(TypeError, match="takes a bt.Posterior"):
        bt.plot_prior(it.reparam, "x")


def test_a_leaf_that_others_set_has_its_marginal_prior(precision):
    model = {"mu": jnp.zeros(()), "tau": jnp.array(1.5), "theta": jnp.zeros(3)}
    spec = {"mu": None, "tau": bt.frozen, "theta": bt.location_scale("mu", "tau")}
    normal = bt.dependent(lambda m: tfd.Normal(m["mu"], m["tau"]))
    prior = {"mu": tfd.Normal(1.0, 2.0), "tau": None, "theta": normal}
    hierarchy = bt.Posterior(bt.Reparam(model, spec), None, prior)
    values, free = bt.plot_prior(hierarchy, "theta")
    # θ is normal with the variance 2² + 1.5²; its free coordinate is standard normal.
    for axes, mean, scale in ((values, 1.0, 2.5), (free, 0.0, 1.0)):
        ((x, density),) = lines(axes)
        expected = np.exp(-0.5 * ((x - mean) / scale) ** 2) / scale / np.sqrt(2 * np.pi)
        np.testing.assert_allclose(density, expected, atol=0.02 / scale)
    assert values.get_title() == "Normal, over theta"
    assert free.get_title() == "through location_scale on mu, tau, λ 0"


def test_a_support_that_moves_is_drawn_inside():
    model = {"low": jnp.array(1.0), "x": jnp.array(2.0)}
    prior = {
        "low": tfd.Uniform(0.0, 1.0),
        "x": bt.dependent(lambda m: tfd.Uniform(m["low"], m["low"] + 1.0)),
    }
    spec = bt.spec_from_prior(model, prior)
    moving = bt.Posterior(bt.Reparam(model, spec), None, prior)
    values, free = bt.plot_prior(moving, "x")
    ((x, density),) = lines(values)
    # The sum of two uniform numbers: a triangle.
    np.testing.assert_allclose(density, np.minimum(x, 2.0 - x), atol=0.08)
    ((y, density),) = lines(free)
    assert np.trapezoid(density, y) == pytest.approx(1.0, abs=5e-3)
