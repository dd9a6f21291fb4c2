"""Constraints: functions that return the bijector onto a set, named as in NumPyro.

The maps, and the order of their free coordinates, are Stan's: Stan Reference Manual
2.37, chapter "Constraint transforms". Sections of it are cited as "Stan, ...".
"""

import math
from typing import Any, Literal

import jax
import numpy as np
from jax.core import Tracer
from jaxtyping import ArrayLike, Float

from . import _bijectors, _matrices, _vectors
from .substrate import Number, describe_number, tfb

Via = Literal["exp", "softplus"]


def _real_number(value: Any, name: str) -> Number:
    """Hold a number or an array of them; `name` is the argument in messages."""
    if isinstance(value, Number):
        return value
    if isinstance(value, jax.Array):
        kind = np.dtype("float64") if value.dtype == bool else value.dtype
        if not jax.numpy.issubdtype(kind, np.floating):
            if jax.numpy.issubdtype(kind, np.complexfloating):
                raise ValueError(f"{name} must be real, got dtype {kind}")
            value = value.astype(float)
        return Number(value)
    array = np.array(value)
    if array.dtype.kind in "biu" or isinstance(value, (float, list, tuple)):
        array = array.astype(np.float64) if array.dtype.kind in "biuf" else array
    if not jax.numpy.issubdtype(array.dtype, np.floating):
        raise ValueError(f"{name} must be a real number or an array, got {value!r}")
    return Number(array)


def _known(*numbers: Number) -> tuple[np.ndarray, ...] | None:
    """The values in float64, or `None` while they are traced."""
    if any(isinstance(n.value, Tracer) for n in numbers):
        return None
    return tuple(np.asarray(n.value).astype(np.float64) for n in numbers)


def finite_number(value: Any, name: str, otherwise: str) -> Number:
    """A finite number, or an array of them; `otherwise` says what takes others."""
    number = _real_number(value, name)
    known = _known(number)
    if known is not None and not np.all(np.isfinite(known[0])):
        raise ValueError(
            f"{name} must be finite, got {describe_number(number)}; {otherwise}"
        )
    return number


