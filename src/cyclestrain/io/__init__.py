"""Files in and out: any 4D-STEM scan becomes a lazy `Scan`, results are written whole or not at all."""

from cyclestrain.io.atomic import check_writable, write_whole
from cyclestrain.io.check import ValueRange, check_patterns, check_range
from cyclestrain.io.exports import export_maps
from cyclestrain.io.inspect import ScanDescription, describe, describe_result
from cyclestrain.io.read import read
from cyclestrain.io.results import load_group, load_result, save_result
from cyclestrain.io.sample import fingerprint, sample_patterns, sample_positions

__all__ = [
    "ScanDescription",
    "ValueRange",
    "check_patterns",
    "check_range",
    "check_writable",
    "describe",
    "describe_result",
    "export_maps",
    "fingerprint",
    "load_group",
    "load_result",
    "read",
    "sample_patterns",
    "sample_positions",
    "save_result",
    "write_whole",
]
