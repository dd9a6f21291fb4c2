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
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

# Where an object lies in memory, which JAX prints of functions.
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def content_of(program: ClosedJaxpr) -> str:
    """A digest of a program's operations and of all numbers in it.

    One with a traced number is like no other.
    """
    digest = hashlib.sha256(_ADDRESS.sub("", str(program)).encode())
    for number in _numbers(program):
        if isinstance(number, Tracer):
            return uuid.uuid4().hex
        if jnp.issubdtype(jnp.result_type(number), jax.dtypes.prng_key):
            number = jax.random.key_data(number)
        digest.update(np.asarray(number).tobytes())
    return digest.hexdigest()


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
