"""What functions read in less common ways."""

import collections
import functools
import types
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import pytest

from bijectree.trees.reads import reads

SCALE = 1.0


def slots() -> Iterator[Any]:
    class Held:
        __slots__ = ("k",)

    held = Held()
    held.k = 1.0
    yield lambda m: held.k * m
    held.k = 2.0


def class_attribute() -> Iterator[Any]:
    class Held:
        k = types.SimpleNamespace(scale=1.0)

    yield lambda m: Held.k.scale * m
    Held.k.scale = 2.0


def attribute_of_function() -> Iterator[Any]:
    def f(m: Any) -> Any:
        return f.k * m

    f.k = 1.0
    yield f
    f.k = 2.0


def wrapper_within_jit() -> Iterator[Any]:
    k = [1.0]

    def scaled(g: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(g)
        def wrapper(m: Any) -> Any:
            return k[0] * g(m)

        return wrapper

    yield jax.jit(scaled(lambda m: m))
    k[0] = 2.0


def array_of_objects() -> Iterator[Any]:
    rows = np.empty(1, object)
    rows[0] = [1.0]
    yield lambda m: rows[0][0] * m
    rows[0][0] = 2.0


def deque() -> Iterator[Any]:
    rows = collections.deque([1.0])
    yield lambda m: rows[0] * m
    rows[0] = 2.0


@pytest.mark.parametrize(
    "case",
    [
        slots,
        class_attribute,
        attribute_of_function,
        wrapper_within_jit,
        array_of_objects,
        deque,
    ],
)
def test_change_is_seen(case: Callable[[], Iterator[Any]]) -> None:
    steps = case()
    function = next(steps)
    before = reads(function)
    assert reads(function) == before
    next(steps, None)
    assert reads(function) != before


def test_attribute_named_as_a_global_is_no_global(monkeypatch: Any) -> None:
    def f(m: Any) -> Any:
        return m.SCALE

    before = reads(f)
    monkeypatch.setitem(globals(), "SCALE", 2.0)
    assert reads(f) == before


def test_objects_that_raise_and_deep_ones() -> None:
    class Raises:
        def __getattr__(self, name: str) -> Any:
            raise KeyError(name)

    linked: list[Any] = []
    for _ in range(5000):
        linked = [linked]
    held = Raises(), linked, range(10**9)

    def f(m: Any) -> Any:
        return held, m

    assert reads(f) == reads(f)
