"""Reading of scans in every vendor's format, lazily, and writing of files, whole or not at all.

The functions take a path and the way to read it, and return a `cyclestrain.data.Scan`. Nothing here depends on the
meaning of the patterns.
"""

from cyclestrain.io.atomic import check_writable, write_folder, write_whole
from cyclestrain.io.check import ValueRange, check_patterns, check_range
from cyclestrain.io.masks import is_mask, mask_text, parse_mask, sample_mask
from cyclestrain.io.read import read
from cyclestrain.io.regions import is_region, parse_region
from cyclestrain.io.sample import fingerprint, sample_patterns, sample_positions

__all__ = [
    "ValueRange",
    "check_patterns",
    "check_range",
    "check_writable",
    "fingerprint",
    "is_mask",
    "is_region",
    "mask_text",
    "parse_mask",
    "parse_region",
    "read",
    "sample_mask",
    "sample_patterns",
    "sample_positions",
    "write_folder",
    "write_whole",
]
