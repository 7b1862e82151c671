"""A soft-edged disk on square pixels.

A pixel sums what falls onto a square, which blurs an edge more along the diagonals than along the axes, so that no
recorded disk is round. If it is taken for round, disks seem to sit up to 0.005 pixels off, depending on where in a
pixel they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import convolve1d, map_coordinates
from scipy.special import erfc

from cyclestrain.data import FloatArray

__all__ = ["fit_edge", "mean_profile", "pixelated_disk", "seen_edge"]

SHARPEST, SOFTEST = 0.12, 4.5
"""Least and largest standard deviation of an edge before the pixels blur it, pixels."""
_ANGLES = (np.arange(16) + 0.5) * np.pi / 64  # by symmetry an eighth of a turn holds all directions
_CELLS = (np.arange(16) + 0.5) / 16 - 0.5
PIXEL = np.quantile(
    np.cos(_ANGLES)[:, None, None] * _CELLS[:, None] + np.sin(_ANGLES)[:, None, None] * _CELLS,
    (np.arange(24) + 0.5) / 24,
)
"""Distances of 24 equal parts of a pixel from a straight edge through its middle, all directions pooled, pixels."""


def _sharp(radii: FloatArray, radius: float, edge: float) -> FloatArray:
    return np.asarray(0.5 * erfc((radii - radius) / (np.sqrt(2.0) * edge)))


def seen_edge(radii: FloatArray, radius: float, edge: float) -> FloatArray:
    """Azimuthal mean of a disk of height one on square pixels.

    Parameters
    ----------
    radii
        Distances from the middle of the disk, pixels.
    radius
        Radius of the disk, pixels.
    edge
        Standard deviation of its Gaussian edge before the pixels blur it, pixels.
    """
    beside = 1.0 / (24.0 * np.maximum(radii, 1.0))  # the edge is curved: parts of the pixel beside the radius are out
    return np.asarray(_sharp(radii + beside - PIXEL[:, None], radius, edge).mean(0))


def fit_edge(profile: FloatArray, oversampling: int) -> tuple[float, float, float]:
    """Fit the disk of `seen_edge`, with a quadratic plateau, to a profile.

    Parameters
    ----------
    profile
        Radial profile at ``0, 1, 2, ... / oversampling`` pixels.
    oversampling
        Values per pixel.

    Returns
    -------
    radius, edge, height
        Radius and edge as in `seen_edge`, pixels, and the height at the edge.
    """
    from scipy.optimize import least_squares  # takes a while, and only learning needs it

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
    """Counts of a pixel at any offset from the middle of a disk of height one, shape ``(2 m + 1, 2 m + 1)``.

    Parameters
    ----------
    radius, edge
        Radius of the disk and standard deviation of its edge before the pixels blur it, pixels.
    oversampling
        Nodes per pixel.
    m
        Reach of the grid of offsets, nodes.
    """
    y, x = np.mgrid[-m : m + 1, -m : m + 1] / oversampling
    square = np.r_[0.5, np.ones(oversampling - 1), 0.5] / oversampling  # trapezoidal rule
    values = _sharp(np.hypot(y, x), radius, edge)
    return np.asarray(convolve1d(convolve1d(values, square, axis=0), square, axis=1))


def mean_profile(values: FloatArray, length: int) -> FloatArray:
    """Azimuthal mean of an image about its middle, shape ``(length,)``.

    Parameters
    ----------
    values
        Image with the symmetry of a square, shape ``(2 m + 1, 2 m + 1)``.
    length
        Number of radii, which are ``0, 1, 2, ...`` in steps of the image.
    """
    m = len(values) // 2
    radii = np.arange(length)[:, None]
    places = [m + radii * np.sin(_ANGLES), m + radii * np.cos(_ANGLES)]
    return np.asarray(map_coordinates(values, places, order=3, mode="nearest").mean(1))
