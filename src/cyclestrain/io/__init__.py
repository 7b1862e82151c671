"""Reading of scans in every vendor's format, lazily.

The functions take a path and the way to read it, and return a `cyclestrain.data.Scan`. Nothing here depends on the
meaning of the patterns.
"""

from cyclestrain.io.check import ValueRange, can_be_wrong, check_patterns, check_range
from cyclestrain.io.contents import Contents, contents_of, file_state, watched
from cyclestrain.io.masks import image_of_text, image_text, is_mask, mask_text, parse_mask, sample_mask
from cyclestrain.io.numpy_files import ArrayHeader, load_npy
from cyclestrain.io.read import read, read_images
from cyclestrain.io.regions import crop, is_region, parse_region
from cyclestrain.io.sample import fingerprint, sample_patterns, sample_positions

__all__ = [
    "ArrayHeader",
    "Contents",
    "ValueRange",
    "can_be_wrong",
    "check_patterns",
    "check_range",
    "contents_of",
    "crop",
    "file_state",
    "fingerprint",
    "image_of_text",
    "image_text",
    "is_mask",
    "is_region",
    "load_npy",
    "mask_text",
    "parse_mask",
    "parse_region",
    "read",
    "read_images",
    "sample_mask",
    "sample_patterns",
    "sample_positions",
    "watched",
]
