"""Every bijector held to its promises.

A map *saturates* where moving the free value no longer changes the leaf. *Room* is how
far a free value may move before that. *Findings* are what was found of one leaf.
"""

from .check import check
