"""The search for a mode, a gradient a turn."""

import compiling
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import bijectree as bt
from bijectree.inference import lbfgs, line_search
from bijectree.posterior import Target


def target_of(function, dim):
    """A function of a vector as minus a log-density."""
    posterior = bt.Posterior(
        bt.Reparam({"x": jnp.zeros(dim)}, None), lambda m: -function(m["x"])
    )
    return Target(posterior, ())


def search(function, start, tolerance=1e-6, steps=500):
    start = jnp.asarray(start)
    return lbfgs.advance(
        target_of(function, start.size),
        lbfgs.begin(start),
        jnp.asarray(tolerance, start.dtype),
        jnp.asarray(steps),
        jacobian=False,
    )


def bowl(x):
    return 0.5 * jnp.sum(jnp.linspace(1, 1e3, x.size) * (x - 1) ** 2)


LOSSES = {
    "bowl": (bowl, np.zeros(6)),
    "rosenbrock": (
        lambda x: jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2),
        np.full(4, -1.2),
    ),
    "far": (lambda x: jnp.sum(jnp.sqrt(1 + (x - 1e4) ** 2)), np.zeros(2)),
    "steep": (lambda x: jnp.sum(jnp.exp(x) - x), np.full(2, 30.0)),
    "quartic": (lambda x: jnp.sum((x - 2) ** 4 + (x - 2) ** 2), np.full(3, -50.0)),
    # It has no value where a first step may end.
    "walled": (lambda x: jnp.sum(x - jnp.log(x)) * 1e3, np.full(2, 1e-3)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_minima_are_those_of_scipy(name):
    function, start = LOSSES[name]
    with jax.enable_x64(True):
        found = search(function, start)
        own = scipy.optimize.minimize(
            jax.value_and_grad(function),
            np.full(start.shape, 1.0) if name != "far" else np.full(2, 1e4),
            jac=True,
            method="BFGS",
            options={"gtol": 1e-8},
        )
        assert found.done
        assert found.best.value <= own.fun + 1e-8 * (1 + abs(own.fun))
        np.testing.assert_allclose(found.best.vector, own.x, atol=1e-4)
        value, gradient = jax.value_and_grad(function)(found.best.vector)
        np.testing.assert_allclose(found.best.value, value, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(found.best.gradient, gradient, atol=1e-7)
        assert found.gradients < 150


def test_the_search_goes_on_where_it_was():
    function, start = LOSSES["rosenbrock"]
    whole = search(function, start, steps=20)
    part = lbfgs.begin(jnp.asarray(start))
    target = target_of(function, start.size)
    for stop in (0, 3, 4, 11, 20):
        limit = jnp.asarray(1e-6, part.vector.dtype)
        part = lbfgs.advance(target, part, limit, jnp.asarray(stop), jacobian=False)
        assert part.steps == stop
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(part), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("count", [0, 1, 3, 10, 14])
def test_directions_are_those_of_the_dense_update(count):
    """Nocedal and Wright, equation 6.17, over the last ten steps."""
    random = np.random.default_rng(count)
    with jax.enable_x64(True):
        root = random.normal(size=(5, 5))
        hessian = root @ root.T + np.eye(5)
        memory = lbfgs.begin(jnp.zeros(5)).memory
        steps = []
        for move in random.normal(size=(count, 5)):
            bend = hessian @ move
            memory = lbfgs._remember(memory, jnp.asarray(move), jnp.asarray(bend))
            # The loss does not bend upwards along this one.
            memory = lbfgs._remember(memory, jnp.asarray(move), jnp.asarray(-bend))
            steps.append((move, bend))
        gradient = random.normal(size=5)
        inverse = np.eye(5) * min(1, 1 / np.linalg.norm(gradient))
        if steps:
            move, bend = steps[-1]
            inverse = np.eye(5) * (move @ bend) / (bend @ bend)
        for move, bend in steps[-10:]:
            weight = 1 / (move @ bend)
            turn = np.eye(5) - weight * np.outer(move, bend)
            inverse = turn @ inverse @ turn.T + weight * np.outer(move, move)
        found = lbfgs._direction(memory, jnp.asarray(gradient))
        np.testing.assert_allclose(found, -inverse @ gradient, rtol=1e-9)


LINES = {
    "bowl": lambda t: (t - 0.3) ** 2,
    "far": lambda t: jnp.sqrt(1 + (t - 500) ** 2),
    "near": lambda t: jnp.cosh(40 * (t - 0.01)),
    "walled": lambda t: (
        jnp.where(t < 0.2, -jnp.log(jnp.where(t < 0.2, 0.2 - t, 1.0)), 0.0)
        + jnp.where(t < 0.2, -3 * t * 100, jnp.nan)
    ),
    "wiggles": lambda t: -t / (t**2 + 2) + 0.02 * jnp.sin(30 * t) - 0.7 * jnp.tanh(t),
}


@pytest.mark.parametrize("name", LINES)
def test_a_line_search_ends_where_the_loss_has_fallen_and_is_flatter(name):
    """The strong Wolfe conditions, Nocedal and Wright, equation 3.7."""
    function = LINES[name]
    with jax.enable_x64(True):
        at = jax.jit(jax.value_and_grad(function))
        value, slope = at(0.0)
        assert slope < 0
        gradient, direction = jnp.array([slope]), jnp.ones(1)
        line = line_search.start_of_line(value, gradient, direction)
        found = False
        while not found and line.turns < line_search.TURNS:
            here = line.at
            new, new_slope = at(here)
            point = line_search.Point(here, new, new_slope)
            line, found = line_search.look(line, point, new_slope[None], value)
        assert found
        assert new <= value + 1e-4 * here * slope
        assert abs(new_slope) <= 0.9 * abs(slope)


def test_slopes_tell_where_to_go_below_the_rounding_of_the_loss():
    random = np.random.default_rng(0)
    root, _ = np.linalg.qr(random.normal(size=(30, 30)))
    hessian = jnp.asarray(root @ np.diag(np.logspace(0, 6, 30)) @ root.T, jnp.float32)
    centre = jnp.asarray(random.normal(size=30), jnp.float32)

    def loss(x):  # rounded to some hundredths
        return 0.5 * (x - centre) @ hessian @ (x - centre)

    found = search(loss, np.zeros(30, np.float32), tolerance=1e-3, steps=1000)
    off = np.asarray(found.best.vector - centre, np.float64)
    # 5.5 without. Compiled lightly, the loss is rounded more often.
    limit = 4 if compiling.is_light() else 1
    assert 0.5 * off @ np.asarray(hessian, np.float64) @ off < limit


def test_a_density_that_is_nowhere_lower_ends_the_search():
    def kink(x):
        return jnp.sum(jnp.abs(x))

    found = search(kink, np.zeros(2, np.float32) + 1e-30)
    assert found.done
    assert found.steps < 10
    stuck = search(lambda x: jnp.where(x[0] == 1, x[0], jnp.nan), np.ones(1, np.float32))
    assert stuck.done
    assert stuck.best.vector == 1


def test_norms_do_not_overflow():
    for x in ([3e30, 4e30], [3e-30, 4e-30], [0.0, 0.0], []):
        x = jnp.asarray(x, jnp.float32)
        exact = np.linalg.norm(np.asarray(x, np.float64))
        np.testing.assert_allclose(line_search.norm(x), exact, rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.float32, jnp.complex64])
def test_free_vectors_are_real_numbers_and_back(dtype):
    vector = np.asarray(jnp.asarray([1.5, -2.0, 0.25], dtype))
    if np.iscomplexobj(vector):
        vector = vector * np.array([1j, 1, 1 + 1j], np.complex64)
    reals = lbfgs.to_reals(vector)
    assert reals.dtype == jnp.float32
    np.testing.assert_array_equal(lbfgs.to_free(reals, 3), vector)
