"""TFP made safe: the only calls of a bijector's methods.

A *recipe* is a bijector without its *numbers*, the inexact arrays in it. A *kind* is what
leaves share that one trace can serve: recipe, shapes and dtypes. The *links* of a
bijector are the maps that a chain applies one after another. A *fused* bijector gives
value and log-det at once. A kind is *eager* where TFP computes shapes as arrays and asks
for their values, which `at_once` lets it see.
"""

from .apply import (
    ROUND_TRIP_TOLERANCE as ROUND_TRIP_TOLERANCE,
    cast_numbers as cast_numbers,
    forward as forward,
    forward_and_log_det as forward_and_log_det,
    inverse as inverse,
    inverse_and_outside as inverse_and_outside,
)
from .batching import map_batched as map_batched, map_to_scalars as map_to_scalars
from .bind import bind as bind, with_dtype as with_dtype
from .contexts import (
    as_arrays as as_arrays,
    at_once as at_once,
    exactly as exactly,
    in_auto_axes as in_auto_axes,
    standard_promotion as standard_promotion,
)
from .errors import BIND_ERRORS as BIND_ERRORS, CALL_ERRORS as CALL_ERRORS
from .fused import FusedBijector as FusedBijector, fused as fused
from .jacobian import (
    Linearised as Linearised,
    event_sizes as event_sizes,
    linearise as linearise,
    linearise_map as linearise_map,
)
from .kind import Kind as Kind
from .links import (
    all_links as all_links,
    all_parts as all_parts,
    scales_evenly as scales_evenly,
)
from .number import Number as Number, describe_number as describe_number
from .recipe import (
    Recipe as Recipe,
    castable as castable,
    spelled_out as spelled_out,
    split as split,
)
from .tfp import is_bijector as is_bijector, tfb as tfb, tfd as tfd
