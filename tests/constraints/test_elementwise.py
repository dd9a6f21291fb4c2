"""Maps of single elements, ours and TFP's, against 60 digits."""

import pickle

import equinox as eqx
import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from catalogue import CATALOGUE
from exact import FUNCTIONS, LOWER, UPPER, grid, worst

import bijectree as bt
from bijectree import tfb

# Scalar maps, and which function of tests/exact.py each is.
SCALARS = {
    "positive": (bt.positive(), "exp"),
    "positive_softplus": (bt.positive(via="softplus"), "softplus"),
    "greater_than": (bt.greater_than(LOWER), "lower"),
    "less_than": (bt.less_than(UPPER), "upper"),
    "unit_interval": (bt.unit_interval(), "sigmoid"),
    "interval": (bt.interval(LOWER, UPPER), "interval"),
    "interval_above": (bt.interval(LOWER, np.inf), "lower"),
    "interval_below": (bt.interval(-np.inf, UPPER), "upper"),
    "tfb_exp": (tfb.Exp(), "exp"),
    "tfb_softplus": (tfb.Softplus(), "softplus"),
    "tfb_sigmoid": (tfb.Sigmoid(), "sigmoid"),
    "tfb_sigmoid_bounds": (tfb.Sigmoid(np.float32(LOWER), np.float32(UPPER)), "interval"),
    "tfb_tanh": (tfb.Tanh(), "tanh"),
}
BOUNDED = {"lower", "upper", "interval"}


def elementwise(bijector, points):
    """Value, log-det and their first two derivatives at each point by itself."""
    reparam = bt.Reparam(jax.ShapeDtypeStruct((), points.dtype), bijector)
    pair = reparam.forward_and_log_det

    def first(y):
        # Each by itself: where the value overflows, no slope of it times 0 is a number.
        return jax.grad(lambda y: pair(y)[0])(y), jax.grad(lambda y: pair(y)[1])(y)

    def each(y):
        return pair(y), first(y), jax.jacfwd(pair)(y), jax.jacfwd(first)(y)

    return jax.jit(jax.vmap(each))(points)


@pytest.mark.parametrize("name", SCALARS)
def test_scalar_maps_are_exact_to_8_ulp(name, precision):
    bijector, function = SCALARS[name]
    points = grid(precision.type)
    (value, log_det), slopes, forward_slopes, _ = elementwise(bijector, points)
    exact_value, exact_log_det, exact_slope = FUNCTIONS[function]
    # near its zero, a bound plus or minus something is as good as the bound's rounding
    scale = max(abs(LOWER), UPPER) if function in BOUNDED else 0.0
    assert worst(np.asarray(value), points, exact_value, scale) <= 8
    assert worst(np.asarray(log_det), points, exact_log_det) <= 8
    assert np.all(np.isfinite(log_det))

    sign = -1 if function == "upper" else 1
    truths = (lambda y: sign * mp.exp(exact_log_det(y)), exact_slope)
    for pair in (slopes, forward_slopes):
        for slope, truth in zip(pair, truths, strict=True):
            slope = np.asarray(slope)
            if function == "interval" and precision == np.float32:
                # exp(-88) is subnormal in float32, times the width it is not
                slope = np.where(
                    np.abs(points) == 88, [float(truth(y)) for y in points], slope
                )
                slope = slope.astype(np.float32)
            assert worst(slope, points, truth) <= 8


@pytest.mark.parametrize("name", SCALARS)
def test_second_derivatives_are_exact(name, precision):
    bijector, function = SCALARS[name]
    points = grid(precision.type)
    points = points[np.abs(points) < 40]
    *_, (value, log_det) = elementwise(bijector, points)
    exact_log_det, exact_slope = FUNCTIONS[function][1:]
    sign = -1 if function == "upper" else 1
    with mp.workdps(100):
        curvature = [float(mp.diff(exact_slope, mp.mpf(float(y)))) for y in points]
        value_curvature = [
            sign
            * float(
                mp.exp(exact_log_det(mp.mpf(float(y)))) * exact_slope(mp.mpf(float(y)))
            )
            for y in points
        ]
    eps = np.finfo(precision).eps
    np.testing.assert_allclose(log_det, curvature, rtol=100 * eps, atol=1e-36)
    np.testing.assert_allclose(value, value_curvature, rtol=100 * eps, atol=1e-36)


def test_softplus_keeps_tfps_hinge_and_low(precision):
    bijector = tfb.Softplus(hinge_softness=np.float32(0.5), low=np.float32(0.25))
    y = jnp.linspace(-3.0, 3.0, 7)
    reparam = bt.Reparam(jax.ShapeDtypeStruct((7,), precision), bijector)
    value, log_det = reparam.forward_and_log_det(y)
    np.testing.assert_allclose(value, 0.25 + 0.5 * np.log1p(np.exp(2 * y)), rtol=1e-6)
    np.testing.assert_allclose(log_det, np.sum(-np.log1p(np.exp(-2 * y))), rtol=1e-6)


def test_pairs_are_for_the_class_itself_not_for_a_users_subclass():
    class Twice(tfb.Exp):
        def _forward(self, x):
            return 2 * jnp.exp(x)

    reparam = bt.Reparam(jnp.ones(()), Twice(), verify=False)
    assert reparam.forward(jnp.zeros(())) == 2.0


