"""The latent sites of a model: their names and shapes, or why they cannot be leaves."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .. import priors
from ..inference import optional_import
from ..substrate import BIND_ERRORS
from .running import Site, is_latent, onto_support, parts_of, run


class Found(NamedTuple):
    """What was found of a model's sites, by their names.

    Attributes:
        latents: the shapes of the latent ones.
        params: the parameters without a value by a handler, as they would begin.
        faults: why sites cannot be taken over.
    """

    latents: dict[str, tuple[int, ...]]
    params: dict[str, Any]
    faults: dict[str, str]


def find_latents(
    model: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Found:
    """Find the latent sites of a model whose arrays may be traced."""
    faults: dict[str, str] = {}
    given: set[str] = set()

    def fill(site: Site) -> Any:
        name, value = site["name"], site["value"]
        if site["type"] == "plate" and value is None:
            faults[name] = _OF_PLATE
            return jnp.arange(site["args"][1])
        if site["type"] == "param":
            given.update([] if value is None else [name])
            return _initial(site) if value is None else None
        if not is_latent(site):
            return None
        if value is not None:
            faults[name] = _SUBSTITUTED
            return None
        shape = (*site["kwargs"].get("sample_shape", ()), *site["fn"].shape())
        return jnp.zeros(shape, int if _is_discrete(site["fn"]) else float)

    try:
        sites = run(model, args, kwargs, fill)
    except BIND_ERRORS:
        if not faults:
            raise
        return Found({}, {}, faults)
    latents = {name: site for name, site in sites.items() if is_latent(site)}
    for name, site in latents.items():
        fault = _why_no_leaf(name, site, sites)
        if fault:
            faults.setdefault(name, fault)
    shapes = {name: jnp.shape(site["value"]) for name, site in latents.items()}
    params = {
        name: site["value"]
        for name, site in sites.items()
        if site["type"] == "param" and name not in given
    }
    return Found(shapes, params, faults)


def _why_no_leaf(name: str, site: Site, sites: Mapping[str, Site]) -> str:
    """Why a latent site cannot be a leaf; "" if it can."""
    parts = parts_of(site["fn"])
    what = priors.name(parts[-1])
    if any(_is_discrete(part) for part in parts):
        return (
            f"is discrete ({what}): sum it out of the model, as MixtureSameFamily does, "
            "or observe it by handlers.condition"
        )
    if what == "Delta":
        return "has a Delta, which allows a single value: use numpyro.deterministic"
    whole = name.removesuffix("_unobserved")
    masked = any(priors.name(part) == "MaskedDistribution" for part in parts)
    if whole != name and masked and f"{whole}_observed" in sites:
        return (
            f"comes of the `obs_mask` of '{whole}': where '{whole}' is observed it is "
            "neither in a prior nor in the likelihood, so its posterior is improper. "
            "Sample the missing values as a site of their own, of their number"
        )
    try:
        onto_support(site["fn"])
    except (TypeError, ValueError) as error:
        return f"has no known support: {error}"
    return ""


def _is_discrete(distribution: Any) -> bool:
    support = getattr(distribution, "support", None)
    return bool(getattr(support, "is_discrete", False))


def _initial(site: Site) -> Any:
    """The value with which a parameter would begin, for some key where it is random."""
    handlers = optional_import("numpyro.handlers")
    with handlers.seed(rng_seed=0):
        return site["fn"](*site["args"], **site["kwargs"])


_OF_PLATE = (
    "is a plate of which a part is drawn (subsample_size): the density would be another "
    "one with each part. Leave subsample_size out, or say which part, by "
    "handlers.substitute(model, {plate: indices})"
)
_SUBSTITUTED = (
    "has a value by handlers.substitute, and is not observed: use handlers.condition, "
    "which observes it, or leave it out to infer it"
)


def shapes_of(latents: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """The model whose leaves are latent sites, as shapes."""
    dtype = jnp.result_type(float)
    return {
        name: jax.ShapeDtypeStruct(shape, dtype)
        for name, shape in sorted(latents.items())
    }
