"""The level from which a detector counts: where the straight line of its variance over its mean meets zero."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclestrain.calibration.moments import mean_and_noise, neighbouring_pairs
from cyclestrain.calibration.subset import TILE, read_sample
from cyclestrain.data import FloatArray, IntArray, PatternSource, Scan

__all__ = [
    "LEAST_PAIRS",
    "LEAST_PEDESTAL",
    "NOISE_PIXELS",
    "N_LEVELS",
    "SAMPLED_PIXELS",
    "Levelled",
    "above_pedestal",
    "levelled",
    "measure_pedestal",
]

LEAST_PAIRS = 16
"""Least number of pairs of neighbouring positions on which the detector's noise is measured."""
NOISE_PIXELS = 2**22
"""Largest number of pixels, in all pairs, on which the detector's noise is measured."""
ALIKE = 0.75
"""Share of the pairs, those that differ least, on which it is measured."""
N_LEVELS = 16
"""Levels of brightness at which the detector's noise is measured."""
LEAST_PEDESTAL = 0.2
"""Share of the typical pixel's counts below which a pedestal is ignored, since it changes no result."""
COUNTED = 0.05
"""Difference of the variance over the mean of dim pixels from one up to which whole numbers are counted electrons."""


@dataclass(frozen=True)
class Levelled:
    """Patterns with a pedestal subtracted, float32.

    Attributes
    ----------
    base
        Patterns as they are stored.
    pedestal
        Value that is subtracted.
    """

    base: PatternSource
    pedestal: float

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(int(size) for size in self.base.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of one value, float32."""
        return np.dtype(np.float32)

    def __getitem__(self, key: Any, /) -> NDArray[np.float32]:
        return np.asarray(self.base[key], np.float32) - np.float32(self.pedestal)


def measure_pedestal(patterns: NDArray[Any], rows: IntArray, columns: IntArray) -> float:
    """Level, in the values of the file, at which the noise of a pixel vanishes; 0 where the values are counts.

    The variance of a pixel is a straight line in its mean: it starts at the read noise, at an offset that was added to
    all counts. Counts from the level where that line meets zero have a variance in proportion to their mean, as counted
    electrons have, and are fitted as such. Variances are taken between neighbouring positions, which mostly show the
    same.

    Parameters
    ----------
    patterns
        Values of the file, shape ``(n, qy, qx)``.
    rows, columns
        Scan position of each pattern, shape ``(n,)``.
    """
    pairs = neighbouring_pairs(rows, columns, max(LEAST_PAIRS, NOISE_PIXELS // int(np.prod(patterns.shape[1:]))))
    if len(pairs) < LEAST_PAIRS:
        return 0.0
    mean, variance = mean_and_noise(patterns, pairs, ALIKE)
    at = np.array_split(np.argsort(mean, kind="stable")[: int(0.97 * mean.size)], N_LEVELS)
    x, y = (np.array([values[part].mean() for part in at]) for values in (mean, variance))
    if y.min() <= 0 or (np.issubdtype(patterns.dtype, np.integer) and _are_counts(x, y)):
        return 0.0
    design = np.stack([x, np.ones_like(x)], 1)
    (gain, start), covariance = _line(design, y, 1.0 / y)
    if gain <= 0 or abs(start) < 5.0 * np.sqrt(covariance[1, 1]):
        return 0.0
    pedestal = float(-start / gain)
    return pedestal if abs(pedestal) > LEAST_PEDESTAL * (float(np.median(mean)) - pedestal) else 0.0


def _are_counts(mean: FloatArray, variance: FloatArray) -> bool:
    """Whether the dimmer half of some levels has the noise of counted electrons.

    The brighter ones may have more, where disks move or change, and the line through all of them then meets zero too
    far up.
    """
    dim = slice(len(mean) // 2)
    return bool(mean.min() > 0 and abs(np.median(variance[dim] / mean[dim]) - 1.0) < COUNTED)


def _line(design: FloatArray, values: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weighted least squares and the covariance that its own residuals give."""
    a, b = design * weight[:, None], values * weight
    inverse = np.linalg.inv(a.T @ a)
    found = inverse @ a.T @ b
    return found, inverse * float(((b - a @ found) ** 2).sum() / (len(b) - len(found)))


SAMPLED_PIXELS = 2**23
"""Pixels, in all patterns of a sample, from which the pedestal is measured."""


def above_pedestal(scan: Scan) -> tuple[Scan, float]:
    """The scan with its pedestal subtracted, and the pedestal, see `measure_pedestal`.

    Where the values are counts, the scan is returned as it is.

    Raises
    ------
    InputError
        If a value is NaN or infinite.
    """
    sample, _ = read_sample(scan, max(TILE * TILE, SAMPLED_PIXELS // int(np.prod(scan.detector_shape))))
    pedestal = measure_pedestal(sample.patterns, sample.rows, sample.columns)
    return levelled(scan, pedestal), pedestal


def levelled(scan: Scan, pedestal: float) -> Scan:
    """The scan with a pedestal subtracted, lazily.

    Parameters
    ----------
    scan
        The scan as it is stored.
    pedestal
        Value to subtract; with 0 the scan is returned as it is.
    """
    return replace(scan, source=Levelled(scan.source, pedestal)) if pedestal else scan
