"""`fit_affine`: from draws, gradients and the mode, on densities known exactly."""

from io import StringIO

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fitted import assert_same_density, assert_stored

import bijectree as bt
from bijectree import tfb, tfd

# Samplers and the likelihoods below promote as users' code does.
pytestmark = pytest.mark.jax_defaults

LABELS = ["a.0", "a.1", "b.0", "b.1", "b.2"]


def covariance(dim=5, condition=100.0):
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(dim, dim)))[0]
    return q * np.geomspace(0.1, 0.1 * condition, dim) @ q.T


def normal():
    """A posterior that is normal in its free coordinates, and its mean."""
    model = {"a": jnp.ones(2), "b": jnp.ones(3), "fixed": jnp.array(7.0)}
    spec = {"a": bt.positive(), "b": None, "fixed": bt.frozen}
    mean = np.array([0.5, -1.0, 2.0, 0.0, 30.0])
    precision = jnp.asarray(np.linalg.inv(covariance()))

    def log_likelihood(model, shift):
        x = jnp.concatenate([jnp.log(model["a"]), model["b"]]) - shift
        # Minus the log-det of exp: the density of the free coordinates is the normal one.
        return -0.5 * x @ precision @ x - jnp.log(model["a"]).sum()

    return bt.Posterior(bt.Reparam(model, spec), log_likelihood), jnp.asarray(mean)


def exact(n=400, chains=4):
    """Draws from it."""
    rng = np.random.default_rng(1)
    _, mean = normal()
    return rng.multivariate_normal(np.asarray(mean), covariance(), (chains, n))


METHODS = {
    "fisher": {"method": "fisher", "progress": False},
    "laplace": {"method": "laplace"},
    "draws": {"method": "draws", "draws": exact()},
}


SOME_SLOW = [
    "draws",
    *(pytest.param(m, marks=pytest.mark.slow) for m in ("fisher", "laplace")),
]


@pytest.fixture(scope="module", params=SOME_SLOW, ids=str)
def fitted(request):
    """A dense fit of each method, in float64."""
    with jax.enable_x64(True):
        posterior, mean = normal()
        found = bt.fit_affine(
            posterior, jax.random.key(0), mean, rank=None, **METHODS[request.param]
        )
        return request.param, posterior, mean, *found


def test_the_covariance_is_whitened(fitted):
    method, posterior, mean, reparam, report = fitted
    with jax.enable_x64(True):
        to_base = posterior.reparam
        z = jnp.eye(5)
        x = jax.vmap(
            lambda z: to_base.ravel(to_base.inverse(reparam.forward(reparam.unravel(z))))
        )(jnp.concatenate([jnp.zeros((1, 5)), z]))
    a = np.asarray(x[1:] - x[0]).T
    # The gradients of a normal density give it exactly, draws alone to their noise.
    noise = {"draws": 0.2}.get(method, 1e-6)
    whitened = np.linalg.solve(a, np.linalg.solve(a, covariance()).T)
    np.testing.assert_allclose(whitened, np.eye(5), atol=noise)
    np.testing.assert_allclose(np.linalg.solve(a, x[0] - mean), 0, atol=noise)
    assert report.fisher_after < max(1e-8, noise)
    assert report.fisher_before > 100
    assert report.condition_before > 10 * report.condition_after
    assert report.gradients >= report.gradients_held_out >= 0
    assert report.gradients > 0


def test_the_density_is_the_same(fitted):
    """At one model, the log-densities differ by the log-dets and by nothing else."""
    _, posterior, mean, reparam, _ = fitted
    with jax.enable_x64(True):
        model = {"a": jnp.array([0.3, 2.0]), "b": jnp.array([1.0, -2.0, 28.0])}
        model["fixed"] = jnp.array(7.0)
        two, log_dets = assert_same_density(posterior, reparam, model, mean)
        jacobian = jax.jacobian(
            lambda z: jnp.concatenate(
                [jnp.log((m := reparam.forward(reparam.unravel(z)))["a"]), m["b"]]
            )
        )(reparam.ravel(two))
        np.testing.assert_allclose(
            np.linalg.slogdet(jacobian)[1], log_dets, rtol=0, atol=1e-10
        )


