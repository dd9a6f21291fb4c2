"""Floats, vectors, their place on devices, programs run by NumPy; no bijector.

An *ordinal* is the place of a float among those of its dtype: the next float is one
further. A *fingerprint* is a number that changes when the bits of an array do. What is
put *beside* arrays lies on the same devices.
"""

from .fingerprint import fingerprint
from .flat_vectors import cut, ravel, widest
from .floats import (
    add_exactly,
    clip_between,
    flushed,
    from_ordinal,
    int_layout,
    largest_number,
    minus_zero,
    ordinal,
    step_between,
)
from .interpreter import call_in_numpy, run_in_numpy
from .joined import join, part
from .placement import beside, put_whole
from .special import LOG_2, hyperbolic, pick, softplus, softplus_inverse
