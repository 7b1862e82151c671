"""Effects of the detector measured on the patterns themselves: bad pixels, lines and gaps, and its noise.

Patterns of a crystal are disks on a smooth background, which move or fade from position to position. Effects of the
detector stay in place and follow its rows and columns.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from cyclestrain.data import BoolArray, FloatArray

__all__ = ["LINE_SHARE", "LINE_WIDTHS", "SURE_COUNTS", "fill_from_nearest", "find_bad_pixels", "noise_scale"]

LINE_SHARE = 0.7
"""Least share of outlying pixels in a stretch of a row or column that counts as bad."""
LINE_WIDTHS = (1, 2)
"""Widths of bad lines, pixels; wider ones cannot be told from rows of small disks."""
SURE_COUNTS = 20.0
"""Expected counts of a pixel, in all patterns, above which showing none cannot be chance."""
NARROW = 4.0
"""How far a hot pixel stands out, in units of what its brightest neighbour does; a spot of one pixel's radius: 2.2."""
STANDS_OUT = 0.3
"""Least part of the counts around it by which a hot pixel stands out."""
ALIVE = 0.1
"""Part of what stands out that has to change from pattern to pattern to be a spot after all."""
MOST_DEAD, DIM = 4, 0.5
"""Largest group of pixels that are darker than this part of what is around them and may be dead: larger are gaps."""
STUCK, STUCK_AREA = 0.25, 2
"""Relative difference to their border, and largest number, of pixels that always show one number."""


def find_bad_pixels(mean: FloatArray, variance: FloatArray, n: int, n_variance: int | None = None) -> BoolArray:
    """Pixels that are isolated, on a bad row or column, or blind: far from what their neighbours show.

    Parameters
    ----------
    mean, variance
        Average pattern and variance of each pixel from pattern to pattern, shape ``(qy, qx)``.
    n, n_variance
        Number of patterns behind the average, and behind the variance (by default the same).
    """
    scale = noise_scale(mean, variance)
    blind = _blind(mean, variance, n_variance or n, scale)
    filled = fill_from_nearest(mean, ~blind)
    hot = _hot_and_still(filled, variance, scale, (n, n_variance or n))
    return blind | hot | _isolated(filled, scale, n) | _bad_lines(np.where(blind, np.nan, mean), scale, n)


def fill_from_nearest(image: FloatArray, good: BoolArray) -> FloatArray:
    """Image in which every bad pixel has the median around the nearest good one.

    Parameters
    ----------
    image
        Shape ``(qy, qx)``.
    good
        Pixels that are kept, shape ``(qy, qx)``.
    """
    if good.all() or not good.any():
        return image
    nearest = ndimage.distance_transform_edt(~good, return_distances=False, return_indices=True)
    rough = image[tuple(nearest)]
    return np.where(good, image, ndimage.median_filter(rough, 5)[tuple(nearest)])


def noise_scale(mean: FloatArray, variance: FloatArray) -> float:
    """Median ratio of variance to mean over the lit pixels, so that a pixel's noise is judged by that of the others.

    Parameters
    ----------
    mean, variance
        Average pattern and variance of each pixel from pattern to pattern, shape ``(qy, qx)``.
    """
    lit = mean > np.quantile(mean, 0.2)
    return float(np.median(variance[lit] / np.maximum(mean[lit], 1e-12))) if lit.any() else 1.0


def _isolated(mean: FloatArray, scale: float, n: int) -> BoolArray:
    """Single pixels and pairs far above, or far below, their surrounding."""
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    bright = np.maximum(ndimage.rank_filter(mean, -2, footprint=ring, mode="mirror"), 0)
    local = np.maximum(ndimage.median_filter(mean, 5, mode="mirror"), 0)
    error = np.sqrt(np.maximum(scale, 1e-12) * np.maximum(local, np.mean(mean)) / n)
    hot = mean > 3.0 * bright + 10.0 * error + 5.0 * scale / n + np.median(local)  # a few counts are no defect
    dark = np.maximum(ndimage.rank_filter(mean, 1, footprint=ring, mode="mirror"), 0)
    dead = (mean < 0.2 * local) & (mean < local - 10.0 * error) & (mean < DIM * dark)
    return np.asarray(hot | (dead & _in_small_groups(mean < DIM * local)))


def _in_small_groups(dim: BoolArray) -> BoolArray:
    """Pixels with few like them beside: gaps between disks and the dark rings of a patterned probe are larger."""
    label, _ = ndimage.label(dim, np.ones((3, 3)))
    return dim & (np.bincount(label.ravel()) <= MOST_DEAD)[label]


