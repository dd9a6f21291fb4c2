"""The maps of all constraints: the law, Stan's values, integrals and extremes."""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from catalogue import CATALOGUE
from exact import ulps
from law import assert_bijector, mass

import bijectree as bt
from bijectree import tfd

# Stan's values, and 110-digit ones independent of it; the file says how they were made.
GOLDEN = json.loads(
    (Path(__file__).parents[1] / "golden" / "transforms.json").read_text()
)
CASES = {case["id"]: case for case in GOLDEN["cases"]}


def make(case):
    """The bijector of a golden case."""
    kind, args, shape = case["type"], case["args"], tuple(case["constrained_shape"])
    old_simplex = kind == "simplex" and not case["id"].startswith("newer")
    tall = kind == "cholesky_factor_cov" and case["M"]
    return {
        "lower": lambda: bt.greater_than(args["lo"]),
        "upper": lambda: bt.less_than(args["hi"]),
        "interval": lambda: bt.interval(args["lo"], args["hi"]),
        "offset_multiplier": lambda: bt.affine(args["mu"], args["sg"]),
        "ordered": bt.ordered_vector,
        "positive_ordered": bt.positive_ordered_vector,
        "simplex": lambda: bt.simplex(via="stick_breaking" if old_simplex else "ilr"),
        "row_stochastic_matrix": bt.simplex,
        "column_stochastic_matrix": lambda: bt.simplex(axis=-2),
        "sum_to_zero_vector": bt.zero_sum,
        "sum_to_zero_matrix": lambda: bt.zero_sum(axis=(-2, -1)),
        "unit_vector": bt.sphere,
        "cholesky_factor_corr": bt.corr_cholesky,
        "corr_matrix": bt.corr_matrix,
        "cholesky_factor_cov": lambda: bt.lower_cholesky(shape=shape if tall else None),
        "cov_matrix": bt.positive_definite,
        "identity": bt.real,
    }[kind]()


def floats(values):
    """Numbers, or their decimal strings, nested or not."""
    return np.array([float(v) for v in np.ravel(values)])


def in_our_order(case, free):
    """Leading axes are row-major here, and column-major in Stan."""
    batch = case["id"].startswith(("matrix_", "newer_row_stochastic"))
    if not batch:
        return free
    rows = case["constrained_shape"][0]
    return free.reshape(-1, rows).T.ravel()


@pytest.mark.parametrize("name", CASES)
def test_stans_values(name):
    case = CASES[name]
    shape = tuple(case["constrained_shape"])
    with jax.enable_x64(True):  # noqa: FBT003
        template = {"x": jax.ShapeDtypeStruct(shape, jnp.float64)}
        reparam = bt.Reparam(template, {"x": make(case)})
        free = [in_our_order(case, floats(p["free"])) for p in case["points"]]

        @jax.jit
        @jax.vmap
        def evaluate(vector):
            def log_det(vector):
                model, log_det = reparam.forward_and_log_det(reparam.unravel(vector))
                return log_det, model["x"]

            (value, x), gradient = jax.value_and_grad(log_det, has_aux=True)(vector)
            return x.ravel(), value, gradient

        results = [np.asarray(r) for r in evaluate(jnp.asarray(np.stack(free)))]
    for point, x, log_det, gradient in zip(case["points"], *results, strict=True):
        assert np.all(np.isfinite(x))
        assert np.all(np.isfinite(gradient))
        exact = point.get("constrained_exact_flat")
        expected = floats(point["constrained"] if exact is None else exact)
        size = np.max(np.abs(expected), initial=0.0)
        # Sums and products of rows cancel; elsewhere every digit counts, but that 110
        # digits of 1 − Σx² leave fewer below 1e-40.
        cancels = case["type"].startswith(("sum_to_zero", "corr_matrix", "cov_matrix"))
        rtol = 1e-12 if exact is None else 1e-13
        atol = rtol * size if cancels else 1e-300
        tiny = np.abs(expected) < 1e-40
        np.testing.assert_allclose(x[~tiny], expected[~tiny], rtol=rtol, atol=atol)
        np.testing.assert_allclose(x[tiny], expected[tiny], rtol=1e-10, atol=1e-300)

        if "log_det_exact" in point:
            expected = float(point["log_det_exact"])
            np.testing.assert_allclose(log_det, expected, rtol=1e-13, atol=1e-15)
        elif point["finite_in_stan"]:
            np.testing.assert_allclose(log_det, point["log_det"], rtol=1e-12, atol=1e-12)
        assert np.isfinite(log_det)
        # further out Stan's own gradient of these types is wrong; see the next test
        far = np.max(np.abs(floats(point["free"])), initial=0.0) > 3
        loses = "corr" in case["type"] or case["type"] == "simplex"
        if "grad_log_det" in point and not (far and loses):
            expected = in_our_order(case, floats(point["grad_log_det"]))
            np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-12)


