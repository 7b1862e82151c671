"""Simulated scans with a known truth, against which everything else is measured.

Disks are drawn where the strained lattice puts them; nothing here uses the model, the fit or the refinement.
"""

from cyclestrain.simulation.acquisition import Acquisition, AcquisitionOptions
from cyclestrain.simulation.lattice import LATTICES
from cyclestrain.simulation.phantoms import PHANTOMS, dislocation, features, polycrystal, ripple, two_phase, uniform
from cyclestrain.simulation.recorded import record
from cyclestrain.simulation.sample import SimulatedScan
from cyclestrain.simulation.storage import has_truth, load_truth, save

__all__ = [
    "LATTICES",
    "PHANTOMS",
    "Acquisition",
    "AcquisitionOptions",
    "SimulatedScan",
    "dislocation",
    "features",
    "has_truth",
    "load_truth",
    "polycrystal",
    "record",
    "ripple",
    "save",
    "two_phase",
    "uniform",
]