def _one_of(value: Any, name: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        choices = " or ".join(repr(a) for a in allowed)
        raise ValueError(f"{name} must be {choices}, got {value!r}")


def _axis_from_end(axis: Any) -> None:
    if isinstance(axis, bool) or not isinstance(axis, int) or axis >= 0:
        raise ValueError(
            "axis must be a negative integer, counted from the end because leading "
            f"axes are batches; got {axis!r}"
        )


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


def positive(*, via: Via = "exp") -> tfb.Bijector:
    """Positive numbers, x = exp(y).

    The log-det is y. In float32 the value underflows to 0 below y = −87.3 and
    overflows to inf above 88.7, in float64 below −708.4 and above 709.8 (XLA flushes
    subnormals); log-det and inverse know no such limit.

    Args:
        via: `"softplus"` for x = log(1 + exp(y)), which grows linearly, with the
            log-det −log(1 + exp(−y)).

    Returns:
        A bijector of each element by itself. Source: Stan, "Lower bounded scalar".

    Raises:
        ValueError: `via` is neither.

    Example:
        >>> import bijectree as bt
        >>> print(bt.positive().forward(0.0))
        1.0
    """
    _one_of(via, "via", ("exp", "softplus"))
    return _bijectors.Positive(via)


def greater_than(lower: Float[ArrayLike, "..."], *, via: Via = "exp") -> tfb.Bijector:
    """Numbers above a bound, x = lower + exp(y).

    The log-det is y. The value is exactly `lower` once exp(y) is below its rounding.

    Args:
        lower: the bound, finite; a number or an array that broadcasts against the
            leaf. It may change without retracing, and may be traced.
        via: `"softplus"` for x = lower + log(1 + exp(y)).

    Returns:
        A bijector of each element by itself. Source: Stan, "Lower bounded scalar".

    Raises:
        ValueError: `lower` is not finite, or `via` is unknown.

    Example:
        >>> import bijectree as bt
        >>> print(bt.greater_than(2.0).forward(0.0))
        3.0
    """
    _one_of(via, "via", ("exp", "softplus"))
    mend = "interval(lower, upper) takes infinite bounds"
    return _bijectors.GreaterThan(finite_number(lower, "lower", mend), via)


def less_than(upper: Float[ArrayLike, "..."], *, via: Via = "exp") -> tfb.Bijector:
    """Numbers below a bound, x = upper − exp(y).

    The log-det is y. The map decreases in y, as Stan's does.

    Args:
        upper: the bound, finite; a number or an array that broadcasts against the
            leaf. It may change without retracing, and may be traced.
        via: `"softplus"` for x = upper − log(1 + exp(y)).

    Returns:
        A bijector of each element by itself. Source: Stan, "Upper bounded scalar".

    Raises:
        ValueError: `upper` is not finite, or `via` is unknown.

    Example:
        >>> import bijectree as bt
        >>> print(bt.less_than(2.0).forward(0.0))
        1.0
    """
    _one_of(via, "via", ("exp", "softplus"))
    mend = "interval(lower, upper) takes infinite bounds"
    return _bijectors.LessThan(finite_number(upper, "upper", mend), via)


def interval(
    lower: Float[ArrayLike, "..."], upper: Float[ArrayLike, "..."]
) -> tfb.Bijector:
    """Numbers between two bounds, x = lower + (upper − lower)·σ(y).

    σ is the logistic function; the log-det is log(upper − lower) − |y| −
    2 log(1 + exp(−|y|)). Where a bound is infinite, that element falls back to
    `greater_than`, `less_than` or `real`. Each end is approached to the last digit of
    the bound: in (0, 1) and float32 the value is 1 from y = 17.4, in float64 from 36.8.

    Args:
        lower: the lower bound, a number or an array that broadcasts against the leaf,
            −inf allowed. It may change without retracing, and may be traced.
        upper: the upper bound, likewise; inf allowed.

    Returns:
        A bijector of each element by itself. Source: Stan, "Lower and upper bounded
        scalar".

    Raises:
        ValueError: a bound is NaN, the shapes do not broadcast, or `upper` does not
            exceed `lower` somewhere. Traced bounds are not checked.

    Example:
        >>> import bijectree as bt
        >>> print(bt.interval(-1.0, 3.0).forward(0.0))
        1.0
    """
    low, high = _real_number(lower, "lower"), _real_number(upper, "upper")
    try:
        np.broadcast_shapes(np.shape(low.value), np.shape(high.value))
    except ValueError:
        raise ValueError(
            f"lower has shape {np.shape(low.value)} and upper {np.shape(high.value)}, "
            "which do not broadcast"
        ) from None
    known = _known(low, high)
    if known is not None:
        for name, bound, forbidden in zip(
            ("lower", "upper"), known, (math.inf, -math.inf), strict=True
        ):
            if np.any(np.isnan(bound) | (bound == forbidden)):
                raise ValueError(f"{name} must not be NaN or {forbidden}, got {bound}")
        below, above = np.broadcast_arrays(*known)
        if not np.all(above > below):
            at = tuple(int(i) for i in np.argwhere(~(above > below))[0])
            where = f" at index {at}" if at else ""
            raise ValueError(
                f"upper must exceed lower: lower is {below[at]:g} and upper is "
                f"{above[at]:g}{where}"
            )
    return _bijectors.Interval(low, high)


def unit_interval() -> tfb.Bijector:
    """Numbers between 0 and 1, x = σ(y): `interval(0, 1)`.

    The log-det is −|y| − 2 log(1 + exp(−|y|)).

    Returns:
        A bijector of each element by itself. Source: Stan, "Lower and upper bounded
        scalar".

    Example:
        >>> import bijectree as bt
        >>> print(bt.unit_interval().forward(0.0))
        0.5
    """
    return interval(0.0, 1.0)


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
    known = _known(multiplier)
    if known is not None and not np.all(known[0] > 0):
        shown = describe_number(multiplier)
        raise ValueError(f"scale must be positive, got {shown}")
    return _bijectors.Affine(offset, multiplier)


def ordered_vector() -> tfb.Bijector:
    """Increasing vectors of K numbers, from K free coordinates.

    x₁ = y₁ and xₖ = xₖ₋₁ + exp(yₖ); the log-det is Σ yₖ over k ≥ 2. Neighbours are
    equal where exp(yₖ) is below the rounding of xₖ₋₁.

    Returns:
        A bijector of the last axis; leading axes are batches. Source: Stan, "Ordered
        vector".

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> print(bt.ordered_vector().forward(jnp.array([-2.0, 0.0, 0.0])))
        [-2. -1.  0.]
    """
    return _vectors.Ordered()


def positive_ordered_vector() -> tfb.Bijector:
    """Increasing vectors of K positive numbers, from K free coordinates.

    xₖ = xₖ₋₁ + exp(yₖ) with x₀ = 0; the log-det is Σ yₖ.

    Returns:
        A bijector of the last axis; leading axes are batches. Source: Stan, "Positive
        ordered vector".

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> print(bt.positive_ordered_vector().forward(jnp.zeros(3)))
        [1. 2. 3.]
    """
    return _vectors.PositiveOrdered()


def simplex(
    *, axis: int = -1, via: Literal["ilr", "stick_breaking"] = "ilr"
) -> tfb.Bijector:
    """Vectors of K positive parts that sum to 1, from K − 1 free coordinates.

    By default the inverse of the isometric log-ratio transform: z is the zero-sum
    vector of y (see `zero_sum`), x = exp(z)/Σ exp(z), and the log-det in the chart of
    the first K − 1 parts is Σ log xᵢ + ½ log K (Stan, "Unit simplex", since 2.37;
    Egozcue et al. 2003, Mathematical Geology 35, eq. 20).

    With `via="stick_breaking"`, Stan's map before 2.37: a part zₖ =
    σ(yₖ − log(K − k)) of what is left of a stick of length 1; log-det Σ log xᵢ.

    A density over the parts integrates to 1 over free space, unlike through TFP's
    `SoftmaxCentered`, whose log-det is that of the embedding.

    Args:
        axis: the axis that sums to 1, counted from the end. The free array has it
            last: a column-stochastic matrix (`axis=-2`) of shape (K, M) has the free
            shape (M, K − 1), which is Stan's order.
        via: the map.

    Returns:
        A bijector of the axes from `axis` on; those before are batches.

    Raises:
        ValueError: `axis` is not negative or `via` is unknown; on use, an empty axis.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> print(bt.simplex().forward(jnp.zeros(3)))
        [0.25 0.25 0.25 0.25]
    """
    _axis_from_end(axis)
    _one_of(via, "via", ("ilr", "stick_breaking"))
    return _vectors.Simplex(axis, via)


def zero_sum(*, axis: int | tuple[int, int] = -1) -> tfb.Bijector:
    """Vectors of N numbers that sum to 0, from N − 1 orthonormal free coordinates.

    With wₖ = yₖ/√(k(k + 1)): xₖ = Σ wᵢ over i ≥ k, less (k − 1)wₖ₋₁. The log-det is 0:
    the measure is that of the hyperplane itself, as in Stan.

    Args:
        axis: the axis that sums to 0, counted from the end (in the free array it is
            last); or `(-2, -1)` for (N, M) matrices whose rows and columns all sum to
            0, with the free shape (M − 1, N − 1): Stan's order, column by column. Along
            each axis of a matrix Stan takes (k·wₖ − Σ wᵢ over i > k), the total −Σ wᵢ
            last.

    Returns:
        A bijector of the axes from `axis` on; those before are batches. Source: Stan,
        "Zero sum vector" and "Zero sum matrix".

    Raises:
        ValueError: `axis` is neither; on use, an empty axis.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> print(bt.zero_sum().inverse(jnp.array([0.0, 0.0])))
        [0.]
    """
    if isinstance(axis, (tuple, list)):
        if sorted(axis) != [-2, -1]:
            raise ValueError(f"axis must be one axis or (-2, -1), got {axis!r}")
        return _vectors.ZeroSumMatrix()
    _axis_from_end(axis)
    return _vectors.ZeroSum(axis)


def sphere() -> tfb.Bijector:
    """Unit vectors of n entries, from n free coordinates: x = y/‖y‖.

    The map forgets the length of y, so it has no Jacobian. In place of the log-det
    stands −½‖y‖², an auxiliary standard normal density that makes the free density
    proper, as in Stan; over free space a density f on the sphere integrates to
    2^(n/2 − 1)·Γ(n/2)·∫f. The inverse is the unit vector itself. At y = 0 the value is
    undefined (NaN): start elsewhere.

    Returns:
        A bijector of the last axis; leading axes are batches. Source: Stan, "Unit
        vector".

    Raises:
        ValueError: on use, a vector of no entries.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> print(bt.sphere().forward(jnp.array([0.0, 2.0])))
        [0. 1.]
    """
    return _vectors.Sphere()


def circular() -> tfb.Bijector:
    """Angles in (−π, π], each from the 2 free coordinates of a point in the plane.

    x = atan2(y₂, y₁). As for `sphere`, −½‖y‖² stands in place of the log-det: an
    auxiliary density, not a Jacobian. A density over angles integrates to 1 over free
    space. The inverse is (cos x, sin x), so no path through ±π is cut. At y = 0 the
    value is undefined (NaN).

    Returns:
        A bijector whose free array has one more axis, last, of size 2. Source: Stan,
        "Unit vector", on angles.

    Raises:
        ValueError: on use, a last free axis that is not of size 2.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> print(bt.circular().forward(jnp.array([3.0, 0.0])))
        0.0
    """
    return _vectors.Circular()


def corr_cholesky() -> tfb.Bijector:
    """Cholesky factors of K × K correlation matrices, from K(K − 1)/2 coordinates.

    With partial correlations tanh yᵢⱼ below the diagonal, row by row,
    Lᵢⱼ = tanh yᵢⱼ·Πₗ sech yᵢₗ over l < j, and Lᵢᵢ is the product alone. The log-det in
    the entries below the diagonal is −Σ (i − j + 1) log cosh yᵢⱼ. What is left of a
    row is a sum of log cosh, so nothing cancels or underflows before the entry itself;
    the bijector's method `log_diagonal(free)` gives log Lᵢᵢ, finite everywhere.

    Returns:
        A bijector of the last two axes; the free coordinates are the last axis.
        Source: Stan, "Cholesky factors of correlation matrices"; Lewandowski,
        Kurowicka and Joe 2009, Journal of Multivariate Analysis 100.

    Raises:
        ValueError: on use, a matrix that is not square or empty, or a number of
            coordinates that is not K(K − 1)/2.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> print(bt.corr_cholesky().forward(jnp.zeros(1)))
        [[1. 0.]
         [0. 1.]]
    """
    return _matrices.CorrCholesky()


def corr_matrix() -> tfb.Bijector:
    """K × K correlation matrices, from K(K − 1)/2 free coordinates.

    L Lᵀ for the L of `corr_cholesky`, with the coordinates column by column as in
    Stan. The log-det in the entries below the diagonal is −Σ (K − j) log cosh yᵢⱼ, j
    from 0. The inverse needs a Cholesky factorisation, which fails for matrices that
    are singular to rounding: where partial correlations near ±1 are likely, keep the
    Cholesky factor as the parameter, or use the methods `cholesky(free)` and
    `log_diagonal(free)`, which are exact where the matrix is not.

    Returns:
        A bijector of the last two axes; the free coordinates are the last axis.
        Source: Stan, "Correlation matrices"; Lewandowski, Kurowicka and Joe 2009.

    Raises:
        ValueError: on use, a matrix that is not square or empty, or a number of
            coordinates that is not K(K − 1)/2.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> print(bt.corr_matrix().inverse(jnp.eye(3)))
        [0. 0. 0.]
    """
    return _matrices.CorrMatrix()


def lower_cholesky(*, shape: tuple[int, int] | None = None) -> tfb.Bijector:
    """Lower triangular matrices with a positive diagonal.

    The Cholesky factors of covariance matrices. The free coordinates are the entries
    row by row, those of the diagonal as logarithms; the log-det is the sum of the
    latter.

    Args:
        shape: `(M, N)` with M ≥ N ≥ 1 for tall matrices, of N(N + 1)/2 + (M − N)N
            coordinates. By default square, of any size.

    Returns:
        A bijector of the last two axes; the free coordinates are the last axis.
        Source: Stan, "Cholesky factors of covariance matrices".

    Raises:
        ValueError: `shape` is not of such numbers; on use, a matrix of another shape.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> print(bt.lower_cholesky().forward(jnp.array([0.0, 5.0, 0.0])))
        [[1. 0.]
         [5. 1.]]
    """
    if shape is not None:
        whole = len(shape) == 2 and all(isinstance(n, int) for n in shape)
        if not whole or not shape[0] >= shape[1] >= 1:
            raise ValueError(f"shape must be (M, N) with M >= N >= 1, got {shape!r}")
        shape = (shape[0], shape[1])
    return _matrices.LowerCholesky(shape)


def positive_definite() -> tfb.Bijector:
    """Symmetric positive definite K × K matrices, from K(K + 1)/2 free coordinates.

    L Lᵀ for the L of `lower_cholesky`, in its order. The log-det in the lower triangle
    is K log 2 + Σ (K + 1 − i) log Lᵢᵢ, i from 0. The methods `cholesky(free)` and
    `log_diagonal(free)` are exact where the matrix is singular to rounding.

    Returns:
        A bijector of the last two axes; the free coordinates are the last axis.
        Source: Stan, "Covariance matrices".

    Raises:
        ValueError: on use, a matrix that is not square or empty, or a number of
            coordinates that is not K(K + 1)/2.

    Example:
        >>> import bijectree as bt, jax.numpy as jnp
        >>> print(bt.positive_definite().inverse(jnp.eye(2)))
        [0. 0. 0.]
    """
    return _matrices.PositiveDefinite()
