"""Coordinates that neither a prior nor the likelihood knows of."""

import jax.numpy as jnp
import pytest

import bijectree as bt
from bijectree import tfd


def test_flat_coordinates_of_a_bounded_set_are_proper(getkey):
    model = {"p": jnp.array(0.5), "w": jnp.full(3, 1 / 3)}
    reparam = bt.Reparam(model, {"p": bt.unit_interval(), "w": bt.simplex()})
    bt.Posterior(reparam, lambda m: jnp.zeros(())).initial(getkey())


def test_coordinates_that_nothing_knows_of_are_reported(getkey):
    model = {"a": jnp.ones(3), "b": jnp.ones(())}
    reparam = bt.Reparam(model, bt.positive())
    log_likelihood = lambda m: -(m["a"][0] ** 2) - m["a"][2] ** 2  # noqa: E731
    prior = {"a": None, "b": tfd.HalfNormal(1.0)}
    with pytest.warns(UserWarning, match=r"no prior stands at 'a\.1', and .* improper"):
        bt.Posterior(reparam, log_likelihood, prior).initial(getkey())
    # A start where the likelihood is stationary says nothing.
    stationary = {"a": jnp.ones(3), "b": jnp.ones(())}
    known = lambda m: -jnp.sum((m["a"] - 1) ** 2)  # noqa: E731
    bt.Posterior(reparam, known, prior).initial(getkey(), start=stationary)
    # With a prior everywhere there is nothing to report: warnings are errors here.
    bt.Posterior(reparam, log_likelihood, tfd.HalfNormal(1.0)).initial(getkey())


def test_a_leaf_behind_a_bijector_is_seen_through_its_log_det(getkey):
    model = {"a": jnp.ones(3), "b": jnp.ones(()), "c": jnp.zeros(())}
    spec = bt.by_path(model, {"a": bt.positive(), "b": bt.positive(via="softplus")})
    reparam = bt.Reparam(model, spec)
    one = bt.Posterior(reparam, lambda m: -(m["a"][1] ** 2))
    with pytest.warns(UserWarning, match=r"stands at 'a\.0', 'a\.2', 'b', 'c', and"):
        one.initial(getkey(), n=3)
    two = bt.Posterior(reparam, lambda m: -jnp.sum(m["a"] ** 2) - m["c"] ** 2)
    with pytest.warns(UserWarning, match=r"no prior stands at 'b', and") as found:
        two.initial(getkey(), n=3)
    assert found[0].filename == __file__
