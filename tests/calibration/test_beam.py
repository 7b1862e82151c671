"""Beam centre and disk size, measured on scans whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

import strangers as st
from cyclestrain.calibration import calibrate, draw_sample
from cyclestrain.calibration.beam import edge_of_disk, find_direct_beam, measure_centres
from cyclestrain.data import Calibration, Scan
from cyclestrain.errors import InputError
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


@pytest.mark.parametrize("brightest", [1.5, 2.5])
def test_a_reflection_that_outshines_the_direct_beam_is_not_taken_for_it(brightest: float) -> None:
    """In a thick crystal; background and lattice are alike on both sides of the beam only."""
    y, x = np.indices((144, 144))
    beam, lattice = np.array([70.0, 75.0]), np.array([[6.0, 32.0], [-20.0, 4.0]])
    places = [(beam + k @ lattice, 0.3) for k in np.argwhere(np.ones((5, 5))) - 2]
    height = {(0, 0): 1.0, (1, 0): brightest}
    mean = 3.0 / (1 + np.hypot(y - beam[0], x - beam[1]) / 20)
    for index, (place, usual) in zip(np.argwhere(np.ones((5, 5))) - 2, places, strict=True):
        spot = np.exp(-0.5 * ((y - place[0]) ** 2 + (x - place[1]) ** 2) / 2.0**2)
        mean = mean + 5.0 * height.get(tuple(index.tolist()), usual) * spot
    mean = np.random.default_rng(0).poisson(mean, (36, 144, 144)).mean(0)
    centre, _ = find_direct_beam(mean, np.ones((144, 144), bool))
    assert np.hypot(*(centre - beam)) < 1.0


class TestPeakOnTheBeam:
    """A disk and a background that is narrower, drawn here by counting subpixels."""

    def patterns(
        self, radius: float, share: float, width: float, fall: float, dark: float = 0.0, *, direct: float = 0.8
    ) -> np.ndarray:
        fine = (np.arange(4 * 160) + 0.5) / 4 - 0.5
        y, x = np.meshgrid(fine, fine, indexing="ij")

        def disk(at: tuple[float, float]) -> np.ndarray:
            far = np.hypot(y - at[0], x - at[1])
            inside = (far < radius) * (1 - dark * (1 - np.minimum(far / radius, 1) ** 2))
            return inside.reshape(160, 4, 160, 4).mean((1, 3)) / (np.pi * radius**2)

        places = [(80 + 40 * np.sin(a), 79 + 40 * np.cos(a)) for a in np.arange(6) * np.pi / 3 + 0.2]
        image = direct * disk((80, 79)) + sum((1 - direct) / 6 * disk(place) for place in places)
        far = np.hypot(*np.meshgrid(np.arange(160) - 80, np.arange(160) - 79, indexing="ij"))
        peak = (1 + (far / width) ** 2) ** -fall
        image = (1 - share) * image + share * peak / peak.sum()
        return np.random.default_rng(0).poisson(1e5 * image, (36, 160, 160))

    @pytest.mark.parametrize("radius", [5.0, 7.7, 12.0])
    @pytest.mark.parametrize(
        ("share", "width", "fall"), [(0.75, 2.0, 1.0), (0.25, 1.6, 1.5), (0.6, 2.2, 1.5), (0.4, 2.0, 3.0)]
    )
    def test_the_disk_is_measured_and_not_the_peak(
        self, radius: float, share: float, width: float, fall: float
    ) -> None:
        patterns = self.patterns(radius, share, width, fall)
        assert find_direct_beam(patterns.mean(0), np.ones((160, 160), bool))[1] < 0.8 * radius
        found = calibrated(Scan(patterns.reshape(6, 6, 160, 160)))
        assert found.disk_radius == pytest.approx(radius, abs=max(0.6, 0.15 * radius))

    @pytest.mark.parametrize("radius", [5.0, 7.7])
    def test_where_a_needle_hides_the_beam_the_other_disks_tell_its_size(self, radius: float) -> None:
        """A thick crystal: the direct disk is no brighter than the others, and nine tenths of the light in a needle."""
        patterns, good = self.patterns(radius, 0.9, 2.2, 1.5, direct=0.14), np.ones((160, 160), bool)
        centre, half = find_direct_beam(patterns.mean(0), good)
        assert edge_of_disk(patterns.mean(0), good, centre, 36, half) == half < 0.6 * radius
        assert calibrated(Scan(patterns.reshape(6, 6, 160, 160))).disk_radius == pytest.approx(radius, rel=0.15)

    def test_the_innermost_reflections_are_no_edge_of_the_beam(self) -> None:
        crystal = st.square(17.0, seed=76, reach=64.7, falloff=23.4, diffracted=0.66)
        made = st.stranger(
            [crystal], st.field(st.deformed(*np.zeros((3, 12, 12)), 20.0)), probe=st.spot(1.8),
            background=st.peaked(4.0), detector=(160, 160), backgrounds=0.05, dose=3e4, contrast=0.3, seed=76,
        )  # fmt: skip
        assert calibrated(Scan(made.counts)).disk_radius < 5.0

    @pytest.mark.parametrize("dark", [0.0, 0.9])
    @pytest.mark.parametrize("radius", [2.0, 7.7])
    def test_a_disk_that_shows_itself_keeps_its_size(self, radius: float, dark: float) -> None:
        """Also where its middle is dark, as in thick crystals, and with reflections around it."""
        mean, good = self.patterns(radius, 0.3, 30.0, 1.0, dark).mean(0), np.ones((160, 160), bool)
        assert edge_of_disk(mean, good, np.array([80.0, 79.0]), 36, radius) == radius

    def test_a_peak_without_disk_keeps_its_size(self) -> None:
        """Spots of a parallel beam have no edge."""
        y, x = np.indices((160, 160))
        mean = 3e3 * np.exp(-0.5 * ((y - 80) ** 2 + (x - 79) ** 2) / 1.3**2) + 50 / (1 + np.hypot(y - 80, x - 79) / 9)
        mean = np.random.default_rng(0).poisson(mean, (36, 160, 160)).mean(0)
        centre, radius = find_direct_beam(mean, np.ones((160, 160), bool))
        assert edge_of_disk(mean, np.ones((160, 160), bool), centre, 36, radius) == radius


def test_a_beam_that_fills_the_edge_of_the_detector_is_refused_in_one_sentence() -> None:
    """Saturated, cut by the detector's edge: what a frame of the bare beam looks like."""
    y, x = np.indices((128, 128))
    mean = 60.0 * (np.hypot(y - 52, x - 12) < 18) + 20 * np.exp(-(((y - 90) / 20) ** 2 + ((x - 10) / 30) ** 2)) + 0.5
    patterns = np.minimum(np.random.default_rng(0).poisson(mean, (4, 2, 128, 128)), 63).astype(np.uint8)
    with pytest.raises(InputError, match="cut by the edge of the detector"):
        calibrated(Scan(patterns))
    assert calibrated(Scan(patterns), centre=(64.0, 64.0)).disk_radius < 128 / 6
