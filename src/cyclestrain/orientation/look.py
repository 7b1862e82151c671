"""First look at patterns: beam centres, and correlations with the templates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclestrain.calibration import locate_beam
from cyclestrain.data import BoolArray, Calibration, FloatArray
from cyclestrain.machine import batch, thread_count
from cyclestrain.orientation.correlation import Alignment, align, correlations
from cyclestrain.orientation.polar import Pixels, to_polar
from cyclestrain.orientation.templates import Templates

__all__ = ["Look", "look"]


@dataclass(frozen=True)
class Look:
    """Outcome of a first look at patterns.

    Attributes
    ----------
    centre
        Beam centre ``(y, x)``, pixels, shape ``(n, 2)``.
    correlation
        Correlation with every template over all angles, shape ``(n, class, angle)``.
    """

    centre: FloatArray
    correlation: NDArray[np.float32]

    def only(self, which: BoolArray) -> Look:
        """That of some of the patterns, chosen by a mask of shape ``(n,)``."""
        return Look(self.centre[which], self.correlation[which])

    @property
    def alignment(self) -> Alignment:
        """Best class and rotation of each pattern."""
        return align(self.correlation)


def look(patterns: NDArray[Any], calibration: Calibration, smooth: FloatArray, templates: Templates) -> Look:
    """Find the beam centre of patterns and correlate them with the templates.

    Parameters
    ----------
    patterns
        Counts, shape ``(n, qy, qx)``.
    calibration
        Calibration of the detector.
    smooth
        Beam centre ``(y, x)`` that the calibration expects in each pattern, pixels, shape ``(n, 2)``.
    templates
        Polar templates of the classes.
    """
    centre = locate_beam(patterns, calibration, smooth)
    size = batch(patterns[:1].nbytes, thread_count())
    parts = [slice(first, first + size) for first in range(0, max(len(patterns), 1), size)]
    pixels = Pixels.of(calibration.good, templates.grid.box)
    polar = (to_polar(patterns[part], pixels, centre[part], templates.grid) for part in parts)
    return Look(centre, np.concatenate([correlations(each, templates) for each in polar]))
