"""Models of paramax's wrappers taken over; with paramax, and with classes like its."""

import types
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bijectree as bt
from bijectree import tfb

pytestmark = pytest.mark.jax_defaults


def stand_in() -> Any:
    """Classes of paramax's names, written for these tests."""

    class AbstractUnwrappable(eqx.Module):
        __module__ = "paramax.wrappers"

    class NonTrainable(AbstractUnwrappable):
        tree: Any

        def unwrap(self) -> Any:
            return self.tree

    class Parameterize(AbstractUnwrappable):
        fn: Any
        args: tuple[Any, ...]
        kwargs: dict[str, Any]

        def __init__(self, fn: Any, *args: Any, **kwargs: Any):
            self.fn, self.args, self.kwargs = fn, args, kwargs

        def unwrap(self) -> Any:
            return self.fn(*self.args, **self.kwargs)

    class WeightNormalization(AbstractUnwrappable):
        weight: Any
        scale: Any

        def __init__(self, weight: Any):
            self.weight = weight
            ones = jnp.ones_like(weight.args[0] if hasattr(weight, "args") else weight)
            self.scale = Parameterize(jax.nn.softplus, ones[..., :1])

        def unwrap(self) -> Any:
            norm = jnp.linalg.norm(self.weight, axis=-1, keepdims=True)
            return self.scale * self.weight / norm

    return types.SimpleNamespace(**locals())


@pytest.fixture(params=["classes like its own", "paramax"])
def px(request):
    return pytest.importorskip("paramax") if request.param == "paramax" else stand_in()


RAW = jnp.array([[-1.0, 0.5], [0.3, 2.0]])


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (jnp.exp, "numbers greater than 0|positive numbers"),
        (jax.nn.softplus, "numbers greater than 0|positive numbers"),
        (jax.nn.sigmoid, "numbers between 0 and 1"),
        (jnp.tanh, "numbers between -1 and 1"),
        (jnp.expm1, "numbers greater than -1"),
        (jnp.sinh, "real numbers|any number|all real"),
        (jax.nn.soft_sign, "numbers between -1 and 1"),
    ],
)
def test_a_known_function_is_the_bijector_that_maps_alike(px, function, expected):
    model, spec = bt.from_paramax({"x": px.Parameterize(function, RAW)})
    np.testing.assert_array_equal(model["x"], function(RAW))
    description = bt.support(spec["x"]).description
    assert any(words in description for words in expected.split("|")), description
    free = bt.Reparam(model, spec).inverse(model)
    np.testing.assert_allclose(free["x"], RAW, rtol=1e-5, atol=1e-6)


def test_every_place_and_sort(px):
    tree = {
        "plain": jnp.ones(2),
        "held": px.NonTrainable(jnp.array([1.0, 2.0])),
        "module": px.NonTrainable({"a": jnp.ones(2), "n": 3}),
        "list": [px.Parameterize(jnp.exp, jnp.zeros(3)), "word", None, 4],
        "rows": px.WeightNormalization(RAW),
        "constant": px.Parameterize(jnp.exp, 1.0),
    }
    model, spec = bt.from_paramax(tree)
    assert spec["plain"] is None
    assert spec["held"] is spec["module"] is spec["constant"] is bt.frozen
    assert spec["list"][0].name == "positive"
    assert spec["rows"] is None
    assert model["list"][1:] == ["word", None, 4]
    assert model["module"]["n"] == 3
    reparam = bt.Reparam(model, spec)
    assert reparam.dim == 2 + 3 + 4
    back = reparam.forward(reparam.inverse(model))
    np.testing.assert_array_equal(back["held"], [1.0, 2.0])


def test_the_whole_model_may_be_one_wrapper(px):
    model, spec = bt.from_paramax(px.Parameterize(jnp.exp, jnp.zeros(2)))
    np.testing.assert_array_equal(model, [1.0, 1.0])
    assert spec.name == "positive"


def test_nested_wrappers(px):
    exp_of_softplus = px.Parameterize(jnp.exp, px.Parameterize(jax.nn.softplus, RAW))
    tree = {
        "twice": exp_of_softplus,
        "held inside": px.Parameterize(jnp.exp, px.NonTrainable(RAW)),
        "held outside": px.NonTrainable(exp_of_softplus),
        "positive rows": px.WeightNormalization(px.Parameterize(jnp.exp, RAW)),
    }
    model, spec = bt.from_paramax(tree)
    assert spec["held inside"] is spec["held outside"] is bt.frozen
    assert spec["positive rows"].name == "positive"
    reparam = bt.Reparam(model, spec)
    free = reparam.inverse(model)
    np.testing.assert_allclose(free["twice"], RAW, rtol=1e-5)
    np.testing.assert_allclose(model["twice"], np.exp(np.log1p(np.exp(RAW))), rtol=1e-6)
    assert bt.support(spec["twice"]).description == "numbers greater than 1"


