"""Mean and variance of every pixel, summed pattern by pattern: what is summed up stays in the processor's cache."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import BoolArray, FloatArray, IntArray

__all__ = ["mean_and_noise", "mean_of", "neighbouring_pairs", "variance_about"]


def mean_of(patterns: NDArray[Any]) -> FloatArray:
    """Mean of every pixel, shape ``(qy, qx)``, of patterns of shape ``(n, qy, qx)``."""
    total = np.zeros(patterns.shape[1:])
    for pattern in patterns:
        total += pattern
    return total / len(patterns)


def variance_about(mean: FloatArray, patterns: NDArray[Any]) -> FloatArray:
    """Mean square of what every pixel is off a mean, shape ``(qy, qx)``.

    Parameters
    ----------
    mean
        Mean of every pixel, shape ``(qy, qx)``.
    patterns
        Shape ``(n, qy, qx)``.
    """
    total, change = np.zeros_like(mean), np.empty_like(mean)
    for pattern in patterns:
        np.subtract(pattern, mean, out=change)
        change *= change
        total += change
    return total / len(patterns)


def neighbouring_pairs(rows: IntArray, columns: IntArray, most: int) -> IntArray:
    """Indices of patterns whose next one was recorded beside it, evenly chosen, about as many as `most` or all.

    Parameters
    ----------
    rows, columns
        Scan position of each pattern, shape ``(n,)``.
    most
        Number of pairs from which they are chosen.
    """
    pairs = np.flatnonzero(np.abs(np.diff(rows)) + np.abs(np.diff(columns)) == 1)
    return pairs[:: max(1, len(pairs) // most)]


def mean_and_noise(
    patterns: NDArray[Any], pairs: IntArray, alike: float, seen: BoolArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """Mean of every pixel and its variance by noise, from patterns that mostly show the same.

    Parameters
    ----------
    patterns
        Shape ``(n, qy, qx)``.
    pairs
        Indices of patterns that are compared with the next, see `neighbouring_pairs`.
    alike
        Share of the pairs, those that differ least, that count: the others may straddle a grain boundary.
    seen
        Detector pixels to use, shape ``(qy, qx)``; by default all.

    Returns
    -------
    mean, variance
        Of every pixel that is used, flat.
    """
    which = slice(None) if seen is None else np.flatnonzero(seen)

    def pair(at: int) -> tuple[FloatArray, FloatArray]:
        """The sum of both patterns, and half of the square of their difference."""
        one, two = (patterns[k].reshape(-1)[which].astype(np.float64) for k in (at, at + 1))
        return one + two, 0.5 * (one - two) ** 2

    size = np.array([pair(at)[1].sum() for at in pairs])
    chosen = pairs[size <= np.quantile(size, alike)]
    mean, variance = pair(int(chosen[0]))
    for at in chosen[1:]:
        both, change = pair(at)
        mean += both
        variance += change
    return mean / (2 * len(chosen)), variance / len(chosen)
