"""TFP's own bijectors through the engine, and the traps of its mechanics."""

import importlib.metadata
import pickle
import sys
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from law import assert_bijector, autodiff_log_det

import bijectree as bt
from bijectree import tfb
from bijectree.substrate.bind import bind
from bijectree.substrate.recipe import split
from bijectree.substrate.tfp import _import_tfp


def slow(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


ELEMENTWISE = {
    "Exp": tfb.Exp,
    "Softplus": tfb.Softplus,
    "Softplus(low)": lambda: tfb.Softplus(low=1e-3),
    "Softplus(hinge)": lambda: tfb.Softplus(hinge_softness=0.5),
    "Sigmoid": tfb.Sigmoid,
    "Sigmoid(-1, 2)": lambda: tfb.Sigmoid(-1.0, 2.0),
    "Tanh": tfb.Tanh,
    "Scale": lambda: tfb.Scale(2.0),
    "Scale(negative)": lambda: tfb.Scale(-3.0),
    "Shift": lambda: tfb.Shift(1.0),
    "Chain([Shift, Exp])": lambda: tfb.Chain([tfb.Shift(1.0), tfb.Exp()]),
    "Chain([])": lambda: tfb.Chain([]),
    "Chain of chains": lambda: tfb.Chain([tfb.Chain([tfb.Exp()]), tfb.Scale(0.5)]),
    "NormalCDF": tfb.NormalCDF,
    "Invert(Log1p)": lambda: tfb.Invert(tfb.Invert(tfb.Softplus())),
    "SinhArcsinh": lambda: tfb.SinhArcsinh(skewness=0.3),
    "Inline": lambda: tfb.Inline(
        forward_fn=jnp.exp,
        inverse_fn=jnp.log,
        forward_log_det_jacobian_fn=lambda x: x,
        forward_min_event_ndims=0,
    ),
    "Inline of a constant log-det": lambda: tfb.Inline(
        forward_fn=lambda x: 3 * x,
        inverse_fn=lambda y: y / 3,
        forward_log_det_jacobian_fn=lambda x: jnp.log(3.0).astype(x.dtype),
        forward_min_event_ndims=0,
        is_constant_jacobian=True,
    ),
}
ELEMENTWISE |= {
    "Power(3)": lambda: tfb.Power(3.0),
    "RationalQuadraticSpline": lambda: tfb.RationalQuadraticSpline(
        [1.0, 1.0], [0.5, 1.5], [0.5], range_min=-1.0
    ),
    "Chain of a spline": lambda: tfb.Chain(
        [tfb.Exp(), tfb.RationalQuadraticSpline([2.0], [2.0], [], range_min=-1.0)]
    ),
}
SHAPES = [(2, 3), *(slow(shape) for shape in [(), (1,), (3,), (0,)])]

EVENTS = {
    "Ascending": (tfb.Ascending, [(1,), (4,), (2, 3), (0, 3)]),
    "IteratedSigmoidCentered": (tfb.IteratedSigmoidCentered, [(2,), (4,), (3, 3)]),
    "FillScaleTriL": (tfb.FillScaleTriL, [(1, 1), (3, 3), (2, 2, 2)]),
    "CorrelationCholesky": (tfb.CorrelationCholesky, [(2, 2), (3, 3), (2, 3, 3)]),
    "ScaleMatvecTriL": (
        lambda: tfb.ScaleMatvecTriL(jnp.array([[2.0, 0.0], [0.5, -1.0]])),
        [(2,), (4, 2)],
    ),
    "Permute": (lambda: tfb.Permute([2, 0, 1]), [(3,), (2, 3)]),
    "Cumsum": (tfb.Cumsum, [(3,)]),
    "Reshape": (lambda: tfb.Reshape([2, 2], [4]), [(2, 2)]),
    "Scale of a vector": (lambda: tfb.Scale(jnp.array([2.0, 3.0])), [(2,), (4, 2)]),
    "RationalQuadraticSpline of a vector": (
        lambda: tfb.RationalQuadraticSpline(
            jnp.array([[1.0, 1.0], [0.7, 1.3]]),
            jnp.array([[0.5, 1.5], [1.0, 1.0]]),
            jnp.array([[0.5], [2.0]]),
            range_min=-1.0,
        ),
        [(2,), (3, 2)],
    ),
    "MatrixInverseTriL": (
        lambda: tfb.Chain([tfb.MatrixInverseTriL(), tfb.FillScaleTriL()]),
        [(2, 2)],
    ),
    "ScaleMatvecLU": (
        lambda: tfb.ScaleMatvecLU(jnp.array([[2.0, 0.3], [0.1, 1.5]]), jnp.array([1, 0])),
        [(2,), (3, 2)],
    ),
    "ScaleMatvecDiag, inverted": (
        lambda: tfb.Invert(
            tfb.Chain([tfb.Shift(1.0), tfb.ScaleMatvecDiag(jnp.array([2.0, 3.0]))])
        ),
        [(2,), (3, 2)],
    ),
    "Split": (
        lambda: tfb.Chain(
            [
                tfb.Invert(tfb.Split(2)),
                tfb.JointMap([tfb.Exp(), tfb.Scale(2.0)]),
                tfb.Split(2),
            ]
        ),
        [(4,)],
    ),
    "Blockwise": (
        lambda: tfb.Blockwise([tfb.Softplus(), tfb.Exp()], block_sizes=[2, 1]),
        [(3,)],
    ),
    "Scale of a simplex": (
        lambda: tfb.Chain([tfb.Scale(5.0), bt.simplex()]),
        [(1,), (3,), (2, 3)],
    ),
    "Scale of a matrix": (
        lambda: tfb.Chain(
            [tfb.Chain([tfb.Shift(jnp.eye(2)), tfb.Scale(-3.0)]), bt.positive_definite()]
        ),
        [(2, 2), (3, 2, 2)],
    ),
    "Scale of a factor, inverted twice": (
        lambda: tfb.Invert(
            tfb.Chain([tfb.Invert(bt.corr_cholesky()), bt.affine(0.0, 3.0)])
        ),
        [(3, 3)],
    ),
    "Exp of a vector in order": (
        lambda: tfb.Chain([tfb.Exp(), bt.ordered_vector()]),
        [(3,)],
    ),
    "Chain over a reshape": (
        lambda: tfb.Chain(
            [tfb.Reshape([2, 2], [4]), tfb.Exp(), tfb.Permute([1, 0, 3, 2])]
        ),
        [(2, 2)],
    ),
}
EVENT_CASES = [
    case
    for name, (_, (*others, last)) in EVENTS.items()
    for case in ((name, last), *(slow(name, shape) for shape in others))
]


# Without float64, TFP's splines ask for int64 and are given int32.
SPLINES = pytest.mark.filterwarnings("ignore:Explicitly requested dtype int64")


@SPLINES
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise(name, shape, precision, getkey):
    assert_bijector(ELEMENTWISE[name](), shape, precision, getkey())


@SPLINES
@pytest.mark.parametrize(("name", "shape"), EVENT_CASES, ids=str)
def test_events(name, shape, precision, getkey):
    assert_bijector(EVENTS[name][0](), shape, precision, getkey())


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["Exp", "Softplus(low)", "Sigmoid(-1, 2)", "Ascending"])
def test_half_precision(name, dtype, getkey):
    make, shape = ELEMENTWISE.get(name), (3,)
    make = make or EVENTS[name][0]
    assert_bijector(make(), shape, dtype, getkey(), scale=0.5)


