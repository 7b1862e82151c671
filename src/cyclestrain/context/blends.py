r"""Blends: positions between two sides of an edge that are a part of the way from the one to the other.

Next to a weak step the probe holds both sides and a single fit sees their mean, `smooth + u D`, where `D` is how much
the sides differ. It may differ from its own side by too little to be told from it alone. So the mean square of `u` is
measured over all positions along an edge, and where it is not zero the covariance :math:`\overline{u^2} D D^T` is
scatter as mosaic is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter

from cyclestrain.context.adaptive import Smoothed
from cyclestrain.context.chart import LIMIT, Chart
from cyclestrain.data import BoolArray, FloatArray

__all__ = ["measure_blends"]

LARGEST = 0.05
"""Strain or rotation (radians) between two sides above which a pattern between them holds two crystals."""
ALONG = 11
"""Positions along the side of the square in which blends are measured."""
SURE, SURE_OF_ALL = 2.5, 3.0
"""Standard errors from which blends are found in a square, and in all of a scan."""


class _Along(NamedTuple):
    """Mean square of `u` over some positions, and its standard error without blends."""

    square: FloatArray
    error: FloatArray


def measure_blends(chart: Chart, spread: FloatArray, smoothed: Smoothed) -> tuple[FloatArray, FloatArray] | None:
    """Covariance of blends and variances by which it may be too small, shapes ``(n, 4, 4)``; None without blends.

    Parameters
    ----------
    chart
        Estimates of all positions.
    spread
        Covariance of their errors and of mosaic, shape ``(n, 4, 4)``.
    smoothed
        What they say together.
    """
    sides, edge = _sides(chart, smoothed.value)
    information = np.linalg.inv(spread)
    strength = np.einsum("ni,nij,nj->n", sides, information, sides)
    edge &= (strength > LIMIT) & (np.abs(sides).max(1) < LARGEST)
    if not edge.any():
        return None
    off = np.einsum("ni,nij,nj->n", sides, information, chart.value - smoothed.value) / np.maximum(strength, LIMIT)
    noise = np.clip(1.0 - smoothed.variance, 0.02, 1.0) / np.maximum(strength, LIMIT)
    edge &= off**2 < 1.0  # else it is no blend
    shape = chart.shape
    excess = np.where(edge, (off**2 - noise) / noise**2, 0.0).reshape(shape)
    weight = np.where(edge, noise**-2, 0.0).reshape(shape)
    total = max(float(weight.sum()), 1e-300)
    whole = _Along(excess.sum() / total, np.sqrt(2 / total))
    part = np.maximum(uniform_filter(weight, ALONG, mode="constant"), 1e-12 * weight.max()) * ALONG**2
    here = _Along(uniform_filter(excess, ALONG, mode="constant") * ALONG**2 / part, np.sqrt(2 / part))
    found = here.square > SURE * here.error
    of_all = (whole.square > SURE_OF_ALL * whole.error) & (here.square + SURE * here.error > whole.square) & ~found
    square = np.where(found, here.square, np.where(of_all, whole.square, 0.0)).ravel() * edge
    if not square.any():
        return None
    error = np.where(found, here.error, whole.error).ravel() * (square > 0)
    both = sides[:, :, None] * sides[:, None, :]
    return square[:, None, None] * both, error[:, None, None] * both


def _sides(chart: Chart, value: FloatArray) -> tuple[FloatArray, BoolArray]:
    """How much the two sides of every position differ, and whether both are of its entry; along the steeper axis.

    Parameters
    ----------
    chart
        Estimates of all positions.
    value
        Smoothed values, shape ``(n, 4)``.
    """
    rows, columns = chart.shape
    label, grid = chart.label.reshape(rows, columns), value.reshape(rows, columns, 4)
    apart, there = np.zeros((2, rows, columns, 4)), np.zeros((2, rows, columns), bool)
    for axis in range(2):
        low, middle, high = ((np.s_[:],) * axis + (part,) for part in (np.s_[:-2], np.s_[1:-1], np.s_[2:]))
        apart[axis][middle] = grid[high] - grid[low]
        there[axis][middle] = (label[middle] >= 0) & (label[low] == label[middle]) & (label[high] == label[middle])
    apart *= there[..., None]
    distance = np.einsum(
        "arci,rcij,arcj->arc", apart, np.linalg.inv(chart.covariance).reshape(rows, columns, 4, 4), apart
    )
    steeper = distance.argmax(0)[None]
    sides = np.take_along_axis(apart, steeper[..., None], 0)[0].reshape(-1, 4)
    return sides, np.take_along_axis(there, steeper, 0)[0].ravel()
