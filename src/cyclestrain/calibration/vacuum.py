"""The direct beam in vacuum: where it lies and how far it reaches, whatever the form of its aperture."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cyclestrain.calibration.beam import Beam, find_direct_beam, measure_centres
from cyclestrain.calibration.moments import mean_of, variance_about
from cyclestrain.calibration.pixels import fill_from_nearest, find_bad_pixels
from cyclestrain.calibration.subset import read_sample
from cyclestrain.data import BoolArray, FloatArray, Scan
from cyclestrain.errors import InputError

__all__ = ["Vacuum", "extent_of_beam", "find_beam_like", "measure_vacuum"]

MOST = 512
"""Largest number of patterns that are used."""
BRIGHT = 0.2
"""Height of a ring, relative to the brightest one, from which it belongs to the beam."""
DIRECTIONS = 0.8
"""Part of the pixels of a ring that its height is not exceeded by: a cross lets little through far out."""
LARGEST = 0.45
"""Largest radius of a beam in units of the detector's smaller side."""
STANDS_OUT = 8.0
"""Least height of a beam above what is around it, in units of the scatter there."""
SECOND = 0.1
"""Height of another spot, relative to the beam, from which what was recorded is no vacuum."""
OUTLYING = 5.0
"""Robust standard deviations of the counts in the beam beyond which a pattern is left out: there was a sample."""
ROUNDS = 3
"""Rounds in which centre and extent are found from each other."""
ALIKE = 0.8
"""Least correlation of the direct beam of a scan with its image in vacuum."""


@dataclass(frozen=True)
class Vacuum:
    """A beam that passed nothing.

    Attributes
    ----------
    patterns
        Counts, shape ``(n, qy, qx)``.
    good
        Detector pixels that can be trusted, shape ``(qy, qx)``.
    centre
        Centroid ``(y, x)`` of the beam in each pattern, pixels, shape ``(n, 2)``.
    radius
        Distance from the centre within which the beam lies, pixels.
    name
        What was read, for messages.
    """

    patterns: NDArray[Any]
    good: BoolArray
    centre: FloatArray
    radius: float
    name: str

    @property
    def fingerprint(self) -> str:
        """Name of the image, the same for the same counts."""
        return hashlib.sha256(np.ascontiguousarray(self.patterns.mean(0, dtype=np.float64)).tobytes()).hexdigest()[:32]

    @property
    def centre_sigma(self) -> float:
        """Standard deviation of the mean of the centres by counting statistics, pixels."""
        counts = self._beam.sum()
        return float(self.radius / 2 / np.sqrt(max(counts, 1.0)))

    @property
    def ellipse(self) -> tuple[float, float, float]:
        """Ratio of the long to the short axis, angle of the long one (radians, +x to +y), uncertainty of the ratio.

        Of the second moments, which an elliptic aperture of any pattern scales alike.
        """
        beam = self._beam
        y, x = np.indices(beam.shape) - self.centre.mean(0)[:, None, None]
        total = beam.sum()
        yy, xx, xy = (float((beam * each).sum() / total) for each in (y * y, x * x, y * x))
        size, stretch = yy + xx, np.hypot(xx - yy, 2 * xy)
        ratio = np.sqrt((size + stretch) / max(size - stretch, 1e-9))
        return float(ratio), 0.5 * float(np.arctan2(2 * xy, xx - yy)), float(1 / np.sqrt(max(total, 1.0)))

    @property
    def _beam(self) -> FloatArray:
        """Sum of the patterns within the beam, without what is around it."""
        total = fill_from_nearest(self.patterns.sum(0, dtype=np.float64), self.good)
        y, x = np.indices(total.shape)
        away = np.hypot(y - self.centre[:, 0].mean(), x - self.centre[:, 1].mean())
        level = np.median(total[(away > self.radius + 2) & (away < self.radius + 6)])
        return np.where(away <= self.radius + 1, np.maximum(total - level, 0.0), 0.0)


def extent_of_beam(mean: FloatArray, good: BoolArray, centre: FloatArray, most: float) -> float | None:
    """Distance from the centre within which the direct beam lies, pixels; None where it does not end.

    Parameters
    ----------
    mean
        Average pattern, shape ``(qy, qx)``.
    good
        Detector pixels that can be trusted, shape ``(qy, qx)``.
    centre
        Beam centre ``(y, x)``, pixels.
    most
        Largest distance, pixels.
    """
    y, x = np.indices(mean.shape)
    distance = np.hypot(y - centre[0], x - centre[1])
    edges = np.arange(0.0, min(most, LARGEST * min(mean.shape)) + 2.0, 0.5)
    rings = [mean[good & (distance >= r - 0.25) & (distance < r + 0.75)] for r in edges]
    height = np.array([np.quantile(ring, DIRECTIONS) if ring.size else 0.0 for ring in rings])
    floor = min((float(np.quantile(ring, 0.3)) for ring in rings if ring.size), default=0.0)
    bright = np.flatnonzero(height - floor > BRIGHT * (height.max() - floor))
    if not len(bright) or bright[-1] >= len(edges) - 2:
        return None
    return float(edges[bright[-1]] + 0.5)


