"""How the noise of neighbouring pixels goes together, and what that does to a disk."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from cyclestrain.calibration.grain import measure_grain
from cyclestrain.data import INDEPENDENT, BoolArray, FloatArray, Grain

SIDE, PIXELS, RADIUS = 12, 96, 4.0
ROWS, COLUMNS = np.divmod(np.arange(SIDE * SIDE), SIDE)


def beyond_the_beam() -> BoolArray:
    y, x = np.indices((PIXELS, PIXELS)) - (PIXELS - 1) / 2
    return np.asarray(np.hypot(y, x) > 10)


def electrons(counts: float = 8.0, jitter: float = 0.0, seed: int = 0) -> FloatArray:
    """Disks on a falling background, every pattern moved by `jitter` pixels, counted."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((PIXELS, PIXELS)) - (PIXELS - 1) / 2
    out = np.empty((SIDE * SIDE, PIXELS, PIXELS))
    nodes = [(18.0 * i, 18.0 * j) for i in (-2, -1, 0, 1, 2) for j in (-2, -1, 0, 1, 2)]
    for pattern in out:
        my, mx = rng.normal(0.0, jitter, 2)
        expected = counts / (1.0 + np.hypot(y, x) / 6.0)
        for ny, nx in nodes:
            expected += 0.6 * counts / (1.0 + np.exp(4.0 * (np.hypot(y - ny - my, x - nx - mx) - RADIUS)))
        pattern[:] = rng.poisson(expected)
    return out


def spread(patterns: FloatArray, sigma: float, gain: float = 1.0, read_noise: float = 0.0) -> FloatArray:
    light = gain * ndimage.gaussian_filter(patterns, (0, sigma, sigma))
    return np.asarray(light + np.random.default_rng(1).normal(0.0, read_noise, patterns.shape))


def grain_of(patterns: FloatArray) -> Grain:
    return measure_grain(patterns, ROWS, COLUMNS, beyond_the_beam(), RADIUS)


@pytest.mark.parametrize(("counts", "jitter"), [(8.0, 0.0), (0.02, 0.0), (2000.0, 0.0), (200.0, 0.3)])
def test_counted_electrons_have_none(counts: float, jitter: float) -> None:
    """Not even where all disks of bright patterns jump about: what changes there is the crystal."""
    assert grain_of(electrons(counts, jitter)) == INDEPENDENT


@pytest.mark.parametrize("sigma", [0.6, 1.0])
@pytest.mark.parametrize(("gain", "read_noise"), [(1.0, 0.0), (20.0, 4.0)])
def test_spread_light_is_measured(sigma: float, gain: float, read_noise: float) -> None:
    """The noise of sums is that of the electrons: it grew by one over the sum of the squares of the spread."""
    found = grain_of(spread(electrons(), sigma, gain, read_noise))
    y, x = np.mgrid[-8:9, -8:9]
    weight = ndimage.gaussian_filter((np.hypot(y, x) == 0).astype(float), sigma)
    whole = 1.0 / (weight**2).sum()  # of a sum over a very large area
    assert 0.6 * whole < found.edge < 1.2 * whole
    assert 0.75 * whole < found.area < 1.5 * whole  # with read noise, some thirty areas tell it within a tenth
    assert found.edge < found.area


def test_noise_of_whole_rows_counts_in_full() -> None:
    """It moves disks as much whatever the counts, and a sum along a row as much as the row is long."""
    rows = np.random.default_rng(2).normal(0.0, 2.0, (SIDE * SIDE, PIXELS, 1))
    assert 1.5 < grain_of(electrons() + rows).edge < 6.0


def test_a_single_column_tells_it_as_a_row_does() -> None:
    patterns, line = spread(electrons(), 0.8), np.arange(SIDE * SIDE)
    found = [
        measure_grain(patterns, rows, columns, beyond_the_beam(), RADIUS)
        for rows, columns in ((line, 0 * line), (0 * line, line))
    ]
    assert found[0] == found[1]
    assert found[0].edge > 3.0


def test_a_small_detector_tells_it_too() -> None:
    part = spread(electrons(), 0.8)[:, 28:60, 28:60]
    y, x = np.indices((32, 32)) - 19.5
    found = measure_grain(part, ROWS, COLUMNS, np.hypot(y, x) > 6, RADIUS)
    assert found.edge == pytest.approx(grain_of(spread(electrons(), 0.8)).edge, rel=0.3)


def test_hardly_any_electrons_tell_nothing_wrong() -> None:
    assert grain_of(electrons(0.0005)) == INDEPENDENT


def test_too_few_positions_tell_nothing() -> None:
    patterns = spread(electrons(), 1.0)[:2]
    assert measure_grain(patterns, ROWS[:2], COLUMNS[:2], beyond_the_beam(), RADIUS) == INDEPENDENT


def test_grain_of_which_disks_show_a_part_is_less_or_none() -> None:
    whole = Grain(5.0, 9.0)
    assert whole.less(1.0) == whole
    assert whole.less(0.6) == Grain(3.0, pytest.approx(5.0))
    assert whole.less(0.2) == INDEPENDENT
