"""A model function with its arguments, traced once and cut into parts."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jax.interpreters.partial_eval import dce_jaxpr
from jaxtyping import Array, PyTree

from .. import priors
from ..posterior import Function
from ..substrate import BIND_ERRORS
from ..trees import HashedOnce, PicklableTreedef, StaticLeaf, raise_all
from .content import content_of
from .latents import find_latents, shapes_of
from .recording import Record, record
from .running import Site, is_latent, run


@dataclasses.dataclass(frozen=True, eq=False)
class Program(HashedOnce):
    """A model function with its arguments, without the arrays among these.

    Attributes:
        structure: of the model function, its arguments and its keyword arguments.
        fixed: for each leaf of these its value, or `None` for an array.
        avals: the shapes and dtypes of the arrays.
        latents: the latent sites, by name, with their shapes.
        content: a digest of what was traced. The same function is another program where
            something that it reads beside its arguments has changed.
    """

    structure: PicklableTreedef
    fixed: tuple[StaticLeaf | None, ...]
    avals: tuple[tuple[tuple[int, ...], Any], ...]
    latents: tuple[tuple[str, tuple[int, ...]], ...] = ()
    content: str = ""

    def call(self, arrays: Sequence[Any]) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        """The model function, its arguments and its keyword arguments."""
        given = iter(arrays)
        leaves = [next(given) if f is None else f.value for f in self.fixed]
        return priors.put_together(self.structure.treedef.unflatten(leaves))

    @property
    def arrays(self) -> list[jax.ShapeDtypeStruct]:
        """The arrays' shapes, and their dtypes in the precision that is set now."""
        canonical = functools.partial(
            jax.dtypes.canonicalize_dtype, allow_extended_dtype=True
        )
        return [jax.ShapeDtypeStruct(shape, canonical(d)) for shape, d in self.avals]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the latent sites."""
        return tuple(name for name, _ in self.latents)

    def run(self, arrays: Sequence[Any], values: Mapping[str, Any]) -> dict[str, Site]:
        """Run the model function at values of its latent sites.

        Raises:
            ValueError: it has other latent sites than when it was taken over.
        """

        def value_of(site: Site) -> Any:
            return values.get(site["name"]) if is_latent(site) else None

        sites = run(*self.call(arrays), value_of)
        found = {name for name, site in sites.items() if is_latent(site)}
        if found != set(self.names):
            other = ", ".join(f"'{name}'" for name in sorted(found ^ set(self.names)))
            raise ValueError(
                f"the model has other latent sites than when it was taken over: {other}"
            )
        return sites

    def trace(self) -> "Traced":
        """Trace the program in the precision that is set now, once."""
        wide = jnp.result_type(float) == np.float64
        if wide not in self._traced:
            self._traced[wide] = _trace(self)
        return self._traced[wide]

    @functools.cached_property
    def _traced(self) -> dict[bool, "Traced"]:
        return {}


class Part(NamedTuple):
    """What some results of a program need of it.

    Attributes:
        run: takes the arrays and the values that are read, and returns the results'
            leaves.
        structure: of the results.
        arrays: which of the arrays are read.
        values: which of the latent sites are read.
    """

    run: Callable[..., Any]
    structure: Any
    arrays: tuple[int, ...]
    values: tuple[str, ...]

    def __call__(self, arrays: Mapping[int, Any], values: Mapping[str, Any]) -> PyTree:
        """The results, of arrays by their number and values by their names."""
        read = [jnp.asarray(arrays[i]) for i in self.arrays]
        read += [jnp.asarray(values[name], float) for name in self.values]
        return self.structure.unflatten(self.run(*read))

    def compiled(self) -> "Part":
        """The same, which JAX compiles where it is not traced."""
        return self._replace(run=jax.jit(self.run))


class Traced:
    """A program that was traced, in one precision.

    Attributes:
        record: what of the sites is no array.
        shapes: the shapes of all results, by their kind and the name of their site.
    """

    def __init__(
        self, program: Program, jaxpr: ClosedJaxpr, shapes: PyTree, record: Record
    ):
        self.record = record
        self.shapes = shapes
        self._program, self._jaxpr = program, jaxpr
        self._numbers = jtu.tree_structure(shapes).unflatten(
            range(len(jaxpr.jaxpr.outvars))
        )
        self._parts: dict[tuple[tuple[str, str], ...], Part] = {}

    @property
    def content(self) -> str:
        """A digest of what was traced."""
        return content_of(self._jaxpr)

    def part(self, *keys: tuple[str, str]) -> Part:
        """The part for results, each by its kind and the name of its site."""
        if keys not in self._parts:
            part = self._cut([self._numbers[kind][name] for kind, name in keys])
            # Among the numbers of a prior are leaves that set it as they are. What is
            # compiled would hide that.
            plain = any(kind in ("numbers", "onto") for kind, _ in keys)
            self._parts[keys] = part if plain else part.compiled()
        return self._parts[keys]

    def _cut(self, wanted: list[PyTree]) -> Part:
        numbers, structure = jtu.tree_flatten(wanted)
        jaxpr = self._jaxpr.jaxpr
        chosen = jaxpr.replace(
            outvars=[jaxpr.outvars[n] for n in numbers],
            debug_info=jaxpr.debug_info.with_unknown_names(),
        )
        own, used = dce_jaxpr(chosen, [True] * len(numbers))
        count = len(self._program.avals)
        names = sorted(self._program.names)
        return Part(
            jaxpr_as_fun(self._jaxpr.replace(jaxpr=own)),
            structure,
            tuple(i for i, read in enumerate(used[:count]) if read),
            tuple(n for n, read in zip(names, used[count:], strict=True) if read),
        )


def _trace(program: Program) -> Traced:
    found: list[Record] = []

    def results(arrays: list[Any], values: dict[str, Array]) -> PyTree:
        made, results = record(program.run(arrays, values))
        found.append(made)
        return results

    values = shapes_of(dict(program.latents))
    traced = jax.make_jaxpr(results, return_shape=True)
    jaxpr, shapes = traced(program.arrays, values)
    return Traced(program, jaxpr, shapes, found[0])


def take_over(
    model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Program, tuple[Any, ...]]:
    """A model function with its arguments as a program, and the arrays among these.

    Arrays whose values the model's Python code asks for are a part of the program.

    Raises:
        ValueError: sites that cannot be taken over; all are listed.
        Exception: whatever the model itself raises.
    """
    given = Function((model, args, kwargs))
    program, arrays, faults = _with_fewest_constants(given)
    raise_all(
        "from_numpyro: some sites of the model cannot be taken over",
        (f"'{name}' {fault}" for name, fault in faults.items()),
    )
    return program, arrays


# A program, the arrays that are none of its constants, and why it is refused, by site.
Look = tuple[Program, tuple[Any, ...], dict[str, str]]


def _with_fewest_constants(given: Function) -> Look:
    for is_constant in (_is_none, _is_no_float):
        try:
            return _look_into(given, is_constant)
        except BIND_ERRORS:  # with all arrays as constants the model says what is wrong
            continue
    try:
        return _look_into(given, _is_any)
    except _ASKS_FOR_VALUES as error:
        said = str(error).partition("\n")[0]
        raise ValueError(
            "from_numpyro: the Python code of the model asks for the value of a latent "
            "site, so that its sites, or their shapes, could change with it; use "
            f"jnp.where or jax.lax.cond. JAX says: {said}"
        ) from error


def _look_into(given: Function, is_constant: Callable[[Any], bool]) -> Look:
    arrays, fixed, rest = iter(given.arrays), [], []
    for leaf in given.fixed:
        array = next(arrays) if leaf is None else None
        if array is not None and is_constant(array):
            leaf = StaticLeaf(array)
        elif array is not None:
            rest.append(array)
        fixed.append(leaf)
    avals = tuple((jnp.shape(x), _dtype_of(x)) for x in rest)
    program = Program(given.structure, tuple(fixed), avals)
    found: list[tuple[dict[str, tuple[int, ...]], dict[str, str]]] = []

    def look(*arrays: Any) -> None:
        found.append(find_latents(*program.call(arrays)))

    jax.eval_shape(look, *program.arrays)
    shapes, faults = found[-1]
    program = dataclasses.replace(program, latents=tuple(sorted(shapes.items())))
    if not faults:
        traces, content = program._traced, program.trace().content
        program = dataclasses.replace(program, content=content)
        program._traced.update(traces)
    return program, tuple(rest), faults


def _dtype_of(x: Any) -> Any:
    """The dtype of an array, that of a random key too, in any precision."""
    return x.dtype if isinstance(x, jax.Array) else np.asarray(x).dtype


def _is_none(x: Any) -> bool:
    return False


def _is_no_float(x: Any) -> bool:
    return not jnp.issubdtype(x.dtype, jnp.inexact)


def _is_any(x: Any) -> bool:
    return True


_ASKS_FOR_VALUES = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
)
