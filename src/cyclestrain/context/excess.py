"""Scatter of raw values about the smoothed field beyond what they state, measured around every position.

The differences of `cyclestrain.context.scatter` are blind to smooth fields and so need many positions. What raw values
are off a field that is smoothed already tells more, and in smaller areas: where a few dozen positions scatter by more
than noise and the mosaic known so far, there is more of it, where they scatter by less there is less. So mosaic that is
strong in a part of the scan neither is smoothed away there nor spreads to the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter

from cyclestrain.context.adaptive import Smoothed
from cyclestrain.context.chart import FLOOR, Chart
from cyclestrain.context.scatter import ALIKE, ALSO, LEAST, MOST_NOISE, Scatter
from cyclestrain.data import BoolArray, FloatArray, IntArray, values_around

__all__ = ["least_scatter", "refine_scatter", "spread_scatter"]


class _Window(NamedTuple):
    """Square in which scatter is measured: its side, 0 for all of an entry, and what it may change.

    `sure` are the standard errors by which scatter must differ from what is known; a small square never lowers it.
    """

    side: int
    sure: float
    lowers: bool


WINDOWS = (_Window(0, 2.0, True), _Window(11, 3.5, True), _Window(5, 4.0, False))
SEEN = 1.5
"""Scatter that is nearly always seen over that which stands at the limit, standard deviations."""
LEAST_ALIKE = 0.05
"""Least variance of the scatter over that of noise where all components say the same."""
FREE = 0.3
"""Least variance, over its own, of what a position is off the smoothed field to tell anything."""
FEWEST = 12.0
"""Positions that tell, below which scatter is not measured."""
EDGES = 0.7
"""Share of edges up to which they are features, which tell nothing; where they are more, it is scatter."""
BORDER = 2
"""Half width of the square in which the largest scatter counts, positions."""
NO_NOISE, LARGEST = 10.0, 1e4
"""Noise, over the floor of the chart, below which there is none; largest variance of scatter over that of noise."""
TINY = 1e-9
"""Kept from zero: numbers of positions and variances that are divided by."""
CROWD, CROWDED = 5, 0.4
"""Side of the square, and share of its positions that are like none of their neighbours, from which these scatter."""


def least_scatter(n: int) -> float:
    """Standard deviation of scatter in one component, over that of noise, which `n` positions nearly always show.

    Two thirds of it are seen in half of the cases.
    """
    return SEEN * float(np.sqrt(max(LEAST, WINDOWS[0].sure * np.sqrt(2.0 / n))))


def refine_scatter(chart: Chart, own: FloatArray, known: Scatter, smoothed: Smoothed) -> Scatter | None:
    """Scatter that fits what positions are off the smoothed field, None where what is known does everywhere.

    Parameters
    ----------
    chart
        Estimates of all positions.
    own
        Covariance of the errors that neighbours do not share, shape ``(n, 4, 4)``.
    known
        Scatter that was assumed in smoothing.
    smoothed
        What positions say together.
    """
    unit = np.sqrt(np.einsum("nii->ni", own))
    units = unit[:, :, None] * unit[:, None, :]
    off, free = _departures(chart, smoothed)
    free[unit.max(1) < NO_NOISE * FLOOR] = 0.0
    square = (off / unit)[:, :, None] * (off / unit)[:, None, :]
    found, changed = Scatter(known.signal / units, known.error / units, known.unknown / units), False
    for k in np.unique(chart.label[chart.label >= 0]):
        mine = chart.label == k
        for window in WINDOWS:
            told = np.where(mine & ~_features(smoothed.edge & mine, mine, chart, window.side), free, 0.0)
            count = np.maximum(_around(told, chart, window.side), TINY)
            here = np.flatnonzero(mine & (count > FEWEST))
            each, expected = (told > 0)[:, None, None], own / units + found.signal + found.unknown
            total = _around(square * each, chart, window.side)[here] / count[here, None, None]
            before = _around(expected * told[:, None, None], chart, window.side)[here] / count[here, None, None]
            measured = _Measured(total, before, (own / units)[here], np.sqrt(2 / count[here, None]))
            changed |= measured.put_into(found, here, window)
    return Scatter(found.signal * units, found.error * units, found.unknown * units) if changed else None


def spread_scatter(chart: Chart, own: FloatArray, known: Scatter) -> Scatter:
    """Scatter of each position as large as anywhere near in the same entry: squares at a border measure half of it.

    Parameters
    ----------
    chart, own, known
        As for `refine_scatter`.
    """
    size = (np.einsum("nii->ni", known.signal) / np.einsum("nii->ni", own)).sum(1)
    index = np.arange(size.size).reshape(chart.shape)
    label, size = chart.label.reshape(chart.shape), size.reshape(chart.shape)
    source, largest = index.copy(), size.copy()
    there = values_around(np.where(label >= 0, index, -1), -1, BORDER).reshape(-1, *chart.shape)
    for other in there:
        larger = (other >= 0) & (label.ravel()[other] == label) & (size.ravel()[other] > largest)
        source, largest = np.where(larger, other, source), np.where(larger, size.ravel()[other], largest)
    at = source.ravel()
    return Scatter(known.signal[at], known.error[at], known.unknown)


def _features(edge: BoolArray, mine: BoolArray, chart: Chart, side: int) -> BoolArray:
    """Edges that are few around them."""
    return edge & (_around(edge, chart, side) < EDGES * _around(mine, chart, side))


def _departures(chart: Chart, smoothed: Smoothed) -> tuple[FloatArray, FloatArray]:
    """What raw values are off, shape ``(n, 4)``, and its variance in units of theirs, 0 for those that tell nothing.

    A position that is like none of its neighbours stays as it is. One such is a feature; where many are, they scatter,
    and are compared with the mean of the neighbours.
    """
    there = chart.label >= 0
    bound = there & (smoothed.freedom <= FREE)
    off = np.where(there[:, None], chart.value - smoothed.value, 0.0)
    free = np.where(there & ~bound, smoothed.freedom, 0.0)
    for k in np.unique(chart.label[bound]):
        mine = chart.label == k
        many = _around(bound & mine, chart, CROWD) > CROWDED * _around(mine, chart, CROWD)
        beside = _around(mine, chart, 3) - mine
        around = _around(chart.value * mine[:, None], chart, 3) - chart.value
        here = bound & mine & many & (beside >= 1)
        off[here] = chart.value[here] - around[here] / beside[here, None]
        free[here] = 1.0 + 1.0 / beside[here]
    return off, free


def _around(values: FloatArray | BoolArray, chart: Chart, side: int) -> FloatArray:
    """Sum over the square around every position, or over all of them."""
    if side == 0:
        return np.broadcast_to(values.sum(0, dtype=float), values.shape)
    grid = values.reshape(*chart.shape, -1).astype(float)
    summed = uniform_filter(grid, (side, side, 1), mode="constant") * side**2
    return np.asarray(summed.reshape(values.shape))


@dataclass(frozen=True)
class _Measured:
    """Scatter around some positions, in units of their noise.

    Attributes
    ----------
    total, expected, noise
        Covariance that was found, that of noise and known scatter, and that of noise, shape ``(n, 4, 4)``.
    error
        Relative standard error of a variance, shape ``(n, 1)``.
    """

    total: FloatArray
    expected: FloatArray
    noise: FloatArray
    error: FloatArray

    @property
    def variance(self) -> FloatArray:
        """Of every component, shape ``(n, 4)``."""
        return np.asarray(np.maximum(np.einsum("nii->ni", self.total), 1e-3))

    def replaced(self, window: _Window) -> BoolArray:
        """Components, by themselves or all together, that surely scatter otherwise than expected, shape ``(n, 4)``."""
        known = np.einsum("nii->ni", self.expected)
        each = np.log(self.variance / known)
        mean = np.log(self.variance.mean(1) / known.mean(1))[:, None]
        limit = np.maximum(window.sure * self.error, np.log1p(LEAST))
        if window.side == 0:  # where one component scatters, others are likely to
            some = (known > 1.0 + TINY).any(1, keepdims=True)
            limit = np.where(some, np.maximum(ALSO * self.error, np.log1p(LEAST_ALIKE)), limit)
        limit_of_mean = np.maximum(window.sure * self.error / 2, np.log1p(LEAST_ALIKE))
        more = (each > limit) | ((mean > limit_of_mean) & (each > 0))
        less = ((each < -limit) | ((mean < -limit_of_mean) & (each < 0))) & (known > 1.0 + TINY)  # than nothing is less
        return np.asarray(more | less if window.lowers else more)

    def put_into(self, found: Scatter, here: IntArray, window: _Window) -> bool:
        """Put what surely is otherwise into the scatter `found` at some positions; whether there is any."""
        replaced = self.replaced(window)
        some = replaced.any(1)
        part, here = (
            _Measured(*(each[some] for each in (self.total, self.expected, self.noise, self.error))),
            here[some],
        )
        as_noise = part.is_as_noise() & ~found.signal[here].any((1, 2))
        known = found.signal[here] + found.unknown[here]  # what is not replaced stays, whatever it was taken for
        excess = np.where(as_noise, np.maximum(part.variance.mean(1) - 1.0, 0.0), 0.0)
        signal = part.signal(known, replaced[some])
        before = np.einsum("nii->ni", found.error[here])
        error = np.where(replaced[some] | (before == 0), part.error * part.variance, before)
        error *= np.einsum("nii->ni", signal) > TINY  # of nothing there is no error
        found.signal[here] = np.where(as_noise[:, None, None], 0.0, signal)
        found.error[here] = np.where(as_noise[:, None, None], 0.0, error[:, :, None] * np.eye(4))
        found.unknown[here] = excess[:, None, None] * np.eye(4)
        return bool(some.any())

    def is_as_noise(self) -> BoolArray:
        """Where scatter is alike in all components, and small, as that of understated noise, shape ``(n,)``."""
        logarithm = np.log(self.variance)
        spread = ((logarithm - logarithm.mean(1, keepdims=True)) ** 2).sum(1)
        return np.asarray((spread < ALIKE * self.error[:, 0] ** 2) & (self.variance.mean(1) < MOST_NOISE))

    def signal(self, known: FloatArray, replaced: BoolArray) -> FloatArray:
        """Covariance of mosaic with new variances where they are `replaced`, shape ``(n, 4, 4)``."""
        size = np.where(replaced, np.clip(self.variance - 1.0, 0.0, LARGEST), np.einsum("nii->ni", known))
        values, vectors = np.linalg.eigh(self.total - self.noise)
        shape = known + (vectors * np.maximum(values, TINY)[:, None]) @ vectors.swapaxes(1, 2)
        scale = np.sqrt(size / np.einsum("nii->ni", shape))
        return np.asarray(shape * scale[:, :, None] * scale[:, None, :])
