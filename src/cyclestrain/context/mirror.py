"""What smoothing loses of a field, told by smoothing its mirror image: bias, for sigma alone.

Raw values are the smoothed field `m` and what they are off it. Turned over, ``2 m - raw``, they are data as noisy about
the same field, and what is lost of the field is lost once more: for weights `S`, half of ``S (2 m - raw) - m`` is
``S m - m``, in which the noise has nearly vanished. Weights that depend on the values are chosen anew, so that what
only chance has chosen is in the difference as well.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.ndimage import uniform_filter

from cyclestrain.context.adaptive import Smoothed, adapt
from cyclestrain.context.chart import Chart
from cyclestrain.data import FloatArray, Spread

__all__ = ["mirrored_bias"]

NOISE = 0.125
"""Variance of the noise that is left, over that of the smoothed value: measured where there is nothing to lose."""
SIDE = 3
"""Positions along the square over which squares of the difference are averaged."""
TINY = 1e-30
"""Kept from zero: squares that are divided by."""


def mirrored_bias(chart: Chart, smoothed: Smoothed, spread: Spread) -> FloatArray:
    """Expected square of what smoothing has lost at every position, shape ``(n, 4, 4)``.

    Parameters
    ----------
    chart
        Estimates of all positions, as they were smoothed.
    smoothed
        What they say together.
    spread
        Where the tiles of the scan are worked on.
    """
    turned = adapt(replace(chart, value=2 * smoothed.value - chart.value), spread)
    lost = np.where((chart.label >= 0)[:, None], (turned.value - smoothed.value) / 2, 0.0)
    size = np.einsum("ni,nij,nj->n", lost, np.linalg.inv(chart.covariance), lost)
    noise = 4 * NOISE * smoothed.variance
    left = np.clip(1.0 - noise / np.maximum(size, TINY), 0.0, 1.0)
    square = left[:, None, None] * lost[:, :, None] * lost[:, None, :]
    out = np.zeros_like(square)
    for k in np.unique(chart.label[chart.label >= 0]):
        mine = chart.label == k
        out[mine] = _mean_around(np.where(mine[:, None, None], square, 0.0), chart)[mine]
        out[mine] /= _mean_around(mine.astype(float), chart)[mine, None, None]
    return out


def _mean_around(values: FloatArray, chart: Chart) -> FloatArray:
    """Mean over the square around every position, zero beyond the scan."""
    grid = values.reshape(*chart.shape, -1)
    return np.asarray(uniform_filter(grid, (SIDE, SIDE, 1), mode="constant").reshape(values.shape))
