"""The end of the detector's scale: the count at which pixels stop counting."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import BoolArray

__all__ = ["find_ceiling"]

LEAST_PIXELS = 20.0
"""Least number of pixels at the ceiling, or expected beyond it, to be sure."""
PILED = 5.0
"""How many times more pixels show the largest value than each of the values just below it."""
BELOW = 0.15
"""Part of the scale below the largest value with which it is compared."""


def find_ceiling(patterns: NDArray[Any], good: BoolArray, pedestal: float = 0.0) -> float:
    """Largest value that a pixel can show, infinity where the patterns stay below it.

    Counts above the end of a scale (that of the integer type, or of a counter of 1, 6 or 12 bits) pile up there. Where
    the largest value is 1, it is the end if pixels that bright would often have counted twice.

    Parameters
    ----------
    patterns
        Values, shape ``(n, qy, qx)``.
    good
        Detector pixels that can be trusted, shape ``(qy, qx)``.
    pedestal
        Value of the file that was subtracted: scales end at a whole number.
    """
    highest = np.where(good, patterns.max(0, initial=0), 0)
    largest = float(highest.max(initial=0))
    at_end = int((patterns[:, (highest == largest) & good] == largest).sum())
    whole = abs(largest + pedestal - round(largest + pedestal)) < 1e-3
    if largest <= 0 or not whole or at_end < LEAST_PIXELS:
        return float("inf")
    if largest == 1.0:
        lit = patterns.mean(0, dtype=np.float64)[good]
        both = 0.5 * len(patterns) * float((lit**2).sum())  # of independent counts of 0, 1, 2, ...
        return 1.0 if both > LEAST_PIXELS else float("inf")
    lowest = (1.0 - BELOW) * largest
    near = patterns[:, good & (highest >= lowest)]
    below = int(((near >= lowest) & (near < largest)).sum())
    values = max(largest - np.ceil(lowest), 1.0)
    return largest if at_end > PILED * max(below / values, 1.0) else float("inf")
