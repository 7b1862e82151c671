"""Tilt, thickness and polarization of a specimen, from the intensities of its reflections.

In go the intensities of a result and, where it is known, the crystal; out come maps with uncertainty and cautions. The
library of a known crystal is computed from Bloch waves, so that the simulator (multislice) stays an independent judge.
"""

from cyclestrain.specimen.asymmetry import dipole, friedel_asymmetry
from cyclestrain.specimen.fitting import Measured, fit_library
from cyclestrain.specimen.library import Axes, Library
from cyclestrain.specimen.measure import measure_specimen
from cyclestrain.specimen.membrane_maps import membrane_maps
from cyclestrain.specimen.structure import Zone, wavelength
from cyclestrain.specimen.verdict import Caution

__all__ = [
    "Axes",
    "Caution",
    "Library",
    "Measured",
    "Zone",
    "dipole",
    "fit_library",
    "friedel_asymmetry",
    "measure_specimen",
    "membrane_maps",
    "wavelength",
]
