"""The model of one pattern: dictionary entries, their disks, and the likelihood of the counts they explain.

The functions take patterns, an entry and a start, and return fitted transforms with their covariance. NumPy and Numba
only.
"""

from cyclestrain.pattern.approach import approach, approach_by_shells
from cyclestrain.pattern.blur import blur_levels
from cyclestrain.pattern.common_shift import outwards, radial_shifts
from cyclestrain.pattern.decompose import Candidates, Decomposition, decompose
from cyclestrain.pattern.dictionary import Dictionary, Entry, Priors
from cyclestrain.pattern.disk import fit_edge, pixelated_disk, seen_edge
from cyclestrain.pattern.disk_images import NO_IMAGES, DiskImages, stacked_images
from cyclestrain.pattern.image import expected_image
from cyclestrain.pattern.intensities import Intensities, disks_touch, measure_intensities
from cyclestrain.pattern.labelling import likelier_labelling
from cyclestrain.pattern.light import shift_design
from cyclestrain.pattern.normal_equations import Palette
from cyclestrain.pattern.probe import Probe, disk_profile
from cyclestrain.pattern.refine import START_ONLY, PatternFit, Start, blurs_in, predicted_positions, refine
from cyclestrain.pattern.windows import Windows, WindowStack, gather, in_place

__all__ = [
    "NO_IMAGES",
    "START_ONLY",
    "Candidates",
    "Decomposition",
    "Dictionary",
    "DiskImages",
    "Entry",
    "Intensities",
    "Palette",
    "PatternFit",
    "Priors",
    "Probe",
    "Start",
    "WindowStack",
    "Windows",
    "approach",
    "approach_by_shells",
    "blur_levels",
    "blurs_in",
    "decompose",
    "disk_profile",
    "disks_touch",
    "expected_image",
    "fit_edge",
    "gather",
    "in_place",
    "likelier_labelling",
    "measure_intensities",
    "outwards",
    "pixelated_disk",
    "predicted_positions",
    "radial_shifts",
    "refine",
    "seen_edge",
    "shift_design",
    "stacked_images",
]
