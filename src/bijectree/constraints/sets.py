"""Sets of values: what a bijector maps onto, with a tag that says which set it is."""

import dataclasses
import enum
import functools
import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Inexact

from .. import substrate
from ..substrate import Number, describe_number
from .membership import (
    Predicate,
    _angle,
    _correlation,
    _correlation_factor,
    _finite,
    _increasing,
    _positive_matrix,
    _sum_to_one_in_groups,
    _sums_to_one,
    _sums_to_zero,
    _triangular,
    _unit_norm,
)
from .ranges import REALS, UNIT, Range


class SetTag(enum.Enum):
    """Which set a `Support` is; code asks for the tag, messages for the description."""

    NUMBERS = enum.auto()  # an open interval for each element: `Support.interval`
    NOT_ZERO = enum.auto()
    ANGLES = enum.auto()
    ARRAYS = enum.auto()  # all real arrays
    INCREASING = enum.auto()  # in `Support.entries`, along an axis
    SIMPLEX = enum.auto()
    ZERO_SUM = enum.auto()
    UNIT_VECTORS = enum.auto()
    TRIANGULAR = enum.auto()  # lower triangular; `Support.of` is the diagonal's set
    CORR_CHOLESKY = enum.auto()
    CORR_MATRIX = enum.auto()
    POSITIVE_DEFINITE = enum.auto()  # all, or L Lᵀ of the triangular ones in `Support.of`
    MAPPED = enum.auto()  # each entry of a member of `Support.of` mapped
    PART = enum.auto()  # of `Support.of`, or of all arrays
    UNKNOWN = enum.auto()  # the range of a bijector, whatever that is


@dataclasses.dataclass(frozen=True, eq=False)
class Support:
    """A set of values: the support of a bijector.

    Attributes:
        event_ndims: how many trailing axes make one member of the set.
        tag: which set it is.
        solid: whether it has as many dimensions as entries, unlike a simplex.
        entries: an interval that holds every entry, for each element its own.
        details: axes or shapes that tell sets of one tag apart.
        of: the set that it is made of, where its tag says so.
        mend: what to do about a value outside, "" where that is plain.
    """

    _words: str | None
    event_ndims: int
    _contains: Predicate = dataclasses.field(repr=False)
    tag: SetTag
    solid: bool = False
    entries: Range = REALS
    details: tuple[Any, ...] = ()
    of: "Support | None" = None
    mend: str = ""

    @property
    def description(self) -> str:
        """The set in words, as it appears in messages."""
        return self.entries.description if self._words is None else self._words

    @property
    def interval(self) -> Range | None:
        """The interval of each element, where the set is one."""
        return self.entries if self.tag is SetTag.NUMBERS else None

    @property
    def everything(self) -> bool:
        """Whether it is known to be all numbers, or all arrays."""
        return self.tag is SetTag.ARRAYS or (
            self.tag is SetTag.NUMBERS and self.entries.everything
        )

    def contains(self, value: Inexact[Array, "..."]) -> Bool[Array, "..."]:
        """Whether each event of `value` is in the set.

        Inequalities are strict, in the dtype of `value`. Equalities (a sum of 1, a norm
        of 1, symmetry) hold to within 1e-8 in float64, 1e-5 in float32, 0.02 in float16
        and bfloat16, relative to the event's size.

        Args:
            value: an array of events; leading axes are batches.

        Returns:
            One truth value an event.

        Example:
            >>> import bijectree as bt, jax.numpy as jnp
            >>> print(bt.support(bt.positive()).contains(jnp.array([1.0, -1.0])))
            [ True False]
        """
        # Bounds broadcast against values, whatever the user has asked of JAX.
        with substrate.standard_promotion():
            return self._contains(jnp.asarray(value))

    def same_set(self, other: "Support") -> bool:
        """Whether another support is known to be the same set.

        Two intervals are compared by their bounds, which must not be traced. Sets that
        are known by a bijector alone are the same only where they are one object.

        Args:
            other: of any bijector.

        Example:
            >>> import bijectree as bt
            >>> bt.support(bt.positive()).same_set(bt.support(bt.tfb.Softplus()))
            True
        """
        if self is other:
            return True
        own = (SetTag.MAPPED, SetTag.PART, SetTag.UNKNOWN)
        if self.tag is not other.tag or self.tag in own:
            return False
        if self.tag in (SetTag.NUMBERS, SetTag.ANGLES, SetTag.INCREASING):
            if not self.entries.same_as(other.entries):
                return False
        if self.of is None or other.of is None:
            same = self.of is other.of
        else:
            same = self.of.same_set(other.of)
        alike = (self.event_ndims, self.details) == (other.event_ndims, other.details)
        return same and alike


def numbers(interval: Range) -> Support:
    """The numbers of an interval."""
    return Support(
        None,  # The interval describes itself when it is asked, which takes its time.
        0,
        interval.contains,
        SetTag.NUMBERS,
        solid=True,
        entries=interval,
    )


NOT_ZERO = Support(
    "numbers other than 0",
    0,
    lambda x: jnp.isfinite(x) & (x != 0),
    SetTag.NOT_ZERO,
    solid=True,
)
UNIT_VECTORS = Support("unit vectors", 1, _unit_norm, SetTag.UNIT_VECTORS)
CORR_CHOLESKY = Support(
    "Cholesky factors of correlation matrices",
    2,
    _correlation_factor,
    SetTag.CORR_CHOLESKY,
)
CORR_MATRIX = Support("correlation matrices", 2, _correlation, SetTag.CORR_MATRIX)
POSITIVE_DEFINITE = Support(
    "symmetric positive definite matrices",
    2,
    _positive_matrix,
    SetTag.POSITIVE_DEFINITE,
)


