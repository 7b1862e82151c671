"""The edge of the aperture as the direct beam shows it.

All disks are images of one aperture. In a thick crystal those of the reflections are full of contrast, and a fit can
settle on a blurred edge that misplaced disks made, which misplaces them in turn. The direct beam's place is known
without a crystal, so its edge is not blurred.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import map_coordinates, maximum_filter
from scipy.optimize import least_squares, nnls

from cyclestrain.data import BoolArray, FloatArray
from cyclestrain.learning.lesson import Lesson
from cyclestrain.pattern import pixelated_disk

__all__ = ["edge_of_beam"]

MOST = 512
"""Largest number of patterns that are averaged."""
OUTSIDE = 3.0
"""Pixels beyond the known radius that are looked at."""
SURROUND = 1.5
"""The same beyond the largest radius that is tried."""
SHARPEST, SOFTEST = 0.12, 1.0
"""Least and largest standard deviation of the edge before pixels blur it, pixels.

A softer edge is taken for a part of the background: on recorded disks with one of 1.15 the radius was .2 short.
"""
NEAR, NEAR_SHARE = 1.2, 0.35
"""How far, pixels and share, the edge may be from the radius that is known: half the height of a disk under a peak of
the background says no more."""
OFF = 0.5
"""How far the middle of the disk may be from the measured centre, pixels."""
STEP, EDGES = 0.2, (0.2, 0.6)
"""Steps of the radius, and edges, of the first look, pixels."""
CLEAR = 0.25
"""Largest standard deviation of the radius, pixels."""
MOST_MISSING = 0.2
"""Share of bad pixels along the edge from which it is not looked for."""
MOST_CUT = 0.01
"""Share of the pixels of the beam at the end of the detector's scale from which its edge is not looked for."""
MOST_MOVED = 0.4
"""Standard deviation of the measured centres, pixels, above which their average blurs the edge."""
MODEL_ERROR = 0.005
"""Error of the model of a pixel, relative to the brightest next to it."""
WIDTHS = tuple(0.7 * 2.0 ** (k / 2) for k in range(15))
"""Standard deviations of the Gaussians whose sum is the background, pixels.

Sums of Gaussians are all backgrounds that fall off as a completely monotone function of the squared distance
(Bernstein), among them ``(1 + (q / width)^2)^-fall`` with any width and fall, which these steps follow to 1e-5.
"""
OVERSAMPLING = 8
"""Nodes per pixel of the disk that is compared."""


def edge_of_beam(lesson: Lesson, radius: float) -> tuple[float, float] | None:
    """Radius of the direct beam's disk and standard deviation of its edge, pixels; None where it shows no clear edge.

    The average pattern is compared with a disk on square pixels, with contrast of second order, on a background that
    is round and falls off smoothly. Disk and background are sums of what is nowhere negative: otherwise the
    backgrounds, of either sign, explain any radius.

    Parameters
    ----------
    lesson
        Patterns with their beam centres; a disk that is cut at their ceiling would look wider and sharper than it is.
    radius
        Radius of the disk so far, pixels.
    """
    reach = max(NEAR, NEAR_SHARE * radius)
    seen = _average(lesson, radius + max(OUTSIDE, reach + SURROUND))
    if seen is None:
        return None
    offset, values, error = seen
    least, most = np.array([max(radius - reach, 0.5), SHARPEST, -OFF, -OFF]), [radius + reach, SOFTEST, OFF, OFF]

    def misfit(shape: FloatArray) -> FloatArray:
        columns = _columns(offset - shape[2:], shape[0], shape[1]) / error[:, None]
        return np.asarray(columns @ nnls(columns, values / error)[0] - values / error)

    tried = [[r, edge, 0.0, 0.0] for r in np.arange(least[0] + 0.25 * STEP, most[0], STEP) for edge in EDGES]
    costs = np.array([(misfit(np.array(shape)) ** 2).sum() for shape in tried]).reshape(-1, len(EDGES))
    best: Any = min(
        (least_squares(misfit, tried[k], bounds=(least, most), diff_step=[1e-3] * 4) for k in _two_best(costs)),
        key=lambda each: float(each.cost),
    )
    scale = max(1.0, 2 * float(best.cost) / len(values))
    sigma = np.sqrt(scale * float(np.linalg.pinv(best.jac.T @ best.jac)[0, 0]))
    at_end = min(best.x[0] - least[0], most[0] - best.x[0]) < 1e-3 * radius or best.x[1] > 0.999 * SOFTEST
    return None if sigma > CLEAR or at_end else (float(best.x[0]), float(best.x[1]))


def _average(lesson: Lesson, reach: float) -> tuple[FloatArray, FloatArray, FloatArray] | None:
    """Offsets of the pixels around the direct beam from its centre, their mean counts and the error of a model of them.

    None where they cannot show an edge.
    """
    some = np.linspace(0, len(lesson.theta) - 1, min(MOST, len(lesson.theta))).astype(int)
    if lesson.centre[some].std(0).max() > MOST_MOVED:
        return None
    patterns = lesson.patterns[lesson.members[some, 0]]
    offset = np.moveaxis(np.indices(lesson.good.shape), 0, -1) - lesson.centre[some].mean(0)
    near = np.hypot(*np.moveaxis(offset, -1, 0)) < reach
    used: BoolArray = near & lesson.good
    if near.sum() - used.sum() > MOST_MISSING * near.sum() or (patterns[:, used] >= lesson.ceiling).mean() > MOST_CUT:
        return None
    mean = np.where(lesson.good, patterns.mean(0, dtype=np.float64), 0.0)
    brightest = maximum_filter(mean, 3)
    error = np.sqrt(np.maximum(mean, 0.0) / len(some) + (MODEL_ERROR * brightest) ** 2 + 1e-12)
    return offset[used], mean[used], error[used]


def _two_best(costs: FloatArray) -> list[int]:
    """Flat indices of the two best minima along the radius (axis 0) of what was tried."""
    along = costs.min(1)
    padded = np.pad(along, 2, constant_values=np.inf)
    around = np.min([padded[k : k + len(along)] for k in range(5)], axis=0)
    minima = np.flatnonzero(along <= around)
    best = minima[np.argsort(along[minima])[:2]]
    return [int(k * costs.shape[1] + costs[k].argmin()) for k in best]


def _columns(offset: FloatArray, radius: float, edge: float) -> FloatArray:
    """What the pixels are made of: a disk that is brighter here or there, and round backgrounds; nowhere negative."""
    m = int(np.ceil((np.abs(offset).max() + 1) * OVERSAMPLING))
    disk = pixelated_disk(radius, edge, OVERSAMPLING, m)
    at = map_coordinates(disk, (offset * OVERSAMPLING + m).T, order=1)
    u, v = np.clip(offset / radius, -1.0, 1.0).T
    square = np.minimum(u * u + v * v, 1.0)
    slopes = [1.0 + sign * each for each in (u, v, u * u - v * v, 2.0 * u * v) for sign in (1.0, -1.0)]
    inside = [1.0 - square, square, square**2, *slopes]
    r = np.hypot(*offset.T)
    background = [np.exp(-0.5 * (r / width) ** 2) for width in WIDTHS]
    return np.stack([*(at * each for each in inside), *background, np.ones_like(r)], 1)
