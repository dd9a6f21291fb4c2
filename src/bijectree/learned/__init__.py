"""Coordinates fitted to a posterior.

The *base* is the standard normal density that a fitted map leads from. A *window* is some
consecutive steps of chains. A *guide* is a map of the base near to the posterior, so that
short chains from there suffice. *Figures* compare the coordinates before and after a fit
on held-out draws. *Spent* counts gradients of the log-density, a *score* is one of them,
and a *share* is the λ of an element.
"""

from .fit_affine import fit_affine
from .fit_centeredness import fit_centeredness
from .fit_flow import fit_flow
from .fit_report import FitReport
from .flow import Flow
from .low_rank import LowRankAffine
