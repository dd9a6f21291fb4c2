"""Unit vectors and angles."""

import math

import equinox as eqx
import jax.numpy as jnp
import law
import numpy as np
import pytest

import bijectree as bt


def test_auxiliary_densities_are_as_documented(precision):
    points = np.linspace(-8, 8, 400)  # not through 0
    uniform = lambda angle: jnp.full_like(angle, -math.log(2 * math.pi))  # noqa: E731
    total = law.mass(uniform, bt.circular(), (), points, precision)
    assert abs(total - 1) < 1e-4
    uniform = lambda x: jnp.full_like(x[..., 0], -math.log(2 * math.pi))  # noqa: E731
    total = law.mass(uniform, bt.sphere(), (2,), points, precision)
    assert abs(total - 1) < 1e-4


@pytest.mark.parametrize("period", [360.0, 180.0, 1.0, 7.3])
def test_an_angle_of_any_period(period, precision):
    bijector = bt.circular(period=period)
    uniform = lambda angle: jnp.full_like(angle, -math.log(period))  # noqa: E731
    points = np.linspace(-8, 8, 400)
    total = law.mass(uniform, bijector, (), points, precision)
    assert abs(total - 1) < 1e-4
    turns = np.array([-0.4999, -0.25, 0.0, 1e-3, 0.3, 0.4999])
    model = {"x": jnp.asarray(turns * period, precision)}
    reparam = bt.Reparam(model, {"x": bijector})
    free = reparam.inverse(model)
    expected = np.stack([np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)], -1)
    np.testing.assert_allclose(free["x"], expected, atol=4 * np.finfo(precision).eps)
    back, log_det = reparam.forward_and_log_det(free)
    np.testing.assert_allclose(back["x"], model["x"], rtol=1e-6, atol=1e-6 * period)
    np.testing.assert_allclose(
        log_det, 6 * (math.log(period / (2 * math.pi)) - 0.5), rtol=1e-5, atol=1e-5
    )


def test_angles_near_half_a_period_stay_inside(precision):
    below = [[-1.0, sign * 10.0**-k] for k in range(3, 40, 2) for sign in (1, -1)]
    for period in np.random.default_rng(0).uniform(0.1, 1000, 50):
        bijector = bt.circular(period=float(period))
        angles = bijector.forward(jnp.asarray(below, precision))
        assert bt.support(bijector).contains(angles).all(), period


def test_a_period_changes_without_a_trace_and_may_be_an_array():
    model = {"x": jnp.array([40.0, 40.0])}
    reparam = bt.Reparam(model, bt.circular(period=[360.0, 180.0]))
    free = reparam.inverse(model)["x"]
    np.testing.assert_allclose(np.arctan2(*free.T[::-1]), np.deg2rad([40.0, 80.0]))
    traces = []

    @eqx.filter_jit
    def forward(reparam, free):
        traces.append(1)
        return reparam.forward(free)

    for period in (360.0, 180.0):
        forward(bt.Reparam(model, bt.circular(period=period)), {"x": free})
    assert len(traces) == 1


@pytest.mark.parametrize("period", [0.0, -1.0, np.inf, np.nan, "turn"])
def test_a_period_that_is_none(period):
    with pytest.raises(ValueError, match="period must be"):
        bt.circular(period=period)


def test_an_angle_in_degrees_is_told_of_the_period():
    reparam = bt.Reparam({"psi": jnp.array(0.0)}, bt.circular())
    with pytest.raises(
        bt.SupportError, match=r"got 40.*\(−π, π\]; add .* bt.circular\(period=360.0\)"
    ):
        reparam.inverse({"psi": jnp.array(40.0)})


def test_circular_has_no_cut(precision):
    angles = jnp.asarray([-3.1, -1.0, 0.0, 2.0, 3.1, math.pi], precision)
    reparam = bt.Reparam({"x": angles}, {"x": bt.circular()})
    free = reparam.inverse({"x": angles})["x"]
    assert free.shape == (6, 2)
    np.testing.assert_allclose(reparam.forward({"x": free})["x"], angles, rtol=1e-6)
    west = jnp.asarray([[-1.0, -0.0]] * 6, precision)
    np.testing.assert_allclose(reparam.forward({"x": west})["x"], math.pi, rtol=1e-6)
