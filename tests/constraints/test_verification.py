"""What the table of facts does not know is verified when it is bound, or refused."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from law import assert_bijector

import bijectree as bt
from bijectree import tfb


def bind(bijector, value, **options):
    return bt.Reparam({"x": jnp.asarray(value, jnp.float32)}, bijector, **options)


PARTS = [0.2, 0.3, 0.5]
CORRELATION = np.array([[1.0, 0.3, 0.2], [0.3, 1.0, 0.4], [0.2, 0.4, 1.0]])
FACTOR = np.linalg.cholesky(CORRELATION)
UNIT = [0.6, 0.0, 0.8]


def chain(*bijectors):
    return tfb.Chain(list(bijectors))


class FewerColumns(tfb.Bijector):
    """x ↦ (x₁ + x₂, x₁ + x₂): of rank one."""

    def __init__(self):
        super().__init__(forward_min_event_ndims=1, name="fewer_columns")

    def _forward(self, x):
        return jnp.stack([x.sum(-1)] * 2, axis=-1)

    def _inverse(self, y):
        return 0.5 * y

    def _forward_log_det_jacobian(self, x):
        return jnp.zeros(x.shape[:-1])


REFUSED = {
    # maps of several entries after a set of fewer coordinates
    "ascending of a simplex": (chain(tfb.Ascending(), bt.simplex()), PARTS, "log-det"),
    "product of a correlation's factor": (
        chain(tfb.CholeskyOuterProduct(), bt.corr_cholesky()),
        CORRELATION,
        "bt.corr_matrix",
    ),
    "product of TFP's factor": (
        chain(tfb.CholeskyOuterProduct(), tfb.CorrelationCholesky()),
        CORRELATION,
        "bt.corr_matrix",
    ),
    "triangle times a simplex": (
        chain(
            tfb.ScaleMatvecTriL(np.tril(np.ones((3, 3), np.float32)) + 1), bt.simplex()
        ),
        PARTS,
        "log-det",
    ),
    "rotated zero-sum": (
        chain(tfb.ScaleMatvecDiag(np.float32([1.0, 2.0, 3.0])), bt.zero_sum()),
        [1.0, -0.5, -0.5],
        "log-det",
    ),
    "ascending of TFP's simplex": (
        chain(tfb.Ascending(), tfb.IteratedSigmoidCentered()),
        PARTS,
        "log-det",
    ),
    "exponential of a simplex": (chain(tfb.Exp(), bt.simplex()), PARTS, "simplex"),
    # embedded measures
    "softmax": (tfb.SoftmaxCentered(), PARTS, "embedded.*bt.simplex"),
    "unit vector": (tfb.UnitVector(), UNIT, "embedded.*bt.sphere|bt.sphere"),
    "scaled softmax": (chain(tfb.Scale(2.0), tfb.SoftmaxCentered()), PARTS, "embedded"),
    "softmax of an affine map": (
        chain(tfb.SoftmaxCentered(), tfb.Scale(np.float32([1.0, 3.0]))),
        PARTS,
        "embedded",
    ),
    # a free side that is no chart
    "inverted simplex": (
        tfb.Invert(bt.simplex()),
        np.ones(3),
        "4 free coordinates for 3",
    ),
    "inverted zero-sum": (tfb.Invert(bt.zero_sum()), np.ones(3), "free coordinates for"),
    "inverted correlation": (
        tfb.Invert(bt.corr_cholesky()),
        np.ones(3),
        "9 free coordinates for 3",
    ),
    "inverted softmax": (
        tfb.Invert(tfb.SoftmaxCentered()),
        np.ones(3),
        "4 free coordinates for 3",
    ),
    "inverse of a triangle": (
        tfb.MatrixInverseTriL(),
        np.eye(3),
        "singular|not bijective",
    ),
    "product of any matrix": (
        tfb.CholeskyOuterProduct(),
        np.eye(3),
        "not bijective|takes",
    ),
    "a matrix for its triangle": (tfb.Invert(tfb.FillTriangular()), np.ones(3), "4 free"),
    # not one to one, and wrong log-dets, of users' own
    "rank one": (FewerColumns(), [1.0, 1.0], "not bijective"),
    "a constant": (
        tfb.Inline(
            jnp.zeros_like,
            jnp.zeros_like,
            forward_log_det_jacobian_fn=jnp.zeros_like,
            forward_min_event_ndims=0,
        ),
        np.zeros(2),
        "not bijective",
    ),
    "half a log-det": (
        tfb.Inline(
            jnp.exp,
            jnp.log,
            forward_log_det_jacobian_fn=lambda x: 0.5 * x,
            forward_min_event_ndims=0,
        ),
        np.ones(2),
        "wrong log-det",
    ),
    "another inverse": (
        tfb.Inline(
            jnp.exp,
            lambda y: jnp.log(y) + 1,
            forward_log_det_jacobian_fn=lambda x: x,
            forward_min_event_ndims=0,
        ),
        np.ones(2),
        r"free .* → model .* → free",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_refused_by_path(name):
    bijector, value, words = REFUSED[name]
    with pytest.raises(ValueError, match=rf"at 'x': (.|\n)*({words})"):
        bind(bijector, value)


TAKEN = {
    "scaled simplex": (chain(tfb.Scale(2.0), bt.simplex()), (3,)),
    "shifted simplex": (chain(tfb.Shift(1.0), bt.simplex()), (3,)),
    "cumulated simplex": (chain(tfb.Cumsum(), bt.simplex()), (3,)),
    "cumulated": (tfb.Cumsum(), (3,)),
    "ascending of cumulated": (chain(tfb.Ascending(), tfb.Cumsum()), (3,)),
    "simplex of a triangle": (
        chain(bt.simplex(), tfb.ScaleMatvecTriL(np.float32([[2, 0], [1, 3]]))),
        (3,),
    ),
    "triangle of a product": (
        chain(tfb.CholeskyOuterProduct(), bt.lower_cholesky()),
        (2, 2),
    ),
    "inverse of a factor": (
        chain(tfb.CholeskyToInvCholesky(), bt.lower_cholesky()),
        (2, 2),
    ),
    "a permutation": (tfb.Permute(np.int32([2, 0, 1])), (3,)),
    "blocks": (tfb.Blockwise([tfb.Exp(), tfb.Softplus()], block_sizes=[1, 2]), (3,)),
    "reshaped": (chain(tfb.Reshape([4], [2, 2]), tfb.Exp()), (4,)),
    "own": (
        tfb.Inline(
            jnp.sinh,
            jnp.arcsinh,
            forward_log_det_jacobian_fn=lambda x: jnp.log(jnp.cosh(x)),
            forward_min_event_ndims=0,
        ),
        (3,),
    ),
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_right_is_taken_and_keeps_the_law(name, precision, getkey):
    bijector, shape = TAKEN[name]
    assert_bijector(bijector, shape, precision, getkey())


@pytest.mark.parametrize("name", ["softmax", "half a log-det", "ascending of a simplex"])
def test_verification_can_be_left_out(name):
    bijector, value, _ = REFUSED[name]
    assert bind(bijector, value, verify=False).dim


class Power(tfb.Bijector):
    """x ↦ aˣ, of a number that JAX does not see; singular for a = 1."""

    def __init__(self, base):
        self.base = jnp.float32(base)
        super().__init__(forward_min_event_ndims=0, name="power")

    def _forward(self, x):
        return self.base**x

    def _inverse(self, y):
        return jnp.log(y) / jnp.log(self.base)

    def _forward_log_det_jacobian(self, x):
        return x * jnp.log(self.base) + jnp.log(jnp.abs(jnp.log(self.base)))


def test_a_refusal_is_of_these_numbers():
    with pytest.raises(ValueError, match="power"):
        bind(Power(1.0), np.full(2, 1.0))
    assert bind(Power(2.0), np.full(2, 2.0)).dim == 2

    def scaled(number):
        return tfb.Inline(
            lambda x: number * x,
            lambda y: y / number,
            forward_log_det_jacobian_fn=lambda x: jnp.log(jnp.abs(number)) + 0 * x,
            forward_min_event_ndims=0,
        )

    with pytest.raises(ValueError, match="inline"):
        bind(scaled(0.0), np.zeros(2))
    assert bind(scaled(2.0), np.ones(2)).dim == 2


HELD = {
    "eager": lambda r, f: r.forward(f),
    "inverse": lambda r, f: r.inverse(r.forward(f)),
    "log-det": lambda r, f: r.forward_and_log_det(f),
    "jit": lambda r, f: jax.jit(r.forward)(f),
    "grad": lambda r, f: jax.jit(jax.grad(lambda f: r.forward_and_log_det(f)[1]))(f),
    "vmap": lambda r, f: jax.vmap(r.forward)(jax.tree.map(lambda x: x[None], f)),
    "check": lambda r, f: bt.check(r, r.forward(f)),
    "summary": lambda r, f: bt.summary(r, r.forward(f)),
}


@pytest.mark.parametrize("name", HELD)
def test_an_opaque_bijector_goes_with_its_reparam(name):
    alive = []
    for base in (2.0, 3.0, 4.0, 5.0, 6.0):
        bijector = Power(base)
        alive += [weakref.ref(bijector)]
        reparam = bind(bijector, [2.0, 3.0])
        HELD[name](reparam, reparam.inverse({"x": jnp.array([2.0, 3.0])}))
        del bijector, reparam
    jax.clear_caches()  # JAX's own, which hold what was compiled
    gc.collect()
    assert [x for x in alive if x() is not None] == []


@pytest.mark.parametrize(
    ("bijector", "value"),
    [
        (tfb.FillScaleTriL(), np.eye(2)),
        (chain(tfb.Shift(1.0), tfb.Exp()), [2.0, 3.0]),
        (chain(tfb.CholeskyOuterProduct(), tfb.FillScaleTriL()), np.eye(2)),
        (tfb.Invert(chain(tfb.Log(), tfb.Shift(-1.0))), [2.0, 3.0]),
        (chain(tfb.Softplus(), chain(tfb.Scale(2.0), tfb.Cumsum())), [2.0, 3.0]),
        (tfb.Blockwise([tfb.Exp(), chain(tfb.Scale(2.0), tfb.Exp())]), [2.0, 3.0]),
    ],
    ids=["fill", "shift", "product", "inverted", "nested", "blocks"],
)
def test_no_tracer_leaks_from_inner_caches(bijector, value):
    with jax.checking_leaks():
        reparam = bind(bijector, value)
        free = reparam.inverse({"x": jnp.asarray(value, jnp.float32)})
        objective = jax.value_and_grad(lambda free: reparam.forward_and_log_det(free)[1])
        assert np.isfinite(jax.jit(objective)(free)[0])


OF_NUMBERS = {
    "a power of all numbers": (lambda p: PlainPower(p), 1.0, 2.0),
    "an odd power": (lambda p: PlainPower(p), 3.0, 4.0),
    "a wave that turns back": (lambda a: Wave(a), 0.5, 3.0),
    "a wave before a shift": (lambda a: chain(tfb.Shift(1.0), Wave(a)), 0.5, -3.0),
    "a wave inverted and back": (lambda a: chain(Wave(a), tfb.Scale(2.0)), 0.2, 2.0),
    "a product of negative factors": (
        lambda s: chain(tfb.CholeskyOuterProduct(), tfb.Scale(s), bt.lower_cholesky()),
        2.0,
        -2.0,
    ),
}


class PlainPower(tfb.AutoCompositeTensorBijector):
    """x ↦ sign(x)^p |x|^p, one to one for odd powers alone."""

    def __init__(self, power):
        parameters = dict(locals())
        self.power = jnp.asarray(power, jnp.float32)
        super().__init__(forward_min_event_ndims=0, parameters=parameters, name="power")

    def _forward(self, x):
        return jnp.where(self.power % 2 == 1, jnp.sign(x), 1) * jnp.abs(x) ** self.power

    def _inverse(self, y):
        return jnp.sign(y) * jnp.abs(y) ** (1 / self.power)

    def _forward_log_det_jacobian(self, x):
        return jnp.log(self.power) + (self.power - 1) * jnp.log(jnp.abs(x))


class Wave(tfb.AutoCompositeTensorBijector):
    """x ↦ x + a sin x, one to one for |a| < 1."""

    def __init__(self, size):
        parameters = dict(locals())
        self.size = jnp.asarray(size, jnp.float32)
        super().__init__(forward_min_event_ndims=0, parameters=parameters, name="wave")

    def _forward(self, x):
        return x + self.size * jnp.sin(x)

    def _inverse(self, y):
        x = y
        for _ in range(60):
            x = x - (x + self.size * jnp.sin(x) - y) / 2
        return x

    def _forward_log_det_jacobian(self, x):
        return jnp.log(jnp.abs(1 + self.size * jnp.cos(x)))


@pytest.mark.parametrize("case", OF_NUMBERS)
def test_a_kind_that_was_right_for_some_numbers_is_verified_for_others(case):
    make, right, wrong = OF_NUMBERS[case]
    value = np.eye(2) if "product" in case else np.ones(2)
    bind(make(right), value)
    with pytest.raises(ValueError, match="not bijective|log-det"):
        bind(make(wrong), value)
    bind(make(right), value)
