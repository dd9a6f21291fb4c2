"""Coordinates fitted to a posterior."""

from .fit_affine import fit_affine as fit_affine
from .fit_centeredness import fit_centeredness as fit_centeredness
from .fit_flow import fit_flow as fit_flow
from .fit_report import FitReport as FitReport
