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
from ..trees import HashedOnce, PicklableTreedef, StaticLeaf
from .content import content_of, is_like_no_other
from .latents import shapes_of
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
        params: the parameters without a value, on which nothing may depend: their names,
            structures, and the shapes and dtypes of their leaves.
        content: a digest of what was traced. The same function is another program where
            something that it reads beside its arguments has changed.
        wide: whether that was traced in float64.
    """

    structure: PicklableTreedef
    fixed: tuple[StaticLeaf | None, ...]
    avals: tuple[tuple[tuple[int, ...], Any], ...]
    latents: tuple[tuple[str, tuple[int, ...]], ...] = ()
    params: tuple[tuple[str, PicklableTreedef, tuple[Any, ...]], ...] = ()
    content: str = ""
    wide: bool = False

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

    @property
    def parameters(self) -> dict[str, PyTree]:
        """The shapes of the parameters without a value, by name."""
        return {
            name: structure.treedef.unflatten(jax.ShapeDtypeStruct(*x) for x in avals)
            for name, structure, avals in self.params
        }

    def run(self, arrays: Sequence[Any], values: Mapping[str, Any]) -> dict[str, Site]:
        """Run the model function at values of its latent sites and parameters.

        Raises:
            ValueError: it has other latent sites than when it was taken over.
        """

        def value_of(site: Site) -> Any:
            wanted = is_latent(site) or site["type"] == "param"
            return values.get(site["name"]) if wanted else None

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
        wide = _is_wide()
        if wide not in self._traced:
            self.require_unchanged()
            self._traced[wide] = _trace(self)
        return self._traced[wide]

    def require_unchanged(self) -> None:
        """Raise if the model function is no longer what was taken over.

        Raises:
            ValueError: something that it reads beside its arguments has changed.
        """
        if not self.content or is_like_no_other(self.content):
            return
        with jax.enable_x64(self.wide):
            now = content_of(_trace(self).jaxpr)
        if now != self.content:
            raise ValueError(
                "from_numpyro: the model function has changed since it was taken over: a "
                "number that it reads beside its arguments, such as a global one, is "
                "another. Take it over again, with the number as an argument"
            )

    def with_content(self) -> "Program":
        """The program with the digest of what was traced."""
        content = content_of(self.trace().jaxpr)
        made = dataclasses.replace(self, content=content, wide=_is_wide())
        made._traced.update(self._traced)
        return made

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
        jaxpr: the program.
        shapes: the shapes of all results, by their kind and the name of their site.
    """

    def __init__(
        self, program: Program, jaxpr: ClosedJaxpr, shapes: PyTree, record: Record
    ):
        self.record = record
        self.shapes = shapes
        self._program, self.jaxpr = program, jaxpr
        self._numbers = jtu.tree_structure(shapes).unflatten(
            range(len(jaxpr.jaxpr.outvars))
        )
        self._parts: dict[tuple[tuple[str, str], ...], Part] = {}

    def part(self, *keys: tuple[str, str]) -> Part:
        """The part for results, each by its kind and the name of its site."""
        if keys not in self._parts:
            part = self._cut([self._numbers[kind][name] for kind, name in keys])
            # Among the numbers of a prior are leaves that set it as they are. What is
            # compiled would hide that.
            plain = any(kind in ("numbers", "onto") for kind, _ in keys)
            self._parts[keys] = part if plain else part.compiled()
        return self._parts[keys]

    def parameters_read(self) -> tuple[str, ...]:
        """The names of the parameters without a value that some result depends on."""
        jaxpr = self.jaxpr.jaxpr
        _, used = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
        found, start = [], len(self._program.avals)
        for name, _, avals in self._program.params:
            found += [name] if any(used[start : start + len(avals)]) else []
            start += len(avals)
        return tuple(found)

    def _cut(self, wanted: list[PyTree]) -> Part:
        numbers, structure = jtu.tree_flatten(wanted)
        jaxpr = self.jaxpr.jaxpr
        chosen = jaxpr.replace(
            outvars=[jaxpr.outvars[n] for n in numbers],
            debug_info=jaxpr.debug_info.with_unknown_names(),
        )
        own, used = dce_jaxpr(chosen, [True] * len(numbers))
        names = sorted(self._program.names)
        count, last = len(self._program.avals), len(used) - len(names)
        return Part(
            jaxpr_as_fun(self.jaxpr.replace(jaxpr=own)),
            structure,
            tuple(i for i, read in enumerate(used[:count]) if read),
            tuple(n for n, read in zip(names, used[last:], strict=True) if read),
        )


def _is_wide() -> bool:
    return jnp.result_type(float) == np.float64


def _trace(program: Program) -> Traced:
    found: list[Record] = []

    def results(
        arrays: list[Any], params: list[PyTree], values: dict[str, Array]
    ) -> PyTree:
        own = dict(zip(program.parameters, params, strict=True))
        made, results = record(program.run(arrays, {**own, **values}))
        found.append(made)
        return results

    values = shapes_of(dict(program.latents))
    traced = jax.make_jaxpr(results, return_shape=True)
    params = [*program.parameters.values()]
    jaxpr, shapes = traced(program.arrays, params, values)
    return Traced(program, jaxpr, shapes, found[0])
