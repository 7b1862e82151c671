"""Reading windows out of patterns, whole rows at a time, inside compiled loops."""

from __future__ import annotations

from typing import Any

import numpy as np

from cyclestrain.pattern.parts import part
from cyclestrain.pattern.windows import CUT, LEAST_VALUE, MASKED, touch

__all__ = ["load_window", "touch_images"]

STRIDE = 16
"""Pixels of a row that are copied at a time: those of the widest vector registers."""


@part(fastmath=True)
def touch_images(windows: Any, n: int) -> Any:  # pragma: no cover
    """Read the part of a pattern's images that holds its windows in order, see `cyclestrain.pattern.windows.touch`.

    Parameters
    ----------
    windows
        `cyclestrain.pattern.windows.Windows`.
    n
        Pattern.
    """
    if windows.images.shape[1] > 1:  # stacks lie in memory as they are read
        return np.float32(0.0)
    return touch(windows.images[:, 0], windows.members[n], windows.place[n], windows.half)


@part(fastmath=True)
def load_window(
    windows: Any, n: int, g: int, shift_y: int, shift_x: int, runs: Any, support: Any, pixels: Any
) -> None:  # pragma: no cover
    """Copy the pixels of a window that are compared; masked pixels get no weight.

    Parameters
    ----------
    windows
        `cyclestrain.pattern.windows.Windows`.
    n, g
        Pattern and reflection.
    shift_y, shift_x
        How far the window is moved from where it was predicted, pixels.
    runs
        First offset x and number of pixels of each row, see `cyclestrain.pattern.scratch.Plan`.
    support
        1 for a pixel, 0 for padding.
    pixels
        Receives counts and weights, in one row each; all are written.
    """
    layer = min(g, windows.images.shape[1] - 1)
    first, size, half = 0, support.shape[0], runs.shape[0] // 2
    for i in range(runs.shape[0]):
        y = windows.place[n, g, 0] + shift_y + i - half
        x = windows.place[n, g, 1] + shift_x + runs[i, 0]
        _load_row(windows, n, layer, y, x, runs[i, 1], pixels[first:])
        first += runs[i, 1]
    values, used = pixels[:size], pixels[size : 2 * size]
    for k in range(size):
        used[k] = support[k] if values[k] > LEAST_VALUE else np.float32(0.0)
    for k in range(size):  # of padding, which nothing was written to, any value may have been left
        values[k] = max(values[k], LEAST_VALUE) * used[k]


@part(fastmath=True)
def _load_row(windows: Any, n: int, layer: int, y: int, x: int, count: int, out: Any) -> None:  # pragma: no cover
    """Copy pixels of a row, and whatever follows them up to a multiple of `STRIDE`: later rows overwrite that.

    Rows of whole vector registers take a few instructions.
    """
    n_y, n_x = windows.good.shape
    padded = (count + STRIDE - 1) // STRIDE * STRIDE
    if y < 0 or y >= n_y or x < 0 or x + count > n_x or y * n_x + x + padded > n_y * n_x:
        for j in range(count):
            out[j] = MASKED
            if 0 <= y < n_y and 0 <= x + j < n_x and windows.good[y, x + j]:
                out[j] = 0.0
                for m in range(windows.members.shape[1]):
                    if windows.members[n, m] >= 0:
                        value = windows.images[windows.members[n, m], layer, y, x + j]
                        out[j] = CUT if value >= windows.ceiling else out[j] + np.float32(value)
        return
    good, members = windows.good[y, x:], windows.members[n]
    if members[0] >= 0:
        row = windows.images[members[0], layer, y, x:]
        for j in range(padded):
            out[j] = np.float32(row[j]) if good[j] else MASKED
    else:
        for j in range(padded):
            out[j] = np.float32(0.0) if good[j] else MASKED
    for m in range(1, members.shape[0]):
        if members[m] >= 0:
            row = windows.images[members[m], layer, y, x:]
            for j in range(padded):
                out[j] += np.float32(row[j])
    if windows.ceiling < np.inf:
        for m in range(members.shape[0]):
            if members[m] >= 0:
                row = windows.images[members[m], layer, y, x:]
                for j in range(padded):
                    out[j] = CUT if good[j] and row[j] >= windows.ceiling else out[j]
