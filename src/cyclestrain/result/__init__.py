"""The result of a run: a data set of maps with its provenance, as a file, as text, and in formats of other programs."""

from cyclestrain.result.choosing import interpolated, next_positions
from cyclestrain.result.dataset import MapResult, assemble, dictionary_dataset, maps_beside, with_sigma
from cyclestrain.result.derived import curvature, principal, principal_estimates, strain_covariance
from cyclestrain.result.description import describe, describe_result
from cyclestrain.result.exports.export import export_maps
from cyclestrain.result.exports.hyperspy_signal import hyperspy_signal
from cyclestrain.result.file import load_group, load_result, open_group, save_result
from cyclestrain.result.intensities import intensities_dataset, measured_reflections, virtual_dark_field
from cyclestrain.result.lines import profile
from cyclestrain.result.patterns import (
    Predicted,
    Predictions,
    expected,
    pattern_variables,
    pixel_noise,
    predicted,
    recorded_pattern,
    stored_entries,
)
from cyclestrain.result.provenance import origin, provenance
from cyclestrain.result.summary import Summary, add_to_table, as_table, read_table, summarise
from cyclestrain.result.transforms import Transforms, mixture_variables, relative_to, stored_pixel

__all__ = [
    "MapResult",
    "Predicted",
    "Predictions",
    "Summary",
    "Transforms",
    "add_to_table",
    "as_table",
    "assemble",
    "curvature",
    "describe",
    "describe_result",
    "dictionary_dataset",
    "expected",
    "export_maps",
    "hyperspy_signal",
    "intensities_dataset",
    "interpolated",
    "load_group",
    "load_result",
    "maps_beside",
    "measured_reflections",
    "mixture_variables",
    "next_positions",
    "open_group",
    "origin",
    "pattern_variables",
    "pixel_noise",
    "predicted",
    "principal",
    "principal_estimates",
    "profile",
    "provenance",
    "read_table",
    "recorded_pattern",
    "relative_to",
    "save_result",
    "stored_entries",
    "stored_pixel",
    "strain_covariance",
    "summarise",
    "virtual_dark_field",
    "with_sigma",
]
