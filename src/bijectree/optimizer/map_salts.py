"""Numbers that tell the maps of one Reparam from those of another."""

import math
import zlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import UInt32

from ..reparam import Bound, Row
from ..trees import is_spread

# More numbers than these are not fetched from a device to be told from others.
_LARGE = 100_000


def salts_of_maps(bound: Bound, rows: Sequence[Row]) -> UInt32[np.ndarray, " rows"]:
    """A number for the map of each row, equal in every process; one if there is none.

    A state of a Reparam with another map, or with other numbers in it, has other
    fingerprints, and is inverted.
    """
    outer = [_digest(bound.numbers[slot]) for _, slot in bound.plan.outer]
    over = f"{bound.outer_names()} {outer}"
    words = [f"{bound.map_words(row)} {_digest_of(bound, row)} {over}" for row in rows]
    return np.array([zlib.crc32(text.encode()) for text in words or [""]], np.uint32)


def _digest_of(bound: Bound, row: Row) -> int:
    return _digest(bound.numbers[row.slot]) if row.slot >= 0 else 0


def _digest(numbers: Sequence[Any]) -> int:
    """What tells numbers of a map from others; of traced or large ones, their shapes."""
    found = 0
    for n in numbers:
        dtype = jax.dtypes.canonicalize_dtype(jnp.result_type(n))
        found = zlib.crc32(f"{jnp.shape(n)} {dtype}".encode(), found)
        unknown = isinstance(n, (Tracer, jax.ShapeDtypeStruct)) or is_spread(n)
        if not unknown and math.prod(jnp.shape(n)) <= _LARGE:
            found = zlib.crc32(np.asarray(n).astype(dtype).tobytes(), found)
    return found
