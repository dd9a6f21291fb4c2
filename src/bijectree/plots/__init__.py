"""Pictures, by matplotlib."""

from .geometry import plot_geometry as plot_geometry
from .prior import plot_prior as plot_prior
