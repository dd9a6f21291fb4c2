"""Declarations within unions, containers and annotations that are not wholly known."""

from __future__ import annotations

import dataclasses
import typing
from typing import TYPE_CHECKING, Annotated, Any, Generic, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from jaxtyping import Float

import bijectree as bt

if TYPE_CHECKING:
    from jaxtyping import Array

POSITIVE = bt.positive()
T = TypeVar("T")


class Box(eqx.Module, Generic[T]):
    inside: T
    beside: jax.Array


def declared(hint: Any, value: Any) -> Any:
    """The spec of a field with an annotation and a value."""
    cls = type("Model", (eqx.Module,), {"__annotations__": {"field": hint}})
    return bt.spec_from_fields(cls(value)).field


def leaves(spec: Any) -> list[Any]:
    is_item = lambda x: x is None or x is POSITIVE  # noqa: E731
    return jax.tree.leaves(spec, is_leaf=is_item)


ONES = jnp.ones(2)
ITEM = Annotated[jax.Array, POSITIVE]
HELD = {
    "optional": (typing.Optional[ITEM], ONES),  # noqa: UP045
    "union": (ITEM | None, ONES),
    "within": (Annotated[jax.Array | None, POSITIVE], ONES),
    "final": (typing.Final[ITEM], ONES),
    "list": (list[ITEM], [ONES, ONES]),
    "mapping": (dict[str, Annotated[Float[jax.Array, "2"], POSITIVE]], {"a": ONES}),
    "tuple": (tuple[ITEM, ...], (ONES, ONES)),
    "lists": (list[list[ITEM | None]], [[ONES], [ONES]]),
}


@pytest.mark.parametrize("name", HELD)
def test_a_declaration_within_a_union_or_a_container_counts(name):
    assert all(item is POSITIVE for item in leaves(declared(*HELD[name])))


@pytest.mark.parametrize(
    "hint", [ITEM | None, Annotated[jax.Array | None, POSITIVE]], ids=["union", "within"]
)
def test_a_field_that_may_be_absent_may_be(hint):
    assert declared(hint, None) is None


def test_a_field_with_metadata_that_may_be_absent_may_be():
    class Model(eqx.Module):
        field: jax.Array | None = eqx.field(metadata={"bijector": POSITIVE})

    assert bt.spec_from_fields(Model(None)).field is None
    assert bt.spec_from_fields(Model(ONES)).field is POSITIVE


@pytest.mark.parametrize(
    ("hint", "value", "why"),
    [
        (Box[ITEM], Box(ONES, ONES), "whose own fields are to"),
        (tuple[ITEM, Annotated[jax.Array, bt.frozen]], (ONES, ONES), "for a part"),
        (ITEM | Box, ONES, "for a part"),
    ],
    ids=["generic", "tuple", "union"],
)
def test_what_holds_for_a_part_is_refused(hint, value, why):
    with pytest.raises(ValueError, match=why):
        declared(hint, value)


@pytest.mark.parametrize(
    "hint",
    [
        Annotated[jax.Array, "a word"],
        typing.ClassVar[int],
        typing.Callable[[jax.Array], jax.Array],
        typing.Literal["a"],
        Any,
    ],
)
def test_what_declares_nothing(hint):
    cls = type("Model", (eqx.Module,), {"__annotations__": {"field": hint}})
    cls = cls if "field" in {f.name for f in dataclasses.fields(cls)} else None
    assert cls is None or bt.spec_from_fields(cls(ONES)).field is None


class Known(NamedTuple):
    # `Array` is known to type checkers alone, and the annotation is a string.
    scale: Annotated[Array, POSITIVE]
    plain: Array


def test_types_that_only_checkers_know_leave_the_declaration():
    spec = bt.spec_from_fields(Known(ONES, ONES))
    assert spec.scale is POSITIVE
    assert spec.plain is None


def test_bijectors_that_are_not_known_are_an_error():
    local = bt.positive()

    class Model(eqx.Module):
        scale: Annotated[jax.Array, local]
        other: Annotated[no_such_module.Array, POSITIVE]  # noqa: F821

    with pytest.raises(ValueError, match="reads the name 'local'") as raised:
        bt.spec_from_fields(Model(ONES, ONES))
    assert "metadata" in str(raised.value)
    assert "'other' cannot be evaluated" in str(raised.value)
