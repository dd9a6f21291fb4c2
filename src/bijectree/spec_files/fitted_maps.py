"""The maps of `fit_affine` and `fit_flow` from numbers that a hand may have changed."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..substrate import Number


def low_rank_affine(loc: Any, scale: Any, directions: Any, root: Any) -> Any:
    """The map loc + scale·(I + V(diag(root) − 1)Vᵀ)z of `bt.fit_affine`.

    Args:
        loc: a vector.
        scale: as many positive numbers.
        directions: V, orthonormal columns of as many numbers.
        root: a positive number a column.

    Raises:
        ValueError: shapes that differ, numbers that are not finite or not positive, or
            columns that are not orthonormal, whose log-det would be another.
    """
    from ..learned import LowRankAffine

    loc, scale, directions, root = map(_finite, (loc, scale, directions, root))
    if loc.ndim != 1 or scale.shape != loc.shape:
        raise ValueError(
            f"loc and scale are vectors of one size, got shapes {loc.shape} and "
            f"{scale.shape}"
        )
    if directions.shape != (loc.size, root.size) or root.ndim != 1:
        raise ValueError(
            f"directions has a row a number of loc and a column a number of root, "
            f"({loc.size}, {root.size}), got shape {directions.shape}"
        )
    if not (np.all(scale > 0) and np.all(root > 0)):
        raise ValueError("scale and root must be positive")
    product = directions.T @ directions
    if not np.allclose(product, np.eye(root.size), atol=1e-6):
        raise ValueError("the columns of directions must be orthonormal")
    return LowRankAffine(Number(loc), Number(scale), Number(directions), Number(root))


def flow(weights: Sequence[Any], kind: str) -> Any:
    """The normalising flow of `bt.fit_flow`.

    Args:
        weights: its five arrays.
        kind: "autoregressive" or "coupling".

    Raises:
        ValueError: arrays of other shapes, or not finite, or another kind.
    """
    from ..learned import Flow

    arrays = [_finite(weight) for weight in weights]
    shapes = [array.shape for array in arrays]
    if len(shapes) != 5 or len(shapes[0]) != 3:
        raise ValueError(f"weights are five arrays, the first with 3 axes, got {shapes}")
    layers, width, dim = shapes[0]
    expected = [
        (layers, width, dim),
        (layers, width),
        (layers, 2, dim, width),
        (layers, 2, dim),
        (layers, 2, dim, dim),
    ]
    if shapes != expected:
        raise ValueError(f"weights have the shapes {expected}, got {shapes}")
    if kind not in ("autoregressive", "coupling"):
        raise ValueError(f"kind is 'autoregressive' or 'coupling', got {kind!r}")
    return Flow(tuple(map(Number, arrays)), kind)


def _finite(value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind in "iu" or isinstance(value, list):
        array = array.astype(np.float64)
    if not np.all(np.isfinite(array.astype(np.float64))):
        raise ValueError("all numbers must be finite")
    return array
