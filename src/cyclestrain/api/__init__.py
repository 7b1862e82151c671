"""The commands as Python functions, with the same names and arguments.

Angles given here are degrees, as on the command line; see docs/conventions.md.
"""

from cyclestrain.api.benchmarks import benchmark
from cyclestrain.api.demonstration import Demo, demo
from cyclestrain.api.exploring import explore
from cyclestrain.api.fitting import fit
from cyclestrain.api.following import live
from cyclestrain.api.inspection import export, info, intensities, load, show
from cyclestrain.api.many import Batch, map_many
from cyclestrain.api.mapping import map
from cyclestrain.api.membranes import tilt_series
from cyclestrain.api.microstructure import defects, grains
from cyclestrain.api.probing import probe
from cyclestrain.api.reporting import report
from cyclestrain.api.simulation import simulate
from cyclestrain.api.specimen import tilt
from cyclestrain.api.warming import WarmUp, warm_up

__all__ = [
    "Batch",
    "Demo",
    "WarmUp",
    "benchmark",
    "defects",
    "demo",
    "explore",
    "export",
    "fit",
    "grains",
    "info",
    "intensities",
    "live",
    "load",
    "map",
    "map_many",
    "probe",
    "report",
    "show",
    "simulate",
    "tilt",
    "tilt_series",
    "warm_up",
]
