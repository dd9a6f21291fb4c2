"""Priors, likelihood and log-det, added once.

A *term* is one distribution at one leaf. A *target* is a posterior with its data: the
log-density of a vector, as compiled functions take it.
"""

from .ancestral import draw_ancestors
from .flat import FlatPosterior
from .function import Function
from .ignored import flat_at, leaves_without_prior, warn_of_ignored
from .observed import ObservedByName, observed
from .posterior import Posterior
from .prior_plan import Term
from .spec_from_prior import spec_from_prior
from .start_faults import refuse_start
from .starts import Starts, find_starts
from .target import Target, dtype_of, negative_hessian
