"""The bijector onto a distribution's support, tried on draws of the distribution."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import substrate
from . import distribution, fit
from .distribution import NoDrawsError
from .facts import has_traced_numbers, is_proven
from .lookup import bijector_for
from .verification import why_wrong

_DRAWS = 1000


def tried_bijector(prior: Any, *, verify: bool) -> tuple[Any, str]:
    """The bijector onto a distribution's support, or why there is none."""
    try:
        recipe, numbers = distribution.split(prior)
        made = distribution.build(recipe, numbers)
    except distribution.ERRORS as error:
        return None, fit.cannot_be_looked_into(prior, error)
    try:
        bijector = bijector_for(made)
    except (ValueError, TypeError) as error:
        return None, str(error)
    if not verify or has_traced_numbers((numbers, bijector)) or is_proven(made):
        return bijector, ""
    return bijector, _missed(prior, bijector) or why_wrong(recipe, numbers, bijector)


def _missed(prior: Any, bijector: Any) -> str:
    """Why draws of a distribution are not in the image of a bijector; "" if all are."""
    # Double precision, so that what is found missing is not just rounded away.
    with jax.enable_x64(True):
        recipe, numbers = distribution.split(prior)
        shape = distribution.sample_shape(prior, _DRAWS)
        key = jax.random.key(0)
        # A class may insist on float32, whatever its numbers are.
        own = getattr(distribution.build(recipe, numbers, np.float64), "dtype", None)
        dtype = np.dtype(np.float32 if own == np.float32 else np.float64)
        try:
            draws = distribution.sample(recipe, dtype, numbers, shape, key)
        except NoDrawsError:
            return ""  # such as an improper prior
        recipe, numbers = substrate.split(bijector)
        what = f"{distribution.name(prior)} (bijector {bijector.name})"
        try:
            kind = substrate.bind(recipe, numbers, shape, dtype)
        except (ValueError, TypeError) as error:
            return f"{what}: the bijector cannot take its draws: {error}"
        free, outside = substrate.inverse_and_outside(kind, numbers, draws)
        back = substrate.forward(kind, numbers, free)
        if kind.elementwise:
            rounded = jnp.isinf(free) & (back == draws)
        else:  # a zero, except where every draw has one (above a triangle's diagonal)
            zero = (draws == 0) & ~jnp.all(draws == 0, axis=0, keepdims=True)
            rounded = jnp.any(zero, axis=tuple(range(outside.ndim, zero.ndim)))
        bad = np.asarray(outside & ~rounded)
        if not bad.any():
            return ""
        index = tuple(np.argwhere(bad)[0])
        text = np.array2string(np.asarray(draws)[index], precision=6, threshold=6)
        return (
            f"{what}: {bad.sum()} of {bad.size} draws are not in what the bijector "
            f"reaches, such as {' '.join(text.split())}."
        )
