"""The probe: what a disk of unit intensity gives the pixels around it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from cyclestrain.data import FloatArray
from cyclestrain.pattern import Probe, disk_profile

SHAPES = [(2.0, 1.4, 4, 5), (4.2, 1.0, 8, 8), (7.6, 1.6, 8, 12)]
"""Radius, edge (pixels), oversampling, half width of the window."""


def soft_disk(radius: float, edge: float, oversampling: int, half: int) -> Probe:
    return Probe.from_profile(disk_profile(radius, edge, oversampling, half + 3.0), oversampling, half)


def at_pixels(probe: Probe, dy: float, dx: float, image: FloatArray | None = None) -> FloatArray:
    """Value at the pixels of a window of a probe that lies ``(dy, dx)`` from its central pixel: the definition."""
    y, x = np.mgrid[-probe.half : probe.half + 1, -probe.half : probe.half + 1].astype(float)
    middle = probe.values.shape[0] // 2
    at = [(y - dy) * probe.oversampling + middle, (x - dx) * probe.oversampling + middle]
    return ndimage.map_coordinates(probe.values if image is None else image, at, order=1)


def from_tables(probe: Probe, table: int, dy: float, dx: float) -> FloatArray:
    """The same from the polyphase tables: four of them, weighted."""
    s = probe.oversampling
    ty, tx = (dy + 0.5) * s, (dx + 0.5) * s
    iy, ix = min(int(ty), s - 1), min(int(tx), s - 1)
    fy, fx = ty - iy, tx - ix
    t = probe.tables[table].astype(float)
    low = (1 - fx) * t[iy, ix] + fx * t[iy, ix + 1]
    return (1 - fy) * low + fy * ((1 - fx) * t[iy + 1, ix] + fx * t[iy + 1, ix + 1])


offsets = st.floats(-0.5, 0.5)


@pytest.mark.parametrize("shape", SHAPES)
@given(offsets, offsets)
def test_pixels_receive_the_whole_intensity_wherever_the_disk_lies(
    shape: tuple[float, float, int, int], dy: float, dx: float
) -> None:
    probe = soft_disk(*shape)
    assert at_pixels(probe, dy, dx).sum() == pytest.approx(1.0, abs=5e-3)
    assert probe.values.sum() / probe.oversampling**2 == pytest.approx(1.0)


@pytest.mark.parametrize("shape", SHAPES)
@given(offsets, offsets)
def test_tables_are_the_probe_at_the_pixels(shape: tuple[float, float, int, int], dy: float, dx: float) -> None:
    probe = soft_disk(*shape)
    expected = at_pixels(probe, dy, dx)
    np.testing.assert_allclose(from_tables(probe, 0, dy, dx), expected, atol=1e-6 * expected.max())


@pytest.mark.parametrize("shape", SHAPES)
@given(offsets, offsets)
def test_tables_hold_the_derivatives_with_the_position_of_the_disk(
    shape: tuple[float, float, int, int], dy: float, dx: float
) -> None:
    probe = soft_disk(*shape)
    step = 1.0 / probe.oversampling  # the tables are central differences over the nodes of the probe
    for table, (uy, ux) in ((1, (step, 0)), (2, (0, step))):
        difference = (at_pixels(probe, dy + uy, dx + ux) - at_pixels(probe, dy - uy, dx - ux)) / (2 * step)
        found = from_tables(probe, table, dy, dx)
        np.testing.assert_allclose(found, difference, atol=2e-6 * np.abs(difference).max() + 1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_disk_is_where_it_is_said_to_be(shape: tuple[float, float, int, int]) -> None:
    """Convention: the phase is the disk's offset from the central pixel, y first, y down."""
    probe = soft_disk(*shape)
    y, x = np.mgrid[-probe.half : probe.half + 1, -probe.half : probe.half + 1]
    window = from_tables(probe, 0, 0.3, -0.4)
    assert (y * window).sum() / window.sum() == pytest.approx(0.3, abs=0.01)
    assert (x * window).sum() / window.sum() == pytest.approx(-0.4, abs=0.01)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sigma", [0.7, 2.0])
