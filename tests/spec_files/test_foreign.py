"""Transforms of other packages in a file: named by the caller, or refused by path."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import bijectree as bt
from bijectree import tfb

pytestmark = pytest.mark.jax_defaults

transforms = pytest.importorskip("numpyro.distributions.transforms")
MODEL = {"a": jnp.array([0.5, 2.0]), "b": jnp.array([0.2, 0.8])}


def specs(transform: Any) -> dict[str, Any]:
    return {
        "alone": {"a": transform, "b": None},
        "wrapped": {"a": bt.bijector_for(transform), "b": None},
        "masked": {"a": bt.masked(transform, [True, False]), "b": None},
        "joint": {"a": (joint := bt.joint(transform)), "b": joint},
    }


@pytest.mark.parametrize("name", specs(transforms.ExpTransform()))
def test_with_a_name(name, tmp_path):
    exp = transforms.AffineTransform(0.1, 2.0)
    path = tmp_path / "spec.toml"
    spec = specs(exp)[name]
    reparam = bt.Reparam(MODEL, spec)
    written = []
    for item in (spec, reparam):
        bt.save_spec(path, item, functions={"affine": exp})
        written.append(path.read_text())
        assert 'name = "affine"' in path.read_text()
        back = bt.load_spec(path, MODEL, functions={"affine": exp})
        again = bt.Reparam(MODEL, back)
        assert again.bound.plan == reparam.bound.plan
        for x, y in zip(again.inverse(MODEL), reparam.inverse(MODEL), strict=True):
            assert x == y
    if name != "joint":  # a Reparam spells out what a joint is over
        assert written[0] == written[1]


def test_of_several_the_right_one(tmp_path):
    path = tmp_path / "spec.toml"
    affines = {f"by {n}": transforms.AffineTransform(0.0, float(n)) for n in (2, 3)}
    spec = {"a": affines["by 3"], "b": affines["by 2"]}
    bt.save_spec(path, bt.Reparam(MODEL, spec), functions=affines)
    back = bt.load_spec(path, MODEL, functions=affines)
    assert back["a"] is affines["by 3"]
    assert back["b"] is affines["by 2"]


def test_in_a_chain_with_a_name(tmp_path):
    path = tmp_path / "spec.toml"
    chain = tfb.Chain([tfb.Exp(), bt.bijector_for(transforms.AffineTransform(0.0, 2.0))])
    bt.save_spec(path, {"a": chain, "b": None}, functions={"mine": chain})
    assert bt.load_spec(path, MODEL, functions={"mine": chain})["a"] is chain


@pytest.mark.parametrize("name", specs(transforms.ExpTransform()))
def test_without_a_name(name, tmp_path):
    path = tmp_path / "spec.toml"
    message = (
        "at 'a': numpyro_ExpTransform is a transform .*functions={'name': transform}"
    )
    for item in (spec := specs(transforms.ExpTransform())[name], bt.Reparam(MODEL, spec)):
        with pytest.raises(ValueError, match=message):
            bt.save_spec(path, item)
    assert not [*tmp_path.iterdir()]


def test_in_a_chain_or_put_on_by_then_without_a_name(tmp_path):
    path = tmp_path / "spec.toml"
    exp = bt.bijector_for(transforms.ExpTransform())
    with pytest.raises(ValueError, match="at 'b': .*what it is a part of, a name"):
        bt.save_spec(path, {"a": None, "b": tfb.Invert(tfb.Chain([exp]))})
    reparam = bt.Reparam(MODEL, None).then(transforms.AffineTransform(0.0, 2.0))
    with pytest.raises(ValueError, match="the map 1 put on by `then`: numpyro_Affine"):
        bt.save_spec(path, reparam)
    constraints = pytest.importorskip("numpyro.distributions.constraints")
    with pytest.raises(ValueError, match="at 'a': got the constraint Positive"):
        bt.save_spec(path, {"a": constraints.positive, "b": exp})
    assert not [*tmp_path.iterdir()]


def test_a_model_that_is_made_of_transforms(tmp_path):
    path = tmp_path / "spec.toml"
    affine = transforms.AffineTransform(jnp.array(0.1), jnp.array(2.0))
    model = [affine, transforms.ExpTransform(), jnp.ones(2)]
    spec = bt.by_path(model, {"0.1": bt.positive()})
    reparam = bt.Reparam(model, spec)
    assert reparam.dim == 4
    bt.save_spec(path, reparam)
    assert '"0.1" = "positive"' in path.read_text()
    back = bt.load_spec(path, model)
    assert bt.Reparam(model, back).bound.plan == reparam.bound.plan
    np.testing.assert_array_equal(bt.Reparam(model, back).inverse(model)[2], model[2])
