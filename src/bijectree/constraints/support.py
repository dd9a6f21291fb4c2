"""The set that a bijector maps onto, in words and as a predicate."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Inexact

from .. import substrate
from ..substrate import Number, describe_number, tfb
from .correlation import CorrCholesky, CorrMatrix
from .covariance import LowerCholesky, PositiveDefinite
from .directions import Circular, Sphere
from .membership import (
    Predicate,
    _angle,
    _correlation,
    _correlation_factor,
    _finite,
    _increasing,
    _increasing_positive,
    _positive_matrix,
    _sums_to_one,
    _sums_to_zero,
    _triangular,
    _unit_norm,
)
from .ordered import Ordered, PositiveOrdered
from .ranges import ELEMENTWISE, INVERTED, Range
from .simplex import Simplex
from .zero_sum import ZeroSum, ZeroSumMatrix


@dataclasses.dataclass(frozen=True)
class Support:
    """A set of values: the support of a bijector.

    Attributes:
        description: the set in words, as it appears in messages.
        event_ndims: how many trailing axes make one member of the set.
        mend: what to do about a value outside, "" where that is plain.
    """

    description: str
    event_ndims: int
    _contains: Predicate = dataclasses.field(repr=False, compare=False)
    # Whether it has as many dimensions as entries, unlike a simplex.
    _solid: bool = dataclasses.field(default=False, repr=False, compare=False)
    mend: str = dataclasses.field(default="", repr=False, compare=False)

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
        # bounds broadcast against values, whatever the user has asked of JAX
        with substrate.standard_promotion():
            return self._contains(jnp.asarray(value))


def support(bijector: tfb.Bijector) -> Support:
    """The set that a bijector maps onto.

    Known by name for the bijectors of this package and the common ones of TFP, alone,
    inverted, or in a `tfb.Chain` with maps of single elements after them; after a set
    of fewer free coordinates than entries, such as a simplex, only with `tfb.Shift` and
    a `tfb.Scale` of one number. Any other has the description "the range of <name>",
    and its predicate is a round trip: the inverse is finite and maps back to the value.

    Args:
        bijector: a TFP bijector.

    Returns:
        The set, in words and as a predicate.

    Example:
        >>> import bijectree as bt
        >>> bt.support(bt.tfb.Chain([bt.tfb.Shift(1.0), bt.tfb.Exp()])).description
        'numbers greater than 1'
    """
    state = _image(bijector)
    if isinstance(state, Range):
        return Support(state.description, 0, state.contains)
    return _round_trip(bijector) if state is None else state


def interval_of(bijector: tfb.Bijector) -> Range | None:
    """The open interval of each element, where the support is one."""
    image = _image(bijector)
    return image if isinstance(image, Range) else None


def _image(bijector: Any) -> Range | Support | None:
    state: Range | Support | None = Range(-math.inf, math.inf)
    with np.errstate(all="ignore"):
        for part in _parts(bijector):
            state = None if state is None else _after(part, state)
    return state


def _parts(bijector: Any) -> list[Any]:
    """The links of a chain, the first to be applied first."""
    if not isinstance(bijector, tfb.Chain):
        return [bijector]
    return [p for part in reversed(bijector.bijectors) for p in _parts(part)]


_NOT_ZERO = Support(
    "numbers other than 0", 0, lambda x: jnp.isfinite(x) & (x != 0), _solid=True
)


_INCREASING = Support("increasing vectors", 1, _increasing, _solid=True)


_UNIT = Support("unit vectors", 1, _unit_norm)


_LOWER = Support(
    "lower triangular matrices with a positive diagonal",
    2,
    functools.partial(_triangular, lambda d: d > 0),
)


_CORRELATION_FACTOR = Support(
    "Cholesky factors of correlation matrices", 2, _correlation_factor
)


_CORRELATION = Support("correlation matrices", 2, _correlation)


_POSITIVE_MATRIX = Support("symmetric positive definite matrices", 2, _positive_matrix)


_TRIANGULAR = Support(
    "lower triangular matrices", 2, functools.partial(_triangular, jnp.isfinite)
)


def _simplex(axis: int) -> Support:
    where = "" if axis == -1 else f" along axis {axis}"
    words = f"positive parts that sum to 1{where}"
    return Support(words, -axis, functools.partial(_sums_to_one, axis))


def _zero_sum(axes: tuple[int, ...]) -> Support:
    if len(axes) == 2:
        words = "matrices whose rows and columns sum to 0"
    else:
        words = "numbers that sum to 0" + (
            "" if axes == (-1,) else f" along axis {axes[0]}"
        )
    return Support(words, -min(axes), functools.partial(_sums_to_zero, axes))


def _tall(bijector: Any) -> Support:
    if bijector.shape is None:
        return _LOWER
    rows, columns = bijector.shape
    words = f"{rows} × {columns} {_LOWER.description}"
    return dataclasses.replace(_LOWER, description=words)


def _angles(period: Number | None) -> Support:
    half = math.pi if period is None else 0.5 * period.value
    words = "π" if period is None else describe_number(half)
    return Support(
        f"angles in (−{words}, {words}]",
        0,
        functools.partial(_angle, half),
        _solid=True,
        mend="add or subtract a turn, or name the one that repeats: "
        "bt.circular(period=360.0) is for degrees",
    )


_STRUCTURED: dict[type, Callable[[Any], Support]] = {
    Ordered: lambda b: _INCREASING,
    PositiveOrdered: lambda b: Support(
        "increasing vectors of positive numbers", 1, _increasing_positive, _solid=True
    ),
    Simplex: lambda b: _simplex(b.axis),
    ZeroSum: lambda b: _zero_sum((b.axis,)),
    ZeroSumMatrix: lambda b: _zero_sum((-2, -1)),
    Sphere: lambda b: _UNIT,
    Circular: lambda b: _angles(b.period),
    CorrCholesky: lambda b: _CORRELATION_FACTOR,
    CorrMatrix: lambda b: _CORRELATION,
    LowerCholesky: _tall,
    PositiveDefinite: lambda b: _POSITIVE_MATRIX,
    tfb.Ascending: lambda b: _INCREASING,
    tfb.SoftmaxCentered: lambda b: _simplex(-1),
    tfb.IteratedSigmoidCentered: lambda b: _simplex(-1),
    tfb.UnitVector: lambda b: _UNIT,
    tfb.CorrelationCholesky: lambda b: _CORRELATION_FACTOR,
}


def _after(part: Any, base: Range | Support) -> Range | Support | None:
    """The image of a set under one more map; `None` where it is not known."""
    kind = type(part)
    if kind is tfb.Invert:
        return _after_inverse(part.bijector, base)
    if kind is tfb.CholeskyOuterProduct:
        return _outer_product(base)
    if kind is tfb.TransformDiagonal:
        return _diagonal(part, base)
    if isinstance(base, Support):
        # Of other maps the log-det in minimal coordinates is not known.
        known = kind in ELEMENTWISE and (base._solid or substrate.scales_evenly(part))
        return _pulled_back(part, base) if known else None
    if kind is tfb.Reciprocal and base.everything:
        return _NOT_ZERO
    if kind in ELEMENTWISE:
        return ELEMENTWISE[kind](part, base)
    if not base.everything:
        return None
    if kind is tfb.FillTriangular:
        return None if part._upper else _TRIANGULAR
    return _STRUCTURED[kind](part) if kind in _STRUCTURED else None


def _after_inverse(bijector: Any, base: Range | Support) -> Range | Support | None:
    if isinstance(base, Support):
        return None
    if type(bijector) is tfb.Invert:
        return _after(bijector.bijector, base)
    if type(bijector) in INVERTED:
        return INVERTED[type(bijector)](bijector, base)
    if type(bijector) in _STRUCTURED and base.everything:
        ndims = int(bijector.forward_min_event_ndims)
        finite = functools.partial(_finite, ndims)
        return Support("all real arrays", ndims, finite, _solid=True)
    return None


def _outer_product(base: Range | Support) -> Support | None:
    if base in (_CORRELATION_FACTOR, _LOWER):
        return _CORRELATION if base == _CORRELATION_FACTOR else _POSITIVE_MATRIX
    if isinstance(base, Support) and base.description.startswith(_BOUNDED_DIAGONAL):

        def contains(x: Array) -> Array:
            return _positive_matrix(x) & base.contains(jnp.linalg.cholesky(x))

        words = f"products L Lᵀ of {base.description}"
        return Support(words, 2, contains)
    return None


_BOUNDED_DIAGONAL = "lower triangular matrices with a diagonal of "


def _diagonal(part: Any, base: Range | Support) -> Support | None:
    if base is not _TRIANGULAR:
        return None
    diagonal = support(part.diag_bijector)
    if diagonal.event_ndims or diagonal.description.startswith("the range"):
        return None
    if diagonal.description == "positive numbers":
        return _LOWER
    words = _BOUNDED_DIAGONAL + diagonal.description
    return Support(words, 2, functools.partial(_triangular, diagonal.contains))


def _pulled_back(part: Any, base: Support) -> Support:
    """A set of arrays under a map of single elements."""
    if type(part) is tfb.Identity:
        return base
    recipe, numbers = substrate.split(part)

    def contains(x: Array) -> Array:
        kind = substrate.bind(recipe, numbers, x.shape, x.dtype)
        return base.contains(substrate.inverse(kind, numbers, x))

    words = f"{base.description}, each entry then mapped by {part.name}"
    return Support(words, base.event_ndims, contains, _solid=base._solid)


def _round_trip(bijector: Any) -> Support:
    recipe, numbers = substrate.split(bijector)

    def contains(x: Array) -> Array:
        kind = substrate.bind(recipe, numbers, x.shape, x.dtype)
        return ~substrate.inverse_and_outside(kind, numbers, x)[1]

    ndims = bijector.inverse_min_event_ndims
    ndims = int(ndims) if isinstance(ndims, (int, np.integer)) else 0
    return Support(f"the range of {bijector.name}", ndims, contains)