def _ilr_log_det(y):
    """Σ log xᵢ + ½ log K, x the softmax of the zero-sum vector."""
    size = len(y) + 1
    w = [y[k] / mp.sqrt((k + 1) * (k + 2)) for k in range(size - 1)]
    z = [mp.fsum(w[k:]) - (k * w[k - 1] if k else 0) for k in range(size)]
    total = mp.fsum(mp.exp(v) for v in z)
    return mp.fsum(v - mp.log(total) for v in z) + mp.log(size) / 2


def _stick_log_det(y):
    size, stick, total = len(y) + 1, mp.mpf(1), mp.mpf(0)
    for k, value in enumerate(y):
        part = 1 / (1 + (size - 1 - k) * mp.exp(-value))
        total += mp.log(stick) + mp.log(part) + mp.log(1 - part)
        stick *= 1 - part
    return total


def _corr_cholesky_log_det(y):
    """Σ log(1 − z²) + ½ log(1 − Σ x²), summed as Stan's manual writes it."""
    size = (1 + math.isqrt(8 * len(y) + 1)) // 2
    total, values = mp.mpf(0), iter(y)
    for i in range(size):
        rest = mp.mpf(1)
        for _ in range(i):
            z = mp.tanh(next(values))
            total += mp.log(1 - z * z) + mp.log(rest) / 2
            rest *= 1 - z * z
    return total


def _corr_matrix_log_det(y):
    """The same of L Lᵀ: Lⱼⱼ once more for every row below; columns first."""
    size = (1 + math.isqrt(8 * len(y) + 1)) // 2
    total, values = mp.mpf(0), iter(y)
    for j in range(size):
        for _ in range(j + 1, size):
            total += (size - j) * mp.log(1 - mp.tanh(next(values)) ** 2) / 2
    return total


@pytest.mark.parametrize(
    ("bijector", "exact"),
    [
        (bt.simplex(), _ilr_log_det),
        (bt.simplex(via="stick_breaking"), _stick_log_det),
        (bt.corr_cholesky(), _corr_cholesky_log_det),
        (bt.corr_matrix(), _corr_matrix_log_det),
    ],
    ids=["ilr", "stick_breaking", "corr_cholesky", "corr_matrix"],
)
@pytest.mark.parametrize(
    "y",
    [(1e-8, -2e-8, 0.0), (1.0, -0.5, 2.0), (10.0, -10.0, 10.0), (-30.0, 30.0, 25.0)],
)
def test_log_det_and_gradient_where_stan_loses_digits(bijector, exact, y):
    with jax.enable_x64(True), mp.workdps(150):  # noqa: FBT003
        log_det = lambda y: bijector.forward_log_det_jacobian(y, 1)  # noqa: E731
        with jax.numpy_rank_promotion("allow"):
            value, gradient = jax.jit(jax.value_and_grad(log_det))(jnp.array(y))
        point = [mp.mpf(v) for v in y]
        np.testing.assert_allclose(value, float(exact(point)), rtol=1e-14, atol=1e-30)
        for k in range(len(y)):
            slope = mp.diff(
                lambda v, k=k: exact([*point[:k], v, *point[k + 1 :]]), point[k]
            )
            np.testing.assert_allclose(gradient[k], float(slope), rtol=1e-13, atol=1e-15)


