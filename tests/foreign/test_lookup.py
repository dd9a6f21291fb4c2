"""Which transforms of other packages are taken, and in which words others are not."""

import subprocess
import sys
from typing import Annotated, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

import bijectree as bt
from bijectree.foreign import is_constraint, is_transform

pytestmark = pytest.mark.jax_defaults

constraints = pytest.importorskip("numpyro.distributions.constraints")
transforms = pytest.importorskip("numpyro.distributions.transforms")
MODEL = {"a": {"b": jnp.array([0.2, 0.3, 0.5])}, "c": jnp.ones(2)}


def refused(item: Any, match: str, model: Any = MODEL) -> None:
    with pytest.raises(ValueError, match=match):
        bt.Reparam(model, bt.by_path(model, {"a.b": item}))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: transforms.AbsTransform(), "at 'a.b': .*AbsTransform is not one to one"),
        (
            lambda: transforms.ComposeTransform(
                [transforms.ExpTransform(), transforms.AbsTransform()]
            ),
            "at 'a.b': .*AbsTransform is not one to one",
        ),
        (lambda: transforms.AbsTransform().inv, "AbsTransform is not one to one"),
        (
            lambda: transforms.UnpackTransform(lambda x: {"x": x}),
            "at 'a.b': .*makes several arrays, and a leaf is one",
        ),
        (lambda: transforms.ComplexTransform(), "at 'a.b': .*makes complex numbers"),
        (lambda: transforms.L1BallTransform(), "at 'a.b': .*not smooth"),
        # What takes part of the numbers alone, and what folds them.
        (lambda: transforms.ExpTransform().inv, "at 'a.b': .*not defined for all"),
        (lambda: transforms.PowerTransform(2.0), "at 'a.b': .*not bijective here"),
        (lambda: transforms.ComposeTransform([]), "at 'a.b': .*IndexError"),
        (
            lambda: transforms.ReshapeTransform((2, 2), (4,)),
            "at 'a.b': .*does not fit float32 array",
        ),
    ],
)
def test_what_maps_no_leaf_is_refused_by_path(make, match):
    refused(make(), match)


def test_a_wrong_log_det_is_refused_by_path():
    class Wrong(transforms.ExpTransform):
        def log_abs_det_jacobian(self, x, y, intermediates=None):
            return 2 * x

    refused(Wrong(), "at 'a.b': .*wrong log-det")
    reparam = bt.Reparam(MODEL["c"], Wrong(), verify=False)
    assert not bt.check(reparam, MODEL["c"]).ok


def test_what_checks_its_values_is_refused_with_its_own_words():
    class Checked(transforms.ExpTransform):
        def __call__(self, x):
            return jnp.exp(eqx.error_if(x, jnp.any(x < 0), "no negative numbers here"))

    with pytest.raises(ValueError, match="at 'a.b': .*no negative numbers here") as info:
        bt.Reparam(MODEL, bt.by_path(MODEL, {"a.b": Checked()}))
    assert "Traceback" not in str(info.value)


def test_a_class_whose_arrays_jax_cannot_see_is_refused_by_path():
    class Opaque(transforms.Transform):
        def __call__(self, x):
            return 2 * x

    refused(Opaque(), "at 'a.b': .*numpyro.Opaque cannot .*NotImplementedError")


def test_what_has_no_inverse_is_refused_by_path():
    class OneWay(transforms.ExpTransform):
        def _inverse(self, y):
            raise NotImplementedError("no way back")

    refused(OneWay(), "at 'a.b': .*it has no inverse: no way back; use one that has")


@pytest.mark.parametrize(
    "constraint",
    [constraints.positive, constraints.greater_than(1.0), constraints.simplex],
    ids=str,
)
def test_a_constraint_in_a_spec_is_refused_with_what_to_write(constraint):
    refused(constraint, r"at 'a.b': got the constraint .* bt.bijector_for\(constraint\)")
    assert is_constraint(constraint)
    assert not is_transform(constraint)


def test_a_field_declares_a_transform():
    class Noise(eqx.Module):
        scale: Annotated[jax.Array, transforms.ExpTransform()]
        share: jax.Array = eqx.field(
            metadata={"bijector": transforms.StickBreakingTransform()}
        )

    model = Noise(jnp.ones(2), jnp.array([0.2, 0.8]))
    spec = bt.spec_from_fields(model)
    assert bt.Reparam(model, spec).dim == 3
    assert is_transform(spec.scale)


