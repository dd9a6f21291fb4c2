"""Bijectors that the table of facts does not know, verified once for their numbers.

A class in the table is known by its formula, and costs nothing here. Of any other, or of
a composition that no fact speaks of, the map is differentiated at three random free
points: its Jacobian has full rank, the log-det is that of autodiff in minimal
coordinates, and the inverse comes back.
"""

import functools
import hashlib
import math
import re
import weakref
from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jaxtyping import Array

from .. import substrate
from ..numerics import run_in_numpy
from ..substrate import BIND_ERRORS, CALL_ERRORS, Kind, Linearised, all_parts
from .support import knowledge_of
from .verdict import Verdict, judge, judge_precision

# Events with more free coordinates, and leaves with more entries of Jacobian, are not
# differentiated as they are.
MOST_COORDINATES = 256
MOST_ENTRIES = 4_000_000

# The kinds that were verified, each for which numbers.
_verified: weakref.WeakKeyDictionary[Kind, set[bytes]] = weakref.WeakKeyDictionary()
_MOST_KEPT = 1024


def why_unproven(bijector: Any, kind: Kind, numbers: tuple[Any, ...]) -> tuple[str, ...]:
    """What is wrong with a bijector that is bound to a leaf.

    Args:
        bijector: of the kind, with these numbers; `None` if it is not made yet.
        kind: what it does to the leaf.
        numbers: of the bijector. Where they are traced, or known by their shapes alone,
            the map is tried with random ones, which may not be what it takes: then only a
            wrong log-det is a fault, where the map is else as it should be.

    Returns:
        Every fault, in the words of `check`; empty if the table of facts knows the
        composition, or it was verified.
    """
    guessed = any(isinstance(n, (Tracer, jax.ShapeDtypeStruct)) for n in numbers)
    if guessed:
        numbers = _stand_ins(numbers)
        with jax.ensure_compile_time_eval():
            bijector = kind.recipe.build(numbers)
    elif bijector is None:
        bijector = kind.recipe.build(numbers)
    knowledge = knowledge_of(bijector)
    if knowledge.proven or not math.prod(kind.free_shape):
        return ()
    if guessed and any(getattr(b, "derived_numbers", False) for b in all_parts(bijector)):
        return ()  # with random numbers for some of them it would be no map at all
    if guessed:
        verdict = verify(kind, numbers, bijector)
        return tuple(verdict.failures) if verdict.only_the_log_det else ()
    if knowledge.fault:
        return (knowledge.fault,)
    # A map may be one to one for some numbers and not for others, as a power is.
    these, seen = _digest(numbers), _verified.setdefault(kind, set())
    if these in seen:
        return ()
    faults = tuple(verify(kind, numbers, bijector).failures)
    if not faults:
        if len(seen) >= _MOST_KEPT:
            seen.clear()
        seen.add(these)
    return faults


def _digest(numbers: tuple[Any, ...]) -> bytes:
    """What tells numbers of one kind from others."""
    found = hashlib.blake2b(digest_size=16)
    for n in numbers:
        found.update(np.ascontiguousarray(n).tobytes())
    return found.digest()


def verify(kind: Kind, numbers: tuple[Any, ...], bijector: Any) -> Verdict:
    """Hold a bijector to its promises at random free points, whatever is known of it.

    Of a large leaf, a smaller one is looked at, if the bijector takes it; where it does
    not take another event, the map is followed along random directions alone.

    Args:
        kind: what it does to a leaf.
        numbers: of the bijector, not traced.
        bijector: of the kind, with these numbers.
    """
    try:
        with jax.enable_x64(True):
            verdict, found = _verify(kind, numbers, bijector, np.dtype(np.float64))
        if found is not None and not verdict.failures:
            _check_precision(kind, numbers, found, verdict)
        return verdict
    except jax.errors.JAXTypeError:
        return Verdict()  # An opaque bijector holds traced numbers, which have no values.
    except CALL_ERRORS as error:
        if kind.compute_dtype == np.float64:
            return verdict_of_error(bijector.name, error)
    try:  # without float64, on which some do not compute
        return _verify(kind, numbers, bijector, kind.compute_dtype)[0]
    except CALL_ERRORS as error:
        return verdict_of_error(bijector.name, error)


def verdict_of_error(name: str, error: Exception) -> Verdict:
    """The verdict on a bijector that raised an error when it was called."""
    said = str(error)
    # What a program raises while it runs comes with the traceback of another thread.
    raised_within = re.findall(r"^[\w.]*Error: .*$", said, re.MULTILINE)
    if "Traceback" in said and raised_within:
        said = raised_within[-1]
    said = " ".join(said.split())
    return Verdict([f"{name} raised {type(error).__name__}: {said[:300]}"])