DETERMINANTS = (
    *("ordered_vector", "positive_ordered_vector", "simplex", "stick_breaking"),
    *("ordered_softplus", "positive_ordered_softplus"),
    *("simplex_columns", "corr_cholesky", "corr_matrix", "lower_cholesky"),
    *("lower_cholesky_tall", "positive_definite"),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", DETERMINANTS)
def test_the_law(name, getkey):
    make, shape = CATALOGUE[name]
    with jax.enable_x64(True):  # noqa: FBT003
        assert_bijector(make(), shape, jnp.float64, getkey(), scale=2.0)


@pytest.mark.parametrize("name", ["zero_sum", "zero_sum_columns", "zero_sum_matrix"])
def test_zero_sum_is_an_isometry(name, precision):
    make, shape = CATALOGUE[name]
    reparam = bt.Reparam(jax.ShapeDtypeStruct(shape, precision), make())
    forward = jax.jit(lambda vector: reparam.forward(reparam.unravel(vector)).ravel())
    matrix = np.asarray(jax.jacfwd(forward)(jnp.zeros(reparam.dim, precision)))
    eps = np.finfo(precision).eps
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(reparam.dim), atol=10 * eps)
    assert reparam.forward_log_det_jacobian(reparam.unravel(matrix[0])) == 0


@pytest.mark.parametrize("size", [40, 100])
def test_correlations_from_far_starts(size):
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):  # noqa: FBT003
        _correlations(size, np.float64)


def test_correlations_from_far_starts_in_float32():
    with jax.numpy_rank_promotion("allow"):
        _correlations(20, np.float32)


def _correlations(size, dtype):
    """20 seeds of uniform(−2, 2): no failure in value, log-det or gradient."""
    eps = np.finfo(dtype).eps
    n = size * (size - 1) // 2
    free = np.stack(
        [np.random.default_rng(seed).uniform(-2, 2, n) for seed in range(20)]
    ).astype(dtype)
    wide = np.abs(free.astype(np.longdouble))
    log_cosh = wide + np.log1p(np.exp(-2 * wide)) - np.log(np.longdouble(2))
    rows, columns = np.tril_indices(size, -1)
    column_major = np.triu_indices(size, 1)[0]
    for bijector, weight in (
        (bt.corr_cholesky(), rows - columns + 1),
        (bt.corr_matrix(), size - column_major),
    ):
        reparam = bt.Reparam(jax.ShapeDtypeStruct((size, size), dtype), bijector)

        @jax.jit
        @jax.vmap
        def evaluate(free, reparam=reparam):
            value, log_det = reparam.forward_and_log_det(free)
            last_row = jax.grad(lambda free: jnp.sum(reparam.forward(free)[-1]))(free)
            return (
                value,
                log_det,
                jax.grad(reparam.forward_log_det_jacobian)(free),
                last_row,
            )

        value, log_det, gradient, last_row = evaluate(free)
        expected = -np.sum(weight * log_cosh, axis=-1)
        np.testing.assert_allclose(log_det, expected.astype(float), rtol=20 * eps)
        slope = -weight * np.tanh(free.astype(float))
        np.testing.assert_allclose(gradient, slope, rtol=8 * eps)
        assert np.all(np.isfinite(value))
        assert np.all(np.isfinite(last_row))

    bijector = bt.corr_cholesky()
    factor, log_diagonal, back = jax.jit(
        lambda free: (
            bijector.cholesky(free),
            bijector.log_diagonal(free),
            bijector._inverse(bijector.cholesky(free)),
        )
    )(free)
    np.testing.assert_allclose(np.sum(np.square(factor), axis=-1), 1, rtol=50 * eps)
    by_row = np.zeros((20, size, size))
    by_row[:, rows, columns] = log_cosh
    np.testing.assert_allclose(log_diagonal, -by_row.sum(-1), rtol=50 * eps, atol=eps)
    np.testing.assert_allclose(back, free, rtol=1e3 * eps, atol=1e3 * eps)