def test_a_step_of_gradient_descent_is_that_in_raw_numbers(px):
    raw = {"x": px.Parameterize(jax.nn.softplus, jnp.array([0.3, -1.0]))}

    def loss(model):
        return jnp.sum((model["x"] - 2.0) ** 2)

    def of_raw(number):
        return loss({"x": jax.nn.softplus(number)})

    model, spec = bt.from_paramax(raw)
    reparam = bt.Reparam(model, spec)
    got = jax.grad(reparam.compose(loss))(reparam.inverse(model))
    expected = jax.grad(of_raw)(jnp.array([0.3, -1.0]))
    np.testing.assert_allclose(got["x"], expected, rtol=1e-5)


def test_dtypes_batches_and_traces(px):
    with jax.enable_x64(True):
        raw = jnp.array([0.5, 1.0], jnp.float64)
        model, spec = bt.from_paramax(px.Parameterize(jnp.exp, raw))
        assert bt.Reparam(model, spec).inverse(model).dtype == np.float64
    empty, spec = bt.from_paramax(px.Parameterize(jnp.exp, jnp.zeros((0, 3))))
    assert empty.shape == (0, 3)
    assert bt.Reparam(empty, spec).dim == 0

    @jax.jit
    @jax.vmap
    def log_det(raw):
        model, spec = bt.from_paramax({"x": px.Parameterize(jnp.exp, raw)})
        reparam = bt.Reparam(model, spec)
        return reparam.forward_log_det_jacobian(reparam.inverse(model))

    np.testing.assert_allclose(log_det(RAW), RAW.sum(axis=1), rtol=1e-5)


def rows(px: Any, **parts: Any) -> Any:
    """A weight normalization with another part."""
    ((name, part),) = parts.items()
    return eqx.tree_at(lambda w: getattr(w, name), px.WeightNormalization(RAW), part)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda px: px.Parameterize(lambda x: 2 * x, RAW), "no bijector .* <lambda>"),
        (lambda px: px.Parameterize(jnp.square, RAW), "no bijector is known for"),
        (lambda px: px.Parameterize(jax.nn.softmax, RAW), "no bijector is known for"),
        (lambda px: px.Parameterize(jnp.exp, px.Parameterize(jnp.square, RAW)), "square"),
        (lambda px: px.Parameterize(jnp.add, RAW, RAW), "no bijector is known for"),
        (
            lambda px: rows(px, scale=px.NonTrainable(jnp.ones(1))),
            "its scale is not trainable, so that its rows keep a norm",
        ),
        (
            lambda px: rows(px, scale=jnp.ones((1, 1))),
            r"its scale has shape \(1, 1\), not one number a row",
        ),
        (
            lambda px: rows(px, weight=px.NonTrainable(RAW)),
            "its weight is not trainable, so that its rows keep a direction",
        ),
        (
            lambda px: px.WeightNormalization(px.Parameterize(jnp.tanh, RAW)),
            "not all positive",
        ),
    ],
)
def test_what_is_not_known_is_refused_by_path(px, make, match):
    tree = {"layers": [jnp.ones(2), make(px)], "other": px.Parameterize(abs, RAW)}
    message = rf"(?s)at 'layers.1': .*{match}.*bijectors=.*'layers.1'.*at 'other': "
    with pytest.raises(ValueError, match=message):
        bt.from_paramax(tree)


def test_a_wrapper_of_another_package_is_refused_by_path(px):
    class Doubled(px.AbstractUnwrappable):
        raw: Any

        def unwrap(self):
            return 2 * self.raw

    tree = {"a": Doubled(RAW)}
    with pytest.raises(ValueError, match="at 'a': no bijector is known for a Doubled"):
        bt.from_paramax(tree)
    model, spec = bt.from_paramax(tree, bijectors={"a": None})
    np.testing.assert_array_equal(model["a"], 2 * RAW)
    assert spec["a"] is None
    assert bt.from_paramax(tree, bijectors={"a": bt.frozen})[1]["a"] is bt.frozen


