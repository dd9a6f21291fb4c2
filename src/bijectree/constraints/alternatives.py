"""Other maps of the same set, to choose from."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..substrate import tfb
from .arguments import Via
from .correlation import corr_cholesky
from .half_line import positive
from .interval import interval
from .ordered import ordered_vector, positive_ordered_vector
from .sets import SetTag, Support, simplex_along
from .simplex import simplex

# How the steps of increasing vectors are made.
_STEPS: tuple[Via, ...] = ("exp", "softplus")


def alternatives(image: Support, middle: Float[np.ndarray, "..."]) -> list[tfb.Bijector]:
    """The maps of a set that a density may be better served by, the usual one first.

    Args:
        image: the set.
        middle: about where each entry lies, by which knees and orders are chosen.

    Returns:
        Bijectors onto the set, none where there is but one kind.
    """
    axis = -image.event_ndims
    match image.tag:
        case SetTag.NUMBERS:
            return _of_numbers(image, middle)
        case SetTag.SIMPLEX if image.same_set(simplex_along(axis)):
            return _of_simplex(axis, middle)
        case SetTag.INCREASING if image.entries.everything:
            return [ordered_vector(axis=axis, via=via) for via in _STEPS]
        case SetTag.INCREASING if image.entries.positive:
            return [positive_ordered_vector(axis=axis, via=via) for via in _STEPS]
        case SetTag.CORR_CHOLESKY:
            return [corr_cholesky(), corr_cholesky(via="spherical")]
        case _:
            return []


def _of_numbers(image: Support, middle: np.ndarray) -> list[tfb.Bijector]:
    lower, upper = (
        np.broadcast_to(np.asarray(end), middle.shape).astype(np.float64)
        for end in (image.entries.lower, image.entries.upper)
    )
    above, below = np.isfinite(lower), np.isfinite(upper)
    if not lower.size:
        return []
    if above.all() and below.all():
        ends = (_few(lower), _few(upper))
        return [interval(*ends), interval(*ends, via="normal_cdf")]
    if above.all() and not below.any():
        before = [tfb.Shift(_few(lower))] if lower.any() else []
        return _of_half_line(middle - lower, before)
    if below.all() and not above.any():
        return _of_half_line(upper - middle, [tfb.Shift(_few(upper)), tfb.Scale(-1.0)])
    return []


def _of_half_line(middle: np.ndarray, before: list[tfb.Bijector]) -> list[tfb.Bijector]:
    """The maps of what is so far from its bound, with what moves it there before them."""
    middle = np.where(np.isfinite(middle) & (middle > 0), middle, 1.0)
    knee = three_digits(middle)
    if middle.max() < 3 * middle.min():
        knee = three_digits(np.full_like(middle, np.exp(np.mean(np.log(middle)))))
    maps = [positive(), positive(via="softplus", scale=_few(knee))]
    return [tfb.Chain([*before, each]) if before else each for each in maps]


def _of_simplex(axis: int, middle: np.ndarray) -> list[tfb.Bijector]:
    parts = np.moveaxis(middle, axis, -1)
    if parts.shape[-1] < 2:
        return []
    means = parts.reshape(-1, parts.shape[-1]).mean(axis=0)
    falling = [int(i) for i in np.argsort(-means, kind="stable")]
    return [
        simplex(axis=axis),
        simplex(axis=axis, via="stick_breaking"),
        simplex(axis=axis, via="stick_breaking", order=falling),
        simplex(axis=axis, via="additive_log_ratio", order=falling[::-1]),
    ]


def _few(x: np.ndarray) -> float | Array:
    """One number, where all are the same."""
    return float(x.flat[0]) if np.all(x == x.flat[0]) else jnp.asarray(x, float)


def three_digits(x: np.ndarray) -> np.ndarray:
    """Numbers rounded to three digits, so that one can read them."""
    return np.vectorize(lambda v: float(f"{v:.3g}"), otypes=[float])(x)
