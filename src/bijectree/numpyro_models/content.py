"""What tells a traced program from others."""

import hashlib
import re
import uuid
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, jaxpr_as_fun

from ..substrate import BIND_ERRORS

# Where an object lies in memory, which JAX prints of functions.
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


# What the digest of a program begins with that is like no other.
_UNIQUE = "like no other: "


def content_of(program: ClosedJaxpr) -> str:
    """A digest of a program's operations, of its derivatives' own, and of all numbers.

    A program with a traced number, or with a function that is called from outside of it
    or has a derivative that cannot be looked into, is like no other.
    """
    programs = [program]
    primitives = {eqn.primitive.name for eqn in _equations(program)}
    if any("callback" in name for name in primitives):
        return _UNIQUE + uuid.uuid4().hex
    if any(name.startswith("custom_") for name in primitives):
        # Rules of derivatives are functions, whose numbers show where they are used.
        try:
            programs.append(_derivative(program))
        except BIND_ERRORS:
            return _UNIQUE + uuid.uuid4().hex
    digest = hashlib.sha256()
    for each in programs:
        digest.update(_ADDRESS.sub("", str(each)).encode())
        for number in _numbers(each):
            if isinstance(number, Tracer):
                return _UNIQUE + uuid.uuid4().hex
            if jnp.issubdtype(jnp.result_type(number), jax.dtypes.prng_key):
                number = jax.random.key_data(number)
            digest.update(np.asarray(number).tobytes())
    return digest.hexdigest()


def is_like_no_other(content: str) -> bool:
    """Whether a digest tells nothing of what is in a program."""
    return content.startswith(_UNIQUE)


def _derivative(program: ClosedJaxpr) -> ClosedJaxpr:
    """The program of the derivative of all that is a float, in reverse."""
    avals = program.in_avals
    floats = [jnp.issubdtype(x.dtype, jnp.floating) for x in avals]

    def pull(*given: Any) -> Any:
        def of_floats(*some: Any) -> list[Any]:
            rest = iter(some)
            made = jaxpr_as_fun(program)(
                *(next(rest) if yes else x for yes, x in zip(floats, given, strict=True))
            )
            return [x for x in made if jnp.issubdtype(x.dtype, jnp.floating)]

        some = [x for yes, x in zip(floats, given, strict=True) if yes]
        found, back = jax.vjp(of_floats, *some)
        return back([jnp.ones_like(x) for x in found])

    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in avals]
    return jax.make_jaxpr(pull)(*shapes)


def _equations(program: Any) -> Iterator[Any]:
    """The equations of a program, and of those within it."""
    for eqn in getattr(program, "jaxpr", program).eqns:
        yield eqn
        for part in jax.tree.leaves(eqn.params, is_leaf=_is_program):
            if _is_program(part):
                yield from _equations(part)


def _numbers(program: Any) -> Iterator[Any]:
    """The constants and literals of a program, and of those within it."""
    yield from getattr(program, "consts", ())
    for eqn in getattr(program, "jaxpr", program).eqns:
        yield from (x.val for x in eqn.invars if isinstance(x, Literal))
        for part in jax.tree.leaves(eqn.params, is_leaf=_is_program):
            if _is_program(part):
                yield from _numbers(part)


def _is_program(x: Any) -> bool:
    return isinstance(x, (ClosedJaxpr, Jaxpr))
