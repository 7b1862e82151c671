"""What the network sees of a pattern: windows around predicted reflections, freed of background, in units of noise.

Two kinds of counts are looked at in the same way: whole patterns as they come from the detector, and stacks of windows
(patterns the decoder imagined). Windows are cut at whole pixels, nothing is interpolated: the sub-pixel
remainder of the predicted position goes along as ``fraction``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from cyclestrain.pattern import Entry, WindowStack
from cyclestrain.pattern.windows import LEAST_VALUE

__all__ = ["Counts", "Cuts", "Views", "cut", "look"]

FloatArray = NDArray[np.floating[Any]]
_LEAST_GAIN = 0.05


@dataclass(frozen=True)
class Counts:
    """Where counts come from.

    Attributes
    ----------
    values
        Whole patterns, shape ``(n, 1, qy, qx)``, or stacks of windows, shape ``(n, reflection, size, size)``.
    corner
        Detector pixel of ``values[..., 0, 0]``, shape ``(n, 1 or reflection, 2)``.
    good
        Detector pixels that can be trusted, 1 or 0, shape ``(qy, qx)``.
    """

    values: NDArray[Any]
    corner: NDArray[np.int32]
    good: NDArray[np.float32]

    @classmethod
    def of_patterns(cls, patterns: NDArray[Any], good: NDArray[np.bool_]) -> Counts:
        """Whole patterns, shape ``(n, qy, qx)``."""
        return cls(patterns[:, None], np.zeros((len(patterns), 1, 2), np.int32), good.astype(np.float32))

    @classmethod
    def of_stack(cls, stack: WindowStack, good: NDArray[np.bool_]) -> Counts:
        """Windows already cut, wider than those to be looked at."""
        return cls(stack.counts, (stack.origin - stack.half).astype(np.int32), good.astype(np.float32))

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Views:
    """Windows ready for the encoder.

    Attributes
    ----------
    windows
        ``(counts - background) / sigma``, masked pixels zero, shape ``(n, reflection, size, size)``, float32.
    fraction
        Predicted position minus the window's central pixel, ``(y, x)`` within half a pixel, ``(n, reflection, 2)``.
    contrast
        Expected height of the disk in units of `sigma`, shape ``(n, reflection)``.
    share
        Expected share of the disk in the counts at its plateau, between 0 and 1, shape ``(n, reflection)``.
    gain, level
        Intensity and background relative to the entry, from sums of counts, shape ``(n,)``.
    """

    windows: NDArray[np.float32]
    fraction: NDArray[np.float32]
    contrast: NDArray[np.float32]
    share: NDArray[np.float32]
    gain: NDArray[np.float32]
    level: NDArray[np.float32]


@dataclass(frozen=True)
class Cuts:
    """Raw windows for the losses.

    Attributes
    ----------
    counts, background
        Counts (0 where masked) and the entry's radial background, shape ``(n, reflection, size, size)``.
    used
        1 for trusted pixels, else 0, same shape.
    origin
        Detector pixel at the centre of each window, shape ``(n, reflection, 2)``.
    """

    counts: NDArray[np.float32]
    background: NDArray[np.float32]
    used: NDArray[np.float32]
    origin: NDArray[np.int32]


@nb.njit(fastmath=True, inline="always")
def _copy(
    values: Any, good: Any, y0: int, x0: int, sy: int, sx: int, size: int, counts: Any, used: Any
) -> None:  # pragma: no cover - compiled
    """Copy one window whose first pixel is detector pixel ``(y0, x0)``, element ``(sy, sx)`` of `values`."""
    inside = sy >= 0 and sx >= 0 and sy + size <= values.shape[0] and sx + size <= values.shape[1]
    inside = inside and y0 >= 0 and x0 >= 0 and y0 + size <= good.shape[0] and x0 + size <= good.shape[1]
    zero = np.float32(0.0)
    for i in range(size):
        row = i * size
        if inside:
            for j in range(size):
                value = np.float32(values[sy + i, sx + j])
                u = good[y0 + i, x0 + j] if value > LEAST_VALUE else zero
                used[row + j] = u
                counts[row + j] = value if u > zero else zero
        else:
            for j in range(size):
                y, x = sy + i, sx + j
                u, value = zero, zero
                if 0 <= y < values.shape[0] and 0 <= x < values.shape[1]:
                    if 0 <= y0 + i < good.shape[0] and 0 <= x0 + j < good.shape[1]:
                        value = np.float32(values[y, x])
                        u = good[y0 + i, x0 + j] if value > LEAST_VALUE else zero
                used[row + j] = u
                counts[row + j] = value if u > zero else zero


@nb.njit(fastmath=True, inline="always")
def _radial(profile: Any, oy: float, ox: float, size: int, out: Any) -> None:  # pragma: no cover - compiled
    """Radial profile (1 px steps) on a window whose first pixel is ``(oy, ox)`` from the centre."""
    last = np.float32(profile.shape[0] - 1.001)
    first_x = np.float32(ox)
    for i in range(size):
        y = np.float32(oy + i)
        y2 = y * y
        for j in range(size):
            x = first_x + np.float32(j)
            r = min(np.sqrt(y2 + x * x), last)
            k = int(r)
            f = r - np.float32(k)
            out[i * size + j] = profile[k] + f * (profile[k + 1] - profile[k])


@nb.njit(parallel=True, cache=True, fastmath=True)
def _look(
    values: Any, corner: Any, good: Any, rows: Any, chosen: Any, positions: Any, centre: Any, profile: Any,
    intensity: Any, peak: float, rim: float, floor: float, scale: float, size: int,
    windows: Any, fraction: Any, contrast: Any, share: Any, gains: Any, levels: Any,
) -> None:  # fmt: skip # pragma: no cover - compiled
    n_reflections, half = positions.shape[1], size // 2
    stacked = values.shape[1] > 1
    rim2 = np.float32(rim * rim)
    zero, one = np.float32(0.0), np.float32(1.0)
    for n in nb.prange(rows.shape[0]):
        used = np.empty((n_reflections, size * size), np.float32)
        background = np.empty((n_reflections, size * size), np.float32)
        row = rows[n]
        rim_counts = rim_background = all_counts = all_background = expected = zero
        for g in range(n_reflections):
            k = chosen[g] if stacked else 0
            oy, ox = int(np.rint(positions[n, g, 0])), int(np.rint(positions[n, g, 1]))
            fy, fx = np.float32(positions[n, g, 0] - oy), np.float32(positions[n, g, 1] - ox)
            fraction[n, g, 0], fraction[n, g, 1] = fy, fx
            y0, x0 = oy - half, ox - half
            sy, sx = y0 - corner[row, k, 0], x0 - corner[row, k, 1]
            counts, mask, back = windows[n, g], used[g], background[g]
            _copy(values[row, k], good, y0, x0, sy, sx, size, counts, mask)
            _radial(profile, y0 - centre[n, 0], x0 - centre[n, 1], size, back)
            total, around, rim_c, rim_b = zero, zero, zero, zero
            for i in range(size):
                dy = np.float32(i - half) - fy
                for j in range(size):
                    dx = np.float32(j - half) - fx
                    p = i * size + j
                    b = back[p] * mask[p]
                    far = one if dy * dy + dx * dx > rim2 else zero
                    total += counts[p]
                    around += b
                    rim_c += far * counts[p]
                    rim_b += far * b
            all_counts += total
            all_background += around
            rim_counts += rim_c
            rim_background += rim_b
            if around > zero:
                expected += intensity[g]
        level = rim_counts / rim_background if rim_background > zero else one
        gain = max((all_counts - level * all_background) / max(expected, np.float32(1e-9)), np.float32(_LEAST_GAIN))
        levels[n], gains[n] = level, gain
        for g in range(n_reflections):
            middle = level * background[g, (size * size) // 2] + np.float32(floor)
            height = gain * intensity[g] * np.float32(peak)
            inverse = one / np.sqrt(np.float32(scale) * (middle + np.float32(0.5) * height))
            contrast[n, g] = height * inverse
            share[n, g] = height / (height + middle)
            counts, mask, back = windows[n, g], used[g], background[g]
            for p in range(size * size):
                counts[p] = (counts[p] - level * back[p] * mask[p]) * inverse


@nb.njit(parallel=True, cache=True, fastmath=True)
def _cut(
    values: Any, corner: Any, good: Any, rows: Any, positions: Any, centre: Any, profile: Any, size: int,
    counts: Any, background: Any, used: Any, origin: Any,
) -> None:  # fmt: skip # pragma: no cover - compiled
    half, stacked = size // 2, values.shape[1] > 1
    for n in nb.prange(rows.shape[0]):
        for g in range(positions.shape[1]):
            k = g if stacked else 0
            y0 = int(np.rint(positions[n, g, 0])) - half
            x0 = int(np.rint(positions[n, g, 1])) - half
            origin[n, g, 0], origin[n, g, 1] = y0 + half, x0 + half
            sy, sx = y0 - corner[rows[n], k, 0], x0 - corner[rows[n], k, 1]
            _copy(values[rows[n], k], good, y0, x0, sy, sx, size, counts[n, g], used[n, g])
            _radial(profile, y0 - centre[n, 0], x0 - centre[n, 1], size, background[n, g])


def look(
    source: Counts,
    rows: NDArray[np.integer[Any]],
    positions: FloatArray,
    centre: FloatArray,
    entry: Entry,
    *,
    chosen: NDArray[np.integer[Any]],
    half: int,
    rim: float,
    noise_scale: float,
) -> Views:
    """Windows around predicted reflections as the encoder wants them.

    Parameters
    ----------
    source, rows
        Where to read, and which of its patterns, shape ``(n,)``.
    positions
        Predicted ``(y, x)`` of the chosen reflections, detector pixels, shape ``(n, chosen, 2)``.
    centre
        Beam centre of each pattern, shape ``(n, 2)``.
    entry
        Gives intensities, background and height of the disk.
    chosen
        Which of the entry's reflections, shape ``(chosen,)``.
    half
        Windows reach this many pixels from their centre.
    rim
        Pixels further than this from the predicted position show the background level.
    noise_scale
        Variance over mean of a pixel.
    """
    n, n_reflections, size = len(rows), len(chosen), 2 * half + 1
    windows = np.empty((n, n_reflections, size * size), np.float32)
    fraction = np.empty((n, n_reflections, 2), np.float32)
    contrast, share = np.empty((n, n_reflections), np.float32), np.empty((n, n_reflections), np.float32)
    gain, level = np.empty(n, np.float32), np.empty(n, np.float32)
    _look(
        source.values, source.corner, source.good, rows, chosen, positions, centre,
        entry.background.astype(np.float32), entry.intensity[chosen].astype(np.float32),
        float(entry.probe.values.max()), float(rim), float(entry.variance_floor), float(noise_scale), size,
        windows, fraction, contrast, share, gain, level,
    )  # fmt: skip
    return Views(windows.reshape(n, n_reflections, size, size), fraction, contrast, share, gain, level)


def cut(
    source: Counts,
    rows: NDArray[np.integer[Any]],
    positions: FloatArray,
    centre: FloatArray,
    entry: Entry,
    half: int,
) -> Cuts:
    """Raw windows around all reflections of the entry; parameters as of `look`."""
    n, n_reflections, size = len(rows), positions.shape[1], 2 * half + 1
    shape = (n, n_reflections, size * size)
    counts, background, used = (np.empty(shape, np.float32) for _ in range(3))
    origin = np.empty((n, n_reflections, 2), np.int32)
    _cut(
        source.values, source.corner, source.good, rows, positions, centre, entry.background.astype(np.float32), size,
        counts, background, used, origin,
    )  # fmt: skip
    square = (n, n_reflections, size, size)
    return Cuts(counts.reshape(square), background.reshape(square), used.reshape(square), origin)
