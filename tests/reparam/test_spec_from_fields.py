"""`spec_from_fields`: bijectors that the fields of a model's classes declare."""

import dataclasses
from typing import Annotated, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import models
import pytest
from jaxtyping import Array, Float

import bijectree as bt
from bijectree import tfb


class Noise(eqx.Module):
    scale: Array = eqx.field(metadata={"bijector": tfb.Exp()})
    mean: Annotated[Float[Array, " n"], bt.frozen]
    free: Array


class Outer(eqx.Module):
    noises: list[Noise]
    inner: Annotated[models.PowerLaw, tfb.Softplus()]
    label: str = eqx.field(static=True, default="outer")


class Tuple(NamedTuple):
    rate: Annotated[Array, tfb.Exp()]
    plain: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Data:
    x: Annotated[Array, tfb.Sigmoid()]
    y: Array


def test_fields_declare_bijectors_at_any_depth():
    noise = Noise(jnp.ones(2), jnp.ones(3), jnp.ones(1))
    model = {
        "outer": Outer([noise, noise], models.power_law()),
        "t": Tuple(jnp.ones(1), jnp.ones(1)),
    }
    model["data"] = Data(jnp.full(2, 0.5), jnp.ones(1))
    spec = bt.spec_from_fields(model)
    assert spec["outer"].noises[1].scale.name == "exp"
    assert spec["outer"].noises[0].mean is bt.frozen
    assert spec["outer"].noises[0].free is None
    assert spec["outer"].inner.power.name == "softplus"
    assert spec["t"].rate.name == "exp"
    assert spec["t"].plain is None
    assert spec["data"].x.name == "sigmoid"
    assert bt.Reparam(model, spec).dim == 2 * (2 + 1) + 3 + 2 + 3


def test_the_outer_declaration_wins():
    class Holder(eqx.Module):
        noise: Annotated[Noise, bt.frozen]

    spec = bt.spec_from_fields(Holder(Noise(jnp.ones(1), jnp.ones(1), jnp.ones(1))))
    assert spec.noise.scale is spec.noise.free is bt.frozen


def test_declarations_without_effect_are_all_reported():
    class Bad(eqx.Module):
        n: Annotated[int, tfb.Exp()]
        fixed: Annotated[str, tfb.Exp()] = eqx.field(static=True, default="s")
        x: Array = eqx.field(default=None, metadata={"bijector": tfb.Exp()})

    with pytest.raises(ValueError, match="have no effect") as caught:
        bt.spec_from_fields({"bad": Bad(3)})
    text = str(caught.value)
    assert "'bad.n' declares" in text
    assert "int 3" in text
    assert "'fixed' of Bad at 'bad'" in text
    assert "'bad.x' declares" in text


def test_other_annotations_mean_nothing():
    class Other(eqx.Module):
        x: Annotated[Array, "a note"]
        y: "Undefined"  # noqa: F821

    spec = bt.spec_from_fields(Other(jnp.ones(1), jnp.ones(1)))
    assert spec.x is spec.y is None
