"""Estimates at the positions of a chart, and whether two of them agree.

Flat arrays over positions, in the chart of `cyclestrain.context.chart`. A fit is one array, see `WIDTH`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numba as nb
import numpy as np

from cyclestrain.context.chart import LIMIT
from cyclestrain.data import BoolArray, FloatArray, IntArray
from cyclestrain.loops import on_threads

__all__ = [
    "MISFIT",
    "SELF_WEIGHT",
    "SLOPE",
    "SLOPE_VARIANCE",
    "VARIANCE",
    "WIDTH",
    "Data",
    "agree",
    "blank",
    "everywhere",
    "square",
]

BLOCK = 1024
"""Least positions of one piece of work."""
VALUE, SLOPE, VARIANCE, SLOPE_VARIANCE, SELF_WEIGHT, MISFIT, WIDTH = 0, 4, 12, 13, 14, 15, 16
"""First columns of a fit, an array (n, 16): values, their slopes along y and x in turn, and

- variances of both in units of the covariance's shape,
- the derivative of the value with respect to the raw value of the same position,
- the squared distance from that raw value."""


class Data(NamedTuple):
    """Raw estimates in the chart, flat over positions, and the neighbourhood."""

    rows: int
    columns: int
    label: IntArray  # -1: no part in anything, (n,)
    raw: FloatArray  # (n, 4)
    metric: FloatArray  # inverse covariance over `precision`, upper triangle, (n, 10)
    precision: FloatArray  # (n,)
    edge: BoolArray  # (n,)
    offsets: IntArray  # of the largest neighbourhood, (neighbour, 2), nearest first


def blank(data: Data) -> FloatArray:
    """Raw values as a fit."""
    out = np.zeros((len(data.label), WIDTH))
    out[:, :4] = data.raw
    out[:, VARIANCE] = 1 / data.precision
    out[:, SELF_WEIGHT] = 1.0
    return out


def everywhere(kernel: Callable[..., None], data: Data, *arguments: Any) -> None:
    """Run a kernel over all positions in blocks, see `cyclestrain.loops.on_threads`.

    Parameters
    ----------
    kernel
        Compiled loop.
    data, *arguments
        What it is given before the first and behind the last position.
    """
    on_threads(kernel, len(data.label), data, *arguments, least=BLOCK)


@nb.njit(inline="always", fastmath=True)
def square(metric: Any, i: int, a: float, b: float, c: float, d: float) -> Any:  # pragma: no cover
    """Quadratic form of a symmetric matrix.

    Parameters
    ----------
    metric, i
        Upper triangles of matrices, and which of them.
    a, b, c, d
        The vector.
    """
    diagonal = metric[i, 0] * a * a + metric[i, 4] * b * b + metric[i, 7] * c * c + metric[i, 9] * d * d
    mixed = a * (metric[i, 1] * b + metric[i, 2] * c + metric[i, 3] * d) + metric[i, 8] * c * d
    return diagonal + 2 * (mixed + b * (metric[i, 5] * c + metric[i, 6] * d))


@nb.njit(inline="always", fastmath=True)
def agree(metric: Any, fit: Any, i: int, j: int, y: int, x: int) -> Any:  # pragma: no cover
    """Whether the estimates at two positions belong to one smooth field.

    Parameters
    ----------
    metric, fit
        Inverse covariances of the raw values, and the estimates.
    i, j
        The positions.
    y, x
        How far the second is from the first.
    """
    dy, dx = 0.5 * y, 0.5 * x
    d0 = fit[j, 0] - fit[i, 0] - dy * (fit[i, 4] + fit[j, 4]) - dx * (fit[i, 5] + fit[j, 5])
    d1 = fit[j, 1] - fit[i, 1] - dy * (fit[i, 6] + fit[j, 6]) - dx * (fit[i, 7] + fit[j, 7])
    d2 = fit[j, 2] - fit[i, 2] - dy * (fit[i, 8] + fit[j, 8]) - dx * (fit[i, 9] + fit[j, 9])
    d3 = fit[j, 3] - fit[i, 3] - dy * (fit[i, 10] + fit[j, 10]) - dx * (fit[i, 11] + fit[j, 11])
    variance = fit[i, VARIANCE] + fit[j, VARIANCE]
    variance += (dy * dy + dx * dx) * (fit[i, SLOPE_VARIANCE] + fit[j, SLOPE_VARIANCE])
    return square(metric, i, d0, d1, d2, d3) <= LIMIT * variance