def test_it_is_an_ordinary_reparam(fitted):
    _, posterior, mean, reparam, report = fitted
    with jax.enable_x64(True):
        model = {"a": jnp.ones(2), "b": jnp.ones(3), "fixed": jnp.array(7.0)}
        free = reparam.inverse(model)
        back = reparam.forward(free)
        np.testing.assert_allclose(back["b"], model["b"], rtol=1e-12)
        assert back["fixed"] == 7.0
        assert reparam.labels == LABELS
        bt.check(reparam, model).raise_if_failed()
        assert "positive" in str(bt.summary(reparam, model))
        assert_stored(reparam, free)
        assert jax.tree.structure(free) == jax.tree.structure(
            posterior.reparam.inverse(model)
        )
        assert "Fisher divergence" in str(report)


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("method", SOME_SLOW)
def test_ranks(method, rank, precision):
    posterior, mean = normal()
    _, report = bt.fit_affine(
        posterior, jax.random.key(3), mean, rank=rank, **METHODS[method]
    )
    assert report.fisher_after < (0.5 if rank else 0.9) * report.fisher_before
    assert f"{'rank 2' if rank else 'diagonal'}" in str(report)


def test_draws_through_another_reparam():
    posterior, mean = normal()
    model = {"a": jnp.ones(2), "b": jnp.ones(3), "fixed": jnp.array(7.0)}
    spec = {"a": tfb.Softplus(), "b": bt.affine(1.0, 3.0), "fixed": bt.frozen}
    reparam = bt.Reparam(model, spec)
    models = jax.vmap(jax.vmap(posterior.flat().forward))(jnp.asarray(exact()))
    models = {name: models[name] for name in ("a", "b")}
    vectors = jax.vmap(
        jax.vmap(lambda m: reparam.ravel(reparam.inverse(m | {"fixed": model["fixed"]})))
    )(models)
    draws = bt.Draws(bt.Posterior(reparam, lambda m: jnp.zeros(())), vectors)
    key = jax.random.key(0)
    one, _ = bt.fit_affine(posterior, key, mean, method="draws", rank=0, draws=draws)
    two, _ = bt.fit_affine(posterior, key, mean, method="draws", rank=0, draws=exact())
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-3)


def test_a_fit_of_a_fit_leaves_it():
    """Refitted from where it is: the second map is nearly the identity."""
    posterior, mean = normal()
    settings = {"method": "draws", "rank": None}
    key = jax.random.key(0)
    fitted, _ = bt.fit_affine(posterior, key, mean, draws=exact(), **settings)
    again = eqx.tree_at(lambda p: p.reparam, posterior, fitted)
    vectors = bt.Draws(posterior, jnp.asarray(exact()))
    twice, report = bt.fit_affine(again, key, mean, draws=vectors, **settings)
    assert report.fisher_before < 0.5
    log_dets = [
        r.forward_log_det_jacobian(r.unravel(jnp.zeros(5))) for r in (fitted, twice)
    ]
    np.testing.assert_allclose(*log_dets, atol=0.05)
    model = {"a": jnp.ones(2), "b": jnp.ones(3), "fixed": jnp.array(7.0)}
    np.testing.assert_allclose(
        twice.forward(twice.inverse(model))["b"], model["b"], rtol=1e-5
    )


def test_equal_fits_do_not_retrace():
    posterior, mean = normal()
    traces = StringIO()  # a list would be read, and seem to change

    @eqx.filter_jit
    def density(posterior, free):
        traces.write(".")
        return posterior.log_density(free, mean)

    for draws in (exact(300), exact(500)):
        fitted, _ = bt.fit_affine(
            posterior, jax.random.key(0), mean, method="draws", draws=draws
        )
        now = eqx.tree_at(lambda p: p.reparam, posterior, fitted)
        density(now, fitted.unravel(jnp.zeros(5)))
    assert traces.tell() == 1


