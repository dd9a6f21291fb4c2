"""TFP made safe: the only calls of a bijector's methods.

A *recipe* is a bijector without its *numbers*, the inexact arrays in it. A *kind* is what
leaves share that one trace can serve: recipe, shapes and dtypes. The *links* of a
bijector are the maps that a chain applies one after another. A *fused* bijector gives
value and log-det at once. A kind is *eager* where TFP computes shapes as arrays and asks
for their values, which `at_once` lets it see.
"""

from .apply import (
    ROUND_TRIP_TOLERANCE,
    cast_numbers,
    forward,
    forward_and_log_det,
    inverse,
    inverse_and_outside,
)
from .batching import map_batched, map_to_scalars
from .bind import bind, with_dtype
from .contexts import (
    as_arrays,
    at_once,
    exactly,
    in_auto_axes,
    own_cache,
    standard_promotion,
)
from .errors import BIND_ERRORS, CALL_ERRORS
from .fused import FusedBijector, fused
from .jacobian import Linearised, event_sizes, linearise, linearise_map
from .kind import Kind
from .links import all_links, all_parts, scales_evenly
from .number import Number, describe_number
from .recipe import Recipe, castable, class_in_recipes, spelled_out, split
from .tfp import is_bijector, tfb, tfd