def _verify(
    kind: Kind, numbers: tuple[Any, ...], bijector: Any, dtype: np.dtype
) -> tuple[Verdict, Linearised | None]:
    kind = _smaller(kind, numbers, dtype)
    if not differentiable(kind):
        return _along_directions(kind, numbers), None
    points = _points(kind)
    found = substrate.linearise(kind, numbers, points, most=MOST_COORDINATES)
    return judge(bijector, kind.event_ndims, found, near=0), found


def _check_precision(
    kind: Kind, numbers: tuple[Any, ...], found: Linearised, verdict: Verdict
) -> None:
    """Ask for the log-det in the precision of the leaf too."""
    if kind.compute_dtype == found.dtype:
        return
    kind = _smaller(kind, numbers, kind.compute_dtype)
    points = _points(kind)
    if points[0].size != found.free[0].size:
        return
    own = functools.partial(substrate.forward_and_log_det, kind, numbers)
    program = jax.make_jaxpr(own)(points[0])
    for point, x in enumerate(points):
        got = float(run_in_numpy(program, x)[1])
        judge_precision(found, point, got, kind.compute_dtype, verdict)


def differentiable(kind: Kind) -> bool:
    """Whether the Jacobian of a leaf's events is small enough to be computed."""
    events, inputs = substrate.event_sizes(kind)
    entries = max(inputs, 1) * max(math.prod(kind.shape), events * inputs)
    return inputs <= MOST_COORDINATES and entries <= MOST_ENTRIES


def _points(kind: Kind) -> np.ndarray:
    """A point near 0, and two further out, where each coordinate has either sign."""
    random = np.random.default_rng(0)
    signs = random.choice([-1.0, 1.0], kind.free_shape)
    small, large, larger = (
        random.uniform(a, b, kind.free_shape) for a, b in ((0.1, 1), (1, 2.5), (1, 2.5))
    )
    return np.stack([signs * small, -signs * large, signs * larger]).astype(kind.dtype)


def _smaller(kind: Kind, numbers: tuple[Any, ...], dtype: np.dtype) -> Kind:
    """The kind for a leaf of a few events, small ones, if the bijector takes one.

    The bijector's class decides: one that was made for its event's size, or has a number
    for each element, raises, and the leaf is looked at as it is.
    """
    batch = len(kind.shape) - kind.event_ndims
    few = tuple(min(n, 2) for n in kind.shape[:batch])
    event = kind.shape[batch:]
    shapes = [(*few, *event)]
    if not differentiable(kind) and substrate.event_sizes(kind)[1] > MOST_COORDINATES:
        shapes = [(*few, *(min(n, size) for n in event)) for size in (4, 6, 3)] + shapes
    for shape in shapes:
        try:
            found = substrate.bind(kind.recipe, numbers, shape, dtype)
        except BIND_ERRORS:
            continue
        if found.event_ndims == kind.event_ndims and math.prod(found.free_shape):
            return found
    return substrate.with_dtype(kind, dtype, numbers)


def _stand_ins(numbers: tuple[Any, ...]) -> tuple[Any, ...]:
    """Random positive numbers where the values are not known."""
    random = np.random.default_rng(0)
    return tuple(
        random.uniform(0.5, 1.5, n.shape).astype(n.dtype)
        if isinstance(n, (Tracer, jax.ShapeDtypeStruct))
        else n
        for n in numbers
    )


def _along_directions(kind: Kind, numbers: tuple[Any, ...]) -> Verdict:
    """Whether the inverse comes back, and its derivatives undo those of the map.

    A determinant of thousands of coordinates takes too long to compute; that the
    inverse's Jacobian undoes the map's, along a few directions, shows that neither is
    singular there, and no more.
    """
    numbers = substrate.cast_numbers(numbers, kind.dtype)
    forward = functools.partial(substrate.forward, kind, numbers)
    inverse = functools.partial(substrate.inverse, kind, numbers)

    def there_and_back(x: Array, tangent: Array) -> tuple[Array, Array]:
        y, along = jax.jvp(forward, (x,), (tangent,))
        return jax.jvp(inverse, (y + 0,), (along,))

    verdict = Verdict(log_det="not checked (size)")
    x = _points(kind)[0]
    directions = np.random.default_rng(1).normal(size=(2, *x.shape)).astype(x.dtype)
    program = jax.make_jaxpr(there_and_back)(x, x)
    close = functools.partial(np.allclose, rtol=1e-3, atol=1e-3)
    for tangent in directions:
        again, back = run_in_numpy(program, x, tangent)
        if not close(again, x) or not close(back, tangent):
            verdict.failures.append(
                "not bijective here: the inverse does not come back, or its derivative "
                "along a random direction does not undo that of forward"
            )
            break
    return verdict
