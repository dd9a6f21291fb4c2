"""Programs that optimizers of equal Reparams share, and what is never shared."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import bijectree as bt
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
