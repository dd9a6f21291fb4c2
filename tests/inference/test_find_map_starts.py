"""`find_map` from several starts, and what it refuses."""

from io import StringIO

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lines import line
from sampled import scale_model

import bijectree as bt
from bijectree import tfd


def two_normals(traces=None):
    """A mixture: most of its mass and its mode at 1.5, another mode at -1."""
    means = jnp.array([[1.5, 1.5], [-1.0, -1.0]])
    mixture = tfd.MixtureSameFamily(
        tfd.Categorical(probs=jnp.array([0.9, 0.1])),
        tfd.MultivariateNormalDiag(means, jnp.full((2, 2), 0.2)),
    )

    def log_likelihood(model):
        if traces is not None:
            traces.write(".")
        return mixture.log_prob(model["x"])

    return bt.Posterior(bt.Reparam({"x": jnp.zeros(2)}, None), log_likelihood)


LOWER = {"x": jnp.array([-1.2, -0.9])}


@pytest.mark.jax_defaults  # TFP's mixture promotes
def test_the_best_of_several_modes_is_given_with_how_many_starts_found_it():
    posterior = two_normals()
    alone = bt.find_map(posterior, LOWER)
    np.testing.assert_allclose(alone.model["x"], -1.0, atol=1e-4)
    assert (alone.starts, alone.found, alone.converged) == (1, 1, True)
    assert "starts" not in repr(alone)
    mode = bt.find_map(posterior, LOWER, starts=8)
    np.testing.assert_allclose(mode.model["x"], 1.5, atol=1e-4)
    assert mode.converged
    # Those that begin nearer to the higher mode find it; the model does not.
    others = posterior.initial(jax.random.key(0), n=7)["x"]
    ends = [bt.find_map(posterior, {"x": x}) for x in others]
    near = sum(bool(end.model["x"][0] > 0) for end in ends)
    assert 0 < near < 7
    assert (mode.starts, mode.found) == (8, near)
    assert f"; found from {near} of 8 starts" in repr(mode)
    searches = alone.gradients + sum(end.gradients for end in ends)
    judged = mode.gradients - searches
    assert 7 <= judged <= 7 + 3 * 7  # seven starts were found, and three points a pair
    assert mode.gradients > alone.gradients


@pytest.mark.jax_defaults  # TFP's mixture promotes
def test_another_key_gives_other_starts():
    posterior = two_normals()
    found = {
        bt.find_map(posterior, LOWER, starts=5, key=jax.random.key(i)).gradients
        for i in range(4)
    }
    assert len(found) > 1
    same = [bt.find_map(posterior, LOWER, starts=5).gradients for _ in range(2)]
    assert same[0] == same[1]


def test_mirror_images_are_two_modes():
    def log_likelihood(m):
        return -8 * (m["x"] ** 2 - 1) ** 2

    posterior = bt.Posterior(bt.Reparam({"x": jnp.array(0.5)}, None), log_likelihood)
    mode = bt.find_map(posterior, {"x": jnp.array(0.5)}, starts=8)
    others = np.asarray(posterior.initial(jax.random.key(0), n=7)["x"])
    above = 1 + int((others > 0).sum())
    assert mode.found in (above, 8 - above)
    assert 1 < above < 8


def test_a_ridge_is_one_mode():
    def log_likelihood(m):
        return -((m["x"] + m["y"] - 1) ** 2)

    model = {"x": jnp.zeros(()), "y": jnp.zeros(())}
    posterior = bt.Posterior(bt.Reparam(model, None), log_likelihood)
    mode = bt.find_map(posterior, model, starts=6)
    assert (mode.found, mode.starts, mode.converged) == (6, 6, True)


