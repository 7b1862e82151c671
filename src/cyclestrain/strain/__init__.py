"""Strain from transforms: references, equivalent labellings, areas of one crystal, elliptic distortion.

The functions take fields of affine transforms and return strain and rotation relative to a reference, with covariance.
"""

from cyclestrain.strain.branches import grain_rotation, strain_in_grains
from cyclestrain.strain.choice import Wanted, mask_text, parse_reference, pick_reference, without_reference
from cyclestrain.strain.coherence import agreeing_neighbours
from cyclestrain.strain.ellipse import Ellipse, measure_ellipse
from cyclestrain.strain.jacobians import jacobian
from cyclestrain.strain.maps import relative_strain, turn_axes
from cyclestrain.strain.reference import Reference
from cyclestrain.strain.same_crystal import Lattices, is_same_crystal, is_same_lattice, same_crystal

__all__ = [
    "Ellipse",
    "Lattices",
    "Reference",
    "Wanted",
    "agreeing_neighbours",
    "grain_rotation",
    "is_same_crystal",
    "is_same_lattice",
    "jacobian",
    "mask_text",
    "measure_ellipse",
    "parse_reference",
    "pick_reference",
    "relative_strain",
    "same_crystal",
    "strain_in_grains",
    "turn_axes",
    "without_reference",
]
