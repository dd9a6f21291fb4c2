"""`Reparam.then`: one more bijector over all free coordinates."""

import equinox as eqx
import jax
import jax.numpy as jnp
import law
import numpy as np
import pytest
from together import below, jacobians, mixture, plain, points, preconditioned

import bijectree as bt
from bijectree import tfb


def test_then_is_one_more_map_of_all_coordinates(precision, getkey):
    model, spec = mixture(precision)
    inner = bt.Reparam(model, spec)
    reparam = preconditioned(inner, precision, times=2)
    assert isinstance(reparam, bt.Reparam)
    assert reparam.labels == inner.labels
    log_dets, matrices = jax.device_get(
        jacobians(reparam, points(reparam, getkey(), precision))
    )
    expected = [
        np.linalg.slogdet(law.minimal_rows(matrix.astype(np.float64)))[1]
        for matrix in matrices
    ]
    tolerance = 1e4 * float(jnp.finfo(precision).eps)
    np.testing.assert_allclose(log_dets, expected, rtol=tolerance, atol=tolerance)
    free = reparam.inverse(model)
    back = reparam.forward(free)
    for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(model), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(
        reparam.inverse_log_det_jacobian(model),
        -reparam.forward_log_det_jacobian(free),
        rtol=tolerance,
    )


def test_then_is_applied_before_what_was_there(getkey):
    model = {"a": jnp.array(1.0), "b": jnp.array([2.0, 3.0])}
    inner = bt.Reparam(model, bt.positive())
    first, second = tfb.Shift(1.0), tfb.Scale(jnp.array([2.0, 3.0, 4.0]))
    vector = jax.random.normal(getkey(), (3,))
    got = inner.then(first).then(second)
    expected = inner.forward(inner.unravel(1.0 + jnp.array([2.0, 3.0, 4.0]) * vector))
    np.testing.assert_allclose(
        got.forward(got.unravel(vector))["b"], expected["b"], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("bijector", "message"),
    [
        (bt.simplex(), r"simplex does not fit a vector of 5 numbers: .*shape \(4,\)"),
        (
            tfb.ScaleMatvecTriL(np.eye(3, dtype=np.float32)),
            "does not fit a vector of 5 numbers: Dimen",
        ),
        (bt.corr_matrix(), "then: corr_matrix does not fit a vector of 5 numbers"),
        (3, "then takes a TFP bijector, got int 3"),
        (bt.dependent(below, "a"), "then takes a TFP bijector, got Dependent"),
    ],
    ids=["fewer", "size", "matrix", "int", "dependent"],
)
def test_then_refuses_what_does_not_keep_the_coordinates(bijector, message):
    reparam = bt.Reparam(plain(), None)
    with pytest.raises((TypeError, ValueError), match=message):
        reparam.then(bijector)


def test_then_on_nothing_and_off_its_support():
    empty = bt.Reparam(plain(), bt.frozen).then(tfb.Scale(2.0))
    model, log_det = empty.forward_and_log_det(empty.inverse(plain()))
    assert log_det == empty.dim == 0
    reparam = bt.Reparam({"a": jnp.array([1.0, -2.0])}, None).then(tfb.Exp())
    model = {"a": jnp.array([1.0, -2.0])}
    for check in (reparam.inverse, reparam.error_if_outside):
        with pytest.raises(bt.SupportError, match="coordinates a.1 .* exp, given to"):
            check(model)
    with pytest.raises(RuntimeError, match="outside what `then` maps onto"):
        jax.block_until_ready(eqx.filter_jit(reparam.error_if_outside)(model)["a"])
