"""A line search, a turn at a time: each takes one gradient.

It is that of Nocedal and Wright, Numerical Optimization (2006), algorithms 3.5 and 3.6.
Where rounding hides whether the value falls, it goes by slopes, after Hager and Zhang
(2005), SIAM Journal on Optimization 16, equation 4.1.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# The value has to fall by this share of what the slope promises, and the slope to this
# share of what it was.
_FALL, _SLOPE = 1e-4, 0.9

# A value that rises by this share of itself may be rounding, if the slope says that it
# falls.
_HIDDEN = 1e-6

# A line search ends after so many turns.
TURNS = 20


class Point(NamedTuple):
    """A point of a line, by its distance; the loss and its slope along the line there."""

    at: Float[Array, ""]
    value: Float[Array, ""]
    slope: Float[Array, ""]


class Line(NamedTuple):
    """A line search.

    Attributes:
        at: the distance to look at next.
        direction: of the line, from the present point.
        slope: of the loss along it there.
        low: the lowest point that is low enough; the present one at first.
        high: the other end of where a minimum is; at infinity until there is one.
        gradient: of the loss at the low point.
        flatter: the first point where the slope is as small as it has to be.
        gradient_flatter: of the loss there.
        turns: how many points of the line were looked at.
    """

    at: Float[Array, ""]
    direction: Float[Array, " n"]
    slope: Float[Array, ""]
    low: Point
    high: Point
    gradient: Float[Array, " n"]
    flatter: Point
    gradient_flatter: Float[Array, " n"]
    turns: Int[Array, ""]

    def given_up(self) -> tuple[Array, Array, Array]:
        """The distance, the loss and its gradient where nothing better was found.

        That is the low point. Where no point was low enough, the rounding of the loss is
        larger than what there is to gain along the line, and only slopes tell where to
        go; the search keeps in mind where the loss was lowest.
        """
        points = (self.low, self.gradient), (self.flatter, self.gradient_flatter)
        low = self.low.at > 0
        point, gradient = jax.tree.map(lambda a, b: jnp.where(low, a, b), *points)
        return point.at, point.value, gradient


def start_of_line(value: Array, gradient: Array, direction: Array) -> Line:
    """A line search before its first turn, which looks where the direction ends."""
    none, slope = jnp.zeros_like(value), dot(gradient, direction)
    infinite = jnp.full_like(value, jnp.inf)
    return Line(
        jnp.ones_like(value),
        direction,
        slope,
        Point(none, value, slope),
        Point(infinite, infinite, none),
        gradient,
        Point(none, value, slope),
        gradient,
        jnp.zeros((), int),
    )


def look(
    line: Line, new: Point, gradient: Array, start: Array
) -> tuple[Line, Bool[Array, ""]]:
    """What one more point tells; and whether the line search ends there.

    Args:
        line: what was known.
        new: the point.
        gradient: of the loss there.
        start: the loss where the line starts.
    """
    low, high = line.low, line.high
    finite = jnp.isfinite(new.value) & jnp.isfinite(gradient).all()
    falls = new.value <= start + _FALL * new.at * line.slope
    hidden = new.value <= start + _HIDDEN * abs(start)
    hidden &= new.slope <= (2 * _FALL - 1) * line.slope
    enough = finite & (falls | hidden)
    flatter = finite & (abs(new.slope) <= _SLOPE * abs(line.slope))
    found = enough & flatter
    first = flatter & (line.flatter.at == 0)
    too_far = ~enough | (new.value >= low.value) & (low.at > 0)
    turned = new.slope * (high.at - low.at) >= 0

    def choose(too_far_: Point, turned_: Point, on: Point) -> Point:
        return jax.tree.map(
            lambda a, b, c: jnp.where(too_far, a, jnp.where(turned, b, c)),
            too_far_,
            turned_,
            on,
        )

    low, high = choose(low, new, new), choose(new, low, high)
    return line._replace(
        at=_between(low, high),
        low=low,
        high=high,
        gradient=jnp.where(too_far, line.gradient, gradient),
        flatter=jax.tree.map(lambda a, b: jnp.where(first, a, b), new, line.flatter),
        gradient_flatter=jnp.where(first, gradient, line.gradient_flatter),
        turns=line.turns + 1,
    ), found


def _between(low: Point, high: Point) -> Float[Array, ""]:
    """The minimum of the cubic through two points, if it is well between them.

    Nocedal and Wright, equation 3.59. Else the middle; and twice as far as the low point
    where there is no high one.
    """
    width = high.at - low.at
    a = low.slope + high.slope - 3 * (high.value - low.value) / width
    b = jnp.sign(width) * jnp.sqrt(a**2 - low.slope * high.slope)
    share = 1 - (high.slope + b - a) / (high.slope - low.slope + 2 * b)
    inside = (share > 0.1) & (share < 0.9)  # NaN is not
    middle = low.at + jnp.where(inside, share, 0.5) * width
    return jnp.where(jnp.isfinite(high.at), middle, 2 * low.at)


def dot(a: Array, b: Array) -> Float[Array, ""]:
    """The inner product, in the precision of the numbers on every device."""
    return jnp.sum(a * b)


def norm(vector: Array) -> Float[Array, ""]:
    """The Euclidean norm, which does not overflow before the numbers do."""
    largest = jnp.max(abs(vector), initial=0)
    scaled = vector / jnp.where(largest > 0, largest, 1)
    return largest * jnp.sqrt(dot(scaled, scaled))