def measure_vacuum(scan: Scan) -> Vacuum:
    """Find the beam in an image or a scan of vacuum.

    Parameters
    ----------
    scan
        One pattern or several.

    Raises
    ------
    InputError
        If no single beam, with room around it, can be told from its background.
    """
    patterns = read_sample(scan, MOST)[0].patterns
    mean = mean_of(patterns)
    bad = find_bad_pixels(mean, variance_about(mean, patterns), len(patterns))
    good = ~bad if len(patterns) > 1 else np.ones_like(bad)
    centre, radius = _beam(fill_from_nearest(mean, good), scan.name)
    counts = patterns[:, good & _within(mean.shape, centre, radius + 1)].sum(1, dtype=np.float64)
    away = np.abs(counts - np.median(counts))
    keep = away <= max(OUTLYING * 1.4826 * float(np.median(away)), 0.02 * float(np.median(counts)))
    centres = measure_centres(patterns[keep], good, centre, radius)
    return Vacuum(patterns[keep], good, centres, radius, scan.name)


def find_beam_like(mean: FloatArray, good: BoolArray, vacuum: Vacuum) -> Beam | None:
    """The direct beam of a scan where it looks as in vacuum; None where it does not, for example behind a beam stop.

    Parameters
    ----------
    mean
        Average pattern, shape ``(qy, qx)``.
    good
        Detector pixels that can be trusted, shape ``(qy, qx)``.
    vacuum
        The probe.
    """
    filled = fill_from_nearest(mean, good)
    centre, _ = find_direct_beam(mean, good)
    centre = measure_centres(filled[None], good, centre, vacuum.radius)[0]
    reach = int(np.ceil(vacuum.radius)) + 1
    offset = np.indices((2 * reach + 1, 2 * reach + 1)).astype(float) - reach
    recorded = vacuum.patterns.mean(0, dtype=np.float64)
    one, two = (
        ndimage.map_coordinates(image, offset + at[:, None, None], order=1, mode="nearest")
        for image, at in ((filled, centre), (recorded, vacuum.centre.mean(0)))
    )
    alike = float(np.corrcoef(one.ravel(), two.ravel())[0, 1])
    return Beam(centre, vacuum.radius, False, np.zeros(good.shape, bool)) if alike > ALIKE else None


def _within(shape: tuple[int, ...], centre: FloatArray, radius: float) -> BoolArray:
    y, x = np.indices(shape)
    return np.asarray(np.hypot(y - centre[0], x - centre[1]) <= radius)


def _beam(mean: FloatArray, name: str) -> tuple[FloatArray, float]:
    """Centre and extent of the one beam of an average pattern."""
    least, blurred = min(mean.shape), ndimage.uniform_filter(mean, 3)
    scatter = 1.4826 * float(np.median(np.abs(blurred - np.median(blurred)))) + 1e-3 * float(np.abs(mean).max())
    if blurred.max() - np.median(blurred) < STANDS_OUT * max(scatter, 1e-12):
        raise InputError(
            f"the probe {name} shows no beam: nothing in it is clearly brighter than the rest; record it in vacuum"
        )
    centre, radius = find_direct_beam(mean, np.ones(mean.shape, bool))
    extent: float | None = radius
    for _ in range(ROUNDS):  # a ring is found by one of its sides first
        extent = extent_of_beam(mean, np.ones(mean.shape, bool), centre, LARGEST * least)
        if extent is None:
            break
        centre = measure_centres(mean[None], np.ones(mean.shape, bool), centre, extent)[0]
    if extent is None or min(*centre, *(np.array(mean.shape) - 1 - centre)) < extent + 2:
        raise InputError(
            f"the beam of the probe {name}, around y = {centre[0]:.0f}, x = {centre[1]:.0f} px, does not end within "
            f"its image of {mean.shape[0]}x{mean.shape[1]} px; record it in vacuum, whole, with dark pixels all around"
        )
    outside = ~_within(mean.shape, centre, extent + 2)
    level, inside = float(np.median(mean[outside])), mean[_within(mean.shape, centre, extent)]
    height = float(np.quantile(inside, 0.9)) - level
    smooth = ndimage.uniform_filter(np.where(outside, mean - level, 0.0), 3)
    if smooth.max() > SECOND * height:
        at = np.unravel_index(int(smooth.argmax()), smooth.shape)
        raise InputError(
            f"the probe {name} shows more than the direct beam: also y = {at[0]}, x = {at[1]} px is bright; record it "
            "in vacuum, without a sample"
        )
    return centre, extent