EXTREMES = {name: CATALOGUE[name] for name in CATALOGUE if "circular" not in name}


@pytest.mark.slow
@pytest.mark.parametrize("name", EXTREMES)
def test_nothing_is_nan_at_the_extremes(name, precision):
    make, shape = EXTREMES[name]
    reparam = bt.Reparam({"x": jax.ShapeDtypeStruct(shape, precision)}, {"x": make()})
    signs = np.where(np.arange(reparam.dim) % 2, -1, 1)

    @jax.jit
    @jax.vmap
    def evaluate(vector):
        def log_det(vector):
            model, log_det = reparam.forward_and_log_det(reparam.unravel(vector))
            return log_det, model["x"]

        (value, x), gradient = jax.value_and_grad(log_det, has_aux=True)(vector)
        return x, value, gradient

    sizes = [1e-30, 9.1, 37.0, 88.0, 104.0, 746.0, 1e4]
    free = [
        size * s for size in sizes for s in (signs, -signs, signs * signs, -signs * signs)
    ]
    x, log_det, gradient = evaluate(jnp.asarray(np.stack(free), precision))
    assert not np.any(np.isnan(x))
    assert np.all(np.isfinite(log_det))
    assert np.all(np.isfinite(gradient))


# ∫ exp(log density + log-det) over free space, by the trapezoidal rule.


LINE = np.linspace(-30, 30, 601)
PLANE = np.linspace(-24, 24, 161)
SPACE = np.linspace(-9, 9, 61)


@pytest.mark.slow
@pytest.mark.jax_defaults
@pytest.mark.parametrize(
    ("prior", "bijector", "shape", "points"),
    [
        (lambda: tfd.Beta(2.0, 3.0), bt.unit_interval(), (), LINE),
        (lambda: tfd.Beta(2.0, 3.0), bt.interval(0.0, 1.0), (), LINE),
        (lambda: tfd.Gamma(2.0, 1.0), bt.positive(), (), LINE),
        (lambda: tfd.Gamma(2.0, 1.0), bt.positive(via="softplus"), (), LINE),
        (lambda: tfd.HalfNormal(1.0), bt.positive(), (), LINE),
        (lambda: tfd.Uniform(-1.0, 3.0), bt.interval(-1.0, 3.0), (), LINE),
        (lambda: tfd.Dirichlet([2.0, 1.5]), bt.simplex(), (2,), LINE),
        (lambda: tfd.Dirichlet([2.0, 3.0, 1.5]), bt.simplex(), (3,), PLANE),
        (
            lambda: tfd.Dirichlet([2.0, 3.0, 1.5]),
            bt.simplex(via="stick_breaking"),
            (3,),
            PLANE,
        ),
    ],
    ids=[
        *("beta", "beta_interval", "gamma", "gamma_softplus", "half_normal", "uniform"),
        *("dirichlet_2", "dirichlet_3", "dirichlet_3_stick"),
    ],
)
def test_densities_integrate_to_1(prior, bijector, shape, points, precision):
    distribution = jax.tree.map(lambda leaf: leaf.astype(precision), prior())
    total = mass(distribution.log_prob, bijector, shape, points, precision)
    assert abs(total - 1) < (1e-4 if precision == np.float32 else 1e-7)


