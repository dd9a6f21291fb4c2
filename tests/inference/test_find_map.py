"""`find_map`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats as st
from likelihoods import PROBLEMS
from sampled import COLOUR, scale_model

import bijectree as bt
from bijectree import tfb, tfd

# Samplers and the likelihoods below promote as users' code does.
pytestmark = pytest.mark.jax_defaults


# Modes.

COORDINATES = {
    "exp": tfb.Exp(),
    "softplus": tfb.Softplus(),
    "above": bt.greater_than(0.0, via="softplus"),
    "chain": tfb.Chain([tfb.Exp(), tfb.Scale(3.0)]),
}


@pytest.mark.parametrize("spec", COORDINATES.values(), ids=COORDINATES)
def test_neither_the_map_nor_the_posterior_moves_with_the_bijector(spec):
    with jax.enable_x64(True):
        posterior = scale_model(spec)
        model = {"scale": jnp.array(0.3)}
        mode = bt.find_map(posterior, model)
        assert mode.converged
        np.testing.assert_allclose(mode.model["scale"], (3 - 1) / 2, rtol=1e-7)
        written = st.gamma(3, scale=1 / 2).logpdf(1.0)
        np.testing.assert_allclose(mode.log_density, written, rtol=1e-12)
        # With the Jacobian the density of any free coordinate integrates to the same.
        flat = posterior.flat()
        grid = jnp.linspace(-40, 40, 40_001)[:, None]
        density = jnp.exp(jax.vmap(flat.log_density)(grid)) * (grid[1] - grid[0])
        scale = jax.vmap(flat.forward)(grid)["scale"]
        for power, exact in ((0, 1.0), (1, 1.5), (2, 3.0)):
            np.testing.assert_allclose((density * scale**power).sum(), exact, rtol=1e-6)


@pytest.mark.slow
def test_the_mode_of_free_coordinates_does_move():
    with jax.enable_x64(True):
        model = {"scale": jnp.array(0.3)}
        found = [
            float(bt.find_map(scale_model(spec), model, jacobian=True).model["scale"])
            for spec in (tfb.Exp(), tfb.Softplus())
        ]
    np.testing.assert_allclose(found[0], 3 / 2, rtol=1e-7)  # of the log of the scale
    assert abs(found[1] - found[0]) > 0.05


@pytest.mark.slow
def test_the_map_of_many_coordinates_in_single_precision():
    model = {"w": jnp.zeros((20, 3)), "s": jnp.ones(())}
    x = jax.random.normal(jax.random.key(0), (50, 20))
    truth = jnp.arange(60.0).reshape(20, 3) / 30

    def log_likelihood(model, x, y):
        return tfd.Normal(x @ model["w"], model["s"]).log_prob(y).sum()

    spec = bt.by_path(model, {"s": bt.positive()})
    prior = bt.by_path(model, {"w": tfd.Normal(0.0, 10.0)})
    posterior = bt.Posterior(bt.Reparam(model, spec), log_likelihood, prior)
    noise = jax.random.normal(jax.random.key(1), (50, 3))
    mode = bt.find_map(posterior, model, x, x @ truth + 0.1 * noise)
    assert mode.converged
    assert mode.model["w"].dtype == jnp.float32
    np.testing.assert_allclose(mode.model["w"], truth, atol=0.1)


@pytest.mark.parametrize("shape", [2.0, 5.0, 9.0, 20.0, 50.0])
def test_a_search_in_single_precision_ends_where_rounding_hides_the_rest(shape):
    posterior = bt.Posterior(
        bt.Reparam(jnp.array(1.0), bt.positive()), None, bt.tfd.Gamma(shape, shape / 3.0)
    )
    mode = bt.find_map(posterior, jnp.array(1.0), jacobian=True)  # warnings are errors
    assert mode.converged
    assert mode.steps < 100
    np.testing.assert_allclose(mode.model, 3.0, rtol=2e-3)


@pytest.mark.slow
def test_a_constant_does_not_end_the_search():
    centre, scale = jnp.array([1.0, 2.0, 3.0]), jnp.array([0.1, 1.0, 10.0])

    def normal(constant):
        def log_likelihood(m):
            return constant - 0.5 * jnp.sum(((m["x"] - centre) / scale) ** 2)

        return bt.Posterior(bt.Reparam({"x": jnp.zeros(3)}, None), log_likelihood)

    for constant in (0.0, -1e4):
        mode = bt.find_map(normal(constant), {"x": jnp.zeros(3)})
        error = (mode.model["x"] - centre) / scale
        assert jnp.abs(error).max() < (1e-3 if constant == 0.0 else 0.1)
    with pytest.warns(UserWarning, match=r"is rounded to 0\.12 in float32"):
        bt.find_map(normal(-1e6), {"x": centre + 0.1 * scale})


def test_a_regression_of_many_observations_in_single_precision():
    random = np.random.default_rng(0)
    x = random.uniform(0.0, 0.1, 20_000)
    y = 3.0 + 0.8 * x + 2.0 * random.standard_normal(20_000)
    truth = np.linalg.lstsq(np.stack([np.ones_like(x), x], 1), y)[0]
    covariance = 4.0 * np.linalg.inv(np.stack([np.ones_like(x), x]) @ np.c_[x**0, x])

    def log_likelihood(m, x, y):
        return bt.tfd.Normal(m["b"][0] + m["b"][1] * x, 2.0).log_prob(y).sum()

    model = {"b": jnp.zeros(2)}
    posterior = bt.Posterior(bt.Reparam(model, None), log_likelihood)
    mode = bt.find_map(posterior, model, jnp.asarray(x), jnp.asarray(y))
    off = np.asarray(mode.model["b"], np.float64) - truth
    assert off @ np.linalg.solve(covariance, off) < 0.15**2


def _lowest_of_many_steps(posterior, steps=120):
    """A function: the values at many steps of optax's L-BFGS, which nothing ends."""
    flat, optimizer = posterior.flat(), optax.lbfgs()

    @jax.jit
    def values(vector, data):
        def loss(vector):
            return -flat.log_density(vector, *data, jacobian=False)

        def step(carry, _):
            vector, state = carry
            value, gradient = optax.value_and_grad_from_state(loss)(vector, state=state)
            updates, state = optimizer.update(
                gradient, state, vector, value=value, grad=gradient, value_fn=loss
            )
            return (optax.apply_updates(vector, updates), state), value

        start = vector, optimizer.init(vector)
        return jax.lax.scan(step, start, length=steps)[1]

    return values


