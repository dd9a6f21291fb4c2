"""A traced program run by NumPy, one operation after another.

XLA compiles for hundreds of milliseconds what NumPy computes in one. A program that runs
a few times on small arrays, such as the Jacobian of a bijector that is verified, is
better not compiled.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import eval_jaxpr
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Primitive

from .operations import ELEMENTWISE, OF_ARRAYS


def run_in_numpy(program: ClosedJaxpr, *arguments: Any) -> list[Any]:
    """Run what `jax.make_jaxpr` has traced.

    Operations that are not known here, such as a sort, are JAX's, which compiles each of
    them by itself.

    Args:
        program: takes and returns arrays.
        *arguments: arrays of the shapes and dtypes that it was traced with.

    Returns:
        Its results, as NumPy arrays of the dtypes that JAX gives. Where JAX gives NaN or
        an infinite number, so does NumPy, without a warning.

    Example:
        >>> import jax
        >>> program = jax.make_jaxpr(lambda x: x * 2 + 1)(1.0)
        >>> run_in_numpy(program, 3.0)
        [array(7., dtype=float32)]
    """
    with np.errstate(all="ignore"):
        return _run(program, arguments)


def call_in_numpy(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns, computed by NumPy.

    Args:
        function: can be traced; where it asks for values, JAX computes it as it is.
        *arguments: pytrees of arrays.

    Returns:
        A pytree of NumPy arrays.
    """
    try:
        program, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
    except jax.errors.JAXTypeError:
        return jax.tree.map(np.asarray, function(*arguments))
    found = run_in_numpy(program, *jax.tree.leaves(arguments))
    return jax.tree.unflatten(jax.tree.structure(shapes), found)


def _run(program: Any, arguments: Sequence[Any]) -> list[Any]:
    # The program is a `ClosedJaxpr`, or a `Jaxpr` without constants.
    jaxpr = getattr(program, "jaxpr", program)
    values: dict[Any, Any] = {}

    def read(atom: Any) -> Any:
        if isinstance(atom, Literal):
            return np.asarray(atom.val, getattr(atom.aval, "dtype", None))
        return values[atom]

    def write(variables: Sequence[Any], arrays: Sequence[Any]) -> None:
        for variable, x in zip(variables, arrays, strict=True):
            values[variable] = _on_host(x, variable.aval.dtype)

    write(jaxpr.constvars, getattr(program, "consts", ()))
    write(jaxpr.invars, arguments)
    for eqn in jaxpr.eqns:
        write(eqn.outvars, _apply(jaxpr, eqn, [read(atom) for atom in eqn.invars]))
    return [read(atom) for atom in jaxpr.outvars]


def _on_host(x: Any, dtype: Any) -> Any:
    """A NumPy array of a dtype; a PRNG key stays what it is.

    NumPy's functions return scalars for arrays without axes, and promote where JAX does
    not.
    """
    return x if jnp.issubdtype(dtype, jax.dtypes.extended) else np.asarray(x, dtype)


def _apply(jaxpr: Any, eqn: JaxprEqn, operands: list[Any]) -> Sequence[Any]:
    """The results of one operation of a program."""
    name, params = eqn.primitive.name, eqn.params
    found: Any = None
    if all(isinstance(x, np.ndarray) for x in operands):
        if name in ELEMENTWISE:
            found = ELEMENTWISE[name](*operands)
        elif name in OF_ARRAYS:
            found = OF_ARRAYS[name](params, *operands)
    if found is None and name in _PROGRAMS:
        found = _PROGRAMS[name](eqn, operands)
    if found is None:
        found = _by_jax(jaxpr, eqn, operands)
    return found if isinstance(found, (list, tuple)) else [found]


def _by_jax(jaxpr: Any, eqn: JaxprEqn, operands: list[Any]) -> list[Any]:
    """The results of one operation, as JAX computes it outside of any trace."""
    with jax.ensure_compile_time_eval():
        given = {
            atom: jnp.asarray(x) if isinstance(x, np.ndarray) else x
            for atom, x in zip(eqn.invars, operands, strict=True)
            if not isinstance(atom, Literal)
        }
        alone = jaxpr.replace(
            constvars=[], invars=list(given), outvars=eqn.outvars, eqns=[eqn]
        )
        return eval_jaxpr(alone, (), *given.values())


