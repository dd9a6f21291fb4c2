"""The set that a bijector maps onto."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Array

from .. import substrate
from ..substrate import tfb
from . import sets
from .correlation import CorrCholesky, CorrMatrix
from .covariance import LowerCholesky, PositiveDefinite
from .directions import Circular, Sphere
from .ordered import Ordered, PositiveOrdered
from .ranges import ELEMENTWISE, INVERTED, Range
from .sets import SetTag, Support
from .simplex import Simplex
from .zero_sum import ZeroSum, ZeroSumMatrix


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
        return sets.numbers(state)
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


_POSITIVE = sets.numbers(Range(0.0, math.inf))
_FINITE = sets.numbers(Range(-math.inf, math.inf))

_STRUCTURED: dict[type, Callable[[Any], Support]] = {
    Ordered: lambda b: sets.INCREASING,
    PositiveOrdered: lambda b: sets.POSITIVE_INCREASING,
    Simplex: lambda b: sets.simplex_along(b.axis),
    ZeroSum: lambda b: sets.zero_sum_along((b.axis,)),
    ZeroSumMatrix: lambda b: sets.zero_sum_along((-2, -1)),
    Sphere: lambda b: sets.UNIT_VECTORS,
    Circular: lambda b: sets.ANGLES,
    CorrCholesky: lambda b: sets.CORR_CHOLESKY,
    CorrMatrix: lambda b: sets.CORR_MATRIX,
    LowerCholesky: lambda b: sets.triangular(_POSITIVE, b.shape),
    PositiveDefinite: lambda b: sets.POSITIVE_DEFINITE,
    tfb.Ascending: lambda b: sets.INCREASING,
    tfb.SoftmaxCentered: lambda b: sets.simplex_along(-1),
    tfb.IteratedSigmoidCentered: lambda b: sets.simplex_along(-1),
    tfb.UnitVector: lambda b: sets.UNIT_VECTORS,
    tfb.CorrelationCholesky: lambda b: sets.CORR_CHOLESKY,
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
        known = kind in ELEMENTWISE and (base.solid or substrate.scales_evenly(part))
        return _pulled_back(part, base) if known else None
    if kind is tfb.Reciprocal and base.everything:
        return sets.NOT_ZERO
    if kind in ELEMENTWISE:
        return ELEMENTWISE[kind](part, base)
    if not base.everything:
        return None
    if kind is tfb.FillTriangular:
        return None if part._upper else sets.triangular(_FINITE)
    return _STRUCTURED[kind](part) if kind in _STRUCTURED else None


def _after_inverse(bijector: Any, base: Range | Support) -> Range | Support | None:
    if isinstance(base, Support):
        return None
    if type(bijector) is tfb.Invert:
        return _after(bijector.bijector, base)
    if type(bijector) in INVERTED:
        return INVERTED[type(bijector)](bijector, base)
    if type(bijector) in _STRUCTURED and base.everything:
        return sets.arrays(int(bijector.forward_min_event_ndims))
    return None


def _outer_product(base: Range | Support) -> Support | None:
    if isinstance(base, Range):
        return None
    if base.tag is SetTag.CORR_CHOLESKY:
        return sets.CORR_MATRIX
    # Of a tall factor, and of one whose diagonal may be negative, another has the same
    # product.
    square = base.tag is SetTag.TRIANGULAR and base.details == (None,)
    diagonal = base.of.interval if square and base.of is not None else None
    positive = diagonal is not None and diagonal.within(0, math.inf)
    return sets.outer_products(base) if positive else None


def _diagonal(part: Any, base: Range | Support) -> Support | None:
    if isinstance(base, Range) or base.tag is not SetTag.TRIANGULAR:
        return None
    before = None if base.of is None else base.of.interval
    if before is None or not before.everything:
        return None
    diagonal = support(part.diag_bijector)
    known = diagonal.event_ndims == 0 and diagonal.tag is not SetTag.UNKNOWN
    return sets.triangular(diagonal) if known else None


def _pulled_back(part: Any, base: Support) -> Support:
    """A set of arrays under a map of single elements."""
    if type(part) is tfb.Identity:
        return base
    recipe, numbers = substrate.split(part)

    def contains(x: Array) -> Array:
        kind = substrate.bind(recipe, numbers, x.shape, x.dtype)
        return base.contains(substrate.inverse(kind, numbers, x))

    words = f"{base.description}, each entry then mapped by {part.name}"
    return Support(
        words, base.event_ndims, contains, SetTag.MAPPED, solid=base.solid, of=base
    )


def _round_trip(bijector: Any) -> Support:
    recipe, numbers = substrate.split(bijector)

    def contains(x: Array) -> Array:
        kind = substrate.bind(recipe, numbers, x.shape, x.dtype)
        return ~substrate.inverse_and_outside(kind, numbers, x)[1]

    words = f"the range of {bijector.name}"
    return Support(words, sets.event_ndims_of(bijector), contains, SetTag.UNKNOWN)
