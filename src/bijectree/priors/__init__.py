"""Anybody's distribution: its density, its draws, the bijector onto its support.

A *raw number* is a leaf of which a node of the model makes the value that it computes
with. A prior is a *misfit* where it cannot stand at its leaf. A density is over *minimal*
coordinates where it has no more of them than the set has dimensions.
"""

# These modules are imported for what they register.
from . import distrax as distrax, numpyro as numpyro, tfp_table as tfp_table
from .at_free import knows_at_free as knows_at_free
from .at_masked import at_masked as at_masked, counted_inside as counted_inside
from .distribution import (
    build as build,
    compute_dtype as compute_dtype,
    is_distribution as is_distribution,
    log_prob as log_prob,
    log_prob_at_free as log_prob_at_free,
    log_probs as log_probs,
    name as name,
    sample as sample,
    sample_in_numpy as sample_in_numpy,
    split as split,
)
from .facts import (
    has_traced_numbers as has_traced_numbers,
    may_outgrow as may_outgrow,
)
from .fit import (
    at_raw_number as at_raw_number,
    leaf_of_prior as leaf_of_prior,
    misfit as misfit,
    refuse as refuse,
)
from .lookup import bijector_for as bijector_for, register as register
from .spec_from_prior import spec_from_prior as spec_from_prior
from .spelled_out import put_together as put_together, spell_out as spell_out
from .verification import why_wrong as why_wrong
