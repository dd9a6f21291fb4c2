"""The sinh–arcsinh map: values, log-dets and inverses in 60 digits, and its limits."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from law import assert_bijector

import bijectree as bt
from bijectree import tfb, tfd

POINTS = (-1e6, -40.0, -2.0, -1e-9, 0.0, 1e-3, 0.7, 3.0, 1e4)
SHAPES = ((0.0, 1.0), (-0.7, 1.3), (1.5, 0.6), (0.0, 2.5), (0.2, 1.0))


def exact(y, skewness, tailweight):
    after = (mp.asinh(y) + mp.mpf(skewness)) * mp.mpf(tailweight)
    slope = mp.mpf("2.5") * mp.mpf(tailweight) * mp.cosh(after) / mp.sqrt(1 + y * y)
    return mp.mpf("-1.25") + mp.mpf("2.5") * mp.sinh(after), mp.log(slope)


@pytest.mark.parametrize(("skewness", "tailweight"), SHAPES)
def test_value_log_det_and_inverse_have_60_digits(skewness, tailweight):
    bend = bt.sinh_arcsinh(-1.25, 2.5, skewness=skewness, tailweight=tailweight)
    with jax.enable_x64(True):
        reparam = bt.Reparam(jnp.ones(()), bend)
        for y in POINTS:
            value, log_det = reparam.forward_and_log_det(jnp.float64(y))
            due, due_log_det = exact(mp.mpf(y), skewness, tailweight)
            # The exponent of a sinh is known to a rounding of itself.
            digits = 1e-15 * (10 + 3 * abs(float(mp.asinh(y))))
            assert abs(float(value) - due) <= digits * max(3, abs(due)), y
            assert abs(float(log_det) - due_log_det) <= 1e-13 * max(1, abs(due_log_det))
            if abs(due) < 1e5:
                tolerance = 1e-13 * max(1, abs(y)) * max(1, float(mp.exp(-due_log_det)))
                assert abs(float(reparam.inverse(value)) - y) <= 10 * tolerance, y


def test_without_skewness_and_tails_it_is_affine_to_the_bit(precision, getkey):
    y = 1e4 * jax.random.normal(getkey(), (50,)).astype(precision)
    bend, plain = bt.sinh_arcsinh(3.0, 0.5), bt.affine(3.0, 0.5)
    for one, other in (
        (bt.Reparam(y, bend), bt.Reparam(y, plain)),
        (
            bt.Reparam(y, bt.sinh_arcsinh([3.0] * 50, 0.5, skewness=[0.0] * 50)),
            bt.Reparam(y, plain),
        ),
    ):
        assert np.array_equal(one.forward(y), other.forward(y))
        assert np.array_equal(one.inverse(y), other.inverse(y))
        for got, due in zip(
            one.forward_and_log_det(y), other.forward_and_log_det(y), strict=True
        ):
            np.testing.assert_allclose(got, due, rtol=1e-6)


@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_the_law_behind_and_before_other_maps(shape, precision, getkey):
    bend = bt.sinh_arcsinh(0.3, 1.5, skewness=-0.4, tailweight=1.2)
    assert_bijector(bend, shape, precision, getkey())
    outside = bt.positive(via="softplus", scale=2.0)
    assert_bijector(tfb.Chain([outside, bend]), shape, precision, getkey())
    assert_bijector(tfb.Chain([tfb.Exp(), tfb.Invert(bend)]), shape, precision, getkey())


@pytest.mark.parametrize(
    ("outside", "leaf", "free"),
    [
        (bt.simplex(via="stick_breaking"), (2, 4), (2, 3)),
        (bt.corr_cholesky(), (3, 3), (3,)),
        (bt.ordered_vector(), (2, 4), (2, 4)),
    ],
    ids=["simplex", "corr_cholesky", "ordered"],
)
def test_each_free_coordinate_of_an_event_may_be_bent(
    outside, leaf, free, precision, getkey
):
    skewness = 0.5 * jax.random.normal(getkey(), free)
    bend = bt.sinh_arcsinh(0.0, np.full(free, 1.2), skewness=np.asarray(skewness))
    chain = tfb.Chain([outside, bend])
    assert_bijector(chain, leaf, precision, getkey())
    assert bt.support(chain).same_set(bt.support(outside))


def test_it_turns_a_normal_density_into_that_of_jones_and_pewsey():
    """TFP's distribution has the same map with its own scale."""
    with jax.enable_x64(True):
        tail, skewness = 1.4, 0.3
        theirs = tfd.SinhArcsinh(jnp.float64(0.5), 2.0, skewness, tail)
        scale = 2.0 * 2 / np.sinh(np.arcsinh(2.0) * tail)
        bend = bt.sinh_arcsinh(0.5, scale, skewness=skewness, tailweight=tail)
        reparam = bt.Reparam(jnp.zeros(()), bend)
        y = jnp.linspace(-4.0, 4.0, 9)
        x, log_det = jax.vmap(reparam.forward_and_log_det)(y)
        due = tfd.Normal(jnp.float64(0.0), 1.0).log_prob(y) - log_det
        np.testing.assert_allclose(theirs.log_prob(x), due, rtol=1e-12)


