r"""Blends: positions between two sides of an edge that are a part of the way from the one to the other.

Next to a weak step the probe holds both sides and a single fit sees their mean, its own side plus `u D`, where `D` is
how much the sides differ. It may differ from its own side by too little to be told from it alone. So the mean of `u^2`
is measured over all positions along an edge, and where it is not zero the covariance :math:`\overline{u^2} D D^T` is
scatter as mosaic is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter

from cyclestrain.context.adaptive import Smoothed
from cyclestrain.context.chart import LIMIT, Chart
from cyclestrain.data import BoolArray, FloatArray, IntArray

__all__ = ["measure_blends"]

LARGEST = 0.05
"""Strain or rotation (radians) between two sides above which a pattern between them holds two crystals."""
BETWEEN, LEVEL = 0.5, 0.25
"""Of the difference between both sides: what next neighbours have at least, and what each side has at most in itself.

A bend or a ripple has neither.
"""
SIDE = 1.05
"""Variance of the distance of a position from its side, over that of the position."""
ALONG = 11
"""Positions along the side of the square in which blends are measured."""
SURE, LIKELY = 2.0, 1.0
"""Standard errors from which the mean of `u^2` and that of `u` tell blends."""
SURE_OF_ALL, UNLIKE = 3.0, 2.5
"""Standard errors from which a scan tells blends and a square differs from it."""


class _Sides(NamedTuple):
    """The two sides of every position.

    Attributes
    ----------
    apart
        Difference between the sides, shape ``(n, 4)``.
    low
        The side with the lower index, shape ``(n, 4)``.
    strength
        Squared distance of the sides in units of the scatter of single positions, 0 where there is no edge.
    edge
        Positions next to an edge.
    """

    apart: FloatArray
    low: FloatArray
    strength: FloatArray
    edge: BoolArray


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
    information = np.linalg.inv(spread)
    sides = [_sides(chart, smoothed.value, information, axis) for axis in range(2)]
    steeper = (sides[1].strength > sides[0].strength)[:, None]
    apart, low = (np.where(steeper, sides[1][k], sides[0][k]) for k in range(2))
    strength, edge = (np.where(steeper[:, 0], sides[1][k], sides[0][k]) for k in (2, 3))
    edge &= (strength > LIMIT) & (np.abs(apart).max(1) < LARGEST)
    if not edge.any():
        return None
    strength = np.maximum(strength, 1e-12)
    way = np.einsum("ni,nij,nj->n", apart, information, chart.value - low) / strength
    off, noise = np.where(way < 0.5, way, 1.0 - way).reshape(chart.shape), (SIDE / strength).reshape(chart.shape)
    told = edge.reshape(chart.shape) & (np.abs(off) < 1.0)
    if not told.any():
        return None
    square, error = _mean_square(off, noise, told)
    square, error = square.ravel() * edge, error.ravel() * edge
    if not square.any():
        return None
    both = apart[:, :, None] * apart[:, None, :]
    return square[:, None, None] * both, error[:, None, None] * both


def _mean_square(off: FloatArray, noise: FloatArray, told: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Mean square of `u` around every position, 0 where there are no blends, and its standard error.

    Where `u` is too small to be seen in its square it may be seen in its mean: blends are all on the way to the other
    side.

    Parameters
    ----------
    off
        Parts of the way to the other side, shape ``(ry, rx)``.
    noise
        Their variances.
    told
        Positions that tell.
    """
    square, error = _pooled(off**2 - noise, 2 * noise**2, told)
    mean, mean_error = _pooled(off, noise, told)
    found, also = square > SURE * error, mean > LIKELY * mean_error
    value = np.where(found, square, np.where(also, mean**2, 0.0))
    return value, np.where(found, error, 2 * mean * mean_error) * (value > 0)


def _pooled(value: FloatArray, variance: FloatArray, told: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Weighted means over the squares around all positions, or over the scan where that is surer, and their errors.

    Parameters
    ----------
    value, variance
        Estimates and their variances, shape ``(ry, rx)``.
    told
        Positions that take part.
    """
    weight = np.where(told, 1 / np.where(told, variance, 1.0), 0.0)
    total = weight.sum()
    whole, whole_error = float((weight * value).sum() / total), float(total**-0.5)
    part = np.maximum(uniform_filter(weight, ALONG, mode="constant") * ALONG**2, 1e-9 * total)
    here, here_error = uniform_filter(weight * value, ALONG, mode="constant") * ALONG**2 / part, part**-0.5
    of_all = (whole > SURE_OF_ALL * whole_error) & (np.abs(here - whole) < UNLIKE * here_error)
    return np.where(of_all, whole, here), np.where(of_all, whole_error, here_error)


def _sides(chart: Chart, value: FloatArray, information: FloatArray, axis: int) -> _Sides:
    """Sides of every position along one axis.

    Parameters
    ----------
    chart
        Estimates of all positions.
    value
        Smoothed values, shape ``(n, 4)``.
    information
        Inverse covariance of the scatter of single positions, shape ``(n, 4, 4)``.
    axis
        0 for the side above and that below, 1 for left and right.
    """
    position = np.arange(len(chart.label)).reshape(chart.shape)
    size, along = chart.shape[axis], np.arange(chart.shape[axis])

    def at(step: int) -> IntArray:
        return np.asarray(np.take(position, np.clip(along + step, 0, size - 1), axis).ravel())

    def distance(step: FloatArray) -> FloatArray:
        return np.asarray(np.einsum("ni,nij,nj->n", step, information, step))

    alike = {step: chart.label[at(step)] == chart.label for step in (-4, -2, -1, 1, 2, 4)}
    low, high = value[at(-2)], value[at(2)]
    strength = distance(high - low)
    edge = (chart.label >= 0) & alike[-2] & alike[-1] & alike[1] & alike[2]
    edge &= distance(value[at(1)] - value[at(-1)]) > BETWEEN**2 * strength
    for step, side in ((-4, low), (4, high)):
        edge &= ~alike[step] | (distance(value[at(step)] - side) < LEVEL**2 * strength)
    return _Sides(high - low, low, strength * edge, edge)
