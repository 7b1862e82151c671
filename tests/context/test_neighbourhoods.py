"""Sums over neighbourhoods are those that a loop over single neighbours gives, at borders and edges as well."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from cyclestrain.context.adaptive import _reach
from cyclestrain.context.chart import LIMIT, full, to_chart
from cyclestrain.context.estimates import SELF_WEIGHT, SLOPE, SLOPE_VARIANCE, VARIANCE, Data, blank
from cyclestrain.context.local_fits import fit_means, fit_planes
from cyclestrain.context.neighbourhoods import Columns, Hood, enter
from cyclestrain.data import FloatArray
from restless import restless

RADIUS_SQUARED = 10
SHAPE = (13, 11)


def field(slopes: float) -> tuple[Data, FloatArray]:
    """A restless field with holes, edges and estimates of any slope."""
    rng = np.random.default_rng(3)
    data = _reach(to_chart(restless(SHAPE, 4)))
    label = np.where(rng.random(len(data.label)) < 0.1, -1, data.label)
    data = data._replace(label=label, edge=rng.random(len(label)) < 0.2)
    present = blank(data)
    present[:, SLOPE:VARIANCE] = slopes * rng.standard_normal((len(label), 8)) / np.sqrt(data.precision)[:, None]
    present[:, SLOPE_VARIANCE] = slopes**2 / data.precision
    return data, present


def alike(data: Data, present: FloatArray, i: int) -> tuple[FloatArray, FloatArray, list[int]]:
    """Offsets and indices of the neighbours that agree with a position, itself among them, and their bits."""
    y, x = divmod(i, data.columns)
    metric, offsets, index, bits = full(data.metric[i : i + 1])[0], [], [], 0
    near = [tuple(offset) for offset in data.offsets.tolist() if np.dot(offset, offset) <= RADIUS_SQUARED]
    for k, (dy, dx) in enumerate(near):
        if not (0 <= y + dy < data.rows and 0 <= x + dx < data.columns):
            continue
        j = i + dy * data.columns + dx
        slopes = (present[i, SLOPE:VARIANCE] + present[j, SLOPE:VARIANCE]).reshape(4, 2)
        d = present[j, :4] - present[i, :4] - 0.5 * slopes @ np.array([dy, dx], float)
        variance = present[i, VARIANCE] + present[j, VARIANCE]
        variance += 0.25 * (dy * dy + dx * dx) * (present[i, SLOPE_VARIANCE] + present[j, SLOPE_VARIANCE])
        if data.label[j] == data.label[i] and data.edge[j] <= data.edge[i] and d @ metric @ d <= LIMIT * variance:
            offsets.append((dy, dx))
            index.append(j)
            bits |= 1 << k
    return np.array(offsets, float), np.array(index), bits


@pytest.mark.parametrize("order", [0, 2])
def test_sums_are_those_over_single_neighbours(order: int) -> None:
    data, present = field(float(order > 0))
    columns, n = Columns.of(data, 4), len(data.label)
    enter(data, present, columns, 0, n)
    fit, taken = blank(data), np.zeros(n, np.int64)
    kernel = fit_means if order == 0 else fit_planes
    kernel(data, columns, Hood.within(data.offsets, RADIUS_SQUARED), fit, taken, 0, n)
    for i in np.flatnonzero(data.label >= 0):
        offsets, index, bits = alike(data, present, i)
        assert taken[i] == bits
        weight, apart = data.precision[index], data.raw[index] - data.raw[i]
        if order == 0:
            assert_allclose(fit[i, :4] - data.raw[i], weight @ apart / weight.sum(), rtol=1e-9, atol=1e-12)
            assert_allclose(fit[i, VARIANCE] * weight.sum(), 1.0)
            assert_allclose(fit[i, SELF_WEIGHT] * weight.sum(), data.precision[i])
            continue
        metric, found, gains = full(data.metric[i : i + 1])[0], [], []
        for part in (1, 3, 6):  # each order by itself, mixed with Akaike weights
            y, x = offsets.T
            basis = np.stack([np.ones_like(y), y, x, y * y, y * x, x * x], 1)[:, :part]
            coefficients = np.linalg.lstsq(basis * np.sqrt(weight)[:, None], apart * np.sqrt(weight)[:, None])[0]
            rank = np.linalg.matrix_rank(basis * np.sqrt(weight)[:, None])
            rest = apart - basis @ coefficients
            gains.append(-0.5 * np.einsum("n,ni,ij,nj->", weight, rest, metric, rest) - 4 * rank)
            found.append(coefficients[0])
            if rank < part:
                break
        else:
            share = np.exp(np.array(gains) - max(gains))
            assert_allclose(fit[i, :4] - data.raw[i], share @ np.array(found) / share.sum(), rtol=1e-6, atol=1e-12)


def test_positions_without_part_are_left_alone() -> None:
    data, present = field(0.0)
    columns, n = Columns.of(data, 4), len(data.label)
    enter(data, present, columns, 0, n)
    fit, taken = np.full_like(present, 7.0), np.full(n, -5)
    fit_means(data, columns, Hood.within(data.offsets, 5), fit, taken, 0, n)
    assert (fit[data.label < 0] == 7.0).all()
    assert (taken[data.label < 0] == -5).all()