def test_bijectors_by_path_and_by_function(px):
    def triangular(raw):
        return jnp.tril(raw, -1) + jnp.diag(jnp.exp(jnp.diag(raw)))

    def doubled(x):
        return 2 * x

    tree = {
        "layers": [px.Parameterize(triangular, RAW) for _ in range(2)],
        "y": px.Parameterize(doubled, px.Parameterize(jnp.exp, RAW)),
    }
    given = {"layers.*": bt.lower_cholesky(), doubled: tfb.Scale(2.0)}
    model, spec = bt.from_paramax(tree, bijectors=given)
    assert spec["layers"][0] is spec["layers"][1] is given["layers.*"]
    reparam = bt.Reparam(model, spec)
    assert reparam.dim == 3 + 3 + 4
    free = reparam.inverse(model)
    np.testing.assert_allclose(free["y"], RAW, rtol=1e-5)
    back = reparam.forward(free)
    np.testing.assert_allclose(back["layers"][0], triangular(RAW), rtol=1e-5)


def test_a_mask(px):
    mask = jnp.array([[True, False], [True, True]])
    tree = {
        "weight": px.Parameterize(jnp.where, mask, RAW, 0),
        "other side": px.Parameterize(jnp.where, px.NonTrainable(mask), 7.0, RAW),
        "positive": px.Parameterize(
            jnp.where, mask[:, :1], px.Parameterize(jnp.exp, RAW), px.NonTrainable(RAW)
        ),
    }
    model, spec = bt.from_paramax(tree)
    reparam = bt.Reparam(model, spec)
    assert reparam.dim == 3 + 1 + 4
    assert reparam.labels[0] == "other side.0.1"
    free = jax.tree.map(lambda x: x + 1.0, reparam.inverse(model))
    after = reparam.forward(free)
    assert after["weight"][0, 1] == 0.0
    np.testing.assert_allclose(after["positive"], np.exp(RAW + 1.0), rtol=1e-5)
    several = px.Parameterize(jnp.where, mask, RAW, RAW)
    with pytest.raises(ValueError, match="a mask and one trained array"):
        bt.from_paramax({"x": several})


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"nothing": bt.positive()}, "'nothing' .*"),
        ({"plain": bt.positive()}, "'plain' in `bijectors` stands for no wrapper"),
        ({jnp.sin: bt.positive()}, "in `bijectors` stands for no wrapper"),
        ({"x": 3.0}, "'x': got float 3.0, expected a bijector"),
        ({"x": bt.positive}, "'x': got function .*, expected a bijector"),
    ],
)
def test_bijectors_without_effect_are_errors(px, given, match):
    tree = {"x": px.Parameterize(jnp.exp, RAW), "plain": RAW}
    with pytest.raises(ValueError, match=match):
        bt.from_paramax(tree, bijectors=given)


def test_a_wrapper_without_a_value_is_named(px):
    tree = {"x": px.Parameterize(jnp.exp, RAW, RAW)}
    with pytest.raises(ValueError, match="at 'x': unwrap raised TypeError"):
        bt.from_paramax(tree)


def test_a_distribution_of_flowjax():
    distributions = pytest.importorskip("flowjax.distributions")
    loc, scale = jnp.array([0.5, 1.0]), jnp.array([2.0, 3.0])
    wrapped = distributions.Normal(loc, scale)
    model, spec = bt.from_paramax(wrapped)
    reparam = bt.Reparam(model, spec)
    assert reparam.labels == [
        f"bijection.{name}.{i}" for name in ("loc", "scale") for i in range(2)
    ]
    x = jnp.array([1.0, -1.0])
    assert jnp.allclose(model.log_prob(x), wrapped.log_prob(x))
    got = jax.grad(lambda free: reparam.forward(free).log_prob(x))(reparam.inverse(model))
    expected = eqx.filter_grad(lambda d: d.log_prob(x))(wrapped)
    raw = expected.bijection.scale.args[0]
    np.testing.assert_allclose(got.bijection.scale, raw, rtol=1e-5)
    triangular = distributions.MultivariateNormal(jnp.zeros(2), jnp.eye(2) + 0.1)
    with pytest.raises(ValueError, match="at 'bijection.triangular': no bijector"):
        bt.from_paramax(triangular)
    flows = pytest.importorskip("flowjax.flows")
    flow = flows.masked_autoregressive_flow(
        jax.random.key(0), base_dist=wrapped, flow_layers=1, nn_width=4
    )
    model, spec = bt.from_paramax(flow)
    assert jnp.allclose(model.log_prob(x), flow.log_prob(x), rtol=1e-5)
    assert 0 < bt.Reparam(model, spec).dim
    given = {"**.triangular": bt.lower_cholesky()}
    model, spec = bt.from_paramax(triangular, bijectors=given)
    assert bt.Reparam(model, spec).dim == 2 + 3
