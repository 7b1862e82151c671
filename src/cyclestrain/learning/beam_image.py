"""The probe as the direct beam shows it: in a scan of a sample, where it is the brightest disk, or in vacuum."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclestrain.calibration import Vacuum, extent_of_beam, largest_radius
from cyclestrain.data import BoolArray, Calibration, FloatArray
from cyclestrain.learning.probe_image import centred, image_of
from cyclestrain.learning.start import OVERSAMPLING
from cyclestrain.learning.window_sums import Fits
from cyclestrain.pattern import Probe, disk_profile, gather
from cyclestrain.pattern.reflection import N_LOCAL

__all__ = ["SURROUND", "beam_extent", "image_of_beam", "patterned_beam", "probe_of"]

MOST = 512
"""Largest number of patterns that are summed."""
SURROUND = 3
"""Pixels beyond the edge that are looked at, and whose darkest part is taken for the background."""
SOFT = 2.5
"""Width of the edge of the disk to which the image is shrunk between the pixels, pixels."""
LARGER, LARGER_PIXELS = 1.1, 0.7
"""Least ratio, and difference in pixels, of the extent of a patterned beam to the radius it would have as a disk."""
SEEN = 0.9
"""Least part of the pixels of a beam that are needed to tell its form."""
ROUGH = 0.15
"""Deviation (rms, relative) from the mean over all directions from which a beam is no disk."""


def image_of_beam(patterns: NDArray[Any], good: BoolArray, centre: FloatArray, radius: float) -> Probe:
    """Image of the direct beam, super-resolved where it lies at different places between pixels.

    Parameters
    ----------
    patterns
        Counts, shape ``(n, qy, qx)``.
    good
        Detector pixels that can be trusted, shape ``(qy, qx)``.
    centre
        Beam centre ``(y, x)`` of each pattern, pixels, shape ``(n, 2)``.
    radius
        Distance from the centre within which the beam lies, pixels.
    """
    some = np.linspace(0, len(patterns) - 1, min(MOST, len(patterns))).astype(int)
    half = int(np.ceil(radius)) + SURROUND
    at = np.asarray(centre, float)[some]
    stack = gather(patterns, at[:, None], half + 1, good, some[:, None])
    counts = stack.counts[:, 0]
    offset = np.arange(-half - 1, half + 2)
    distance = np.hypot(offset[:, None], offset)
    mean = np.where(counts > 0, counts, 0).mean(0)
    around = mean[(distance > radius + 0.5) & (distance <= half + 0.5)]
    level = float(np.quantile(around, 0.3))
    bright = np.maximum(counts[:, distance <= radius + 1.0] - level, 0).sum(1)
    one = np.ones(len(some))
    fits = Fits(
        stack.counts, stack.origin, at[:, None], at, bright[:, None].astype(float), one,
        np.zeros((len(some), 1, N_LOCAL)), one[:, None] * (bright > 0.2 * np.median(bright))[:, None],
        np.stack([one, 0.0 * one], 1), np.full((1, 2 * half + 8), max(level, 1e-9)),
    )  # fmt: skip
    form = Probe.from_profile(disk_profile(radius, SOFT, OVERSAMPLING, half + 3), OVERSAMPLING, half)
    floor = max(0.01 * float(np.median(bright)) * float(form.values.max()), 1e-9)
    found = image_of(fits, floor, form, np.zeros((1, 2)), 1.0).probe
    values = np.where(np.hypot(*_fine(half)) < half + 0.5, found.values, 0.0)
    return centred(Probe(values * (OVERSAMPLING**2 / values.sum()), OVERSAMPLING, half, is_image=True))


def _fine(half: int) -> FloatArray:
    m = (half + 2) * OVERSAMPLING
    return np.mgrid[-m : m + 1, -m : m + 1] / OVERSAMPLING


def patterned_beam(patterns: NDArray[Any], centre: FloatArray, calibration: Calibration) -> Probe | None:
    """Image of the direct beam of a scan where it is no disk, None where it is one or does not end.

    A bullseye is larger than its brightest spot, a ring than a disk of its area; others are dark in places.

    Parameters
    ----------
    patterns
        Counts, shape ``(n, qy, qx)``.
    centre
        Beam centre ``(y, x)`` of each pattern, pixels, shape ``(n, 2)``.
    calibration
        Average pattern, beam centre and radius.
    """
    known, radius = calibration.disk_radius, beam_extent(calibration)
    if radius is None or not _is_seen(calibration, radius):
        return None
    image = image_of_beam(patterns, calibration.good, centre, radius)
    larger = image.radius > max(LARGER * known, known + LARGER_PIXELS)
    return image if larger or not image.has_plateau or image.roughness > ROUGH else None


def beam_extent(calibration: Calibration) -> float | None:
    """Distance from its centre within which the direct beam of a scan lies, pixels; None where it does not end.

    Parameters
    ----------
    calibration
        Average pattern and beam centres.
    """
    mean, middle = calibration.mean_pattern, calibration.centre.reshape(-1, 2).mean(0)
    return extent_of_beam(mean, calibration.good, middle, largest_radius(mean.shape))


def _is_seen(calibration: Calibration, radius: float) -> bool:
    """Whether nearly all pixels of the beam can be trusted: none of it lies behind a beam stop or in a gap."""
    good, middle = calibration.good, calibration.centre.reshape(-1, 2).mean(0)
    y, x = np.indices(good.shape)
    return bool(good[np.hypot(y - middle[0], x - middle[1]) < radius].mean() > SEEN)


def probe_of(vacuum: Vacuum) -> Probe:
    """Image of a beam that was recorded in vacuum."""
    return image_of_beam(vacuum.patterns, vacuum.good, vacuum.centre, vacuum.radius)
