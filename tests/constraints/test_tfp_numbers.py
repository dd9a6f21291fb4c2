"""TFP's classes with numbers for which they are not one to one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bijectree as bt
from bijectree import tfb
from bijectree.constraints import knowledge_of

pytestmark = [
    pytest.mark.jax_defaults,  # TFP promotes dtypes and ranks itself
    pytest.mark.filterwarnings("ignore:Explicitly requested dtype:UserWarning"),
]

_TRIANGLE = np.float32([[1.0, 0.0], [0.5, 0.0]])


def _spline(heights, slopes):
    return tfb.RationalQuadraticSpline(*map(np.float32, ([1.0, 1.0], heights, slopes)))


# Each with a leaf's shape, and what its refusal says.
WRONG = {
    "cdf": (lambda: tfb.Invert(tfb.GumbelCDF(0.0, -1.0)), (), "scale must be .*positive"),
    "clip": (lambda: tfb.SoftClip(1.0, 0.0), (), "low must be less than high"),
    "clip_softness": (
        lambda: tfb.SoftClip(0.0, 1.0, 0.0),
        (),
        "hinge_softness must be finite and positive",
    ),
    "diagonal": (
        lambda: tfb.ScaleMatvecDiag(np.float32([1.0, 0.0])),
        (2,),
        "diag must be finite and not 0",
    ),
    "householder": (
        lambda: tfb.Householder(np.zeros(2, np.float32)),
        (2,),
        "reflection_axis must be a vector other than 0",
    ),
    "inner": (
        lambda: tfb.FillScaleTriL(diag_bijector=tfb.Scale(0.0), diag_shift=None),
        (2, 2),
        "scale must be finite and not 0",
    ),
    "lambert": (
        lambda: tfb.LambertWTail(0.0, 1.0, -0.2),
        (),
        "tailweight must be finite and not negative",
    ),
    "link": (
        lambda: tfb.Chain([tfb.Exp(), tfb.Scale(0.0)]),
        (),
        "its link scale is not one to one: scale must be finite and not 0",
    ),
    "log_scale": (lambda: tfb.Scale(log_scale=-np.inf), (), "log_scale must be finite"),
    "lu": (
        lambda: tfb.ScaleMatvecLU(_TRIANGLE, [0, 1]),
        (2,),
        "lower_upper must be without a 0 on its diagonal",
    ),
    "one_of_two": (
        lambda: tfb.Scale(np.float32([2.0, 0.0])),
        (2,),
        "scale must be finite and not 0",
    ),
    "power": (lambda: tfb.Power(0.0), (), "power must be finite and not 0"),
    "scale": (lambda: tfb.Scale(0.0), (), "scale must be finite and not 0, got 0"),
    "scale_nan": (lambda: tfb.Scale(np.nan), (), "scale must be finite and not 0"),
    "shift": (lambda: tfb.Shift(np.inf), (), "shift must be finite"),
    "sigmoid": (lambda: tfb.Sigmoid(1.0, 1.0), (), "low must be less than high"),
    "sinh_arcsinh": (
        lambda: tfb.SinhArcsinh(0.1, 0.0),
        (),
        "tailweight must be finite and positive",
    ),
    "softplus": (
        lambda: tfb.Softplus(-1.0),
        (),
        "hinge_softness must be finite and positive",
    ),
    "spline": (
        lambda: _spline([0.5, 1.5], [0.0]),
        (),
        "knot_slopes must be finite and positive",
    ),
    "spline_sides": (
        lambda: _spline([0.5, 2.5], [0.7]),
        (),
        "must sum to the same",
    ),
    "triangle": (
        lambda: tfb.ScaleMatvecTriL(_TRIANGLE),
        (2,),
        "tril must be without a 0 on its diagonal",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_numbers_for_which_a_map_is_not_one_to_one_are_refused(name):
    make, shape, message = WRONG[name]
    model = {"a": jnp.zeros(()), "x": jax.ShapeDtypeStruct(shape, jnp.float32)}
    with pytest.raises(ValueError, match=f"(?s)'x'.*{message}"):
        bt.Reparam(model, {"a": None, "x": make()})


def test_numbers_that_are_allowed_at_their_edge_are_bound():
    for bijector in (
        tfb.Scale(-1e-30),
        tfb.SoftClip(low=1.0),
        tfb.Sigmoid(0.0, np.float32([1.0, 1e-6])),
        tfb.SinhArcsinh(-5.0, 1e-3),
        tfb.Householder(np.float32([0.0, 1.0])),
    ):
        assert knowledge_of(bijector).proven


def test_numbers_that_are_traced_are_taken_as_they_come():
    def value(scale):
        reparam = bt.Reparam({"x": jnp.ones(())}, {"x": tfb.Scale(scale)})
        return reparam.forward({"x": jnp.ones(())})["x"]

    assert jax.jit(value)(2.0) == 2.0


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0)])
@pytest.mark.parametrize(
    "make",
    [
        lambda: tfb.RationalQuadraticSpline([1.0, 1.0], [0.5, 1.5], [0.7]),
        lambda: tfb.Invert(tfb.RationalQuadraticSpline([1.0], [1.0], [])),
        tfb.Exp,
        bt.positive,
        lambda: tfb.Chain([tfb.Softplus(), tfb.Shift(1.0)]),
        lambda: tfb.LambertWTail(0.1, 1.0, 0.2),
    ],
)
def test_an_empty_leaf_has_nothing_to_map(make, shape):
    model = {"x": jnp.zeros(shape)}
    reparam = bt.Reparam(model, make())
    free = reparam.inverse(model)
    assert free["x"].shape == shape
    again, log_det = reparam.forward_and_log_det(free)
    assert again["x"].shape == shape
    assert log_det == 0.0
    assert jax.jacfwd(reparam.forward)(free)["x"]["x"].shape == shape + shape
