"""Effects of detector and beam that are the same for every pattern, measured without a crystal.

The functions take a scan and return a sample of it in memory and a `cyclestrain.data.Calibration`: the level from which
the detector counts, bad pixels, beam centres, disk radius, ring; and how the axes of the scan lie on the detector.
"""

from cyclestrain.calibration.beam import largest_radius, locate_beam
from cyclestrain.calibration.calibrate import calibrate
from cyclestrain.calibration.moments import mean_and_noise, neighbouring_pairs
from cyclestrain.calibration.pedestal import Levelled, above_pedestal, levelled
from cyclestrain.calibration.scan_geometry import ScanGeometry, geometry_from_centres, measure_scan_geometry
from cyclestrain.calibration.subset import Sample, draw_sample, held
from cyclestrain.calibration.vacuum import Vacuum, extent_of_beam, measure_vacuum

__all__ = [
    "Levelled",
    "Sample",
    "ScanGeometry",
    "Vacuum",
    "above_pedestal",
    "calibrate",
    "draw_sample",
    "extent_of_beam",
    "geometry_from_centres",
    "held",
    "largest_radius",
    "levelled",
    "locate_beam",
    "mean_and_noise",
    "measure_scan_geometry",
    "measure_vacuum",
    "neighbouring_pairs",
]
