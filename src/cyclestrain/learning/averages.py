"""Averages of patterns in a common frame."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cyclestrain.data import BoolArray, FloatArray

__all__ = ["average_turned", "distance_from_centre", "radial_median"]


def average_turned(
    patterns: NDArray[Any], good: BoolArray, centres: FloatArray, affine: FloatArray, size: int
) -> tuple[FloatArray, FloatArray]:
    """Average of patterns brought into the entry's frame, and number of patterns that reached each of its pixels.

    Parameters
    ----------
    patterns
        Counts, shape ``(n, qy, qx)``.
    good
        Detector pixels that can be trusted, shape ``(qy, qx)``.
    centres
        Beam centres ``(y, x)``, pixels, shape ``(n, 2)``.
    affine
        Affine from the entry to each pattern, shape ``(n, 2, 2)``.
    size
        Reach of the average from its centre, pixels.

    Returns
    -------
    mean, coverage
        Shape ``(2 size + 1, 2 size + 1)`` each.
    """
    total = np.zeros((2, 2 * size + 1, 2 * size + 1))
    _accumulate(patterns, good, np.ascontiguousarray(centres), np.ascontiguousarray(affine), size, total)
    return total[0] / np.maximum(total[1], 1), total[1]


@nb.njit(parallel=True, cache=True)
def _accumulate(patterns: Any, good: Any, centres: Any, affine: Any, size: int, total: Any) -> None:  # pragma: no cover
    n_y, n_x = good.shape
    for i in nb.prange(2 * size + 1):
        for n in range(patterns.shape[0]):
            for j in range(2 * size + 1):
                y = centres[n, 0] + affine[n, 0, 0] * (i - size) + affine[n, 0, 1] * (j - size)
                x = centres[n, 1] + affine[n, 1, 0] * (i - size) + affine[n, 1, 1] * (j - size)
                iy, ix = int(np.floor(y)), int(np.floor(x))
                if iy < 0 or ix < 0 or iy >= n_y - 1 or ix >= n_x - 1:
                    continue
                if not (good[iy, ix] and good[iy + 1, ix] and good[iy, ix + 1] and good[iy + 1, ix + 1]):
                    continue
                fy, fx = y - iy, x - ix
                low = patterns[n, iy, ix] * (1 - fx) + patterns[n, iy, ix + 1] * fx
                high = patterns[n, iy + 1, ix] * (1 - fx) + patterns[n, iy + 1, ix + 1] * fx
                total[0, i, j] += low * (1 - fy) + high * fy
                total[1, i, j] += 1.0


def distance_from_centre(image: FloatArray) -> FloatArray:
    """Distance of every pixel from the middle of an image, pixels, in the shape of the image."""
    centre = (np.array(image.shape) - 1) / 2
    y, x = np.indices(image.shape)
    return np.hypot(y - centre[0], x - centre[1])


def radial_median(image: FloatArray, coverage: FloatArray | None = None) -> FloatArray:
    """Median at each integer radius about the image's centre, shape ``(radius,)``.

    Parameters
    ----------
    image
        Centred average.
    coverage
        Number of patterns behind each pixel; pixels without any are left out. By default all count.
    """
    radius = np.rint(distance_from_centre(image)).astype(int)
    seen = np.ones(image.shape, bool) if coverage is None else coverage > 0
    index = np.arange(radius[seen].max() + 1)
    values = np.asarray(ndimage.median(image[seen], radius[seen], index), float)
    return np.interp(index, index[np.isfinite(values)], values[np.isfinite(values)])
