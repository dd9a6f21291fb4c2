"""All real numbers, as they are or moved and stretched."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ..substrate import Number, describe_number, tfb
from .arguments import _concrete, finite_number
from .elementwise import Elementwise
from .facts import MapOfNumbers, known
from .ranges import REALS, number_of


@known(
    MapOfNumbers(
        lambda b: REALS,
        end=lambda b, xp, x: number_of(b.loc) + number_of(b.scale) * x,
        inverse_end=lambda b, xp, y: (y - number_of(b.loc)) / number_of(b.scale),
    )
)
class Affine(Elementwise):
    """loc + scale·x."""

    constant_log_det = True

    def __init__(self, loc: Number, scale: Number, name: str = "affine"):
        parameters = dict(locals())
        self.loc = loc
        self.scale = scale
        super().__init__(parameters)

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        scale = self.scale.like(x)
        log_det = jnp.log(jnp.abs(scale)) + jnp.zeros_like(x)
        return self.loc.like(x) + scale * x, log_det

    def _inverse(self, y: Array) -> Array:
        return (y - self.loc.like(y)) / self.scale.like(y)


def real() -> tfb.Bijector:
    """All real numbers: the identity.

    Returns:
        A bijector of each element by itself; log-det 0.

    Example:
        >>> import bijectree as bt
        >>> print(bt.real().forward(-2.0))
        -2.0
    """
    return tfb.Identity()


def affine(loc: Float[ArrayLike, "..."], scale: Float[ArrayLike, "..."]) -> tfb.Bijector:
    """All real numbers, moved and stretched: x = loc + scale·y.

    Stan's offset and multiplier, for non-centred parameterisations; the log-det is
    log(scale).

    Args:
        loc: the offset, finite; a number or an array that broadcasts against the leaf.
        scale: the multiplier, positive and finite, likewise. Both may change without
            retracing, and may be traced.

    Returns:
        A bijector of each element by itself. Source: Stan, "Affinely transformed
        scalar".

    Raises:
        ValueError: `loc` is not finite, or `scale` is not positive and finite.

    Example:
        >>> import bijectree as bt
        >>> print(bt.affine(1.0, 2.0).forward(3.0))
        7.0
    """
    mend = "an affine map needs finite numbers"
    offset = finite_number(loc, "loc", mend)
    multiplier = finite_number(scale, "scale", mend)
    values = _concrete(multiplier)
    if values is not None and not np.all(values[0] > 0):
        shown = describe_number(multiplier)
        raise ValueError(f"scale must be positive, got {shown}")
    return Affine(offset, multiplier)
