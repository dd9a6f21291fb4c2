"""Every bijector held to its promises.

*Room* is how far a free value may move before the map saturates, so that the leaf no
longer follows. *Findings* are what was found of one leaf.
"""

from .check import check
