"""The result of a run: a data set of maps with its provenance, as a file, as text, and in formats of other programs."""

from cyclestrain.result.dataset import MapResult, assemble, dictionary_dataset
from cyclestrain.result.derived import curvature, principal
from cyclestrain.result.description import describe, describe_result
from cyclestrain.result.exports.export import export_maps
from cyclestrain.result.exports.hyperspy_signal import hyperspy_signal
from cyclestrain.result.file import load_group, load_result, open_group, save_result
from cyclestrain.result.intensities import intensities_dataset, virtual_dark_field
from cyclestrain.result.lines import profile
from cyclestrain.result.patterns import expected, pattern_variables, pixel_noise, predicted, recorded_pattern
from cyclestrain.result.provenance import origin, provenance
from cyclestrain.result.transforms import Transforms, mixture_variables, relative_to, stored_pixel

__all__ = [
    "MapResult",
    "Transforms",
    "assemble",
    "curvature",
    "describe",
    "describe_result",
    "dictionary_dataset",
    "expected",
    "export_maps",
    "hyperspy_signal",
    "intensities_dataset",
    "load_group",
    "load_result",
    "mixture_variables",
    "open_group",
    "origin",
    "pattern_variables",
    "pixel_noise",
    "predicted",
    "principal",
    "profile",
    "provenance",
    "recorded_pattern",
    "relative_to",
    "save_result",
    "stored_pixel",
    "virtual_dark_field",
]
