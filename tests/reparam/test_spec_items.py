"""What may stand in a spec, and the faults of one that does not fit."""

import copy
import pickle

import equinox as eqx
import jax
import jax.numpy as jnp
import models
import numpy as np
import pytest
from jaxtyping import Array

import bijectree as bt
from bijectree import tfb, tfd


def test_frozen_is_one_object():
    assert copy.deepcopy(bt.frozen) is pickle.loads(pickle.dumps(bt.frozen)) is bt.frozen
    assert repr(bt.frozen) == "frozen"


def test_a_spec_may_be_a_mirror_a_prefix_or_by_hand():
    model = models.nested()
    mirror = bt.by_path(model, {"**.scale": tfb.Exp(), "head": bt.frozen})
    layer = models.Layer(tfb.Exp(), None, name="not the model's")
    by_hand = models.Nested([layer, layer], bt.frozen, None, None, None)
    free = [bt.Reparam(model, spec).inverse(model) for spec in (mirror, by_hand)]
    assert eqx.tree_equal(*free)
    assert bt.Reparam(model, None).dim == bt.Reparam(model, tfb.Identity()).dim == 11
    assert bt.Reparam(model, bt.frozen).dim == 0


def test_a_bijector_above_leaves_that_are_no_arrays_leaves_them_alone():
    model = {"n": 3, "x": jnp.array(2.0), "table": jnp.arange(2), "f": jnp.tanh}
    reparam = bt.Reparam(model, tfb.Exp())
    assert reparam.labels == ["x"]
    assert reparam.forward(reparam.inverse(model))["n"] == 3


def test_all_static_faults_come_in_one_error():
    model = models.nested()
    spec = models.Nested(
        [
            models.Layer(tfb.Ascending(), 1.0),
            models.Layer(tfb.Scale([2.0, 3.0]), bt.by_path),
        ],
        models.PowerLaw(tfd.Normal(0.0, 1.0), tfb.Ascending()),
        tfb.Exp(),
        None,
        tfb.Exp(),
    )
    with pytest.raises(ValueError, match="the spec does not fit the model") as caught:
        bt.Reparam(model, spec)
    lines = str(caught.value).splitlines()[1:]
    assert len(lines) == 7
    text = "\n".join(lines)
    for part in (
        "at 'layers.0.shift': got float 1.0; expected a TFP bijector, None",
        "at 'layers.1.scale': scale does not fit float32 array of shape ()",
        "at 'layers.1.shift': got the function by_path; expected a TFP bijector",
        "at 'head.amplitude': got the distribution Normal",
        "at 'head.power': ascending does not fit float32 array of shape ()",
        "exp stands where no inexact array is: 'count' is int 7",
        "exp stands where no inexact array is: 'table' is int32 array of shape (4,)",
    ):
        assert part in text
    assert isinstance(caught.value.__cause__, ExceptionGroup)


def test_structure_faults_say_where_and_what_stood_there():
    model = {"a": {"b": jnp.ones(1), "c": jnp.ones(1)}}
    with pytest.raises(ValueError, match=r"at 'a': 'd' is not in the model") as caught:
        bt.Reparam(model, {"a": {"b": None, "d": tfb.Exp()}})
    assert "at 'a': 'c' is missing" in str(caught.value)


def test_a_complex_leaf_is_identity_or_frozen():
    model = {"z": jnp.array([1.0 + 2.0j])}
    reparam = bt.Reparam(model, None)
    free = reparam.inverse(model)
    assert reparam.forward_and_log_det(free)[0]["z"] == model["z"]
    assert reparam.forward_log_det_jacobian(free).dtype == jnp.float32
    assert bt.Reparam(model, bt.frozen).dim == 0
    with pytest.raises(ValueError, match="exp stands at a complex64 leaf"):
        bt.Reparam(model, tfb.Exp())


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ({"a.b": jnp.ones(1), "a": {"b": jnp.ones(1)}}, "2 leaves have the path 'a.b'"),
        ({"a": jnp.ones(2), "a.0": jnp.ones(())}, "'a.0' and the elements of 'a'"),
        ({"a": jnp.ones((2, 2)), "a.1": jnp.ones(2)}, "'a.1' and the elements of 'a'"),
    ],
    ids=["path", "label", "label of a matrix"],
)
def test_leaves_that_no_label_tells_apart_are_refused(model, path):
    with pytest.raises(ValueError, match=path):
        bt.Reparam(model, None)


def test_dotted_keys_that_do_not_collide_are_fine():
    model = {"a": jnp.ones(2), "a.b": jnp.ones(2), "a.0": jnp.ones(3)}
    assert bt.Reparam(model, {"a": bt.frozen, "a.b": None, "a.0": None}).dim == 5


class Normal(eqx.Module):
    """A model that is a distribution of its own."""

    loc: Array
    scale: Array

    def log_prob(self, x):
        return -(((x - self.loc) / self.scale) ** 2)


def test_a_model_may_have_a_log_prob():
    model = {"a": Normal(jnp.ones(2), jnp.ones(2))}
    spec = bt.by_path(model, {"a.scale": tfb.Exp()})
    assert bt.Reparam(model, spec).dim == 4


def test_an_empty_key_is_refused():
    with pytest.raises(ValueError, match="'a.' has an empty part"):
        bt.Reparam({"a": {"": jnp.ones(1), "b": jnp.ones(1)}}, None)


def test_numpy_leaves_are_arrays():
    model = {"a": np.ones(2, np.float32), "b": np.float32(2.0), "c": np.arange(2)}
    reparam = bt.Reparam(model, {"a": tfb.Exp(), "b": tfb.Exp(), "c": None})
    assert reparam.dim == 3
    assert isinstance(reparam.forward(reparam.inverse(model))["a"], jax.Array)