def one_leaf(bijector: Any, *shape: int, dtype: Any = jnp.float32) -> bt.Reparam:
    # TFP's embedded measures, which verification refuses, are among them.
    return bt.Reparam({"x": jax.ShapeDtypeStruct(shape, dtype)}, bijector, verify=False)


# Wrong densities.


def test_log_det_is_summed_over_elements():
    log_det = one_leaf(tfb.Scale(2.0), 3).forward_log_det_jacobian({"x": jnp.ones(3)})
    np.testing.assert_allclose(log_det, 3 * np.log(2.0), rtol=1e-6)


def test_a_bijector_that_would_broadcast_the_leaf_is_refused():
    with pytest.raises(ValueError, match=r"'x'.*shape \(1,\) into \(2,\)"):
        one_leaf(tfb.Scale([2.0, 3.0]), 1)


@pytest.mark.parametrize(
    ("bijector", "shape", "message"),
    [
        (tfb.Ascending(), (), "at least 1 axes"),
        (tfb.AbsoluteValue(), (3,), "not injective"),
        (tfb.JointMap([tfb.Exp(), tfb.Exp()]), (2,), "several parts"),
        (tfb.Scale([2.0, 3.0]), (3,), "does not fit"),
        (tfb.CorrelationCholesky(), (2, 3), "does not fit|would turn"),
    ],
    ids=["event", "injective", "parts", "broadcast", "square"],
)
def test_what_does_not_fit_is_refused(bijector, shape, message):
    with pytest.raises(ValueError, match=message):
        one_leaf(bijector, *shape)