@pytest.mark.slow
@pytest.mark.jax_defaults
@pytest.mark.parametrize("size", [2, 3])
def test_lkj_integrates_to_1(size, precision):
    dtype, eta = precision.type, 2.5
    points = LINE if size == 2 else SPACE
    tolerance = 1e-4 if precision == np.float32 else 1e-6
    factor = tfd.CholeskyLKJ(size, dtype(eta))
    total = mass(factor.log_prob, bt.corr_cholesky(), (size, size), points, precision)
    assert abs(total - 1) < tolerance
    # the log of the constant is the density at the identity, whose determinant is 1
    constant = tfd.LKJ(size, dtype(eta)).log_prob(jnp.eye(size, dtype=precision))

    def log_prob(matrix):
        determinant = jnp.linalg.det(matrix)
        return constant + (eta - 1) * jnp.log(jnp.maximum(determinant, 0))

    total = mass(log_prob, bt.corr_matrix(), (size, size), points, precision)
    assert abs(total - 1) < 10 * tolerance


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 1000])
@pytest.mark.parametrize(
    "name", ["simplex", "stick_breaking", "ordered_vector", "zero_sum"]
)
def test_long_and_short_vectors(name, size, precision):
    bijector = CATALOGUE[name][0]()
    reparam = bt.Reparam({"x": jax.ShapeDtypeStruct((size,), precision)}, {"x": bijector})
    free = np.random.default_rng(size).normal(size=reparam.dim).astype(precision)
    assert reparam.dim == (size if name == "ordered_vector" else size - 1)

    def log_det(free):
        model, log_det = reparam.forward_and_log_det({"x": free})
        return log_det, model["x"]

    (value, x), gradient = jax.value_and_grad(log_det, has_aux=True)(free)
    eps = np.finfo(precision).eps
    assert np.all(np.isfinite(gradient))
    if name == "ordered_vector":
        steps = np.cumsum(np.exp(free[1:].astype(float)))
        np.testing.assert_allclose(x[1:] - free[0], steps, rtol=200 * eps, atol=20 * eps)
        np.testing.assert_allclose(value, free[1:].sum(), rtol=1e3 * eps, atol=1e3 * eps)
    elif name == "zero_sum":
        assert abs(np.sum(np.asarray(x, float))) <= 10 * eps * size
        np.testing.assert_allclose(
            np.linalg.norm(x), np.linalg.norm(free), rtol=100 * eps
        )
    else:
        assert abs(np.sum(np.asarray(x, float)) - 1) <= 50 * eps
        extra = 0.5 * math.log(size) if name == "simplex" else 0.0
        expected = np.sum(np.log(np.asarray(x, float))) + extra
        np.testing.assert_allclose(value, expected, rtol=50 * eps, atol=1e-12)
    back = reparam.inverse({"x": x})["x"]
    np.testing.assert_allclose(back, free, rtol=0, atol=eps * size * 40)


def test_ordered_vectors_never_decrease():
    free = np.random.default_rng(0).normal(-12, 3, size=1000).astype(np.float32)
    x = bt.ordered_vector().forward(jnp.asarray(free))
    assert np.all(np.diff(x) >= 0)


