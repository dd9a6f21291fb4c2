"""From a posterior to draws: one call that learns coordinates, tunes and draws."""

from .sample import sample
