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
from cyclestrain.loops import on_threads, part

__all__ = [
    "CUT",
    "LEAST_VALUE",
    "MASKED",
    "WindowStack",
    "Windows",
    "add_row",
    "call_typed",
    "cut_share",
    "gather",
    "in_place",
    "touch",
]

MASKED = np.float32(-1e30)
"""Value of pixels that carry no information: bad pixels and those beyond the detector."""
CUT = np.float32(-4e30)
"""Value of pixels at the end of the detector's scale, which tell no more than that they are bright."""
KINDS = (np.uint8, np.uint16, np.uint32, np.int16, np.int32, np.float32)
"""Kinds of numbers that compiled loops read as they are, see `call_typed`."""
CACHE_LINE = 64
"""Bytes that the processor reads at a time."""
LEAST_CEILING = 16.0
"""Ends of scale below which pixels stay: there, what is left out would be what is bright by chance."""
NO_END = 3e38
"""End of scale beyond all numbers of single precision that are counts."""
LEAST_VALUE = np.float32(-1e29)
"""Value below which a pixel is masked, also after masked pixels were summed or had a level subtracted."""


class Windows(NamedTuple):
    """Where the pixels around the reflections of many patterns are found; compiled loops read them there.

    A pixel of image `i` is ``images[i, layer, y, x]`` of `call_typed`: images have one layer for all reflections, or
    one for each. Their numbers are handed over as bytes, so that the loops are compiled once for every detector.
    """

    images: NDArray[np.uint8]  # bytes of the counts, (image, layer, y, x * bytes)
    kind: int  # of their numbers, see `KINDS`
    members: IntArray  # images that are summed for each pattern, (n, m), -1 for none
    good: BoolArray  # pixels of an image that can be trusted, (y, x)
    origin: NDArray[np.int32]  # detector pixel (y, x) in the middle of each window, (n, reflection, 2)
    place: NDArray[np.int32]  # the same pixel in the image
    half: int  # how far from it pixels may be read
    ceiling: float  # value from which pixels are left out; beyond all numbers where none are


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
        place = np.full_like(self.origin, self.half)
        return Windows(*_as_bytes(self.counts), members, good, self.origin, place, self.half, NO_END)


def _as_bytes(images: NDArray[Any]) -> tuple[NDArray[np.uint8], int]:
    """Bytes of images, and the kind of their numbers; rare kinds become numbers of single precision."""
    kind = next((k for k, each in enumerate(KINDS) if images.dtype == each), None)
    if kind is None:
        return _as_bytes(images.astype(np.float32))
    out = np.ascontiguousarray(images).view(np.uint8)
    out.flags.writeable = False  # as files that are mapped into memory are: numba would compile loops for both
    return out, kind


@part()
def call_typed(windows: Any, do: Any, *arguments: Any) -> None:  # pragma: no cover - compiled
    """Call another part with the images, as the numbers they are.

    Parameters
    ----------
    windows
        `Windows`.
    do
        The part.
    *arguments
        What it is given behind the images, shape ``(image, layer, y, x)``.
    """
    images, kind = windows.images, windows.kind
    if kind == 0:
        do(images, *arguments)
    elif kind == 1:
        do(images.view(np.uint16), *arguments)
    elif kind == 2:
        do(images.view(np.uint32), *arguments)
    elif kind == 3:
        do(images.view(np.int16), *arguments)
    elif kind == 4:
        do(images.view(np.int32), *arguments)
    else:
        do(images.view(np.float32), *arguments)


@part(fastmath=True)
def touch(windows: Any, n: int) -> Any:  # pragma: no cover - compiled
    """Read the part of a pattern's images that holds its windows, one byte of every cache line, in order.

    Memory is fast in order only: the rows of windows, each far from the last, would wait for it eight times as long.

    Parameters
    ----------
    windows
        `Windows`, of images with a single layer.
    n
        Pattern.

    Returns
    -------
    total
        The sum of these bytes, since what is not used is not read.
    """
    images, place, members, half = windows.images, windows.place[n], windows.members[n], windows.half
    n_y, n_x = windows.good.shape
    size = images.shape[3] // n_x
    total, y0, x0, y1, x1 = 0, n_y, n_x, 0, 0
    for g in range(place.shape[0]):
        y0, y1 = min(y0, place[g, 0] - half), max(y1, place[g, 0] + half + 1)
        x0, x1 = min(x0, place[g, 1] - half), max(x1, place[g, 1] + half + 1)
    for m in range(members.shape[0]):
        if members[m] >= 0:
            for y in range(max(y0, 0), min(y1, n_y)):
                for x in range(max(x0, 0) * size, min(x1, n_x) * size, CACHE_LINE):
                    total += images[members[m], 0, y, x]
    return total


