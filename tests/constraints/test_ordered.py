"""Increasing vectors, with and without bounds, along any axis."""

import equinox as eqx
import jax
import jax.numpy as jnp
import law
import mpmath as mp
import numpy as np
import optax
import pytest

import bijectree as bt

# Each with the shape of a leaf.
CASES = {
    "above": (lambda: bt.ordered_vector(2.0), (4,)),
    "below": (lambda: bt.ordered_vector(upper=-1.0), (4,)),
    "between": (lambda: bt.ordered_vector(-1.0, 3.0), (4,)),
    "between, far from 0": (lambda: bt.ordered_vector(1000.0, 1001.0), (3,)),
    "one entry": (lambda: bt.ordered_vector(0.0, 1.0), (1,)),
    "no entry": (lambda: bt.ordered_vector(0.0, 1.0), (0,)),
    "no vector": (lambda: bt.ordered_vector(0.0, 1.0), (0, 3)),
    "a batch": (lambda: bt.ordered_vector(0.0, 1.0), (2, 3)),
    "a bound for each vector": (
        lambda: bt.ordered_vector(jnp.array([0.0, -5.0]), np.array([1.0, 7.0])),
        (2, 3),
    ),
    "one bound for each": (lambda: bt.ordered_vector(upper=[0.0, -5.0]), (2, 3)),
    "columns": (lambda: bt.ordered_vector(axis=-2), (3, 2)),
    "positive columns": (lambda: bt.positive_ordered_vector(axis=-2), (3, 2)),
    "bounded columns": (
        lambda: bt.ordered_vector([0.0, -5.0], [1.0, 7.0], axis=-2),
        (3, 2),
    ),
    "a batch of columns": (
        lambda: bt.ordered_vector([[0.0], [1.0]], 2.0, axis=-2),
        (2, 3, 4),
    ),
    "the first of three axes": (
        lambda: bt.ordered_vector([0.0, 1.0], axis=-3),
        (3, 1, 2),
    ),
    "softplus above": (lambda: bt.ordered_vector(2.0, via="softplus"), (4,)),
    "softplus below": (lambda: bt.ordered_vector(upper=-1.0, via="softplus"), (4,)),
    "softplus, a bound for each": (
        lambda: bt.ordered_vector([0.0, -5.0], via="softplus"),
        (2, 3),
    ),
    "softplus columns": (lambda: bt.ordered_vector(axis=-2, via="softplus"), (3, 2)),
    "softplus positive columns": (
        lambda: bt.positive_ordered_vector(axis=-2, via="softplus"),
        (3, 2),
    ),
    "softplus, one entry": (lambda: bt.ordered_vector(via="softplus"), (1,)),
}


def axis_of(bijector):
    return bijector.parameters["axis"]


@pytest.mark.parametrize("name", CASES)
def test_the_law_of_bijectors(name, precision, getkey):
    make, shape = CASES[name]
    law.assert_bijector(make(), shape, precision, getkey())


@pytest.mark.parametrize("name", CASES)
def test_values_increase_within_their_bounds_and_are_known_to(name, getkey):
    make, shape = CASES[name]
    bijector = make()
    reparam = bt.Reparam(jax.ShapeDtypeStruct(shape, jnp.float32), bijector)
    vector = np.asarray(jax.random.normal(getkey(), (24,)))[: reparam.dim]
    value = reparam.forward(reparam.unravel(vector))
    assert value.shape == shape
    assert np.all(np.diff(value, axis=axis_of(bijector)) > 0)
    assert np.all(bt.support(bijector).contains(value))
    if value.shape[axis_of(bijector)] > 1 and value.size:
        turned = np.flip(value, axis_of(bijector))
        assert not np.any(bt.support(bijector).contains(turned))
        with pytest.raises(bt.SupportError, match="increasing vectors"):
            reparam.inverse(turned)
    assert bt.check(reparam, value).ok


def exact(free, lower, upper):
    """Value and log-det to 50 digits, written from the formulas of the docstring."""
    y = [mp.mpf(float(x)) for x in free]
    n = len(y)
    if lower is None:
        x = [upper - sum(mp.exp(z) for z in y[k:]) for k in range(n)]
        return x, sum(y)
    if upper is None:
        x = [lower + sum(mp.exp(z) for z in y[: k + 1]) for k in range(n)]
        return x, sum(y)
    rest, x, log_det = mp.mpf(1), [], n * mp.log(upper - lower)
    for k, z in enumerate(y):
        share = 1 / (1 + mp.exp(-z + mp.log(n - k)))
        log_det += mp.log(rest) + mp.log(share) + mp.log(1 - share)
        rest *= 1 - share
        x.append(upper - (upper - lower) * rest)
    return x, log_det


