"""The links of chains and inverted bijectors, and how a link changes volume."""

from typing import Any

import jax
import numpy as np

from .fused import FusedBijector
from .recipe import _MATVECS, _OF_NUMBERS
from .tfp import is_bijector, tfb

_SCALE_MATVEC = (*_MATVECS, tfb.ScaleMatvecLinearOperator, tfb.ScaleMatvecLU)


def _links(bijector: Any) -> list[Any]:
    """The links of `all_links`, of which each maps one array to one array.

    A chain that takes a leaf apart and joins it again is one link.
    """
    links = all_links(bijector)
    return links if all(_of_one_part(link) for link in links) else [bijector]


def _of_one_part(bijector: Any) -> bool:
    ndims = bijector.forward_min_event_ndims, bijector.inverse_min_event_ndims
    return all(isinstance(n, (int, np.integer)) for n in ndims)


def all_links(bijector: Any) -> list[Any]:
    """The links of a chain, the first to be applied first; `[bijector]` if it is none.

    An inverted chain has its inverted links, in reverse. A link may take a leaf apart.
    """
    inner: Any = bijector.bijector if type(bijector) is tfb.Invert else None
    if type(bijector) is tfb.Chain:
        parts = reversed(bijector.bijectors)
        return [link for part in parts for link in all_links(part)]
    if type(inner) is tfb.Invert:
        return all_links(inner.bijector)
    if type(inner) is tfb.Chain:
        return [link for part in inner.bijectors for link in all_links(tfb.Invert(part))]
    return [bijector]


def all_parts(bijector: Any) -> list[Any]:
    """A bijector and all that it is made of, itself first."""
    found = [bijector]
    for name in ("bijector", "bijectors", "diag_bijector"):
        inner = getattr(bijector, name, ())
        for part in inner if isinstance(inner, (list, tuple)) else [inner]:
            if is_bijector(part):
                found += all_parts(part)
    return found


def _is_uniform(bijector: Any) -> bool:
    """Whether a bijector is known to map every element alone, and all alike."""
    if type(bijector) is tfb.Chain:
        return all(_is_uniform(part) for part in bijector.bijectors)
    if type(bijector) is tfb.Invert:
        return _is_uniform(bijector.bijector)
    ours = isinstance(bijector, FusedBijector) and _is_elementwise(bijector)
    return (ours or type(bijector) in _OF_NUMBERS) and all(
        np.ndim(x) == 0 for x in jax.tree_util.tree_leaves(bijector)
    )


def _is_elementwise(bijector: Any) -> bool:
    return bijector.forward_min_event_ndims == bijector.inverse_min_event_ndims == 0


def scales_evenly(bijector: Any) -> bool:
    """Whether a map of single elements changes volume alike in every direction.

    Then its log-det on a set of fewer dimensions than entries is known as well.
    """
    inner = bijector.bijector if type(bijector) is tfb.Invert else bijector
    constant = inner.is_constant_jacobian or getattr(inner, "constant_log_det", False)
    moves = type(inner) in (tfb.Identity, tfb.Shift)
    return moves or (constant and _is_uniform(inner))


def _counts_entries(bijector: Any) -> bool:
    """Whether the log-det of a map is that of all entries as free coordinates."""
    inner = bijector.bijector if type(bijector) is tfb.Invert else bijector
    return _is_elementwise(bijector) or isinstance(inner, _SCALE_MATVEC)