@part(fastmath=True)
def add_row(
    images: Any, windows: Any, n: int, layer: int, y: int, x: int, count: int, out: Any
) -> None:  # pragma: no cover - compiled
    """Sum a row of pixels over the images of a pattern: `MASKED` where there is no good one, `CUT` at the scale's end.

    Parameters
    ----------
    images
        Of `call_typed`.
    windows, n, layer
        `Windows`, the pattern and the layer.
    y, x
        First pixel.
    count
        Pixels there are.
    out
        Receives them, and whatever follows if it is longer: whole vector registers take a few instructions.
    """
    good, members, (n_y, n_x) = windows.good, windows.members[n], windows.good.shape
    first, last, whole = 0, out.shape[0], out.shape[0]
    if y < 0 or y >= n_y or x < 0 or x + count > n_x or y * n_x + x + whole > n_y * n_x:
        first, last = min(max(-x, 0), count), min(max(n_x - x, 0), count)
        for j in range(count):
            out[j] = MASKED
        if y < 0 or y >= n_y or first >= last:
            return
    usable, top, row = good[y, x + first :], np.float32(windows.ceiling), out[first:]
    for j in range(last - first):
        row[j] = np.float32(0.0) if usable[j] else MASKED
    for m in range(members.shape[0]):
        if members[m] >= 0:
            counts = images[members[m], layer, y, x + first :]
            for j in range(last - first):
                value = np.float32(counts[j])
                total = CUT if value >= top else row[j] + value
                row[j] = total if usable[j] else MASKED


@part()
def _gather_pattern(images: Any, windows: Any, n: int, out: Any) -> None:  # pragma: no cover - compiled
    """Cut the windows of one pattern."""
    size = out.shape[1]
    for g in range(out.shape[0]):
        y, x = windows.place[n, g, 0] - windows.half, windows.place[n, g, 1] - windows.half
        for i in range(size):
            add_row(images, windows, n, 0, y + i, x, size, out[g, i])


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _gather(windows: Any, out: Any, start: int, stop: int) -> None:  # pragma: no cover - compiled
    for n in range(start, stop):
        if out.shape[1] > 0:
            out[n, 0, 0, 0] = touch(windows, n)  # which the first window overwrites
        call_typed(windows, _gather_pattern, windows, n, out[n])


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
    on_threads(_gather, len(counts), found, counts)
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
    images, kind = _as_bytes(patterns[:, None])
    least = min(float(ceiling), NO_END) if ceiling >= LEAST_CEILING else NO_END
    members, good = np.ascontiguousarray(members), np.ascontiguousarray(good)
    return Windows(images, kind, members, good, origin, origin, half, least)


@part()
def _count_pixels(
    images: Any, windows: Any, n: int, offsets: Any, least: float, out: Any
) -> None:  # pragma: no cover - compiled
    """Pixels of one pattern that are at the end of the scale, of each reflection."""
    members, good = windows.members[n], windows.good
    n_y, n_x = good.shape
    for g in range(out.shape[0]):
        layer = min(g, images.shape[1] - 1)
        for k in range(len(offsets)):
            y, x = windows.place[n, g, 0] + offsets[k, 0], windows.place[n, g, 1] + offsets[k, 1]
            if 0 <= y < n_y and 0 <= x < n_x and good[y, x]:
                cut, total = False, np.float32(0.0)
                for m in range(members.shape[0]):
                    if members[m] >= 0:
                        value = images[members[m], layer, y, x]
                        cut = cut or value >= windows.ceiling or value < 2 * MASKED
                        total += np.float32(value)
                out[g] += cut or total >= least


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _count_cut(
    windows: Any, offsets: Any, least: float, out: Any, start: int, stop: int
) -> None:  # pragma: no cover - compiled
    for n in range(start, stop):
        call_typed(windows, _count_pixels, windows, n, offsets, least, out[n])


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
    least = np.inf if ceiling >= LEAST_CEILING else float(ceiling)
    on_threads(_count_cut, len(out), windows, inside, least, out)
    return np.asarray((out / len(inside)).max(-1, initial=0.0))
