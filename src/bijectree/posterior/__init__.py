"""Priors, likelihood and log-det, added once."""

from .posterior import FlatPosterior as FlatPosterior, Posterior as Posterior
from .target import (
    Target as Target,
    dtype_of as dtype_of,
    negative_hessian as negative_hessian,
)
