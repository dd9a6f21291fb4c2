"""`fit_centeredness`: where the data say little, where they say much, and by element."""

import pickle

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fitted import assert_same_density, assert_stored

import bijectree as bt
from bijectree import tfb, tfd
from bijectree.learned.centeredness import _least_divergent

# Samplers and the likelihoods below promote as users' code does.
pytestmark = pytest.mark.jax_defaults

FAMILIES = {
    "normal": tfd.Normal,
    "student": lambda loc, scale: tfd.StudentT(5.0, loc, scale),
    "logistic": tfd.Logistic,
}


def hierarchy(family="normal", centeredness=0.5, groups=12):
    """Effects around mu with scale tau, observed with errors given as data."""
    model = {"mu": jnp.zeros(()), "tau": jnp.ones(()), "theta": jnp.zeros(groups)}
    make = FAMILIES[family]

    def log_prior(model):
        theta = make(model["mu"], model["tau"]).log_prob(model["theta"]).sum()
        mu = tfd.Normal(0.0, 3.0).log_prob(model["mu"])
        return mu + tfd.HalfNormal(1.0).log_prob(model["tau"]) + theta

    def log_likelihood(model, y, error):
        return tfd.Normal(model["theta"], error).log_prob(y).sum()

    theta = bt.location_scale("mu", "tau", centeredness=centeredness)
    spec = {"mu": None, "tau": bt.positive(), "theta": theta}
    return bt.Posterior(bt.Reparam(model, spec), log_likelihood, log_prior)


def data(errors, seed=0):
    rng = np.random.default_rng(seed)
    theta = rng.normal(0.5, 0.7, len(errors))
    y = rng.normal(theta, errors)
    return jnp.asarray(y), jnp.asarray(np.asarray(errors))


@pytest.mark.parametrize(
    ("truth", "apart"),
    [
        (np.zeros(20), 0.0),
        (np.ones(20), 0.0),
        (np.full(20, 0.6), 0.0),
        (np.repeat([0.1, 0.9], 10), 0.25),
        (np.empty(0), 0.0),
    ],
    ids=["none", "whole", "half", "two", "empty"],
)
def test_one_for_all_unless_they_differ(truth, apart):
    rng = np.random.default_rng(4)
    loc, log_scale = rng.normal(2.0, 0.5, (3, 75, 1)), rng.normal(0.0, 0.7, (3, 75, 1))
    eta = rng.normal(size=(3, 75, truth.size))
    theta = loc + np.exp((1 - truth) * log_scale) * (eta - truth * loc)
    draws = (np.broadcast_to(x, theta.shape) for x in (theta, loc, np.exp(log_scale)))
    scores = -eta * np.exp((truth - 0.5) * log_scale)
    found = _least_divergent(*draws, scores, np.full(truth.size, 0.5))
    assert np.abs(found - truth).max(initial=0) <= max(apart, 0.05)
    assert len(np.unique(found)) > 1 if apart else len(np.unique(found)) <= 1


@pytest.mark.parametrize(
    ("rate", "low", "high"), [(0.05, 0.15, 0.4), (0.2, 0.35, 0.65), (5.0, 0.85, 1.0)]
)
def test_a_neck_that_is_seldom_seen_counts(rate, low, high):
    # A group that data fix to ±0.04, whose scale is exponential: its coordinate must not
    # shrink in the neck, where the scale is the smaller of the two.
    rng = np.random.default_rng(2)
    scale, width = rng.exponential(rate, (4, 400, 1)), 0.04
    sd = 1 / np.sqrt(scale**-2 + width**-2)
    theta = sd * rng.normal(size=sd.shape)
    given = np.array([0.3])
    scores = -theta / sd**2 * scale ** (1 - given)
    (found,) = _least_divergent(theta, 0 * theta, scale, scores, given)
    assert low <= found <= high


def test_an_element_of_which_the_draws_say_nothing_keeps_its_own():
    eta = np.random.default_rng(0).normal(size=(3, 75, 3))
    scale = np.exp(np.random.default_rng(1).normal(size=(3, 75, 1))) * np.ones(3)
    given = np.array([0.5, 0.3, 0.4])
    theta, scores = scale * eta, -eta * scale**-given
    theta[..., 1] = np.nan
    scale[1, 3, 2] = 0.0
    found = _least_divergent(theta, np.zeros_like(theta), scale, scores, given)
    np.testing.assert_array_equal(found, [0.0, 0.3, 0.4])


