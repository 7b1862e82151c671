"""The edge of the aperture as the direct beam shows it.

All disks are images of one aperture. In a thick crystal those of the reflections are full of contrast, and a fit can
settle on a blurred edge that misplaced disks made, which misplaces them in turn. The direct beam's place is known
without a crystal, so its edge is not blurred.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import least_squares

from cyclestrain.data import FloatArray
from cyclestrain.learning.lesson import Lesson
from cyclestrain.pattern import seen_edge

__all__ = ["edge_of_beam"]

MOST = 512
"""Largest number of patterns that are averaged."""
INSIDE, OUTSIDE = 2.5, 3.0
"""Pixels on both sides of the edge that are looked at."""
RINGS = 8
"""Rings per pixel."""
SHARPEST, SOFTEST = 0.12, 1.5
"""Least and largest standard deviation of the edge before pixels blur it, pixels."""
NEAR, NEAR_SHARE = 0.6, 0.12
"""How far, pixels and share, the edge may be from the radius that is known."""
CLEAR = 10.0
"""Least height of the edge, in its standard deviations."""
MOST_MISSING = 0.2
"""Share of bad pixels along the edge from which it is not looked for."""


def edge_of_beam(lesson: Lesson, radius: float) -> tuple[float, float] | None:
    """Radius of the direct beam's disk and standard deviation of its edge, pixels; None where it shows no clear edge.

    Parameters
    ----------
    lesson
        Patterns with their beam centres.
    radius
        Radius of the disk so far, pixels.
    """
    found = _profile(lesson, radius)
    if found is None:
        return None
    r, values, error = found

    def columns(shape: FloatArray) -> FloatArray:
        edge, t = seen_edge(r, shape[0], shape[1]), (r - radius) / OUTSIDE
        return np.stack([edge, edge * t, edge * t**2, np.ones_like(r), t, t**2], 1) / error[:, None]

    def misfit(shape: FloatArray) -> FloatArray:
        matrix = columns(shape)
        return np.asarray(matrix @ np.linalg.lstsq(matrix, values / error, rcond=1e-10)[0] - values / error)

    reach = max(NEAR, NEAR_SHARE * radius)
    bounds: Any = ([max(radius - reach, 0.5), SHARPEST], [radius + reach, SOFTEST])
    starts = [[radius + step, 0.3] for step in (-0.5 * reach, 0.0, 0.5 * reach)]
    best = min((least_squares(misfit, start, bounds=bounds) for start in starts), key=lambda each: float(each.cost))
    matrix = columns(best.x)
    height = np.linalg.lstsq(matrix, values / error, rcond=1e-10)[0][0]
    variance = float(np.linalg.pinv(matrix.T @ matrix)[0, 0]) * max(1.0, 2 * float(best.cost) / len(r))
    at_end = min(best.x[0] - bounds[0][0], bounds[1][0] - best.x[0]) < 1e-3 * radius
    if height < CLEAR * np.sqrt(variance) or at_end:
        return None
    return float(best.x[0]), float(best.x[1])


def _profile(lesson: Lesson, radius: float) -> tuple[FloatArray, FloatArray, FloatArray] | None:
    """Radius, mean counts and standard error of rings about each pattern's own centre; None where many are bad."""
    some = np.linspace(0, len(lesson.theta) - 1, min(MOST, len(lesson.theta))).astype(int)
    first = max(radius - INSIDE, 0.0)
    n_rings = int(RINGS * (radius + OUTSIDE - first))
    total, square, pixels, bad = np.zeros(n_rings), np.zeros(n_rings), np.zeros(n_rings), 0
    y, x = np.indices(lesson.good.shape)
    for member, centre in zip(lesson.members[some, 0], lesson.centre[some], strict=True):
        ring = (RINGS * (np.hypot(y - centre[0], x - centre[1]) - first)).astype(int)
        near = (np.hypot(y - centre[0], x - centre[1]) >= first) & (ring < n_rings)
        used = near & lesson.good
        bad += int((near & ~lesson.good).sum())
        counts = lesson.patterns[member][used].astype(float)
        total += np.bincount(ring[used], counts, n_rings)
        square += np.bincount(ring[used], counts**2, n_rings)
        pixels += np.bincount(ring[used], minlength=n_rings)
    if bad > MOST_MISSING * (bad + pixels.sum()):
        return None
    seen = pixels > 1
    mean = total[seen] / pixels[seen]
    if seen.sum() < 2 * RINGS or mean.max() <= 0:
        return None
    variance = np.maximum(square[seen] / pixels[seen] - mean**2, 1e-6 * mean.max())
    r = first + (np.flatnonzero(seen) + 0.5) / RINGS
    return r, mean, np.sqrt(variance / pixels[seen] + (1e-3 * mean.max()) ** 2)
