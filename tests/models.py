"""Models of every sort that JAX flattens."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array


class PowerLaw(eqx.Module):
    amplitude: Array
    power: Array


class Layer(eqx.Module):
    scale: Array
    shift: Array
    name: str = eqx.field(static=True, default="layer")


class Nested(eqx.Module):
    layers: list[Layer]
    head: PowerLaw
    count: int
    link: Callable
    table: Array  # integers
    maybe: Array | None = None


class Pair(NamedTuple):
    first: Any
    second: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Registered:
    x: Any
    y: Any


@jax.tree_util.register_pytree_node_class
class Plain:
    """Registered without names of its children."""

    def __init__(self, a: Any, b: Any):
        self.a, self.b = a, b

    def tree_flatten(self):
        return (self.a, self.b), None

    @classmethod
    def tree_unflatten(cls, aux, children):
        return cls(*children)


def link(x: Array) -> Array:
    return jnp.tanh(x)


def power_law() -> PowerLaw:
    return PowerLaw(jnp.array([1.0, 2.0]), jnp.array(0.5))


def nested() -> Nested:
    return Nested(
        layers=[
            Layer(jnp.array([1.0, 2.0, 3.0]), jnp.zeros(3)),
            Layer(jnp.array(4.0), jnp.array(-1.0)),
        ],
        head=power_law(),
        count=7,
        link=link,
        table=jnp.arange(4),
    )


ALL = {
    "MLP": lambda: eqx.nn.MLP(2, 2, 4, 1, key=jax.random.key(0)),
    "nested": nested,
    "module": power_law,
    "dict": lambda: {"b": jnp.ones(2), "a": {"c": jnp.array(1.0), "d": 3}},
    "list": lambda: [jnp.ones(2), (jnp.ones((2, 2)), "text", None)],
    "named tuple": lambda: Pair(jnp.ones(2), jnp.array(1.0)),
    "registered": lambda: Registered(jnp.ones(2), {"z": jnp.ones(())}),
    "plain": lambda: Plain(jnp.ones(2), jnp.ones(1)),
    "array": lambda: jnp.ones(3),
    "empty": lambda: {},
    "no arrays": lambda: {"a": 1, "f": jnp.tanh},
    "None": lambda: None,
}
