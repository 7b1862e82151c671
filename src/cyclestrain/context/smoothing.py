r"""Context: estimates of neighbouring positions of the same crystal are combined, and edges are kept.

The affine of every position is written in a chart in which crystals are simple (`cyclestrain.context.chart`): a grain
is constant there and a bent crystal is linear. Neighbourhoods then grow step by step. In each step position `i`

1. takes in the neighbours `j` whose present estimates agree with its own,
   :math:`\Delta^T \Sigma_{ij}^{-1} \Delta < \chi^2`, where
   :math:`\Delta = p_j - p_i - \frac12 (G_i + G_j)(x_j - x_i)` has values `p` and slopes `G`: the propagation-separation
   of Polzehl and Spokoiny, Probab. Theory Relat. Fields 135, 335 (2006), carried over to slopes (exact for a quadratic
   field);
2. fits polynomials of order 0, 1 and 2 to their raw values, averaged with Akaike weights, so that a grain keeps the
   variance of a plain mean;
3. mixes the fit into the present estimate with exponential weights of the risks of both. A risk is the variance plus a
   squared bias from Stein's unbiased risk estimate, averaged over the neighbours taken in.

Smooth fields need slopes; at a weak step a slope blurs what a mean would separate. So both are done, the second with
order 0 only, and mixed by the same rule. Straight edges that both blur are told by discs cut in half
(`cyclestrain.context.halves`). An estimate that picks neighbours by their values follows the noise more than
its weights state; its divergence is measured by a small perturbation (Ramani, Blu and Unser, IEEE Trans. Image Process.
17, 1540 (2008)). Positions next to an edge may hold two crystals: they take in all neighbours, but are taken in only by
other such positions. A position that is like none of its neighbours stays as it is.

Where the raw values scatter about their neighbours more than they state, all variances are raised by that factor first.
The covariance is that of the weights used, plus what neighbours share (`AffineField.shared`), plus the squared bias of
the scale that was kept: where a larger neighbourhood was refused, the bias is about as large as its departure, if
biases grow as the square of the radius. What the kept scale loses as well is told by the mirror image of the field
(`cyclestrain.context.mirror`); it is in the covariance alone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cyclestrain.context.adaptive import Smoothed, adapt
from cyclestrain.context.blends import measure_blends
from cyclestrain.context.chart import Chart, to_chart
from cyclestrain.context.excess import refine_scatter, spread_scatter
from cyclestrain.context.mirror import mirrored_bias
from cyclestrain.context.scatter import Scatter, measure_scatter
from cyclestrain.data import IN_TURN, AffineField, FloatArray, Spread

__all__ = ["smooth"]

TURNS = 3
"""Turns of smoothing and of the scatter about what is smoothed."""


def smooth(
    field: AffineField, spread: Spread = IN_TURN, *, echo: float = 1.0, before: AffineField | None = None
) -> AffineField:
    """Estimates of every position from its own pattern and those of its neighbours.

    Parameters
    ----------
    field
        Affine of every position with its covariance; a scan of one row or one column is smoothed along its line.
    spread
        Where the tiles of the scan are smoothed, which gives the same bits everywhere: what they depend on together is
        found first, and each comes with a halo as wide as smoothing reaches.
    echo
        Variance of a mean over neighbours over what it were if their noise was independent, see
        `cyclestrain.data.Calibration`.
    before
        What an earlier call made of fits that knew nothing of their neighbours. Where patterns are faint, a refit from
        what neighbours say is drawn to them and no longer shows the scatter that was seen: sigma holds it.

    Returns
    -------
    smoothed
        Affine and covariance, in the labelling of the input, the share of it that neighbours have in common, and the
        scatter that was found; positions that are not valid are as they were.
    """
    chart = to_chart(field)
    shared = np.zeros(len(chart.label)) if field.shared is None else field.shared.ravel()
    seen = np.zeros(len(shared)) if before is None or before.scatter is None else before.scatter.ravel()
    value, covariance, scatter = _combine(chart, shared, spread, echo, seen)
    common = shared * np.einsum("nij,nji->n", np.linalg.inv(covariance), chart.covariance) / 4
    affine, own = chart.to_affine(value, covariance)
    good = (chart.label >= 0).reshape(field.label.shape)[..., None, None]
    return AffineField(
        affine=np.where(good, affine.reshape(field.affine.shape), field.affine),
        covariance=np.where(good, own.reshape(field.covariance.shape), field.covariance),
        label=field.label,
        valid=field.valid,
        operators=field.operators,
        shared=None if field.shared is None else np.where(good[..., 0, 0], common.reshape(field.label.shape), 0.0),
        scatter=np.where(good[..., 0, 0], scatter.reshape(field.label.shape), 0.0),
    )


def _combine(
    chart: Chart, shared: FloatArray, spread: Spread, echo: float, seen: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Values in the chart, their covariance, and their scatter, shapes ``(n, 4)``, ``(n, 4, 4)`` and ``(n,)``.

    Parameters
    ----------
    chart
        Estimates of every position from its own pattern.
    shared
        Share of each covariance that neighbours have in common, shape ``(n,)``.
    spread, echo
        See `smooth`.
    seen
        Scatter that was found before, which goes into sigma where none is found now, shape ``(n,)``.
    """
    own = chart.covariance * (1.0 - shared)[:, None, None]
    scatter, result, total = _settle(chart, own, spread)
    mosaic = scatter is not None and bool(scatter.signal.any())
    blend = measure_blends(chart, total, result)
    lost = mirrored_bias(chart.with_covariance(total), result, spread)
    result = replace(result, variance=np.minimum(echo * result.variance, np.maximum(result.variance, 1.0)))
    found = np.zeros(len(seen)) if scatter is None else scatter.over(own)
    unknown = own * np.where(found > 0, 0.0, seen)[:, None, None] + (0.0 if scatter is None else scatter.unknown)
    if not mosaic and blend is None:
        variance = result.variance + shared * np.clip(1.0 - result.variance, 0.0, None)
        return result.value, chart.covariance * variance[:, None, None] + result.bias + lost + unknown, found
    signal, error = np.zeros_like(own), np.zeros_like(own)
    if scatter is not None:
        signal, error = scatter.signal, scatter.with_unseen(own).error
    if blend is not None:
        signal, error = signal + blend[0], error + blend[1]
    around = (own + signal) * result.variance[:, None, None] + result.bias + error
    scattered = np.einsum("nii->ni", signal) > 0
    apart = signal + around * (scattered[:, :, None] & scattered[:, None, :])  # the mean may be off as well
    keep = apart @ np.linalg.inv(own + apart)
    lose = np.eye(4) - keep
    value = result.value + np.einsum("nij,nj->ni", keep, chart.value - result.value)
    covariance = keep @ own + lose @ (around + lost) @ lose.swapaxes(1, 2)
    covariance += unknown + chart.covariance * shared[:, None, None]
    return value, 0.5 * (covariance + covariance.swapaxes(1, 2)), found


def _settle(chart: Chart, own: FloatArray, spread: Spread) -> tuple[Scatter | None, Smoothed, FloatArray]:
    """Scatter, the field smoothed with it, and the covariance of noise and scatter of single positions."""
    scatter, nothing = measure_scatter(chart, own, spread), np.zeros_like(own)
    for turn in range(TURNS + 1):
        mosaic = scatter is not None and bool(scatter.signal.any())
        total = own + scatter.signal if scatter is not None and mosaic else chart.covariance
        result = adapt(chart.with_covariance(total) if mosaic else chart, spread)
        if turn == TURNS:
            break
        better = refine_scatter(chart, own, scatter or Scatter(nothing, nothing, nothing), result)
        if better is None:
            break
        scatter = better
    if turn > 0 and scatter is not None:
        scatter = spread_scatter(chart, own, scatter)
    return scatter, result, total
