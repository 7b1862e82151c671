"""The calibration as a whole: what is given is kept, what is masked is filled, the ring lies on the detector."""

from __future__ import annotations

import numpy as np
import pytest

from cyclestrain.calibration import calibrate, draw_sample
from cyclestrain.data import Calibration, Scan
from cyclestrain.settings import MapSettings
from cyclestrain.simulation import uniform


def calibrated(scan: Scan, **settings: object) -> Calibration:
    return calibrate(scan, draw_sample(scan), MapSettings(**settings))  # type: ignore[arg-type]


def test_what_is_given_is_not_measured() -> None:
    made = uniform(scan=(4, 4), detector=(96, 96), background=0.1)
    found = calibrated(made.scan, centre=(40.0, 51.5), ring=(9.0, 33.0))
    assert (found.centre == [40.0, 51.5]).all()
    assert found.ring == (9.0, 33.0)
    assert any("as given" in choice for choice in found.choices)


@pytest.mark.parametrize("offset", [(0.0, 0.0), (6.0, -9.0)])
def test_ring_excludes_the_direct_beam_and_stays_on_the_detector(offset: tuple[float, float]) -> None:
    made = uniform(scan=(4, 4), detector=(128, 150), radius=4.0, background=0.25, centre_offset=offset)
    inner, outer = calibrated(made.scan).ring
    assert 4.0 + 2 < inner < 37.9 / 2 - 4.0
    centre = np.array([63.5, 74.5]) + offset
    assert outer <= min(*centre, 127 - centre[0], 149 - centre[1]) + 0.1
    assert outer > 0.9 * min(*centre, 127 - centre[0], 149 - centre[1])


def test_what_is_masked_is_filled_and_told() -> None:
    made = uniform(scan=(8, 8), detector=(128, 128), background=0.5)
    patterns = np.asarray(made.scan.source).astype(np.uint32)
    patterns[..., 40, 90] = 50_000
    found = calibrated(Scan(patterns))
    assert not found.good[40, 90]
    assert found.mean_pattern[40, 90] < 50
    assert found.choices[0] == "bad pixels: 1 masked"
    clean = calibrated(made.scan)
    assert clean.good.all()
    np.testing.assert_allclose(found.centre, clean.centre, atol=1e-6)