@pytest.fixture(scope="module")
def mixed():
    """Six groups with much data and six with little, fitted in float64."""
    with jax.enable_x64(True):
        posterior = hierarchy()
        seen = data([0.02] * 6 + [5.0] * 6)
        fitted, report = bt.fit_centeredness(
            posterior, jax.random.key(0), *seen, progress=False
        )
    return posterior, seen, fitted, report


def test_each_element_gets_its_own(mixed):
    share = mixed[-1].centeredness["theta"]
    assert share.shape == (12,)
    assert (share[:6] > 0.9).all()
    assert (share[6:] < 0.4).all()
    assert share[6:].mean() < 0.15


def test_the_density_is_the_same(mixed):
    posterior, seen, fitted, _ = mixed
    with jax.enable_x64(True):
        model = {
            "mu": jnp.array(0.3),
            "tau": jnp.array(0.4),
            "theta": jnp.linspace(-1, 2, 12),
        }
        two, log_dets = assert_same_density(posterior, fitted, model, *seen)
        # θ = loc + scale^(1−λ) (η − λ loc), whose log-det is Σ (1−λ) log scale.
        share = mixed[-1].centeredness["theta"]
        expected = (1 - share.sum() / 12) * 12 * np.log(0.4) + np.log(0.4)
        np.testing.assert_allclose(
            fitted.forward_log_det_jacobian(two), expected, rtol=1e-12
        )
        eta = two["theta"]
        theta = 0.3 + 0.4 ** (1 - share) * (np.asarray(eta) - share * 0.3)
        np.testing.assert_allclose(theta, model["theta"], rtol=1e-12, atol=1e-12)


def test_it_is_an_ordinary_reparam(mixed):
    posterior, _, fitted, report = mixed
    with jax.enable_x64(True):
        model = {
            "mu": jnp.array(0.3),
            "tau": jnp.array(0.4),
            "theta": jnp.linspace(-1, 2, 12),
        }
        free = fitted.inverse(model)
        assert fitted.labels == posterior.reparam.labels
        bt.check(fitted, model).raise_if_failed()
        assert "location_scale on mu, tau, λ 0 to 1" in str(bt.summary(fitted, model))
        assert_stored(fitted, free)
        assert "centeredness of 'theta': 12 from" in str(report)


def test_an_affine_map_goes_on_top(mixed):
    posterior, seen, fitted, _ = mixed
    with jax.enable_x64(True):
        now = eqx.tree_at(lambda p: p.reparam, posterior, fitted)
        vectors = jax.random.normal(jax.random.key(0), (400, now.dim))
        whole, _ = bt.fit_affine(
            now, jax.random.key(1), *seen, method="draws", draws=vectors
        )
        model = {"mu": jnp.array(0.3), "tau": jnp.array(0.4), "theta": jnp.ones(12)}
        np.testing.assert_allclose(
            whole.forward(whole.inverse(model))["theta"], 1.0, rtol=1e-10
        )
        pickle.loads(pickle.dumps(whole))


def test_a_map_on_top_is_refused(mixed):
    posterior, seen, fitted, _ = mixed
    with jax.enable_x64(True):
        above = fitted.then(tfb.Scale(jnp.full(fitted.dim, 2.0)))
        now = eqx.tree_at(lambda p: p.reparam, posterior, above)
        with pytest.raises(ValueError, match="scale lies on top of the leaves"):
            bt.fit_centeredness(now, jax.random.key(0), *seen)


@pytest.mark.slow
def test_a_fit_goes_on_from_where_it_is(mixed):
    posterior, seen, fitted, _ = mixed
    with jax.enable_x64(True):
        now = eqx.tree_at(lambda p: p.reparam, posterior, fitted)
        again, second = bt.fit_centeredness(
            now, jax.random.key(1), *seen, steps=50, progress=False
        )
        assert jax.tree.structure(again) == jax.tree.structure(fitted)  # no new trace
        share = second.centeredness["theta"]
        assert (share[:6] > 0.9).all()
        assert share[6:].mean() < 0.25


