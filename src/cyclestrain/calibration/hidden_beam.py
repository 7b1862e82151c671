"""Beam centre, shadow of a beam stop and disk size where the direct disk is hidden, cut or saturated.

A diffraction pattern is alike on both sides of the beam: background and rings exactly, reflections at least in
position. The centre is where the pattern agrees best with itself turned by half a turn, what is dark on one side only
is a shadow, and the autocorrelation of a pattern gives the size of its disks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy import ndimage

from cyclestrain.data import BoolArray, FloatArray, IntArray

__all__ = ["centre_of_inversion", "disk_radius", "find_shadow", "likeness_about"]

LEAST_OVERLAP = 0.35
"""Least share of the detector's pixels that have a partner on the other side of a centre."""
DARK = 0.4
"""A shadow is darker than this share of its surrounding, and its partner on the other side lighter by as much."""
LEAST_LIGHT = 0.01
"""Share of the mean of all pixels below which an area is too dark to show a shadow."""
PENUMBRA = 2
"""Width of the rim around a shadow that is masked with it, pixels."""


def _spectrum(image: FloatArray) -> NDArray[Any]:
    return np.asarray(scipy.fft.rfft2(image, [scipy.fft.next_fast_len(2 * n - 1, real=True) for n in image.shape]))


def _image(spectrum: NDArray[Any], like: FloatArray) -> FloatArray:
    shape = [scipy.fft.next_fast_len(2 * n - 1, real=True) for n in like.shape]
    return np.asarray(scipy.fft.irfft2(spectrum, shape))


def centre_of_inversion(mean: FloatArray, good: BoolArray) -> FloatArray:
    """Centre ``(y, x)`` of the half turn that brings an image onto itself best, pixels, shape ``(2,)``.

    Parameters
    ----------
    mean
        Image, shape ``(qy, qx)``.
    good
        Pixels that take part, shape ``(qy, qx)``.
    """
    score = _likeness(mean, good)
    peak = np.array(np.unravel_index(score.argmax(), score.shape))
    return (peak + _vertex(score, peak)) / 2.0


def likeness_about(mean: FloatArray, good: BoolArray, places: IntArray, reach: int) -> FloatArray:
    """How alike an image is on both sides of some places, at most 1, shape ``(n,)``.

    Parameters
    ----------
    mean, good
        As for `centre_of_inversion`.
    places
        Pixels ``(y, x)``, shape ``(n, 2)``.
    reach
        Distance along each axis, half pixels, within which the centre of the half turn may be.
    """
    score = ndimage.maximum_filter(_likeness(mean, good), 2 * reach + 1)
    return np.asarray(score[2 * places[:, 0], 2 * places[:, 1]])


def _likeness(mean: FloatArray, good: BoolArray) -> FloatArray:
    """Correlation of an image with itself turned by half a turn about every half pixel, of the pixels with a partner.

    Square roots keep the brightest pixels from deciding alone.
    """
    seen = good.astype(float)
    root = np.where(good, np.sqrt(np.maximum(mean, 0)), 0.0)
    one, two, mask = _spectrum(root), _spectrum(root**2), _spectrum(seen)
    keep = np.s_[: 2 * mean.shape[0] - 1, : 2 * mean.shape[1] - 1]
    n, total, squares, products = (_image(a, mean)[keep] for a in (mask * mask, one * mask, two * mask, one * one))
    n = np.maximum(n, 1.0)
    variance = squares / n - (total / n) ** 2
    score = (products / n - (total / n) ** 2) / np.maximum(variance, 1e-12 * float(squares.max()))
    score[n < LEAST_OVERLAP * mean.size] = -1.0
    return np.asarray(score)


def _vertex(image: FloatArray, at: NDArray[Any]) -> FloatArray:
    """Offset of the top of the parabolas through a maximum, pixels, within half a pixel."""
    out = np.zeros(2)
    for axis in range(2):
        if 0 < at[axis] < image.shape[axis] - 1:
            step = np.eye(2, dtype=int)[axis]
            low, top, high = (image[tuple(at + k * step)] for k in (-1, 0, 1))
            curvature = low - 2 * top + high
            out[axis] = np.clip(0.5 * (low - high) / curvature, -0.5, 0.5) if curvature < 0 else 0.0
    return out


