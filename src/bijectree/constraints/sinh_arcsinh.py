"""All real numbers, skewed and with heavier or lighter tails."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from ..numerics import hyperbolic
from ..substrate import Number, tfb
from .arguments import finite_number, positive_number
from .elementwise import Elementwise
from .facts import MapOfNumbers, known
from .ranges import REALS, number_of


@known(
    MapOfNumbers(
        lambda b: REALS,
        end=lambda b, xp, x: _end(b, xp, x),
        inverse_end=lambda b, xp, y: _inverse_end(b, xp, y),
    )
)
class SinhArcsinh(Elementwise):
    """loc + scale·sinh((arcsinh(x) + skewness)·tailweight)."""

    def __init__(
        self,
        loc: Number,
        scale: Number,
        skewness: Number,
        tailweight: Number,
        name: str = "sinh_arcsinh",
    ):
        parameters = dict(locals())
        self.loc = loc
        self.scale = scale
        self.skewness = skewness
        self.tailweight = tailweight
        super().__init__(parameters)

    def _forward_and_log_det(self, x: Array) -> tuple[Array, Array]:
        scale, skewness, tail = self._shape_of(x)
        before = jnp.arcsinh(x)
        after = (before + skewness) * tail
        # Where nothing is bent, x itself: the sinh of its arcsinh is rounded.
        straight = (skewness == 0) & (tail == 1)
        bent = jnp.where(straight, x, jnp.sinh(after))
        log_slope = jnp.log(tail) + hyperbolic(after)[1] - hyperbolic(before)[1]
        return self.loc.like(x) + scale * bent, jnp.log(scale) + log_slope

    def _inverse(self, y: Array) -> Array:
        scale, skewness, tail = self._shape_of(y)
        bent = (y - self.loc.like(y)) / scale
        straight = (skewness == 0) & (tail == 1)
        return jnp.where(straight, bent, jnp.sinh(jnp.arcsinh(bent) / tail - skewness))

    def _shape_of(self, x: Array) -> tuple[Array, Array, Array]:
        return self.scale.like(x), self.skewness.like(x), self.tailweight.like(x)


def _end(bijector: SinhArcsinh, xp: Any, x: Any) -> Any:
    after = (xp.arcsinh(x) + number_of(bijector.skewness)) * number_of(
        bijector.tailweight
    )
    return number_of(bijector.loc) + number_of(bijector.scale) * xp.sinh(after)


def _inverse_end(bijector: SinhArcsinh, xp: Any, y: Any) -> Any:
    bent = (y - number_of(bijector.loc)) / number_of(bijector.scale)
    before = xp.arcsinh(bent) / number_of(bijector.tailweight)
    return xp.sinh(before - number_of(bijector.skewness))


def sinh_arcsinh(
    loc: Float[ArrayLike, "..."] = 0.0,
    scale: Float[ArrayLike, "..."] = 1.0,
    *,
    skewness: Float[ArrayLike, "..."] = 0.0,
    tailweight: Float[ArrayLike, "..."] = 1.0,
) -> tfb.Bijector:
    """All real numbers, skewed and stretched: x = loc + scale·sinh((arcsinh y + s)·t).

    A density that is standard normal in y is skewed to the right in x where the skewness
    s is positive, and has heavier tails than a normal one where the tail weight t exceeds
    1: x grows as |y|ᵗ. With s = 0 and t = 1 it is `affine`, exactly. The log-det is
    log(scale·t) + log cosh((arcsinh y + s)·t) − ½ log(1 + y²).

    Put behind another map in a `tfb.Chain`, it bends the free coordinate of that one:
    `bt.fit_maps` finds its numbers.

    Args:
        loc: where y = sinh(−s) is mapped to, finite; a number or an array that broadcasts
            against the leaf, as all four. They may change without retracing, and may be
            traced.
        scale: the multiplier, positive and finite.
        skewness: finite.
        tailweight: positive and finite.

    Returns:
        A bijector of each element by itself. Source: Jones and Pewsey 2009, Biometrika
        96, equation 2, solved for x.

    Raises:
        ValueError: a number is not finite, or `scale` or `tailweight` is not positive.

    Example:
        >>> import bijectree as bt
        >>> bend = bt.sinh_arcsinh(1.0, 2.0, tailweight=2.0)
        >>> print(f"{bend.forward(0.0):.3f}, {bend.forward(1.0):.3f}")
        1.000, 6.657
    """
    mend = "the map needs finite numbers"
    return SinhArcsinh(
        finite_number(loc, "loc", mend),
        positive_number(scale, "scale"),
        finite_number(skewness, "skewness", mend),
        positive_number(tailweight, "tailweight"),
    )
