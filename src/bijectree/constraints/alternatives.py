"""Other maps of the same set, to choose from."""

import numpy as np
from jaxtyping import Float

from ..substrate import tfb
from .correlation import corr_cholesky
from .half_line import positive
from .interval import interval
from .sets import SetTag, Support
from .simplex import simplex


def alternatives(
    image: Support, values: Float[np.ndarray, "n ..."]
) -> list[tfb.Bijector]:
    """The maps of a set that draws from it may be better served by.

    Args:
        image: the set.
        values: draws, by which knees and orders are placed.

    Returns:
        Bijectors onto the set, none where there is but one kind.
    """
    match image.tag:
        case SetTag.NUMBERS:
            return _of_numbers(image, values)
        case SetTag.SIMPLEX if len(image.details) == 1 and image.event_ndims:
            return _of_simplex(image.details[0], values)
        case SetTag.CORR_CHOLESKY:
            return [corr_cholesky(), corr_cholesky(via="spherical")]
        case _:
            return []


def _of_numbers(image: Support, values: np.ndarray) -> list[tfb.Bijector]:
    shape = values.shape[1:]
    lower, upper = (
        np.broadcast_to(np.asarray(end, np.float64), shape)
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
        return _of_half_line(values - lower, before)
    if below.all() and not above.any():
        return _of_half_line(upper - values, [tfb.Shift(_few(upper)), tfb.Scale(-1.0)])
    return []


def _of_half_line(
    distances: np.ndarray, before: list[tfb.Bijector]
) -> list[tfb.Bijector]:
    middle = np.median(distances, axis=0)
    middle = np.where(np.isfinite(middle) & (middle > 0), middle, 1.0)
    knee = three_digits(middle)
    if middle.max() < 3 * middle.min():
        knee = three_digits(np.exp(np.mean(np.log(middle))))
    maps = [positive(), positive(via="softplus", scale=_few(knee))]
    return [tfb.Chain([*before, each]) if before else each for each in maps]


def _of_simplex(axis: int, values: np.ndarray) -> list[tfb.Bijector]:
    parts = np.moveaxis(values, axis, -1)
    if parts.shape[-1] < 2:
        return []
    falling = np.argsort(-parts.reshape(-1, parts.shape[-1]).mean(axis=0), kind="stable")
    order = [int(i) for i in falling]
    rising = order[::-1]
    return [
        simplex(axis=axis),
        simplex(axis=axis, via="stick_breaking"),
        simplex(axis=axis, via="stick_breaking", order=order),
        simplex(axis=axis, via="additive_log_ratio", order=rising),
    ]


def _few(x: np.ndarray) -> float | np.ndarray:
    """One number, where all are the same."""
    x = np.array(x)
    return float(x.flat[0]) if np.all(x == x.flat[0]) else x


def three_digits(x: np.ndarray) -> np.ndarray:
    """Numbers rounded to three digits, so that one can read them."""
    return np.vectorize(lambda v: float(f"{v:.3g}"), otypes=[float])(x)
