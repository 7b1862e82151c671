"""What can be known of detector and beam before looking for a crystal: bad pixels, beam centre, ring.

Everything here is automatic, announced, stored with the result and can be overridden.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cyclestrain.data import BoolArray, Calibration, FloatArray, IntArray, Scan
from cyclestrain.errors import InputError
from cyclestrain.io import ValueRange, check_patterns, check_range
from cyclestrain.settings import LearnSettings

__all__ = ["Sample", "calibrate", "draw_sample", "measure_centres"]

SAMPLE_BYTES = 600 * 2**20
"""Largest sample; never more than a quarter of the memory allowed."""
TILE = 8
"""Samples are square tiles of this many positions, so that neighbours can be averaged."""


@dataclass(frozen=True)
class Sample:
    """Part of a scan held in memory, on which the calibration and the dictionary are learned.

    Attributes
    ----------
    patterns
        Shape ``(n, qy, qx)``, in the type of the file.
    rows, columns
        Scan position of each pattern, shape ``(n,)``.
    complete
        True if these are all positions of the scan, in order.
    """

    patterns: NDArray[Any]
    rows: IntArray
    columns: IntArray
    complete: bool


def draw_sample(scan: Scan, max_positions: int = 4096) -> Sample:
    """Read tiles spread evenly over the scan, or all of it where it is small enough.

    Raises
    ------
    InputError
        If the scan is a single position, or its values cannot be diffraction counts.
    """
    n_columns = scan.scan_shape[1]
    if scan.n_positions < 2:
        raise InputError(
            f"{scan.name} holds a single pattern (scan 1 x 1): strain is relative, so a map needs at least two "
            "positions; if this is a stack of patterns, give its shape with --scan"
        )
    n = max(2, min(max_positions, min(SAMPLE_BYTES, scan.memory_bytes // 4) // scan.pattern_bytes))
    if scan.n_positions <= n:
        patterns = np.asarray(scan.source[:]).reshape(-1, *scan.detector_shape)
        rows, columns = np.divmod(np.arange(scan.n_positions), n_columns)
        check_range(check_patterns(patterns), scan.name)
        return Sample(patterns, rows, columns, True)
    parts, rows_, columns_ = [], [], []
    seen = ValueRange(np.inf, -np.inf)
    in_tile = min(TILE, scan.scan_shape[0]) * min(TILE, n_columns)
    for row, column in _tile_corners(scan.scan_shape, max(1, n // in_tile)):
        tile = np.asarray(scan.source[row : row + TILE, column : column + TILE])
        r, c = np.mgrid[row : row + tile.shape[0], column : column + tile.shape[1]]
        seen |= check_patterns(tile.reshape(-1, *scan.detector_shape), row * n_columns + column)
        parts.append(tile.reshape(-1, *scan.detector_shape))
        rows_.append(r.ravel())
        columns_.append(c.ravel())
    check_range(seen, scan.name)
    return Sample(np.concatenate(parts), np.concatenate(rows_), np.concatenate(columns_), False)


def _tile_corners(shape: tuple[int, int], n_tiles: int) -> list[tuple[int, int]]:
    """Corners of about `n_tiles` tiles on an even grid that do not overlap."""
    rows, columns = max(1, shape[0] // TILE), max(1, shape[1] // TILE)
    share = np.sqrt(min(1.0, n_tiles / (rows * columns)))
    n_y = max(1, min(int(rows * share), n_tiles))
    n_x = max(1, min(columns, n_tiles // n_y))
    ys = np.linspace(0, max(0, shape[0] - TILE), n_y).astype(int)
    xs = np.linspace(0, max(0, shape[1] - TILE), n_x).astype(int)
    return [(int(y), int(x)) for y in ys for x in xs]


def find_bad_pixels(mean: FloatArray, variance: FloatArray, n: int) -> BoolArray:
    """Isolated pixels far above, or far below, what their neighbours show.

    Parameters
    ----------
    mean, variance
        Average pattern and variance of each pixel from pattern to pattern, shape ``(qy, qx)``.
    n
        Patterns averaged.
    """
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    bright = np.maximum(ndimage.rank_filter(mean, -2, footprint=ring, mode="mirror"), 0)
    local = np.maximum(ndimage.median_filter(mean, 5, mode="mirror"), 0)
    # Variance over mean of the detector, so that a pixel's noise is judged by its neighbours and not by itself.
    lit = mean > np.quantile(mean, 0.2)
    scale = float(np.median(variance[lit] / np.maximum(mean[lit], 1e-12))) if lit.any() else 1.0
    error = np.sqrt(np.maximum(scale, 1e-12) * np.maximum(local, np.mean(mean)) / n)
    hot = mean > 3.0 * bright + 10.0 * error + 5.0 * scale / n + np.median(local)  # a few counts are no defect
    dead = (mean < 0.2 * local) & (mean < local - 10.0 * error)
    return hot | dead


@nb.njit(parallel=True, cache=True)
def _centroids(patterns: Any, good: Any, start: Any, radii: Any, out: Any) -> None:  # pragma: no cover - compiled
    n_y, n_x = good.shape
    for n in nb.prange(patterns.shape[0]):
        cy, cx = start[n, 0], start[n, 1]
        for radius in radii:
            y0, y1 = max(0, int(cy - radius)), min(n_y, int(cy + radius) + 2)
            x0, x1 = max(0, int(cx - radius)), min(n_x, int(cx + radius) + 2)
            peak = 0.0
            for y in range(y0, y1):
                for x in range(x0, x1):
                    if good[y, x]:
                        peak = max(peak, float(patterns[n, y, x]))
            s = sy = sx = 0.0
            for y in range(y0, y1):
                for x in range(x0, x1):
                    if not good[y, x]:
                        continue
                    w = float(patterns[n, y, x]) - 0.15 * peak
                    # The circle fades over a pixel so that the centroid does not feel the pixel grid.
                    w *= min(1.0, max(0.0, radius + 0.5 - np.hypot(y - cy, x - cx)))
                    if w > 0:
                        s += w
                        sy += w * y
                        sx += w * x
            if s > 0:
                cy, cx = sy / s, sx / s
        out[n, 0], out[n, 1] = cy, cx


def measure_centres(patterns: NDArray[Any], good: BoolArray, start: FloatArray, disk_radius: float) -> FloatArray:
    """Centroid of the direct beam's disk in each pattern, ``(y, x)`` in pixels, shape ``(n, 2)``.

    Parameters
    ----------
    patterns
        Shape ``(n, qy, qx)``.
    good
        Detector pixels that can be trusted.
    start
        Where to look, shape ``(2,)`` or ``(n, 2)``.
    disk_radius
        Radius of the disk in pixels.
    """
    start = np.broadcast_to(np.asarray(start, float), (len(patterns), 2))
    final = 1.25 * disk_radius + 1.0
    radii = np.array([3.0 * disk_radius + 2.0, 2.0 * disk_radius + 1.0] + [final] * 5)
    out = np.empty((len(patterns), 2))
    _centroids(patterns, good, start, radii, out)
    return out


def find_direct_beam(mean: FloatArray, good: BoolArray) -> tuple[FloatArray, float]:
    """Centre ``(y, x)`` and radius, pixels, of the brightest disk of the average pattern."""
    filled = np.where(good, mean, ndimage.median_filter(mean, 5))
    smooth = ndimage.gaussian_filter(filled.astype(float), max(1.0, min(mean.shape) / 128))
    peak = np.unravel_index(np.argmax(smooth), smooth.shape)
    plateau = np.median(filled[tuple(slice(max(0, p - 1), p + 2) for p in peak)])
    level = 0.5 * (plateau + np.median(filled))
    labels, _ = ndimage.label(filled > level)
    blob = labels == labels[peak]
    if not labels[peak]:
        return np.array(peak, float), 2.0
    centre = np.array(ndimage.center_of_mass(blob))
    return centre, float(np.clip(np.sqrt(blob.sum() / np.pi), 1.0, min(mean.shape) / 8))


def _design(rows: FloatArray, columns: FloatArray, shape: tuple[int, int], order: int) -> FloatArray:
    y, x = (2 * rows / max(shape[0] - 1, 1) - 1), (2 * columns / max(shape[1] - 1, 1) - 1)
    terms = [np.ones_like(y), y, x, y * y, y * x, x * x]
    return np.stack(terms[: {0: 1, 1: 3, 2: 6}[order]], -1)


def _smooth_centres(sample: Sample, measured: FloatArray, shape: tuple[int, int]) -> tuple[FloatArray, float, str]:
    """Robust polynomial in the scan position; returns centres of all positions, their scatter and what was fitted."""
    n = len(measured)
    order = 2 if n >= 64 and min(shape) >= 4 else 1 if n >= 9 and min(shape) >= 3 else 0
    design = _design(sample.rows.astype(float), sample.columns.astype(float), shape, order)
    weight = np.ones(n)
    for _ in range(8):
        root = np.sqrt(weight)[:, None]
        coefficients = np.linalg.lstsq(design * root, measured * root, rcond=None)[0]
        residual = np.hypot(*(measured - design @ coefficients).T)
        width = max(float(np.median(residual)), 1e-6)
        weight = 1.0 / (1.0 + (residual / (3.0 * width)) ** 2)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    everywhere = _design(rows.ravel().astype(float), columns.ravel().astype(float), shape, order) @ coefficients
    name = {0: "a constant", 1: "a plane", 2: "a quadratic"}[order]
    return everywhere.reshape(*shape, 2), float(width / 1.18), name  # median of |residual| in 2-D is 1.18 sigma


def _ring(centre: FloatArray, shape: tuple[int, int], disk_radius: float) -> tuple[float, float]:
    edge = min(centre[0], centre[1], shape[0] - 1 - centre[0], shape[1] - 1 - centre[1])
    return 2.0 * disk_radius + 2.0, float(max(edge, 3.0 * disk_radius + 6.0))


def calibrate(scan: Scan, sample: Sample, settings: LearnSettings) -> Calibration:
    """Bad pixels, beam centre of every position, size of the disks and the ring of the detector that is used.

    Parameters
    ----------
    scan
        The whole scan, for its shape.
    sample
        Patterns to measure on.
    settings
        ``centre`` and ``ring`` override what would be measured.
    """
    patterns = sample.patterns
    mean = patterns.mean(0, dtype=np.float64)
    variance = patterns[:: max(1, len(patterns) // 256)].var(0, dtype=np.float64)
    bad = find_bad_pixels(mean, variance, len(patterns))
    good = ~bad
    centre0, radius = find_direct_beam(mean, good)
    choices = [f"bad pixels: {int(bad.sum())} masked" if bad.any() else "bad pixels: none found"]
    if settings.centre is not None:
        centres = np.broadcast_to(np.asarray(settings.centre, float), (*scan.scan_shape, 2)).copy()
        sigma = 1.0
        choices.append(f"beam centre: y = {settings.centre[0]:.2f}, x = {settings.centre[1]:.2f} px as given")
    else:
        measured = measure_centres(patterns, good, centre0, radius)
        centres, sigma, what = _smooth_centres(sample, measured, scan.scan_shape)
        drift = np.ptp(centres.reshape(-1, 2), axis=0)
        middle = centres.reshape(-1, 2).mean(0)
        choices.append(
            f"beam centre: y = {middle[0]:.2f}, x = {middle[1]:.2f} px, {what} over the scan "
            f"(drift {drift[0]:.2f}, {drift[1]:.2f} px; scatter {sigma:.3f} px)"
        )
    ring = settings.ring or _ring(centres.reshape(-1, 2).mean(0), scan.detector_shape, radius)
    choices.append(f"direct disk radius: {radius:.1f} px; ring used: {ring[0]:.0f} to {ring[1]:.0f} px from the centre")
    filled = np.where(good, mean, ndimage.median_filter(mean, 5))
    return Calibration(good, centres, sigma, radius, (float(ring[0]), float(ring[1])), filled, tuple(choices))
