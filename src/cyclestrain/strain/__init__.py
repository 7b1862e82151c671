"""Strain from transforms: references, equivalent labellings, areas of one crystal, elliptic distortion.

The functions take fields of affine transforms and return strain and rotation relative to a reference, with covariance.
"""

from cyclestrain.strain.coherence import agreeing_neighbours, smooth_rotation
from cyclestrain.strain.ellipse import Ellipse, measure_ellipse
from cyclestrain.strain.jacobians import jacobian
from cyclestrain.strain.maps import relative_strain, turn_axes
from cyclestrain.strain.reference import Reference, parse_reference, pick_reference
from cyclestrain.strain.same_crystal import Lattices, is_same_crystal, is_same_lattice, same_crystal

__all__ = [
    "Ellipse",
    "Lattices",
    "Reference",
    "agreeing_neighbours",
    "is_same_crystal",
    "is_same_lattice",
    "jacobian",
    "measure_ellipse",
    "parse_reference",
    "pick_reference",
    "relative_strain",
    "same_crystal",
    "smooth_rotation",
    "turn_axes",
]
