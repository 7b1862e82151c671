"""Which counts of a pattern its colours reach from and to."""

from __future__ import annotations

import numpy as np

__all__ = ["reach_of"]

BRIGHTEST = 0.999
"""Share of the pixels that are not brighter than the colours reach."""


def reach_of(
    counts: np.ndarray, beam: tuple[float, float, float], share: tuple[float, float] = (0.0, 1.0)
) -> tuple[float, float]:
    """Counts at the ends of the colours of a pattern.

    Parameters
    ----------
    counts
        The pattern.
    beam
        Middle ``(y, x)`` and radius of the direct beam, which is let shine, pixels.
    share
        Position of both ends between the darkest and the brightest colour that suits the rest of the pattern.

    Examples
    --------
    >>> pattern = np.full((9, 9), 5.0)
    >>> pattern[4, 4] = 1e6
    >>> reach_of(pattern, (4.0, 4.0, 2.0))
    (5.0, 6.0)
    """
    y, x = np.ogrid[: counts.shape[0], : counts.shape[1]]
    rest = counts[((y - beam[0]) ** 2 + (x - beam[1]) ** 2 > beam[2] ** 2) & np.isfinite(counts)]
    if not rest.size:
        return 0.0, 1.0
    low, high = float(rest.min()), float(np.quantile(rest, BRIGHTEST))
    high = max(high, low + 1.0)
    return low + share[0] * (high - low), low + share[1] * (high - low)