@pytest.mark.parametrize("bounds", [(2.0, None), (None, -1.0), (-1.0, 3.0), (0.0, 1e-3)])
@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_value_and_log_det_are_those_of_mpmath(bounds, scale, getkey):
    with jax.enable_x64(True), mp.workdps(50):
        bijector = bt.ordered_vector(*bounds)
        free = scale * jax.random.normal(getkey(), (5,))
        template = jax.ShapeDtypeStruct((5,), jnp.float64)
        value, log_det = bt.Reparam(template, bijector).forward_and_log_det(free)
        expected, expected_log_det = exact(free, *bounds)
        np.testing.assert_allclose(value, np.array(expected, float), rtol=1e-13)
        np.testing.assert_allclose(log_det, float(expected_log_det), rtol=1e-13)


def exact_softplus(free, lower, upper):
    """Value, log-det and its slopes, written from the docstring."""
    y = [mp.mpf(float(x)) for x in free]
    start = lower is None and upper is None
    steps = [mp.log1p(mp.exp(z)) if z < 0 else z + mp.log1p(mp.exp(-z)) for z in y]
    log_slopes = [z - step for z, step in zip(y, steps, strict=True)]
    slopes = [1 / (1 + mp.exp(z)) for z in y]
    if start:
        steps[0], log_slopes[0], slopes[0] = y[0], mp.mpf(0), mp.mpf(0)
    if upper is not None:
        x = [upper - sum(steps[k:]) for k in range(len(y))]
    else:
        x = [(lower or 0) + sum(steps[: k + 1]) for k in range(len(y))]
    return x, sum(log_slopes), slopes


SOFTPLUS = {
    "no bound": (lambda: bt.ordered_vector(via="softplus"), (None, None)),
    "above": (lambda: bt.ordered_vector(2.0, via="softplus"), (2.0, None)),
    "below": (lambda: bt.ordered_vector(upper=-1.0, via="softplus"), (None, -1.0)),
    "positive": (lambda: bt.positive_ordered_vector(via="softplus"), (0.0, None)),
}


@pytest.mark.parametrize("name", SOFTPLUS)
@pytest.mark.parametrize("scale", [1e-9, 1.0, 8.0, 700.0])
def test_softplus_has_the_value_and_the_log_det_of_mpmath(name, scale, getkey):
    make, bounds = SOFTPLUS[name]
    with jax.enable_x64(True), mp.workdps(700):
        # All are positive at first, so that no rounding of a bound hides a step.
        free = scale * jnp.abs(jax.random.normal(getkey(), (5,), jnp.float64))
        reparam = bt.Reparam(jax.ShapeDtypeStruct((5,), jnp.float64), make())
        value, log_det = reparam.forward_and_log_det(free)
        due, due_log_det, slopes = exact_softplus(free, *bounds)
        np.testing.assert_allclose(value, np.array(due, float), rtol=1e-13)
        np.testing.assert_allclose(log_det, float(due_log_det), rtol=1e-13)
        gradient = jax.grad(reparam.forward_log_det_jacobian)(free)
        np.testing.assert_allclose(
            gradient, np.array(slopes, float), rtol=1e-13, atol=1e-300
        )
        if scale < 100:
            np.testing.assert_allclose(reparam.inverse(value), free, atol=1e-12)
        # And at both ends of the line, where the value may saturate.
        free = scale * jax.random.normal(getkey(), (5,), jnp.float64)
        _, log_det = reparam.forward_and_log_det(free)
        due, due_log_det, slopes = exact_softplus(free, *bounds)
        np.testing.assert_allclose(log_det, float(due_log_det), rtol=1e-13)
        gradient = jax.grad(reparam.forward_log_det_jacobian)(free)
        np.testing.assert_allclose(
            gradient, np.array(slopes, float), rtol=1e-13, atol=1e-300
        )


def test_softplus_steps_far_below_zero_come_back(precision):
    """The first step is e⁻⁶⁰, and the second is lost beside nothing that is so small."""
    bijector = bt.positive_ordered_vector(via="softplus")
    reparam = bt.Reparam(jax.ShapeDtypeStruct((2,), precision), bijector)
    free = jnp.array([-60.0, -55.0], precision)
    np.testing.assert_allclose(reparam.inverse(reparam.forward(free)), free, rtol=1e-6)


def test_softplus_is_the_same_set_and_another_map():
    for exp, softplus in (
        (bt.ordered_vector(), bt.ordered_vector(via="softplus")),
        (bt.ordered_vector(1.0), bt.ordered_vector(1.0, via="softplus")),
        (bt.positive_ordered_vector(), bt.positive_ordered_vector(via="softplus")),
    ):
        assert bt.support(exp).same_set(bt.support(softplus))
        free = jnp.array([0.5, 1.0, 3.0])
        assert not np.allclose(exp.forward(free), softplus.forward(free))


