"""One simulation after another: how many draws are taken, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sampled import scale_model

import bijectree as bt
from bijectree.sampling import simulations
from bijectree.sampling.simulations import Simulations

MODEL_OF_ONE = {"scale": jnp.array(1.0)}


def simulated(monkeypatch, *parts):
    """One simulation whose sampler gives these vectors, or raises these errors."""
    posterior, given = scale_model(), iter(parts)

    def sampler(posterior, key, *data, draws, **options):
        part = next(given)
        if isinstance(part, Exception):
            raise part
        diverging = {"diverging": np.ones(part.shape[:2], bool)}
        return bt.Draws(posterior, part, diverging)

    monkeypatch.setattr(simulations, "sample", sampler)
    run = Simulations(lambda key: (MODEL_OF_ONE, posterior, ()), 99, 100, 3, {})
    return run.simulate(jax.random.key(0))


def test_parts_are_added_as_long_as_draws_depend_on_each_other(monkeypatch):
    rng = np.random.default_rng(4)
    free = rng.normal(size=(2, 100, 1)).astype(np.float32)
    stuck = np.repeat(free[:, :4], 25, axis=1)
    once = simulated(monkeypatch, free)
    assert once.ess > 99
    assert once.diverging == 200
    thrice = simulated(monkeypatch, stuck, stuck, stuck, free)
    assert thrice.ess < 99
    assert thrice.diverging == 600
    # `sample` may refuse to go on: what is there counts, with its sample size.
    refused = simulated(monkeypatch, stuck, ValueError("resume"))
    assert refused.ess < 99
    assert refused.diverging == 200
    with pytest.raises(ValueError, match="first"):
        simulated(monkeypatch, ValueError("first"))


def test_draws_that_were_stopped_stop_the_simulations(monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        simulated(monkeypatch, np.zeros((2, 99, 1), np.float32))


def test_draws_without_a_rank_are_refused(monkeypatch):
    vectors = np.full((2, 100, 1), np.nan, np.float32)
    with pytest.raises(ValueError, match=r"stands in draws\n  - 'scale'\n.*'log-prior'"):
        simulated(monkeypatch, vectors)


@pytest.mark.slow
@pytest.mark.jax_defaults
def test_a_sampler_that_moves_slowly_takes_more_draws():
    slow = {"max_tree_depth": 1, "target_acceptance": 0.99, "coordinates": "given"}
    posterior = scale_model()

    def of(most):
        options = {"chains": 2, "warm_up": 100, **slow}
        run = Simulations(
            lambda key: (MODEL_OF_ONE, posterior, ()), 99, 100, most, options
        )
        return run.simulate(jax.random.key(3))

    assert of(10).ess > of(1).ess


def test_models_of_other_shapes_are_refused():
    run = Simulations(lambda key: None, 9, 9, 1, {})
    run._compare_models(scale_model())
    assert run.names == ["scale", "log-prior", "log-likelihood"]
    wide = bt.Reparam({"scale": jnp.ones(3), "x": jnp.ones(())}, None)
    with pytest.raises(ValueError, match=r"'scale': got shape .3,.*\n.*'x': got"):
        run._compare_models(bt.Posterior(wide, lambda model: 0.0))
