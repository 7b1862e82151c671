"""What the detector and the beam do to every pattern, measured before any crystal is looked for.

In goes a scan, out come a sample of it held in memory and a `cyclestrain.data.Calibration`: the level from which the
detector counts, bad pixels, beam centres, disk radius, ring.
"""

from cyclestrain.calibration.beam import locate_beam
from cyclestrain.calibration.calibrate import calibrate
from cyclestrain.calibration.pedestal import above_pedestal, levelled
from cyclestrain.calibration.subset import Sample, draw_sample, sample_budget

__all__ = ["Sample", "above_pedestal", "calibrate", "draw_sample", "levelled", "locate_beam", "sample_budget"]
