"""Maps of a set beside its default: values, log-dets and inverses in 60 digits."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from law import assert_bijector

import bijectree as bt

POINTS = (-6.5, -2.0, -0.3, 0.0, 1e-3, 0.7, 3.0, 7.0)
LOG_ROOT_2PI = mp.log(2 * mp.pi) / 2


def normal_cdf(y):
    value = -mp.mpf("1.25") + mp.mpf("3.75") * mp.ncdf(y)
    return value, mp.log(mp.mpf("3.75")) - y * y / 2 - LOG_ROOT_2PI


def scaled_softplus(y):
    softplus = mp.log1p(mp.exp(y)) if y < 0 else y + mp.log1p(mp.exp(-y))
    return 2.5 * softplus, mp.log(mp.mpf("2.5")) + y - softplus


SCALARS = {
    "normal_cdf": (bt.interval(-1.25, 2.5, via="normal_cdf"), normal_cdf),
    "scaled softplus": (bt.positive(via="softplus", scale=2.5), scaled_softplus),
}


@pytest.mark.parametrize("name", SCALARS)
def test_scalar_maps_have_the_value_and_the_log_det_of_60_digits(name):
    bijector, exact = SCALARS[name]
    with jax.enable_x64(True):
        reparam = bt.Reparam(jnp.ones(()), bijector)
        for y in POINTS:
            value, log_det = reparam.forward_and_log_det(jnp.float64(y))
            for got, due in zip((value, log_det), exact(mp.mpf(y)), strict=True):
                assert abs(float(got) - due) <= 1e-13 * max(1, abs(due)), y
            if abs(y) < 5:
                np.testing.assert_allclose(reparam.inverse(value), y, atol=1e-11)


def test_the_distances_from_both_ends_keep_their_digits():
    """Φ(−6.5) is 4e-11, which is lost beside 1 and not beside 0."""
    with jax.enable_x64(True):
        reparam = bt.Reparam(jnp.ones(()), bt.interval(0.0, 1.0, via="normal_cdf"))
        for y in (-30.0, -10.0, -6.5):
            due = mp.ncdf(mp.mpf(y))
            assert abs(float(reparam.forward(jnp.float64(y))) / due - 1) < -1e-14 * y
            np.testing.assert_allclose(reparam.inverse(jnp.float64(due)), y, rtol=1e-13)


def log_ratio_parts(y):
    e = [mp.exp(mp.mpf(float(v))) for v in y] + [mp.mpf(1)]
    return [x / sum(e) for x in e]


def stick_parts(y):
    left, parts = mp.mpf(1), []
    for k, v in enumerate(y, start=1):
        share = 1 / (1 + (len(y) + 1 - k) * mp.exp(-mp.mpf(float(v))))
        parts.append(left * share)
        left -= parts[-1]
    return [*parts, left]


@pytest.mark.parametrize("order", [None, (3, 1, 0, 2), (0, 1, 2, 3), (1, 2, 3, 0)])
@pytest.mark.parametrize(
    ("via", "exact"),
    [("additive_log_ratio", log_ratio_parts), ("stick_breaking", stick_parts)],
)
def test_simplexes_have_the_parts_and_the_log_det_of_60_digits(via, exact, order, getkey):
    with jax.enable_x64(True):
        reparam = bt.Reparam(jnp.full(4, 0.25), bt.simplex(via=via, order=order))
        for scale in (0.1, 1.0, 8.0):
            free = scale * jax.random.normal(getkey(), (3,), jnp.float64)
            parts, log_det = reparam.forward_and_log_det(free)
            due = exact(free)
            placed = [due[(order or range(4)).index(i)] for i in range(4)]
            for got, part in zip(parts, placed, strict=True):
                assert abs(float(got) / part - 1) < 1e-13 * (1 + scale)
            assert abs(float(log_det) - sum(map(mp.log, due))) < 1e-12
            np.testing.assert_allclose(reparam.inverse(parts), free, atol=1e-9)


@pytest.mark.parametrize("via", ["ilr", "additive_log_ratio", "stick_breaking"])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_orders_keep_the_law(via, size, precision, getkey):
    order = tuple(np.roll(np.arange(size)[::-1], 1).tolist())
    bijector = bt.simplex(via=via, order=order)
    assert_bijector(bijector, (2, size), precision, getkey())
    columns = bt.simplex(via=via, order=order, axis=-2)
    assert_bijector(columns, (size, 2), precision, getkey())


def spherical(y):
    """The factor and the log-det, row by row, as the angles are defined."""
    size = (1 + round((1 + 8 * len(y)) ** 0.5)) // 2
    factor, log_det, values = mp.eye(size), mp.mpf(0), iter(y)
    for i in range(size):
        rest = mp.mpf(1)
        for j in range(i):
            share = 1 / (1 + mp.exp(mp.mpf(next(values))))
            # The derivative of the entry: of the angle, and the sines before it.
            log_det += mp.log(mp.pi * share * (1 - share) * mp.sin(mp.pi * share) * rest)
            factor[i, j] = rest * mp.cos(mp.pi * share)
            rest *= mp.sin(mp.pi * share)
        factor[i, i] = rest
    return factor, log_det


@pytest.mark.parametrize(
    "y",
    [
        (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        (1e-8, -3e-5, 0.9999, 1.0001, -1.0, 0.5),
        (2.0, -1.5, 0.3, 4.0, -0.2, 3.0),
        (20.0, -15.0, 8.0, -30.0, 12.0, 25.0),
        (700.0, -2.0, 300.0, 1.0, -500.0, 600.0),
    ],
)
def test_correlations_by_angles_have_the_factor_and_the_log_det_of_60_digits(y):
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"), mp.workdps(700):
        bijector = bt.corr_cholesky(via="spherical")
        reparam = bt.Reparam(jnp.eye(4), bijector)
        free = jnp.array(y)
        factor, log_det = reparam.forward_and_log_det(free)
        due, log_due = spherical(y)
        for i, j in np.ndindex(4, 4):
            assert abs(float(factor[i, j]) - due[i, j]) <= 1e-13 * abs(due[i, j]) + 1e-300
        np.testing.assert_allclose(log_det, float(log_due), rtol=1e-13)
        diagonal = bijector.log_diagonal(free)
        for i in range(4):
            np.testing.assert_allclose(
                diagonal[i], float(mp.log(due[i, i])), rtol=1e-13, atol=1e-300
            )
        gradient = jax.grad(reparam.forward_log_det_jacobian)(free)
        for k in range(6):

            def of_one(v, k=k):
                return spherical([*y[:k], v, *y[k + 1 :]])[1]

            slope = float(mp.diff(of_one, y[k]))
            np.testing.assert_allclose(gradient[k], slope, rtol=1e-12, atol=1e-13)
        if max(map(abs, y)) < 10:
            np.testing.assert_allclose(reparam.inverse(factor), free, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("y", [-20.0, 9.0, 14.0, 60.0, 200.0])
def test_angles_keep_their_log_det_in_half_precision(dtype, y):
    bijector = bt.corr_cholesky(via="spherical")
    free = jnp.array([y], dtype)
    wide = jnp.array([y], jnp.float32)
    log_det = bijector.forward_log_det_jacobian(free, 1)
    due = bijector.forward_log_det_jacobian(wide, 1)
    np.testing.assert_allclose(float(log_det), float(due), rtol=0.02)
    factor = np.asarray(bijector.forward(free), np.float32)
    np.testing.assert_allclose(factor, bijector.forward(wide), rtol=0.02, atol=1e-7)


def test_far_free_coordinates_keep_their_log_det(precision):
    reparam = bt.Reparam(
        jax.ShapeDtypeStruct((3,), precision), bt.simplex(via="additive_log_ratio")
    )
    free = jnp.array([200.0, -300.0], precision)
    log_det = reparam.forward_log_det_jacobian(free)
    np.testing.assert_allclose(log_det, 0.0 - 500.0 - 200.0, rtol=1e-6)
    assert np.isfinite(jax.grad(reparam.forward_log_det_jacobian)(free)).all()


@pytest.mark.parametrize(
    "bijector",
    [
        bt.positive(via="softplus", scale=0.3),
        bt.interval(0.0, 1.0, via="normal_cdf"),
        bt.simplex(via="additive_log_ratio"),
        bt.simplex(order=(1, 0)),
    ],
    ids=["scaled", "normal_cdf", "log-ratio", "order"],
)
def test_a_pole_at_an_edge_is_evaluated_at_the_free_coordinate(bijector):
    """The mass of Gamma(.1), Beta(.1, .1) or a Dirichlet of two is 1 in float32 too."""
    vector = type(bijector).__name__ == "Simplex"
    model = {"x": jnp.full(2, 0.5) if vector else jnp.array(0.5)}
    prior = bt.tfd.Dirichlet([0.1, 0.1]) if vector else bt.tfd.Beta(0.1, 0.1)
    if bijector.name == "positive":
        prior = bt.tfd.Gamma(0.1, 1.0)
    posterior = bt.Posterior(bt.Reparam(model, bijector), None, prior={"x": prior})
    far = 40.0 if bijector.name == "interval" else 400.0
    points = jnp.linspace(-far, far, 40_001)
    flat = posterior.flat()
    density = jax.jit(jax.vmap(lambda y: flat.log_density(y[None])))(points)
    mass = np.trapezoid(np.exp(np.asarray(density, np.float64)), np.asarray(points))
    np.testing.assert_allclose(mass, 1.0, atol=1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bt.positive(scale=2.0), 'scale is for via="softplus"'),
        (lambda: bt.positive(via="softplus", scale=-2.0), "scale must be positive"),
        (lambda: bt.positive(via="softplus", scale=0.0), "scale must be positive"),
        (lambda: bt.positive(via="softplus", scale=np.inf), "scale must be finite"),
        (lambda: bt.interval(0.0, 1.0, via="probit"), "via must be 'logistic' or"),
        (lambda: bt.interval(0.0, np.inf, via="normal_cdf"), "upper must be finite"),
        (lambda: bt.interval(1.0, 0.0, via="normal_cdf"), "upper"),
        (lambda: bt.corr_cholesky(via="angles"), "via must be 'tanh' or 'spherical'"),
        (lambda: bt.simplex(order=(0, 0, 1)), "order must name each"),
        (lambda: bt.simplex(order=(1, 2, 3)), "order must name each"),
        (
            lambda: bt.Reparam(jnp.full(4, 0.25), bt.simplex(order=(0, 1, 2))),
            "order has 3 parts, and axis -1",
        ),
        (
            lambda: bt.Reparam(
                jnp.array([0.5, 0.5, 0.0]),
                bt.masked(bt.simplex(order=(0, 1, 2)), np.array([True, True, False])),
            ),
            "a simplex without `order`",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_they_are_saved_to_the_bit(tmp_path):
    model = {name: jnp.full(3, 1 / 3) for name in "abcd"}
    model |= {name: jnp.array([1.0, 1.5, 4.0]) for name in "fgh"}
    spec = {
        "a": bt.positive(via="softplus", scale=0.1),
        "b": bt.interval(0.1, [1.0, 2.0, 3.0], via="normal_cdf"),
        "c": bt.simplex(via="additive_log_ratio", order=(2, 0, 1)),
        "d": bt.simplex(order=[1, 2, 0]),
        "e": bt.corr_cholesky(via="spherical"),
        "f": bt.ordered_vector(via="softplus"),
        "g": bt.ordered_vector(upper=5.0, via="softplus"),
        "h": bt.positive_ordered_vector(via="softplus"),
    }
    model["e"] = jnp.linalg.cholesky(jnp.eye(3) + 0.25 * (1 - jnp.eye(3)))
    bt.save_spec(tmp_path / "spec.toml", spec)
    again = bt.load_spec(tmp_path / "spec.toml", model)
    free = bt.Reparam(model, spec).inverse(model)
    for name, value in bt.Reparam(model, again).inverse(model).items():
        np.testing.assert_array_equal(value, free[name])
