"""Disks of an averaged pattern that stand out of its background."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cyclestrain.data import BoolArray, FloatArray, IntArray
from cyclestrain.learning.averages import distance_from_centre, radial_median

__all__ = [
    "Peaks",
    "disk_mask",
    "find_peaks",
    "flattened",
    "light_of_disks",
    "local_maxima",
    "parabolic",
    "pixel_noise",
    "radial_spread",
    "ring_mask",
]


@dataclass(frozen=True)
class Peaks:
    """Local maxima of an average, strongest first.

    `positions` are ``(y, x)`` relative to the centre of the average, pixels, shape ``(n, 2)``; `significance` has the
    shape ``(n,)``.
    """

    positions: FloatArray
    significance: FloatArray


def disk_mask(radius: float) -> FloatArray:
    """Weights of the pixels of a disk of `radius`, 1 inside and falling to 0 over its edge."""
    m = int(np.ceil(radius + 1))
    y, x = np.mgrid[-m : m + 1, -m : m + 1]
    return np.clip(radius + 0.5 - np.hypot(y, x), 0, 1)


def ring_mask(inner: float, outer: float) -> FloatArray:
    """Weights of the pixels of a ring, 1 inside and falling to 0 over its outer edge.

    Parameters
    ----------
    inner
        Radius of the disk that the ring leaves out; it begins one pixel further out, pixels.
    outer
        Outer radius, pixels.
    """
    ring = disk_mask(outer)
    m = len(ring) // 2
    y, x = np.mgrid[-m : m + 1, -m : m + 1]
    return np.where(np.hypot(y, x) > inner + 1.0, ring, 0.0)


def light_of_disks(image: FloatArray, radius: float, outer: float) -> FloatArray:
    """Light of a disk around every pixel above what surrounds it, in the shape of the image.

    Parameters
    ----------
    image
        An average, without its background or with it.
    radius
        Radius of the disk, pixels.
    outer
        Radius up to which its surroundings are looked at, pixels.
    """
    disk, around = disk_mask(radius), ring_mask(radius, outer)
    beside = ndimage.correlate(image, around, mode="constant") * (disk.sum() / around.sum())
    return np.asarray(ndimage.correlate(image, disk, mode="constant") - beside)


def flattened(average: FloatArray, coverage: FloatArray) -> FloatArray:
    """Average minus its radial median, zero where no pattern reached.

    Parameters
    ----------
    average, coverage
        Centred average and number of patterns behind each pixel.
    """
    background = radial_median(average, coverage)
    flat = average - np.interp(distance_from_centre(average), np.arange(len(background)), background)
    return np.where(coverage > 0, flat, 0.0)


def find_peaks(
    average: FloatArray,
    coverage: FloatArray,
    radius: float,
    ring: tuple[float, float],
    threshold: float = 6.0,
    *,
    crowded: bool = False,
) -> Peaks:
    """Disks of an averaged pattern that stand out of its background.

    Parameters
    ----------
    average, coverage
        Averaged pattern, centred, and number of patterns that contributed to each pixel.
    radius
        Radius of the disks, pixels.
    ring
        Inner and outer radius to search, pixels.
    threshold
        Least height in robust standard deviations of the filtered image at the same radius.
    crowded
        Whether disks fill most of the pattern: heights are then compared with the noise of single pixels, since nothing
        lies between the disks that the filtered image could be compared with.
    """
    flat = flattened(average, coverage)
    disk = disk_mask(radius)
    filtered = ndimage.correlate(flat, disk / disk.sum(), mode="constant")
    # Peaks ride on the tails of bright neighbours: subtract what surrounds the disk.
    surround = ring_mask(radius, max(2.0 * radius + 1.0, radius + 2.5))
    filtered -= ndimage.correlate(flat, surround / surround.sum(), mode="constant")
    centre = (np.array(average.shape) - 1) / 2
    distance = distance_from_centre(average)
    if crowded:
        spread = pixel_noise(average, distance, coverage) * np.sqrt(1 / disk.sum() + 1 / surround.sum())
    else:
        spread = radial_spread(filtered, distance, coverage)
    significance = filtered / np.maximum(spread, 1e-12)
    inside = (distance > ring[0]) & (distance < ring[1]) & (coverage > 0.3 * coverage.max())
    at = local_maxima(filtered, radius, (significance > threshold) & inside)
    positions = np.array([parabolic(filtered, p) for p in at]).reshape(-1, 2) - centre
    return Peaks(positions, significance[tuple(at.T)])


def local_maxima(image: FloatArray, radius: float, allowed: BoolArray) -> IntArray:
    """Pixels that are the brightest within a square about as wide as a disk, brightest first, shape ``(n, 2)``.

    Parameters
    ----------
    image
        Shape ``(ny, nx)``.
    radius
        Radius of the disks, pixels.
    allowed
        Pixels that may be one, in the shape of the image.
    """
    peak = (image == ndimage.maximum_filter(image, 2 * int(np.ceil(radius)) + 1)) & allowed
    return np.argwhere(peak)[np.argsort(-image[peak])]


def radial_spread(values: FloatArray, distance: FloatArray, coverage: FloatArray) -> FloatArray:
    """Robust standard deviation at each pixel's distance from the centre (rings of 8 pixels)."""
    ring = (distance / 8).astype(int)
    seen = coverage > 0
    index = np.arange(ring.max() + 1)
    # The lower quartile below the median is free of peaks.
    low = np.array(
        [np.quantile(values[seen & (ring == k)], [0.16, 0.5]) if (seen & (ring == k)).any() else (0, 0) for k in index]
    )
    return np.interp(distance, 8.0 * index + 4.0, np.maximum(low[:, 1] - low[:, 0], 0))


def pixel_noise(average: FloatArray, distance: FloatArray, coverage: FloatArray) -> FloatArray:
    """Standard deviation of a pixel's noise, from second differences, in which disks and slopes cancel.

    Turning patterns interpolates and thereby correlates them: sums over a disk are about three times noisier than those
    of independent pixels with these differences (Immerkaer, Comput. Vis. Image Underst. 64, 300, 1996) would be. The
    result contains this factor.

    Parameters
    ----------
    average, coverage
        Centred average and number of patterns behind each pixel.
    distance
        Distance of every pixel from the centre, pixels, in the shape of the average.
    """
    kernel = np.outer([1.0, -2.0, 1.0], [1.0, -2.0, 1.0])
    return 3.0 * radial_spread(ndimage.correlate(average, kernel) / 6.0, distance, coverage)


def parabolic(image: FloatArray, at: NDArray[np.int64]) -> FloatArray:
    """Place ``(y, x)`` of a maximum between pixels.

    Parameters
    ----------
    image
        Shape ``(ny, nx)``.
    at
        Pixel of the maximum, shape ``(2,)``.
    """
    out = at.astype(float)
    for axis in range(2):
        if 0 < at[axis] < image.shape[axis] - 1:
            step = np.eye(2, dtype=int)[axis]
            a, b, c = image[tuple(at - step)], image[tuple(at)], image[tuple(at + step)]
            curvature = a - 2 * b + c
            if curvature < 0:
                out[axis] += np.clip(0.5 * (a - c) / curvature, -0.5, 0.5)
    return out
