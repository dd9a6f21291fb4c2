"""Floats, vectors and their place on devices; no bijector is known here.

An *ordinal* is the place of a float among those of its dtype: the next float is one
further. A *fingerprint* is a number that changes when the bits of an array do. What is
put *beside* arrays lies on the same devices.
"""

from .fingerprint import fingerprint as fingerprint
from .flat_vectors import cut as cut, ravel as ravel, widest as widest
from .floats import (
    add_exactly as add_exactly,
    from_ordinal as from_ordinal,
    int_layout as int_layout,
    largest_number as largest_number,
    minus_zero as minus_zero,
    ordinal as ordinal,
    step_between as step_between,
)
from .interpreter import run_in_numpy as run_in_numpy
from .placement import beside as beside, put_whole as put_whole
from .special import (
    LOG_2 as LOG_2,
    hyperbolic as hyperbolic,
    softplus as softplus,
    softplus_inverse as softplus_inverse,
)
