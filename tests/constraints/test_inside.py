"""Steps that end strictly inside a support, whatever they were meant to be."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import bijectree as bt
from bijectree import tfb
from bijectree.constraints.inside import snap_inside_interval, step_inside
from bijectree.numerics.floats import (
    add_exactly,
    from_ordinal as _from_ordinal,
    ordinal as _ordinal,
)

pytestmark = pytest.mark.jax_defaults  # optax promotes dtypes

DTYPES = ["float16", "bfloat16", "float32", "float64"]


@pytest.fixture(autouse=True)
def _wide():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("dtype", DTYPES)
def test_ordinals_count_the_floats_that_are_not_subnormal(dtype):
    info = jnp.finfo(dtype)
    x = jnp.asarray([-jnp.inf, -1.0, -info.tiny, -0.0, 0.0, info.tiny, 1.5, jnp.inf])
    x = x.astype(dtype)
    ordinals = _ordinal(x)
    assert np.all(np.diff(np.asarray(ordinals, np.int64)) >= 0)
    np.testing.assert_array_equal(_from_ordinal(ordinals, x.dtype), x)
    np.testing.assert_array_equal(ordinals[2:6], [-1, 0, 0, 1])
    above = _from_ordinal(ordinals + 1, x.dtype)
    assert above[0] == -info.max
    assert above[1] == -1 + info.eps / 2
    assert above[6] == 1.5 + info.eps


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sums_of_narrow_floats_are_those_of_numpy(dtype, getkey):
    wide = 10.0 ** jax.random.uniform(getkey(), (2, 4000), minval=-8.0, maxval=4.0)
    a, b = (wide * jax.random.rademacher(getkey(), (2, 4000))).astype(dtype)
    expected = np.asarray(a) + np.asarray(b)
    found = np.asarray(jax.jit(add_exactly)(a, b))
    normal = np.abs(expected.astype(float)) >= jnp.finfo(dtype).tiny
    np.testing.assert_array_equal(found[normal], expected[normal])
    np.testing.assert_allclose(
        found.astype(float),
        expected.astype(float),
        rtol=0,
        atol=float(jnp.finfo(dtype).smallest_subnormal),
    )


INTERVALS = {
    "positive": (bt.positive(), 0.0, np.inf),
    "softplus": (tfb.Softplus(low=np.float32(0.1)), np.float32(0.1), np.inf),
    "unit": (tfb.Sigmoid(), 0.0, 1.0),
    "interval": (bt.interval(1.0, 1.5), 1.0, 1.5),
    "wide": (bt.interval(-3e4, 2e-3), -3e4, 2e-3),
    "less": (bt.less_than(-2.0), -np.inf, -2.0),
    "real": (bt.affine(0.0, 1.0), -np.inf, np.inf),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", INTERVALS)
def test_the_sum_is_the_inner_number_nearest_to_the_target(name, dtype, getkey):
    bijector, lower, upper = INTERVALS[name]
    low, high = (jnp.asarray(x).astype(dtype) for x in (lower, upper))
    noise = 10.0 ** jax.random.uniform(getkey(), (2, 3000), minval=-5.0, maxval=4.0)
    noise = noise * jax.random.rademacher(getkey(), (2, 3000))
    ends = jnp.asarray([lower, upper, 0.5, -0.0, 1e9, -1e9, 1e-9, 1.0, -np.inf, np.inf])
    targets = jnp.clip(jnp.concatenate([noise[0], ends]).astype(dtype), low, high)
    places = snap_inside_interval(bijector, jnp.clip(noise[1].astype(dtype), low, high))
    places = jnp.resize(places, targets.shape)
    still = jnp.zeros(targets.shape, bool)

    @jax.jit
    def move(place, target):
        add = lambda step: add_exactly(place, step)  # noqa: E731
        step = step_inside(bijector, place, target, still, add)
        return step, optax.apply_updates(place, step)

    step, end = move(places, targets)
    outside = optax.apply_updates(places, step)  # not fused with the step
    np.testing.assert_array_equal(end, outside)
    assert np.all((end > low) & (end < high) & jnp.isfinite(end))
    assert end.dtype == dtype

    # No float beside the step brings the sum much nearer and keeps it inside.
    finite = np.isfinite(targets)
    goal = np.where(finite, targets, 0).astype(np.float64)
    info = jnp.finfo(dtype)
    slack = float(info.eps) * (np.abs(np.asarray(places, np.float64)) + np.abs(goal))
    here = np.abs(np.asarray(end, np.float64) - goal)
    for direction in (-1, 1):
        beside = _from_ordinal(_ordinal(step) + direction, step.dtype)
        other = add_exactly(places, beside)
        inside = np.asarray((other > low) & (other < high) & jnp.isfinite(other))
        nearer = np.where(inside, np.abs(np.asarray(other, np.float64) - goal), np.inf)
        assert np.all((here <= nearer + slack + float(info.tiny)) | ~finite)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["positive", "unit", "real", "less"])
def test_steps_from_and_to_the_largest_number_end_inside(name, dtype):
    bijector, lower, upper = INTERVALS[name]
    low, high = (jnp.asarray(x).astype(dtype) for x in (lower, upper))
    largest = jnp.finfo(dtype).max
    ends = jnp.asarray([-largest, largest, -1.0, 0.5, 1.0, -jnp.inf, jnp.inf], dtype)
    targets = jnp.clip(ends, low, high)
    for place in snap_inside_interval(bijector, jnp.clip(ends[:5], low, high)):
        still = jnp.zeros(targets.shape, bool)
        add = functools.partial(add_exactly, place)
        step = step_inside(bijector, jnp.full_like(targets, place), targets, still, add)
        end = add_exactly(jnp.full_like(targets, place), step)
        assert np.all((end > low) & (end < high) & jnp.isfinite(end))


def test_a_step_of_no_length_changes_no_bit():
    place = jnp.array([0.5, 2.0, 1e30], jnp.float32)
    still = jnp.zeros(3, bool)
    for bijector in (bt.positive(), bt.affine(0.0, 1.0)):
        step = step_inside(bijector, place, place, still, lambda step: place + step)
        assert np.all(np.signbit(step))
        assert np.all(step == 0)


def test_what_does_not_move_keeps_its_bits_and_nan_stays():
    place = jnp.array([-0.0, 1.0, 2.0], jnp.float32)
    target = jnp.array([3.0, 4.0, jnp.nan], jnp.float32)
    still = jnp.array([True, False, False])
    add = lambda step: place + step  # noqa: E731
    step = step_inside(bt.affine(0.0, 1.0), place, target, still, add)
    assert np.signbit(place + step)[0]
    np.testing.assert_array_equal(place + step, [0.0, 4.0, np.nan])


SETS = {
    "simplex": (bt.simplex(), [1.0, 0.0, 0.0]),
    "ordered": (bt.ordered_vector(), [2.0, 2.0, 2.0]),
    "descending to the largest": (bt.ordered_vector(), [1.0, 3.4e38, np.inf]),
    "positive ordered": (bt.positive_ordered_vector(), [0.0, 0.0, 0.0]),
    "corr_cholesky": (bt.corr_cholesky(), [[1.0, 0.0], [1.0, 0.0]]),
    "corr_matrix": (bt.corr_matrix(), [[1.0, 1.0], [1.0, 1.0]]),
    "positive_definite": (bt.positive_definite(), [[4.0, 4.0], [4.0, 4.0]]),
}
PLACES = {
    **{"simplex": [0.2, 0.3, 0.5], "positive ordered": [1.0, 2.0, 1e6]},
    **{"ordered": [-1e3, 1.0, 1e4], "descending to the largest": [0.0, 1.0, 2.0]},
}


@pytest.mark.parametrize("name", SETS)
def test_saturated_vectors_and_matrices(name):
    bijector, target = SETS[name]
    target = jnp.asarray(target, jnp.float32)
    place = jnp.asarray(PLACES.get(name, np.eye(2)), jnp.float32)
    still = jnp.zeros(target.shape, bool)
    add = lambda step: place + step  # noqa: E731
    step = step_inside(bijector, place, target, still, add)
    assert bt.support(bijector).contains(place + step)
    assert not bt.support(bijector).contains(target)
    assert np.any(step != 0)
    near = name in ("simplex", "corr_cholesky")
    if near:
        np.testing.assert_allclose(place + step, target, atol=1e-6)


JUMPS = {
    "exp": (tfb.Exp(), [0.5, 1.0, 3.0]),
    "softplus": (tfb.Softplus(), [0.5, 1.0, 3.0]),
    "interval": (bt.interval(-1.0, 2.5), [0.1, 0.5, 2.0]),
    "simplex": (bt.simplex(), [0.2, 0.3, 0.1, 0.4]),
    "ordered": (bt.ordered_vector(), [1.0, 2.0, 4.0]),
    "corr_cholesky": (bt.corr_cholesky(), np.eye(3)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", JUMPS)
def test_the_support_is_never_left(name):
    """1e5 steps with jumps to 1e6 times; the free value is carried as plain optax's.

    Vectors whose free coordinates overflow stay where they are, and start from there.
    """
    bijector, value = JUMPS[name]
    params = {"x": jnp.asarray(value, jnp.float32)}
    reparam = bt.Reparam(params, bijector)
    inside = bt.support(bijector).contains

    def draw(updates, key, free=None):
        key, a, b, c = jax.random.split(key, 4)
        size = 10.0 ** jax.random.uniform(a, (), jnp.float32, -3.0, 6.0)
        back = jax.random.bernoulli(c, 0.3)  # home again, so that all places are left

        def step(x):
            jump = size * jax.random.normal(b, x.shape, jnp.float32)
            return jnp.where(back, 0.5 * jump / (1 + size) - x, jump)

        return jax.tree.map(step, free), key

    inner = optax.GradientTransformation(lambda free: jax.random.key(0), draw)
    optimizer = bt.reparameterize(inner, reparam)
    zeros = {"x": jnp.zeros_like(params["x"])}

    def step(carry, _):
        params, state, free, key = carry
        home = reparam.inverse(params)
        updates, state = optimizer.update(zeros, state, params)
        params = optax.apply_updates(params, updates)
        if name == "ordered":
            lost = ~jnp.isfinite(reparam.forward(free)["x"]).all()
            free = jax.tree.map(functools.partial(jnp.where, lost), home, free)
        step, key = draw(None, key, free)
        free = optax.apply_updates(free, step)
        good = jnp.all(inside(params["x"])) & jnp.all(jnp.isfinite(params["x"]))
        same = jnp.all(free["x"] == state.free["x"])
        return (params, state, free, key), (good, same)

    @jax.jit
    def train(params):
        state = optimizer.init(params)
        carry = (params, state, state.free, jax.random.key(0))
        return jax.lax.scan(step, carry, length=100_000)[1]

    good, same = train(params)
    assert np.all(good)
    assert np.all(same)
