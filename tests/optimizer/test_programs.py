"""Programs that optimizers of equal Reparams share, and what is never shared."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import bijectree as bt
from bijectree.optimizer import programs
from bijectree.optimizer.steps import Steps

pytestmark = pytest.mark.jax_defaults  # optax promotes dtypes


def steps(bijector, held=5.0, missing=()):
    model = {"held": jnp.array(held), "x": jnp.array([0.5, 2.0])}
    reparam = bt.Reparam(model, {"held": bt.frozen, "x": bijector})
    return Steps(reparam, frozenset(missing))


def test_equal_plans_and_numbers_share_their_programs():
    one = steps(bt.greater_than(-1.0))
    for name in ("fingerprints", "pull_back", "refresh", "land"):
        # Held values are arguments of the programs.
        other = steps(bt.greater_than(-1.0), held=7.0)
        assert getattr(other, name) is getattr(one, name)


OTHERS = {
    "numbers": lambda: steps(bt.greater_than(-2.0)),
    "map": lambda: steps(bt.positive(via="softplus")),
    "held by none": lambda: steps(bt.greater_than(-1.0), missing=[0]),
    "dtype": lambda: steps(bt.greater_than(jnp.array(-1.0, jnp.float16))),
}


@pytest.mark.parametrize("case", OTHERS)
def test_others_have_programs_of_their_own(case):
    one, other = steps(bt.greater_than(-1.0)), OTHERS[case]()
    assert one.land is not other.land
    again = OTHERS[case]()
    assert (again.land is other.land) == (case != "held by none")


def test_a_step_has_the_numbers_of_its_own_reparam():
    for lower in (-1.0, -2.0, -1.0):
        model = {"x": jnp.array([0.5, 2.0])}
        optimizer = bt.reparameterize(
            optax.sgd(1.0), bt.Reparam(model, bt.greater_than(lower))
        )
        gradient = {"x": jnp.ones(2)}
        updates, _ = optimizer.update(gradient, optimizer.init(model), model)
        # The free step is that of the logarithm: minus the distance from the bound.
        distance = np.array([0.5, 2.0]) - lower
        expected = distance * np.exp(-distance) - distance
        np.testing.assert_allclose(updates["x"], expected, rtol=1e-5)


def test_a_model_is_not_kept_by_its_programs():
    model = {"held": jnp.ones(3), "x": jnp.ones(2)}
    reparam = bt.Reparam(model, {"held": bt.frozen, "x": bt.positive()})
    optimizer = bt.reparameterize(optax.sgd(0.1), reparam)
    state = optimizer.init(model)
    optimizer.update(jax.tree.map(jnp.ones_like, model), state, model)
    held = weakref.ref(model["held"])
    del model, reparam, optimizer, state
    gc.collect()
    assert held() is None


FACTOR = {"now": 1.0}


def factor(*_):
    return FACTOR["now"]


# Functions that read what is no part of them; each maps b from a free coordinate of slope
# `factor`.
READERS = {
    "dependent": lambda: bt.dependent(_affine, on=("a",)),
    "dependent without on": lambda: bt.dependent(_affine),
    "a partial of JAX": lambda: bt.dependent(jax.tree_util.Partial(_affine), on=("a",)),
    "scale": lambda: bt.location_scale("a", factor),
    "masked": lambda: bt.masked(bt.dependent(_affine, on=("a",)), np.ones(1, bool)),
}


def _affine(m):
    return bt.affine(0.0 * m["a"], factor() + 0.0 * m["a"])


@pytest.mark.parametrize("case", READERS)
def test_a_function_that_reads_something_else_is_read_again(case):
    spec = {"a": bt.frozen, "b": READERS[case]()}
    for FACTOR["now"] in (1.0, 3.0, 1.0):
        scale = FACTOR["now"]
        model = {"a": jnp.array(0.0), "b": jnp.array([2.0 * scale])}
        optimizer = bt.reparameterize(optax.sgd(0.25), bt.Reparam(model, spec))
        state = optimizer.init(model)
        np.testing.assert_allclose(state.free["b"], [2.0], rtol=1e-6)
        gradient = {"a": jnp.array(0.0), "b": jnp.ones(1)}
        updates, _ = optimizer.update(gradient, state, model)
        # The free step is a quarter of the slope, which maps it once more.
        np.testing.assert_allclose(updates["b"], [-0.25 * scale**2], rtol=1e-6)


def _times(x):
    return factor() * x


def test_a_tie_that_reads_something_else_is_read_again():
    spec = {"a": None, "b": bt.tied("a", _times)}
    for FACTOR["now"] in (1.0, 3.0):
        model = {"a": jnp.array(2.0), "b": jnp.array(2.0 * FACTOR["now"])}
        optimizer = bt.reparameterize(optax.sgd(1.0), bt.Reparam(model, spec))
        gradient = {"a": jnp.array(0.0), "b": jnp.array(1.0)}
        updates, _ = optimizer.update(gradient, optimizer.init(model), model)
        assert float(updates["a"]) == -FACTOR["now"]
        assert float(updates["b"]) == -(FACTOR["now"] ** 2)


def test_ties_and_location_scales_of_paths_share_their_programs():
    model = {"a": jnp.array(2.0), "b": jnp.array(2.0), "c": jnp.ones(3)}
    spec = {"a": bt.positive(), "b": bt.tied("a"), "c": bt.location_scale(0.5, "a")}
    one, other = (Steps(bt.Reparam(model, spec), frozenset()) for _ in range(2))
    assert one.land is other.land


class Opaque(bt.tfb.Bijector):
    """A bijector that is no JAX pytree."""

    def __init__(self, scale):
        self.scale = scale
        super().__init__(forward_min_event_ndims=0, parameters={"scale": scale})

    def _forward(self, x):
        return self.scale * jnp.exp(x)

    def _inverse(self, y):
        return jnp.log(y / self.scale)

    def _forward_log_det_jacobian(self, x):
        return x + jnp.log(self.scale)


def test_arrays_in_an_opaque_bijector_are_not_kept_by_programs():
    before = programs._shared.cache_info().currsize
    model = {"x": jnp.array([2.0, 3.0])}
    bijector = Opaque(jnp.array([2.0, 3.0]))
    optimizer = bt.reparameterize(optax.sgd(1.0), bt.Reparam(model, {"x": bijector}))
    updates, _ = optimizer.update(model, optimizer.init(model), model)
    # The free coordinates are 0, their gradient x², and the step e^(-x²) - 1 of x.
    expected = np.array([2.0, 3.0]) * np.expm1([-4.0, -9.0])
    np.testing.assert_allclose(updates["x"], expected, rtol=1e-5)
    assert programs._shared.cache_info().currsize == before


def test_programs_outlive_the_numbers_that_they_were_made_of():
    model = {"x": jnp.array([0.5, 2.0])}
    lower = jnp.array([-1.5, -2.5])
    Steps(bt.Reparam(model, bt.greater_than(lower)), frozenset())
    lower.delete()
    reparam = bt.Reparam(model, bt.greater_than(jnp.array([-1.5, -2.5])))
    optimizer = bt.reparameterize(optax.sgd(1.0), reparam)
    gradient = {"x": jnp.ones(2)}
    updates, _ = optimizer.update(gradient, optimizer.init(model), model)
    distance = np.array([2.0, 4.5])
    expected = distance * np.exp(-distance) - distance
    np.testing.assert_allclose(updates["x"], expected, rtol=1e-5)


def test_fingerprints_do_not_depend_on_what_was_compiled_before():
    # A bound is of another dtype to JAX where float64 is enabled.
    found = []
    model = {"x": jnp.array([0.5, 2.0], jnp.float32)}
    for before in (not jax.config.jax_enable_x64, None):
        programs._shared.cache_clear()
        if before is not None:
            with jax.enable_x64(before):
                Steps(bt.Reparam(model, bt.greater_than(-0.7)), frozenset())
        reparam = bt.Reparam(model, bt.greater_than(-0.7))
        state = bt.reparameterize(optax.sgd(1.0), reparam).init(model)
        found.append(np.asarray(state.fingerprints))
    np.testing.assert_array_equal(*found)