def _hot_and_still(mean: FloatArray, variance: FloatArray, scale: float, n: tuple[int, int]) -> BoolArray:
    """Single pixels with counts of their own: too narrow for a spot, and the same in every pattern.

    A spot, however sharp, lights its neighbours too, since it is seldom in the middle of a pixel, and is brighter in
    some patterns than in others. What stands out of a slope or of the edge of a disk is no narrower than they are.

    Parameters
    ----------
    mean, variance, scale
        Average pattern, variance of each pixel from pattern to pattern, and its ratio to the mean in most pixels.
    n
        Number of patterns behind both.
    """
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    local = np.maximum(ndimage.median_filter(mean, 5, mode="mirror"), 0)
    beside = np.maximum(ndimage.rank_filter(mean, -1, footprint=ring, mode="mirror"), local)
    error = np.sqrt(np.maximum(scale, 1e-12) * np.maximum(local, np.mean(mean)) / n[0])
    height = mean - local
    narrow = height > NARROW * (beside - local) + 6.0 * error + 5.0 * scale / n[0]
    change = variance - scale * mean
    change -= ndimage.median_filter(change, 5, mode="mirror")  # disks that pass by
    alive = change > (ALIVE * height) ** 2 + 4.0 * np.sqrt(2.0 / n[1]) * variance
    return np.asarray(narrow & (height > STANDS_OUT * local) & ~alive)


def _blind(mean: FloatArray, variance: FloatArray, n: int, scale: float) -> BoolArray:
    """Areas that show one value in every pattern while the pixels along their border count, and single such pixels.

    Where a third of the detector shows nothing, patterns have no background and darkness proves nothing.
    """
    constant = variance == 0
    y, x = np.indices(mean.shape)
    middle, reach = (np.array(mean.shape) - 1) / 2, min(mean.shape) / 2
    if not constant.any() or constant[np.hypot(y - middle[0], x - middle[1]) < reach].mean() > 1 / 3:
        return np.zeros(mean.shape, bool)
    label, n_areas = ndimage.label(constant)
    touched = np.where(constant, 0, ndimage.maximum_filter(label, 3))
    index = np.arange(1, n_areas + 1)
    border = np.asarray(ndimage.median(mean, touched, index), float)
    own = np.asarray(ndimage.median(mean, label, index), float)
    # Gaps may be filled with a number no detector counts to; a saturated disk is surrounded by bright pixels.
    no_counts = (own < 0.2 * border) | (own > 100.0 * np.maximum(border, 0))
    no_counts |= (np.bincount(label.ravel())[1:] <= STUCK_AREA) & (np.abs(own - border) > STUCK * np.abs(border))
    bad = no_counts & (border * n > SURE_COUNTS * max(scale, 1e-12))
    return np.concatenate([[False], bad])[label]


def _bad_lines(mean: FloatArray, scale: float, n: int) -> BoolArray:
    """Rows and columns, or long stretches of them, much brighter or darker than what lies on both their sides.

    `mean` is NaN where it is known to be bad.
    """
    bad = np.zeros(mean.shape, bool)
    for width in LINE_WIDTHS:
        bad |= _lines_along(mean, width, scale, n) | _lines_along(mean.T, width, scale, n).T
    return bad


def _lines_along(mean: FloatArray, width: int, scale: float, n: int) -> BoolArray:
    """Bad stretches of rows at most `width` pixels wide."""
    sides = np.stack([_side(mean, width), _side(mean[::-1], width)[::-1]])
    lower, upper = np.fmin(*sides), np.fmax(*sides)
    with np.errstate(invalid="ignore"):
        error = np.sqrt(np.maximum(scale, 1e-12) * np.maximum(upper, np.nanmean(mean)) / n)
        hot = mean > 1.8 * upper + 2.0 * error
        dark = mean < 0.5 * lower - 2.0 * error
    live = np.isfinite(mean) & np.isfinite(upper)
    length = max(33, mean.shape[1] // 8) | 1
    bad = np.zeros(mean.shape, bool)
    for odd in (hot, dark):
        share = ndimage.uniform_filter1d(np.where(live, odd, 0.0), length, axis=1, mode="constant")
        seen = ndimage.uniform_filter1d(live.astype(float), length, axis=1, mode="constant")
        stretch = (share > LINE_SHARE * seen) & (seen > 0.3)
        bad |= ndimage.maximum_filter1d(stretch, length, axis=1, mode="constant") & live
    return bad


def _side(mean: FloatArray, width: int) -> FloatArray:
    """Mean of the three pixels from `width` pixels before each pixel of a column, NaN where they are not all good."""
    padded = np.pad(mean, ((width + 2, 0), (0, 0)), constant_values=np.nan)
    return np.asarray(sum(padded[k : k + len(mean)] for k in range(3)) / 3)
