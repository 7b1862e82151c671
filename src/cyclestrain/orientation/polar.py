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
from cyclestrain.loops import on_threads, part

__all__ = ["LEAST_SHARE", "Pixels", "PolarGrid", "to_polar"]

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


class Pixels(NamedTuple):
    """Pixels of the detector, for a box around each of them."""

    good: BoolArray  # (qy, qx)
    norm: NDArray[np.float32]  # one over the number of good ones in the box, 0 where too few are
    known: BoolArray  # where the four from here on have a `norm`, (qy - 1, qx - 1)
    all_known: bool
    box: int

    @classmethod
    def of(cls, good: BoolArray, box: int) -> Pixels:
        """Pixels of a detector.

        Parameters
        ----------
        good
            Detector pixels that can be trusted.
        box
            Width of the box, an odd number of pixels.
        """
        count = ndimage.uniform_filter(good.astype(float), box, mode="constant") * box**2
        norm = np.where(count > LEAST_SHARE * box**2, 1.0 / np.maximum(count, 1.0), 0.0).astype(np.float32)
        known = (norm[:-1, :-1] > 0) & (norm[:-1, 1:] > 0) & (norm[1:, :-1] > 0) & (norm[1:, 1:] > 0)
        return cls(np.ascontiguousarray(good), norm, known, bool(known.all()), box)


class _Places(NamedTuple):
    """Scratch space of a ring: the upper left pixel of every sample, and how far it is off that."""

    pixel: Any
    off_y: Any
    off_x: Any


@part(fastmath=True)
def _enter(counts: Any, usable: Any, old: Any, inner: Any) -> None:  # pragma: no cover
    """Let a row take the place of the `old` one in the sums over columns; loops with one store each are vectorised."""
    for x in range(old.shape[0]):
        inner[x] -= old[x]
    for x in range(old.shape[0]):
        old[x] = np.float32(counts[x])
    for x in range(old.shape[0]):
        old[x] = old[x] if usable[x] else np.float32(0.0)
    for x in range(old.shape[0]):
        inner[x] += old[x]


@part(fastmath=True)
def _sum_along(column: Any, box: int, share: Any, row: Any) -> None:  # pragma: no cover
    """Sums of `box` columns times `share`, several at a time; a running sum would wait for each before the next."""
    n_x, shift = row.shape[0], 1
    for x in range(n_x):
        row[x] = column[x]
    while shift + 3 < box:
        a, b, c, d = column[shift:], column[shift + 1 :], column[shift + 2 :], column[shift + 3 :]
        for x in range(n_x):
            row[x] += (a[x] + b[x]) + (c[x] + d[x])
        shift += 4
    while shift < box:
        a = column[shift:]
        for x in range(n_x):
            row[x] += a[x]
        shift += 1
    for x in range(n_x):
        row[x] *= share[x]


@part(fastmath=True)
def _blur(pattern: Any, good: Any, norm: Any, box: int, rows: Any, column: Any, out: Any) -> None:  # pragma: no cover
    """Mean of the good pixels of the box around each pixel, see `Pixels`; `rows` keeps those that are in the box."""
    n_y, n_x = good.shape
    half = box // 2
    inner = column[half : half + n_x]
    column[:] = 0.0
    rows[:] = 0.0
    for y in range(-half, n_y):
        enters = y + half
        old = rows[enters % box]
        if enters < n_y:
            _enter(pattern[enters], good[enters], old, inner)
        else:
            for x in range(n_x):
                inner[x] -= old[x]
        if y >= 0:
            _sum_along(column, box, norm[y], out[y])


@part(fastmath=True)
def _place(shape: Any, cy: float, cx: float, turns: Any, radius: float, places: Any) -> None:  # pragma: no cover
    """Find the samples of a ring among the pixels; a loop without look-ups is vectorised."""
    pixel, off_y, off_x = places
    n_y, n_x = shape
    zero, last_y, last_x = np.float32(0.0), np.float32(n_y - 1.001), np.float32(n_x - 1.001)
    middle_y, middle_x, r = np.float32(cy), np.float32(cx), np.float32(radius)
    for j in range(pixel.shape[0]):
        y = min(max(middle_y + r * turns[0, j], zero), last_y)
        x = min(max(middle_x + r * turns[1, j], zero), last_x)
        iy, ix = np.int32(y), np.int32(x)
        pixel[j] = iy * n_x + ix
        off_y[j], off_x[j] = y - np.float32(iy), x - np.float32(ix)


@part(fastmath=True)
def _fill_unseen(known: Any, n_x: int, places: Any, ring: Any) -> None:  # pragma: no cover
    """What no pixel shows says nothing: it is made as bright as the rest of its ring."""
    seen, total = 0, np.float32(0.0)
    for j in range(ring.shape[0]):
        iy, ix = places.pixel[j] // n_x, places.pixel[j] % n_x
        if known[iy, ix]:
            seen += 1
            total += ring[j]
        else:
            ring[j] = _UNSEEN
    for j in range(ring.shape[0]):
        if ring[j] == _UNSEEN:
            ring[j] = total / max(seen, 1)


@nb.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _polar(
    patterns: Any, pixels: Any, centres: Any, radii: Any, turns: Any, out: Any, start: int, stop: int
) -> None:  # pragma: no cover
    """Sample blurred patterns at `radii` in the directions `turns`, shape ``(2, angle)``."""
    n_y, n_x = pixels.good.shape
    n_angles = turns.shape[1]
    blurred, rows = np.empty((n_y, n_x), np.float32), np.empty((pixels.box, n_x), np.float32)
    places = _Places(np.empty(n_angles, np.int32), np.empty(n_angles, np.float32), np.empty(n_angles, np.float32))
    column, flat = np.empty(n_x + pixels.box - 1, np.float32), blurred.reshape(-1)
    for n in range(start, stop):
        _blur(patterns[n], pixels.good, pixels.norm, pixels.box, rows, column, blurred)
        for i in range(radii.shape[0]):
            _place((n_y, n_x), centres[n, 0], centres[n, 1], turns, radii[i], places)
            ring = out[n, i]
            for j in range(n_angles):
                k, fy, fx = np.uint32(places.pixel[j]), places.off_y[j], places.off_x[j]
                low = flat[k] + fx * (flat[k + 1] - flat[k])
                high = flat[k + n_x] + fx * (flat[k + n_x + 1] - flat[k + n_x])
                ring[j] = low + fy * (high - low)
            if not pixels.all_known:
                _fill_unseen(pixels.known, n_x, places, ring)


def to_polar(
    patterns: NDArray[Any], good: BoolArray | Pixels, centres: FloatArray, grid: PolarGrid
) -> NDArray[np.float32]:
    """Patterns in polar coordinates about their beam centres, shape ``(n, radius, angle)``.

    Parameters
    ----------
    patterns
        Shape ``(n, qy, qx)``.
    good
        Detector pixels that can be trusted, or `Pixels` that were made of them for the box of the grid.
    centres
        Shape ``(n, 2)``.
    grid
        Where they are sampled.
    """
    pixels = good if isinstance(good, Pixels) else Pixels.of(good, grid.box)
    out = np.empty((len(patterns), len(grid.radii), grid.n_angles), np.float32)
    angles = 2.0 * np.pi * np.arange(grid.n_angles) / grid.n_angles
    turns = np.stack([np.sin(angles), np.cos(angles)]).astype(np.float32)
    centres = np.ascontiguousarray(centres)
    on_threads(_polar, len(out), patterns, pixels, centres, grid.radii, turns, out)
    return out
