"""From a posterior to draws: one call that learns coordinates, tunes and draws."""

from .calibrate import calibrate
from .calibration import Calibration
from .sample import sample
