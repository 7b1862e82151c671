"""Windows around reflections: the only pixels of a pattern that the model uses.

Fits of a whole scan read windows in place, whole rows at a time (`in_place`). What looks at the same windows again
(network, learning of the dictionary) cuts them once per pattern around the predicted reflections and works on stacks
(`gather`). Either way cost does not grow with the detector area.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import BoolArray, IntArray

__all__ = ["LEAST_VALUE", "MASKED", "WindowStack", "Windows", "count_from", "gather", "in_place"]

MASKED = np.float32(-1e30)
"""Value of pixels that carry no information: bad pixels and those beyond the detector."""
LEAST_VALUE = np.float32(-1e29)
"""Value below which a pixel is masked, also after masked pixels were summed or had a level subtracted."""


class Windows(NamedTuple):
    """Where the pixels around the reflections of many patterns are found; compiled loops read them there.

    A pixel of image `i` is ``images[i, layer, y, x]``: images have one layer for all reflections, or one for each.
    """

    images: NDArray[Any]  # counts, (image, layer, y, x), contiguous
    members: IntArray  # images that are summed for each pattern, (n, m), -1 for none
    good: BoolArray  # pixels of an image that can be trusted, (y, x)
    origin: NDArray[np.int32]  # detector pixel (y, x) in the middle of each window, (n, reflection, 2)
    place: NDArray[np.int32]  # the same pixel in the image
    half: int  # how far from it pixels may be read


@dataclass(frozen=True)
class WindowStack:
    """Square cut-outs around the reflections of many patterns.

    Attributes
    ----------
    counts
        Shape ``(n, reflection, size, size)``, float32; `MASKED` where the detector has no (good) pixel.
    origin
        Detector pixel ``(y, x)`` at the centre of each window, shape ``(n, reflection, 2)``, int32.
    """

    counts: NDArray[np.float32]
    origin: NDArray[np.int32]

    @property
    def half(self) -> int:
        """Reach of the windows from their central pixel, pixels."""
        return (self.counts.shape[-1] - 1) // 2

    @property
    def windows(self) -> Windows:
        """The stack as compiled loops read it."""
        members = np.arange(len(self.counts))[:, None]
        good = np.ones(self.counts.shape[-2:], bool)
        return Windows(self.counts, members, good, self.origin, np.full_like(self.origin, self.half), self.half)


@nb.njit(parallel=True, cache=True)
def _gather(
    patterns: Any, members: Any, good: Any, origin: Any, half: int, out: Any
) -> None:  # pragma: no cover - compiled
    n_y, n_x = good.shape
    size = 2 * half + 1
    for n in nb.prange(origin.shape[0]):
        for g in range(origin.shape[1]):
            top, left = origin[n, g, 0] - half, origin[n, g, 1] - half
            window = out[n, g]
            if top < 0 or left < 0 or top + size > n_y or left + size > n_x:
                _gather_edge(patterns, members[n], good, top, left, window)
                continue
            for k in range(members.shape[1]):
                if members[n, k] < 0:
                    continue
                pattern = patterns[members[n, k]]
                for i in range(size):
                    counts, usable = pattern[top + i, left : left + size], good[top + i, left : left + size]
                    row = window[i]
                    if k == 0:
                        for j in range(size):
                            row[j] = np.float32(counts[j]) if usable[j] else MASKED
                    else:
                        for j in range(size):
                            row[j] += np.float32(counts[j]) if usable[j] else np.float32(0.0)


@nb.njit(cache=True)
def _gather_edge(
    patterns: Any, members: Any, good: Any, top: int, left: int, window: Any
) -> None:  # pragma: no cover - compiled
    """Cut a window that lies partly beyond the detector."""
    n_y, n_x = good.shape
    for i in range(window.shape[0]):
        for j in range(window.shape[1]):
            y, x = top + i, left + j
            if 0 <= y < n_y and 0 <= x < n_x and good[y, x]:
                window[i, j] = 0.0
                for m in members:
                    if m >= 0:
                        window[i, j] += np.float32(patterns[m, y, x])
            else:
                window[i, j] = MASKED


def gather(
    patterns: NDArray[Any],
    positions: NDArray[np.floating[Any]],
    half: int,
    good: NDArray[np.bool_],
    members: NDArray[np.integer[Any]] | None = None,
) -> WindowStack:
    """Cut windows around predicted reflection positions.

    Parameters
    ----------
    patterns
        Counts, shape ``(n, qy, qx)``, any real type.
    positions
        Predicted ``(y, x)`` of each reflection, detector pixels, shape ``(n, reflection, 2)``.
    half
        Reach of the windows from the pixel nearest to the position, pixels.
    good
        Detector pixels that can be trusted, shape ``(qy, qx)``.
    members
        Indices of the patterns that are summed for each window, shape ``(n, m)``, -1 for none; by default each pattern
        alone.
    """
    if members is None:
        members = np.arange(len(patterns))[:, None]
    origin = np.rint(positions).astype(np.int32)
    counts = np.empty((*origin.shape[:2], 2 * half + 1, 2 * half + 1), np.float32)
    _gather(patterns, np.ascontiguousarray(members), good, origin, half, counts)
    return WindowStack(counts, origin)


def in_place(
    patterns: NDArray[Any],
    positions: NDArray[np.floating[Any]],
    half: int,
    good: NDArray[np.bool_],
    members: NDArray[np.integer[Any]] | None = None,
) -> Windows:
    """Windows around predicted reflection positions, without a copy of their pixels.

    Parameters
    ----------
    patterns, positions, half, good, members
        As for `gather`.
    """
    if members is None:
        members = np.arange(len(patterns))[:, None]
    origin = np.rint(positions).astype(np.int32)
    images = np.ascontiguousarray(patterns)[:, None]
    return Windows(images, np.ascontiguousarray(members), np.ascontiguousarray(good), origin, origin, half)


@nb.njit(parallel=True, cache=True)
def _count_from(windows: Any, offsets: Any, least: float, out: Any) -> None:  # pragma: no cover - compiled
    images, members, good = windows.images, windows.members, windows.good
    n_y, n_x = good.shape
    for n in nb.prange(out.shape[0]):
        for g in range(out.shape[1]):
            layer = min(g, images.shape[1] - 1)
            for k in range(len(offsets)):
                y, x = windows.place[n, g, 0] + offsets[k, 0], windows.place[n, g, 1] + offsets[k, 1]
                if 0 <= y < n_y and 0 <= x < n_x and good[y, x]:
                    total = np.float32(0.0)
                    for m in range(members.shape[1]):
                        if members[n, m] >= 0:
                            total += np.float32(images[members[n, m], layer, y, x])
                    out[n, g] += total >= least


def count_from(windows: Windows, offsets: IntArray, least: float) -> IntArray:
    """How many pixels of each window reach a value, shape ``(n, reflection)``.

    Parameters
    ----------
    windows
        Windows of many patterns.
    offsets
        Pixels (y, x) that are looked at, relative to the middle of a window, shape ``(k, 2)``.
    least
        The value.
    """
    out = np.zeros(windows.origin.shape[:2], np.int64)
    _count_from(windows, offsets, float(least), out)
    return out
