"""Functions of a model to what one site has there."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from .. import priors
from .program import Part, Program


class SiteDistribution(eqx.Module):
    """A function from the model to the distribution of a latent site."""

    program: Program = eqx.field(static=True)
    name: str = eqx.field(static=True)
    arrays: dict[int, Any]

    def __init__(self, program: Program, name: str, arrays: tuple[Any, ...]):
        self.program, self.name = program, name
        self.arrays = read_by(program.traced.part(("numbers", name)), arrays)

    def __call__(self, model: PyTree) -> Any:
        traced = self.program.traced
        (numbers,) = traced.part(("numbers", self.name))(self.arrays, model)
        recipe = traced.record.priors[self.name].recipe
        assert recipe is not None
        return priors.build(recipe, numbers)


class SiteSupport(eqx.Module):
    """A function from the model to the bijector onto the support of a latent site."""

    program: Program = eqx.field(static=True)
    name: str = eqx.field(static=True)
    arrays: dict[int, Any]

    def __init__(self, program: Program, name: str, arrays: tuple[Any, ...]):
        self.program, self.name = program, name
        self.arrays = read_by(program.traced.part(("onto", name)), arrays)

    def __call__(self, model: PyTree) -> Any:
        traced = self.program.traced
        (numbers,) = traced.part(("onto", self.name))(self.arrays, model)
        return traced.record.priors[self.name].onto.build(numbers)


class SiteDensity(eqx.Module):
    """A function from the model to the density of latent sites, as the model has it.

    Where a site's distribution depends on the site itself, as in a scan, or is scaled or
    masked, no distribution of a library gives its density.
    """

    program: Program = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)
    arrays: dict[int, Any]

    def __init__(self, program: Program, names: tuple[str, ...], arrays: tuple[Any, ...]):
        self.program, self.names = program, names
        self.arrays = read_by(self.part, arrays)

    @property
    def part(self) -> Part:
        """What the density needs of the program."""
        return self.program.traced.part(*(("density", name) for name in self.names))

    def __call__(self, model: PyTree) -> "DensityOfModel":
        others = {name: model[name] for name in self.part.values if name != self.names[0]}
        shape = dict(self.program.latents)[self.names[0]]
        return DensityOfModel(self, others, shape)


class DensityOfModel(eqx.Module):
    """The density of a latent site as its model has it, given other sites.

    Attributes:
        site: the site, and those whose density is counted with it.
        others: the values of other sites that set it.
        event_shape: the shape of the site.
        batch_shape: empty, since its elements need not be independent.
    """

    site: SiteDensity
    others: dict[str, Array]
    event_shape: tuple[int, ...] = eqx.field(static=True)
    batch_shape: tuple[int, ...] = eqx.field(static=True, default=())

    def log_prob(self, value: Array) -> Float[Array, ""]:
        """The log-density of a value of the site."""
        found = self.site.part(
            self.site.arrays, {**self.others, self.site.names[0]: value}
        )
        return sum(found, start=jnp.zeros((), found[0].dtype))


def read_by(part: Part, arrays: tuple[Any, ...]) -> dict[int, Any]:
    """Those of a program's arrays that a part reads, by number."""
    return {i: arrays[i] for i in part.arrays}