@pytest.mark.parametrize("jacobian", [False, True])
def test_all_starts_find_the_mode_of_a_density_with_one(jacobian, precision):
    posterior, free, (x, y) = line(dtype=precision)
    data = x, y + jnp.array([0.5, -1.0, 1.5, -0.5], precision)
    model = posterior.reparam.forward(free)
    one = bt.find_map(posterior, model, *data, jacobian=jacobian)
    mode = bt.find_map(posterior, model, *data, jacobian=jacobian, starts=4)
    assert mode.found == mode.starts == 4
    np.testing.assert_allclose(mode.log_density, one.log_density, rtol=1e-5)
    np.testing.assert_allclose(mode.vector, one.vector, atol=1e-2)
    assert mode.vector.dtype == precision
    assert mode.model.slope.dtype == precision


@pytest.mark.jax_defaults  # TFP's mixture promotes
def test_one_program_with_one_gradient_searches():
    traces = StringIO()  # a list would be read, and seem to change
    posterior = two_normals(traces)
    bt.find_map(posterior, LOWER)
    assert traces.tell() == 1
    bt.find_map(posterior, {"x": jnp.array([2.0, 3.0])}, max_steps=7)
    bt.find_map(posterior, LOWER, tolerance=1e-2)
    assert traces.tell() == 1
    # The starts are found by another one, whose gradient is that with the log-det.
    for starts in (8, 3):
        bt.find_map(posterior, LOWER, starts=starts)
    assert traces.tell() == 2


@pytest.mark.parametrize("starts", [0, -1, True, 2.5, "8", None, np.float32(2)])
def test_numbers_of_starts_that_cannot_be(starts):
    with pytest.raises(ValueError, match="`starts` must be an integer of at least 1"):
        bt.find_map(two_normals(), LOWER, starts=starts)
    with pytest.raises(ValueError, match=r"`starts` must.*\n.*`max_steps` must"):
        bt.find_map(two_normals(), LOWER, starts=starts, max_steps=0)


def test_a_start_that_is_not_finite():
    def log_likelihood(m):
        inside = jnp.where(m["x"] > 0, m["x"], 1.0)
        return jnp.where(m["x"] > 0, jnp.log(inside) - inside, -jnp.inf)

    posterior = bt.Posterior(bt.Reparam({"x": jnp.zeros(())}, None), log_likelihood)
    for starts in (1, 4):
        with pytest.raises(ValueError, match=r"1 try.*\n.*the log-likelihood is -inf"):
            bt.find_map(posterior, {"x": jnp.array(-1.0)}, starts=starts)
        with pytest.raises(bt.SupportError, match="'x': got nan"):
            bt.find_map(posterior, {"x": jnp.array(jnp.nan)}, starts=starts)
    # The other starts are looked for until they are.
    mode = bt.find_map(posterior, {"x": jnp.array(0.5)}, starts=8)
    assert mode.found == 8
    np.testing.assert_allclose(mode.model["x"], 1.0, atol=1e-3)
    nowhere = bt.Posterior(
        posterior.reparam, lambda m: jnp.where(m["x"] == 9, 0.0, -jnp.inf)
    )
    with pytest.raises(ValueError, match="in 100 tries"):
        bt.find_map(nowhere, {"x": jnp.array(9.0)}, starts=2)


def test_none_of_the_starts_converges():
    posterior = bt.Posterior(
        bt.Reparam({"x": jnp.zeros(2)}, None), lambda m: jnp.sum(m["x"])
    )
    with pytest.warns(UserWarning, match="none of 3 starts led to one") as found:
        mode = bt.find_map(posterior, {"x": jnp.zeros(2)}, starts=3, max_steps=5)
    assert (mode.converged, mode.found, mode.starts) == (False, 0, 3)
    assert found[0].filename == __file__


def test_a_mode_below_what_does_not_converge():
    def log_likelihood(m):
        return jnp.where(m["x"] > 0, m["x"], -4 * (m["x"] + 1) ** 2)

    posterior = bt.Posterior(bt.Reparam({"x": jnp.zeros(())}, None), log_likelihood)
    with pytest.warns(
        UserWarning, match="searches came to a log-density of .* above -0 "
    ):
        mode = bt.find_map(posterior, {"x": jnp.array(-0.7)}, starts=8)
    assert mode.converged
    np.testing.assert_allclose(mode.model["x"], -1.0, atol=1e-4)


