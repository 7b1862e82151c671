"""Profiles along a line across a map, with their uncertainty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cyclestrain.data import FloatArray, IntArray
from cyclestrain.explorer.regions import Line

__all__ = ["Profile", "profile"]


@dataclass(frozen=True)
class Profile:
    """Values along a line, one per position of its length.

    Attributes
    ----------
    distance
        From the start of the line, positions, shape ``(n,)``.
    values
        Mean over the width, NaN where no position has a value.
    sigma
        Standard deviation of the mean, None where the map has none.
    count
        Number of positions that were averaged.
    """

    distance: FloatArray
    values: FloatArray
    sigma: FloatArray | None
    count: IntArray


def profile(
    values: FloatArray, sigma: FloatArray | None, line: Line, *, independent: bool = False, period: float | None = None
) -> Profile:
    """Mean of any map across a line, step by step along it, as `cyclestrain.result.profile` has it for strain.

    Every position belongs to the step that its foot on the line falls into, if it is not farther from the line than
    half the width; a line of width 1 takes the nearest positions.

    Parameters
    ----------
    values, sigma
        A map and its standard deviations, shape ``(ry, rx)``.
    line
        Start, stop and width.
    independent
        Whether the errors of different positions are independent. Those of the best estimate are not: neighbours were
        smoothed together, and the standard deviation of their mean is taken to be the (quadratic) mean of theirs.
    period
        Difference after which values repeat, as rotations do; the mean is then taken about the first value.

    Examples
    --------
    >>> import numpy as np
    >>> found = profile(np.arange(12.0).reshape(3, 4), None, Line((1, 0), (1, 3), 3))
    >>> found.values, found.count
    (array([4., 5., 6., 7.]), array([3, 3, 3, 3]))
    """
    start, stop = np.array(line.start), np.array(line.stop)
    length = float(np.hypot(*(stop - start)))
    along = (stop - start) / length if length > 0 else np.array([0.0, 1.0])
    offset = np.moveaxis(np.indices(values.shape, float), 0, -1) - start
    foot, across = offset @ along, np.abs(offset @ np.array([-along[1], along[0]]))
    step = np.floor(foot + 0.5).astype(int)
    n = int(np.floor(length + 0.5)) + 1
    near = (across <= max(line.width, 1.0) / 2) & (step >= 0) & (step < n)
    known = near & np.isfinite(values) & (True if sigma is None else np.isfinite(sigma))
    bins = step[known]
    count = np.bincount(bins, minlength=n)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = _mean(values[known], bins, count, period)
        if sigma is None:
            return Profile(np.arange(n, dtype=float), mean, None, count)
        spread = np.sqrt(np.bincount(bins, sigma[known] ** 2, n) / (count**2 if independent else count))
    return Profile(np.arange(n, dtype=float), mean, np.where(count > 0, spread, np.nan), count)


def _mean(values: FloatArray, bins: IntArray, count: IntArray, period: float | None) -> FloatArray:
    if period is None or not values.size:
        return np.where(count > 0, np.bincount(bins, values, len(count)) / count, np.nan)
    first = np.full(len(count), np.nan)
    first[bins[::-1]] = values[::-1]
    away = values - first[bins]
    away -= period * np.round(away / period)
    return first + np.bincount(bins, away, len(count)) / count
