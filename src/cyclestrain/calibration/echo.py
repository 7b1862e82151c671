"""How much of the noise of one pattern is in the next, and whether patterns have noise of their own at all.

Each pattern is one exposure, so that what chance does to it is in no other. Where a detector glows on, where a scan was
averaged over its neighbours or filtered in all four dimensions, it is; the mean of neighbours then gains less than it
seems. Patterns rebuilt from a few components (PCA, SVD) have no noise of their own, and small strains went with it.

Noise is seen in quiet pixels, as what is left of them by second differences along both axes of the detector: neither
a background nor its bands are that rough. What all patterns have in common, bright or faint, is taken out, and what
changes slowly along the scan (of a moving disk, on pixels of unlike gain) does not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import BoolArray, FloatArray, IntArray

__all__ = ["Echo", "measure_echo"]

REACH = 4
"""Largest distance of two positions whose noise is compared."""
LEAST = 0.1
"""Correlation with the next position below which there is none; of single exposures up to .03 were seen."""
SMOOTHER = -0.62
"""Correlation of neighbouring second differences above which noise is alike: -2/3 where it is independent."""
MOST_PATTERNS, MOST_VALUES = 1024, 2**20
"""Patterns that are compared, those in the middle of the sample, and pixels in all of them."""
LEAST_PATTERNS, LEAST_PIXELS = 16, 32
"""Patterns and pixels below which nothing is measured."""
COMPONENTS = 256
"""Patterns whose components are counted, and no more than half of the pixels."""
FLOOR = 1e-3
"""Median over mean of the power of the components below which patterns have no noise of their own."""
NOISELESS = 1e-6
"""Square of what is left of a pixel, over that of its mean, below which there is no noise to compare."""


@dataclass(frozen=True)
class Echo:
    """What patterns share of their noise.

    Attributes
    ----------
    gain
        Variance of a mean over neighbours over what it were if their noise was independent.
    is_rebuilt
        Whether patterns are sums of fewer components than there are patterns, noise included.
    """

    gain: float = 1.0
    is_rebuilt: bool = False


def measure_echo(patterns: NDArray[Any], rows: IntArray, columns: IntArray, used: BoolArray) -> Echo:
    """Whether the noise of neighbouring patterns goes together.

    Parameters
    ----------
    patterns, rows, columns, used
        As for `cyclestrain.calibration.grain.measure_grain`.
    """
    first = max(0, (len(patterns) - MOST_PATTERNS) // 2)
    patterns, rows, columns = (each[first : first + MOST_PATTERNS] for each in (patterns, rows, columns))
    noise = _noise(patterns, used)
    if noise is None:
        return Echo()
    gain = 1.0
    for step in (np.array([0, 1]), np.array([1, 0])):
        along = [_correlation(noise, rows, columns, k * step) for k in range(1, REACH + 1)]
        if along[0] > LEAST and _is_short(noise, rows, columns, step):
            gain *= 1.0 + 2.0 * sum(max(0.0, value) for value in along)
    return Echo(gain, _is_rebuilt(noise))


def _noise(patterns: NDArray[Any], used: BoolArray) -> FloatArray | None:
    """What is left of quiet pixels of every pattern, shape ``(n, pixel)``; None where that is no noise."""
    inside = np.zeros_like(used)
    inside[1:-1, 1:-1] = used[1:-1, 1:-1]
    y, x = np.nonzero(inside)
    step = max(1, len(y) * len(patterns) // MOST_VALUES)
    y, x = y[::step], x[::step]
    if len(patterns) < LEAST_PATTERNS or len(y) < LEAST_PIXELS:
        return None
    down, right = np.mgrid[-1:2, -1:2].reshape(2, 9, 1)
    around = (y + down) * used.shape[1] + x + right
    weight = np.outer((1, -2, 1), (1, -2, 1)).reshape(9).astype(np.float32)
    left, level = np.empty((len(patterns), len(y)), np.float32), np.zeros(len(y))
    for pattern, own in zip(patterns, left, strict=True):  # each is in the processor's cache once
        values = pattern.reshape(-1)[around].astype(np.float32)
        own[:] = weight @ values
        level += values.mean(0, dtype=np.float64) / len(patterns)
    common = left.mean(0, dtype=np.float64)
    bright = left @ common / max(float(common @ common), 1e-30)
    left -= (bright[:, None] * common).astype(np.float32)
    scatter = (left**2).mean(0, dtype=np.float64) / np.maximum(level, 1e-12)
    seen = (scatter > 0) & (level > 0)
    if seen.sum() < LEAST_PIXELS:
        return None
    quiet = seen & (scatter <= np.median(scatter[seen]))
    has_noise = (left[:, quiet] ** 2).mean(dtype=np.float64) > NOISELESS * (level[quiet] ** 2).mean()
    return left[:, quiet] if has_noise else None


def _beside(rows: IntArray, columns: IntArray, step: IntArray) -> IntArray:
    """Which pattern lies a step, rows and columns, from each, shape ``(n,)``; -1 for none."""
    at = np.full((rows.max() + 1 + step[0], columns.max() + 1 + step[1]), -1)
    at[rows, columns] = np.arange(len(rows))
    return np.asarray(at[rows + step[0], columns + step[1]])


def _correlation(noise: FloatArray, rows: IntArray, columns: IntArray, step: IntArray) -> float:
    """Correlation of the noise of patterns that lie a step apart, 0 where there are too few."""
    there = _beside(rows, columns, step)
    here = np.flatnonzero(there >= 0)
    if len(here) < LEAST_PATTERNS:
        return 0.0
    one, two = noise[here], noise[there[here]]
    power = np.sqrt((one**2).mean(dtype=np.float64) * (two**2).mean(dtype=np.float64))
    return float((one * two).mean(dtype=np.float64) / max(power, 1e-30))


def _is_short(noise: FloatArray, rows: IntArray, columns: IntArray, step: IntArray) -> bool:
    """Whether second differences along the scan, in which slow changes vanish, are smoother than independent noise."""
    before, after = (_beside(rows, columns, k * step) for k in (1, 2))
    here = np.flatnonzero((before >= 0) & (after >= 0))
    rough = noise[here] - 2 * noise[before[here]] + noise[after[here]]
    return len(here) > 0 and _correlation(rough, rows[here], columns[here], step) > SMOOTHER


def _is_rebuilt(noise: FloatArray) -> bool:
    """Whether unlike patterns are sums of so few components that most of theirs have no power."""
    size = (noise.astype(np.float64) ** 2).sum(1)
    first = np.unique(size, return_index=True)[1]  # without the copies of a frame
    some = first[size[first] > 0]
    some = some[:: max(1, -(-len(some) // min(COMPONENTS, noise.shape[1] // 2)))]
    if len(some) < LEAST_PATTERNS:
        return False
    each = noise[some].astype(np.float64)
    power = np.linalg.eigvalsh(each @ each.T)
    return bool(np.median(power) < FLOOR * power.mean())