def test_blur_keeps_the_sum_and_widens_by_its_variance(shape: tuple[float, float, int, int], sigma: float) -> None:
    probe = soft_disk(*shape)
    blurred = probe.blurred(sigma, probe.half + int(np.ceil(4 * sigma)))
    assert blurred.half == probe.half + int(np.ceil(4 * sigma))
    per_pixel = [each.values.sum() / each.oversampling**2 for each in (blurred, probe)]
    assert per_pixel[0] == pytest.approx(per_pixel[1], rel=1e-3)
    assert variance(blurred) - variance(probe) == pytest.approx(sigma**2, rel=0.02)
    assert blurred.tables.shape[-1] == 2 * blurred.half + 1


def variance(probe: Probe) -> float:
    m = probe.values.shape[0] // 2
    y = np.arange(-m, m + 1) / probe.oversampling
    return float((probe.values.sum(1) * y**2).sum() / probe.values.sum())


@given(st.floats(1.0, 12.0), st.floats(0.5, 2.0), st.sampled_from([4, 8]))
def test_radius_is_where_the_disk_falls_to_half(radius: float, edge: float, oversampling: int) -> None:
    edge = min(edge, radius)
    probe = soft_disk(radius, edge, oversampling, int(radius + 2 * edge + 2))
    assert probe.radius == pytest.approx(radius, abs=0.6 / oversampling + 0.02 * edge)


def test_profile_is_the_azimuthal_mean() -> None:
    profile = disk_profile(4.0, 1.2, 8, 11.0)
    probe = Probe.from_profile(profile, 8, 8)
    scaled = probe.profile / probe.profile[0]
    np.testing.assert_allclose(scaled, profile[: len(scaled)] / profile[0], atol=0.01)


@pytest.mark.parametrize("half", [3, 6, 9])
def test_support_is_round_and_symmetric(half: int) -> None:
    support = soft_disk(2.0, 1.0, 4, half).support
    assert support.shape == (2 * half + 1, 2 * half + 1)
    np.testing.assert_array_equal(support, support[::-1])
    np.testing.assert_array_equal(support, support.T)
    assert support[0, half] == 1
    assert support[0, 0] == 0
    assert support.sum() == pytest.approx(np.pi * (half + 0.3) ** 2, rel=0.15)


@given(st.lists(st.floats(0.0, 1.0), min_size=9, max_size=9), st.integers(3, 7))
def test_no_radius_is_larger_than_the_table_whatever_the_profile(heights: list[float], half: int) -> None:
    """Ring-shaped probes and disks that overlap rise again at the end of the window: the radius ran away to 3e7 px."""
    m = (half + 2) * 4
    y, x = np.mgrid[-m : m + 1, -m : m + 1]
    values = 1e-3 + np.interp(np.hypot(y, x), np.linspace(0, 1.5 * m, 9), heights)
    probe = Probe(values, 4, half)
    assert 0 < probe.radius <= half + 2
    assert probe.falls_off == (probe.radius < half)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_disk_is_flat_and_ends_within_its_window_and_rings_are_not(shape: tuple[float, float, int, int]) -> None:
    radius, _, oversampling, half = shape
    probe = soft_disk(*shape)
    assert probe.falls_off
    assert probe.is_flat
    y, x = np.mgrid[-half - 2 : half + 2 : 1j * len(probe.values), -half - 2 : half + 2 : 1j * len(probe.values)]
    rings = probe.values * (0.5 + 0.5 * np.cos(2 * np.pi * 2.5 * (np.hypot(y, x) / radius - 0.9)))
    assert not Probe(rings, oversampling, half).is_flat
    rising = probe.values.max() * np.hypot(y, x) / half
    assert not Probe(rising, oversampling, half).falls_off


@pytest.mark.parametrize("sigma", [0.9, 1.5, 2.5])
def test_a_spot_without_plateau_is_flat_enough(sigma: float) -> None:
    r = np.arange(0, 10, 1 / 8)
    probe = Probe.from_profile(np.exp(-0.5 * (r / sigma) ** 2), 8, 8)
    assert probe.is_flat
    assert probe.falls_off
