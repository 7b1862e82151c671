"""Which neighbours agree with a position, and sums over them, several neighbours at a time.

A neighbourhood is read row by row from arrays with a margin around the field, so that no loop asks where the field ends
or branches on a neighbour: one that takes no part has no weight.
"""

from __future__ import annotations

from math import isqrt
from typing import Any, NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from cyclestrain.context.chart import LIMIT
from cyclestrain.context.estimates import SLOPE_VARIANCE, VARIANCE, Data
from cyclestrain.data import FloatArray, IntArray
from cyclestrain.loops import part

__all__ = ["RISK_RADIUS_SQUARED", "Columns", "Hood", "enter", "place_of", "sums_of_means", "sums_of_planes"]

RISK_RADIUS_SQUARED = 18
"""Neighbours within this squared radius share their risk; at most 63 positions, one bit each."""
LANES = 4
"""Neighbours that are looked at together: rows of a neighbourhood are filled up to a multiple of it."""
RAW, PRECISION, N_COLUMNS = 14, 18, 19
"""First column of the raw values, that of their precision, and number of columns; the first 14 are those of a fit."""
_OUTSIDE = -2.0


class Columns(NamedTuple):
    """What positions say, one array for each quantity, with a margin that takes no part in anything."""

    values: FloatArray  # (`N_COLUMNS`, place)
    kind: FloatArray  # twice the label, one more at an edge, (place,)
    width: int  # places in a row
    margin: int  # positions

    @classmethod
    def of(cls, data: Data, reach: int) -> Columns:
        """Raw values and precisions; estimates follow by `enter`.

        Parameters
        ----------
        data
            Raw estimates; edges are marked.
        reach
            Width of the margin, positions.
        """
        high, width = data.rows + 2 * reach, data.columns + 2 * reach + LANES
        out = cls(np.zeros((N_COLUMNS, high * width)), np.full(high * width, _OUTSIDE), width, reach)
        inside = np.s_[reach : reach + data.rows, reach : reach + data.columns]
        there = data.label >= 0
        for column, values in zip((*range(RAW, RAW + 4), PRECISION), (*data.raw.T, data.precision), strict=True):
            grid = out.values[column].reshape(high, width)
            grid[inside] = np.where(there, values, 0.0).reshape(data.rows, data.columns)
        kind = np.where(there, 2.0 * data.label + data.edge, _OUTSIDE)
        out.kind.reshape(high, width)[inside] = kind.reshape(data.rows, data.columns)
        return out