def test_empty_vectors():
    reparam = bt.Reparam({"x": jnp.zeros((2, 0))}, {"x": bt.ordered_vector()})
    model, log_det = reparam.forward_and_log_det(
        reparam.inverse({"x": jnp.zeros((2, 0))})
    )
    assert model["x"].shape == (2, 0)
    assert log_det == 0
    reparam = bt.Reparam({"x": jnp.ones((1, 1))}, {"x": bt.corr_matrix()})
    assert reparam.dim == 0
    model, log_det = reparam.forward_and_log_det({"x": jnp.zeros(0)})
    assert model["x"] == 1
    assert log_det == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: bt.interval(2.0, 1.0),
            "upper must exceed lower: lower is 2 and upper is 1",
        ),
        (lambda: bt.interval(1.0, 1.0), "upper must exceed lower"),
        (
            lambda: bt.interval([0.0, 3.0], 2.0),
            r"lower is 3 and upper is 2 at index \(1,\)",
        ),
        (lambda: bt.interval(np.nan, 1.0), "lower must not be NaN"),
        (lambda: bt.interval(np.inf, np.inf), "lower must not be NaN or inf"),
        (lambda: bt.interval(0.0, -np.inf), "upper must not be NaN or -inf"),
        (lambda: bt.interval([0.0, 1.0], [2.0, 3.0, 4.0]), "which do not broadcast"),
        (lambda: bt.interval("a", 1.0), "lower must be a real number"),
        (lambda: bt.interval(0.0, 1j), "upper must be a real number"),
        (lambda: bt.interval(0.0, jnp.array(1j)), "upper must be real"),
        (lambda: bt.greater_than(-np.inf), "lower must be finite"),
        (lambda: bt.less_than(np.nan), "upper must be finite"),
        (lambda: bt.affine(np.nan, 1.0), "loc must be finite"),
        (lambda: bt.affine(0.0, 0.0), "scale must be positive, got 0"),
        (lambda: bt.affine(0.0, [1.0, -1.0]), "scale must be positive"),
        (lambda: bt.positive(via="square"), "via must be 'exp' or 'softplus'"),
        (lambda: bt.greater_than(0.0, via="x"), "via must be"),
        (lambda: bt.less_than(0.0, via="x"), "via must be"),
        (lambda: bt.simplex(via="softmax"), "via must be 'ilr' or 'stick_breaking'"),
        (lambda: bt.simplex(axis=0), "axis must be a negative integer"),
        (lambda: bt.zero_sum(axis=1), "axis must be a negative integer"),
        (lambda: bt.zero_sum(axis=(-3, -1)), r"axis must be one axis or \(-2, -1\)"),
        (
            lambda: bt.lower_cholesky(shape=(2, 3)),
            "shape must be .M, N. with M >= N >= 1",
        ),
        (lambda: bt.lower_cholesky(shape=(0, 0)), "shape must be"),
        (lambda: bt.lower_cholesky(shape=(3.0, 2)), "shape must be"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("bijector", "shape", "message"),
    [
        (bt.corr_matrix(), (2, 3), "corr_matrix: needs a square matrix"),
        (bt.corr_cholesky(), (3, 2), "corr_cholesky: needs a square matrix"),
        (bt.positive_definite(), (2, 3), "positive_definite: needs a square matrix"),
        (bt.lower_cholesky(), (3, 2), "lower_cholesky: needs a square matrix"),
        (bt.lower_cholesky(shape=(3, 2)), (4, 2), r"made for shape \(3, 2\)"),
        (bt.corr_matrix(), (0, 0), "at least 1 × 1"),
        (bt.simplex(), (0,), "simplex: axis -1 of shape .* is empty"),
        (bt.simplex(axis=-2), (0, 2), "simplex: axis -2 of shape .* is empty"),
        (bt.zero_sum(), (0,), "zero_sum: axis -1"),
        (bt.zero_sum(axis=(-2, -1)), (0, 2), "zero_sum: a matrix of shape .* is empty"),
        (bt.sphere(), (0,), "sphere: a unit vector has at least one entry"),
        (bt.corr_matrix(), (3,), "needs at least 2 axes"),
        (bt.simplex(), (), "needs at least 1 axes"),
        (bt.interval([0.0, 0.0], 1.0), (1,), "must not broadcast"),
    ],
)
def test_leaves_of_the_wrong_shape_are_refused(bijector, shape, message):
    with pytest.raises(ValueError, match=message):
        bt.Reparam({"leaf": jnp.zeros(shape)}, {"leaf": bijector})


@pytest.mark.parametrize(
    ("bijector", "n", "message"),
    [
        (bt.corr_matrix(), 4, "4 free coordinates are not K.K − 1./2"),
        (bt.positive_definite(), 4, r"4 free coordinates are not K.K \+ 1./2"),
        (bt.lower_cholesky(shape=(3, 2)), 4, "4 free coordinates do not fill shape"),
        (bt.circular(), 3, "the last free axis has 2 coordinates"),
    ],
)
def test_free_vectors_of_the_wrong_size_are_refused(bijector, n, message):
    with pytest.raises(ValueError, match=message):
        bijector.forward(jnp.zeros(n))