_BOUNDS = np.array([1, 2], np.int32)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: tfb.Scale(jnp.array(2)), [1.0, 1.2]),
        (lambda: tfb.Shift(_BOUNDS), [1.5, 2.6]),
        (lambda: tfb.ScaleMatvecDiag([1, 2]), [0.5, 1.2]),
        (lambda: tfb.ScaleMatvecDiag(jnp.array(_BOUNDS)), [0.5, 1.2]),
        (lambda: tfb.ScaleMatvecTriL([[1, 0], [1, 2]]), [0.5, 1.7]),
        (lambda: tfb.ScaleMatvecTriL([[1, 0], [1, 2]], adjoint=True), [1.1, 1.2]),
        (lambda: tfb.Chain([tfb.Shift(jnp.array(1)), tfb.Scale(_BOUNDS)]), [1.5, 2.2]),
        (lambda: tfb.Invert(tfb.Scale(_BOUNDS)), [0.5, 0.3]),
        (lambda: tfb.Softplus(low=jnp.array(2)), 2 + np.log1p(np.exp([0.5, 0.6]))),
        (lambda: tfb.Sigmoid(0 * _BOUNDS, _BOUNDS), None),
        (lambda: tfb.GumbelCDF(jnp.array(1), 2), None),
        (lambda: tfb.Power(jnp.array(3)), [0.125, 0.216]),
        (lambda: tfb.Permute(jnp.array([1, 0])), [0.6, 0.5]),
    ],
)
def test_integers_do_not_truncate(make, expected, precision, getkey):
    assert_bijector(make(), (2,), precision, getkey())
    free = {"x": jnp.array([0.5, 0.6], precision)}
    model = one_leaf(make(), 2, dtype=precision).forward(free)
    joint = bt.Reparam({"x": [free["x"][0], free["x"][1]]}, {"x": bt.joint(make())})
    together = joint.forward(joint.unravel(free["x"]))["x"]
    np.testing.assert_array_equal(jnp.stack(together), model["x"])
    if expected is not None:
        np.testing.assert_allclose(model["x"], expected, rtol=1e-6)


def test_what_insists_on_integers_is_refused():
    class Counts(tfb.Bijector):
        def __init__(self):
            super().__init__(forward_min_event_ndims=0, dtype=jnp.int32, name="counts")

        def _forward(self, x):
            return 2 * x

        def _inverse(self, y):
            return y / 2

        def _forward_log_det_jacobian(self, x):
            return jnp.full_like(x, jnp.log(2.0))

    with pytest.raises(ValueError, match="'x'.*counts computes in int32.*as floats"):
        one_leaf(Counts(), 2)


@pytest.mark.parametrize(
    "last",
    [
        tfb.Scale([1.0, 3.0, 2.0]),
        tfb.Exp(),
        tfb.Log(),
        tfb.Invert(tfb.Softplus()),
        tfb.ScaleMatvecDiag([1.0, 3.0, 2.0]),
        bt.positive(),
        bt.affine(0.0, jnp.array([1.0, 3.0, 2.0])),
    ],
    ids=lambda b: b.name,
)
@pytest.mark.parametrize(
    ("first", "shape"), [(bt.simplex(), (3,)), (bt.corr_matrix(), (2, 3, 3))]
)
def test_a_map_of_entries_after_fewer_coordinates_is_refused(last, first, shape):
    for chain in (
        tfb.Chain([last, first]),
        tfb.Invert(tfb.Chain([tfb.Invert(first), tfb.Invert(last)])),
    ):
        with pytest.raises(ValueError, match="'x'.*fewer free coordinates.*before it"):
            one_leaf(chain, *shape)


def test_scaled_numbers_that_sum_to_zero():
    # An isometry, so 4 numbers have 3 orthonormal coordinates.
    reparam = one_leaf(tfb.Chain([tfb.Scale(5.0), bt.zero_sum()]), 4)
    log_det = reparam.forward_log_det_jacobian({"x": jnp.ones(3)})
    np.testing.assert_allclose(log_det, 3 * np.log(5.0), rtol=1e-6)


