"""The level from which a detector counts: where the line of its noise over its mean meets zero."""

from __future__ import annotations

import numpy as np
import pytest

import strangers as st
from cyclestrain.calibration import above_pedestal, levelled
from cyclestrain.data import FloatArray, Scan


def counts(shape: tuple[int, int] = (12, 12), seed: int = 0) -> FloatArray:
    """Poisson counts of a bright disk on a falling background, alike at all positions."""
    y, x = np.indices((64, 64)) - 31.5
    expected = 2.0 + 300.0 / (1.0 + np.hypot(y, x) / 4.0)
    return np.random.default_rng(seed).poisson(expected, (*shape, 64, 64)).astype(float)


@pytest.mark.parametrize(("gain", "offset"), [(1.0, 100.0), (7.0, -300.0), (0.5, 12.0)])
def test_offset_of_a_camera_is_found_at_any_gain(gain: float, offset: float) -> None:
    scan, pedestal = above_pedestal(Scan(gain * counts() + offset))
    assert pedestal == pytest.approx(offset, abs=1.5 * gain)
    np.testing.assert_allclose(scan.source[2, 3], gain * counts()[2, 3] + offset - pedestal, rtol=1e-5)


def test_read_noise_lowers_the_level_by_its_variance_over_the_gain() -> None:
    """Variance = gain (mean - offset) + read noise^2 vanishes below the offset."""
    noise = np.random.default_rng(5).normal(0.0, 6.0, (12, 12, 64, 64))
    _, pedestal = above_pedestal(Scan(3.0 * counts() + 50.0 + noise))
    assert pedestal == pytest.approx(50.0 - 36.0 / 3.0, abs=3.0)


def test_counts_are_left_as_they_are() -> None:
    scan = Scan(counts().astype(np.uint16))
    same, pedestal = above_pedestal(scan)
    assert pedestal == 0
    assert same.source is scan.source
    assert levelled(scan, 0.0) is scan


def test_disks_that_change_on_a_flat_background_are_no_pedestal() -> None:
    """Their pixels vary by more than counting: the line through all levels then meets zero near the background."""
    gradient = np.broadcast_to(np.eye(2), (12, 12, 2, 2))
    crystal = st.square(11.0, reach=45.0, seed=1)
    made = st.stranger(
        [crystal], st.field(gradient), probe=st.disk(3.2), background=st.flat(), backgrounds=0.5, dose=2e5, jitter=0.1,
        contrast=0.3, wedge=0.3, detector=(96, 96), seed=1,
    )  # fmt: skip
    assert above_pedestal(Scan(made.counts.astype(np.float32)))[1] > 1.0  # nothing says that these are counts
    assert above_pedestal(Scan(made.counts))[1] == 0
