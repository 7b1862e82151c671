"""The probe as the direct beam shows it: in a scan of a sample, where it is the brightest disk, or in vacuum."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import BoolArray, Calibration, FloatArray
from cyclestrain.learning.probe_image import centred, image_of
from cyclestrain.learning.start import OVERSAMPLING
from cyclestrain.learning.window_sums import Fits
from cyclestrain.pattern import Probe, disk_profile, gather
from cyclestrain.pattern.reflection import N_LOCAL

__all__ = ["image_of_beam", "patterned_radius"]

MOST = 512
"""Largest number of patterns that are summed."""
SURROUND = 3
"""Pixels beyond the edge that are looked at, and whose darkest part is taken for the background."""
SOFT = 2.5
"""Width of the edge of the disk to which the image is shrunk between the pixels, pixels."""
BRIGHT = 0.2
"""Height of a ring, relative to the brightest one, from which it belongs to the beam."""
DIRECTIONS = 0.8
"""Part of the pixels of a ring that its height is not exceeded by: a cross lets little through far out."""
LARGER, LARGER_PIXELS = 1.1, 0.7
"""Least ratio, and difference in pixels, of the extent of a patterned beam to the radius it would have as a disk."""
LARGEST = 1 / 6
"""Largest radius of a beam in units of the detector's smaller side."""


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
        stack.counts, stack.origin, at[:, None], at, bright[:, None].astype(float), one, np.zeros((len(some), 1, N_LOCAL)),
        one[:, None] * (bright > 0.2 * np.median(bright))[:, None],
    )  # fmt: skip
    form = Probe.from_profile(disk_profile(radius, SOFT, OVERSAMPLING, half + 3), OVERSAMPLING, half)
    background = np.full(2 * half + 8, max(level, 1e-9))
    floor = max(0.01 * float(np.median(bright)) * float(form.values.max()), 1e-9)
    found = image_of(fits, background, floor, form, np.zeros((1, 2)), 1.0).probe
    values = np.where(np.hypot(*_fine(half)) < half + 0.5, found.values, 0.0)
    return centred(Probe(values * (OVERSAMPLING**2 / values.sum()), OVERSAMPLING, half, is_image=True))


def _fine(half: int) -> FloatArray:
    m = (half + 2) * OVERSAMPLING
    return np.mgrid[-m : m + 1, -m : m + 1] / OVERSAMPLING


def patterned_radius(calibration: Calibration) -> float | None:
    """Extent of a direct beam that is not a disk, pixels; None where it is no larger than it would be as one.

    A bullseye is larger than its brightest spot, and a ring than a disk of its area.

    Parameters
    ----------
    calibration
        Average pattern, beam centre and radius.
    """
    mean, centre = calibration.mean_pattern, calibration.centre.reshape(-1, 2).mean(0)
    y, x = np.indices(mean.shape)
    distance = np.hypot(y - centre[0], x - centre[1])
    most = LARGEST * min(mean.shape)
    edges = np.arange(0.0, most + 2.0, 0.5)
    rings = [mean[calibration.good & (distance >= r - 0.25) & (distance < r + 0.75)] for r in edges]
    height = np.array([np.quantile(ring, DIRECTIONS) if ring.size else 0.0 for ring in rings])
    floor = min(float(np.quantile(ring, 0.3)) for ring in rings if ring.size)
    bright = np.flatnonzero(height - floor > BRIGHT * (height.max() - floor))
    if not len(bright):
        return None
    last = int(bright[-1])
    if last >= len(edges) - 2:
        return None
    radius = float(edges[last] + 0.5)
    known = calibration.disk_radius
    return radius if radius > max(LARGER * known, known + LARGER_PIXELS) else None
