"""Axis order of arrays written by MATLAB, which stores them column by column."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["axis_order", "is_matlab"]

SAME_BRIGHTNESS = 0.5
"""Relative spread of sums below which 2-D slices are whole patterns; images of one pixel each spread far more."""

LARGEST_SLICE = 128 * 2**20
"""Size of a 2-D slice, bytes, beyond which none is read: no detector and hardly a scan is as large."""


def is_matlab(path: Path) -> bool:
    """Whether `path` is a MATLAB v7.3 file (HDF5 behind a 512-byte text header)."""
    with path.open("rb") as stream:
        return stream.read(10) == b"MATLAB 7.3"


def _patterns_last(dataset: Any) -> bool:
    """Whether the last two stored axes are the detector.

    Diffraction patterns of one scan have about the same sum; the images of single detector pixels, which is what
    the last two axes hold otherwise, range from the direct beam to nearly nothing. Only whole contiguous slices are
    read. Where there is no signal, or slices are too large, the larger pair of axes is the detector.
    """
    first, last = (math.prod(int(size) for size in pair) for pair in (dataset.shape[:2], dataset.shape[2:]))
    if last * dataset.dtype.itemsize > LARGEST_SLICE:
        return last > first
    grid = [np.unique(np.linspace(0, size - 1, 5).astype(int)) for size in dataset.shape[:2]]
    sums = np.array([np.sum(dataset[i, j], dtype=np.float64) for i in grid[0] for j in grid[1]])
    if sums.size > 1 and np.all(np.isfinite(sums)) and sums.mean() > 0:
        return bool(sums.std() < SAME_BRIGHTNESS * sums.mean())
    return last > first


def axis_order(dataset: Any) -> tuple[int, ...]:
    """Axes of the stored array in the order ``(ry, rx, qy, qx)``.

    HDF5 shows a MATLAB array with its axes reversed. MATLAB's ``(ry, rx, qy, qx)`` is stored as ``(qx, qy, rx, ry)``,
    its more common ``(qy, qx, ry, rx)`` as ``(rx, ry, qx, qy)``; the values decide which it is.
    """
    if len(dataset.shape) != 4:
        return tuple(range(len(dataset.shape)))[::-1] if len(dataset.shape) == 2 else (0, 2, 1)
    return (1, 0, 3, 2) if _patterns_last(dataset) else (3, 2, 1, 0)
