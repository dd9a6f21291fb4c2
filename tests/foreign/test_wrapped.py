"""Transforms of other packages, held to the law of all bijectors.

Those of distrax and flowjax where the extra `bench` is installed.
"""

import pickle
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from law import assert_bijector

import bijectree as bt
from bijectree import tfb

pytestmark = pytest.mark.jax_defaults


def numpyro(name: str) -> Any:
    transforms = pytest.importorskip("numpyro.distributions.transforms")
    return getattr(transforms, name)


def distrax(name: str) -> Any:
    return getattr(pytest.importorskip("distrax"), name)


def flowjax(name: str) -> Any:
    return getattr(pytest.importorskip("flowjax.bijections"), name)


def _flow() -> Any:
    return flowjax("MaskedAutoregressive")(
        jax.random.key(0), transformer=flowjax("Affine")(), dim=3, nn_width=4, nn_depth=1
    )


TRANSFORMS = {
    "numpyro Exp": (lambda: numpyro("ExpTransform")(), (2, 3)),
    "numpyro Exp of nothing": (lambda: numpyro("ExpTransform")(), (0, 3)),
    "numpyro Affine": (lambda: numpyro("AffineTransform")(0.1, -2.3), (3,)),
    "numpyro Affine array": (
        lambda: numpyro("AffineTransform")(jnp.zeros(3), jnp.array([1.0, 2.0, 3.0])),
        (2, 3),
    ),
    "numpyro simplex": (lambda: numpyro("StickBreakingTransform")(), (2, 3)),
    "numpyro Cholesky": (lambda: numpyro("LowerCholeskyTransform")(), (2, 2)),
    "numpyro correlation": (lambda: numpyro("CorrCholeskyTransform")(), (3, 3)),
    "numpyro chain that makes events": (
        lambda: numpyro("ComposeTransform")(
            [
                numpyro("AffineTransform")(0.0, 2.0),
                numpyro("OrderedTransform")(),
                numpyro("ExpTransform")(),
            ]
        ),
        (2, 3),
    ),
    "numpyro chain in a chain": (
        lambda: numpyro("ComposeTransform")(
            [
                numpyro("ComposeTransform")([numpyro("ExpTransform")()]),
                numpyro("ExpTransform")().inv,
            ]
        ),
        (3,),
    ),
    "numpyro independent": (
        lambda: numpyro("IndependentTransform")(numpyro("SigmoidTransform")(), 1),
        (2, 3),
    ),
    "numpyro slices": (
        lambda: numpyro("CatTransform")(
            [numpyro("ExpTransform")(), numpyro("SigmoidTransform")()], -1, [2, 1]
        ),
        (2, 3),
    ),
    "numpyro inverse": (
        lambda: numpyro("LowerCholeskyAffine")(jnp.ones(2), 2 * jnp.eye(2)).inv,
        (3, 2),
    ),
    "distrax Tanh": (lambda: distrax("Tanh")(), (2, 3)),
    "distrax Sigmoid of nothing": (lambda: distrax("Sigmoid")(), (0,)),
    "distrax affine": (lambda: distrax("ScalarAffine")(0.1, 2.3), (3,)),
    "distrax function": (lambda: distrax("Lambda")(lambda x: jnp.exp(2 * x)), (3,)),
    "distrax chain": (
        lambda: distrax("Chain")(
            [distrax("Sigmoid")(), distrax("ScalarAffine")(0.0, 3.0)]
        ),
        (3,),
    ),
    "distrax block": (lambda: distrax("Block")(distrax("Sigmoid")(), 1), (2, 3)),
    "distrax matrix": (
        lambda: distrax("TriangularLinear")(jnp.array([[1.0, 0.0], [2.0, 3.0]])),
        (3, 2),
    ),
    "distrax inverse": (
        lambda: distrax("Inverse")(distrax("ScalarAffine")(jnp.ones(3), 2.0)),
        (2, 3),
    ),
    "distrax of TFP": (lambda: distrax("as_bijector")(bt.simplex()), (2, 3)),
    "flowjax scalar": (lambda: flowjax("Exp")(()), (2, 3)),
    "flowjax vector": (lambda: flowjax("Exp")((3,)), (2, 3)),
    "flowjax matrix": (lambda: flowjax("SoftPlus")((2, 2)), (2, 2)),
    "flowjax of no vector": (lambda: flowjax("Exp")((3,)), (0, 3)),
    "flowjax affine": (lambda: flowjax("Affine")(0.1, 2.3), (3,)),
    "flowjax chain": (
        lambda: flowjax("Chain")(
            [flowjax("Affine")(jnp.zeros(3), jnp.full(3, 2.0)), flowjax("Exp")((3,))]
        ),
        (2, 3),
    ),
    "flowjax inverse": (
        lambda: flowjax("Invert")(flowjax("TriangularAffine")(0.5, 2 * jnp.eye(3) + 0.1)),
        (2, 3),
    ),
    "flowjax flow": (_flow, (2, 3)),
    "flowjax spline": (
        lambda: flowjax("RationalQuadraticSpline")(knots=4, interval=3.0),
        (3,),
    ),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_law(name, precision, getkey):
    make, shape = TRANSFORMS[name]
    assert_bijector(bt.bijector_for(make()), shape, precision, getkey())


ONE_OF_EACH = ("numpyro Affine", "distrax affine", "flowjax affine")


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_float16_is_computed_in_float32(name, getkey):
    make, shape = TRANSFORMS[name]
    assert_bijector(bt.bijector_for(make()), shape, jnp.float16, getkey(), scale=0.5)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_in_a_spec_as_it_is(name):
    transform = TRANSFORMS[name][0]()
    model = {"x": jnp.array([0.2, 0.3, 0.5]), "y": jnp.ones(2)}
    specs = {
        "alone": {"x": transform, "y": None},
        "above": transform,
        "masked": {"x": bt.masked(transform, [True, False, True]), "y": bt.frozen},
        "joint": bt.joint(transform, over=("y", "x")),
        "dependent": {"x": bt.dependent(lambda m: transform, on="y"), "y": None},
        "chain": {"x": tfb.Chain([tfb.Exp(), bt.bijector_for(transform)]), "y": None},
        "inverse": {"x": tfb.Invert(bt.bijector_for(transform)), "y": None},
    }
    for spec in specs.values():
        reparam = bt.Reparam(model, spec)
        free = reparam.inverse(model)
        back, log_det = reparam.forward_and_log_det(free)
        np.testing.assert_allclose(back["x"], model["x"], rtol=1e-5)
        assert np.isfinite(log_det)
        assert bt.check(reparam, model).ok
    assert specs["above"] is transform  # nothing is touched
    whole = bt.Reparam(model["x"], None).then(transform)
    assert whole.dim == 3


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_equal_ones_do_not_trace_again(name):
    make, _ = TRANSFORMS[name]
    model = jnp.array([0.2, 0.3, 0.5])
    reparams = [bt.Reparam(model, make()) for _ in range(2)]
    assert reparams[0].bound.plan == reparams[1].bound.plan
    assert hash(reparams[0].bound.plan) == hash(reparams[1].bound.plan)
    traces = []

    @eqx.filter_jit
    def forward(reparam, free):
        traces.append(1)
        return reparam.forward(free)

    for reparam in reparams:
        forward(reparam, model)
    assert len(traces) == 1


def test_other_numbers_do_not_trace_again():
    affine = numpyro("AffineTransform")
    model = jnp.array([0.2, 0.3])
    reparams = [bt.Reparam(model, affine(0.0, scale)) for scale in (2.0, 3.0)]
    assert reparams[0].bound.plan == reparams[1].bound.plan
    assert not np.allclose(reparams[0].inverse(model), reparams[1].inverse(model))


def test_a_python_float_is_exact_on_float64_leaves():
    with jax.enable_x64(True):
        reparam = bt.Reparam(jnp.array([0.5]), numpyro("AffineTransform")(0.1, 1.0))
        assert reparam.forward(jnp.zeros(1))[0] == 0.1


def test_traced_numbers_and_batches():
    model = jnp.array([0.2, 0.3, 0.5])
    affine, exp = numpyro("AffineTransform"), numpyro("ExpTransform")
    chain = numpyro("ComposeTransform")

    @jax.jit
    @jax.vmap
    def log_det(scale):
        spec = chain([affine(0.0, scale), exp()])
        reparam = bt.Reparam(model, spec)
        return reparam.forward_log_det_jacobian(reparam.inverse(model))

    scales = jnp.array([0.5, 2.0])
    expected = [np.log(s * np.asarray(model)).sum() for s in scales]
    np.testing.assert_allclose(log_det(scales), expected, rtol=1e-5)
    slope = jax.grad(lambda s: log_det(s[None])[0])(jnp.array(2.0))
    np.testing.assert_allclose(slope, 3 / 2.0, rtol=1e-5)


def test_a_batch_of_bijections_under_vmap():
    affine = flowjax("Affine")
    model = jnp.array([0.2, 0.3, 0.5])

    @eqx.filter_vmap
    def forward(scale):
        return bt.Reparam(model, affine(jnp.zeros(3), scale * jnp.ones(3))).forward(model)

    np.testing.assert_allclose(
        forward(jnp.array([1.0, 2.0])), np.outer([1, 2], model), rtol=1e-6
    )


def test_a_bijection_that_depends_on_a_leaf():
    affine = flowjax("Affine")
    model = {"scale": jnp.array(2.0), "x": jnp.array([1.0, 3.0])}
    spec = {
        "scale": bt.positive(),
        "x": bt.dependent(lambda m: affine(0.0, m["scale"]), on="scale"),
    }
    reparam = bt.Reparam(model, spec)
    free = reparam.inverse(model)
    np.testing.assert_allclose(free["x"], [0.5, 1.5], rtol=1e-6)
    jacobian = jax.jacfwd(lambda v: reparam.ravel(reparam.forward(reparam.unravel(v))))
    got = reparam.forward_log_det_jacobian(free)
    expected = np.linalg.slogdet(np.asarray(jacobian(reparam.ravel(free))))[1]
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_traced_numbers_that_belong_together():
    model = jnp.array([0.2, 0.3])

    @jax.jit
    def log_det(scale):
        reparam = bt.Reparam(model, distrax("ScalarAffine")(0.0, scale))
        return reparam.forward_log_det_jacobian(reparam.inverse(model))

    np.testing.assert_allclose(log_det(3.0), 2 * np.log(3.0), rtol=1e-6)


@pytest.mark.parametrize("name", ["numpyro Affine", "distrax affine"])
def test_a_reparam_is_pickled(name):
    make, _ = TRANSFORMS[name]
    model = jnp.array([0.2, 0.3, 0.5])
    reparam = bt.Reparam(model, make())
    again = pickle.loads(pickle.dumps(reparam))
    assert again.bound.plan == reparam.bound.plan
    np.testing.assert_array_equal(again.inverse(model), reparam.inverse(model))


def test_training_keeps_what_it_trains_inside():
    optax = pytest.importorskip("optax")
    params = {"x": jnp.array([0.2, 0.3, 0.5])}
    reparam = bt.Reparam(params, numpyro("StickBreakingTransform")())
    optimizer = bt.reparameterize(optax.sgd(1.0), reparam)
    state = optimizer.init(params)
    gradient = jax.grad(lambda p: -jnp.log(p["x"][0]))
    for _ in range(5):
        updates, state = optimizer.update(gradient(params), state, params)
        params = optax.apply_updates(params, updates)
    assert params["x"][0] > 0.5
    np.testing.assert_allclose(params["x"].sum(), 1.0, rtol=1e-6)
