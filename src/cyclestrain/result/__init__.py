"""The result of a run: a data set of maps with its provenance, as a file, as text, and in formats of other programs."""

from cyclestrain.result.dataset import MapResult, assemble, dictionary_dataset
from cyclestrain.result.description import describe, describe_result
from cyclestrain.result.exports.export import export_maps
from cyclestrain.result.file import load_group, load_result, save_result
from cyclestrain.result.patterns import expected, pattern_variables, predicted, recorded_pattern
from cyclestrain.result.provenance import origin, provenance

__all__ = [
    "MapResult",
    "assemble",
    "describe",
    "describe_result",
    "dictionary_dataset",
    "expected",
    "export_maps",
    "load_group",
    "load_result",
    "origin",
    "pattern_variables",
    "predicted",
    "provenance",
    "recorded_pattern",
    "save_result",
]