# Mechanics.


@pytest.mark.parametrize(
    "make",
    [
        lambda: tfb.ScaleMatvecTriL(jnp.array([[2.0, 0.0], [0.3, 1.5]], jnp.float32)),
        lambda: tfb.ScaleMatvecTriL(np.array([[2.0, 0.0], [0.3, 1.5]], np.float32)),
        lambda: tfb.ScaleMatvecDiag(jnp.array([2.0, 1.5], jnp.float32)),
        lambda: tfb.Chain(
            [tfb.Shift(1.0), tfb.ScaleMatvecDiag(jnp.array([2.0, 1.5], jnp.float64))]
        ),
        lambda: tfb.ScaleMatvecLU(jnp.eye(2, dtype=jnp.float32), jnp.array([1, 0])),
        lambda: tfb.GeneralizedPareto(jnp.zeros(2), 2.0, jnp.array([-0.3, 0.4])),
    ],
    ids=["TriL", "TriL of NumPy", "Diag", "Chain", "LU", "GeneralizedPareto"],
)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_matrices_are_cast_to_the_leaf(make, dtype, getkey):
    with jax.enable_x64(True):
        assert_bijector(make(), (2,), dtype, getkey())


def test_numbers_are_cast_to_the_leaf():
    with jax.enable_x64(True):
        for bijector in (
            tfb.Softplus(low=1e-3),
            tfb.Scale(2.0),
            tfb.Chain([tfb.Shift(1.0), tfb.Exp()]),
            tfb.FillScaleTriL(),
            tfb.ScaleMatvecTriL(np.eye(2, dtype=np.float32)),
        ):
            shape = (2, 2) if "fill" in bijector.name else (2,)
            reparam = one_leaf(bijector, *shape, dtype=jnp.float64)
            free = reparam.unravel(jnp.linspace(0.1, 1.0, reparam.dim))
            model, log_det = reparam.forward_and_log_det(free)
            assert model["x"].dtype == log_det.dtype == jnp.float64
            wide = one_leaf(bijector, *shape)
            narrow = jax.tree.map(lambda x: x.astype(jnp.float32), free)
            model, log_det = wide.forward_and_log_det(narrow)
            assert model["x"].dtype == log_det.dtype == jnp.float32


def test_float64_work_is_not_done_in_float32():
    with jax.enable_x64(True):
        reparam = one_leaf(tfb.FillScaleTriL(), 2, 2, dtype=jnp.float64)
        free = {"x": jnp.array([0.3, -0.2, 1.1])}
        expected = autodiff_log_det(lambda x: reparam.forward({"x": x})["x"], free["x"])
        log_det = reparam.forward_log_det_jacobian(free)
        np.testing.assert_allclose(log_det, expected, rtol=1e-13)


def test_a_bijector_that_stays_float32_is_not_held_to_float64():
    with jax.enable_x64(True):
        tril = np.array([[1.1, 0.0], [0.3, 0.7]], np.float32)
        reparam = one_leaf(tfb.ScaleMatvecTriL(tril), 2, dtype=jnp.float64)
        model = {"x": jnp.array([1.0 / 3.0, 1e3 / 7.0])}
        back = reparam.forward(reparam.inverse(model))
        np.testing.assert_allclose(back["x"], model["x"], rtol=1e-5)


def test_no_tracer_is_left_in_the_cache():
    reparam = one_leaf(tfb.Chain([tfb.Shift(1.0), tfb.Softplus(low=1e-3)]), 3)
    free = {"x": jnp.zeros(3)}
    with jax.checking_leaks():
        for function in (reparam.forward, reparam.forward_log_det_jacobian):
            jax.jit(function)(free)
            jax.vmap(function)(jax.tree.map(lambda x: x[None], free))
        jax.grad(reparam.forward_log_det_jacobian)(free)
        jax.jit(reparam.inverse)(reparam.forward(free))
    other = one_leaf(tfb.Chain([tfb.Shift(1.0), tfb.Softplus(low=1e-3)]), 3)
    np.testing.assert_array_equal(other.forward(free)["x"], reparam.forward(free)["x"])


