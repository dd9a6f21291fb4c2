"""dynamax's properties of parameters, taken over as a spec."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bijectree as bt
from bijectree import tfb

pytestmark = pytest.mark.jax_defaults


class Initial(NamedTuple):
    probs: Any


class Params(NamedTuple):
    initial: Initial
    rates: Any


@jax.tree_util.register_pytree_node_class
class Properties:
    """As dynamax's: a node without children."""

    def __init__(self, trainable: bool = True, constrainer: Any = None):
        self.trainable, self.constrainer = trainable, constrainer

    def tree_flatten(self):
        return (), (self.trainable, self.constrainer)

    @classmethod
    def tree_unflatten(cls, aux, children):
        return cls(*aux)


PARAMS = Params(Initial(jnp.array([0.2, 0.3, 0.5])), jnp.ones((2, 3)))


def test_every_sort_of_property():
    props = Params(
        Initial(Properties(constrainer=tfb.SoftmaxCentered())),
        Properties(constrainer=tfb.Softplus()),
    )
    spec = bt.from_dynamax(PARAMS, props)
    assert type(spec) is Params
    assert spec.initial.probs.name == "simplex"
    assert spec.rates is props.rates.constrainer
    reparam = bt.Reparam(PARAMS, spec)
    assert reparam.dim == 2 + 6
    assert bt.check(reparam, PARAMS).ok
    held = Params(Initial(Properties(False)), Properties())
    spec = bt.from_dynamax(PARAMS, held)
    assert spec.initial.probs is bt.frozen
    assert spec.rates is None


def test_what_is_held_keeps_its_constrainer_out():
    held = Properties(trainable=False, constrainer=tfb.SoftmaxCentered())
    spec = bt.from_dynamax(PARAMS, Params(Initial(held), Properties()))
    assert spec.initial.probs is bt.frozen


def test_properties_above_several_leaves():
    spec = bt.from_dynamax(PARAMS, Properties(constrainer=tfb.Exp()))
    assert spec.rates is spec.initial.probs
    assert bt.from_dynamax({}, {}) == {}


@pytest.mark.parametrize(
    ("props", "match"),
    [
        (Params(Initial(None), Properties()), "at 'initial.probs': got NoneType None"),
        (Params(Initial(tfb.Exp()), 3.0), "(?s)at 'initial.probs': .*at 'rates': got"),
        ({"initial": Properties()}, "structure of params\n  - at the root: got dict"),
        (
            Params(Initial(Properties(constrainer=jnp.exp)), Properties()),
            "at 'initial.probs': the constrainer is .*, and no bijector",
        ),
    ],
)
def test_what_is_no_property_is_refused_by_path(props, match):
    with pytest.raises(ValueError, match=match):
        bt.from_dynamax(PARAMS, props)


@pytest.mark.filterwarnings("default")  # what dynamax warns of
def test_a_hidden_markov_model_of_dynamax():
    models = pytest.importorskip("dynamax.hidden_markov_model")
    hmm = models.GaussianHMM(num_states=3, emission_dim=2)
    params, props = hmm.initialize(jax.random.key(0))
    props.transitions.transition_matrix.trainable = False
    spec = bt.from_dynamax(params, props)
    reparam = bt.Reparam(params, spec)
    assert reparam.dim == 2 + 3 * 2 + 3 * 3
    emissions = jax.random.normal(jax.random.key(1), (20, 2))
    free = reparam.inverse(params)
    back = reparam.forward(free)
    assert type(back) is type(params)
    np.testing.assert_allclose(
        hmm.marginal_log_prob(back, emissions),
        hmm.marginal_log_prob(params, emissions),
        rtol=1e-4,
    )
    assert bt.check(reparam, params).ok
    loss = reparam.compose(lambda p: -hmm.marginal_log_prob(p, emissions))
    gradient = jax.jit(jax.grad(loss))(free)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))
