"""How the noise of neighbouring pixels goes together, and what that does to a disk.

One electron lights several pixels where a scintillator spreads its light, where a thick sensor shares its charge or
where patterns were resampled. Each pixel then scatters less than its counts say (by the *mixing factor* of Zuo,
Microsc. Res. Tech. 49 (2000) 245), but neighbours scatter alike, and sums over many pixels as if nothing was spread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import j1

from cyclestrain.data import INDEPENDENT, BoolArray, FloatArray, Grain, IntArray

__all__ = ["measure_grain"]

REACH = 6
"""Largest distance along an axis at which the noise of two pixels may go together, pixels."""
FAR = 10
"""Distance at which what still goes together is signal, pixels."""
LARGEST_SIDE, LEAST_SIDE, ACROSS = 16, 4, 8
"""Side of the areas of the detector that are judged by themselves, pixels; there are eight across a small detector."""
QUIET = 0.5
"""Share of the pixels, those that scatter least for their counts, that show noise and not what changes in a crystal."""
BLUR = 7
"""Width over which scatter is averaged for that, pixels: with less, those that scatter little by chance are chosen."""
LEAST_FILLED = 0.2
"""Share of the pixels of an area that have to be among these for it to be judged."""
MOST_PIXELS = 2**22
"""Pixels, in all patterns, on which it is measured."""
LEAST_TRIPLES, LEAST_AREAS = 4, 8
"""Least number of three positions in a row, and of areas, on which it is measured."""
LARGEST = 6.0
"""Largest departure of a pixel, standard deviations, that counts as such."""
LEAST, EVERYWHERE = 0.1, 0.1
"""Correlation with the next pixel, in a row or a column, below which there is none, and share of the areas without any.

Crystals that move or fade between positions leave up to .06 in the median, and areas without; .1 is 15 % of sigma.
"""
MARGIN = 1.1
"""By how much what is found is enlarged: it is known within a tenth, and what noise leaves unexplained is taken, when
an entry is learned, for disks that wander.
"""
ALIKE = 0.5
"""Share of the positions, those that differ least from the ones beside them, on which it is measured."""
BRIGHT = 0.97
"""Share of the pixels that are darker than disks are."""
CLEARLY = 10.0
"""Standard deviations by which noise has to grow with the counts to be told from noise that is the same everywhere."""


@dataclass(frozen=True)
class _Changes:
    """What changes irregularly from position to position.

    Attributes
    ----------
    change
        Difference of a position from the mean of those on both its sides, shape ``(n, qy, qx)``, zero where pixels are
        not quiet: smooth changes of a crystal cancel, and three positions across a boundary are left out.
    quiet
        Pixels that scatter least for their counts, shape ``(qy, qx)``.
    side
        Of the square areas that the detector is divided into, pixels.
    areas
        Those that hold enough of the quiet pixels, shape ``(ny, nx)``.
    level
        Mean counts of their quiet pixels, shape ``(area,)``.
    bright
        Counts of a pixel in a disk.
    """

    change: FloatArray
    quiet: BoolArray
    side: int
    areas: BoolArray
    level: FloatArray
    bright: float

    def product(self, y: int, x: int) -> FloatArray:
        """Covariance of quiet pixels that are `y` rows and `x` columns apart, of each area, shape ``(area,)``."""
        here, there = _apart(self.change, y, x)
        pairs = np.logical_and(*_apart(self.quiet, y, x)).astype(float)
        total, number = self._sums(np.einsum("nyx,nyx->yx", here, there)), self._sums(pairs)
        return np.asarray(total / np.maximum(number * len(self.change), 1.0))

    def _sums(self, image: FloatArray) -> FloatArray:
        """Sums over the areas; what pairs of pixels lack at the end of the detector counts as nothing."""
        whole = np.zeros(self.change.shape[1:])
        whole[: image.shape[0], : image.shape[1]] = image
        return np.asarray(_areas(whole, self.side)[self.areas])


def _apart(image: NDArray[Any], y: int, x: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Values of an image, or of many, and what lies `y` rows and `x` columns from them, where both are there."""
    here, there = image[..., : image.shape[-2] - y, :], image[..., y:, :]
    return (here[..., : here.shape[-1] - x], there[..., x:]) if x >= 0 else (here[..., -x:], there[..., :x])


def measure_grain(
    patterns: NDArray[Any], rows: IntArray, columns: IntArray, used: BoolArray, disk_radius: float
) -> Grain:
    """How much more noise moves a disk, and changes its brightness, than if pixels scattered independently.

    Parameters
    ----------
    patterns
        Counts, shape ``(n, qy, qx)``.
    rows, columns
        Scan position of each pattern, shape ``(n,)``.
    used
        Pixels that can be trusted and lie outside the direct beam, shape ``(qy, qx)``.
    disk_radius
        Radius of the disks, pixels.

    Returns
    -------
    grain
        Ones where pixels scatter independently.
    """
    changes = _changes(patterns, rows, columns, used)
    if changes is None:
        return INDEPENDENT
    own = changes.product(0, 0)
    beside = np.stack([changes.product(0, 1), changes.product(1, 0)]) / own
    if not ((np.median(beside, axis=1) > LEAST) & (np.quantile(beside, EVERYWHERE, axis=1) > 0.0)).any():
        return INDEPENDENT
    part = _at_disks(own, changes)
    lags = [(FAR, 0), (0, FAR), (FAR, FAR), (FAR, -FAR)]
    common = float(np.clip(min(part @ changes.product(*lag) for lag in lags), 0.0, 0.9))
    correlation = np.ones((2 * REACH + 1, 2 * REACH + 1))
    for y in range(REACH + 1):
        for x in range(-REACH, REACH + 1):
            if y > 0 or x > 0:
                value = (part @ changes.product(y, x) - common) / (1.0 - common)
                correlation[REACH + y, REACH + x] = correlation[REACH - y, REACH - x] = value
    return _of_disk(correlation, disk_radius)


