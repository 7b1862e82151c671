"""Figures of results, dictionaries and trainings, drawn with matplotlib, which is loaded with this room alone."""

from cyclestrain.figures.accuracy_maps import accuracy_figure
from cyclestrain.figures.dislocations import dislocation_figure
from cyclestrain.figures.example_patterns import Example, examples_figure
from cyclestrain.figures.figures import (
    dictionary_figure,
    result_figures,
    save_figure,
    save_figures,
    strain_figure,
    training_figure,
    write_figures,
)
from cyclestrain.figures.intensity_maps import intensity_figure
from cyclestrain.figures.network_view import network_figure
from cyclestrain.figures.probe_view import probe_figure
from cyclestrain.figures.specimen_maps import specimen_figure
from cyclestrain.figures.uncertainty_maps import uncertainty_figure

__all__ = [
    "Example",
    "accuracy_figure",
    "dictionary_figure",
    "dislocation_figure",
    "examples_figure",
    "intensity_figure",
    "network_figure",
    "probe_figure",
    "result_figures",
    "save_figure",
    "save_figures",
    "specimen_figure",
    "strain_figure",
    "training_figure",
    "uncertainty_figure",
    "write_figures",
]