@pytest.mark.slow
@pytest.mark.parametrize("family", ["student", "logistic"])
@pytest.mark.parametrize(("error", "low", "high"), [(5.0, 0.0, 0.2), (0.02, 0.9, 1.0)])
def test_any_location_scale_family(family, error, low, high, precision):
    _, report = bt.fit_centeredness(
        hierarchy(family),
        jax.random.key(2),
        *(x.astype(precision) for x in data([error] * 12)),
        progress=False,
    )
    assert low <= report.centeredness["theta"].mean() <= high


@pytest.mark.slow
def test_one_item_at_two_leaves_and_a_joint():
    """Leaves that shared a number get their own, also within a joint; ties stay."""
    model = {
        "tau": jnp.ones(()),
        "rich": jnp.zeros(3),
        "poor": jnp.zeros((2, 2)),
        "both": {"x": jnp.zeros(2), "y": jnp.zeros(())},
        "copy": jnp.zeros(3),
        "held": jnp.array(4.0),
    }
    item = bt.location_scale(0.0, "tau", centeredness=0.5)
    spec = {
        "tau": bt.positive(),
        "rich": item,
        "poor": item,
        "both": bt.joint(bt.location_scale(0.0, "tau")),
        "copy": bt.tied("rich"),
        "held": bt.frozen,
    }

    def log_density(model):
        parts = ("rich", "poor")
        all_of = [model[name].ravel() for name in parts] + [
            model["both"]["x"],
            model["both"]["y"][None],
        ]
        effects = jnp.concatenate(all_of)
        prior = tfd.Normal(0.0, model["tau"]).log_prob(effects).sum()
        likelihood = tfd.Normal(model["copy"], 0.02).log_prob(jnp.ones(3)).sum()
        return prior + likelihood + tfd.LogNormal(0.0, 0.7).log_prob(model["tau"])

    posterior = bt.Posterior(bt.Reparam(model, spec), log_density)
    fitted, report = bt.fit_centeredness(posterior, jax.random.key(0), progress=False)
    shapes = {path: share.shape for path, share in report.centeredness.items()}
    assert shapes == {"rich": (3,), "poor": (2, 2), "both.x": (3,)}
    assert report.centeredness["rich"].min() > 0.8
    assert report.centeredness["poor"].mean() < 0.2
    some = jax.tree.map(lambda x: x + 0.25, model)
    some["copy"], some["held"] = some["rich"], model["held"]
    back = fitted.forward(fitted.inverse(some))
    for one, two in zip(jax.tree.leaves(back), jax.tree.leaves(some), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5)


def test_no_such_leaf():
    reparam = bt.Reparam({"x": jnp.zeros(3)}, None)
    posterior = bt.Posterior(reparam, None, tfd.Normal(0.0, 1.0))
    with pytest.raises(ValueError, match="no leaf of the spec is a bt.location_scale"):
        bt.fit_centeredness(posterior, jax.random.key(0))


def test_gradients_that_are_not_finite():
    """Finite where it starts, and nowhere else."""
    model = {"tau": jnp.ones(()), "x": jnp.zeros(2)}
    spec = {"tau": bt.positive(), "x": bt.location_scale(0.0, "tau")}

    def log_density(model):
        return -jnp.sum(model["x"] ** 2) - jnp.sqrt(1e-12 - (model["tau"] - 1) ** 2)

    posterior = bt.Posterior(bt.Reparam(model, spec), log_density)
    with pytest.raises(ValueError, match="log-density is not finite at 'tau'"):
        bt.fit_centeredness(posterior, jax.random.key(0), start=model, progress=False)


def test_a_location_that_is_a_regression_is_followed():
    x = np.linspace(-1.0, 1.0, 24, dtype=np.float32).reshape(12, 2)
    model = {"gamma": jnp.zeros(2), "tau": jnp.ones(()), "theta": jnp.zeros(12)}
    prior = {
        "gamma": tfd.Normal(0.0, 3.0),
        "tau": tfd.HalfNormal(1.0),
        "theta": bt.dependent(lambda m: tfd.Normal(x @ m["gamma"], m["tau"])),
    }

    def log_likelihood(model, y):
        return tfd.Normal(model["theta"], 10.0).log_prob(y).sum()

    spec = bt.spec_from_prior(model, prior, noncentred=True)
    posterior = bt.Posterior(bt.Reparam(model, spec), log_likelihood, prior)
    fitted, report = bt.fit_centeredness(
        posterior, jax.random.key(0), jnp.zeros(12), steps=100, progress=False
    )
    assert report.centeredness["theta"].mean() < 0.2  # the data say little
    assert_same_density(posterior, fitted, model, jnp.zeros(12))