def _stops_in_time(name, dtype, seeds):
    problem = PROBLEMS[name]
    posterior, model = problem.posterior(dtype)
    values_at = _lowest_of_many_steps(posterior)
    vector = posterior.reparam.ravel(posterior.reparam.inverse(model))
    for seed in range(seeds):
        data = problem.data(np.random.default_rng(seed))
        data = tuple(jnp.asarray(x, dtype) for x in data)
        values = np.asarray(values_at(vector, data), np.float64)
        rounding = float(jnp.finfo(dtype).eps) * abs(values.min())
        first = int(np.argmax(values <= values.min() + 4 * rounding))
        mode = bt.find_map(posterior, model, *data)  # warnings are errors
        assert mode.converged, seed
        # Its line search is another one, so it may come there by another way.
        assert mode.steps <= 1.5 * first + 10, seed
        assert mode.gradients < 150, seed
        assert -mode.log_density <= values.min() + 10 * rounding, seed


@pytest.mark.parametrize("name", ["line", "counts"])
def test_a_search_ends_where_rounding_lets_it_go_no_further(name):
    _stops_in_time(name, jnp.float32, 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBLEMS)
def test_fifty_searches_end_where_rounding_lets_them_go_no_further(name, precision):
    _stops_in_time(name, precision, 50)


def test_terms_that_cancel_hide_no_mode():
    with jax.enable_x64(True):
        random = np.random.default_rng(3)
        half = 1e5 * random.normal(size=500)
        terms = jnp.asarray(random.permutation(np.concatenate([half, -half])))
        truth, scale = random.normal(size=4), np.array([1.0, 0.1, 1e-2, 1e-3])

        def log_likelihood(m, terms):
            off = (m["x"] - truth) / scale
            return jnp.sum(terms * m["x"].sum()) - jnp.sum(jnp.log(jnp.cosh(off)))

        model = {"x": jnp.zeros(4)}
        posterior = bt.Posterior(bt.Reparam(model, None), log_likelihood)
        mode = bt.find_map(posterior, model, terms)  # warnings are errors
        assert mode.converged
        assert np.all(abs(mode.model["x"] - truth) < 1e-4 * scale)


@pytest.mark.slow
def test_laplace_takes_a_tolerance():
    posterior, model = PROBLEMS["line"].posterior(jnp.float32)
    data = PROBLEMS["line"].data(np.random.default_rng(0))
    data = tuple(jnp.asarray(x, jnp.float32) for x in data)
    default = bt.laplace(posterior, model, *data)
    rough = bt.laplace(posterior, model, *data, tolerance=1.0)
    deviations = np.sqrt(np.sum(np.square(default.scale_tril), axis=1))
    off = np.abs(default.mean - rough.mean) / deviations
    assert 0 < off.max() < 0.1


def test_a_density_without_a_maximum_does_not_converge():
    posterior = bt.Posterior(
        bt.Reparam({"x": jnp.zeros(2)}, None), lambda m: jnp.sum(m["x"])
    )
    with pytest.warns(UserWarning, match="is not at a maximum"):
        mode = bt.find_map(posterior, {"x": jnp.zeros(2)})
    assert not mode.converged


def test_a_search_shows_its_progress_on_a_terminal_alone(plain_environment, capsys):
    posterior, model = scale_model(), {"scale": jnp.array(3.0)}
    bt.find_map(posterior, model)
    assert capsys.readouterr() == ("", "")
    plain_environment.setenv("FORCE_COLOR", "1")  # by which rich takes it for a terminal
    bt.find_map(posterior, model)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "search for the mode" in shown.err
    assert COLOUR.search(shown.err)
    plain_environment.setenv("NO_COLOR", "1")
    bt.find_map(posterior, model)
    assert not COLOUR.search(capsys.readouterr().err)


def test_a_search_that_does_not_converge_says_where():
    model = {"a": jnp.array(1.0), "b": jnp.array(1.0)}
    posterior = bt.Posterior(
        bt.Reparam(model, bt.positive()), lambda m: 5 * m["a"] - m["b"] ** 2
    )
    with pytest.warns(UserWarning, match="stopped after .* largest at 'a'"):
        mode = bt.find_map(posterior, model, max_steps=20)
    assert not mode.converged
