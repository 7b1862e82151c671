"""Beam centre and disk size, measured on scans whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from cyclestrain.calibration import calibrate, draw_sample
from cyclestrain.calibration.beam import find_direct_beam, measure_centres
from cyclestrain.data import Calibration, Scan
from cyclestrain.settings import MapSettings
from cyclestrain.simulation import SimulatedScan, polycrystal, uniform

SMALL = {"scan": (12, 12), "detector": (128, 128), "grain_size": 40.0}


def calibrated(scan: Scan, **settings: object) -> Calibration:
    return calibrate(scan, draw_sample(scan), MapSettings(**settings))  # type: ignore[arg-type]


def centre_error(made: SimulatedScan, **settings: object) -> np.ndarray:
    truth = np.stack([made.truth["centre_y"], made.truth["centre_x"]], -1)
    return calibrated(made.scan, **settings).centre - truth


def with_patterns(scan: Scan, patterns: np.ndarray) -> Scan:
    return Scan(patterns, name=scan.name)


@pytest.mark.parametrize("offset", [(0.0, 0.0), (5.0, -3.0), (-2.37, 4.81)])
@pytest.mark.parametrize("drift", [0.0, 3.0])
@pytest.mark.parametrize("background", [0.1, 0.6])
def test_beam_centre_with_offset_and_drift(offset: tuple[float, float], drift: float, background: float) -> None:
    made = polycrystal(**SMALL, background=background, centre_offset=offset, drift=drift, seed=2)  # type: ignore[arg-type]
    assert np.abs(centre_error(made)).max() < 0.05


@pytest.mark.parametrize("detector", [(96, 96), (129, 160), (256, 256)])
@pytest.mark.parametrize("radius", [2.0, 5.0, 8.0])
def test_beam_centre_on_any_detector(detector: tuple[int, int], radius: float) -> None:
    made = uniform(scan=(6, 7), detector=detector, radius=radius, background=0.25, drift=1.0, centre_offset=(1.3, 2.6))
    assert np.abs(centre_error(made)).max() < 0.05


def test_centre_of_one_pattern_is_the_centroid_of_the_disk() -> None:
    """Pattern by pattern, without a smooth fit: also for shifts within a pixel."""
    made = uniform(scan=(1, 24), detector=(64, 64), radius=4.0, spacing=20.0, background=0.0, drift=2.0)
    patterns = np.asarray(made.scan.source)[0]
    found = measure_centres(patterns, np.ones((64, 64), bool), np.array([31.0, 32.0]), 4.0)
    np.testing.assert_allclose(found[:, 0], made.truth["centre_y"].values[0], atol=0.02)
    np.testing.assert_allclose(found[:, 1], made.truth["centre_x"].values[0], atol=0.02)


def test_strange_patterns_do_not_pull_the_centre() -> None:
    """Every tenth pattern shows its direct beam elsewhere."""
    made = uniform(scan=(10, 10), detector=(96, 96), background=0.25, drift=1.0)
    patterns = np.asarray(made.scan.source).copy()
    patterns[:, 3] = np.roll(patterns[:, 3], 4, axis=-1)
    strange = calibrated(with_patterns(made.scan, patterns)).centre[:, 5]
    assert np.abs(strange - np.stack([made.truth["centre_y"], made.truth["centre_x"]], -1)[:, 5]).max() < 0.1


@pytest.mark.parametrize("radius", [2.0, 4.2, 8.0])
def test_size_of_the_direct_beam(radius: float) -> None:
    made = uniform(scan=(4, 4), detector=(160, 160), radius=radius, background=0.25)
    centre, found = find_direct_beam(np.asarray(made.scan.source).mean((0, 1)), np.ones((160, 160), bool))
    assert found == pytest.approx(radius, abs=0.5)
    assert np.abs(centre - 79.5).max() < 0.5
