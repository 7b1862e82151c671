"""The end of the detector's scale is found where counts pile up at it, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from cyclestrain.calibration.ceiling import find_ceiling
from cyclestrain.simulation import polycrystal

GOOD = np.ones((96, 96), bool)


def patterns(counts: float, *, noise_free: bool = False) -> np.ndarray:
    made = polycrystal(
        scan=(10, 10), detector=(96, 96), grain_size=30.0, background=0.3, seed=3, counts=counts, noise_free=noise_free
    )
    return np.asarray(made.scan.source).reshape(-1, 96, 96)


@pytest.mark.parametrize("end", [1, 15, 63, 255])
def test_counts_that_are_cut_pile_up(end: int) -> None:
    assert find_ceiling(np.minimum(patterns(1e5), end), GOOD) == end


@pytest.mark.parametrize("end", [63, 255])
def test_also_above_a_pedestal(end: int) -> None:
    values = np.minimum(patterns(1e5) + 20, end).astype(np.float32) - np.float32(19.6)
    assert find_ceiling(values, GOOD, 19.6) == pytest.approx(end - 19.6, abs=1e-4)


@pytest.mark.parametrize("counts", [300.0, 1e4, 1e6])
def test_the_brightest_pixel_of_a_scan_is_no_end(counts: float) -> None:
    assert find_ceiling(patterns(counts), GOOD) == np.inf


def test_equal_patterns_without_noise_have_no_end() -> None:
    assert find_ceiling(patterns(1e5, noise_free=True), GOOD) == np.inf


def test_few_single_electrons_are_no_end() -> None:
    """Ones and zeros only, but no pixel so bright that a two would be expected."""
    assert find_ceiling(np.random.default_rng(0).poisson(0.002, (200, 96, 96)), GOOD) == np.inf


def test_a_stuck_pixel_does_not_set_the_end() -> None:
    values = patterns(1e5).copy()
    values[:, 10, 10] = 65535
    good = GOOD.copy()
    good[10, 10] = False
    assert find_ceiling(values, good) == np.inf
