"""Open intervals, one for each element."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array

from ..substrate import Number, describe_number


@dataclasses.dataclass(frozen=True)
class Range:
    """The open interval of each element; the bounds may be arrays or traced."""

    lower: Any
    upper: Any

    @property
    def everything(self) -> bool:
        """Whether it is known to be the whole line."""
        return self.is_from(-math.inf) and self.is_to(math.inf)

    def is_from(self, bound: float) -> bool:
        """Whether all elements are known to start at a bound."""
        return _all_are(self.lower, bound)

    def is_to(self, bound: float) -> bool:
        """Whether all elements are known to end at a bound."""
        return _all_are(self.upper, bound)

    @property
    def positive(self) -> bool:
        """Whether it is known to be that of the positive numbers."""
        return self.is_from(0) and self.is_to(math.inf)

    @property
    def known(self) -> bool:
        """Whether its bounds are not traced."""
        return not _traced(self.lower, self.upper)

    def within(self, other: "Range") -> bool:
        """Whether it is known to lie in another interval."""
        if other.everything:
            return True
        above = _surely(np.greater_equal, self.lower, other.lower)
        return above and _surely(np.less_equal, self.upper, other.upper)

    def same_as(self, other: "Range") -> bool:
        """Whether another interval is known to have the same bounds."""
        pairs = ((self.lower, other.lower), (self.upper, other.upper))
        return all(a is b or _surely(np.equal, a, b) for a, b in pairs)

    @property
    def description(self) -> str:
        """The interval in words."""
        lower, upper = describe_number(self.lower), describe_number(self.upper)
        if self.everything:
            return "all real numbers"
        if self.positive:
            return "positive numbers"
        if self.is_to(math.inf):
            return f"numbers greater than {lower}"
        if self.is_from(-math.inf):
            return f"numbers less than {upper}"
        return f"numbers between {lower} and {upper}"

    def contains(self, x: Array) -> Array:
        """Whether each number is strictly inside, in its own dtype."""
        lower, upper = (jnp.asarray(b).astype(x.dtype) for b in (self.lower, self.upper))
        return jnp.isfinite(x) & (x > lower) & (x < upper)


REALS = Range(-math.inf, math.inf)
POSITIVE = Range(0.0, math.inf)
UNIT = Range(0.0, 1.0)


def _traced(*numbers: Any) -> bool:
    return any(isinstance(n, Tracer) for n in numbers)


def _all_are(bounds: Any, bound: float) -> bool:
    """Whether all of an interval's lower or upper bounds are known to be one number."""
    if isinstance(bounds, float):
        return bounds == bound
    return not _traced(bounds) and bool(np.all(bounds == bound))


def _surely(compare: Callable[..., Any], a: Any, b: Any) -> bool:
    """Whether two bounds are known to compare so, for all elements."""
    if _traced(a, b):
        return False
    try:
        return bool(np.all(compare(a, b)))
    except ValueError:  # of shapes that do not broadcast
        return False


def number_of(number: Any, otherwise: float = 0.0) -> Any:
    """A bijector's number as a float64 array, or as it is while traced."""
    number = number.value if isinstance(number, Number) else number
    if number is None:
        return otherwise
    return number if _traced(number) else np.asarray(number).astype(np.float64)
