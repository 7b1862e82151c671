"""What a position's own side of a straight edge says: means over half discs.

Neighbourhoods that grow from the smallest have blurred a step of one or two standard deviations of single patterns
before they are large enough to see it. A disc as large as the largest of them, cut in half in 32 directions, does
see it: two means, one for each side, explain the raw values in it better than what has been smoothed so far. That is
told by Stein's unbiased risk estimates of both, summed over the disc, so that a slope or a ripple, which two means
explain worse, changes nothing.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from cyclestrain.context.chart import LIMIT
from cyclestrain.context.estimates import MISFIT, SELF_WEIGHT, VARIANCE, Data, everywhere, square
from cyclestrain.context.mixing import Mixed
from cyclestrain.data import FloatArray, IntArray

__all__ = ["mix_halves"]

DIRECTIONS = 32
"""In which the disc is cut; a half disc is one more than half of the sectors into which neighbours are sorted."""
ITSELF = 2 * DIRECTIONS
"""Number of these sectors, and where the position itself is put."""
CHOICE = 12.0
"""Fall of chi-square that the best of the directions has to have: by chance it has some 8, and steps are rare."""
CHOSEN = 4.0
"""Squared distance, in variances of its own, by which the better half disc differs by chance."""
TEMPERATURE = 1.5
"""Divides the log weight of a risk, see `cyclestrain.context.mixing`."""
LEAST_SIDE = 0.1
"""Least part of the disc on either side."""
TINY = 1e-30
"""Kept from zero: a distance that is divided by."""


def mix_halves(data: Data, smoothed: FloatArray) -> Mixed:
    """Estimates with the means of half discs mixed in where two of them explain the disc better.

    Parameters
    ----------
    data
        Raw estimates and their largest neighbourhood.
    smoothed
        The fits so far, shape ``(n, 16)``.
    """
    mixed = Mixed.blank(data)
    everywhere(_mix_halves, data, _sectors(data.offsets), smoothed, mixed)
    return mixed


def _sectors(offsets: IntArray) -> IntArray:
    """Sector of each neighbour by its direction, the last for the position itself, which is on both sides."""
    sector = np.rint(np.arctan2(offsets[:, 0], offsets[:, 1]) * DIRECTIONS / np.pi).astype(np.int64)
    return np.where((offsets == 0).all(1), ITSELF, sector % ITSELF)


@nb.njit(inline="always", fastmath=True)
def _gather(data: Any, sectors: Any, old: Any, i: int, sums: Any) -> Any:  # pragma: no cover - compiled
    """Sum what raw values are off the estimate at position `i` by sectors.

    Returns their squares, and the risk of the estimates, both summed over the disc.
    """
    sums[:] = 0.0
    scatter, risk = 0.0, 0.0
    raw, label, edge = data.raw, data.label, data.edge
    for k in range(len(sectors)):
        y, x = i // data.columns + data.offsets[k, 0], i % data.columns + data.offsets[k, 1]
        if y < 0 or x < 0 or y >= data.rows or x >= data.columns:
            continue
        j = y * data.columns + x
        if label[j] != label[i] or (edge[j] and not edge[i]):
            continue
        d0, d1, d2, d3 = raw[j, 0] - old[i, 0], raw[j, 1] - old[i, 1], raw[j, 2] - old[i, 2], raw[j, 3] - old[i, 3]
        distance, w = square(data.metric, i, d0, d1, d2, d3), data.precision[j]
        if distance > LIMIT * (1 / w + old[i, VARIANCE]):
            continue
        scatter += w * distance
        risk += old[j, MISFIT] + 8 * old[j, SELF_WEIGHT]
        into = sums[sectors[k]]
        into[0] += w
        into[1] += w * d0
        into[2] += w * d1
        into[3] += w * d2
        into[4] += w * d3
    return scatter, risk


@nb.njit(inline="always", fastmath=True)
def _best_half(metric: Any, i: int, sums: Any, half: Any, whole: Any, best: Any) -> Any:  # pragma: no cover - compiled
    """Sums over the half disc that, with the other half, explains most; returns how much, -1 where there is none."""
    whole[:] = 0.0
    for s in range(ITSELF + 1):
        for c in range(5):
            whole[c] += sums[s, c]
    most, reach = -1.0, DIRECTIONS // 2
    half[:] = sums[ITSELF]
    for s in range(-reach, reach + 1):
        for c in range(5):
            half[c] += sums[s % ITSELF, c]
    for direction in range(DIRECTIONS):
        for s in range(2 if direction > 0 else 0):  # it turns by two sectors
            ahead, behind = (2 * direction + reach - s) % ITSELF, (2 * direction - reach - 1 - s) % ITSELF
            for c in range(5):
                half[c] += sums[ahead, c] - sums[behind, c]
        rest = whole[0] - half[0]
        if min(half[0], rest) <= LEAST_SIDE * whole[0]:
            continue
        r1, r2, r3, r4 = whole[1] - half[1], whole[2] - half[2], whole[3] - half[3], whole[4] - half[4]
        explained = square(metric, i, half[1], half[2], half[3], half[4]) / half[0]
        explained += square(metric, i, r1, r2, r3, r4) / rest
        if explained > most:
            most = explained
            best[:] = half
    return most


@nb.njit(nogil=True, cache=True, fastmath=True)
def _mix_halves(
    data: Any, sectors: Any, old: Any, mixed: Any, start: int, stop: int
) -> None:  # pragma: no cover - compiled
    """Mix in the mean of the best half disc of every position, see `mix_halves`."""
    out, share, excess = mixed
    raw, metric, precision = data.raw, data.metric, data.precision
    sums, whole, half, best = np.empty((ITSELF + 1, 5)), np.empty(5), np.empty(5), np.empty(5)
    for i in range(start, stop):
        out[i] = old[i]
        share[i] = excess[i] = 0.0
        if data.label[i] < 0:
            continue
        scatter, risk = _gather(data, sectors, old, i, sums)
        explained = _best_half(metric, i, sums, half, whole, best)
        if explained < 0.0:
            continue
        n = best[0]
        m0, m1, m2, m3 = best[1] / n, best[2] / n, best[3] / n, best[4] / n
        d0, d1 = raw[i, 0] - old[i, 0] - m0, raw[i, 1] - old[i, 1] - m1
        d2, d3 = raw[i, 2] - old[i, 2] - m2, raw[i, 3] - old[i, 3] - m3
        if precision[i] * square(metric, i, d0, d1, d2, d3) > LIMIT:
            continue  # this position is not like its side
        advantage = risk - (scatter - explained + 16.0 + CHOICE)  # two means of four components
        w = 1.0 / (1.0 + np.exp(-min(max(0.5 * advantage / TEMPERATURE, -500.0), 500.0)))
        out[i, 0] += w * m0
        out[i, 1] += w * m1
        out[i, 2] += w * m2
        out[i, 3] += w * m3
        a, b = old[i, VARIANCE], 1.0 / n
        out[i, VARIANCE] = (1 - w) ** 2 * a + w * w * b + 2 * w * (1 - w) * min(a, b)
        out[i, SELF_WEIGHT] = (1 - w) * old[i, SELF_WEIGHT] + w * precision[i] / n
        d0, d1, d2, d3 = out[i, 0] - raw[i, 0], out[i, 1] - raw[i, 1], out[i, 2] - raw[i, 2], out[i, 3] - raw[i, 3]
        out[i, MISFIT] = precision[i] * square(metric, i, d0, d1, d2, d3)
        noise = 4 * abs(a - b) + CHOSEN * b
        share[i], excess[i] = w, max(0.0, 1.0 - noise / (square(metric, i, m0, m1, m2, m3) + TINY))
