"""From a posterior to draws: one call that learns coordinates, tunes and draws."""

from .calibrate import calibrate
from .calibration import Calibration
from .fit_maps import MapsReport, fit_maps
from .sample import sample
