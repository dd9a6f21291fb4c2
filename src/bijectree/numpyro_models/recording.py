"""What is kept of the sites of a model that was run."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax.core import Tracer
from jaxtyping import Array, PyTree

from .. import priors
from ..inference import optional_import
from ..substrate import Recipe, split, standard_promotion
from .running import Site, is_factor, is_latent, onto_support, parts_of


class Prior(NamedTuple):
    """What is kept of a latent site's distribution, but for numbers.

    Attributes:
        recipe: of the distribution, if it can be made again of its numbers and gives the
            site's density by itself; else `None`.
        constant: the distribution itself, if nothing in it is traced; else `None`.
        onto: the recipe of the bijector onto its support.
        flat: whether the site is masked as a whole, so that its density is 1.
    """

    recipe: Recipe | None
    constant: Any
    onto: Recipe
    flat: bool = False


class Record(NamedTuple):
    """What is kept of a program, but for arrays.

    Attributes:
        priors: of the latent sites, by name.
        observed: the names of the sites that are observed, but for factors.
        axes: for each site the plate of each of its axes, `None` for others.
    """

    priors: dict[str, Prior]
    observed: tuple[str, ...]
    axes: dict[str, tuple[str | None, ...]]


def record(sites: Mapping[str, Site]) -> tuple[Record, dict[str, dict[str, PyTree]]]:
    """What is kept of sites: what is no array, and the arrays by their kind and site.

    The kinds are, for latent sites: "numbers", of the distribution, "onto", those of the
    bijector onto its support, and "density", the site's log-density; for others with a
    density "terms", the log-density of each batch element; for observed ones "value"; and
    "deterministic".
    """
    found: dict[str, Prior] = {}
    observed: list[str] = []
    results: dict[str, dict[str, PyTree]] = {kind: {} for kind in _KINDS}
    with standard_promotion():
        for name, site in sites.items():
            if is_latent(site):
                found[name], numbers, onto = _prior(site)
                results["numbers"][name], results["onto"][name] = numbers, onto
                results["density"][name] = jnp.sum(_terms(site))
            elif site["type"] == "sample":
                results["terms"][name] = _terms(site)
                results["value"][name] = jnp.asarray(site["value"])
                observed += [] if is_factor(site) else [name]
            elif site["type"] == "deterministic":
                results["deterministic"][name] = jax.tree.map(jnp.asarray, site["value"])
    axes = {
        name: _plates_of(site)
        for name, site in sites.items()
        if name in found or name in observed
    }
    return Record(found, tuple(observed), axes), results


_KINDS = ("numbers", "onto", "density", "terms", "value", "deterministic")


def _plates_of(site: Site) -> tuple[str | None, ...]:
    """The plate of each axis of a site's value."""
    shape = jnp.shape(site["value"])
    names: list[str | None] = [None] * len(shape)
    for plate in site["cond_indep_stack"]:
        i = len(shape) - len(site["fn"].event_shape) + plate.dim
        if i >= 0 and shape[i] == plate.size:
            names[i] = plate.name
    return tuple(names)


def _terms(site: Site) -> Array:
    """The log-densities of a site, as NumPyro counts them."""
    found = jnp.asarray(site["fn"].log_prob(site["value"]))
    found = found if _is_one(site["scale"]) else site["scale"] * found
    return found if jnp.issubdtype(found.dtype, jnp.floating) else found.astype(float)


def _is_one(scale: Any) -> bool:
    util = optional_import("numpyro.distributions.util")
    return scale is None or util.is_identically_one(scale)


def _prior(site: Site) -> tuple[Prior, tuple[Any, ...], tuple[Any, ...]]:
    """What is kept of a latent site's distribution, its numbers, and its bijector's."""
    distribution = _with_floats(_unmasked(site["fn"]))
    onto, numbers_onto = split(onto_support(distribution))
    parts = parts_of(distribution)
    masks = [part._mask for part in parts if priors.name(part) == "MaskedDistribution"]
    of_tfp = hasattr(parts[-1], "tfp_dist")
    known = priors.is_proven(distribution) and not of_tfp
    if masks or not known or not _is_one(site["scale"]):
        flat = any(mask is False for mask in masks)
        return Prior(None, None, onto, flat), (), numbers_onto
    recipe, numbers = priors.split(distribution)
    traced = any(isinstance(x, Tracer) for x in jtu.tree_leaves(distribution))
    return (
        Prior(recipe, None if traced else distribution, onto),
        tuple(map(jnp.asarray, numbers)),
        numbers_onto,
    )


def _unmasked(distribution: Any) -> Any:
    """A distribution without a mask around it that lets all through."""
    masked = priors.name(distribution) == "MaskedDistribution"
    return (
        distribution.base_dist if masked and distribution._mask is True else distribution
    )


def _with_floats(distribution: Any) -> Any:
    """A distribution whose traced integers are floats, as the numbers of priors are."""

    def as_float(x: Any) -> Any:
        inexact = jnp.issubdtype(jnp.result_type(x), jnp.inexact)
        return x.astype(float) if isinstance(x, Tracer) and not inexact else x

    leaves = jtu.tree_leaves(distribution)
    if all(as_float(x) is x for x in leaves):
        return distribution
    return jax.tree.map(as_float, distribution)