def test_traced_bounds_are_not_checked():
    middle = jax.jit(lambda a, b: bt.interval(a, b).forward(jnp.zeros(())))
    assert middle(2.0, 1.0) == 1.5


@pytest.mark.parametrize(
    ("bijector", "value"),
    [
        (bt.positive(), -1.0),
        (bt.positive(), 0.0),
        (bt.greater_than(1.0), 1.0),
        (bt.less_than(1.0), 2.0),
        (bt.interval(0.0, 1.0), 1.0),
        (bt.interval(-np.inf, 1.0), 1.5),
        (bt.ordered_vector(), [1.0, 1.0]),
        (bt.ordered_vector(), [2.0, 1.0]),
        (bt.positive_ordered_vector(), [-1.0, 1.0]),
        (bt.simplex(), [0.5, 0.6]),
        (bt.simplex(), [0.0, 1.0]),
        (bt.simplex(via="stick_breaking"), [0.5, 0.6]),
        (bt.zero_sum(), [1.0, 1.0]),
        (bt.zero_sum(axis=(-2, -1)), [[1.0, -1.0], [1.0, -1.0]]),
        (bt.sphere(), [1.0, 1.0]),
        (bt.circular(), 4.0),
        (bt.corr_cholesky(), [[1.0, 0.0], [0.5, 0.5]]),
        (bt.corr_cholesky(), [[1.0, 0.5], [0.0, 1.0]]),
        (bt.corr_matrix(), [[1.0, 2.0], [2.0, 1.0]]),
        (bt.corr_matrix(), [[1.0, 0.5], [0.4, 1.0]]),
        (bt.corr_matrix(), [[2.0, 0.5], [0.5, 1.0]]),
        (bt.lower_cholesky(), [[1.0, 0.0], [1.0, -1.0]]),
        (bt.lower_cholesky(), [[1.0, 1.0], [1.0, 1.0]]),
        (bt.positive_definite(), [[1.0, 2.0], [2.0, 1.0]]),
        (bt.positive_definite(), [[1.0, 0.5], [0.4, 1.0]]),
    ],
)
def test_values_off_the_support_are_refused(bijector, value):
    value = jnp.asarray(value)
    assert not bt.support(bijector).contains(value)
    reparam = bt.Reparam({"leaf": value}, {"leaf": bijector})
    with pytest.raises(bt.SupportError, match="leaf"):
        reparam.inverse({"leaf": value})


def test_ulps_is_strict():
    assert ulps(1.0, mp.mpf(1), np.float32) == 0
    assert ulps(float("nan"), mp.mpf(1), np.float32) == math.inf
    assert ulps(0.0, mp.mpf(1), np.float32) == 2**23


@pytest.mark.parametrize("size", [2, 4, 5, 8])
@pytest.mark.parametrize("make", [bt.corr_cholesky, bt.corr_matrix])
@pytest.mark.parametrize("at", [0.0, 0.3])
def test_the_inverse_of_a_correlation_has_derivatives_at_the_identity_too(make, size, at):
    """J⁻¹ J is the identity, forwards and in reverse."""
    with jax.enable_x64(True):
        reparam = bt.Reparam(jnp.eye(size), make())
        free = jnp.full(reparam.dim, at)
        step = jnp.linspace(0.1, 1.0, reparam.dim)
        model, along = jax.jvp(reparam.forward, (free,), (step,))
        _, back = jax.jvp(reparam.inverse, (model,), (along,))
        np.testing.assert_allclose(back, step, rtol=1e-9)
        gradient = jax.grad(lambda x: step @ reparam.inverse(x))(model)
        assert np.isfinite(gradient).all()
        np.testing.assert_allclose(np.sum(gradient * along), step @ step, rtol=1e-9)
