"""Pictures, by matplotlib."""

from .geometry import plot_geometry
from .prior import plot_prior
from .ranks import plot_ranks
