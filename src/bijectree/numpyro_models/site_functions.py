"""Functions of a model to what one site has there."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from .. import priors
from .program import Part, Program
from .simulating import draw_latent


class SiteDistribution(eqx.Module):
    """A function from the model to the distribution of a latent site."""

    program: Program = eqx.field(static=True)
    name: str = eqx.field(static=True)
    arrays: dict[int, Any]

    def __init__(self, program: Program, name: str, arrays: tuple[Any, ...]):
        self.program, self.name = program, name
        self.arrays = read_by(program.trace().part(("numbers", name)), arrays)

    def __call__(self, model: PyTree) -> Any:
        """The distribution, given the sites that set it."""
        traced = self.program.trace()
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
        self.arrays = read_by(program.trace().part(("onto", name)), arrays)

    def __call__(self, model: PyTree) -> Any:
        """The bijector, given the sites that set it."""
        traced = self.program.trace()
        (numbers,) = traced.part(("onto", self.name))(self.arrays, model)
        return traced.record.priors[self.name].onto.build(numbers)


class SiteDensity(eqx.Module):
    """A function from the model to the density of a latent site, as the model has it.

    Where the distribution of a site depends on the site itself, as in a scan, or is
    scaled or masked, no distribution of a library gives its density.

    Attributes:
        program: the model function.
        name: of the site.
        counted: the sites whose densities are counted here. Of sites that depend on each
            other in a cycle, one counts those of all.
        arrays: those among the program's arrays that are read.
    """

    program: Program = eqx.field(static=True)
    name: str = eqx.field(static=True)
    counted: tuple[str, ...] = eqx.field(static=True)
    arrays: dict[int, Any]

    def __init__(
        self,
        program: Program,
        name: str,
        counted: tuple[str, ...],
        arrays: tuple[Any, ...],
    ):
        self.program, self.name, self.counted = program, name, counted
        self.arrays = read_by(self.part, arrays)

    @property
    def part(self) -> Part:
        """What the density needs of the program."""
        return self.program.trace().part(*(("density", name) for name in self.counted))

    def __call__(self, model: PyTree) -> "DensityOfModel":
        """The density of the site, given the others that it depends on."""
        others = {name: model[name] for name in self.part.values if name != self.name}
        return DensityOfModel(self, others, dict(self.program.latents)[self.name])


class DensityOfModel(eqx.Module):
    """The density of a latent site as its model has it, given other sites.

    Attributes:
        site: what is known of the site.
        others: the values of other sites that set the density.
        event_shape: the shape of the site.
        batch_shape: empty, since its elements need not be independent.
    """

    site: SiteDensity
    others: dict[str, Array]
    event_shape: tuple[int, ...] = eqx.field(static=True)
    batch_shape: tuple[int, ...] = eqx.field(static=True, default=())

    def log_prob(self, value: Array) -> Float[Array, ""]:
        """The log-density of a value of the site."""
        values = {**self.others, self.site.name: value}
        found = self.site.part(self.site.arrays, values)
        return sum(found, start=jnp.zeros((), value.dtype))

    def sample(self, key: PRNGKeyArray, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw the site, by the model run forward.

        Raises:
            NotImplementedError: the density counts other sites than this one, or is
                scaled or masked, so that it need not be one that can be drawn from.
        """
        program, name = self.site.program, self.site.name
        if self.site.counted != (name,):
            raise NotImplementedError("it and other sites depend on each other")
        if program.trace().record.priors[name].recipe is None:
            raise NotImplementedError(
                "it is scaled or masked, or its class is not known to be right"
            )

        def one(key: PRNGKeyArray) -> Array:
            return draw_latent(program, self.site.arrays, name, self.others, key)

        drawn = jax.vmap(one)(jax.random.split(key, math.prod(sample_shape)))
        return drawn.reshape(*sample_shape, *self.event_shape)


def read_by(part: Part, arrays: tuple[Any, ...]) -> dict[int, Any]:
    """Those of a program's arrays that a part reads, by number."""
    return {i: arrays[i] for i in part.arrays}
