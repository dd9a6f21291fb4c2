"""What does not fit together is refused, with paths."""

from typing import Annotated, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array
from together import below, garch, mixture, plain

import bijectree as bt
from bijectree import tfb


def test_bound_from_shapes_alone():
    model, spec = mixture(jnp.float32)
    reparam = bt.Reparam(jax.eval_shape(lambda: model), spec)
    free = reparam.inverse(model)
    whole = bt.Reparam(model, spec)
    back, log_det = reparam.forward_and_log_det(free, like=model)
    assert eqx.tree_equal(back, whole.forward(free))
    assert reparam.forward_log_det_jacobian(free, like=model) == log_det
    assert reparam.inverse_log_det_jacobian(model) == -log_det
    with pytest.raises(ValueError, match="pass like=model") as caught:
        reparam.forward(free)
    assert "'width' (frozen)" in str(caught.value)
    with pytest.raises(ValueError, match="(?s)'wide' depends on.*pass like=model"):
        reparam.forward_log_det_jacobian(free)
    # Nothing without coordinates is read here, so nothing is missed.
    model, spec = garch(jnp.float32)
    reparam = bt.Reparam(jax.eval_shape(lambda: model), spec)
    reparam.forward(reparam.inverse(model))


def test_fields_may_declare_what_belongs_together():
    class Bounded(eqx.Module):
        alpha: Annotated[Array, bt.unit_interval()]
        beta: Annotated[Array, bt.dependent(lambda m: bt.interval(0.0, m.alpha), "alpha")]
        twin: Array = eqx.field(metadata={"bijector": bt.tied("beta")})

    model = Bounded(jnp.array(0.5), jnp.array(0.25), jnp.array(0.25))
    reparam = bt.Reparam(model, bt.spec_from_fields(model))
    assert reparam.labels == ["alpha", "beta"]
    np.testing.assert_allclose(reparam.inverse(model).beta, 0.0, atol=1e-6)


def test_it_is_shown():
    model, spec = mixture(jnp.float32)
    inner = bt.Reparam(model, spec)
    reparam = inner.then(tfb.Scale(2.0))
    shown = repr(reparam)
    table = bt.summary(reparam, model)
    for text in (shown, table):
        assert "joint with high" in text
        assert "ordered_vector joint over low, high" in text
        assert "tied to high" in text
        assert "dependent on width, table" in text
    assert "dependent on wide, past joint over right, left" in shown
    assert "then: scale" in shown
    assert bt.check(inner, model).ok
    assert bt.check(reparam, model).ok
    outside = model | {"between": jnp.array(4.0)}
    assert [r.path for r in bt.check(inner, outside).rows if r.failures] == ["between"]
    unequal = model | {"copy": jnp.array(2.0)}
    assert "copy" in [r.path for r in bt.check(inner, unequal).rows if r.failures]


# What does not fit.


class Opaque(tfb.Bijector):
    """No JAX pytree."""

    def __init__(self, scale: Any):
        self.scale = scale
        super().__init__(forward_min_event_ndims=0, name="opaque")

    def _forward(self, x: Array) -> Array:
        return self.scale * x

    def _inverse(self, y: Array) -> Array:
        return y / self.scale

    def _forward_log_det_jacobian(self, x: Array) -> Array:
        return jnp.log(self.scale)


def inline(model: Any) -> Any:
    """Another bijector at each call: its functions hold the model."""
    return tfb.Inline(
        forward_fn=lambda x: x * model["a"],
        inverse_fn=lambda y: y / model["a"],
        forward_log_det_jacobian_fn=lambda x: jnp.log(model["a"]),
        forward_min_event_ndims=0,
    )


def of_all(model: Any) -> Any:
    leaves = jax.tree.leaves(jax.tree.map(lambda x: jnp.sum(x).astype(float), model))
    return tfb.Scale(jnp.sum(jnp.stack(leaves)))


BOTH = bt.joint(tfb.Ascending(), over=("a", "b"))


