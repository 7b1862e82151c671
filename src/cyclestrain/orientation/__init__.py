"""Coarse rotation and class of every pattern, without any starting guess.

The functions take patterns and their beam centres and return correlations with polar templates, which are learned from
the scan.
"""

from cyclestrain.orientation.bootstrap import learn_templates
from cyclestrain.orientation.correlation import (
    Alignment,
    align,
    class_confidence,
    correlation_noise,
    correlations,
    shows_nothing,
)
from cyclestrain.orientation.look import Look, look
from cyclestrain.orientation.polar import PolarGrid, to_polar
from cyclestrain.orientation.templates import Templates

__all__ = [
    "Alignment",
    "Look",
    "PolarGrid",
    "Templates",
    "align",
    "class_confidence",
    "correlation_noise",
    "correlations",
    "learn_templates",
    "look",
    "shows_nothing",
    "to_polar",
]
