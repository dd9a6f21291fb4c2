"""The warm-up: the map, λ, the step size and modes without weight."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bijectree as bt
from bijectree import tfd
from bijectree.learned import low_rank
from bijectree.learned.centeredness import recentred, with_own_shares, with_shares
from bijectree.posterior import Target
from bijectree.sampling import warm_up
from bijectree.sampling.chains import Standing, Steps
from bijectree.sampling.light_modes import leave_light_modes
from bijectree.sampling.tuned import untuned

pytestmark = [
    pytest.mark.jax_defaults,
    # So few draws are not to be trusted.
    pytest.mark.filterwarnings("ignore:the chains do not", "ignore:too few independent"),
    pytest.mark.filterwarnings("ignore:. of .* transitions diverged"),
]

MEAN = np.array([100.0, -3.0, 0.01, 5.0])
RNG = np.random.default_rng(0)
FACTOR = np.diag([10.0, 1.0, 1e-3, 2.0]) @ np.linalg.qr(RNG.normal(size=(4, 4)))[0]
COVARIANCE = FACTOR @ FACTOR.T + np.diag([1.0, 0.1, 1e-7, 0.5])


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def gaussian(mean=MEAN, covariance=COVARIANCE):
    root = jnp.linalg.cholesky(jnp.asarray(covariance, float))
    normal = tfd.MultivariateNormalTriL(jnp.asarray(mean, float), root)
    model = {"x": jnp.zeros(len(mean))}
    return bt.Posterior(bt.Reparam(model, None), lambda m: normal.log_prob(m["x"]))


def sample(posterior, key, *data, **options):
    return bt.sample(posterior, key, *data, progress=False, **options)


def test_windows_make_up_the_whole():
    for total in (1, 2, 7, 15, 100, 300, 1000):
        sizes = list(warm_up.windows(total))
        assert sum(size for size, _ in sizes) == total
        assert all(size > 0 for size, _ in sizes)
    assert [size for size, _ in warm_up.windows(300)] == [20, 20, 40, 60, 80, 80]


def test_the_learned_map_of_a_normal_density_is_exact(x64, getkey):
    draws = sample(gaussian(), getkey(), draws=50, warm_up=150)
    fitted = draws.report.tuned.outer.affine
    at = fitted.forward(np.eye(4)) - fitted.forward(np.zeros((4, 4)))
    np.testing.assert_allclose(at.T @ at, COVARIANCE, rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(fitted.forward(np.zeros(4)), MEAN, rtol=1e-6)
    assert draws.report.condition_before > 1e6


def test_density_and_vectors_agree_with_the_learned_posterior(getkey):
    posterior = gaussian()
    for coordinates in ("learned", "given"):
        draws = sample(
            posterior, getkey(), draws=20, warm_up=100, coordinates=coordinates
        )
        flat = draws.posterior.flat()
        density = jax.vmap(jax.vmap(flat.log_density))(draws.vectors)
        np.testing.assert_allclose(density, draws.stats["lp"], rtol=1e-3, atol=1e-2)
        same = draws.posterior.reparam is posterior.reparam
        assert same == (coordinates == "given")


def test_moments_are_right_in_both_coordinates(x64, getkey):
    for coordinates in ("learned", "given"):
        draws = sample(gaussian(), getkey(), coordinates=coordinates, draws=2000)
        x = np.asarray(draws.models["x"]).reshape(-1, 4)
        sd = np.sqrt(np.diag(COVARIANCE))
        np.testing.assert_allclose((x.mean(axis=0) - MEAN) / sd, 0, atol=0.08)
        size = np.outer(sd, sd)
        np.testing.assert_allclose(np.cov(x.T) / size, COVARIANCE / size, atol=0.1)


def test_the_mean_acceptance_is_what_was_aimed_at(getkey):
    posterior = gaussian(np.zeros(30), np.eye(30))
    for rate in (0.6, 0.9):
        draws = sample(
            posterior,
            getkey(),
            target_acceptance=rate,
            warm_up=300,
            draws=200,
        )
        assert abs(np.mean(draws.stats["acceptance_rate"]) - rate) < 0.06


@pytest.mark.parametrize("dim", [8, 12])
def test_steps_that_close_the_orbits_are_left_for_longer_ones(dim, getkey):
    # At an acceptance of 0.8 the step is about 0.87, of which seven close an orbit.
    draws = sample(gaussian(np.zeros(dim), np.eye(dim)), getkey(), draws=200)
    assert draws.report.step_size > 0.95
    assert np.mean(draws.stats["n_steps"]) < 4


def test_steps_are_not_longer_where_the_density_is_far_from_normal(x64):
    """A line through eight points: where the scatter is small, long steps diverge."""
    x = np.linspace(-3, 4, 8)
    y = 1 + x + 0.1 * np.array([1.2, -0.6, 0.3, -1.4, 0.9, 0.2, -1.1, 0.5])

    def log_likelihood(model):
        mean = model["a"] + model["b"] * x
        return tfd.Normal(mean, model["sd"]).log_prob(y).sum()

    model = {"a": jnp.zeros(()), "b": jnp.zeros(()), "sd": jnp.ones(())}
    reparam = bt.Reparam(model, {"a": None, "b": None, "sd": bt.positive()})
    posterior = bt.Posterior(reparam, log_likelihood)
    diverged = 0
    for seed in range(4):
        draws = sample(posterior, jax.random.key(seed))
        assert np.mean(draws.stats["acceptance_rate"]) > 0.75
        diverged += int(np.sum(draws.stats["diverging"]))
    assert diverged <= 2  # of 16,000; with longer steps about ten


def test_directions_are_kept_only_where_they_pay():
    z = RNG.normal(size=(4, 100, 6))
    groups = [(x, -x) for x in z]
    assert low_rank.from_scores_of_chains(groups, 6).root.size == 0
    wide = np.diag([1.0, 1, 1, 1, 1, 1]) + 0.9 * (1 - np.eye(6))
    root = np.linalg.cholesky(wide)
    groups = [(x @ root.T, -np.linalg.solve(root.T, x.T).T) for x in z]
    fitted = low_rank.from_scores_of_chains(groups, 6)
    found = fitted.forward(np.eye(6)) - fitted.forward(np.zeros((6, 6)))
    np.testing.assert_allclose(found.T @ found, wide, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dim", [3, 40, 500])
def test_a_map_is_found_from_few_draws_of_many_coordinates(dim):
    direction = RNG.normal(size=dim)
    direction /= np.linalg.norm(direction)
    z = RNG.normal(size=(4, 60, dim))
    x = z + 9 * (z @ direction)[..., None] * direction
    scores = -(z - 0.9 * (z @ direction)[..., None] * direction)
    groups = list(zip(x, scores, strict=True))
    fitted = low_rank.from_scores_of_chains(groups, min(dim, 16))
    moved = fitted.inverse(x.reshape(-1, dim))
    assert np.var(x.reshape(-1, dim) @ direction) > 80
    assert abs(np.var(moved @ direction) - 1) < (0.3 if dim < 100 else 3)


def test_too_few_draws_and_draws_that_are_not_finite_teach_nothing():
    x = RNG.normal(size=(19, 2))
    assert low_rank.from_scores_of_chains([(x, -x)], 2) is None
    bad = np.full((50, 2), np.nan)
    assert low_rank.from_scores_of_chains([(bad, bad)] * 4, 2) is None
    flat = RNG.normal(size=(50, 2))
    fitted = low_rank.from_scores_of_chains([(flat, flat * [-1.0, 0.0])], 2)
    assert np.isfinite(fitted.scale).all()
    assert fitted.scale[1] == 1


def test_a_chain_in_a_mode_without_weight_is_moved(getkey):
    def two_modes(model):
        x = model["x"]
        near = tfd.Normal(jnp.zeros(3), 1.0).log_prob(x).sum()
        far = tfd.Normal(30.0 * jnp.ones(3), 1.0).log_prob(x).sum() - 60.0
        return jnp.logaddexp(near, far)

    posterior = bt.Posterior(bt.Reparam({"x": jnp.zeros(3)}, None), two_modes)
    draws = sample(posterior, getkey(), start={"x": 30.0 * jnp.ones(3)}, jitter=0.1)
    # All chains are in the same mode: none is lighter than the others.
    assert draws.report.moved == 0
    assert np.mean(draws.models["x"]) > 29
    start = np.array([[30.0] * 3, [0.0] * 3, [30.0] * 3, [0.0] * 3], np.float32)
    given = Target(posterior, ())
    state = standing_at(given, start)
    kept = noise_around(state, start)
    state.kept = [kept]
    leave_light_modes(state)
    assert state.moved == 2
    assert np.abs(state.standing.vectors).max() < 10
    assert np.abs(state.kept[0].vectors).max() < 10


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("total", [1, 4, 15, 30, 60])
def test_a_short_warm_up_ends_well(total, getkey):
    draws = sample(
        hierarchy(0.0, 1.0), getkey(), jnp.zeros(8), warm_up=total, draws=10, chains=3
    )
    assert np.isfinite(draws.vectors).all()
    assert draws.vectors.shape == (3, 10, 10)


def test_equal_modes_are_left_to_stand():
    def two_modes(model):
        near = tfd.Normal(0.0, 1.0).log_prob(model["x"])
        far = tfd.Normal(30.0, 0.01).log_prob(model["x"])
        return jnp.logaddexp(near, far)

    posterior = bt.Posterior(bt.Reparam({"x": jnp.zeros(())}, None), two_modes)
    start = np.array([[30.0], [0.0], [30.0], [0.0]], np.float32)
    state = standing_at(Target(posterior, ()), start)
    # Thin and high weighs as much as wide and low.
    state.kept = [noise_around(state, start, scale=np.where(start > 1, 0.01, 1.0))]
    leave_light_modes(state)
    assert state.moved == 0


@pytest.mark.parametrize("dim", [10, 40])
def test_modes_of_equal_weight_with_other_correlations_are_left_to_stand(dim):
    root = np.linalg.cholesky(0.99 ** np.abs(np.subtract.outer(*[np.arange(dim)] * 2)))
    far = tfd.MultivariateNormalTriL(30.0 * jnp.ones(dim), jnp.asarray(root, float))
    near = tfd.MultivariateNormalDiag(jnp.zeros(dim), jnp.ones(dim))

    def both(m):
        return jnp.logaddexp(near.log_prob(m["x"]), far.log_prob(m["x"]))

    posterior = bt.Posterior(bt.Reparam({"x": jnp.zeros(dim)}, None), both)
    start = np.array([[30.0] * dim, [0.0] * dim] * 2, np.float32)
    state = standing_at(Target(posterior, ()), start)
    kept = noise_around(state, start)
    z = kept.vectors - start[:, None]
    x = start[:, None] + np.where(start[:, :1, None] > 1, z @ root.T, z)
    density, gradients = evaluated(state, x.astype(np.float32))
    state.kept = [kept._replace(vectors=x, log_density=density, gradients=gradients)]
    leave_light_modes(state)
    assert state.moved == 0


def test_chains_of_many_coordinates_that_move_unlike_are_left_to_stand():
    normal = tfd.Normal(0.0, 1.0)
    reparam = bt.Reparam({"x": jnp.zeros(400)}, None)
    posterior = bt.Posterior(reparam, lambda m: normal.log_prob(m["x"]).sum())
    start = RNG.normal(size=(4, 400)).astype(np.float32)
    state = standing_at(Target(posterior, ()), start)
    state.kept = [
        noise_around(state, start, scale=np.array([[1.0], [0.8], [0.1], [1.0]]))
    ]
    leave_light_modes(state)
    assert state.moved == 0


def standing_at(given, start):
    density, gradients = jax.device_get(
        jax.vmap(jax.value_and_grad(given))(jnp.asarray(start))
    )
    tuned = untuned(given, learn=True)
    standing = Standing(start.copy(), np.array(density), np.array(gradients))
    return warm_up.begin(given, tuned, standing, acceptance=0.7)


def noise_around(state, start, scale=1.0):
    noise = RNG.normal(size=(len(start), 40, start.shape[1])).astype(np.float32)
    x = start[:, None] + np.broadcast_to(scale, start.shape)[:, None] * noise
    density, gradients = evaluated(state, x.astype(np.float32))
    return Steps(x, density, gradients, *[np.zeros(x.shape[:2])] * 5)


def evaluated(state, x):
    both = jax.vmap(jax.vmap(jax.value_and_grad(state.given)))
    return tuple(map(np.array, both(jnp.asarray(x))))


@functools.cache
def hierarchy(centeredness, error):
    model = {"mu": jnp.zeros(()), "tau": jnp.ones(()), "theta": jnp.zeros(8)}
    theta = bt.location_scale("mu", "tau", centeredness=centeredness)
    spec = {"mu": None, "tau": bt.positive(), "theta": theta}

    def prior(m):
        total = tfd.Normal(0.0, 5.0).log_prob(m["mu"])
        total += tfd.LogNormal(0.0, 1.0).log_prob(m["tau"])
        return total + tfd.Normal(m["mu"], m["tau"]).log_prob(m["theta"]).sum()

    def log_likelihood(m, y):
        return tfd.Normal(m["theta"], error).log_prob(y).sum()

    return bt.Posterior(bt.Reparam(model, spec), log_likelihood, prior)


@pytest.mark.parametrize(("error", "low", "high"), [(10.0, 0.0, 0.3), (0.01, 0.7, 1.0)])
@pytest.mark.parametrize("given", [0.0, 1.0])
def test_centeredness_is_learned_in_the_warm_up(error, low, high, given, getkey):
    y = jnp.linspace(-2.0, 2.0, 8)
    draws = sample(hierarchy(given, error), getkey(), y, draws=200)
    assert draws.stats["diverging"].sum() <= 2
    share = draws.report.centeredness["theta"]
    assert share.shape == (8,)
    assert low <= np.mean(share) <= high
    # The density of the learned coordinates is that of the model, plus their log-det.
    reparam = draws.posterior.reparam
    free = reparam.unravel(draws.vectors[0, 0])
    model, log_det = reparam.forward_and_log_det(free)
    parts = sum(draws.posterior.prior_terms(model).values())
    expected = parts + draws.posterior.log_likelihood(model, y) + log_det
    np.testing.assert_allclose(draws.stats["lp"][0, 0], expected, rtol=1e-4, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("error", [10.0, 1.0, 0.1])
def test_a_hierarchy_has_no_divergences_and_the_same_means(error, getkey):
    y = jnp.linspace(-2.0, 2.0, 8)
    found = [
        sample(hierarchy(share, error), getkey(), y, draws=2000) for share in (0.0, 1.0)
    ]
    for draws in found:
        assert draws.stats["diverging"].sum() <= 2
    means = [np.mean(np.log(draws.models["tau"])) for draws in found]
    np.testing.assert_allclose(*means, atol=0.1)


def test_a_map_above_the_leaves_is_left_alone(getkey):
    posterior = hierarchy(0.5, 1.0)
    above = posterior.reparam.then(bt.tfb.Scale(2.0))
    target = Target(posterior, ()).through(above)
    draws = sample(target.posterior, getkey(), jnp.zeros(8), draws=50)
    assert draws.report.centeredness == {}


def test_gradients_are_taken_to_other_centeredness(x64, getkey):
    posterior, y = hierarchy(0.2, 1.0), jnp.linspace(-1.0, 1.0, 8)
    reparam, at = with_own_shares(posterior.reparam)
    before = Target(posterior, (y,)).through(reparam)
    after = before.through(with_shares(reparam, at, [jnp.linspace(0.0, 1.0, 8)]))
    z = jax.random.normal(getkey(), (5, posterior.dim))
    density, gradients = jax.vmap(jax.value_and_grad(before))(z)
    moved, found, more = recentred(before, after, z, gradients)
    expected, slope = jax.vmap(jax.value_and_grad(after))(moved)
    np.testing.assert_allclose(density + more, expected, rtol=1e-10)
    np.testing.assert_allclose(found, slope, rtol=1e-8, atol=1e-10)


def test_a_gradient_that_is_not_finite_is_named(getkey):
    def log_likelihood(m):
        return jnp.sqrt(m["bad"]) - 40 * m["bad"] - m["good"] ** 2

    model = {"good": jnp.zeros(()), "bad": jnp.zeros(())}
    posterior = bt.Posterior(bt.Reparam(model, None), log_likelihood)
    with pytest.raises(ValueError, match="not finite at 'bad'"):
        sample(
            posterior, getkey(), start={"good": jnp.zeros(()), "bad": jnp.array(0.001)}
        )


def test_chains_that_cannot_move_are_an_error(getkey):
    def log_likelihood(m):
        return jnp.where(m["x"] == 1.0, -m["x"], -jnp.inf)

    posterior = bt.Posterior(bt.Reparam({"x": jnp.zeros(())}, None), log_likelihood)
    with pytest.raises(ValueError, match="none of 4 chains moved"):
        sample(posterior, getkey(), start={"x": jnp.ones(())})
