"""Products of matrices keep their dtype's precision, also where devices would not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bijectree as bt
from bijectree import tfb, tfd
from bijectree.learned.flow import Flow, new_weights
from bijectree.learned.low_rank import LowRankAffine
from bijectree.substrate.number import Number


def low_rank():
    numbers = np.zeros(3), np.ones(3), np.eye(3)[:, :1], np.full(1, 2.0)
    return LowRankAffine(*map(Number, numbers))


def flow():
    weights = new_weights(jax.random.key(0), 3, 2, 4, jnp.float32)
    return Flow(tuple(Number(np.asarray(x)) for x in weights), "autoregressive")


VECTOR, MATRIX = jnp.array([0.0, 1.0, 0.0]), jnp.eye(3)
MAPS = {
    "matvec": (lambda: tfb.ScaleMatvecTriL(MATRIX), VECTOR),
    "outer_product": (tfb.CholeskyOuterProduct, MATRIX),
    "positive_definite": (bt.positive_definite, MATRIX),
    "corr_matrix": (bt.corr_matrix, MATRIX),
    "low_rank": (low_rank, VECTOR),
    "flow": (flow, VECTOR),
}


def products(function, *args):
    """The lines of a program that multiply matrices."""
    program = jax.jit(function).lower(*args).as_text()
    return [line for line in program.splitlines() if "dot_general" in line]


@pytest.mark.parametrize("name", MAPS)
def test_maps_and_their_gradients(name):
    make, value = MAPS[name]
    reparam = bt.Reparam({"x": value}, {"x": make()}, verify=False)

    def total(free):
        model, log_det = reparam.forward_and_log_det(free)
        return jnp.sum(model["x"] ** 2) + log_det

    found = products(jax.value_and_grad(total), reparam.inverse({"x": value}))
    assert found
    for line in found + products(reparam.inverse, {"x": value}):
        assert "[HIGHEST, HIGHEST]" in line


@pytest.mark.jax_defaults  # TFP promotes ranks
def test_priors_and_not_the_likelihood():
    model = {"x": VECTOR}
    prior = tfd.MultivariateNormalDiagPlusLowRank(VECTOR, VECTOR + 1, MATRIX[:, :1])
    reparam = bt.Reparam(model, None)
    free = reparam.inverse(model)

    def likelihood(model):
        return jnp.sum((MATRIX @ model["x"]) ** 2)

    for function, precision in ((None, "HIGHEST"), (likelihood, "DEFAULT")):
        density = bt.Posterior(reparam, function, None if function else {"x": prior})
        found = products(jax.value_and_grad(density.log_density), free)
        assert found
        for line in found:
            assert f"[{precision}, {precision}]" in line


def test_draws_of_a_laplace_approximation(getkey):
    posterior = bt.Posterior(
        bt.Reparam({"x": VECTOR}, None), lambda m: -jnp.sum(m["x"] ** 2), None
    )
    found = bt.laplace(posterior, {"x": VECTOR})
    (line,) = products(lambda key: found.sample(key, 5).vectors, getkey())
    assert "[HIGHEST, HIGHEST]" in line
