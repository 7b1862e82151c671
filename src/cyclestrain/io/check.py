"""Checks that values can be diffraction patterns, block by block while they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclestrain.errors import InputError

__all__ = ["ValueRange", "can_be_wrong", "check_patterns", "check_range"]

NEGATIVE_SHARE = 0.5
"""Most negative value allowed, as a share of the largest: read noise stays far below it, an offset does not."""

LARGEST_VALUE = 1e15
"""Largest value that can be an intensity: squares of it, and sums of these, stay far from the limits of numbers."""


@dataclass(frozen=True)
class ValueRange:
    """Lowest and highest value seen; ``a | b`` is the range of both."""

    lowest: float
    highest: float

    def __or__(self, other: ValueRange) -> ValueRange:
        return ValueRange(min(self.lowest, other.lowest), max(self.highest, other.highest))


def check_patterns(patterns: NDArray[Any], first_position: int = 0) -> ValueRange:
    """Range of the values of one block of patterns, which must all be finite.

    Parameters
    ----------
    patterns
        Shape ``(n, qy, qx)``.
    first_position
        Flat (row-major) scan position of the first pattern, for the message.

    Returns
    -------
    ValueRange
        To be joined with ``|`` over all blocks and given to `check_range`: one block alone may be vacuum.

    Raises
    ------
    InputError
        If a value is NaN or infinite, or beyond `LARGEST_VALUE`.
    """
    if patterns.size == 0:
        return ValueRange(np.inf, -np.inf)
    # min and max carry NaN and infinity along, so good data costs two passes and no temporary array
    lowest, highest = float(patterns.min()), float(patterns.max())
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        bad = ~np.isfinite(patterns)
        n, qy, qx = np.unravel_index(int(bad.argmax()), patterns.shape)
        raise InputError(
            f"{int(bad.sum())} values are NaN or infinite, the first at scan position {first_position + int(n)}, "
            f"detector pixel ({int(qy)}, {int(qx)}); replace them, for example with numpy.nan_to_num, before mapping"
        )
    if max(highest, -lowest) > LARGEST_VALUE:
        at = int(np.argmax(np.abs(patterns).max((1, 2)) > LARGEST_VALUE))
        raise InputError(
            f"scan position {first_position + at} has values of {max(highest, -lowest):.3g}, which no detector counts; "
            "check the type of the numbers and the file"
        )
    return ValueRange(lowest, highest)


def can_be_wrong(dtype: np.dtype[Any]) -> bool:
    """Whether values of a type may be such that `check_patterns` refuses them: small whole numbers cannot.

    Parameters
    ----------
    dtype
        Type of the values.
    """
    return dtype.kind not in "iu" or np.iinfo(dtype).max > LARGEST_VALUE


def check_range(values: ValueRange, name: str) -> None:
    """Check that the values of a whole scan can be intensities.

    Parameters
    ----------
    values
        Range over all blocks.
    name
        Name of the scan, for the message.

    Raises
    ------
    InputError
        If all values are equal, or negative ones are too large for read noise.
    """
    if values.highest <= 0 and values.lowest >= 0:
        raise InputError(f"{name} holds only zeros, no pattern has any signal; check that the recording was saved")
    if values.lowest == values.highest and np.isfinite(values.lowest):
        raise InputError(f"{name} holds the one value {values.lowest:g} everywhere; check that the recording was saved")
    if values.lowest < 0 and -values.lowest > NEGATIVE_SHARE * values.highest:
        raise InputError(
            f"{name} has values down to {values.lowest:g} where the largest is {values.highest:g}; "
            "patterns are intensities, subtract the offset (or undo the logarithm or difference) first"
        )