def test_a_class_in_place_of_a_transform():
    refused(transforms.ExpTransform, r"at 'a.b': .*Call it: ExpTransform\(\)")


def test_all_faults_are_in_one_error():
    spec = {"a": transforms.AbsTransform(), "c": constraints.positive}
    with pytest.raises(ValueError, match="(?s)at 'a.b': .*at 'c': got the constraint"):
        bt.Reparam(MODEL, spec)


def test_one_transform_at_several_places_is_one_bijector():
    exp = transforms.ExpTransform()
    reparam = bt.Reparam(MODEL, {"a": exp, "c": exp})
    slots = {row.slot for _, row in reparam.bound.plan.free}
    assert len(slots) == 1


def test_a_function_is_no_transform():
    with pytest.raises(TypeError, match="dependent takes a function"):
        bt.dependent(transforms.ExpTransform(), on="c")


def test_a_prior_is_no_transform_and_says_so():
    reparam = bt.Reparam(MODEL, None)
    prior = {"a": {"b": transforms.ExpTransform()}, "c": None}
    with pytest.raises((TypeError, ValueError), match="got the transform ExpTransform"):
        bt.Posterior(reparam, None, prior)


# The packages are known by the names of their classes.

Bijection = type(
    "AbstractBijection",
    (),
    {"__module__": "flowjax.bijections.bijection", "cond_shape": None, "shape": ()},
)


@jax.tree_util.register_pytree_node_class
class Doubled(Bijection):
    def transform_and_log_det(self, x, condition=None):
        return 2 * x, jnp.log(2.0)

    def inverse(self, y, condition=None):
        return y / 2

    def tree_flatten(self):
        return (), None

    @classmethod
    def tree_unflatten(cls, aux, children):
        return cls()


class Conditional(Doubled):
    cond_shape = (2,)


def test_a_package_need_not_be_there():
    reparam = bt.Reparam(MODEL, {"a": Doubled(), "c": None})
    free = reparam.inverse(MODEL)
    assert jnp.allclose(free["a"]["b"], MODEL["a"]["b"] / 2)
    expected = 3 * jnp.log(2.0)
    assert jnp.allclose(reparam.forward_log_det_jacobian(free), expected)


def test_a_conditional_bijection_is_refused_by_path():
    refused(Conditional(), r"at 'a.b': .*conditional \(cond_shape \(2,\)\)")


def test_a_model_that_is_made_of_the_class_has_a_spec_that_is_a_tree():
    @jax.tree_util.register_pytree_with_keys_class
    class Scaled(Bijection):
        def __init__(self, scale):
            self.scale = scale

        def tree_flatten_with_keys(self):
            return [(jax.tree_util.GetAttrKey("scale"), self.scale)], None

        @classmethod
        def tree_unflatten(cls, aux, children):
            return cls(*children)

        def transform_and_log_det(self, x, condition=None):
            return self.scale * x, jnp.log(self.scale)

        def inverse(self, y, condition=None):
            return y / self.scale

    model = {"flow": Scaled(jnp.array(2.0)), "x": jnp.array([1.0, 3.0])}
    spec = bt.by_path(model, {"flow.scale": bt.positive()})
    assert bt.Reparam(model, spec).labels == ["flow.scale", "x.0", "x.1"]
    with pytest.raises(ValueError, match=r"made of Scaled too.*bt.bijector_for"):
        bt.Reparam(model, {**spec, "x": Scaled(jnp.array(2.0))})
    item = bt.bijector_for(Scaled(jnp.array(2.0)))
    free = bt.Reparam(model, {**spec, "x": item}).inverse(model)
    assert jnp.allclose(free["x"], jnp.array([0.5, 1.5]))


def test_no_package_is_imported():
    script = (
        "import sys, bijectree, jax.numpy as jnp; "
        "bijectree.Reparam(jnp.ones(2), bijectree.positive()); "
        "others = {'numpyro', 'distrax', 'flowjax', 'dynamax', 'paramax'}; "
        "found = others & {*sys.modules}; "
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_bijection_without_an_inverse():
    flowjax = pytest.importorskip("flowjax.bijections")
    planar = flowjax.Planar(jax.random.key(0), dim=3)
    refused(planar, "at 'a.b': .*it has no inverse")


def test_functions_that_distrax_cannot_invert():
    distrax = pytest.importorskip("distrax")
    for function in (jnp.abs, lambda x: jnp.sum(x) * x):
        refused(distrax.Lambda(function), "at 'a.b': .*it has no inverse")