MASK = np.array([True, False, True, True, True, True])


def masked(tau, share):
    """Effects of which the second is held, around 0 with errors given as data."""
    model = {"tau": tau, "theta": jnp.zeros(6)}
    theta = bt.masked(bt.location_scale(0.0, "tau", share), MASK)

    def log_prior(model):
        effects = tfd.Normal(0.0, model["tau"]).log_prob(model["theta"])[MASK].sum()
        return effects + tfd.LogNormal(0.0, 1.0).log_prob(model["tau"]).sum()

    def log_likelihood(model, y, error):
        return tfd.Normal(model["theta"], error).log_prob(y).sum()

    reparam = bt.Reparam(model, {"tau": bt.positive(), "theta": theta})
    return bt.Posterior(reparam, log_likelihood, log_prior)


MASKED = {
    "one scale": (jnp.ones(()), 0.5),
    "a scale each": (jnp.ones(6), 0.5),
    "a share each": (jnp.ones(6), np.full(6, 0.5)),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # so few draws
@pytest.mark.parametrize("case", MASKED)
def test_entries_of_a_masked_leaf(case):
    posterior = masked(*MASKED[case])
    y, error = jnp.linspace(-2.0, 2.0, 6), jnp.array([0.01, 1.0, 0.01, 50.0, 50.0, 50.0])
    options = {"warm_up": 400, "draws": 100, "progress": False}
    draws = bt.sample(posterior, jax.random.key(2), y, error, **options)
    share = draws.report.centeredness["theta"]
    assert share.shape == (6,)
    assert share[[0, 2]].min() > 0.6
    assert share[3:].mean() < 0.4
    assert share[1] == 0.5  # it is held
    # The density of the learned coordinates is that of the model, plus their log-det.
    model = {"tau": 2 * MASKED[case][0], "theta": jnp.zeros(6).at[0].set(1.0)}
    found = []
    for one in (posterior, draws.posterior):
        free = one.reparam.inverse(model)
        log_det = one.reparam.forward_log_det_jacobian(free)
        found.append(one.log_density(free, y, error) - log_det)
    np.testing.assert_allclose(*found, rtol=1e-5)


@pytest.mark.parametrize(("error", "low", "high"), [(0.01, 0.7, 1.0), (10.0, 0.0, 0.4)])
def test_one_chain_is_enough(error, low, high):
    posterior = hierarchy(groups=8)
    y, errors = data(np.full(8, error))
    options = {"chains": 1, "draws": 100, "progress": False}
    with pytest.warns(UserWarning, match="one chain alone"):
        draws = bt.sample(posterior, jax.random.key(1), y, errors, **options)
    assert low <= draws.report.centeredness["theta"].mean() <= high


def test_float32_leaves_where_float64_is_enabled():
    with jax.enable_x64(True):
        model = {"tau": np.ones((), np.float32), "x": np.zeros(4, np.float32)}
        spec = {"tau": bt.positive(), "x": bt.location_scale(0.0, "tau", 1.0)}

        def log_density(m):
            effects = tfd.Normal(np.float32(0.0), m["tau"]).log_prob(m["x"]).sum()
            return effects - 2 * jnp.log(m["tau"]) ** 2 - jnp.log(m["tau"])

        posterior = bt.Posterior(bt.Reparam(model, spec), log_density)
        draws = bt.sample(posterior, jax.random.key(0), progress=False)
        tau = draws.summary()["tau"]
    assert draws.report.centeredness["x"].mean() < 0.4
    # log τ is normal with a standard deviation of a half.
    mcse = tau.sd / np.sqrt(tau.ess)
    assert abs(tau.mean - np.exp(0.125)) < 5 * mcse