def test_infinite_bounds_fall_back_elementwise(precision):
    inf = np.inf
    bijector = bt.interval([-inf, -inf, 1.0, 1.0], [inf, 2.0, inf, 2.0])
    alone = [bt.real(), bt.less_than(2.0), bt.greater_than(1.0), bt.interval(1.0, 2.0)]
    y = jnp.array([[0.3, -0.7, 2.0, -1.0], [1e4, -90.0, 30.0, 50.0]], precision)
    reparam = bt.Reparam({"x": y}, {"x": bijector})

    def total(free):
        model, log_det = reparam.forward_and_log_det(free)
        return jnp.sum(model["x"]) + log_det

    value = reparam.forward({"x": y})["x"]
    assert np.all(np.isfinite(jax.grad(total)({"x": y})["x"]))
    for i, one in enumerate(alone):
        single = bt.Reparam(y[:, i], one)
        np.testing.assert_array_equal(value[:, i], single.forward(y[:, i]))
    inner = value[:1]
    back = bt.Reparam({"x": inner}, {"x": bijector}).inverse({"x": inner})["x"]
    np.testing.assert_allclose(back, y[:1], rtol=1e-5)


def test_bounds_are_exact_in_float64_when_made_without_x64():
    bijector = bt.greater_than(0.1)
    with jax.enable_x64(True):  # noqa: FBT003
        reparam = bt.Reparam(np.ones(()), bijector)
        assert reparam.forward(jnp.asarray(-800.0)) == 0.1


@pytest.mark.parametrize("name", CATALOGUE)
def test_is_a_value_and_a_pytree(name):
    make, _ = CATALOGUE[name]
    bijector, again = make(), make()
    assert bijector == again
    assert pickle.loads(pickle.dumps(bijector)) == bijector
    for wrap in (lambda b: b, lambda b: tfb.Chain([tfb.Identity(), b])):
        one, other = jax.tree.structure(wrap(bijector)), jax.tree.structure(wrap(again))
        assert one == other
        assert hash(one) == hash(other)
        dynamic, static = eqx.partition(wrap(bijector), eqx.is_inexact_array)
        eqx.combine(dynamic, static)
        leaves = jax.tree.leaves(wrap(bijector))
        jax.tree.unflatten(one, [object()] * len(leaves))


@pytest.mark.parametrize(
    "make",
    [
        bt.greater_than,
        bt.less_than,
        lambda x: bt.interval(x, 9.0),
        lambda x: bt.affine(x, 1.0),
        lambda x: bt.sinh_arcsinh(x, skewness=x, tailweight=x),
    ],
)
def test_new_numbers_make_no_new_structure(make):
    assert jax.tree.structure(make(0.5)) == jax.tree.structure(make(1.5))
    assert make(0.5) == make(0.5)
    assert make(0.5) != make(1.5)

    @jax.jit
    def at_zero(bijector):
        return bijector.forward(jnp.zeros(()))

    assert at_zero(make(0.5)) != at_zero(make(1.5))
    assert at_zero._cache_size() == 1


def test_gradients_reach_the_bounds():
    def middle(lower):
        return bt.interval(lower, 3.0).forward(jnp.zeros(()))

    assert jax.jit(jax.grad(middle))(1.0) == 0.5


@pytest.mark.parametrize("inner", [bt.positive(), bt.interval(0.0, 1.0)])
def test_composes_in_a_chain(inner, precision):
    chain = tfb.Chain([tfb.Scale(2.0), inner])
    y = jnp.array([0.3, -1.0], precision)
    reparam = bt.Reparam({"x": y}, {"x": chain})
    model, log_det = reparam.forward_and_log_det({"x": y})
    alone = bt.Reparam({"x": y}, {"x": inner})
    expected, inner_log_det = alone.forward_and_log_det({"x": y})
    np.testing.assert_allclose(model["x"], 2 * expected["x"], rtol=1e-6)
    np.testing.assert_allclose(log_det, inner_log_det + 2 * np.log(2.0), rtol=1e-6)
    np.testing.assert_allclose(reparam.inverse(model)["x"], y, rtol=1e-5)


@pytest.mark.jax_defaults
@pytest.mark.parametrize("name", CATALOGUE)
def test_tfps_own_methods_agree(name):
    make, shape = CATALOGUE[name]
    bijector = make()
    free = bijector.inverse_event_shape(shape)
    x = 0.3 * np.cos(np.arange(np.prod(free), dtype=np.float32)).reshape(free)

    # Two programs, where each operation would be one; `back` sees no free value.
    @jax.jit
    def there(x):
        log_det = bijector.forward_log_det_jacobian(x, event_ndims=x.ndim)
        return bijector.forward(x), log_det

    @jax.jit
    def back(y):
        log_det = bijector.inverse_log_det_jacobian(y, event_ndims=y.ndim)
        return bijector.inverse(y), log_det

    y, log_det = there(x)
    again, inverse = back(y)
    assert bijector.forward_event_shape(free) == y.shape == shape
    assert tuple(bijector.forward_event_shape_tensor(free)) == shape
    assert tuple(bijector.inverse_event_shape_tensor(shape)) == tuple(free)
    assert y.dtype == again.dtype == jnp.float32
    reparam = bt.Reparam({"x": y}, {"x": bijector})
    np.testing.assert_allclose(
        log_det, reparam.forward_log_det_jacobian({"x": x}), rtol=1e-6
    )
    if not name.startswith(
        ("sphere", "circular")
    ):  # these forget the free vector's length
        np.testing.assert_allclose(inverse, -log_det, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(again, x, rtol=1e-4, atol=1e-5)
