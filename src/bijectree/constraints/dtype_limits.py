"""Whether a leaf's dtype can hold what a bijector is made of and what it maps onto."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ..substrate import Kind
from .support import interval_of


def dtype_fault(bijector: Any, numbers: tuple[Any, ...], kind: Kind) -> str | None:
    """Say what of a bijector is lost in the dtype of its leaf, such as a bound.

    Args:
        bijector: bound to the leaf.
        numbers: of the bijector; traced ones are not looked at.
        kind: of the leaf.
    """
    most = float(jnp.finfo(kind.compute_dtype).max)
    for number in numbers:
        dtype = getattr(number, "dtype", np.float64)
        if isinstance(number, Tracer) or not jnp.issubdtype(dtype, jnp.floating):
            continue
        if float(jnp.finfo(dtype).max) <= most:
            continue
        value = np.asarray(number, np.float64)
        large = value[np.isfinite(value) & (np.abs(value) > most)]
        if large.size:
            return f"its number {large[0]:g} is infinite in {kind.compute_dtype}"
    return _range_fault(bijector, kind, most) if kind.elementwise else None


def _range_fault(bijector: Any, kind: Kind, most: float) -> str | None:
    found = interval_of(bijector)
    ends = (found.lower, found.upper) if found else (None,)
    if any(x is None or isinstance(x, Tracer) for x in ends):
        return None
    lower, upper = np.broadcast_arrays(*(np.asarray(x, np.float64) for x in ends))
    limits = jnp.finfo(kind.dtype)
    least = float(jnp.finfo(kind.compute_dtype).tiny)  # XLA takes subnormals for zero

    def rounded(x: np.ndarray) -> np.ndarray:
        """Numbers as the dtype has them."""
        near = x.astype(kind.dtype).astype(np.float64)
        return np.where(np.abs(near) < least, 0.0, near)

    with np.errstate(over="ignore", invalid="ignore"):
        middle = np.clip(lower / 2 + upper / 2, -float(limits.max), float(limits.max))
        inside = rounded(middle)
        nothing = (inside <= rounded(lower)) | (inside >= rounded(upper))
        finite = np.isfinite(lower) & np.isfinite(upper)
        wide = finite & (upper / 2 - lower / 2 > most / 2)
        flat = finite & ((upper - lower) / 4 < least)
    for bad, what in (
        (nothing, f"between which {kind.dtype} has none"),
        (flat, f"so near that a map's slope is zero in {kind.compute_dtype}"),
        (wide, f"whose distance is infinite in {kind.compute_dtype}"),
    ):
        if bad.any():
            at = tuple(int(i) for i in np.argwhere(bad)[0])
            where = f" at index {at}" if at else ""
            shown = f"({float(lower[at])!r}, {float(upper[at])!r})"
            return f"it maps onto {shown}{where}, {what}"
    return None