# Operations that run programs within the program.


def _inner(name: str) -> Any:
    return lambda eqn, operands: _run(eqn.params[name], operands)


def _cond(eqn: JaxprEqn, operands: list[Any]) -> list[Any]:
    branches = eqn.params["branches"]
    index = int(np.clip(operands[0], 0, len(branches) - 1))
    return _run(branches[index], operands[1:])


def _while(eqn: JaxprEqn, operands: list[Any]) -> list[Any]:
    params = eqn.params
    n, m = params["cond_nconsts"], params["body_nconsts"]
    of_test, of_body, carry = operands[:n], operands[n : n + m], operands[n + m :]
    while True:
        going = _run(params["cond_jaxpr"], [*of_test, *carry])[0]
        if not going.any():
            return carry
        found = _run(params["body_jaxpr"], [*of_body, *carry])
        # Under `vmap` each member has a test of its own, and stops where it fails.
        carry = found if not going.ndim else _chosen(going, found, carry)


def _chosen(test: np.ndarray, there: list[Any], otherwise: list[Any]) -> list[Any]:
    """The arrays `there` where a test of the leading axes holds, else `otherwise`."""

    def one(a: Any, b: Any) -> Any:
        mask = test.reshape(*test.shape, *[1] * (a.ndim - test.ndim))
        return (
            np.where(mask, a, b) if isinstance(a, np.ndarray) else jnp.where(mask, a, b)
        )

    return [one(a, b) for a, b in zip(there, otherwise, strict=True)]


def _scan(eqn: Any, operands: list[Any]) -> list[Any] | None:
    step, length = eqn.params["jaxpr"], eqn.params["length"]
    if length == 0:
        return None
    # JAX's releases name the counts of constants and carries differently, so ranks tell:
    # a scanned array has an axis more than in the step, a constant or a carry has not.
    inner: Any = getattr(step, "jaxpr", step)
    ranks = [len(variable.aval.shape) for variable in inner.invars]
    first = sum(x.ndim == rank for x, rank in zip(operands, ranks, strict=True))
    pairs = zip(eqn.outvars, inner.outvars, strict=True)
    carried = sum(len(a.aval.shape) == len(b.aval.shape) for a, b in pairs)
    constants, columns = operands[: first - carried], operands[first:]
    carry = operands[first - carried : first]
    rows: list[Any] = [None] * length
    for i in reversed(range(length)) if eqn.params["reverse"] else range(length):
        found = _run(step, [*constants, *carry, *(x[i] for x in columns)])
        carry, rows[i] = found[:carried], found[carried:]
    return [*carry, *(np.stack(column) for column in zip(*rows, strict=True))]


def _random_bits(eqn: JaxprEqn, operands: list[Any]) -> Any:
    """Few bits of one key, cut from more of them, which one program draws.

    JAX compiles its generator anew for each shape. Where Threefry counts the numbers that
    it draws, the first ones are the same whatever the shape is.
    """
    (key,), shape = operands, eqn.params["shape"]
    size = math.prod(shape)
    counts = getattr(jax.config, "jax_threefry_partitionable", False)
    if size > _MOST_BITS or key.ndim or not counts:
        return None
    if jax.random.key_impl(key) != "threefry2x32":
        return None
    with jax.ensure_compile_time_eval():
        drawn = _most_bits(eqn.primitive, eqn.params["bit_width"], key)
    return np.asarray(drawn)[:size].reshape(shape)


_MOST_BITS = 65_536


@functools.partial(jax.jit, static_argnums=(0, 1))
def _most_bits(primitive: Primitive, width: int, key: Any) -> Any:
    return primitive.bind(key, bit_width=width, shape=(_MOST_BITS,))


_PROGRAMS = {
    "random_bits": _random_bits,
    **dict.fromkeys(("jit", "pjit", "remat2", "checkpoint"), _inner("jaxpr")),
    **dict.fromkeys(
        ("closed_call", "custom_jvp_call", "custom_vjp_call"), _inner("call_jaxpr")
    ),
    "cond": _cond,
    "while": _while,
    "scan": _scan,
}