class Opaque(tfb.Bijector):
    """A user's bijector that is no pytree and keeps no parameters."""

    def __init__(self, factor: float):
        super().__init__(forward_min_event_ndims=0, name="opaque")
        self.factor = factor

    def _forward(self, x):
        return self.factor * x

    def _inverse(self, y):
        return y / self.factor

    def _forward_log_det_jacobian(self, x):
        return jnp.full_like(x, np.log(self.factor))


class Composite(tfb.AutoCompositeTensorBijector):
    """A user's bijector made as TFP asks for."""

    def __init__(self, factor, name="composite"):
        parameters = dict(locals())
        self._factor = jnp.asarray(factor)
        super().__init__(forward_min_event_ndims=0, parameters=parameters, name=name)

    factor = property(lambda self: self._factor)

    def _forward(self, x):
        return self.factor * x

    def _inverse(self, y):
        return y / self.factor

    def _inverse_log_det_jacobian(self, y):  # only this one
        return jnp.broadcast_to(-jnp.log(self.factor), jnp.shape(y))


@pytest.mark.parametrize("make", [Opaque, Composite])
def test_bijectors_of_users(make, precision, getkey):
    assert_bijector(make(3.0), (2, 3), precision, getkey())


def test_an_opaque_bijector_is_its_own_kind():
    two, three = one_leaf(Opaque(2.0), 2), one_leaf(Opaque(3.0), 2)
    free = {"x": jnp.ones(2)}
    np.testing.assert_array_equal(two.forward(free)["x"], [2.0, 2.0])
    np.testing.assert_array_equal(three.forward(free)["x"], [3.0, 3.0])


def test_a_subclass_of_chain_keeps_its_own_forward():
    class Odd(tfb.Chain):
        def _forward(self, x):
            return super()._forward(x) + 1

        def _inverse(self, y):
            return super()._inverse(y - 1)

    model = one_leaf(Odd([tfb.Scale(2.0)]), 1).forward({"x": jnp.ones(1)})
    np.testing.assert_array_equal(model["x"], [3.0])


@pytest.mark.parametrize("name", ["forward_log_det_jacobian", "_inverse"])
def test_a_subclass_of_chain_keeps_any_map_of_its_own(name):
    own = type("Own", (tfb.Chain,), {name: lambda self, *args, **kwargs: None})
    structure, _ = split(own([tfb.Scale(2.0)]))
    assert type(structure.build((jnp.ones(()),))) is own
    structure, _ = split(tfb.FillScaleTriL())
    assert type(structure.build((jnp.ones(()),))) is tfb.Chain


def test_an_opaque_bijector_whose_state_changed_is_seen_when_bound_again():
    bijector = Opaque(2.0)
    assert one_leaf(bijector, 1).forward({"x": jnp.ones(1)})["x"] == 2.0
    bijector.factor = 5.0
    reparam = one_leaf(bijector, 1)
    assert reparam.forward({"x": jnp.ones(1)})["x"] == 5.0
    log_det = reparam.forward_log_det_jacobian({"x": jnp.ones(1)})
    np.testing.assert_allclose(log_det, np.log(5.0), rtol=1e-6)


@pytest.mark.parametrize(
    "bijector",
    [
        tfb.Scale(2.0, validate_args=True),
        tfb.Sigmoid(0.0, 3.0, validate_args=True),
        tfb.Chain([tfb.Softplus(hinge_softness=2.0, validate_args=True)]),
    ],
    ids=lambda b: b.name,
)
def test_constructors_that_check_their_numbers(bijector):
    reparam = one_leaf(bijector, 2)
    copy = pickle.loads(pickle.dumps(reparam))
    free = {"x": jnp.array([0.1, 0.2])}
    np.testing.assert_array_equal(copy.forward(free)["x"], reparam.forward(free)["x"])
    assert copy.bound.plan == reparam.bound.plan


def test_a_map_without_inverse_goes_forward():
    only = tfb.Inline(
        forward_fn=jnp.exp,
        forward_log_det_jacobian_fn=lambda x: x,
        forward_min_event_ndims=0,
    )
    reparam = one_leaf(only, 2)
    np.testing.assert_allclose(reparam.forward({"x": jnp.zeros(2)})["x"], 1.0)
    with pytest.raises(NotImplementedError):
        reparam.inverse({"x": jnp.ones(2)})


def test_kinds_are_shared_and_pickle():
    parts = [split(tfb.Softplus(low=low)) for low in (1e-3, 1e-2)]
    kinds = [bind(*part, (3,), jnp.float32) for part in parts]
    assert kinds[0] is kinds[1]
    copy = pickle.loads(pickle.dumps(kinds[0]))
    assert copy == kinds[0]
    assert hash(copy) == hash(kinds[0])


