"""`SupportError`: values outside the support of their bijectors."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array

from ..trees import is_spread
from .bound import Bound


class SupportError(ValueError):
    """Values of a model lie outside the support of their bijectors."""

    __module__ = "bijectree"  # as users import it, and as tracebacks name it


def _error_if(leaf: Array, mask: Array, message: str) -> Array:
    """A leaf, or an error if some of a mask is true; NaN where there are several devices.

    If one device raised, the others would wait for it for ever. `eqx.error_if` brings
    all that it is given to one device, so it gets a scalar.
    """
    wrong = mask.any()
    if jax.device_count() == 1:
        wrong = eqx.error_if(jnp.zeros((), bool), wrong, message)
    return jnp.where(wrong, jnp.asarray(jnp.nan, leaf.dtype), leaf)


def counts_of(masks: Sequence[Array]) -> list[int]:
    """How many of each mask are true; of small ones without a program for each shape."""
    small = [mask.size < 4096 and not is_spread(mask) for mask in masks]
    parts = [x if here else jnp.sum(x) for x, here in zip(masks, small, strict=True)]
    return [int(np.sum(x)) for x in jax.device_get(parts)]


def raise_off_then(bound: Bound, masks: Sequence[tuple[Any, int, Array]]) -> None:
    """Raise for coordinates that an outer bijector does not map onto, unless traced."""
    for kind, slot, mask in masks:
        if isinstance(mask, Tracer) or not mask.any():
            continue
        name = kind.recipe.build(bound.numbers[slot]).name
        labels = bound.plan.labels
        off = np.flatnonzero(np.broadcast_to(mask, len(labels)))
        raise SupportError(
            f"the coordinates {', '.join(labels[i] for i in off[:5])} of the model are "
            f"outside what {name}, given to `then`, maps onto"
        )