def test_the_log_det_stays_finite_where_the_value_overflows(precision):
    bend = bt.sinh_arcsinh(tailweight=3.0)
    y = jnp.asarray([-1e30, -1e15, 1e15, 1e30], jnp.float32).astype(precision)
    _, log_det = jax.vmap(bt.Reparam(jnp.zeros((), precision), bend).forward_and_log_det)(
        y
    )
    due = np.log(3.0) + 2 * np.arcsinh(np.abs(np.asarray(y, np.float64)))
    np.testing.assert_allclose(log_det, due, rtol=1e-6)


def test_numbers_may_be_traced_and_change_without_a_new_trace():
    traces = []

    @jax.jit
    def value(tail):
        traces.append(1)
        bend = bt.sinh_arcsinh(0.0, 1.0, skewness=0.5, tailweight=tail)
        return bt.Reparam(jnp.zeros(()), bend).forward(jnp.float32(0.3))

    slope = jax.grad(lambda tail: value(tail))(1.2)
    due = (value(1.21) - value(1.19)) / 0.02
    np.testing.assert_allclose(slope, due, rtol=1e-3)
    before = len(traces)
    value(2.0)
    assert len(traces) == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"loc": np.nan}, "loc must be finite"),
        ({"scale": 0.0}, "scale must be positive"),
        ({"scale": [1.0, -1.0]}, "scale must be positive"),
        ({"skewness": np.inf}, "skewness must be finite"),
        ({"tailweight": -1.0}, "tailweight must be positive"),
        ({"tailweight": np.nan}, "tailweight must be finite"),
    ],
)
def test_numbers_out_of_range_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        bt.sinh_arcsinh(**given)


def test_a_spec_with_it_reads_well_and_lasts(tmp_path):
    model = {"scale": jnp.ones(3), "weights": jnp.full(4, 0.25)}
    bend = bt.sinh_arcsinh(0.5, 1.5, skewness=np.array([0.1, -0.2, 0.3]), tailweight=1.4)
    spec = {
        "scale": tfb.Chain([bt.positive(via="softplus", scale=2.3), bend]),
        "weights": tfb.Chain(
            [bt.simplex(via="stick_breaking", order=[3, 0, 1, 2]), bend]
        ),
    }
    reparam = bt.Reparam(model, spec)
    table = bt.summary(reparam, model)
    assert "positive via softplus, scale 2.3, after" in table
    bt.save_spec(tmp_path / "spec.toml", spec)
    again = bt.Reparam(model, bt.load_spec(tmp_path / "spec.toml", model))
    free = reparam.inverse(model)
    for one, other in zip(
        jax.tree.leaves(reparam.forward(free)),
        jax.tree.leaves(again.forward(free)),
        strict=True,
    ):
        assert np.array_equal(one, other)
    assert bt.check(reparam, model).ok
