"""Growing neighbourhoods with adaptive weights, see `cyclestrain.context.smoothing` for the method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cyclestrain.context.chart import UPPER, Chart, full
from cyclestrain.context.estimates import MISFIT, SELF_WEIGHT, VARIANCE, Data, blank, everywhere
from cyclestrain.context.local_fits import EXPONENTS, fit_all, mark_edges, start_planes
from cyclestrain.context.mixing import Mixed, compare, mix
from cyclestrain.data import BoolArray, FloatArray, IntArray

__all__ = ["Smoothed", "adapt", "find_edges"]

RADII_SQUARED = (2, 5, 10, 18, 36, 64)
"""Squared radii of the growing neighbourhoods: each holds about twice as many positions as the last."""
BIAS_GROWTH = 0.8
"""Squared bias of the kept scale over the squared departure of the next, from 1 (order 0 and 1) downwards."""
PERTURBATION = 0.2
"""Size of the perturbation that measures a divergence, standard deviations."""
CHI_SQUARE_MEDIAN = 3.357
"""Median of chi-square with four degrees of freedom."""
LARGEST_NOISE_SCALE = 4.0
"""Largest factor by which raw variances are raised."""


class _Chain(NamedTuple):
    """Result of a growing neighbourhood: estimate, its squared bias (upper triangle, (n, 10)), neighbours taken in."""

    fit: FloatArray
    bias: FloatArray
    taken: IntArray


def _grow(data: Data, present: FloatArray, order: int, radii_squared: tuple[int, ...] = RADII_SQUARED) -> _Chain:
    """Let the neighbourhoods grow and keep what lowers the risk."""
    n = len(data.label)
    old, new, mixed = blank(data), blank(data), Mixed.blank(data)
    taken, compared = np.zeros(n, np.int64), np.zeros((n, 3))
    bias: FloatArray = np.zeros((n, 10))
    kept: FloatArray = np.ones(n)
    squares = (data.offsets**2).sum(1)
    for step, radius_squared in enumerate(radii_squared):
        everywhere(fit_all, data, present, int((squares <= radius_squared).sum()), order, new, taken)
        everywhere(compare, data, old, new, compared)
        everywhere(mix, data, taken, compared, old, new, mixed)
        if step > 0:
            d = new[:, :4] - old[:, :4]
            refused = (BIAS_GROWTH * kept * mixed.excess)[:, None] * (d[:, UPPER[0]] * d[:, UPPER[1]])
            bias = (1 - mixed.share)[:, None] * (bias + refused)
        kept = mixed.share.copy()
        old, mixed = mixed.fit, mixed._replace(fit=old)
        present = old
    return _Chain(old, bias, taken)


def _perturbed(data: Data) -> tuple[Data, FloatArray]:
    r"""Data moved by a fraction of a standard deviation, and the vectors that turn the answer into a divergence.

    For random signs `s` and information :math:`J = L L^T` the move is :math:`h L^{-T} s`, and
    :math:`\operatorname{tr} \partial f / \partial y = E[(L s) \cdot (f(y + h L^{-T} s) - f(y))] / h`.
    """
    signs = np.random.default_rng(0).choice(np.array([-1.0, 1.0]), data.raw.shape)
    root = np.linalg.cholesky(full(data.metric) * data.precision[:, None, None])
    move = PERTURBATION * np.linalg.solve(root.swapaxes(-1, -2), signs[..., None])[..., 0]
    return data._replace(raw=data.raw + move), (root @ signs[..., None])[..., 0] / PERTURBATION


def _reach(chart: Chart) -> Data:
    """Chart with the offsets of the largest neighbourhood, nearest first."""
    reach = int(np.sqrt(RADII_SQUARED[-1]))
    y, x = (axis.ravel() for axis in np.mgrid[-reach : reach + 1, -reach : reach + 1])
    nearest = np.argsort(y**2 + x**2, kind="stable")[: int((y**2 + x**2 <= RADII_SQUARED[-1]).sum())]
    offsets = np.stack([y, x], 1)[nearest]
    powers = np.stack([offsets[:, 0].astype(float) ** a * offsets[:, 1].astype(float) ** b for a, b in EXPONENTS], 1)
    edge = np.zeros(chart.label.size, bool)
    return Data(*chart.shape, chart.label, chart.value, chart.metric, chart.precision, edge, offsets, powers)


@dataclass(frozen=True)
class Smoothed:
    """Smoothed values in the coordinates of the chart.

    Attributes
    ----------
    value
        Shape ``(n, 4)``.
    variance
        Variance in units of the raw covariance of the same position, shape ``(n,)``.
    bias
        Expected square of the error that the variance does not contain, shape ``(n, 4, 4)``.
    freedom
        Variance of what the raw value is off the smoothed one, in units of the raw covariance, shape ``(n,)``.
    edge
        Positions that disagree with two or more of their neighbours, shape ``(n,)``.
    """

    value: FloatArray
    variance: FloatArray
    bias: FloatArray
    freedom: FloatArray
    edge: BoolArray


def _prepare(data: Data) -> tuple[FloatArray, FloatArray]:
    """Raw values and first planes as fits; marks the edges."""
    raw, planes = blank(data), blank(data)
    everywhere(start_planes, data, raw, planes)
    everywhere(mark_edges, data, planes)
    return raw, planes


def find_edges(chart: Chart) -> BoolArray:
    """Positions that disagree with two or more of their eight neighbours, shape ``(n,)``."""
    data = _reach(chart)
    _prepare(data)
    return data.edge


def _noise_scale(data: Data) -> float:
    """Variance of the raw values around small neighbourhoods over the one they state, at least 1.

    The median of ``misfit / (1 - self_weight)`` is that of chi-square with four components; edges and
    outliers do not move it.
    """
    fit = _grow(data, _prepare(data)[1], order=2, radii_squared=RADII_SQUARED[:2]).fit
    joined = (data.label >= 0) & (fit[:, SELF_WEIGHT] < 0.5)
    if joined.sum() < 100:
        return 1.0
    scale = np.median(fit[joined, MISFIT] / (1 - fit[joined, SELF_WEIGHT])) / CHI_SQUARE_MEDIAN
    return float(np.clip(scale, 1.0, LARGEST_NOISE_SCALE))


def adapt(chart: Chart) -> Smoothed:
    """Combine the estimate of each position with those around it that agree with it."""
    data = _reach(chart)
    scale = _noise_scale(data)
    data = data._replace(precision=data.precision / scale)
    raw, planes = _prepare(data)
    smooth, flat = _grow(data, planes, order=2), _grow(data, raw, order=0)
    moved, dual = _perturbed(data)
    answer = _grow(moved, blank(moved), order=0).fit[:, :4] - flat.fit[:, :4]
    flat.fit[:, SELF_WEIGHT] = np.einsum("nc,nc->n", dual, answer) / 4
    mixed, compared = Mixed.blank(data), np.zeros((len(data.label), 3))
    everywhere(compare, data, smooth.fit, flat.fit, compared)
    everywhere(mix, data, smooth.taken | flat.taken, compared, smooth.fit, flat.fit, mixed)
    out, share, excess = mixed
    d = flat.fit[:, :4] - smooth.fit[:, :4]
    apart = (share * (1 - share) * excess)[:, None] * (d[:, UPPER[0]] * d[:, UPPER[1]])  # either may be right
    bias = (1 - share)[:, None] * smooth.bias + share[:, None] * flat.bias + apart
    variance = out[:, VARIANCE] * data.precision
    return Smoothed(out[:, :4], variance * scale, full(bias), 1.0 - 2 * out[:, SELF_WEIGHT] + variance, data.edge)