def test_under_a_transformation_it_says_that_it_runs_on_the_host():
    posterior, x = scale_model(), jnp.array(0.7)
    calls = {
        "model": lambda: jax.jit(lambda x: bt.find_map(posterior, {"scale": x}).vector)(
            x
        ),
        "batch": lambda: jax.vmap(lambda x: bt.find_map(posterior, {"scale": x}).vector)(
            jnp.ones(3)
        ),
        "slope": lambda: jax.grad(
            lambda x: bt.find_map(posterior, {"scale": x}).log_density
        )(x),
        "posterior": lambda: eqx.filter_jit(
            lambda p: bt.find_map(p, {"scale": jnp.ones(())}).vector
        )(posterior),
        "closure": lambda: jax.jit(
            lambda: bt.find_map(posterior, {"scale": jnp.ones(())}).vector
        )(),
        "key": lambda: jax.vmap(
            lambda k: bt.find_map(posterior, {"scale": x}, starts=2, key=k).vector
        )(jax.random.split(jax.random.key(0), 2)),
    }
    for call in calls.values():
        with pytest.raises(TypeError, match="runs on the host"):
            call()


def test_coordinates_that_nothing_knows_of_are_warned_of():
    model = {"x": jnp.ones(2), "y": jnp.ones(())}
    posterior = bt.Posterior(
        bt.Reparam(model, bt.by_path(model, {"y": bt.positive()})),
        lambda m: -(m["x"][0] ** 2),
    )
    for options in ({}, {"jacobian": True}, {"starts": 3}):
        with pytest.warns(UserWarning, match="no prior stands|not at a maximum") as found:
            bt.find_map(posterior, model, max_steps=3, **options)
        texts = [str(w.message) for w in found if "no prior stands at" in str(w.message)]
        assert len(texts) == 1
        assert "'x.1', 'y', and" in texts[0]
        assert {w.filename for w in found} == {__file__}


def test_modes_of_leaves_of_any_kind():
    model = {
        "h": jnp.ones(3, jnp.bfloat16),
        "e": jnp.ones(0),
        "n": (jnp.ones((1, 1)), None),
    }

    def log_likelihood(m):
        half = (m["h"].astype(jnp.float32) - 0.5) ** 2
        return -half.sum() - jnp.sum((m["n"][0] - 2) ** 2)

    posterior = bt.Posterior(bt.Reparam(model, None), log_likelihood)
    mode = bt.find_map(posterior, model, starts=2)
    assert mode.found == 2
    np.testing.assert_array_equal(np.asarray(mode.model["h"], np.float32), 0.5)
    np.testing.assert_allclose(mode.model["n"][0], 2.0, atol=1e-3)
    assert mode.model["h"].dtype == jnp.bfloat16
    assert mode.gradient.dtype == mode.vector.dtype
    # Half precision alone has no vector to take steps in, so that is in single.
    half = bt.Posterior(
        bt.Reparam({"h": model["h"]}, None),
        lambda m: -jnp.sum((m["h"].astype(jnp.float32) - 0.5) ** 2),
    )
    assert bt.find_map(half, {"h": model["h"]}).vector.dtype == jnp.float32
    nothing = bt.Posterior(bt.Reparam(model, bt.frozen), log_likelihood)
    empty = bt.find_map(nothing, model, starts=2)
    assert (empty.converged, empty.found, empty.vector.shape) == (True, 2, (0,))


def test_the_gradient_of_a_complex_mode_is_that_of_jax():
    model = {"z": jnp.array([1.0 + 1j, 2.0])}
    posterior = bt.Posterior(
        bt.Reparam(model, None), lambda m: -jnp.sum(jnp.abs(m["z"] - 0.5j) ** 2)
    )
    with pytest.warns(UserWarning, match=r"largest at 'z\.[01]'"):
        mode = bt.find_map(posterior, model, max_steps=1, tolerance=1e-9)
    flat = posterior.flat()
    gradient = jax.grad(lambda v: flat.log_density(v, jacobian=False))(mode.vector)
    np.testing.assert_allclose(mode.gradient, gradient, rtol=1e-5)