def find_shadow(mean: FloatArray, good: BoolArray, centre: FloatArray, beam_radius: int) -> BoolArray:
    """Pixels in the shadow of a beam stop: dark for their distance from the centre and lit on the other side.

    What is left of the direct disk may be brighter than the shadow around it. Background falls off from the end of the
    shadow outwards, so everything further inside belongs to the shadow.

    Parameters
    ----------
    mean
        Average pattern, shape ``(qy, qx)``.
    good
        Detector pixels that can be trusted, shape ``(qy, qx)``.
    centre
        Beam centre ``(y, x)``, pixels.
    beam_radius
        Radius around it that the direct disk may fill, pixels.
    """
    y, x = np.indices(mean.shape)
    radius = np.rint(np.hypot(y - centre[0], x - centre[1])).astype(int)
    smooth = ndimage.uniform_filter(np.where(good, mean, 0.0), 3) / np.maximum(
        ndimage.uniform_filter(good.astype(float), 3), 1e-6
    )
    typical = np.asarray(ndimage.median(smooth[good], radius[good], np.arange(radius.max() + 1)), float)[radius]
    partner = ndimage.map_coordinates(
        smooth, [2 * centre[0] - y, 2 * centre[1] - x], order=1, mode="constant", cval=np.nan
    )
    with np.errstate(invalid="ignore"):
        dark = good & (smooth < DARK * typical) & (partner > smooth + DARK * typical)
    dark &= typical > LEAST_LIGHT * mean.mean()
    label, _ = ndimage.label(ndimage.binary_opening(dark, np.ones((3, 3), bool)))
    size = np.bincount(label.ravel())
    size[0] = 0
    large = (size > 0.005 * mean.size)[label]
    if not large.any():
        return large
    reach = max(min(mean.shape) // 8, 2 * beam_radius)
    profile = np.array([typical[radius == r].max(initial=0.0) for r in range(reach)])
    brightest = int(profile[beam_radius:].argmax()) + beam_radius
    return np.asarray(ndimage.binary_dilation(large | (radius <= brightest - PENUMBRA), iterations=PENUMBRA + 1))


def disk_radius(patterns: NDArray[Any], good: BoolArray, centre: FloatArray, most: int = 128) -> tuple[float, float]:
    """Radius of the disks, pixels, from the autocorrelation of patterns, and how far it stands out of its misfit.

    The direct beam, with an eighth of the detector around it, and the radial background are taken out first.

    Parameters
    ----------
    patterns
        Counts, shape ``(n, qy, qx)``.
    good
        Detector pixels that can be trusted, shape ``(qy, qx)``.
    centre
        Beam centre ``(y, x)``, pixels.
    most
        Largest number of patterns to use.
    """
    y, x = np.indices(good.shape)
    distance = np.hypot(y - centre[0], x - centre[1])
    seen = good & (distance > min(good.shape) / 8)
    ring = np.where(seen, np.rint(distance).astype(int), 0)
    power: Any = 0.0
    for pattern in patterns[:: max(1, len(patterns) // most)]:
        level = np.bincount(ring.ravel(), np.where(seen, pattern, 0.0).ravel()) / np.maximum(
            np.bincount(ring.ravel(), seen.ravel()), 1
        )
        power = power + np.abs(_spectrum(np.where(seen, pattern - level[ring], 0.0))) ** 2
    total, n = _image(power, distance), _image(np.abs(_spectrum(seen.astype(float))) ** 2, distance)
    lag = np.hypot(*np.meshgrid(*(np.fft.fftfreq(s, 1 / s) for s in total.shape), indexing="ij"))
    near = lag < min(good.shape) / 6
    index = np.rint(lag[near]).astype(int)
    profile = np.bincount(index, total[near]) / np.maximum(np.bincount(index, n[near]), 1e-9)
    return _radius_of(profile)


def _radius_of(profile: FloatArray) -> tuple[float, float]:
    """Radius, pixels, of the disk that stands out most surely in an autocorrelation, its first value left out."""
    best, surest = 1.0, -np.inf
    for radius in np.arange(1.0, len(profile) / 2 - 2, 0.1):
        lag = np.arange(1, int(np.ceil(2 * radius)) + 3)
        x = np.minimum(lag / (2 * radius), 1.0)
        shape = 2 / np.pi * (np.arccos(x) - x * np.sqrt(1 - x * x))
        shape -= shape.mean()
        values = profile[lag] - profile[lag].mean()
        height = float(shape @ values / (shape @ shape))
        misfit = float(((values - height * shape) ** 2).sum() / (len(lag) - 2)) + 1e-4 * float(values @ values)
        sureness = height * float(np.sqrt(shape @ shape / max(misfit, 1e-300)))
        if sureness > surest:
            best, surest = float(radius), sureness
    return best, surest
