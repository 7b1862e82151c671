"""Coarse rotation and class of every pattern, from nothing: a first look at it.

In go patterns and their beam centres, out come correlations with polar templates; the templates grow from the scan.
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
