"""Positions where the probe holds several crystals, or a crystal and vacuum: which, and how much of each.

In goes the smoothed field of a scan, out come candidates for every pattern near a change of crystal, and their shares.
"""

from cyclestrain.boundaries.mixtures import Mixtures
from cyclestrain.boundaries.sides import Sides, find_sides

__all__ = ["Mixtures", "Sides", "find_sides"]
