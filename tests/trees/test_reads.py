"""What a function reads beside its arguments is seen to change, and to stay the same."""

import dataclasses
import functools
import types

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bijectree.trees import PicklableTreedef, StaticLeaf
from bijectree.trees.reads import reads

NUMBER, TEXT, ARRAY = 2.0, "a", np.arange(3.0)
JAX, TABLE, ITEMS = jnp.arange(3.0), {"y": np.ones(2), "n": 3}, [1.0, (2.0, {"k": 4})]
SPACE = types.SimpleNamespace(y=np.zeros(2))


def number(x):
    return NUMBER * x


def text(x):
    return x[TEXT]


def array(x):
    return ARRAY + x


def of_jax(x):
    return JAX + x


def table(x):
    return TABLE["y"] + x


def items(x):
    return ITEMS[0] + x


def space(x):
    return SPACE.y + x


def nested(x):
    return [(lambda: NUMBER * k)() for k in range(int(x))]


def through_a_helper(x):
    return number(x) + 1


@functools.wraps(number)
def wrapped(x):
    return number(x)


@jax.jit
def compiled(x):
    return NUMBER * x


@dataclasses.dataclass
class Settings:
    scale: float = 1.0

    def __call__(self, x):
        return self.scale * x * NUMBER


class Module(eqx.Module):
    weight: jax.Array

    def at(self, x):
        return self.weight * x * NUMBER

    @property
    def doubled(self):
        return 2 * NUMBER


FUNCTIONS = {
    "number": (number, "NUMBER", 3.0),
    "a zero's sign": (number, "NUMBER", -0.0),
    "text": (text, "TEXT", "b"),
    "NumPy's array": (array, "ARRAY", np.arange(1, 4.0)),
    "another dtype": (array, "ARRAY", np.arange(3)),
    "JAX's array": (of_jax, "JAX", jnp.ones(3)),
    "table": (table, "TABLE", {"y": np.ones(2), "n": 4}),
    "items": (items, "ITEMS", [1.0, (2.0, {"k": 5})]),
    "namespace": (space, "SPACE", types.SimpleNamespace(y=np.ones(2))),
    "nested": (nested, "NUMBER", 3.0),
    "helper": (through_a_helper, "NUMBER", 3.0),
    "another helper": (through_a_helper, "number", lambda x: x),
    "wrapped": (wrapped, "NUMBER", 3.0),
    "compiled": (compiled, "NUMBER", 3.0),
    "partial": (functools.partial(number, 1), "NUMBER", 3.0),
    "call": (Settings(), "NUMBER", 3.0),
    "bound method": (Settings().__call__, "NUMBER", 3.0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_another_global(name, monkeypatch):
    function, read, other = FUNCTIONS[name]
    before = reads(function)
    assert reads(function) == before
    assert hash(reads(function)) == hash(before)
    monkeypatch.setitem(globals(), read, other)
    assert reads(function) != before
    monkeypatch.undo()
    assert reads(function) == before


@pytest.mark.parametrize(
    ("function", "change"),
    [
        (array, lambda: ARRAY.__setitem__(0, 9.0)),
        (table, lambda: TABLE["y"].__setitem__(0, 9.0)),
        (table, lambda: TABLE.update(z=1)),
        (items, lambda: ITEMS.append(1)),
        (space, lambda: SPACE.y.__setitem__(0, 9.0)),
        (space, lambda: setattr(SPACE, "z", 1)),
    ],
)
def test_what_is_changed_in_place(function, change, monkeypatch):
    monkeypatch.setitem(globals(), "ARRAY", np.arange(3.0))
    monkeypatch.setitem(globals(), "TABLE", {"y": np.ones(2)})
    monkeypatch.setitem(globals(), "ITEMS", [1.0])
    monkeypatch.setitem(globals(), "SPACE", types.SimpleNamespace(y=np.zeros(2)))
    before = reads(function)
    change()
    assert reads(function) != before


def test_closures_defaults_and_the_state_of_an_object():
    scale = 1.0

    def closure(x, shift=np.zeros(2)):  # noqa: B008
        return scale * x + shift

    before = reads(closure)
    scale = 2.0
    assert reads(closure) != before
    before = reads(closure)
    closure.__defaults__[0][0] = 1.0
    assert reads(closure) != before
    settings = Settings()
    before = reads(settings), reads(settings.__call__)
    settings.scale = 2.0
    assert reads(settings) != before[0]
    assert reads(settings.__call__) != before[1]


def test_names_that_are_not_read_do_not_count(monkeypatch):
    before = reads(number)
    monkeypatch.setitem(globals(), "ARRAY", np.ones(3))
    monkeypatch.setitem(globals(), "JAX", jnp.ones(3))
    assert reads(number) == before


def test_installed_functions_and_modules_are_not_looked_into():
    def function(x):
        return jnp.sum(jax.nn.softplus(np.asarray(x))) + eqx.nn.MLP

    assert len(reads(function)) < 30
    assert len(reads(jnp.sum)) < 5


def test_functions_that_call_each_other_and_objects_that_hold_themselves():
    def even(n):
        return n == 0 or odd(n - 1)

    def odd(n):
        return n != 0 and even(n - 1)

    assert reads(even) == reads(even)
    loop = []
    loop.append(loop)
    assert reads(loop) == reads(loop)
    chain = None
    for _ in range(5000):
        chain = [chain]
    assert isinstance(reads(chain), tuple)  # too deep to be looked into: like no other


def test_long_containers_are_told_by_their_content():
    numbers = list(range(5000))
    before = reads(numbers)
    assert before == reads(list(range(5000)))
    assert len(before) < 5
    numbers[7] = 0
    assert reads(numbers) != before


def test_a_jax_array_is_not_kept_alive():
    import weakref

    array = jnp.ones(3)
    kept, alive = reads([array]), weakref.ref(array)
    del array
    assert alive() is None
    assert kept != reads([jnp.ones(3)])


def test_leaves_and_structures(monkeypatch):
    module = Module(jnp.ones(2))
    structure = jax.tree.structure(module)
    # A method of a module is a pytree, whose function is part of the structure.
    method = jax.tree.structure(module.at)
    before = StaticLeaf(number), PicklableTreedef(structure), PicklableTreedef(method)
    assert all(x.as_read_now() is x for x in before)
    monkeypatch.setitem(globals(), "NUMBER", 3.0)
    now = [x.as_read_now() for x in before]
    assert all(a != b for a, b in zip(now, before, strict=True))
    assert all(x.as_read_now() is x for x in now)
    leaf = StaticLeaf(3)
    assert leaf.as_read_now() is leaf
