"""Disks on square pixels."""

import numpy as np
import pytest

from cyclestrain.pattern import Probe, seen_edge
from cyclestrain.pattern.disk import fit_edge, mean_profile, pixelated_disk
from cyclestrain.simulation.patterns import draw_disk

OVERSAMPLING = 8
RADII = np.arange(9 * OVERSAMPLING) / OVERSAMPLING


@pytest.mark.parametrize(("radius", "edge"), [(2.3, 0.2), (2.3, 0.5), (4.2, 0.2), (4.2, 1.0), (6.7, 0.5)])
def test_mean_over_directions_is_the_profile_in_one_dimension(radius: float, edge: float) -> None:
    image = pixelated_disk(radius, edge, OVERSAMPLING, 10 * OVERSAMPLING)
    expected = seen_edge(RADII, radius, edge)
    assert np.abs(mean_profile(image, len(RADII)) - expected).max() < 5e-3


@pytest.mark.parametrize(("radius", "edge"), [(2.3, 0.2), (2.3, 0.5), (4.2, 0.2), (4.2, 1.0), (6.7, 0.5)])
def test_radius_and_edge_are_found_in_a_profile(radius: float, edge: float) -> None:
    image = pixelated_disk(radius, edge, OVERSAMPLING, 10 * OVERSAMPLING)
    found = fit_edge(mean_profile(image, len(RADII)), OVERSAMPLING)
    assert found == pytest.approx((radius, edge, 1.0), abs=0.015)


def test_probe_from_its_mean_profile_is_the_disk_that_pixels_see() -> None:
    """At any place in a pixel, to a few thousandths of the disk; a round probe misses it by several times more."""
    radius, half = 4.2, 7
    m = (half + 2) * OVERSAMPLING
    optics = np.array([radius, 0.0, 1.0, 0.0, 0.0, 1.0])
    true = np.zeros((2 * m + 1, 2 * m + 1))
    for i in range(OVERSAMPLING):
        for j in range(OVERSAMPLING):
            image = np.zeros((2 * half + 5, 2 * half + 5))
            draw_disk(image, half + 2 - i / OVERSAMPLING, half + 2 - j / OVERSAMPLING, 1.0, optics, 0.0, 0.0, 0.0)
            rows = m + i + OVERSAMPLING * np.arange(-half - 1, half + 1)
            columns = m + j + OVERSAMPLING * np.arange(-half - 1, half + 1)
            true[np.ix_(rows, columns)] = image[1:-2, 1:-2]
    profile = mean_profile(true, len(RADII))
    probe = Probe.from_profile(profile, OVERSAMPLING, half)
    y, x = np.mgrid[-m : m + 1, -m : m + 1] / OVERSAMPLING
    round_probe = np.interp(np.hypot(y, x), RADII, profile, right=0.0)
    inside = (slice(OVERSAMPLING, -2 * OVERSAMPLING),) * 2
    error = np.abs(probe.values - true)[inside].max() / true.max()
    assert error < 5e-3
    assert np.abs(round_probe - true)[inside].max() / true.max() > 3 * error
