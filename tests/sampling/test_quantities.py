"""The quantities that a calibration ranks."""

import jax.numpy as jnp
import numpy as np
import pytest
from sampled import scale_model

import bijectree as bt
from bijectree import tfd
from bijectree.posterior import Target
from bijectree.sampling.quantities import (
    at_draws,
    at_model,
    constant,
    names_of,
    rounding_of,
)


@pytest.mark.parametrize(
    ("low", "high", "still"),
    [
        (1.0, 1.0, True),
        (1.0, 1.0 + 1e-6, True),
        (1.0, 1.0 + 1e-4, False),
        (-1e-9, 1e-9, False),
        (0.0, 0.0, True),
        (-np.inf, -np.inf, True),
        (-np.inf, 0.0, False),
        (-np.inf, np.inf, False),
    ],
)
def test_what_varies_by_rounding_alone_is_constant(low, high, still):
    eps = np.array([np.finfo(np.float32).eps])
    assert constant(np.array([low]), np.array([high]), eps).tolist() == [still]


def test_numbers_are_named_by_path_and_index_and_round_as_their_leaf():
    model = {
        "a": jnp.ones((1, 2), jnp.bfloat16),
        "b": jnp.ones(()),
        "c": jnp.ones(2),
        "d": jnp.zeros((0,)),
        "n": 3,
    }
    rules = {"b": bt.positive(), "c": bt.frozen}
    rows = bt.Reparam(model, bt.by_path(model, rules)).bound.plan.rows
    assert names_of(rows) == ["a.0.0", "a.0.1", "b", "log-prior", "log-likelihood"]
    half, single = 2.0**-7, 2.0**-23
    assert rounding_of(rows).tolist() == [half, half, single, half, half]
    (one, *_) = names_of(bt.Reparam(jnp.ones(()), None).bound.plan.rows)
    assert one == "model"


@pytest.mark.jax_defaults
def test_a_model_and_its_draws_have_the_same_quantities():
    def log_likelihood(model, y):
        return tfd.Normal(0.0, model["scale"]).log_prob(y).sum()

    y = np.array([0.5, -2.0], np.float32)
    posterior = scale_model(log_likelihood=log_likelihood)
    target = Target(posterior, (y,))
    found = at_draws(target, jnp.log(jnp.array([[[3.0], [0.5]]])))
    assert found.shape == (1, 2, 3)
    for row, scale in zip(found[0], (3.0, 0.5), strict=True):
        own = at_model(target, [jnp.array(scale)])
        np.testing.assert_allclose(row, own, rtol=1e-5)
        # Gamma(3, 2) and two normal densities, by hand.
        log_prior = 3 * np.log(2.0) - np.log(2.0) + 2 * np.log(scale) - 2 * scale
        log_y = -0.5 * (y / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi)
        np.testing.assert_allclose(own, [scale, log_prior, log_y.sum()], rtol=1e-5)
