"""Anybody's distribution: its density, its draws, the bijector onto its support.

A *raw number* is a leaf of which a node of the model makes the value that it computes
with. A prior is a *misfit* where it cannot stand at its leaf. A density is over *minimal*
coordinates where it has no more of them than the set has dimensions.
"""

# These modules are imported for what they register.
from . import numpyro as numpyro, tfp_table as tfp_table
from .at_masked import at_masked as at_masked, counted_inside as counted_inside
from .distribution import (
    compute_dtype as compute_dtype,
    is_distribution as is_distribution,
    log_prob as log_prob,
    log_probs as log_probs,
    name as name,
    sample as sample,
    split as split,
)
from .fit import (
    at_raw_number as at_raw_number,
    leaf_of_prior as leaf_of_prior,
    misfit as misfit,
    refuse as refuse,
)
from .lookup import bijector_for as bijector_for, register as register
from .spec_from_prior import spec_from_prior as spec_from_prior
