"""The transform of every pattern of a scan: by itself, from sums with its neighbours, refitted from their estimates.

The functions take blocks of patterns and what was learned, and return `BlockFit`s, which are gathered into the fields
of the scan. What is done to a block is a pure function, so that threads, a cluster or a live stream can run it.
"""

from cyclestrain.estimation.block import BlockFit, chunks, fit_from_start
from cyclestrain.estimation.compiling import COMPILING, cache_folder, is_compiled, wake_compiler
from cyclestrain.estimation.crystals import to_fields
from cyclestrain.estimation.doubts import unexplained, with_doubts
from cyclestrain.estimation.first_pass import first_look, first_pass, fit_alone, fit_sums
from cyclestrain.estimation.intensities import scan_intensities
from cyclestrain.estimation.running import HERE, Here, Part, Runner, Work
from cyclestrain.estimation.second_pass import Starts, explain_boundaries, find_starts, fit_again, second_pass
from cyclestrain.estimation.unsettled import with_unsettled

__all__ = [
    "COMPILING",
    "HERE",
    "BlockFit",
    "Here",
    "Part",
    "Runner",
    "Starts",
    "Work",
    "cache_folder",
    "chunks",
    "explain_boundaries",
    "find_starts",
    "first_look",
    "first_pass",
    "fit_again",
    "fit_alone",
    "fit_from_start",
    "fit_sums",
    "is_compiled",
    "scan_intensities",
    "second_pass",
    "to_fields",
    "unexplained",
    "wake_compiler",
    "with_doubts",
    "with_unsettled",
]