def test_strict_promotion_of_the_user_does_not_reach_tfp():
    assert jax.config.jax_numpy_dtype_promotion == "strict"
    reparam = one_leaf(tfb.Sigmoid(jnp.zeros(3), 2.0), 2, 3)  # promotes ranks inside
    assert reparam.forward({"x": jnp.zeros((2, 3))})["x"].shape == (2, 3)


# What the finite-and-back test takes for outside.


@pytest.mark.parametrize(
    ("bijector", "inside", "outside"),
    [
        (tfb.Exp(), [1e-30, 1e38], [0.0, -1.0, np.inf, np.nan]),
        (tfb.Softplus(), [1e-30, 1e38], [0.0, -1.0, np.inf, np.nan]),
        (tfb.Sigmoid(), [1e-30, 0.5, 1 - 6e-8], [0.0, 1.0, 2.0, -1e-6]),
        (tfb.Sigmoid(-1e6, 1e6), [1e-3, -0.5e6], [1e6, -1e6, 1.1e6]),
        (tfb.Tanh(), [0.9999999, 0.0], [1.0, -1.0, 1.5]),
        (tfb.Identity(), [0.0, -1e30], [np.inf, np.nan]),
    ],
    ids=lambda x: getattr(x, "name", None),
)
def test_outside_elementwise(bijector, inside, outside):
    reparam = one_leaf(bijector, len(inside))
    reparam.inverse({"x": jnp.array(inside, jnp.float32)})
    for value in outside:
        with pytest.raises(bt.SupportError):
            one_leaf(bijector).inverse({"x": jnp.array(value, jnp.float32)})


@pytest.mark.parametrize(
    ("bijector", "value"),
    [
        (tfb.SoftmaxCentered(), [0.5, 0.5, 0.5]),
        (tfb.IteratedSigmoidCentered(), [0.3, 0.3, 0.3]),
        (tfb.Ascending(), [1.0, 1.0, 2.0]),
        (tfb.FillScaleTriL(), [[1.0, 0.1], [0.0, 1.0]]),
        (tfb.CorrelationCholesky(), [[1.0, 0.0], [0.9, 0.9]]),
        (tfb.UnitVector() if hasattr(tfb, "UnitVector") else tfb.Tanh(), [1.0, 1.0]),
    ],
    ids=lambda x: getattr(x, "name", None),
)
def test_finite_nonsense_of_an_inverse_is_caught(bijector, value):
    array = jnp.array(value)
    with pytest.raises(bt.SupportError, match="'x'"):
        one_leaf(bijector, *array.shape).inverse({"x": array})


# The import.


def _distributions(monkeypatch, **installed: str) -> None:
    def version(name: str) -> str:
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(importlib.metadata, "version", version)


COMMANDS = r"pip uninstall -y tensorflow-probability tfp-nightly\n.*pip install --pre tfp"


def test_only_the_stable_release(monkeypatch):
    _distributions(monkeypatch, **{"tensorflow-probability": "0.25.0"})
    monkeypatch.setitem(sys.modules, "tensorflow_probability.substrates", None)
    with pytest.raises(ImportError, match=f"(?s)0.25.0 is installed.*JAX.*{COMMANDS}"):
        _import_tfp()


def test_both_releases(monkeypatch):
    both = {"tensorflow-probability": "0.25.0", "tfp-nightly": "0.26.0.dev1"}
    _distributions(monkeypatch, **both)
    with pytest.raises(ImportError, match=f"(?s)Both .*mixture.*{COMMANDS}"):
        _import_tfp()


def test_no_tfp(monkeypatch):
    _distributions(monkeypatch)
    monkeypatch.setitem(sys.modules, "tensorflow_probability.substrates", None)
    with pytest.raises(ImportError, match="TFP is not installed"):
        _import_tfp()


def test_eqx_partition_of_a_reparam_with_parameters():
    reparam = one_leaf(tfb.Softplus(low=0.5), 2)
    arrays, rest = eqx.partition(reparam, eqx.is_inexact_array)
    whole = eqx.combine(arrays, rest)
    free = {"x": jnp.zeros(2)}
    np.testing.assert_array_equal(whole.forward(free)["x"], reparam.forward(free)["x"])
