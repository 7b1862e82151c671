"""Strain from transforms: references, equivalent labellings, areas of one crystal, elliptic distortion.

The functions take fields of affine transforms and return strain and rotation relative to a reference, with covariance.
"""

from cyclestrain.strain.branches import coherent_areas, grain_labels, grain_rotation, strain_in_grains
from cyclestrain.strain.choice import Wanted, parse_reference, pick_reference, without_reference
from cyclestrain.strain.coherence import agreeing_neighbours
from cyclestrain.strain.derived import Estimate, dilation, principal_strains, rotation_gradient
from cyclestrain.strain.ellipse import Ellipse, measure_ellipse
from cyclestrain.strain.jacobians import jacobian
from cyclestrain.strain.known import (
    KnownCell,
    KnownLattice,
    known_cells,
    lattices_text,
    parse_known,
    reduced,
    stored_lattices,
)
from cyclestrain.strain.maps import relative_strain, turn_axes
from cyclestrain.strain.matching import pixel_size, rank_known
from cyclestrain.strain.reference import Reference
from cyclestrain.strain.same_crystal import Lattices, is_same_crystal, is_same_lattice, nearest_step, same_crystal
from cyclestrain.strain.variants import relabelled

__all__ = [
    "Ellipse",
    "Estimate",
    "KnownCell",
    "KnownLattice",
    "Lattices",
    "Reference",
    "Wanted",
    "agreeing_neighbours",
    "coherent_areas",
    "dilation",
    "grain_labels",
    "grain_rotation",
    "is_same_crystal",
    "is_same_lattice",
    "jacobian",
    "known_cells",
    "lattices_text",
    "measure_ellipse",
    "nearest_step",
    "parse_known",
    "parse_reference",
    "pick_reference",
    "pixel_size",
    "principal_strains",
    "rank_known",
    "reduced",
    "relabelled",
    "relative_strain",
    "rotation_gradient",
    "same_crystal",
    "stored_lattices",
    "strain_in_grains",
    "turn_axes",
    "without_reference",
]