def test_a_single_coordinate():
    reparam = bt.Reparam({"rate": jnp.array(1.0)}, tfb.Exp())
    posterior = bt.Posterior(reparam, None, tfd.LogNormal(3.0, 0.1))
    draws = 3.0 + 0.1 * np.random.default_rng(0).normal(size=(4000, 1))
    for rank in (0, 1, None):
        fitted, report = bt.fit_affine(
            posterior, jax.random.key(0), method="draws", rank=rank, draws=draws
        )
        assert report.fisher_after < 1e-2
        np.testing.assert_allclose(
            jnp.log(fitted.forward({"rate": jnp.array(1.0)})["rate"]), 3.1, rtol=3e-3
        )


# What cannot be fitted says why, and where.


def quadratic(curvature):
    """A posterior of three coordinates with these curvatures."""
    reparam = bt.Reparam({"x": jnp.zeros(2), "y": jnp.zeros(())}, None)
    curvature = jnp.asarray(curvature)

    def log_likelihood(model):
        free = jnp.concatenate([model["x"], model["y"][None]])
        return -0.5 * jnp.sum(curvature * free**2)

    return bt.Posterior(reparam, log_likelihood)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*ignored", "ignore:.*prior")
def test_flat_directions_are_all_named():
    with pytest.raises(ValueError, match="not positive definite") as caught:
        bt.fit_affine(quadratic([1.0, 0.0, 0.0]), jax.random.key(0), method="laplace")
    lines = str(caught.value).splitlines()[1:]
    assert len(lines) == 2
    assert "'x.1'" in "".join(lines)
    assert "'y'" in "".join(lines)
    assert "'x.0'" not in "".join(lines)


@pytest.mark.filterwarnings("ignore:the search for the mode", "ignore:.*prior")
def test_a_saddle_is_named():
    with pytest.raises(ValueError, match=r"not positive definite[^']*'fisher'[^']*'y'"):
        bt.fit_affine(quadratic([1.0, 1.0, -1e-3]), jax.random.key(0), method="laplace")


def test_too_few_draws():
    posterior, mean = normal()
    key = jax.random.key(0)
    few = exact()[:, :3].reshape(-1, 5)[:6]
    with pytest.raises(ValueError, match="6 draws leave 5 .*more than 5.*or rank=0"):
        bt.fit_affine(posterior, key, mean, method="draws", rank=None, draws=few)
    bt.fit_affine(posterior, key, mean, method="draws", rank=0, draws=few)
    big = bt.Posterior(bt.Reparam(jnp.zeros(500), None), None, tfd.Normal(0.0, 1.0))
    with pytest.raises(ValueError, match="more than 500: give more `warm_up`"):
        bt.fit_affine(big, key, rank=None)


@pytest.mark.parametrize("what", ["nan", "same"])
def test_draws_that_teach_nothing(what):
    posterior, mean = normal()
    draws = exact()
    draws[..., 3] = np.nan if what == "nan" else 1.0
    expected = "draws are not finite at 'b.1'" if what == "nan" else "the same at 'b.1'"
    with pytest.raises(ValueError, match=expected):
        bt.fit_affine(posterior, jax.random.key(0), mean, method="draws", draws=draws)


def broken(model):
    """Its gradient is not finite where y is not positive."""
    return -0.5 * jnp.sum(model["x"] ** 2) + jnp.where(
        model["y"] > 0, -0.5 * model["y"] ** 2, jnp.sqrt(model["y"] * 0.0)
    )


def test_gradients_that_are_not_finite():
    reparam = bt.Reparam({"x": jnp.zeros(2), "y": jnp.ones(())}, None)
    posterior = bt.Posterior(reparam, broken)
    draws = np.random.default_rng(0).normal(size=(100, 3))
    with pytest.raises(ValueError, match="held out.*not finite at 'y'"):
        bt.fit_affine(posterior, jax.random.key(0), method="draws", draws=draws)


