"""Patterns in polar coordinates about their beam centre, where a rotation is a circular shift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numba as nb
import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy import ndimage

from cyclestrain.data import BoolArray, Calibration, FloatArray

__all__ = ["LEAST_SHARE", "PolarGrid", "to_polar"]

LEAST_SHARE = 0.3
"""Least share of good pixels in the box around a polar sample."""
_UNSEEN = np.float32(-1e30)
"""Marks samples that no pixel shows."""


@dataclass(frozen=True)
class PolarGrid:
    """Where patterns are sampled: ``radii`` (px) and `n_angles` angles from +x towards +y, after a `box` blur."""

    radii: FloatArray
    n_angles: int
    box: int

    @classmethod
    def fitting(cls, calibration: Calibration) -> PolarGrid:
        """Grid that resolves disks of the calibrated size within the calibrated ring."""
        box = 2 * int(calibration.disk_radius / 2) + 1
        inner, outer = calibration.ring
        step = max(1.0, box / 2)
        radii = np.arange(inner, max(outer - box / 2, inner + 3 * step), step)
        n_angles = int(np.clip(2 * np.pi * radii[-1] / step, 180, 480))
        return cls(radii, scipy.fft.next_fast_len(n_angles, real=True), box)


class _Pixels(NamedTuple):
    """Pixels of the detector."""

    good: BoolArray  # (qy, qx)
    norm: NDArray[np.float32]  # one over the number of good ones in the box around each, 0 where too few are
    known: BoolArray  # where the four from here on have a `norm`, (qy - 1, qx - 1)
    box: int


@nb.njit(forceinline=True, fastmath=True, error_model="numpy")
def _blur(pattern: Any, good: Any, norm: Any, box: int, column: Any, out: Any) -> None:  # pragma: no cover
    """Mean of the good pixels of the box around each pixel, see `_Pixels`."""
    n_y, n_x = good.shape
    half = box // 2
    inner = column[half : half + n_x]
    column[:] = 0.0
    for y in range(-half, n_y):
        enters, leaves = y + half, y - half - 1
        if enters < n_y:
            for x in range(n_x):
                inner[x] += np.float32(pattern[enters, x]) if good[enters, x] else np.float32(0.0)
        if leaves >= 0:
            for x in range(n_x):
                inner[x] -= np.float32(pattern[leaves, x]) if good[leaves, x] else np.float32(0.0)
        if y >= 0:
            row = out[y]
            row[:] = column[:n_x]
            for shift in range(1, box):  # a running sum would wait for each pixel before the next
                shifted = column[shift : shift + n_x]
                for x in range(n_x):
                    row[x] += shifted[x]
            for x in range(n_x):
                row[x] *= norm[y, x]


@nb.njit(parallel=True, cache=True, fastmath=True, error_model="numpy")
def _polar(patterns: Any, pixels: Any, centres: Any, radii: Any, turns: Any, out: Any) -> None:  # pragma: no cover
    """Sample blurred patterns at `radii` in the directions `turns`, shape ``(2, angle)``."""
    good, norm, known, box = pixels
    n_y, n_x = good.shape
    n_angles = turns.shape[1]
    for n in nb.prange(patterns.shape[0]):
        blurred = np.empty((n_y, n_x), np.float32)
        _blur(patterns[n], good, norm, box, np.empty(n_x + box - 1, np.float32), blurred)
        flat = blurred.reshape(-1)
        for i in range(radii.shape[0]):
            ring = out[n, i]
            seen, total = 0, np.float32(0.0)
            for j in range(n_angles):
                y = min(max(centres[n, 0] + radii[i] * turns[0, j], 0.0), n_y - 1.001)
                x = min(max(centres[n, 1] + radii[i] * turns[1, j], 0.0), n_x - 1.001)
                iy, ix = np.uint32(y), np.uint32(x)
                k = iy * np.uint32(n_x) + ix
                fy, fx = np.float32(y - iy), np.float32(x - ix)
                low = flat[k] + fx * (flat[k + 1] - flat[k])
                high = flat[k + n_x] + fx * (flat[k + n_x + 1] - flat[k + n_x])
                if known[iy, ix]:
                    ring[j] = low + fy * (high - low)
                    seen += 1
                    total += ring[j]
                else:
                    ring[j] = _UNSEEN
            if seen < n_angles:  # what no pixel shows says nothing: it is as bright as the rest of its ring
                for j in range(n_angles):
                    if ring[j] == _UNSEEN:
                        ring[j] = total / max(seen, 1)


def to_polar(patterns: NDArray[Any], good: BoolArray, centres: FloatArray, grid: PolarGrid) -> NDArray[np.float32]:
    """Patterns in polar coordinates about their beam centres, shape ``(n, radius, angle)``.

    Parameters
    ----------
    patterns
        Shape ``(n, qy, qx)``.
    good
        Detector pixels that can be trusted.
    centres
        Shape ``(n, 2)``.
    grid
        Where they are sampled.
    """
    out = np.empty((len(patterns), len(grid.radii), grid.n_angles), np.float32)
    count = ndimage.uniform_filter(good.astype(float), grid.box, mode="constant") * grid.box**2
    norm = np.where(count > LEAST_SHARE * grid.box**2, 1.0 / np.maximum(count, 1.0), 0.0).astype(np.float32)
    known = (norm[:-1, :-1] > 0) & (norm[:-1, 1:] > 0) & (norm[1:, :-1] > 0) & (norm[1:, 1:] > 0)
    angles = 2.0 * np.pi * np.arange(grid.n_angles) / grid.n_angles
    turns = np.stack([np.sin(angles), np.cos(angles)])
    pixels = _Pixels(good, norm, known, grid.box)
    _polar(patterns, pixels, np.ascontiguousarray(centres), grid.radii, turns, out)
    return out
