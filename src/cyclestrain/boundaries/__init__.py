"""Positions where the probe holds several crystals, or a crystal and vacuum: which ones, and the share of each.

The functions take the smoothed field of a scan and return candidates for every pattern near a change of crystal, and
their shares.
"""

from cyclestrain.boundaries.mixtures import Mixtures
from cyclestrain.boundaries.sides import Sides, find_sides, lattices_of

__all__ = ["Mixtures", "Sides", "find_sides", "lattices_of"]
