"""Anybody's distribution: its density, its draws, the bijector onto its support.

A *raw number* is a leaf from which a node of the model, such as a wrapper of paramax,
makes the value that the model computes with. A prior is a *misfit* where it cannot stand
at its leaf. A density is over *minimal* coordinates where it has no more of them than the
set has dimensions.
"""

# These modules are imported for what they register.
from . import distrax, numpyro, tfp_table
from .at_free import knows_at_free
from .at_masked import at_masked, counted_inside, splits_events
from .cube import NoTransportError, cube_size, from_cube, why_wrong_quantile
from .distribution import (
    ERRORS,
    NoDrawsError,
    build,
    compute_dtype,
    draw,
    is_distribution,
    log_prob,
    log_prob_at_free,
    log_probs,
    name,
    sample,
    sample_in_numpy,
    split,
)
from .facts import has_traced_numbers, is_proven, may_outgrow
from .families import location_and_scale, location_slot
from .fit import at_raw_number, leaf_of_prior, misfit, refuse
from .lookup import bijector_for, known_bijector, register
from .spelled_out import put_together, spell_out
from .tried import tried_bijector
from .verification import why_wrong
