"""A model function run under NumPyro's handlers."""

import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any

from .. import priors
from ..inference import optional_import
from ..substrate import standard_promotion

# What NumPyro calls a message, and we a site: a dictionary of what is known of it.
Site = dict[str, Any]


def run(
    model: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    value_of: Callable[[Site], Any],
) -> dict[str, Site]:
    """Run a model function.

    Args:
        model: a NumPyro model.
        args: of the model.
        kwargs: of the model.
        value_of: gives a site its value; `None` leaves it what it has.

    Returns:
        The sites by name, in the order in which they were met.

    Raises:
        ValueError: the model asks for a random key.
    """
    handlers = optional_import("numpyro.handlers")
    with standard_promotion():
        substituted = handlers.substitute(_keyless()(model), substitute_fn=value_of)
        return handlers.trace(substituted).get_trace(*args, **kwargs)


@functools.cache
def _keyless() -> Any:
    """The handler that refuses to give a model random keys."""
    primitives = optional_import("numpyro.primitives")

    class Keyless(primitives.Messenger):
        def process_message(self, msg: Site) -> None:
            wanted = msg["type"] == "prng_key" and msg["value"] is None
            if wanted and msg["kwargs"]["rng_key"] is None:
                raise ValueError(
                    "from_numpyro: the model asks for a random key, by numpyro.prng_key "
                    "or at a site that handlers.block hides: its density would be "
                    "another one with each key. Wrap it in handlers.seed(model, 0), "
                    "which holds the key"
                )

    return Keyless


def without_reparam(model: Any) -> Any:
    """A model without the `handlers.reparam` that it is wrapped in, at any depth."""
    handlers = optional_import("numpyro.handlers")
    primitives = optional_import("numpyro.primitives")
    if isinstance(model, handlers.reparam) and model.fn is not None:
        return without_reparam(model.fn)
    if isinstance(model, functools.partial):
        inner = without_reparam(model.func)
        same = inner is model.func
        return model if same else functools.partial(inner, *model.args, **model.keywords)
    if isinstance(model, primitives.Messenger) and model.fn is not None:
        inner = without_reparam(model.fn)
        if inner is not model.fn:
            model = copy.copy(model)
            model.fn = inner
    return model


def values_given(model: Any) -> set[str]:
    """The names of sites to which handlers around a model give values."""
    found: set[str] = set()
    while model is not None:
        found |= set(getattr(model, "data", None) or {})
        model = getattr(model, "fn", None) or getattr(model, "func", None)
    return found


def is_latent(site: Site) -> bool:
    """Whether a site is drawn and not observed."""
    return site["type"] == "sample" and not site["is_observed"]


def is_factor(site: Site) -> bool:
    """Whether an observed site is a term of the density and no observation."""
    return site["infer"].get("is_auxiliary", False)


def parts_of(distribution: Any) -> list[Any]:
    """A distribution, and those that it sums, expands or masks, from the outside in."""
    found = [distribution]
    while type(found[-1]).__name__ in _WRAPPERS:
        found.append(found[-1].base_dist)
    return found


def onto_support(distribution: Any) -> Any:
    """The bijector onto the support of a distribution, which may hold one of TFP.

    Raises:
        ValueError: it is not known, or there is none.
    """
    of_tfp = getattr(parts_of(distribution)[-1], "tfp_dist", None)
    return priors.bijector_for(distribution if of_tfp is None else of_tfp)


_WRAPPERS = ("ExpandedDistribution", "Independent", "MaskedDistribution")