def test_order_statistics_of_uniform_numbers_have_mass_one():
    # The density of two of them is 2! over the triangle below the diagonal.
    bijector = bt.ordered_vector(0.0, 1.0)
    reparam = bt.Reparam(jax.ShapeDtypeStruct((2,), jnp.float32), bijector)
    grid = jnp.linspace(-18.0, 18.0, 721)
    points = jnp.stack(jnp.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    log_det = jax.jit(jax.vmap(reparam.forward_log_det_jacobian))(points)
    mass = float(jnp.sum(2 * jnp.exp(log_det)) * 0.05**2)
    assert mass == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(
    "name",
    ["above", "below", "between", "bounded columns", "softplus above", "softplus below"],
)
def test_far_out_the_log_det_is_finite_and_nothing_is_nan(name, precision):
    make, shape = CASES[name]
    reparam = bt.Reparam(jax.ShapeDtypeStruct(shape, precision), make())
    for far in (-300.0, 300.0, 80.0):
        free = reparam.unravel(jnp.full(reparam.dim, far, precision))
        value, log_det = reparam.forward_and_log_det(free)
        slope = jax.grad(reparam.forward_log_det_jacobian)(free)
        assert np.isfinite(log_det)
        assert np.all(np.isfinite(slope))
        assert not np.any(np.isnan(value))


def test_new_bounds_do_not_retrace_and_have_a_gradient():
    traces = []

    @eqx.filter_jit
    def top(reparam, free):
        traces.append(None)
        return reparam.forward(free)[-1]

    template, free = jax.ShapeDtypeStruct((3,), jnp.float32), jnp.zeros(3)
    tops = [
        top(bt.Reparam(template, bt.ordered_vector(0.0, upper)), free)
        for upper in (1.0, 2.0)
    ]
    np.testing.assert_allclose(tops, [0.75, 1.5])
    assert len(traces) == 1

    def of_bound(upper):
        return bt.Reparam(template, bt.ordered_vector(0.0, upper)).forward(free)[-1]

    assert jax.grad(of_bound)(1.0) == pytest.approx(0.75)


@pytest.mark.jax_defaults
@pytest.mark.parametrize(
    "name",
    ["above", "below", "between", "bounded columns", "softplus above", "softplus below"],
)
def test_an_optimizer_stays_inside_however_far_it_steps(name):
    make, shape = CASES[name]
    bijector = make()
    reparam = bt.Reparam(jax.ShapeDtypeStruct(shape, jnp.float32), bijector)
    params = reparam.forward(reparam.unravel(jnp.zeros(reparam.dim)))
    optimizer = bt.reparameterize(optax.sgd(1.0), reparam)
    state = optimizer.init(params)
    for grad in (30.0, -60.0, 100.0):
        updates, state = optimizer.update(jnp.full(shape, grad), state, params)
        params = optax.apply_updates(params, updates)
        assert np.all(bt.support(bijector).contains(params)), params


def test_the_support_says_bounds_and_axis():
    assert bt.support(bt.ordered_vector()).description == "increasing vectors"
    shown = bt.support(bt.ordered_vector(0.0, 1.0, axis=-2)).description
    assert shown == "increasing vectors of numbers between 0 and 1 along axis -2"
    same = bt.support(bt.positive_ordered_vector())
    assert bt.support(bt.ordered_vector(0.0)).same_set(same)
    assert not bt.support(bt.ordered_vector(1.0)).same_set(same)
    assert not bt.support(bt.ordered_vector(axis=-2)).same_set(
        bt.support(bt.ordered_vector())
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bt.ordered_vector(1.0, 1.0), "upper must exceed lower"),
        (lambda: bt.ordered_vector([0.0, 2.0], 1.0), r"lower is 2 .* at index \(1,\)"),
        (lambda: bt.ordered_vector(-np.inf, 1.0), "None stands for no bound"),
        (lambda: bt.ordered_vector(upper=np.nan), "upper must be finite"),
        (lambda: bt.ordered_vector([0.0, 1.0], [1.0, 2.0, 3.0]), "do not broadcast"),
        (lambda: bt.ordered_vector(axis=0), "axis must be a negative integer"),
        (lambda: bt.positive_ordered_vector(axis=1), "axis must be a negative integer"),
        (lambda: bt.ordered_vector("a"), "lower must be a real number"),
        (lambda: bt.ordered_vector(via="log"), "via must be 'exp' or 'softplus'"),
        (lambda: bt.positive_ordered_vector(via="tanh"), "via must be 'exp' or"),
        (
            lambda: bt.ordered_vector(0.0, 1.0, via="softplus"),
            "between two the gaps are parts of a stick",
        ),
    ],
)
def test_arguments_that_cannot_be_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_bounds_that_would_broadcast_the_leaf_are_refused():
    with pytest.raises(ValueError, match=r"at 'x': ordered_vector does not fit"):
        bt.Reparam({"x": jnp.array([1.0, 2.0])}, bt.ordered_vector(jnp.zeros(3)))