@pytest.mark.slow
def test_gradients_that_are_not_finite_in_warm_up():
    """Every trajectory leaves the little ball in which there is a gradient."""
    reparam = bt.Reparam({"x": jnp.zeros(2), "y": jnp.ones(())}, None)

    def log_likelihood(model):
        return -0.5 * jnp.sum(model["x"] ** 2) + jnp.sqrt(1e-12 - (model["y"] - 1) ** 2)

    posterior = bt.Posterior(reparam, log_likelihood)
    with pytest.raises(ValueError, match="in warm-up, the gradient.*not finite at 'y'"):
        bt.fit_affine(
            posterior,
            jax.random.key(0),
            start={"x": jnp.zeros(2), "y": jnp.ones(())},
            progress=False,
        )


def test_gradients_that_are_not_finite_on_one_side():
    """Where a trajectory gets to them it is given up: its chain stays on the other."""

    @jax.custom_jvp
    def trap(y):
        return 0.0 * y

    @trap.defjvp
    def _(primals, tangents):
        (y,), (dy,) = primals, tangents
        return 0.0 * y, jnp.where(y > 0, 0.0, jnp.nan) * dy

    def log_density(m):
        return -0.5 * jnp.sum(m["x"] ** 2) - 0.5 * m["y"] ** 2 + trap(m["y"])

    reparam = bt.Reparam({"x": jnp.zeros(2), "y": jnp.ones(())}, None)
    with pytest.raises(ValueError, match="in warm-up, the gradient.*not finite at 'y'"):
        bt.fit_affine(
            bt.Posterior(reparam, log_density), jax.random.key(0), progress=False
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "draws"}, "takes `draws`"),
        ({"method": "draws", "draws": np.zeros((0, 9, 5))}, r"shape \(n, 5\)"),
        ({"draws": np.zeros((9, 5))}, "takes `draws`"),
        ({"method": "draws", "draws": np.zeros((9, 4))}, r"shape \(n, 5\).*\(9, 4\)"),
        ({"rank": -1}, "at least 0, got -1"),
        ({"rank": True}, "at least 0, got True"),
        ({"chains": 1}, "needs 2 chains"),
        ({"method": "newton"}, "method must be"),
    ],
    ids=lambda x: "-".join(x) if isinstance(x, dict) else "",
)
def test_settings_that_make_no_sense(settings, message):
    posterior, mean = normal()
    with pytest.raises(ValueError, match=message):
        bt.fit_affine(posterior, jax.random.key(0), mean, **settings)


def test_nothing_to_fit():
    key = jax.random.key(0)
    frozen = bt.Posterior(bt.Reparam({"x": jnp.ones(2)}, bt.frozen), lambda m: 0.0)
    with pytest.raises(ValueError, match="no free coordinates"):
        bt.fit_affine(frozen, key)
    with pytest.raises(TypeError, match="expected a bt.Posterior"):
        bt.fit_affine(frozen.reparam, key)  # pyright: ignore[reportArgumentType]
    waves = bt.Reparam({"x": jnp.ones(2, jnp.complex64)}, None)
    with pytest.raises(ValueError, match="complex"):
        bt.fit_affine(bt.Posterior(waves, lambda m: 0.0), key)


def test_blackjax_is_named_if_it_is_missing(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "blackjax", None)
    posterior, mean = normal()
    with pytest.raises(ImportError, match=r'pip install "bijectree\[blackjax\]"'):
        bt.fit_affine(posterior, jax.random.key(0), mean, progress=False)


@pytest.mark.parametrize("numbers", [{"rank": 1.5}, {"rank": "full"}, {"warm_up": 0}])
def test_numbers_that_cannot_be_used(numbers):
    posterior = bt.Posterior(
        bt.Reparam({"x": jnp.zeros(2)}, None), None, bt.tfd.Normal(0.0, 1.0)
    )
    with pytest.raises(ValueError, match="fit_affine: .*|`warm_up` must be an integer"):
        bt.fit_affine(posterior, jax.random.key(0), **numbers)
    with pytest.raises(ValueError, match="`layers` must be .*\n.*`steps` must be"):
        bt.fit_flow(posterior, jax.random.key(0), layers=0, steps=-1)
