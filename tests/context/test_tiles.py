"""A field smoothed in tiles is the field smoothed whole, bit by bit, and the halo is wide enough."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from cyclestrain.context import adaptive, smooth
from cyclestrain.context.chart import to_chart
from cyclestrain.data import InTurn
from restless import SIGMA, restless


@pytest.mark.parametrize(("shape", "side"), [((52, 61), 32), ((40, 37), 16), ((1, 150), 50)])
def test_tiles_of_any_size_give_the_same_bits(shape: tuple[int, int], side: int) -> None:
    field = restless(shape, side)
    whole, tiled = smooth(field), smooth(field, InTurn(side))
    assert not np.array_equal(whole.affine, field.affine)
    for one in dataclasses.fields(whole):
        if one.name != "operators":
            assert_array_equal(getattr(tiled, one.name), getattr(whole, one.name), err_msg=one.name)


def test_the_halo_is_as_wide_as_smoothing_reaches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever changes farther away changes no bit; nearer, it does."""
    monkeypatch.setattr(adaptive, "_noise_scale", lambda *_: 1.0)  # else of the whole scan
    halo, rows, n, middle = adaptive._halo(adaptive.RADII_SQUARED), 12, 140, 70
    chart = to_chart(restless((rows, n), 5))
    calm = 0.01 + SIGMA * np.random.default_rng(0).standard_normal((rows * n, 4))  # so that neighbourhoods are wide
    chart = dataclasses.replace(chart, label=np.zeros(rows * n, int), value=calm)
    chart = chart.with_covariance(np.tile(np.diag(SIGMA**2), (rows * n, 1, 1)))
    whole, changed = adaptive.adapt(chart), {}
    for far in (halo // 3, halo + 1):
        value = chart.value.reshape(rows, n, 4).copy()
        value[:, middle + far :] += SIGMA * np.random.default_rng(1).standard_normal((rows, n - middle - far, 4))
        other = adaptive.adapt(dataclasses.replace(chart, value=value.reshape(-1, 4)))
        changed[far] = (other.value != whole.value).any(1).reshape(rows, n)[:, : middle + 1].any()
    assert list(changed.values()) == [True, False]
