"""Where the direct disk is hidden: centre by symmetry, shadow of a beam stop, size of the disks."""

from __future__ import annotations

import numpy as np
import pytest

from cyclestrain.calibration.hidden_beam import centre_of_inversion, disk_radius, find_shadow
from cyclestrain.data import FloatArray

SHAPE = (90, 110)


def pattern(centre: tuple[float, float], radius: float = 4.0, spacing: float = 17.0, beam: float = 50.0) -> FloatArray:
    """A square lattice of soft disks of unlike brightness on a falling background, drawn pixel by pixel."""
    y, x = np.indices(SHAPE)
    out = 3.0 / (1.0 + np.hypot(y - centre[0], x - centre[1]) / 15.0)
    for h in range(-3, 4):
        for k in range(-3, 4):
            at = centre[0] + spacing * (0.96 * h + 0.28 * k), centre[1] + spacing * (0.96 * k - 0.28 * h)
            bright = beam if h == k == 0 else 4.0 + 2.0 * np.cos(5.0 * h + 3.0 * k)
            out += bright / (1.0 + np.exp(2.5 * (np.hypot(y - at[0], x - at[1]) - radius)))
    return out


@pytest.mark.parametrize("centre", [(44.5, 54.5), (41.2, 57.9), (50.0, 47.3)])
@pytest.mark.parametrize("gap", [0, 9])
def test_centre_is_where_half_a_turn_changes_nothing(centre: tuple[float, float], gap: int) -> None:
    """Also through a gap over the beam, although the brightness of g and -g differs."""
    counts = np.random.default_rng(1).poisson(pattern(centre), (40, *SHAPE)).mean(0)
    good = np.ones(SHAPE, bool)
    good[45 - gap // 2 : 45 + (gap + 1) // 2] = gap == 0
    assert np.abs(centre_of_inversion(counts, good) - centre).max() < 0.15


def test_shadow_of_a_beam_stop_is_found_and_nothing_else() -> None:
    centre = (44.5, 54.5)
    mean = pattern(centre, beam=20.0)
    y, x = np.indices(SHAPE)
    stop = (np.hypot(y - 44, x - 54) < 8) | ((np.abs(y - 44) < 4) & (x < 54))
    good = np.ones(SHAPE, bool)
    found = find_shadow(np.where(stop, 0.02 * mean, mean), good, np.array(centre), 5)
    assert found[stop & (x < 40)].mean() > 0.95
    assert found[np.hypot(y - 44, x - 54) > 60].mean() < 0.02
    assert not find_shadow(mean, good, np.array(centre), 5).any()


@pytest.mark.parametrize("radius", [2.5, 4.0, 6.0])
def test_size_of_disks_from_their_autocorrelation(radius: float) -> None:
    """The direct disk has another size, as one that is saturated or wears a halo."""
    rng = np.random.default_rng(2)
    y, x = np.indices(SHAPE)
    halo = 40.0 * np.exp(-0.5 * (np.hypot(y - 44.5, x - 54.5) / 4.0) ** 2)
    patterns = rng.poisson(pattern((44.5, 54.5), radius, spacing=23.0) + halo, (64, *SHAPE))
    found, sureness = disk_radius(patterns, np.ones(SHAPE, bool), np.array([44.5, 54.5]))
    assert found == pytest.approx(radius, rel=0.15, abs=0.3)
    noise = rng.poisson(patterns.mean((0, 1, 2)) * np.ones((64, *SHAPE)))
    assert sureness > 2 * disk_radius(noise, np.ones(SHAPE, bool), np.array([44.5, 54.5]))[1]


def test_the_shadow_of_a_beam_larger_than_an_eighth_of_the_detector() -> None:
    y, x = np.indices((64, 64))
    distance = np.hypot(y - 31.5, x - 31.5)
    mean = np.where(distance < 12, 100.0, 20.0)
    mean[28:36, :32] = 0.1
    shadow = find_shadow(mean, np.ones((64, 64), bool), np.array([31.5, 31.5]), 13)
    assert shadow[30:34, 2:24].all()
