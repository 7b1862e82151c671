"""Loops over positions and their neighbours: who agrees with whom, and local fits to those that do."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from cyclestrain.context.estimates import (
    MISFIT,
    SELF_WEIGHT,
    SLOPE,
    SLOPE_VARIANCE,
    VARIANCE,
    WIDTH,
    agree,
    square,
)
from cyclestrain.context.neighbourhoods import place_of, sums_of_means, sums_of_planes
from cyclestrain.loops import part

__all__ = ["fit_means", "fit_planes", "mark_edges", "start_planes"]

EXPONENTS = [(total - x, x) for total in range(5) for x in range(total + 1)]
"""Powers of y and x in the monomials up to fourth order."""
N_BASIS, N_MOMENTS = 6, len(EXPONENTS)
"""Monomials up to second order, and up to fourth."""
PAIRS = np.array(
    [[EXPONENTS.index((a[0] + b[0], a[1] + b[1])) for b in EXPONENTS[:N_BASIS]] for a in EXPONENTS[:N_BASIS]]
)
"""Which monomial is the product of two of second order."""


@nb.njit(nogil=True, cache=True, fastmath=True)
def start_planes(data: Any, raw: Any, fit: Any, start: int, stop: int) -> None:  # pragma: no cover
    """Put into `fit` the plane through the 3x3 neighbours where it explains them better than a mean with outliers.

    Both are charged 8 per free value of the four components (Akaike), an outlier being one such value.

    Parameters
    ----------
    data
        Raw estimates and neighbourhood.
    raw, fit
        Raw values as a fit, and the fit that is changed.
    start, stop
        Positions.
    """
    rows, columns, label, precision, metric = data.rows, data.columns, data.label, data.precision, data.metric
    for i in range(start, stop):
        y, x = i // columns, i % columns
        if label[i] < 0 or y == 0 or x == 0 or y == rows - 1 or x == columns - 1:
            continue
        total, flat, along, kept = np.zeros(4), np.zeros(4), np.zeros((4, 2)), np.zeros(9)
        whole, n = True, 0
        for k in range(9):
            dy, dx = k // 3 - 1, k % 3 - 1
            j = i + dy * columns + dx
            whole &= label[j] == label[i]
            kept[k] = agree(metric, raw, i, j, dy, dx)
            n += kept[k] > 0
            for c in range(4):
                d = raw[j, c] - raw[i, c]
                total[c] += d / 9
                along[c, 0] += d * dy / 6
                along[c, 1] += d * dx / 6
                flat[c] += d * kept[k]
        if not whole or n == 9:
            continue
        for c in range(4):
            flat[c] /= n
        if _prefers_plane(data, raw, i, kept, flat, total, along):
            for c in range(4):
                fit[i, c] = raw[i, c] + total[c]
                fit[i, SLOPE + 2 * c], fit[i, SLOPE + 2 * c + 1] = along[c, 0], along[c, 1]
            fit[i, VARIANCE] = 1 / (9 * precision[i])
            fit[i, SLOPE_VARIANCE] = 1 / (6 * precision[i])


@part(fastmath=True, counted=True)
def _prefers_plane(
    data: Any, raw: Any, i: int, kept: Any, flat: Any, total: Any, along: Any
) -> Any:  # pragma: no cover
    """Whether the 3x3 neighbours of `i` are better described by a plane than by a mean with outliers."""
    cost = 8.0 * (10 - kept.sum()) - 24.0
    d, e = np.empty(4), np.empty(4)
    for k in range(9):
        dy, dx = k // 3 - 1, k % 3 - 1
        j = i + dy * data.columns + dx
        for c in range(4):
            d[c] = raw[j, c] - raw[i, c] - flat[c]
            e[c] = raw[j, c] - raw[i, c] - total[c] - along[c, 0] * dy - along[c, 1] * dx
        cost += kept[k] * data.precision[j] * square(data.metric, i, d[0], d[1], d[2], d[3])
        cost -= data.precision[j] * square(data.metric, i, e[0], e[1], e[2], e[3])
    return cost > 0


@nb.njit(nogil=True, cache=True, fastmath=True)
def mark_edges(data: Any, fit: Any, start: int, stop: int) -> None:  # pragma: no cover
    """Mark positions that disagree with two or more of their eight neighbours: they may hold two crystals.

    Parameters
    ----------
    data
        Raw estimates and neighbourhood, whose ``edge`` is marked.
    fit
        Estimates that are compared.
    start, stop
        Positions.
    """
    rows, columns, label, metric, edge = data.rows, data.columns, data.label, data.metric, data.edge
    for i in range(start, stop):
        y, x, n = i // columns, i % columns, 0
        for k in range(9):
            dy, dx = k // 3 - 1, k % 3 - 1
            if k == 4 or label[i] < 0 or y + dy < 0 or y + dy >= rows or x + dx < 0 or x + dx >= columns:
                continue
            j = i + dy * columns + dx
            if label[j] >= 0:
                n += label[j] != label[i] or not agree(metric, fit, i, j, dy, dx)
        edge[i] = n >= 2


@nb.njit(nogil=True, cache=True, fastmath=True)
def fit_means(
    data: Any, columns: Any, hood: Any, fit: Any, taken: Any, start: int, stop: int
) -> None:  # pragma: no cover - compiled
    """Mean of every position and the neighbours that agree with it under estimates without slopes.

    Parameters
    ----------
    data
        Raw estimates.
    columns, hood
        What positions say, and the neighbourhood.
    fit, taken
        Receive the fit and, bit by bit, which of the nearest neighbours were used.
    start, stop
        Positions.
    """
    label, raw, metric, precision, edge = data.label, data.raw, data.metric, data.precision, data.edge
    for i in range(start, stop):
        if label[i] < 0:
            continue
        at = place_of(data, columns, i)
        total, s0, s1, s2, s3, taken[i] = sums_of_means(columns, hood, metric[i], label[i], edge[i], at)
        d0, d1, d2, d3 = s0 / total, s1 / total, s2 / total, s3 / total
        fit[i, 0], fit[i, 1], fit[i, 2], fit[i, 3] = raw[i, 0] + d0, raw[i, 1] + d1, raw[i, 2] + d2, raw[i, 3] + d3
        for c in range(SLOPE, WIDTH):
            fit[i, c] = 0.0
        fit[i, VARIANCE], fit[i, SELF_WEIGHT] = 1.0 / total, precision[i] / total
        fit[i, MISFIT] = precision[i] * square(metric, i, d0, d1, d2, d3)


@nb.njit(nogil=True, cache=True, fastmath=True)
def fit_planes(
    data: Any, columns: Any, hood: Any, fit: Any, taken: Any, start: int, stop: int
) -> None:  # pragma: no cover - compiled
    """Fit polynomials up to second order to every position and the neighbours that agree with it.

    Parameters
    ----------
    data, columns, hood, fit, taken, start, stop
        As for `fit_means`.
    """
    label, raw, metric, precision, edge = data.label, data.raw, data.metric, data.precision, data.edge
    moments, sums = np.zeros(N_MOMENTS), np.zeros((N_BASIS, 4))
    low, pivot, unit = np.zeros((N_BASIS, N_BASIS)), np.zeros(N_BASIS), np.zeros((N_BASIS, 3))
    for i in range(start, stop):
        if label[i] < 0:
            continue
        at = place_of(data, columns, i)
        taken[i] = sums_of_planes(columns, hood, metric[i], label[i], edge[i], at, moments, sums)
        first, second = _solve(metric, moments, sums, low, pivot, unit, i)
        _expand(pivot, unit, sums, first, second, fit, i)
        fit[i, MISFIT] = precision[i] * square(metric, i, fit[i, 0], fit[i, 1], fit[i, 2], fit[i, 3])
        fit[i, SELF_WEIGHT] *= precision[i]
        for c in range(4):
            fit[i, c] += raw[i, c]


@part(fastmath=True, counted=True)
def _solve(metric: Any, moments: Any, sums: Any, low: Any, pivot: Any, unit: Any, i: int) -> Any:  # pragma: no cover
    r"""Least squares of order 0, 1 and 2 by one factorisation :math:`L D L^T`; returns the Akaike weights.

    In the basis :math:`L^{-T}` the coefficients are independent, so a higher order only adds terms: each is multiplied
    by the summed weight of the orders that have it. ``sums`` becomes ``L^-1 sums`` and ``unit`` the part of ``L^-1``
    that leads to the value and its slopes.
    """
    pivot[:] = 0.0
    gain = of_first = of_second = 0.0  # log likelihood over order 0, less the number of coefficients
    for r in range(N_BASIS):
        for c in range(r + 1):
            t = moments[PAIRS[r, c]]
            for k in range(c):
                t -= low[r, k] * low[c, k] * pivot[k]
            if c < r:
                low[r, c] = t / pivot[c] if pivot[c] > 0 else 0.0
            elif t > 1e-9 * moments[PAIRS[r, r]]:
                pivot[r] = t  # else: these neighbours cannot tell this coefficient, it stays 0
        for c in range(3):
            unit[r, c] = 1.0 if c == r else 0.0
        for k in range(r):
            for c in range(4):
                sums[r, c] -= low[r, k] * sums[k, c]
            for c in range(3):
                unit[r, c] -= low[r, k] * unit[k, c]
        if r > 0 and pivot[r] > 0:
            gain += square(metric, i, sums[r, 0], sums[r, 1], sums[r, 2], sums[r, 3]) / (2 * pivot[r]) - 4
        if r == 2:
            of_first = gain
        elif r == 5:
            of_second = gain
    top = max(0.0, of_first, of_second)
    zeroth, first, second = np.exp(-top), np.exp(of_first - top), np.exp(of_second - top)
    return (first + second) / (zeroth + first + second), second / (zeroth + first + second)


@nb.njit(inline="always", fastmath=True)
def _expand(
    pivot: Any, unit: Any, sums: Any, first: float, second: float, fit: Any, i: int
) -> None:  # pragma: no cover
    """Value, slope and variances at the position itself from independent coefficients and their weights."""
    for c in range(WIDTH):
        fit[i, c] = 0.0
    for r in range(N_BASIS):
        if pivot[r] > 0:
            weight = 1.0 if r == 0 else (first if r < 3 else second)
            part = weight / pivot[r]
            fit[i, SELF_WEIGHT] += part * unit[r, 0] ** 2
            fit[i, VARIANCE] += weight * part * unit[r, 0] ** 2
            for c in range(4):
                fit[i, c] += part * unit[r, 0] * sums[r, c]
            if r > 0:
                fit[i, SLOPE_VARIANCE] += 0.5 * part * (unit[r, 1] ** 2 + unit[r, 2] ** 2)
                for c in range(4):
                    fit[i, SLOPE + 2 * c] += part * unit[r, 1] * sums[r, c]
                    fit[i, SLOPE + 2 * c + 1] += part * unit[r, 2] * sums[r, c]
