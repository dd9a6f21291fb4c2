"""`Draws.predict`."""

from io import StringIO

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bijectree as bt
from bijectree import tfd


def draws_of(vectors, precision=jnp.float32):
    model = {"scale": jnp.array(1.0, precision), "held": jnp.arange(2), "name": "a"}
    spec = bt.by_path(model, {"scale": bt.positive()})
    prior = bt.by_path(model, {"scale": tfd.LogNormal(0.0, 1.0)})
    return bt.Draws(bt.Posterior(bt.Reparam(model, spec), None, prior), vectors)


def simulate(model, key, x):
    return x + model["scale"] * jax.random.normal(key, x.shape, x.dtype)


@pytest.mark.parametrize("batch_size", [None, 1, 4, 7, 15, 100])
def test_each_draw_has_a_key_of_its_own(batch_size, getkey, precision):
    vectors, key = jax.random.normal(getkey(), (3, 5, 1), precision), getkey()
    draws, x = draws_of(vectors, precision), jnp.arange(2, dtype=precision)
    found = draws.predict(simulate, key, x, batch_size=batch_size)
    assert found.dtype == precision
    for chain in range(3):
        for draw in range(5):
            own = jax.random.fold_in(jax.random.fold_in(key, chain), draw)
            noise = jax.random.normal(own, (2,), precision)
            exact = x + jnp.exp(vectors[chain, draw, 0]) * noise
            np.testing.assert_allclose(found[chain, draw], exact, rtol=1e-5, atol=1e-6)
    assert len(np.unique(found)) == found.size
    # More draws leave the keys of those before as they were.
    fewer = draws_of(vectors[:2, :3], precision).predict(simulate, key, x)
    np.testing.assert_allclose(fewer, found[:2, :3], rtol=1e-6)


def test_predictions_have_the_mean_and_the_spread_of_the_model(getkey):
    draws = draws_of(jnp.full((4, 5000, 1), jnp.log(2.0)))
    found = np.asarray(draws.predict(simulate, getkey(), jnp.ones(1)))
    np.testing.assert_allclose(found.mean(), 1.0, atol=5 * 2 / 20_000**0.5)
    np.testing.assert_allclose(found.std(), 2.0, rtol=0.03)
    lag = np.corrcoef(found[:, 1:].ravel(), found[:, :-1].ravel())[0, 1]
    assert abs(lag) < 0.05


def test_a_function_that_ignores_its_key_is_mapped(getkey):
    draws = draws_of(jax.random.normal(getkey(), (2, 9, 1)))
    found = draws.predict(lambda m, _: m["scale"] ** 2, getkey(), batch_size=2)
    np.testing.assert_allclose(found, draws.map(lambda m: m["scale"] ** 2), rtol=1e-6)


class Simulator(eqx.Module):
    offset: jax.Array
    kind: str = "normal"

    def __call__(self, model, key, x, settings):
        y = x + self.offset + model["held"].sum().astype(x.dtype)
        return {
            "y": (y, jax.random.randint(key, (1, 0), 0, 3)),
            "key": key,
            "kind": self.kind,
            "count": settings["n"],
            "none": None,
        }


def test_functions_and_results_of_any_kind(getkey):
    draws = draws_of(jnp.zeros((2, 3, 1)))
    x, settings = np.ones(4, np.float32), {"n": 3, "word": "w"}
    found = draws.predict(Simulator(jnp.ones(())), getkey(), x, settings, batch_size=4)
    y, empty = found["y"]
    np.testing.assert_array_equal(y, np.full((2, 3, 4), 3.0))
    assert empty.shape == (2, 3, 1, 0)
    assert found["key"].shape == (2, 3)
    assert found["kind"] == "normal"
    np.testing.assert_array_equal(found["count"], np.full((2, 3), 3))
    assert found["none"] is None
    old = draws.predict(Simulator(jnp.ones(())), jax.random.PRNGKey(0), x, settings)
    assert old["key"].shape == (2, 3, 2)


@pytest.mark.parametrize("shape", [(0, 5), (2, 0), (1, 1)])
def test_few_draws_and_none(shape, getkey):
    draws = draws_of(jnp.zeros((*shape, 1)))
    found = draws.predict(lambda m, k, x: (x * m["scale"], "s"), getkey(), jnp.ones(2))
    assert found[0].shape == (*shape, 2)
    assert found[1] == "s"


def test_one_loop_is_traced_once(getkey):
    traces = StringIO()  # a list would be read, and seem to change

    def function(model, key, x):
        traces.write(".")
        return simulate(model, key, x)

    draws = draws_of(jnp.zeros((4, 50, 1)))
    for key in (getkey(), getkey()):
        draws.predict(function, key, jnp.ones(2), batch_size=30)
    assert traces.tell() == 1


def test_predictions_under_jit_and_grad(getkey):
    key, x = getkey(), jnp.ones(2)

    def mean(vectors):
        return draws_of(vectors).predict(simulate, key, x, batch_size=4).mean()

    vectors = jax.random.normal(getkey(), (2, 3, 1))
    np.testing.assert_allclose(jax.jit(mean)(vectors), mean(vectors), rtol=1e-6)
    gradient = jax.grad(mean)(vectors)
    step = jnp.zeros_like(vectors).at[1, 2].set(1e-2)
    slope = (mean(vectors + step) - mean(vectors - step)) / 2e-2
    np.testing.assert_allclose(gradient[1, 2, 0], slope, atol=1e-3)


def test_arguments_that_cannot_be(getkey):
    draws = draws_of(jnp.zeros((2, 3, 1)))
    with pytest.raises(TypeError, match=r"expected a function .* the arguments are"):
        draws.predict(getkey(), simulate)
    for size in (0, 2.5, True, "all"):
        with pytest.raises(ValueError, match="`batch_size` must be an integer"):
            draws.predict(simulate, getkey(), jnp.ones(1), batch_size=size)
