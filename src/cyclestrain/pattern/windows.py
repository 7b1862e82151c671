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

from cyclestrain.data import BoolArray, FloatArray, IntArray
from cyclestrain.pattern.parts import part

__all__ = ["CUT", "LEAST_VALUE", "MASKED", "WindowStack", "Windows", "cut_share", "gather", "in_place", "touch"]

MASKED = np.float32(-1e30)
"""Value of pixels that carry no information: bad pixels and those beyond the detector."""
CUT = np.float32(-4e30)
"""Value of pixels at the end of the detector's scale, which tell no more than that they are bright."""
CACHE_LINE = 64
"""Bytes that the processor reads at a time."""
LEAST_CEILING = 16.0
"""Ends of scale below which pixels stay: there, what is left out would be what is bright by chance."""
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
    ceiling: float  # value from which pixels are left out


@dataclass(frozen=True)
class WindowStack:
    """Square cut-outs around the reflections of many patterns.

    Attributes
    ----------
    counts
        Shape ``(n, reflection, size, size)``, float32; `MASKED` where the detector has no (good) pixel, `CUT` where it
        stopped counting.
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
        return Windows(self.counts, members, good, self.origin, np.full_like(self.origin, self.half), self.half, np.inf)


@part(fastmath=True)
def touch(patterns: Any, members: Any, place: Any, half: int) -> Any:  # pragma: no cover - compiled
    """Read the part of some patterns that holds their windows, one pixel of every cache line, in order.

    Memory is fast in order only: the rows of windows, each far from the last, would wait for it eight times as long.

    Parameters
    ----------
    patterns
        Shape ``(pattern, y, x)``.
    members
        Those that are read, -1 for none.
    place, half
        Pixel in the middle of each window, shape ``(reflection, 2)``, and how far from it windows reach.

    Returns
    -------
    total
        The sum of these pixels, since what is not used is not read.
    """
    total, line = np.float32(0.0), max(1, CACHE_LINE // patterns.itemsize)
    y0 = x0 = 2**31
    y1 = x1 = 0
    for g in range(place.shape[0]):
        y0, y1 = min(y0, place[g, 0] - half), max(y1, place[g, 0] + half + 1)
        x0, x1 = min(x0, place[g, 1] - half), max(x1, place[g, 1] + half + 1)
    for m in range(members.shape[0]):
        if members[m] >= 0:
            for y in range(max(y0, 0), min(y1, patterns.shape[1])):
                for x in range(max(x0, 0), min(x1, patterns.shape[2]), line):
                    total += np.float32(patterns[members[m], y, x])
    return total


@nb.njit(parallel=True, cache=True, nogil=True)
def _gather(
    patterns: Any, members: Any, good: Any, origin: Any, half: int, ceiling: Any, out: Any
) -> None:  # pragma: no cover - compiled
    n_y, n_x = good.shape
    size = 2 * half + 1
    for n in nb.prange(origin.shape[0]):
        if origin.shape[1] > 0:
            out[n, 0, 0, 0] = touch(patterns, members[n], origin[n], half)  # which the first window overwrites
        for g in range(origin.shape[1]):
            top, left = origin[n, g, 0] - half, origin[n, g, 1] - half
            window = out[n, g]
            if top < 0 or left < 0 or top + size > n_y or left + size > n_x:
                _gather_edge(patterns, members[n], good, top, left, ceiling, window)
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
                    if ceiling < np.inf:
                        for j in range(size):
                            if usable[j] and counts[j] >= ceiling:
                                row[j] = CUT


@nb.njit(cache=True)
def _gather_edge(
    patterns: Any, members: Any, good: Any, top: int, left: int, ceiling: Any, window: Any
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
                        window[i, j] = (
                            CUT if patterns[m, y, x] >= ceiling else window[i, j] + np.float32(patterns[m, y, x])
                        )
            else:
                window[i, j] = MASKED


def gather(
    patterns: NDArray[Any],
    positions: NDArray[np.floating[Any]],
    half: int,
    good: NDArray[np.bool_],
    members: NDArray[np.integer[Any]] | None = None,
    *,
    ceiling: float = np.inf,
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
    ceiling
        Value at which pixels stop counting: those that show it, in any pattern that is summed, are left out.
    """
    found = in_place(patterns, positions, half, good, members, ceiling=ceiling)
    counts = np.empty((*found.origin.shape[:2], 2 * half + 1, 2 * half + 1), np.float32)
    _gather(found.images[:, 0], found.members, found.good, found.origin, half, found.ceiling, counts)
    return WindowStack(counts, found.origin)


def in_place(
    patterns: NDArray[Any],
    positions: NDArray[np.floating[Any]],
    half: int,
    good: NDArray[np.bool_],
    members: NDArray[np.integer[Any]] | None = None,
    *,
    ceiling: float = np.inf,
) -> Windows:
    """Windows around predicted reflection positions, without a copy of their pixels.

    Parameters
    ----------
    patterns, positions, half, good, members, ceiling
        As for `gather`.
    """
    if members is None:
        members = np.arange(len(patterns))[:, None]
    origin = np.rint(positions).astype(np.int32)
    images = np.ascontiguousarray(patterns)[:, None]
    least = float(ceiling) if ceiling >= LEAST_CEILING else np.inf
    return Windows(images, np.ascontiguousarray(members), np.ascontiguousarray(good), origin, origin, half, least)


@nb.njit(parallel=True, cache=True, nogil=True)
def _count_cut(windows: Any, offsets: Any, least: float, out: Any) -> None:  # pragma: no cover - compiled
    images, members, good = windows.images, windows.members, windows.good
    n_y, n_x = good.shape
    for n in nb.prange(out.shape[0]):
        for g in range(out.shape[1]):
            layer = min(g, images.shape[1] - 1)
            for k in range(len(offsets)):
                y, x = windows.place[n, g, 0] + offsets[k, 0], windows.place[n, g, 1] + offsets[k, 1]
                if 0 <= y < n_y and 0 <= x < n_x and good[y, x]:
                    cut, total = False, np.float32(0.0)
                    for m in range(members.shape[1]):
                        if members[n, m] >= 0:
                            value = images[members[n, m], layer, y, x]
                            cut = cut or value >= windows.ceiling or value < 2 * MASKED
                            total += np.float32(value)
                    out[n, g] += cut or total >= least


def cut_share(windows: Windows, radius: float, ceiling: float) -> FloatArray:
    """Share of the pixels at the end of the scale in the disk of each pattern that has most of them, shape ``(n,)``.

    Parameters
    ----------
    windows
        Windows of many patterns.
    radius
        Radius of the disks, pixels.
    ceiling
        Value at which pixels stop counting.
    """
    if not np.isfinite(ceiling):
        return np.zeros(len(windows.origin))
    y, x = np.mgrid[-windows.half : windows.half + 1, -windows.half : windows.half + 1]
    inside = np.stack([y, x], -1)[np.hypot(y, x) <= radius]
    out = np.zeros(windows.origin.shape[:2], np.int64)
    _count_cut(windows, inside, np.inf if ceiling >= LEAST_CEILING else float(ceiling), out)
    return np.asarray((out / len(inside)).max(-1, initial=0.0))
