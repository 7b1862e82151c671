"""The edge of the aperture as the direct beam shows it.

All disks are images of one aperture. In a thick crystal those of the reflections are full of contrast, and a fit can
settle on a blurred edge that misplaced disks made, which misplaces them in turn. The direct beam's place is known
without a crystal, so its edge is not blurred.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.optimize import least_squares

from cyclestrain.data import FloatArray
from cyclestrain.learning.lesson import Lesson
from cyclestrain.pattern import pixelated_disk

__all__ = ["edge_of_beam"]

MOST = 512
"""Largest number of patterns that are averaged."""
OUTSIDE = 3.0
"""Pixels beyond the edge that are looked at."""
SHARPEST, SOFTEST = 0.12, 1.2
"""Least and largest standard deviation of the edge before pixels blur it, pixels."""
NEAR, NEAR_SHARE = 0.6, 0.12
"""How far, pixels and share, the edge may be from the radius that is known."""
CLEAR = 0.25
"""Largest standard deviation of the radius, pixels."""
MOST_MISSING = 0.2
"""Share of bad pixels along the edge from which it is not looked for."""
MOST_CUT = 0.01
"""Share of the pixels of the beam at the end of the detector's scale from which its edge is not looked for."""
MOST_MOVED = 0.4
"""Standard deviation of the measured centres, pixels, above which their average blurs the edge."""
MODEL_ERROR = 0.005
"""Error of the model of a pixel, relative to the brightest."""
WIDTHS, FALLS = (1.0, 2.0, 4.0, 8.0, 16.0), (1.0, 2.0)
"""Pixels and exponents of the backgrounds ``(1 + (q / width)^2)^-fall`` that are summed."""
OVERSAMPLING = 8
"""Nodes per pixel of the disk that is compared."""


def edge_of_beam(lesson: Lesson, radius: float) -> tuple[float, float] | None:
    """Radius of the direct beam's disk and standard deviation of its edge, pixels; None where it shows no clear edge.

    The average pattern is compared with a disk on square pixels, with contrast of second order, on a background that
    is smooth and round.

    Parameters
    ----------
    lesson
        Patterns with their beam centres; a disk that is cut at their ceiling would look wider and sharper than it is.
    radius
        Radius of the disk so far, pixels.
    """
    some = np.linspace(0, len(lesson.theta) - 1, min(MOST, len(lesson.theta))).astype(int)
    if lesson.centre[some].std(0).max() > MOST_MOVED:
        return None
    patterns = lesson.patterns[lesson.members[some, 0]]
    mean = patterns.mean(0, dtype=np.float64)
    reach = max(NEAR, NEAR_SHARE * radius)
    y, x = np.indices(mean.shape)
    offset = np.stack([y, x], -1) - lesson.centre[some].mean(0)
    near = np.hypot(*np.moveaxis(offset, -1, 0)) < radius + OUTSIDE
    if (near & ~lesson.good).sum() > MOST_MISSING * near.sum():
        return None
    used = near & lesson.good
    if (patterns[:, used] >= lesson.ceiling).mean() > MOST_CUT:
        return None
    values, offset = mean[used], offset[used]
    error = np.sqrt(np.maximum(values, 0) / len(some) + (MODEL_ERROR * values.max()) ** 2 + 1e-12)
    bounds: Any = ([max(radius - reach, 0.5), SHARPEST, -1.0, -1.0], [radius + reach, SOFTEST, 1.0, 1.0])

    def columns(shape: FloatArray) -> FloatArray:
        return _columns(offset - shape[2:], shape[0], shape[1], radius) / error[:, None]

    def misfit(shape: FloatArray) -> FloatArray:
        matrix = columns(shape)
        return np.asarray(matrix @ np.linalg.lstsq(matrix, values / error, rcond=1e-10)[0] - values / error)

    starts = [[radius + step, 0.3, 0.0, 0.0] for step in (-0.6 * reach, 0.0, 0.6 * reach)]
    found: list[Any] = [least_squares(misfit, start, bounds=bounds, diff_step=[1e-3] * 4) for start in starts]
    best = min(found, key=lambda each: float(each.cost))
    scale = max(1.0, 2 * float(best.cost) / len(values))
    sigma = np.sqrt(scale * float(np.linalg.pinv(best.jac.T @ best.jac)[0, 0]))
    at_end = (
        np.minimum(best.x - bounds[0], np.subtract(bounds[1], best.x)) < 1e-3 * np.array([radius, 1.0, 0, 0])
    ).any()
    if sigma > CLEAR or at_end:
        return None
    return float(best.x[0]), float(best.x[1])


def _columns(offset: FloatArray, radius: float, edge: float, unit: float) -> FloatArray:
    """What the pixels are made of: a disk, its slopes and curvatures, and a round background."""
    m = int(np.ceil((np.abs(offset).max() + 1) * OVERSAMPLING))
    disk = pixelated_disk(radius, edge, OVERSAMPLING, m)
    at = map_coordinates(disk, (offset * OVERSAMPLING + m).T, order=1)
    u, v = (offset / unit).T
    square = u * u + v * v
    inside = [np.ones_like(u), u, v, square - 1.0, u * u - v * v, u * v, square**2 - 1.0]
    r = np.hypot(*offset.T)
    background = [(1.0 + (r / width) ** 2) ** -fall for width in WIDTHS for fall in FALLS]
    return np.stack([*(at * each for each in inside), *background, np.ones_like(r)], 1)
