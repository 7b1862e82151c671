"""Growing neighbourhoods with adaptive weights, see `cyclestrain.context.smoothing` for the method."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cyclestrain.context.chart import UPPER, Chart, full
from cyclestrain.context.estimates import MISFIT, SELF_WEIGHT, VARIANCE, Data, blank, everywhere
from cyclestrain.context.halves import mix_halves
from cyclestrain.context.local_fits import fit_means, fit_planes, mark_edges, start_planes
from cyclestrain.context.mixing import Mixed, compare, mix
from cyclestrain.context.neighbourhoods import RISK_RADIUS_SQUARED, Columns, Hood, enter
from cyclestrain.data import IN_TURN, BoolArray, FloatArray, IntArray, Spread, Tile, tiles_of

__all__ = ["Smoothed", "adapt", "find_edges"]

RADII_SQUARED = (2, 5, 10, 18, 36, 64)
"""Squared radii of the growing neighbourhoods: each holds about twice as many positions as the last."""
SMALL = RADII_SQUARED[:2]
"""Those of the neighbourhoods that tell how much raw values scatter."""
BIAS_GROWTH = 0.8
"""Squared bias of the kept scale over the squared departure of the next, from 1 (order 0 and 1) downwards."""
PERTURBATION = 0.2
"""Size of the perturbation that measures a divergence, standard deviations."""
CHI_SQUARE_MEDIAN = 3.357
"""Median of chi-square with four degrees of freedom."""
LARGEST_NOISE_SCALE = 4.0
"""Largest factor by which raw variances are raised."""
LEAST_SHARE = 1e-12
"""Kept from zero: a share that is divided by."""


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
    fit, columns = fit_means if order == 0 else fit_planes, Columns.of(data, isqrt(radii_squared[-1]))
    for step, radius_squared in enumerate(radii_squared):
        everywhere(enter, data, present, columns)
        everywhere(fit, data, columns, Hood.within(data.offsets, radius_squared), new, taken)
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


def _signs(n: int) -> NDArray[np.int8]:
    """Random signs for the positions of a scan, shape ``(n, 4)``, always the same."""
    return np.random.default_rng(0).choice(np.array([-1.0, 1.0]), (n, 4)).astype(np.int8)


def _perturbed(data: Data, signs: NDArray[np.int8]) -> tuple[Data, FloatArray]:
    r"""Data moved by a fraction of a standard deviation, and the vectors that turn the answer into a divergence.

    For random signs `s` and information :math:`J = L L^T` the move is :math:`h L^{-T} s`, and
    :math:`\operatorname{tr} \partial f / \partial y = E[(L s) \cdot (f(y + h L^{-T} s) - f(y))] / h`.
    """
    root, along = np.linalg.cholesky(full(data.metric) * data.precision[:, None, None]), signs.astype(float)[..., None]
    move = PERTURBATION * np.linalg.solve(root.swapaxes(-1, -2), along)[..., 0]
    return data._replace(raw=data.raw + move), (root @ along)[..., 0] / PERTURBATION


def _reach(chart: Chart, tile: Tile | None = None) -> Data:
    """Chart, or a tile of it with its halo, with the offsets of the largest neighbourhood, nearest first."""
    reach = int(np.sqrt(RADII_SQUARED[-1]))
    y, x = (axis.ravel() for axis in np.mgrid[-reach : reach + 1, -reach : reach + 1])
    nearest = np.argsort(y**2 + x**2, kind="stable")[: int((y**2 + x**2 <= RADII_SQUARED[-1]).sum())]
    offsets = np.stack([y, x], 1)[nearest]
    tile = tile or Tile.whole(chart.shape)
    label, raw, metric, precision = map(tile.cut, (chart.label, chart.value, chart.metric, chart.precision))
    return Data(*tile.shape, label, raw, metric, precision, np.zeros(len(label), bool), offsets)


def _halo(radii_squared: tuple[int, ...]) -> int:
    """Positions by which smoothing reaches: each step takes in neighbours, and then shares risks with them."""
    risk, edges, reach = isqrt(RISK_RADIUS_SQUARED), 2, 1  # at first that of the planes; those mark the edges
    for radius in map(isqrt, radii_squared):
        reach = max(reach, edges) + radius + min(radius, risk)
    return reach + risk


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


def _noise_scale(chart: Chart, spread: Spread) -> float:
    """Variance of the raw values around small neighbourhoods over the one they state, at least 1.

    The median of ``misfit / (1 - self_weight)`` is that of chi-square with four components; edges and
    outliers do not move it.
    """
    tiles = tiles_of(chart.shape, spread.side, _halo(SMALL))
    ratios = [found for _, found in spread.over(tiles, _misfits, lambda tile: (_reach(chart, tile), tile))]
    ratio = np.concatenate(ratios)
    if len(ratio) < 100:
        return 1.0
    return float(np.clip(np.median(ratio) / CHI_SQUARE_MEDIAN, 1.0, LARGEST_NOISE_SCALE))


def _misfits(part: tuple[Data, Tile]) -> FloatArray:
    """Squared distances of raw values from small neighbourhoods, over their variance, where there are neighbours."""
    data, tile = part
    fit = tile.without_halo(_grow(data, _prepare(data)[1], order=2, radii_squared=SMALL).fit)
    joined = (tile.without_halo(data.label) >= 0) & (fit[:, SELF_WEIGHT] < 0.5)
    return np.asarray(fit[joined, MISFIT] / (1 - fit[joined, SELF_WEIGHT]))


def adapt(chart: Chart, spread: Spread = IN_TURN) -> Smoothed:
    """Combine the estimate of each position with those around it that agree with it.

    Parameters
    ----------
    chart
        Estimates of all positions.
    spread
        Where the tiles of the scan are worked on.
    """
    scale, signs, n = _noise_scale(chart, spread), _signs(len(chart.label)), len(chart.label)
    out = (np.empty((n, 4)), np.empty(n), np.empty((n, 10)), np.empty(n), np.empty(n, bool))
    tiles = tiles_of(chart.shape, spread.side, _halo(RADII_SQUARED) + isqrt(RADII_SQUARED[-1]))  # half discs at last
    for tile, found in spread.over(tiles, _adapted, lambda tile: (_reach(chart, tile), scale, tile.cut(signs), tile)):
        for values, part in zip(out, found, strict=True):
            tile.put(part, values)
    value, variance, bias, freedom, edge = out
    return Smoothed(value, variance, full(bias), freedom, edge)


def _apart(mixed: Mixed, moved: FloatArray) -> FloatArray:
    """Squared bias of two estimates of which either may be right, (n, 10), from the way the second moved the first."""
    odds = (1 - mixed.share) / np.maximum(mixed.share, LEAST_SHARE) * mixed.excess
    return np.asarray(odds[:, None] * (moved[:, UPPER[0]] * moved[:, UPPER[1]]))


def _adapted(part: tuple[Data, float, NDArray[np.int8], Tile]) -> tuple[NDArray[Any], ...]:
    """What `Smoothed` holds of a tile, of `bias` the upper triangles."""
    data, scale, signs, tile = part
    data = data._replace(precision=data.precision / scale)
    raw, planes = _prepare(data)
    smooth, flat = _grow(data, planes, order=2), _grow(data, raw, order=0)
    moved, dual = _perturbed(data, signs)
    answer = _grow(moved, blank(moved), order=0).fit[:, :4] - flat.fit[:, :4]
    flat.fit[:, SELF_WEIGHT] = np.einsum("nc,nc->n", dual, answer) / 4
    mixed, compared = Mixed.blank(data), np.zeros((len(data.label), 3))
    everywhere(compare, data, smooth.fit, flat.fit, compared)
    everywhere(mix, data, smooth.taken | flat.taken, compared, smooth.fit, flat.fit, mixed)
    share = mixed.share[:, None]
    apart = _apart(mixed, (flat.fit - smooth.fit) * share)
    bias = (1 - share) * smooth.bias + share * flat.bias + apart
    halves = mix_halves(data, mixed.fit)
    bias = (1 - halves.share)[:, None] * bias + _apart(halves, halves.fit - mixed.fit)
    out = halves.fit
    variance = out[:, VARIANCE] * data.precision
    found = (out[:, :4], variance * scale, bias, 1.0 - 2 * out[:, SELF_WEIGHT] + variance, data.edge)
    return tuple(map(tile.without_halo, found))
