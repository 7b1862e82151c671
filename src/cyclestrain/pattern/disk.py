r"""A soft-edged disk as square pixels see it.

A pixel adds up what falls onto a square, which blurs an edge more along the diagonals than along the axes: no disk is
round to a detector. Taken for round, disks seem to sit up to 0.005 pixels off, depending on where in a pixel they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import convolve1d, map_coordinates
from scipy.optimize import least_squares
from scipy.special import erfc

from cyclestrain.data import FloatArray

__all__ = ["fit_edge", "mean_profile", "pixelated_disk", "seen_edge"]

SHARPEST, SOFTEST = 0.12, 4.5
"""Standard deviation of an edge before the pixels blur it, pixels."""
_ANGLES = (np.arange(16) + 0.5) * np.pi / 64  # by symmetry an eighth of a turn holds all directions
_CELLS = (np.arange(16) + 0.5) / 16 - 0.5
PIXEL = np.quantile(
    np.cos(_ANGLES)[:, None, None] * _CELLS[:, None] + np.sin(_ANGLES)[:, None, None] * _CELLS,
    (np.arange(24) + 0.5) / 24,
)
"""Distances of equal parts of a pixel from a straight edge through its middle, all directions taken together."""


def _sharp(radii: FloatArray, radius: float, edge: float) -> FloatArray:
    return np.asarray(0.5 * erfc((radii - radius) / (np.sqrt(2.0) * edge)))


def seen_edge(radii: FloatArray, radius: float, edge: float) -> FloatArray:
    """Azimuthal mean of a disk of height one as pixels see it.

    Parameters
    ----------
    radii
        Where, pixels.
    radius
        Of the disk, pixels.
    edge
        Standard deviation of its Gaussian edge before the pixels blur it, pixels.
    """
    beside = 1.0 / (24.0 * np.maximum(radii, 1.0))  # the edge is curved: parts of the pixel beside the radius are out
    return np.asarray(_sharp(radii + beside - PIXEL[:, None], radius, edge).mean(0))


def fit_edge(profile: FloatArray, oversampling: int) -> tuple[float, float, float]:
    """Radius, edge and height at the edge of the disk that is most like a profile in steps of ``1 / oversampling``."""
    radii = np.arange(len(profile)) / oversampling
    middle = radii[np.flatnonzero(profile >= 0.5 * profile.max())[-1]]

    def height(shape: FloatArray) -> tuple[FloatArray, FloatArray]:
        disk = seen_edge(radii, shape[0], shape[1])
        columns = np.stack([disk, disk * ((radii / shape[0]) ** 2 - 1.0)], 1)
        return np.linalg.lstsq(columns, profile, rcond=1e-10)[0], columns

    def misfit(shape: FloatArray) -> FloatArray:
        coefficients, columns = height(shape)
        return np.asarray((columns @ coefficients - profile) / profile.max())

    bounds: Any = ([0.3, SHARPEST], [radii[-1] + 1.0, SOFTEST])
    best = least_squares(misfit, np.clip([middle, 0.3], *np.array(bounds) * 1.001), bounds=bounds)
    return float(best.x[0]), float(best.x[1]), float(height(best.x)[0][0])


def pixelated_disk(radius: float, edge: float, oversampling: int, m: int) -> FloatArray:
    """Counts of a pixel at any offset from the middle of a disk of height one, shape ``(2 m + 1, 2 m + 1)``."""
    y, x = np.mgrid[-m : m + 1, -m : m + 1] / oversampling
    square = np.r_[0.5, np.ones(oversampling - 1), 0.5] / oversampling  # trapezoidal rule
    values = _sharp(np.hypot(y, x), radius, edge)
    return np.asarray(convolve1d(convolve1d(values, square, axis=0), square, axis=1))


def mean_profile(values: FloatArray, length: int) -> FloatArray:
    """Azimuthal mean of an image with the symmetry of a square around its middle, at that many radii in its steps."""
    m = len(values) // 2
    radii = np.arange(length)[:, None]
    places = [m + radii * np.sin(_ANGLES), m + radii * np.cos(_ANGLES)]
    return np.asarray(map_coordinates(values, places, order=3, mode="nearest").mean(1))
