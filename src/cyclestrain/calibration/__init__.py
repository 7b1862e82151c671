"""Effects of detector and beam that are the same for every pattern, measured without a crystal.

The functions take a scan and return a sample of it in memory and a `cyclestrain.data.Calibration`: the level from which
the detector counts, bad pixels, beam centres, disk radius, ring; and how the axes of the scan lie on the detector.
"""

from cyclestrain.calibration.beam import locate_beam
from cyclestrain.calibration.calibrate import calibrate
from cyclestrain.calibration.pedestal import Levelled, above_pedestal, levelled
from cyclestrain.calibration.scan_geometry import ScanGeometry, geometry_from_centres, measure_scan_geometry
from cyclestrain.calibration.subset import Sample, draw_sample, held

__all__ = [
    "Levelled",
    "Sample",
    "ScanGeometry",
    "above_pedestal",
    "calibrate",
    "draw_sample",
    "geometry_from_centres",
    "held",
    "levelled",
    "locate_beam",
    "measure_scan_geometry",
]
