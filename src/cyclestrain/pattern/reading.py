"""Reading windows out of patterns, whole rows at a time, inside compiled loops."""

from __future__ import annotations

from typing import Any

import numpy as np

from cyclestrain.loops import part
from cyclestrain.pattern.windows import LEAST_VALUE, add_row, call_typed

__all__ = ["load_window"]

STRIDE = 16
"""Pixels of a row that are copied at a time: those of the widest vector registers."""


@part()
def _load_rows(
    images: Any, windows: Any, n: int, g: int, shift_y: int, shift_x: int, runs: Any, pixels: Any
) -> None:  # pragma: no cover
    """Copy the pixels of a window, see `load_window`."""
    layer = min(g, images.shape[1] - 1)
    first, half = 0, runs.shape[0] // 2
    for i in range(runs.shape[0]):
        y = windows.place[n, g, 0] + shift_y + i - half
        x = windows.place[n, g, 1] + shift_x + runs[i, 0]
        whole = (runs[i, 1] + STRIDE - 1) // STRIDE * STRIDE  # later rows overwrite what follows the pixels
        add_row(images, windows, n, layer, y, x, runs[i, 1], pixels[first : first + whole])
        first += runs[i, 1]


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
    call_typed(windows, _load_rows, windows, n, g, shift_y, shift_x, runs, pixels)
    size = support.shape[0]
    values, used = pixels[:size], pixels[size : 2 * size]
    for k in range(size):
        used[k] = support[k] if values[k] > LEAST_VALUE else np.float32(0.0)
    for k in range(size):  # of padding, which nothing was written to, any value may have been left
        values[k] = max(values[k], LEAST_VALUE) * used[k]
