"""Windows around reflections: the only pixels of a pattern that the model uses.

A stack of windows is cut once per pattern around the predicted reflections; everything after (network, refinement,
learning of the dictionary) works on stacks, so cost does not grow with the detector area.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

__all__ = ["CUT", "LEAST_VALUE", "MASKED", "WindowStack", "gather"]

MASKED = np.float32(-1e30)
"""Value of pixels that carry no information: bad pixels and those beyond the detector."""
CUT = np.float32(-4e30)
"""Value of pixels at the end of the detector's scale, which tell no more than that they are bright."""
LEAST_CEILING = 16.0
"""Ends of scale below which pixels stay: there, what is left out would be what is bright by chance."""
LEAST_VALUE = np.float32(-1e29)
"""Value below which a pixel is masked, also after masked pixels were summed or had a level subtracted."""


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

    def cut_share(self, radius: float, ceiling: float) -> NDArray[np.float64]:
        """Share of the pixels at the end of the scale in the disk of each pattern that has most of them, ``(n,)``.

        Parameters
        ----------
        radius
            Radius of the disks, pixels.
        ceiling
            Value at which pixels stop counting.
        """
        if not np.isfinite(ceiling):
            return np.zeros(len(self.counts))
        y, x = np.mgrid[-self.half : self.half + 1, -self.half : self.half + 1]
        disk = self.counts[..., np.hypot(y, x) <= radius]
        cut = disk < 2 * MASKED if ceiling >= LEAST_CEILING else disk >= ceiling
        return np.asarray(cut.mean(-1).max(-1, initial=0.0))


@nb.njit(parallel=True, cache=True)
def _gather(
    patterns: Any, members: Any, good: Any, origin: Any, half: int, ceiling: Any, out: Any
) -> None:  # pragma: no cover - compiled
    n_y, n_x = good.shape
    size = 2 * half + 1
    for n in nb.prange(origin.shape[0]):
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
    if members is None:
        members = np.arange(len(patterns))[:, None]
    origin = np.rint(positions).astype(np.int32)
    counts = np.empty((*origin.shape[:2], 2 * half + 1, 2 * half + 1), np.float32)
    least = float(ceiling) if ceiling >= LEAST_CEILING else np.inf
    _gather(patterns, np.ascontiguousarray(members), good, origin, half, least, counts)
    return WindowStack(counts, origin)
