"""A model function run forward: some of its sites are drawn."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from ..inference import optional_import
from ..substrate import standard_promotion
from .program import Program
from .running import Site, is_factor, is_latent


def draw_observed(
    program: Program, arrays: Sequence[Any], model: Mapping[str, Any], key: PRNGKeyArray
) -> dict[str, Array]:
    """New data at all observed sites, given values of the latent ones.

    Within a scan a step follows on the data that were drawn for the steps before.
    """
    program.require_unchanged()
    handlers = optional_import("numpyro.handlers")

    def drawn(site: Site) -> Any:
        if not site["is_observed"] or is_factor(site):
            return None
        own = jax.random.fold_in(key, np.uint32(zlib.crc32(site["name"].encode())))
        step = site["infer"].get("_scan_current_index")
        return _draw_like(site, own if step is None else jax.random.fold_in(own, step))

    function, args, kwargs = program.call(arrays)
    conditioned = handlers.condition(function, condition_fn=drawn)
    found = _run((conditioned, args, kwargs), model.get, key)
    names = program.trace().record.observed
    return {name: jnp.asarray(found[name]["value"]) for name in names}


def _draw_like(site: Site, key: PRNGKeyArray) -> Any:
    """A draw of an observed site, of the shape of what is observed."""
    distribution, shape = site["fn"], jnp.shape(site["value"])
    own = tuple(distribution.batch_shape)
    given = shape[: len(shape) - len(distribution.event_shape)]
    batch = np.broadcast_shapes(own, given)
    return (distribution if batch == own else distribution.expand(batch)).sample(key)


def draw_latent(
    program: Program,
    arrays: Mapping[int, Any],
    name: str,
    others: Mapping[str, Any],
    key: PRNGKeyArray,
) -> Array:
    """A latent site drawn from its prior, given those that set it."""
    program.require_unchanged()
    shapes = dict(program.latents)
    filled = [
        arrays.get(i, jnp.zeros(x.shape, x.dtype)) for i, x in enumerate(program.arrays)
    ]

    def value_of(other: str) -> Any:
        if other == name:
            return None
        return others.get(other, jnp.zeros(shapes[other], float))

    return _run(program.call(filled), value_of, key)[name]["value"]


def _run(
    call: tuple[Any, tuple[Any, ...], dict[str, Any]],
    value_of: Callable[[str], Any],
    key: PRNGKeyArray,
) -> dict[str, Site]:
    handlers = optional_import("numpyro.handlers")
    model, args, kwargs = call

    def value(site: Site) -> Any:
        return value_of(site["name"]) if is_latent(site) else None

    with standard_promotion():
        substituted = handlers.substitute(model, substitute_fn=value)
        seeded = handlers.seed(substituted, key)
        return handlers.trace(seeded).get_trace(*args, **kwargs)