class Hood(NamedTuple):
    """A neighbourhood, row by row; behind the end of a row are neighbours that are too far."""

    rows: IntArray  # offset y, first offset x, and where the row begins in the other arrays, (row + 1, 3)
    half: FloatArray  # half of the offset x of each neighbour, (neighbour,)
    inside: NDArray[np.bool_]  # those that are not too far
    bits: IntArray  # the bit of each that shares its risk, else 0

    @classmethod
    def within(cls, offsets: IntArray, radius_squared: int) -> Hood:
        """Neighbours within a radius.

        Parameters
        ----------
        offsets
            Offsets ``(y, x)`` to neighbours, nearest first, shape ``(any, 2)``: their order is that of the bits.
        radius_squared
            Of the neighbourhood.
        """
        bit = {tuple(offset): 1 << k for k, offset in enumerate(offsets[:63].tolist())}
        rows: list[tuple[int, int, int]] = []
        places: list[tuple[int, int]] = []
        reach = isqrt(radius_squared)
        for y in range(-reach, reach + 1):
            half = isqrt(radius_squared - y * y)
            rows.append((y, -half, len(places)))
            places += [(y, x - half) for x in range(-(-(2 * half + 1) // LANES) * LANES)]
        rows.append((0, 0, len(places)))
        square = [y * y + x * x for y, x in places]
        shares = min(radius_squared, RISK_RADIUS_SQUARED)
        bits = [bit[place] if far <= shares else 0 for place, far in zip(places, square, strict=True)]
        inside = np.array(square) <= radius_squared
        return cls(np.array(rows), 0.5 * np.array(places, float)[:, 1], inside, np.array(bits))


@nb.njit(nogil=True, cache=True)
def enter(data: Any, fit: Any, columns: Any, start: int, stop: int) -> None:  # pragma: no cover - compiled
    """Enter the estimates under which neighbours agree.

    Parameters
    ----------
    data, fit
        Raw estimates, and the estimates.
    columns
        `Columns`, which receive them.
    start, stop
        Positions.
    """
    for i in range(start, stop):
        if data.label[i] >= 0:
            at = place_of(data, columns, i)
            for c in range(SLOPE_VARIANCE + 1):
                columns.values[c, at] = fit[i, c]


@nb.njit(inline="always")
def place_of(data: Any, columns: Any, i: int) -> Any:  # pragma: no cover - compiled
    """Place of a position in `Columns`.

    Parameters
    ----------
    data, columns
        Raw estimates, and the columns.
    i
        The position.
    """
    return (i // data.columns + columns.margin) * columns.width + i % data.columns + columns.margin


@part(fastmath=True, counted=True)
def sums_of_means(columns: Any, hood: Any, metric: Any, label: int, edge: bool, at: int) -> Any:  # pragma: no cover
    """Sums over the neighbours that agree with a position, under estimates without slopes.

    Parameters
    ----------
    columns, hood
        What positions say, and the neighbourhood.
    metric, label, edge
        Of the position.
    at
        Its place in the columns.

    Returns
    -------
    total, first, second, third, fourth, taken
        Sum of the weights, those of the four differences from its raw values times the weights, and bit by bit which
        of the nearest neighbours agree.
    """
    v, kind, width = columns.values, columns.kind, columns.width
    m0, m1, m2, m3, m4 = metric[0], 2.0 * metric[1], 2.0 * metric[2], 2.0 * metric[3], metric[4]
    m5, m6, m7, m8, m9 = 2.0 * metric[5], 2.0 * metric[6], metric[7], 2.0 * metric[8], metric[9]
    p0, p1, p2, p3, variance = v[0, at], v[1, at], v[2, at], v[3, at], v[VARIANCE, at]
    r0, r1, r2, r3 = v[RAW, at], v[RAW + 1, at], v[RAW + 2, at], v[RAW + 3, at]
    same, at_edge = 2.0 * label, 2.0 * label + edge  # at an edge, neighbours at edges take part as well
    total = s0 = s1 = s2 = s3 = 0.0
    taken = np.int64(0)
    for row in range(hood.rows.shape[0] - 1):
        begin, first = np.uint64(at + hood.rows[row, 0] * width + hood.rows[row, 1]), np.uint64(hood.rows[row, 2])
        for n in range(np.uint64(hood.rows[row + 1, 2]) - first):
            j, k = begin + n, first + n
            a, b, c, d = v[0, j] - p0, v[1, j] - p1, v[2, j] - p2, v[3, j] - p3
            distance = a * (m0 * a + m1 * b + m2 * c + m3 * d) + b * (m4 * b + m5 * c + m6 * d)
            distance += c * (m7 * c + m8 * d) + m9 * d * d
            alike = distance <= LIMIT * (variance + v[VARIANCE, j])
            alike &= hood.inside[k] & (kind[j] >= same) & (kind[j] <= at_edge)
            w = v[PRECISION, j] if alike else 0.0
            taken |= hood.bits[k] if alike else np.int64(0)
            total += w
            s0 += w * (v[RAW, j] - r0)
            s1 += w * (v[RAW + 1, j] - r1)
            s2 += w * (v[RAW + 2, j] - r2)
            s3 += w * (v[RAW + 3, j] - r3)
    return total, s0, s1, s2, s3, taken


@part(fastmath=True, counted=True)
def sums_of_planes(
    columns: Any, hood: Any, metric: Any, label: int, edge: bool, at: int, moments: Any, sums: Any
) -> Any:  # pragma: no cover - compiled
    """Sums over the neighbours that agree with a position, for polynomials up to second order.

    Parameters
    ----------
    columns, hood, metric, label, edge, at
        As for `sums_of_means`.
    moments, sums
        Receive sums of the weights times monomials up to fourth order, shape ``(15,)``, and those of the four
        differences from the raw values of the position times monomials up to second order, shape ``(6, 4)``.

    Returns
    -------
    taken
        Bit by bit, which of the nearest neighbours agree.
    """
    v, kind, width = columns.values, columns.kind, columns.width
    m0, m1, m2, m3, m4 = metric[0], 2.0 * metric[1], 2.0 * metric[2], 2.0 * metric[3], metric[4]
    m5, m6, m7, m8, m9 = 2.0 * metric[5], 2.0 * metric[6], metric[7], 2.0 * metric[8], metric[9]
    p0, p1, p2, p3, variance, of_slope = v[0, at], v[1, at], v[2, at], v[3, at], v[VARIANCE, at], v[SLOPE_VARIANCE, at]
    y0, x0, y1, x1, y2, x2, y3, x3 = v[4, at], v[5, at], v[6, at], v[7, at], v[8, at], v[9, at], v[10, at], v[11, at]
    r0, r1, r2, r3 = v[RAW, at], v[RAW + 1, at], v[RAW + 2, at], v[RAW + 3, at]
    same, at_edge = 2.0 * label, 2.0 * label + edge
    moments[:] = 0.0
    sums[:] = 0.0
    taken = np.int64(0)
    for row in range(hood.rows.shape[0] - 1):
        begin, first = np.uint64(at + hood.rows[row, 0] * width + hood.rows[row, 1]), np.uint64(hood.rows[row, 2])
        y = float(hood.rows[row, 0])
        dy = 0.5 * y
        t0 = t1 = t2 = t3 = t4 = 0.0
        a0 = a1 = a2 = b0 = b1 = b2 = c0 = c1 = c2 = d0 = d1 = d2 = 0.0
        for n in range(np.uint64(hood.rows[row + 1, 2]) - first):
            j, k = begin + n, first + n
            dx = hood.half[k]
            a = v[0, j] - p0 - dy * (y0 + v[4, j]) - dx * (x0 + v[5, j])
            b = v[1, j] - p1 - dy * (y1 + v[6, j]) - dx * (x1 + v[7, j])
            c = v[2, j] - p2 - dy * (y2 + v[8, j]) - dx * (x2 + v[9, j])
            d = v[3, j] - p3 - dy * (y3 + v[10, j]) - dx * (x3 + v[11, j])
            distance = a * (m0 * a + m1 * b + m2 * c + m3 * d) + b * (m4 * b + m5 * c + m6 * d)
            distance += c * (m7 * c + m8 * d) + m9 * d * d
            of_both = variance + v[VARIANCE, j] + (dy * dy + dx * dx) * (of_slope + v[SLOPE_VARIANCE, j])
            alike = distance <= LIMIT * of_both
            alike &= hood.inside[k] & (kind[j] >= same) & (kind[j] <= at_edge)
            w = v[PRECISION, j] if alike else 0.0
            taken |= hood.bits[k] if alike else np.int64(0)
            x = 2.0 * dx
            wx = w * x
            wxx = wx * x
            t0 += w
            t1 += wx
            t2 += wxx
            t3 += wxx * x
            t4 += wxx * x * x
            a, b, c, d = v[RAW, j] - r0, v[RAW + 1, j] - r1, v[RAW + 2, j] - r2, v[RAW + 3, j] - r3
            a0 += w * a
            a1 += wx * a
            a2 += wxx * a
            b0 += w * b
            b1 += wx * b
            b2 += wxx * b
            c0 += w * c
            c1 += wx * c
            c2 += wxx * c
            d0 += w * d
            d1 += wx * d
            d2 += wxx * d
        _add_row(y, (t0, t1, t2, t3, t4), ((a0, b0, c0, d0), (a1, b1, c1, d1), (a2, b2, c2, d2)), moments, sums)
    return taken


@part(fastmath=True, counted=True)
def _add_row(y: float, weights: Any, differences: Any, moments: Any, sums: Any) -> None:  # pragma: no cover - compiled
    """Add sums over a row, times powers of x, to those over monomials of y and x; see `EXPONENTS` of the fits."""
    (t0, t1, t2, t3, t4), (along0, along1, along2), yy = weights, differences, y * y
    moments[0] += t0
    moments[1] += y * t0
    moments[2] += t1
    moments[3] += yy * t0
    moments[4] += y * t1
    moments[5] += t2
    moments[6] += yy * y * t0
    moments[7] += yy * t1
    moments[8] += y * t2
    moments[9] += t3
    moments[10] += yy * yy * t0
    moments[11] += yy * y * t1
    moments[12] += yy * t2
    moments[13] += y * t3
    moments[14] += t4
    for c in range(4):
        sums[0, c] += along0[c]
        sums[1, c] += y * along0[c]
        sums[2, c] += along1[c]
        sums[3, c] += yy * along0[c]
        sums[4, c] += y * along1[c]
        sums[5, c] += along2[c]