BAD = {
    "overlapping joints": (
        {"a": BOTH, "c": bt.joint(bt.simplex(), over=("c", "b"))},
        ["'b' has the joint ascending over a, b in the spec", "joint simplex over c, b"],
    ),
    "in over and given a bijector": (
        {"a": BOTH, "b": tfb.Exp()},
        ["'b' has exp in the spec and is in the joint ascending over a, b too"],
    ),
    "in over and tied": (
        {"a": BOTH, "b": bt.tied("a")},
        ["'b' has tied in the spec"],
    ),
    "over nothing": (
        {"a": bt.joint(tfb.Exp(), over="d.*")},
        ["at 'a': `over` of the joint names 'd.*', which matches nothing; nearest"],
    ),
    "over integers": (
        {"a": bt.joint(tfb.Exp(), over="n")},
        ["the joint exp over n stands where no inexact array is: 'n' is int32 array"],
    ),
    "joint that does not fit": (
        {
            "a": bt.joint(
                tfb.ScaleMatvecTriL(np.eye(3, dtype=np.float32)), over=("a", "b")
            )
        },
        ["at 'a', 'b': scale_matvec_tril does not fit float32 array of shape (2,): Dim"],
    ),
    "joint of matrices": (
        {"c": bt.joint(bt.corr_matrix())},
        ["at 'c': corr_matrix does not fit float32 array of shape (3,)"],
    ),
    "tied to an unknown path": (
        {"b": bt.tied("aa")},
        ["'b' is tied to 'aa', which matches nothing; nearest paths: 'a'"],
    ),
    "tied to a node": (
        {"b": bt.tied("")},
        ["'b' is tied to '', which names the leaves 'a', 'b', 'c'; name one"],
    ),
    "tied to integers": (
        {"b": bt.tied("n")},
        ["'b' is tied to 'n', which is int32 array of shape (3,); tie to an array"],
    ),
    "tied to itself": ({"b": bt.tied("b")}, ["a cycle", "b → b"]),
    "tied to another shape": (
        {"b": bt.tied("c")},
        ["'b' (float32 array of shape ()) is tied to 'c' (float32 array of shape (3,))"],
    ),
    "tied by a function that raises": (
        {"b": bt.tied("c", lambda x: x @ x[0])},
        ["'b' (float32 array of shape ()) is tied to 'c'"],
    ),
    "two cycles": (
        {
            "a": bt.tied("b"),
            "b": bt.tied("a"),
            "c": bt.dependent(lambda m: tfb.Scale(m["c"]), "c"),
        },
        ["each depends on the next: a → b → a", "each depends on the next: c → c"],
    ),
    "a cycle through a joint": (
        {
            "a": bt.joint(bt.dependent(lambda m: tfb.Scale(m["c"][0]), "c"), ("a", "b")),
            "c": bt.dependent(lambda m: tfb.Scale(m["b"]), "b"),
        },
        ["each depends on the next: (a, b) → c → (a, b)"],
    ),
    "a path in `on` that is not there": (
        {"b": bt.dependent(below, ("alpha", "a.*"))},
        ["at 'b': `on` of the dependent names 'alpha', which matches nothing", "'a.*'"],
    ),
    "reads an unnamed leaf": (
        {"b": bt.dependent(lambda m: tfb.Scale(m["a"] * m["c"].sum()), "a")},
        ["at 'b'", "its function reads 'c', which `on` does not name"],
    ),
    "reads an unnamed leaf for nothing": (
        {"b": bt.dependent(lambda m: tfb.Scale(m["a"] + 0 * m["c"][0]), "a")},
        ["its function reads 'c'"],
    ),
    "reads all leaves": (
        {"b": bt.dependent(of_all, "a")},
        ["its function reads 'b', 'c', which"],
    ),
    "no bijector": (
        {"b": bt.dependent(lambda m: m["a"], "a")},
        ["at 'b'", "its function returned float32 array of shape (), not a bijector"],
    ),
    "a bijector of another event shape": (
        {"b": bt.dependent(lambda m: tfb.Scale(m["c"]), "c")},
        ["scale would turn the leaf's shape () into (3,)"],
    ),
    "an opaque bijector": (
        {"b": bt.dependent(lambda m: Opaque(m["a"]), "a")},
        ["opaque is no JAX pytree, so it cannot depend on a leaf"],
    ),
    "another bijector at each call": (
        {"b": bt.dependent(inline, "a")},
        ["its function makes another inline at each call"],
    ),
    "a choice by value": (
        {"b": bt.dependent(lambda m: tfb.Exp() if m["a"] > 0 else tfb.Scale(2.0), "a")},
        ["at 'b'", "TracerBoolConversionError"],
    ),
    "a function that raises": (
        {"b": bt.dependent(lambda m: m["x"], "a")},
        ["at 'b'", "KeyError: 'x'"],
    ),
    "location_scale that broadcasts the leaf": (
        {"b": bt.location_scale("a", "c")},
        ["affine would turn the leaf's shape () into (3,)"],
    ),
    "location_scale of a typo": (
        {"b": bt.location_scale("aa", "c")},
        ["`on` of the dependent names 'aa', which matches nothing; nearest paths: 'a'"],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_names_the_paths(name):
    items, parts = BAD[name]
    model = plain()
    with pytest.raises(ValueError, match="Reparam: the spec does not fit") as caught:
        bt.Reparam(model, dict.fromkeys(model) | items)
    text = str(caught.value)
    for part in parts:
        assert part in text


def test_all_faults_come_at_once():
    items = {
        "a": bt.dependent(of_all, "a"),
        "b": bt.tied("zz"),
        "c": bt.joint(tfb.Ascending(), over=("c", "x")),
    }
    with pytest.raises(ValueError, match="does not fit") as caught:
        bt.Reparam(plain(), dict.fromkeys(plain()) | items)
    for part in ("its function reads", "tied to 'zz'", "names 'x'", "a → a"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bt.joint(3), "joint takes a TFP bijector, got int 3"),
        (lambda: bt.joint(bt.frozen), "joint takes a TFP bijector, got _Frozen frozen"),
        (lambda: bt.dependent(tfb.Exp(), on="a"), "dependent takes a function"),
        (lambda: bt.dependent(3, on="a"), "dependent takes a function, got int 3"),
        (lambda: bt.tied(3), "tied takes the path of a leaf, got int 3"),
        (lambda: bt.tied("a", 3), "takes a function, got int 3"),
        (lambda: bt.location_scale(0.0, 1.0), "neither loc nor scale is a path"),
    ],
    ids=range(7),
)
def test_constructors_refuse_what_they_cannot_mean(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


SWAPPED = {
    "a dict": ({"a": bt.positive(), "b": None}, {"a": jnp.ones(2), "b": jnp.ones(1)}),
    "one leaf": (bt.positive(), jnp.ones(2)),
    "TFP's": ([tfb.Exp(), tfb.Softplus()], [jnp.ones(2), jnp.ones(3)]),
    "with numbers": ({"a": bt.interval(0.0, jnp.ones(2))}, {"a": jnp.full(2, 0.5)}),
    "frozen": ({"a": bt.frozen}, {"a": jnp.ones(2)}),
    "another structure": ({"a": bt.positive()}, {"a": jnp.ones(2), "b": jnp.ones(1)}),
    "joint": ({"a": bt.joint(bt.ordered_vector())}, {"a": [jnp.ones(()), jnp.ones(())]}),
}


@pytest.mark.parametrize("name", SWAPPED)
def test_a_spec_in_the_place_of_the_model_is_refused(name):
    spec, model = SWAPPED[name]
    with pytest.raises(TypeError, match=r"the arguments are Reparam\(model, spec\)"):
        bt.Reparam(spec, model)


def test_a_model_that_holds_a_bijector_is_not_swapped():
    model = {"flow": bt.positive(), "x": jnp.ones(2)}
    assert bt.Reparam(model, {"flow": None, "x": bt.positive()}).dim == 2


@pytest.mark.parametrize("arguments", [(), (1,), (bt.positive(),)], ids=str)
def test_frozen_is_no_function(arguments):
    with pytest.raises(TypeError, match="bt.frozen is no function"):
        bt.frozen(*arguments)


class Distribution(eqx.Module):
    """A model of the user with the name of a class that is looked for."""

    x: Any

    def log_prob(self, value):
        return -(value**2)


class Bijector(Distribution):
    pass


class Constraint(Distribution):
    pass


class Joint(Distribution):
    pass


class Normal(Distribution):
    pass


@pytest.mark.parametrize("cls", [Distribution, Bijector, Constraint, Joint, Normal])
def test_a_name_is_no_type(cls):
    model = {"node": cls(jnp.array([1.0, 2.0]))}
    spec = {"node": cls(bt.positive())}
    reparam = bt.Reparam(model, spec)
    np.testing.assert_allclose(reparam.inverse(model)["node"].x, np.log([1.0, 2.0]))
    prior = {"node": cls(bt.tfd.Gamma(2.0, 1.0))}
    posterior = bt.Posterior(reparam, None, prior=prior)
    expected = np.log([1.0, 2.0]).sum() - 3.0
    np.testing.assert_allclose(posterior.log_prior(model), expected, rtol=1e-6)


def test_labels_stay_apart():
    model = {"a": jnp.ones(2), "a.0": jnp.ones(()), "b": jnp.ones(())}
    with pytest.raises(ValueError, match=r"'a.0' and the elements of 'a'"):
        bt.Reparam(model, {"a": bt.joint(tfb.Exp(), ("a", "b")), "a.0": None, "b": None})
    model = {name: jnp.array(0.5) for name in "abcd"}
    two = [bt.joint(bt.simplex(), over=tuple(pair)) for pair in ("ab", "cd")]
    spec = {"a": two[0], "b": None, "c": two[1], "d": None}
    assert bt.Reparam(model, spec).labels == ["a+b.0", "c+d.0"]
