"""A material learned on one scan and taken over for another dose and background."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cyclestrain.calibration import calibrate, draw_sample
from cyclestrain.data import Calibration, Scan
from cyclestrain.errors import InputError
from cyclestrain.learning import Knowledge, Material, centre_prior, describe, learn, transfer
from cyclestrain.settings import MapSettings
from cyclestrain.simulation import polycrystal

OPTIONS = {"scan": (12, 12), "detector": (96, 96), "radius": 3.0, "grain_size": 60.0}


def material_of(known: Knowledge) -> Material:
    calibration = known.calibration
    return Material(known.dictionary, known.templates, calibration.ring, calibration.disk_radius)


def calibrated(scan: Scan) -> Calibration:
    return calibrate(scan, draw_sample(scan), MapSettings())


@pytest.fixture(scope="module")
def known() -> Knowledge:
    scan = polycrystal(**OPTIONS, background=0.1, counts=1e5, seed=3).scan  # type: ignore[arg-type]
    return learn(scan, draw_sample(scan), calibrated(scan), MapSettings())


def test_dose_and_background_are_measured_anew_and_the_lattice_is_kept(known: Knowledge) -> None:
    scan = polycrystal(**OPTIONS, background=0.4, counts=5e4, seed=4).scan  # type: ignore[arg-type]
    found = transfer(material_of(known), scan, draw_sample(scan), calibrated(scan), seed=0)
    before, after = known.dictionary.entries[0], found.dictionary.entries[0]
    np.testing.assert_array_equal(after.reflections, before.reflections)
    assert after.intensity.sum() / before.intensity.sum() == pytest.approx(0.5 * 0.6 / 0.9, rel=0.05)
    np.testing.assert_allclose(after.intensity / after.intensity.sum(), before.intensity / before.intensity.sum())
    assert found.dictionary.noise_scale == pytest.approx(1.0, abs=0.1)


def test_another_crystal_or_camera_length_is_refused(known: Knowledge) -> None:
    material = material_of(known)
    other = polycrystal(**OPTIONS, background=0.1, lattice="square", spacing=23.0, seed=5).scan  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no crystal of the model is found"):
        transfer(material, other, draw_sample(other), calibrated(other), seed=0)
    with pytest.raises(InputError, match="the direct beam has a radius of"):
        transfer(replace(material, disk_radius=9.0), other, draw_sample(other), calibrated(other), seed=0)


def test_what_is_known_in_words(known: Knowledge) -> None:
    lines = describe(known.dictionary)
    assert lines[0].startswith("entry 0: ")
    assert "6-fold" in lines[0]
    assert lines[-1].startswith("noise: variance = ")
    assert centre_prior(known.calibration) >= 0.1
