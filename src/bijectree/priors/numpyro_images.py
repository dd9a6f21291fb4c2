"""The set that NumPyro's transforms map another set onto.

NumPyro itself says what the last transform could reach, whatever it is applied to: the
support of 2 + 3 X is "real" even where X is positive. Transforms are known by the name of
their class, so that NumPyro need not be installed.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ..constraints import Range, interval_of, support
from ..substrate import tfb

# Monotone maps of numbers and their inverses, `(transform, array module, x) -> y`; NaN
# off the domain.


def _power(xp: Any, x: Any, exponent: Any) -> Any:
    return xp.where(x < 0, np.nan, xp.power(xp.abs(x), exponent))


_MONOTONE: dict[str, Callable[[Any, Any, Any], Any]] = {
    "IdentityTransform": lambda t, xp, x: x,
    "AffineTransform": lambda t, xp, x: t.loc + t.scale * x,
    "ExpTransform": lambda t, xp, x: xp.exp(x),
    "SigmoidTransform": lambda t, xp, x: 1 / (1 + xp.exp(-x)),
    "SoftplusTransform": lambda t, xp, x: xp.logaddexp(x, 0.0),
    "PowerTransform": lambda t, xp, x: _power(xp, x, t.exponent),
}

_INVERSE: dict[str, Callable[[Any, Any, Any], Any]] = {
    "IdentityTransform": lambda t, xp, y: y,
    "AffineTransform": lambda t, xp, y: (y - t.loc) / t.scale,
    "ExpTransform": lambda t, xp, y: xp.log(y),
    "SigmoidTransform": lambda t, xp, y: xp.log(y) - xp.log1p(-y),
    "SoftplusTransform": lambda t, xp, y: y + xp.log(-xp.expm1(-y)),
    "PowerTransform": lambda t, xp, y: _power(xp, y, 1 / t.exponent),
}

# Transforms from their whole domain onto their whole codomain; their log-dets, and those
# of their inverses, are of minimal coordinates.
_ONTO = {
    *("CholeskyTransform", "CorrCholeskyTransform", "CorrMatrixCholeskyTransform"),
    *("LowerCholeskyAffine", "LowerCholeskyTransform", "OrderedTransform"),
    *("PermuteTransform", "ScaledUnitLowerCholeskyTransform"),
    *("SoftplusLowerCholeskyTransform", "StickBreakingTransform", "ZeroSumTransform"),
}


def states_support(distribution: Any) -> bool:
    """Whether a distribution's class states its support, as `LogNormal` does."""
    for cls in type(distribution).__mro__:
        if "support" in vars(cls):
            return cls.__name__ != "TransformedDistribution"
    return False


def image(
    transforms: list[Any],
    base: tfb.Bijector,
    bijector_for: Callable[[Any], tfb.Bijector],
    onto: Callable[[Range], tfb.Bijector],
) -> tfb.Bijector:
    """The bijector onto what transforms, the first one first, make of a set.

    Args:
        transforms: NumPyro's.
        base: a bijector onto the set.
        bijector_for: finds the bijector onto a constraint.
        onto: finds the one onto an interval.

    Raises:
        ValueError: what a transform makes of the set is not known here.
    """
    for transform in _flat(transforms):
        after = _after(transform, base, bijector_for, onto)
        if after is None:
            raise ValueError(
                f"what {_name(transform)} makes of {support(base).description} is not "
                "known here; say it with bt.register for a subclass of this distribution"
            )
        base = after
    return base


def _flat(transforms: list[Any]) -> list[Any]:
    """The links of compositions, without the wrappers that declare axes to be events."""
    found = []
    for transform in transforms:
        name = type(transform).__name__
        if name == "ComposeTransform":
            found += _flat(transform.parts)
        elif name == "IndependentTransform":
            found += _flat([transform.base_transform])
        elif name == "_InverseTransform" and type(transform.inv).__name__ in (
            "ComposeTransform",
            "IndependentTransform",
        ):
            found += [part.inv for part in reversed(_flat([transform.inv]))]
        else:
            found.append(transform)
    return found


def _after(
    transform: Any, base: tfb.Bijector, bijector_for: Callable, onto: Callable
) -> tfb.Bijector | None:
    """The bijector onto what one transform makes of a set; `None` if not known."""
    inverse = type(transform).__name__ == "_InverseTransform"
    inner = transform.inv if inverse else transform
    name = type(inner).__name__
    if name in _ONTO:
        fits = support(bijector_for(transform.domain)).same_set(support(base))
        return bijector_for(transform.codomain) if fits else None
    span = interval_of(base)
    if name not in _MONOTONE or span is None:
        return base if name == "IdentityTransform" else None
    function = (_INVERSE if inverse else _MONOTONE)[name]
    numbers = [span.lower, span.upper, *vars(inner).values()]
    xp: Any = jnp if any(isinstance(x, Tracer) for x in numbers) else np
    if name == "AffineTransform" and _is_line(span):
        return base
    with np.errstate(all="ignore"):
        a, b = (_of_end(function, inner, xp, end) for end in (span.lower, span.upper))
        lower, upper = xp.minimum(a, b), xp.maximum(a, b)
    if xp is np and np.any(np.isnan(lower) | np.isnan(upper)):
        return None
    return onto(Range(lower, upper))


def _is_line(span: Range) -> bool:
    """Whether an interval is known to be all numbers."""
    ends = (span.lower, span.upper)
    return not any(isinstance(x, Tracer) for x in ends) and bool(np.all(np.isinf(ends)))


def _of_end(function: Callable, transform: Any, xp: Any, end: Any) -> Any:
    """The image of an end, without a derivative where the end or the image is infinite.

    No number moves it there, and the derivative of scale·∞ would be infinite.
    """
    image = function(transform, xp, xp.asarray(end))
    if xp is np:
        return image
    far = jnp.isinf(end) | jnp.isinf(image)
    near = function(transform, xp, jnp.where(far, 0.5, end))  # in the domain of all maps
    return jnp.where(far, jax.lax.stop_gradient(image), near)


def _name(transform: Any) -> str:
    if type(transform).__name__ == "_InverseTransform":
        return f"the inverse of {type(transform.inv).__name__}"
    return type(transform).__name__
