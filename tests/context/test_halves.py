"""Laws of half discs: a straight edge is told by both its sides, and nothing else is taken for one."""

from __future__ import annotations

import numpy as np
import pytest

from cyclestrain.context import smooth
from cyclestrain.context.adaptive import _prepare, _reach
from cyclestrain.context.chart import to_chart
from cyclestrain.context.estimates import MISFIT, SELF_WEIGHT, VARIANCE
from cyclestrain.context.halves import DIRECTIONS, ITSELF, _sectors, mix_halves
from cyclestrain.context.mixing import Mixed
from cyclestrain.data import AffineField, FloatArray
from noisy_fields import SIGMA, STATE, noisy, sigma_of, values_of

SCAN = (24, 24)


def stepped(size: float, turned: float = 0.0) -> tuple[FloatArray, FloatArray]:
    """A field with a straight step of some sigmas, and the distance of each position from it."""
    y, x = np.indices(SCAN) - 11.5
    away = x * np.cos(turned) + y * np.sin(turned)
    truth = np.tile(STATE, (*SCAN, 1))
    truth[..., :2] += size * SIGMA[1] * np.where(away > 0, 1, 0)[..., None] * np.array([-0.5, 1.0])
    return truth, away


def mixed_of(field: AffineField, smoothed: FloatArray | None = None) -> Mixed:
    """Half discs mixed into values of a chart, by default into those of a plain mean of all positions."""
    data = _reach(to_chart(field))
    _prepare(data)
    fit = Mixed.blank(data).fit
    fit[:, :4] = data.raw.mean(0) if smoothed is None else smoothed
    fit[:, VARIANCE], fit[:, SELF_WEIGHT] = 1 / data.precision / 200, 1 / 200
    fit[:, MISFIT] = (((fit[:, :4] - data.raw) / SIGMA) ** 2).sum(1)
    return mix_halves(data, fit)


def test_sectors_are_alike_on_both_sides() -> None:
    y, x = (axis.ravel() for axis in np.mgrid[-8:9, -8:9])
    sectors = _sectors(np.stack([y, x], 1))
    assert sectors[(y == 0) & (x == 0)] == ITSELF
    other = _sectors(np.stack([-y, -x], 1))
    outside = (y != 0) | (x != 0)
    assert ((sectors - other)[outside] % ITSELF == DIRECTIONS).all()


@pytest.mark.parametrize("turned", [0.0, np.pi / 4, np.pi / 2, 1.1])
def test_beside_a_step_the_own_side_is_taken(turned: float) -> None:
    truth, away = stepped(2.0, turned)
    share = mixed_of(noisy(truth, 1)).share.reshape(SCAN)
    inside = (np.abs(np.indices(SCAN) - 11.5) < 8).all(0)
    assert np.median(share[inside & (np.abs(away) < 1)]) > 0.9


@pytest.mark.parametrize("slope", [0.0, 0.1, 0.3])
def test_slopes_and_flat_fields_that_are_smoothed_well_change_next_to_nothing(slope: float) -> None:
    truth = np.tile(STATE, (*SCAN, 1))
    truth[..., 1] += slope * SIGMA[1] * np.indices(SCAN)[1]
    shares = [mixed_of(noisy(truth, seed), truth.reshape(-1, 4)).share.mean() for seed in range(4)]
    assert np.mean(shares) < 0.1


@pytest.mark.parametrize("turned", [0.0, 0.6])
@pytest.mark.parametrize(("size", "most_missing", "most_z"), [(2.0, 0.22, 1.8), (3.0, 0.13, 1.35)])
def test_weak_steps_are_hardly_blurred(turned: float, size: float, most_missing: float, most_z: float) -> None:
    """Without half discs .25 of a step of two sigmas is missing on either side, at 2.3 to 2.8 sigmas."""
    truth, away = stepped(size, turned)
    beside = np.abs(away) < 1
    error, ratio = [], []
    for seed in range(6):
        got = smooth(noisy(truth, seed))
        off, stated = (values_of(got) - truth)[..., 1], sigma_of(got)[..., 1]
        error.append((off * -np.sign(away))[beside] / (size * SIGMA[1]))
        ratio.append((off / stated)[beside])
    assert np.mean(error) < most_missing
    assert np.sqrt(np.mean(np.square(ratio))) < most_z