def angles(period: Number | None = None) -> Support:
    """Numbers within half a period from 0; the period is 2π if it is `None`."""
    half: Any = math.pi if period is None else 0.5 * period.value
    words = "π" if period is None else describe_number(half)
    return Support(
        f"angles in (−{words}, {words}]",
        0,
        functools.partial(_angle, half),
        SetTag.ANGLES,
        solid=True,
        entries=Range(-half, half),
        mend="add or subtract a turn, or name its size: bt.circular(period=360.0) is for "
        "degrees",
    )


def arrays(event_ndims: int) -> Support:
    """All real arrays."""
    contains = functools.partial(_finite, event_ndims)
    return Support("all real arrays", event_ndims, contains, SetTag.ARRAYS, solid=True)


def increasing(interval: Range = REALS, axis: int = -1) -> Support:
    """Vectors along an axis, counted from the end, whose entries increase.

    Args:
        interval: where the entries are; its bounds broadcast against the leaf.
        axis: that of the vectors.
    """
    words = "increasing vectors"
    if not interval.everything:
        words += f" of {interval.description}"
    return Support(
        words if axis == -1 else f"{words} along axis {axis}",
        -axis,
        functools.partial(_increasing, interval, axis),
        SetTag.INCREASING,
        solid=True,
        entries=interval,
        details=(axis,),
    )


def simplex_along(axis: int) -> Support:
    """Positive parts that sum to 1 along an axis, counted from the end."""
    where = "" if axis == -1 else f" along axis {axis}"
    return Support(
        f"positive parts that sum to 1{where}",
        -axis,
        functools.partial(_sums_to_one, axis),
        SetTag.SIMPLEX,
        entries=UNIT,
        details=(axis,),
    )


def simplexes(sizes: tuple[int, ...]) -> Support:
    """Positive parts in groups of so many, one after another, that each sum to 1."""
    return Support(
        "positive parts that sum to 1 among those of their axis that are free",
        1,
        functools.partial(_sum_to_one_in_groups, sizes),
        SetTag.SIMPLEX,
        entries=UNIT,
        details=sizes,
    )


def zero_sum_along(axes: tuple[int, ...]) -> Support:
    """Numbers that sum to 0 along axes, counted from the end."""
    if len(axes) == 2:
        words = "matrices whose rows and columns sum to 0"
    else:
        where = "" if axes == (-1,) else f" along axis {axes[0]}"
        words = f"numbers that sum to 0{where}"
    return Support(
        words,
        -min(axes),
        functools.partial(_sums_to_zero, axes),
        SetTag.ZERO_SUM,
        details=axes,
    )


def triangular(diagonal: Support, shape: tuple[int, int] | None = None) -> Support:
    """Lower triangular matrices, square or of a shape, whose diagonal is in a set."""
    words = "lower triangular matrices"
    if diagonal.interval is not None and diagonal.interval.positive:
        words += " with a positive diagonal"
    elif diagonal.interval is None or not diagonal.interval.everything:
        words += f" with a diagonal of {diagonal.description}"
    return Support(
        words if shape is None else f"{shape[0]} × {shape[1]} {words}",
        2,
        functools.partial(_triangular, diagonal.contains),
        SetTag.TRIANGULAR,
        details=(shape,),
        of=diagonal,
    )


def outer_products(factors: Support) -> Support:
    """L Lᵀ of triangular matrices."""
    diagonal = None if factors.of is None else factors.of.interval
    if diagonal is not None and diagonal.positive:
        return POSITIVE_DEFINITE

    def contains(x: Array) -> Array:
        return _positive_matrix(x) & factors.contains(jnp.linalg.cholesky(x))

    words = f"products L Lᵀ of {factors.description}"
    return Support(words, 2, contains, SetTag.POSITIVE_DEFINITE, of=factors)


def mapped(base: Support, bijector: Any, entries: Range) -> Support:
    """What a map of single elements makes of a set of arrays."""
    recipe, of_map = substrate.split(bijector)

    def contains(x: Array) -> Array:
        kind = substrate.bind(recipe, of_map, x.shape, x.dtype)
        return base.contains(substrate.inverse(kind, of_map, x))

    return Support(
        f"{base.description}, each entry then mapped by {bijector.name}",
        base.event_ndims,
        contains,
        SetTag.MAPPED,
        solid=base.solid,
        entries=entries,
        of=base,
    )


def part_of(superset: Support | None, *, solid: bool) -> Support:
    """A set of which no more is known than that it lies in another."""
    return Support(
        "an unknown set",
        0,
        lambda x: jnp.ones((), bool),
        SetTag.PART,
        solid=solid,
        entries=REALS if superset is None else superset.entries,
        of=superset,
    )


def range_of(bijector: Any) -> Support:
    """The set of values that a bijector maps back to themselves, whatever it is."""
    recipe, of_map = substrate.split(bijector)

    def contains(x: Array) -> Array:
        kind = substrate.bind(recipe, of_map, x.shape, x.dtype)
        return ~substrate.inverse_and_outside(kind, of_map, x)[1]

    ndims = bijector.inverse_min_event_ndims
    ndims = int(ndims) if isinstance(ndims, (int, np.integer)) else 0
    return Support(f"the range of {bijector.name}", ndims, contains, SetTag.UNKNOWN)
