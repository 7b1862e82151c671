"""Averages of patterns in a common frame."""

from __future__ import annotations

from typing import Any, NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import BoolArray, FloatArray, IntArray
from cyclestrain.loops import on_threads, part

__all__ = ["Average", "average_turned", "distance_from_centre", "radial_median"]

PARTS = 8
"""Sums are made in this many parts whatever the number of threads, so that results do not depend on it."""


class Average(NamedTuple):
    """Average of patterns in the entry's frame, every field of shape ``(2 size + 1, 2 size + 1)``.

    Attributes
    ----------
    mean
        Mean counts.
    coverage
        Number of patterns that reached each pixel.
    noise
        Half of what the mean of every other pattern differs from that of the rest: as noisy as the mean, without what
        all patterns show; zero where either has none.
    """

    mean: FloatArray
    coverage: FloatArray
    noise: FloatArray


def average_turned(
    patterns: NDArray[Any],
    good: BoolArray,
    centres: FloatArray,
    affine: FloatArray,
    size: int,
    chosen: IntArray | None = None,
) -> Average:
    """Average of patterns brought into the entry's frame.

    Parameters
    ----------
    patterns
        Counts, shape ``(any, qy, qx)``.
    good
        Detector pixels that can be trusted, shape ``(qy, qx)``.
    centres
        Beam centres ``(y, x)``, pixels, shape ``(n, 2)``.
    affine
        Affine from the entry to each pattern, shape ``(n, 2, 2)``.
    size
        Reach of the average from its centre, pixels.
    chosen
        Indices of the patterns, shape ``(n,)``; by default all.
    """
    chosen = np.arange(len(patterns)) if chosen is None else chosen
    usable = (good[:-1, :-1] & good[1:, :-1] & good[:-1, 1:] & good[1:, 1:]).astype(np.float32)
    usable = np.pad(usable, ((0, 1), (0, 1)))
    total = np.zeros((PARTS, 2, 2 * size + 1, 2 * size + 1), np.float32)
    centres, affine = np.ascontiguousarray(centres), np.ascontiguousarray(affine)
    on_threads(_accumulate, PARTS, patterns, np.ascontiguousarray(chosen), usable, centres, affine, total, least=1)
    (one, some), (other, rest) = (total[k::2].sum(0, dtype=float) for k in (0, 1))
    difference = 0.5 * (one / np.maximum(some, 1) - other / np.maximum(rest, 1))
    noise = np.where((some > 0) & (rest > 0), difference, 0.0)
    return Average((one + other) / np.maximum(some + rest, 1), some + rest, noise)


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _accumulate(
    patterns: Any, chosen: Any, usable: Any, centres: Any, affine: Any, total: Any, start: int, stop: int
) -> None:  # pragma: no cover
    n_y, n_x = usable.shape
    pattern = np.empty((n_y, n_x), np.float32)
    for share in range(start, stop):
        for n in range(share, chosen.shape[0], total.shape[0]):
            counts = patterns[chosen[n]]
            for y in range(n_y):
                for x in range(n_x):
                    pattern[y, x] = counts[y, x]
            _add_turned(pattern, usable, centres[n], affine[n], total[share])


@part()
def _add_turned(pattern: Any, usable: Any, centre: Any, affine: Any, total: Any) -> None:  # pragma: no cover
    """Add one turned pattern to the sum of counts and to that of the coverage, between pixels bilinearly."""
    n_y, n_x = usable.shape
    size = total.shape[1] // 2
    values, weights = pattern.reshape(-1), usable.reshape(-1)
    for i in range(total.shape[1]):
        y0 = centre[0] + affine[0, 0] * (i - size) - affine[0, 1] * size
        x0 = centre[1] + affine[1, 0] * (i - size) - affine[1, 1] * size
        top, bottom = _within(y0, affine[0, 1], n_y - 1.0, total.shape[2])
        left, right = _within(x0, affine[1, 1], n_x - 1.0, total.shape[2])
        first, last = max(top, left), min(bottom, right)
        sums, covered = total[0, i], total[1, i]
        for j in range(first, last):
            y, x = y0 + affine[0, 1] * j, x0 + affine[1, 1] * j
            iy, ix = np.uint32(y), np.uint32(x)
            k = iy * np.uint32(n_x) + ix
            fy, fx = np.float32(y - iy), np.float32(x - ix)
            low = values[k] + fx * (values[k + 1] - values[k])
            high = values[k + n_x] + fx * (values[k + n_x + 1] - values[k + n_x])
            sums[j] += weights[k] * (low + fy * (high - low))
            covered[j] += weights[k]


@part()
def _within(start: float, step: float, end: float, n: int) -> Any:  # pragma: no cover
    """First and last (excluded) of `n` steps from `start` that are at least 0 and less than `end`."""
    if abs(step) < 1e-12:
        return (0, n) if 0.0 <= start < end else (0, 0)
    one, other = -start / step, (end - start) / step
    first, last = max(int(np.ceil(min(one, other))) - 1, 0), min(int(np.floor(max(one, other))) + 2, n)
    while first < last and not 0.0 <= start + step * first < end:
        first += 1
    while first < last and not 0.0 <= start + step * (last - 1) < end:
        last -= 1
    return first, last


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
    radius = np.rint(distance_from_centre(image)).astype(np.int32)
    seen = np.ones(image.shape, bool) if coverage is None else coverage > 0
    radius, values = radius[seen], np.asarray(image[seen], float)
    ranked = values[np.lexsort((values, radius))]
    count = np.bincount(radius)
    index, first = np.arange(len(count)), np.cumsum(count) - count
    low, high = (ranked[np.minimum(first + each, len(ranked) - 1)] for each in ((count - 1) // 2, count // 2))
    medians = np.where(count > 0, 0.5 * (low + high), np.nan)
    known = np.isfinite(medians)
    return np.interp(index, index[known], medians[known])
