"""What every fitted Reparam is held to."""

import io
import pickle
from typing import Any

import equinox as eqx
import jax
import numpy as np

import bijectree as bt


def assert_same_density(
    posterior: bt.Posterior, fitted: bt.Reparam, model: Any, *data: Any
) -> tuple[Any, Any]:
    """At one model, the log-densities differ by the log-dets and by nothing else.

    Returns:
        The fitted free coordinates of the model, and the difference of the log-dets.
    """
    other = eqx.tree_at(lambda p: p.reparam, posterior, fitted)
    one, two = posterior.reparam.inverse(model), fitted.inverse(model)
    difference = other.log_density(two, *data) - posterior.log_density(one, *data)
    before = posterior.reparam.forward_log_det_jacobian(one)
    log_dets = fitted.forward_log_det_jacobian(two) - before
    np.testing.assert_allclose(difference, log_dets, rtol=0, atol=1e-10)
    return two, log_dets


def assert_stored(fitted: bt.Reparam, free: Any) -> None:
    """Pickled, or serialised by Equinox, it is the same map."""
    back = fitted.forward(free)
    copy = pickle.loads(pickle.dumps(fitted))
    assert eqx.tree_equal(copy.forward(free), back)
    assert copy.bound.plan == fitted.bound.plan
    file = io.BytesIO()
    eqx.tree_serialise_leaves(file, fitted)
    file.seek(0)
    like = jax.tree.map(lambda x: 0.0 * x, fitted)
    loaded = eqx.tree_deserialise_leaves(file, like)
    assert eqx.tree_equal(loaded.forward(free), back)
