r"""Scatter from position to position that noise does not explain: mosaic, which is signal, or understated noise.

Fourth differences see white scatter whole, and neither bends nor ripples of ten positions. Their covariance less that
of their noise is the covariance `X` of the scatter. The mixed one, the kernel
:math:`(1, -2, 1) \otimes (1, -2, 1) / 6`, does not see an edge along a row or a column either; those along the rows and
along the columns are taken as well where they say the same. `X` is measured with the outliers clipped, for every
dictionary entry, and anew in squares of the scan that differ from the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numba as nb
import numpy as np
from scipy.ndimage import binary_dilation
from scipy.special import gammainc, gammaincinv

from cyclestrain.context.adaptive import find_edges
from cyclestrain.context.chart import Chart
from cyclestrain.data import IN_TURN, BoolArray, FloatArray, IntArray, Spread

__all__ = ["Scatter", "measure_scatter"]

SECOND, FOURTH = np.array([1.0, -2.0, 1.0]), np.array([1.0, -4.0, 6.0, -4.0, 1.0])
KEPT = 0.975
"""Share of normal differences that are not clipped."""
CLIP = 2 * float(gammaincinv(2.0, KEPT))
"""Squared distance beyond which a difference is an outlier (chi-square, four degrees)."""
OUTLIER = 25.0
"""Squared distance beyond which the windows around take no part either; chance exceeds it 5 times in 100 000."""
SHRUNK = float(gammainc(3.0, CLIP / 2)) / KEPT
"""Variance of normal differences that are so clipped."""
MEDIAN = 2 * float(gammaincinv(2.0, 0.5))
"""Median of chi-square with four degrees of freedom."""
TURNS = 3
"""Turns of scatter and edges."""
ROUNDS = 15
"""Rounds of clipping, which settle within a per cent."""
SURE, ALSO, APART = 3.0, 1.5, 4.0
"""Standard errors from which a component scatters: the first, others beside it, and a square against the whole."""
LEAST = 0.1
"""Least variance of the scatter over that of noise: stated variances of noise are not known better."""
MOST_NOISE = 1.8
"""Largest factor of variance, alike in all components, that counts as understated noise."""
ALIKE = 11.34
"""Chi-square (three degrees) below which four variances are alike; chance exceeds it once in a hundred."""
SAME = 1.0
"""Standard errors by which all differences may exceed the mixed ones to say the same."""
FEWEST = 60
"""Differences below which scatter is not measured."""
SQUARE = 16
"""Positions along the side of a square in which scatter is measured anew."""
TOGETHER = 64
"""Squares that are worked on in one go."""
RIDGE = 1e-9
"""Added to covariances, relative to their trace."""
TOO_NOISY = 3.0
"""Differences noisier than the median by this factor of variance take no part."""


@dataclass(frozen=True)
class Scatter:
    """Covariances of what positions differ by, in the chart.

    Attributes
    ----------
    signal
        Of mosaic, shape ``(n, 4, 4)``.
    error
        Variances by which `signal` may be too small, shape ``(n, 4, 4)``.
    unknown
        Of what is alike in all components as noise is, which may be either, shape ``(n, 4, 4)``.
    """

    signal: FloatArray
    error: FloatArray
    unknown: FloatArray

    def with_unseen(self, noise: FloatArray) -> Scatter:
        """Where strain scatters in some component, what one that shows none may have: it is seen no better than those.

        Rotation alone is another matter: crystals turn without being strained.
        """
        signal, error, own = (np.einsum("nii->ni", each)[:, :3] for each in (self.signal, self.error, noise))
        seen = signal > 0
        known = np.where(seen, error / (own + signal), 0.0).max(1, keepdims=True)
        unseen = np.zeros(self.error.shape)
        np.einsum("nii->ni", unseen)[:, :3] = np.where(seen | ~seen.any(1, keepdims=True), 0.0, known * own)
        return replace(self, error=self.error + unseen)

    def over(self, noise: FloatArray) -> FloatArray:
        """Variance of all scatter over that of the noise, shape ``(n, 4, 4)``, mean of the components, ``(n,)``."""
        both, own = (np.einsum("nii->ni", each) for each in (self.signal + self.unknown, noise))
        return np.asarray((both / own).mean(1))


@dataclass(frozen=True)
class _Differences:
    """Mixed second differences of the chart.

    Attributes
    ----------
    value
        In units of the standard deviation of their noise, shape ``(m, 4)``.
    noise
        Correlation of their noise, shape ``(m, 4, 4)``.
    variance
        Variances of their noise, shape ``(m, 4)``.
    position
        Flat index of the middle, shape ``(m,)``.
    kernel
        Number of the kernel, 0 the mixed one, shape ``(m,)``.
    inflation
        How many of them tell as much as one that is independent: those of the mixed kernel, and all.
    shape
        Of the scan.
    """

    value: FloatArray
    noise: FloatArray
    variance: FloatArray
    position: IntArray
    kernel: IntArray
    inflation: tuple[float, float]
    shape: tuple[int, int]

    def only(self, which: BoolArray | IntArray) -> _Differences:
        """Some of them."""
        return replace(
            self, value=self.value[which], noise=self.noise[which], variance=self.variance[which],
            position=self.position[which], kernel=self.kernel[which],
        )  # fmt: skip

    def beside(self, which: BoolArray) -> BoolArray:
        """Those whose middle is within two positions of the middle of some, shape ``(m,)``."""
        y, x = np.divmod(self.position, self.shape[1])
        y, x = y - y.min(), x - x.min()
        at = np.zeros((y.max() + 1, x.max() + 1), bool)  # no larger than the part of the scan that they are from
        at[y[which], x[which]] = True
        return np.asarray(binary_dilation(at, np.ones((5, 5), bool))[y, x])


@dataclass(frozen=True)
class _Measured:
    """Covariance of some differences and of their noise, in units of `scale`, and the relative error of a variance."""

    total: FloatArray
    noise: FloatArray
    scale: FloatArray
    error: float

    def parts(self, sure: float) -> tuple[FloatArray, FloatArray, FloatArray] | None:
        """Covariances of signal, its error and the unknown, shape ``(4, 4)``; None where there is nothing."""
        variance = np.diagonal(self.total)
        found = variance - 1 > max(LEAST, sure * self.error)
        if not found.any():
            return None
        nothing, units = np.zeros((4, 4)), np.outer(self.scale, self.scale)
        logarithm = np.log(variance)
        if found.all() and variance.mean() < MOST_NOISE:
            if ((logarithm - logarithm.mean()) ** 2).sum() < ALIKE * self.error**2:
                return nothing, nothing, np.diag(variance - 1) * units
        found = variance - 1 > max(LEAST, ALSO * self.error)
        values, vectors = np.linalg.eigh((self.total - self.noise) * np.outer(found, found))
        signal = (vectors * np.maximum(values, 0.0)) @ vectors.T
        return signal * units, np.diag(self.error * variance * found) * units, nothing


def measure_scatter(chart: Chart, own: FloatArray, spread: Spread = IN_TURN) -> Scatter | None:
    """Scatter between positions beyond their noise, None where there is none.

    Edges are what stands out of the scatter found so far, so that both are found in turn.

    Parameters
    ----------
    chart
        Estimates of all positions.
    own
        Covariance of the errors that neighbours do not share, shape ``(n, 4, 4)``.
    spread
        Where the squares of the scan are worked on.
    """
    found = _measure_between(chart, own, np.zeros(len(chart.label), bool), spread)
    for _ in range(TURNS):
        if found is None:
            break
        edge = find_edges(chart.with_covariance(own + found.signal + found.unknown))
        found = _measure_between(chart, own, edge, spread)
    return found


def _measure_between(chart: Chart, own: FloatArray, edge: BoolArray, spread: Spread) -> Scatter | None:
    """Scatter between positions that are no edge, shape ``(n,)``; see `measure_scatter`."""
    inside = replace(chart, label=np.where(edge, -1, chart.label))
    differences, square = _differences(inside, own), _squares(chart.shape)
    out = np.zeros((3, len(chart.label), 4, 4))
    for k in np.unique(chart.label[differences.position]):
        mine = differences.only(chart.label[differences.position] == k)
        whole = _measure(mine)
        if whole is None:
            continue
        of_all = whole.parts(SURE)
        if of_all is not None:
            out[:, chart.label == k] = np.stack(of_all)[:, None]
        members = _grouped(square, np.flatnonzero(chart.label == k))
        for part, local in _in_squares(mine, square, spread):
            if local is not None and _differ(local, whole):
                found = local.parts(APART)
                out[:, members[part]] = 0.0 if found is None else np.stack(found)[:, None]
    return Scatter(*out) if out.any() else None


def _squares(shape: tuple[int, int]) -> IntArray:
    """Number of the square of every position, flat; those at the far ends are larger than `SQUARE`."""
    rows, columns = (np.minimum(np.arange(size) // SQUARE, max(size // SQUARE - 1, 0)) for size in shape)
    return np.asarray((rows[:, None] * (columns.max() + 1) + columns).ravel())


def _in_squares(differences: _Differences, square: IntArray, spread: Spread) -> Iterator[tuple[int, _Measured | None]]:
    """Numbers of the squares, shape ``(n,)`` for all positions, with what the differences in each of them tell."""
    told = _grouped(square[differences.position], np.arange(len(differences.position)))
    numbers = list(told)
    groups = [numbers[first : first + TOGETHER] for first in range(0, len(numbers), TOGETHER)]

    def given(group: list[int]) -> list[_Differences]:
        return [differences.only(told[number]) for number in group]

    for group, found in spread.over(groups, _measure_each, given):
        yield from zip(group, found, strict=True)


def _measure_each(some: list[_Differences]) -> list[_Measured | None]:
    return list(map(_measure, some))


def _grouped(key: IntArray, index: IntArray) -> dict[int, IntArray]:
    """Some indices (at least one) by their keys, each group ascending."""
    index = index[np.argsort(key[index], kind="stable")]
    first = np.flatnonzero(np.diff(key[index], prepend=-1))
    return dict(zip(key[index][first].tolist(), np.split(index, first[1:]), strict=True))


def _differ(one: _Measured, other: _Measured) -> bool:
    """Whether a component scatters differently here and there."""
    ratio = np.log(np.diagonal(one.total) * one.scale**2 / (np.diagonal(other.total) * other.scale**2))
    return bool(np.abs(ratio).max() > APART * np.hypot(one.error, other.error))


def _differences(chart: Chart, own: FloatArray) -> _Differences:
    """Differences of all windows that lie within one dictionary entry; along a line of positions fourth ones only."""
    rows, columns = chart.shape
    kernels = [np.outer(SECOND, SECOND), FOURTH[:, None], FOURTH[None]]
    kernels = [kernel for kernel in kernels if kernel.shape[0] <= rows and kernel.shape[1] <= columns]
    parts: list[list[FloatArray]] = [[np.empty((0, 4)), np.empty((0, 4, 4)), np.empty(0)]]
    parts += [_windows(chart, own, kernel / np.sqrt((kernel**2).sum())) for kernel in kernels]
    value, noise, place = (np.concatenate(part) for part in zip(*parts, strict=True))
    which = np.repeat(np.arange(len(parts)) - 1, [len(part[0]) for part in parts])
    variance = np.einsum("nii->ni", noise)
    root = np.sqrt(variance)
    noise = noise / (root[:, :, None] * root[:, None, :])
    inflation = (_inflation(kernels[:1]), _inflation(kernels)) if kernels else (1.0, 1.0)
    found = _Differences(value / root, noise, variance, place.astype(np.int64), which, inflation, chart.shape)
    clear = variance <= TOO_NOISY * np.median(variance, 0) if len(variance) else variance > 0
    return found.only(clear.all(1))


def _windows(chart: Chart, own: FloatArray, kernel: FloatArray) -> list[FloatArray]:
    """Difference of every window, covariance of its noise and its middle, for windows within one entry."""
    (rows, columns), (tall, wide) = chart.shape, kernel.shape
    high, along = rows + 1 - tall, columns + 1 - wide
    label, value = chart.label.reshape(rows, columns), chart.value.reshape(rows, columns, 4)
    covariance = own.reshape(rows, columns, 4, 4)
    middle = np.s_[tall // 2 : tall // 2 + high, wide // 2 : wide // 2 + along]
    total, noise, whole = np.zeros((high, along, 4)), np.zeros((high, along, 4, 4)), label[middle] >= 0
    for (y, x), weight in np.ndenumerate(kernel):
        window = np.s_[y : y + high, x : x + along]
        total += weight * value[window]
        noise += weight**2 * covariance[window]
        whole &= label[window] == label[middle]
    place = np.arange(rows * columns).reshape(rows, columns)[middle]
    return [total[whole], noise[whole], place[whole]]


def _inflation(kernels: Sequence[FloatArray]) -> float:
    """How many squares of differences with some kernels tell as much as one independent one, for each kernel."""
    power = np.zeros((32, 32))
    for kernel in kernels:
        power += np.abs(np.fft.fft2(kernel, power.shape)) ** 2 / (kernel**2).sum()
    return float((power**2).mean() / power.mean() ** 2) * len(kernels)


def _measure(differences: _Differences) -> _Measured | None:
    """Covariance of differences: of all, if they scatter as the mixed ones do, else of those; None if too few."""
    mixed = _robust(differences.only(differences.kernel == 0), differences.inflation[0])
    whole = _robust(differences, differences.inflation[1])
    if mixed is None or whole is None:
        return None
    more = np.diagonal(whole.total) - np.diagonal(mixed.total)
    return whole if (more < SAME * mixed.error * np.diagonal(mixed.total)).all() else mixed


def _robust(differences: _Differences, inflation: float) -> _Measured | None:
    """Covariance of differences without the outliers among them; None where they are too few."""
    value = differences.value
    if len(value) < FEWEST:
        return None
    total = np.eye(4) * max(float(np.median((value**2).sum(1))) / MEDIAN, RIDGE)
    far = np.zeros(len(value), bool)
    distance = np.empty(len(value))
    if not _clip(value, far, ROUNDS // 2, total, distance):
        return None
    _measure_distances(value, total, distance)
    far = differences.beside(distance > OUTLIER)  # the windows around hold the outlier as well
    far &= far.mean() < 0.5
    if not _clip(value, far, ROUNDS - ROUNDS // 2, total, distance):
        return None
    kept = (distance < CLIP) & ~far
    scale = 1 / np.sqrt((1 / differences.variance[kept]).mean(0))
    error = float(np.sqrt(2 * inflation / kept.sum()))
    return _Measured(total, differences.noise[kept].mean(0), scale, error)


@nb.njit(cache=True)
def _clip(value: Any, far: Any, rounds: int, total: Any, distance: Any) -> bool:  # pragma: no cover - compiled
    """Rounds of clipping: `total` becomes the covariance of what is neither clipped nor `far`; False if too little."""
    squares = np.empty((4, 4))
    for _ in range(rounds):
        _measure_distances(value, total, distance)
        squares[:] = 0.0
        n = 0
        for k in range(value.shape[0]):
            if distance[k] < CLIP and not far[k]:
                n += 1
                for p in range(4):
                    for q in range(p + 1):
                        squares[p, q] += value[k, p] * value[k, q]
        if n < FEWEST:
            return False
        for p in range(4):
            for q in range(p + 1):
                total[p, q] = total[q, p] = squares[p, q] / (n * SHRUNK)
        ridge = RIDGE * (1.0 + np.trace(total))
        for p in range(4):
            total[p, p] += ridge
    return True


@nb.njit(cache=True)
def _measure_distances(value: Any, total: Any, distance: Any) -> None:  # pragma: no cover - compiled
    """Squared distances of differences whose covariance is `total`."""
    inverse = np.linalg.inv(total)
    for k in range(value.shape[0]):
        a, b, c, d = value[k, 0], value[k, 1], value[k, 2], value[k, 3]
        of_a = inverse[0, 0] * a + 2.0 * (inverse[0, 1] * b + inverse[0, 2] * c + inverse[0, 3] * d)
        of_b = inverse[1, 1] * b + 2.0 * (inverse[1, 2] * c + inverse[1, 3] * d)
        of_c = inverse[2, 2] * c + 2.0 * inverse[2, 3] * d
        distance[k] = a * of_a + b * of_b + c * of_c + inverse[3, 3] * d * d
