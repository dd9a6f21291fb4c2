"""`support`: the set of a bijector in words, as a predicate and by its tag."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from catalogue import CATALOGUE

import bijectree as bt
from bijectree import tfb
from bijectree.constraints import SetTag

WORDS = {
    "real": "all real numbers",
    "positive": "positive numbers",
    "positive_softplus": "positive numbers",
    "positive_scaled": "positive numbers",
    "greater_than": "numbers greater than 1",
    "less_than": "numbers less than 1",
    "interval": "numbers between -1 and 2",
    "interval_arrays": "numbers between [0. 0. 0.] and [ 1.  2. inf]",
    "interval_normal_cdf": "numbers between -1 and 2",
    "unit_interval": "numbers between 0 and 1",
    "affine": "all real numbers",
    "sinh_arcsinh": "all real numbers",
    "ordered_vector": "increasing vectors",
    "positive_ordered_vector": "increasing vectors of positive numbers",
    "ordered_softplus": "increasing vectors",
    "positive_ordered_softplus": "increasing vectors of positive numbers",
    "simplex": "positive parts that sum to 1",
    "stick_breaking": "positive parts that sum to 1",
    "additive_log_ratio": "positive parts that sum to 1",
    "simplex_ordered": "positive parts that sum to 1",
    "simplex_columns": "positive parts that sum to 1 along axis -2",
    "simplex_far": "positive parts that sum to 1 along axis -3",
    "zero_sum": "numbers that sum to 0",
    "zero_sum_columns": "numbers that sum to 0 along axis -2",
    "zero_sum_matrix": "matrices whose rows and columns sum to 0",
    "sphere": "unit vectors",
    "circular": "angles in (−π, π]",
    "circular_degrees": "angles in (−180, 180]",
    "corr_cholesky": "Cholesky factors of correlation matrices",
    "corr_cholesky_spherical": "Cholesky factors of correlation matrices",
    "corr_matrix": "correlation matrices",
    "lower_cholesky": "lower triangular matrices with a positive diagonal",
    "lower_cholesky_tall": "4 × 2 lower triangular matrices with a positive diagonal",
    "positive_definite": "symmetric positive definite matrices",
}


@pytest.mark.parametrize("name", CATALOGUE)
def test_values_of_the_map_are_inside(name, getkey):
    make, shape = CATALOGUE[name]
    bijector = make()
    support = bt.support(bijector)
    assert support.description == WORDS[name]
    reparam = bt.Reparam({"x": jax.ShapeDtypeStruct(shape, jnp.float32)}, {"x": bijector})
    vector = np.asarray(jax.random.normal(getkey(), (40,)))[: reparam.dim]
    x = reparam.forward(reparam.unravel(vector))["x"]
    assert support.event_ndims == bijector.inverse_min_event_ndims
    inside = support.contains(x)
    assert inside.shape == x.shape[: x.ndim - support.event_ndims]
    assert np.all(inside)
    assert not np.any(support.contains(np.full_like(x, np.nan)))


_POSITIVE = "positive numbers"
_LOG_OF_LESS_1 = tfb.Invert(tfb.Chain([tfb.Shift(1.0), tfb.Exp()]))
_UNKNOWN_LOG = "the range of chain_of_invert_chain_of_shift_of_exp_of_greater_than"
TFP = [
    (tfb.Identity(), "all real numbers"),
    (tfb.Exp(), _POSITIVE),
    (tfb.Softplus(), _POSITIVE),
    (tfb.Softplus(low=0.5), "numbers greater than 0.5"),
    (tfb.Sigmoid(), "numbers between 0 and 1"),
    (tfb.Sigmoid(1.0, 3.0), "numbers between 1 and 3"),
    (tfb.Tanh(), "numbers between -1 and 1"),
    (tfb.Scale(2.0), "all real numbers"),
    (tfb.Shift(2.0), "all real numbers"),
    (tfb.NormalCDF(), "numbers between 0 and 1"),
    (tfb.Reciprocal(), "numbers other than 0"),
    # Not one to one from all numbers, so that they cannot be bound alone.
    (tfb.Square(), "the range of square"),
    (tfb.Power(2.0), "the range of power"),
    (tfb.Power(0.5), "the range of power"),
    (tfb.Log(), "the range of log"),
    (tfb.Invert(tfb.Exp()), "the range of invert_exp"),
    (tfb.Invert(bt.positive()), "the range of invert_positive"),
    (tfb.Invert(bt.simplex()), "the range of invert_simplex"),
    (tfb.Chain([tfb.Square(), tfb.Exp()]), _POSITIVE),
    (tfb.Chain([tfb.Square(), tfb.Sigmoid(1.0, 2.0)]), "numbers between 1 and 4"),
    (tfb.Chain([tfb.Power(0.5), tfb.Exp()]), _POSITIVE),
    (tfb.Chain([tfb.Invert(tfb.Square()), tfb.Exp()]), _POSITIVE),
    (tfb.Chain([tfb.Invert(bt.simplex()), bt.simplex()]), "all real arrays"),
    (
        tfb.Chain([tfb.Log(), bt.positive_ordered_vector()]),
        "increasing vectors of positive numbers, each entry then mapped by log",
    ),
    (
        tfb.Chain([tfb.Log(), bt.ordered_vector()]),
        "the range of chain_of_log_of_ordered_vector",
    ),
    (tfb.Chain([tfb.Reciprocal(), tfb.Scale(-1.0), tfb.Exp()]), "numbers less than 0"),
    (_LOG_OF_LESS_1, "the range of invert_chain_of_shift_of_exp"),
    (tfb.Chain([_LOG_OF_LESS_1, bt.greater_than(2.0)]), _POSITIVE),
    (tfb.Chain([_LOG_OF_LESS_1, bt.greater_than(0.5)]), _UNKNOWN_LOG),
    (tfb.Power(3.0), "all real numbers"),
    (tfb.Power(jnp.array(3)), "all real numbers"),
    (tfb.Power([2.0, 3.0]), "the range of power"),
    (tfb.Power([1.0, 3.0]), "all real numbers"),
    (tfb.Power(-3.0), "the range of power"),
    (tfb.Invert(tfb.Power(3.0)), "all real numbers"),
    (tfb.Chain([tfb.Power(3.0), tfb.Exp()]), _POSITIVE),
    (tfb.Chain([tfb.Power(3.0), tfb.Tanh()]), "numbers between -1 and 1"),
    (tfb.Chain([tfb.Power(2.0), tfb.Tanh()]), "the range of chain_of_power_of_tanh"),
    (tfb.Ascending(), "increasing vectors"),
    (tfb.SoftmaxCentered(), "positive parts that sum to 1"),
    (tfb.IteratedSigmoidCentered(), "positive parts that sum to 1"),
    (tfb.UnitVector(), "unit vectors"),
    (tfb.CorrelationCholesky(), "Cholesky factors of correlation matrices"),
    (
        tfb.FillScaleTriL(),
        "lower triangular matrices with a diagonal of numbers greater than 1e-05",
    ),
    (
        tfb.FillScaleTriL(diag_shift=None),
        "lower triangular matrices with a positive diagonal",
    ),
    (
        tfb.Chain([tfb.CholeskyOuterProduct(), tfb.CorrelationCholesky()]),
        "correlation matrices",
    ),
    (
        tfb.Chain([tfb.CholeskyOuterProduct(), tfb.FillScaleTriL(diag_shift=None)]),
        "symmetric positive definite matrices",
    ),
    (tfb.Chain([tfb.Shift(1.0), tfb.Exp()]), "numbers greater than 1"),
    (tfb.Chain([tfb.Shift(1.0), tfb.Scale(-2.0), tfb.Exp()]), "numbers less than 1"),
    (tfb.Chain([tfb.Scale(3.0), tfb.Sigmoid()]), "numbers between 0 and 3"),
    (tfb.Chain([tfb.Scale(log_scale=0.0), tfb.Softplus()]), _POSITIVE),
    (tfb.Chain([tfb.Reciprocal(), tfb.Exp()]), _POSITIVE),
    (tfb.Chain([tfb.Log(), tfb.Exp()]), "all real numbers"),
    (tfb.Chain([bt.affine(1.0, 2.0), bt.unit_interval()]), "numbers between 1 and 3"),
    (tfb.Chain([]), "all real numbers"),
    (tfb.Invert(tfb.Log()), _POSITIVE),
    (tfb.Chain([tfb.Invert(tfb.Shift(1.0)), tfb.Exp()]), "numbers greater than -1"),
    (
        tfb.Chain([tfb.Scale(2.0), bt.simplex()]),
        "positive parts that sum to 1, each entry then mapped by scale",
    ),
    (
        tfb.Chain([tfb.Exp(), bt.ordered_vector()]),
        "increasing vectors, each entry then mapped by exp",
    ),
    # These cannot be bound: see test_tfp.py.
    (tfb.Chain([tfb.Exp(), bt.simplex()]), "the range of chain_of_exp_of_simplex"),
    (
        tfb.Chain([tfb.Scale([1.0, 3.0]), bt.simplex()]),
        "the range of chain_of_scale_of_simplex",
    ),
    (tfb.Permute([1, 0]), "all real arrays"),
    (
        tfb.Chain([tfb.Shift([1.0, 2.0]), tfb.ScaleMatvecDiag([1.0, 3.0])]),
        "all real arrays",
    ),
    (tfb.Chain([tfb.Permute([1, 0]), tfb.Exp()]), "the range of chain_of_permute_of_exp"),
]


@pytest.mark.parametrize(("bijector", "words"), TFP, ids=lambda x: getattr(x, "name", ""))
def test_tfps_common_ones(bijector, words):
    assert bt.support(bijector).description == words


@pytest.mark.parametrize(
    ("bijector", "inside", "outside"),
    [
        (tfb.Softplus(low=0.5), 0.6, 0.4),
        (tfb.Chain([tfb.Scale(3.0), tfb.Sigmoid()]), 2.9, 3.1),
        (tfb.Reciprocal(), -1.0, 0.0),
        (tfb.FillScaleTriL(), [[1.0, 0.0], [5.0, 1e-3]], [[1.0, 0.0], [5.0, 1e-6]]),
        (tfb.FillScaleTriL(), [[1.0, 0.0], [5.0, 1.0]], [[1.0, 1.0], [5.0, 1.0]]),
        (tfb.Chain([tfb.Scale(2.0), bt.simplex()]), [0.5, 1.5], [0.5, 0.5]),
        (tfb.Permute([1, 0]), [0.5, 1.5], [0.5, jnp.inf]),
    ],
)
def test_the_predicate(bijector, inside, outside):
    support = bt.support(bijector)
    assert support.contains(jnp.asarray(inside))
    assert not support.contains(jnp.asarray(outside))


def test_bounds_may_be_traced():
    @jax.jit
    def contains(lower, x):
        support = bt.support(bt.interval(lower, 2.0))
        assert support.description == "numbers between (traced) and 2"
        return support.contains(x)

    assert list(contains(0.0, jnp.array([1.0, -1.0]))) == [True, False]


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_the_tolerance_is_that_of_the_dtype(dtype):
    parts = jnp.full(10, 0.1, dtype)
    simplex = bt.support(bt.simplex())
    assert simplex.contains(parts)
    assert not simplex.contains(parts * 1.1)
    assert bt.support(bt.positive_definite()).contains(jnp.eye(3, dtype=dtype))


@pytest.mark.parametrize(
    ("bijector", "tag"),
    [
        (bt.positive(), SetTag.NUMBERS),
        (tfb.Chain([tfb.Scale(2.0), tfb.Sigmoid()]), SetTag.NUMBERS),
        (tfb.Reciprocal(), SetTag.NOT_ZERO),
        (bt.circular(), SetTag.ANGLES),
        (tfb.Cumsum(axis=-2), SetTag.ARRAYS),
        (bt.simplex(axis=-2), SetTag.SIMPLEX),
        (tfb.Chain([tfb.CholeskyOuterProduct(), tfb.FillScaleTriL()]), "PRODUCTS"),
        (tfb.Chain([tfb.Scale(2.0), bt.simplex()]), SetTag.MAPPED),
        (tfb.PowerTransform(0.0), SetTag.NUMBERS),
        (tfb.PowerTransform(0.5), SetTag.UNKNOWN),
        (tfb.GeneralizedPareto(0.0, 1.0, 0.5), SetTag.UNKNOWN),
    ],
    ids=lambda x: getattr(x, "name", x),
)
def test_a_support_has_a_tag(bijector, tag):
    found = bt.support(bijector)
    if tag == "PRODUCTS":
        assert found.of is not None
        tag = SetTag.POSITIVE_DEFINITE
    assert found.tag is tag


def test_one_set_is_known_by_its_tag_and_not_by_its_words():
    def same(a, b):
        return bt.support(a).same_set(bt.support(b))

    assert same(bt.positive(), tfb.Chain([tfb.Scale(2.0), tfb.Exp()]))
    assert same(bt.interval(0.0, [1.0, 2.0]), bt.interval(0.0, [1.0, 2.0]))
    # Words show six digits of a bound; the set has them all.
    assert not same(bt.greater_than(1.0), bt.greater_than(1.0 + 1e-9))
    assert same(bt.simplex(), tfb.IteratedSigmoidCentered())
    assert not same(bt.simplex(), bt.simplex(axis=-2))
    assert not same(bt.lower_cholesky(), bt.lower_cholesky(shape=(3, 2)))
    fill = tfb.FillTriangular()
    for exp in (tfb.Exp(), tfb.Softplus()):
        factor = tfb.Chain([tfb.TransformDiagonal(exp), fill])
        assert same(factor, bt.lower_cholesky())
        squared = tfb.Chain([tfb.CholeskyOuterProduct(), factor])
        assert same(squared, bt.positive_definite())
    # A diagonal of either sign: two factors have one product.
    signed = tfb.Chain([tfb.TransformDiagonal(tfb.Tanh()), fill])
    assert bt.support(signed).tag is SetTag.TRIANGULAR
    product = bt.support(tfb.Chain([tfb.CholeskyOuterProduct(), signed]))
    assert product.tag is SetTag.UNKNOWN
    mapped = tfb.Chain([tfb.Scale(2.0), bt.simplex()])
    assert not same(mapped, mapped)  # made anew, and known by the bijector alone