def _changes(patterns: NDArray[Any], rows: IntArray, columns: IntArray, used: BoolArray) -> _Changes | None:
    """What changes irregularly in a sample of a scan; None where too little of it is seen."""
    down, right = np.diff(rows), np.diff(columns)
    step = np.abs(down) + np.abs(right) == 1
    middle = 1 + np.flatnonzero(step[1:] & step[:-1] & (down[1:] == down[:-1]) & (right[1:] == right[:-1]))
    middle = middle[:: max(1, len(middle) * used.size // MOST_PIXELS)]
    if len(middle) < LEAST_TRIPLES:
        return None
    before, here, after = (patterns[middle + k].astype(np.float32) for k in (-1, 0, 1))
    change, level = here - 0.5 * (before + after), ndimage.uniform_filter(before + here + after, (0, 5, 5)) / 3.0
    scale = np.sqrt(np.maximum(level, max(float(level.mean()), 1e-12) / 30.0))
    size = np.where(used, (change / scale) ** 2, 0.0).mean((1, 2))
    alike = size <= np.quantile(size, ALIKE)
    bright = float(np.quantile(level[alike][:, used], BRIGHT))
    change, scale, level = change[alike], scale[alike], level[alike].mean(0)
    limit = LARGEST * scale * float(np.sqrt(size[alike].mean() / used.mean()))
    change = np.clip(change, -limit, limit)
    squares = np.where(used, np.einsum("nyx,nyx->yx", change, change), 0.0)
    there = ndimage.uniform_filter(used.astype(float), BLUR)
    scatter = ndimage.uniform_filter(squares, BLUR) / np.maximum(level * there, 1e-12)
    seen = used & (scatter > 0)
    quiet = seen & (scatter <= np.quantile(scatter[seen], QUIET)) if seen.any() else seen
    side = int(np.clip(min(used.shape) // ACROSS, LEAST_SIDE, LARGEST_SIDE))
    number = _areas(quiet.astype(float), side)
    areas = (number > LEAST_FILLED * side**2) & (_areas(np.where(quiet, squares, 0.0), side) > 0)
    brightness = (_areas(np.where(quiet, level, 0.0), side) / np.maximum(number, 1.0))[areas]
    if areas.sum() < LEAST_AREAS:
        return None
    return _Changes(np.where(quiet, change, 0.0), quiet, side, areas, brightness, bright)


def _areas(image: FloatArray, side: int) -> FloatArray:
    """Sums over square areas of the detector, shape ``(ny, nx)``; what is left at its end is in none."""
    ny, nx = (size // side for size in image.shape)
    return np.asarray(image[: ny * side, : nx * side].reshape(ny, side, nx, side).sum((1, 3)))


def _at_disks(variance: FloatArray, changes: _Changes) -> FloatArray:
    """Weights of areas that give a covariance at the counts of disks, in units of the variance there.

    Part of the noise grows with the counts, part of it (of reading, or common to a row) is the same everywhere. Where
    they cannot be told apart, it is the covariance at the counts of the areas.
    """
    level = changes.level
    weight = 1.0 / np.maximum(level, 1e-12)
    design = np.stack([np.ones_like(level), level], 1) * weight[:, None]
    inverse = np.linalg.pinv(design.T @ design)
    line = inverse @ design.T * weight
    left = variance * weight - design @ (line @ variance)
    error = np.sqrt(inverse[1, 1] * (left**2).sum() / max(len(level) - 2, 1))
    part = line[0] + changes.bright * line[1] if line[1] @ variance > CLEARLY * error else weight
    return np.asarray(part / (part @ variance))


def _of_disk(correlation: FloatArray, radius: float) -> Grain:
    """What the correlation at every lag does to a disk, by spectra.

    To its place by the derivative of a disk whose edge is spread as the noise is, to its brightness by that disk.
    """
    n = 64
    table = np.zeros((n, n))
    table[: 2 * REACH + 1, : 2 * REACH + 1] = correlation
    power = np.fft.fft2(np.roll(table, (-REACH, -REACH), (0, 1))).real
    power = np.maximum(power, 0.0) / power.mean()
    fy, fx = np.fft.fftfreq(n)[:, None], np.fft.fftfreq(n)
    k = 2.0 * np.pi * np.hypot(fy, fx)
    seen = power * (np.sinc(fy) * np.sinc(fx)) ** 2
    edge = j1(k * radius) ** 2 * seen
    area = np.where(k > 0, (2.0 * j1(k * radius) / np.where(k > 0, k * radius, 1.0)) ** 2, 1.0) * seen
    more = [(shape * power).sum() / shape.sum() - 1.0 for shape in (edge, area)]
    return Grain(*(1.0 + MARGIN * float(max(0.0, each)) for each in more))
