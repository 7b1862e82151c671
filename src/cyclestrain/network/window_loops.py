"""Compiled loops that cut windows out of patterns or out of wider windows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from cyclestrain.pattern.windows import LEAST_VALUE

__all__ = ["Places", "Shown", "Source", "cut_out", "look_at"]

FloatArray = NDArray[np.floating[Any]]

_LEAST_GAIN = 0.05
"""Gain relative to the entry that a pattern has at least."""


class Source(NamedTuple):
    """`cyclestrain.network.views.Counts`, as the compiled loops read them."""

    values: NDArray[Any]
    corner: NDArray[np.int32]
    good: NDArray[np.float32]


class Places(NamedTuple):
    """Where windows are cut: rows of the source, reflections of the entry, their positions and beam centres."""

    rows: NDArray[np.integer[Any]]  # (n,)
    chosen: NDArray[np.integer[Any]]  # (reflection,)
    positions: FloatArray  # (n, reflection, 2)
    centre: FloatArray  # (n, 2)


class Shown(NamedTuple):
    """What an entry shows in a window, and how windows are cut, see `cyclestrain.network.views.Cutting`."""

    profile: NDArray[np.float32]  # of the background
    intensity: NDArray[np.float32]  # of the chosen reflections
    peak: float  # of the probe
    floor: float
    rim: float
    scale: float


@nb.njit(fastmath=True, inline="always")
def _copy(
    values: Any, good: Any, first: Any, element: Any, size: int, counts: Any, used: Any
) -> None:  # pragma: no cover - compiled
    """Copy one window whose `first` pixel, on the detector, is that `element` of `values`."""
    y0, x0 = first
    sy, sx = element
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


@nb.njit(cache=True, nogil=True, fastmath=True)
def look_at(
    source: Any, places: Any, shown: Any, size: int, views: Any, start: int, stop: int
) -> None:  # pragma: no cover - compiled
    """Fill the windows of `cyclestrain.network.views.look`.

    Parameters
    ----------
    source, places, shown
        `Source`, `Places` and `Shown`.
    size
        Pixels along each side of a window.
    views
        Arrays of `cyclestrain.network.views.Views` in its order, windows flat.
    start, stop
        The first of the patterns and the one behind the last.
    """
    values, corner, good = source
    rows, chosen, positions, centre = places
    profile, intensity, peak, floor, rim, scale = shown
    windows, fraction, contrast, share, gains, levels = views
    n_reflections, half = positions.shape[1], size // 2
    stacked = values.shape[1] > 1
    rim2 = np.float32(rim * rim)
    zero, one = np.float32(0.0), np.float32(1.0)
    used = np.empty((n_reflections, size * size), np.float32)
    background = np.empty((n_reflections, size * size), np.float32)
    for n in range(start, stop):
        row = rows[n]
        rim_counts = rim_background = all_counts = all_background = expected = zero
        for g in range(n_reflections):
            k = chosen[g] if stacked else 0
            oy, ox = int(np.rint(positions[n, g, 0])), int(np.rint(positions[n, g, 1]))
            fy, fx = np.float32(positions[n, g, 0] - oy), np.float32(positions[n, g, 1] - ox)
            fraction[n, g, 0], fraction[n, g, 1] = fy, fx
            y0, x0 = oy - half, ox - half
            element = y0 - corner[row, k, 0], x0 - corner[row, k, 1]
            counts, mask, back = windows[n, g], used[g], background[g]
            _copy(values[row, k], good, (y0, x0), element, size, counts, mask)
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


@nb.njit(cache=True, nogil=True, fastmath=True)
def cut_out(
    source: Any, places: Any, profile: Any, size: int, cuts: Any, start: int, stop: int
) -> None:  # pragma: no cover - compiled
    """Fill the windows of `cyclestrain.network.views.cut`.

    Parameters
    ----------
    source, places
        `Source` and `Places`.
    profile
        Radial background of the entry.
    size
        Pixels along each side of a window.
    cuts
        Arrays of `cyclestrain.network.views.Cuts` in its order, windows flat.
    start, stop
        The first of the patterns and the one behind the last.
    """
    values, corner, good = source
    rows, chosen, positions, centre = places
    counts, background, used, origin = cuts
    half, stacked = size // 2, values.shape[1] > 1
    for n in range(start, stop):
        for g in range(positions.shape[1]):
            k = chosen[g] if stacked else 0
            y0 = int(np.rint(positions[n, g, 0])) - half
            x0 = int(np.rint(positions[n, g, 1])) - half
            origin[n, g, 0], origin[n, g, 1] = y0 + half, x0 + half
            element = y0 - corner[rows[n], k, 0], x0 - corner[rows[n], k, 1]
            _copy(values[rows[n], k], good, (y0, x0), element, size, counts[n, g], used[n, g])
            _radial(profile, y0 - centre[n, 0], x0 - centre[n, 1], size, background[n, g])
