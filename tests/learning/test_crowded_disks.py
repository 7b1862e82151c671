"""Disks that touch: every one is a node, and what overlaps is doubted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import xarray as xr

import cyclestrain as cs
import strangers as st
from cyclestrain.errors import InputError
from cyclestrain.learning.joint_sums import _deviations
from cyclestrain.learning.plausibility import Plausibility
from cyclestrain.learning.reflections import without_gaps
from cyclestrain.learning.transfer import transfer
from cyclestrain.network.scan import course_of
from cyclestrain.result import expected, stored_entries
from cyclestrain.settings import MapSettings
from laws import simulated_field

RADIUS = 5.0


def average(spacing: float, bright: float, seed: int = 0) -> np.ndarray:
    """An average of disks on a square lattice, every second one (odd h + k) of another brightness."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-60:61, -60:61].astype(float)
    image = 20.0 / (1.0 + (y**2 + x**2) / 900.0)
    n = int(np.ceil(75 / spacing))
    for h in range(-n, n + 1):
        for k in range(-n, n + 1):
            height = 10.0 * (bright if (h + k) % 2 else 1.0) * np.exp(-np.hypot(h, k) * spacing / 60.0)
            image += height * np.clip(RADIUS + 0.5 - np.hypot(y - h * spacing, x - k * spacing), 0, 1)
    return rng.poisson(100 * image) / 100.0


def coarse(spacing: float) -> np.ndarray:
    return np.array([[spacing, spacing], [spacing, -spacing]])


@pytest.mark.parametrize(("spacing", "bright"), [(9.5, 1.0), (10.0, 1.0), (10.0, 0.6), (11.0, 0.6)])
def test_disks_between_the_nodes_are_seen(spacing: float, bright: float) -> None:
    image = average(spacing, bright)
    found = without_gaps(image, np.ones_like(image), coarse(spacing), radius=RADIUS, ring=(15.0, 58.0))
    assert abs(np.linalg.det(found)) == pytest.approx(spacing**2, rel=1e-6)


@pytest.mark.parametrize("spacing", [9.5, 10.0, 11.0, 14.0, 17.0])
def test_nothing_is_between_the_nodes_of_the_right_lattice(spacing: float) -> None:
    image, basis = average(spacing, 1.0), np.diag([spacing, spacing])
    for seed in range(3):
        image = average(spacing, 1.0, seed)
        assert without_gaps(image, np.ones_like(image), basis, radius=RADIUS, ring=(15.0, 58.0)) is basis


@pytest.mark.parametrize("spacing", [10.5, 14.0])
def test_a_lattice_of_every_second_disk_that_is_really_empty_stays(spacing: float) -> None:
    image, basis = average(spacing, 0.0), coarse(spacing)
    assert without_gaps(image, np.ones_like(image), basis, radius=RADIUS, ring=(15.0, 58.0)) is basis


@pytest.mark.parametrize(("spacing", "doubted"), [(9.5, True), (10.4, False), (17.0, False)])
def test_disks_that_overlap_are_doubted(spacing: float, doubted: bool) -> None:
    each = Plausibility(1.0, 40, 1.0, 4.7, RADIUS, 1.0, has_rim=True, is_flat=True, spacing=spacing)
    assert each.disks_overlap == doubted
    assert any("overlap" in text for text in each.faults) == doubted
    assert each.refusal is None


@pytest.mark.parametrize(("misfit", "doubted", "kept"), [(1.0, False, True), (1.1, True, True), (1.31, True, False)])
def test_light_of_overlapping_disks_that_does_not_add_up_is_doubted_or_refused(
    misfit: float, doubted: bool, kept: bool
) -> None:
    each = Plausibility(1.0, 40, 1.0, 5.0, RADIUS, misfit, has_rim=True, is_flat=True, overlaps=True)
    assert any("interfere" in text for text in each.faults) == doubted
    assert (each.refusal is None) == kept


class Overlapping(NamedTuple):
    """A scan whose disks overlap by a third, its maps, and those of a file of them."""

    made: st.Stranger
    maps: xr.Dataset
    stored: xr.Dataset


@pytest.fixture(scope="module")
def overlapping(tmp_path_factory: pytest.TempPathFactory) -> Overlapping:
    phase = st.square(9.8, reach=54.0, seed=6, falloff=40.0)
    number = st.voronoi((10, 10), 2, 5)
    gradients = np.stack([st.deformed(degrees=17.0), st.deformed(0.006, -0.004, 0.002, 14.0)])
    made = st.stranger(
        [phase], st.grains(number, gradients), probe=st.disk(7.0), half=12, background=st.lorentzian(25), seed=5
    )
    file = tmp_path_factory.mktemp("overlapping") / "strain.nc"
    maps = cs.map(made.counts, file, reference=number == 0, ellipse=(1.0, 0.0), progress=False)
    return Overlapping(made, maps, cs.load(file))


def test_disks_that_overlap_by_a_third_reach_the_bound(overlapping: Overlapping) -> None:
    """Every pixel counts once, with all disks that reach it; before, such a scan was refused."""
    made, maps, _ = overlapping
    error = made.errors(maps, "_raw")[:3]
    assert maps["valid"].values.mean() > 0.95
    assert np.sqrt(np.mean(error**2)) < 14e-4  # the bound is 11e-4, of which the reference adds a little
    assert (np.abs(made.z(maps, "_raw")[:3].std(1) - 1) < 0.25).all()


def test_a_result_knows_which_pixels_were_compared(overlapping: Overlapping) -> None:
    (entry,) = stored_entries(overlapping.stored)
    assert entry.overlaps
    assert entry.annulus == tuple(overlapping.maps["annulus"].values[0])
    assert 7.0 < entry.annulus[0] < 14.0 < 54.0 < entry.annulus[1]


def test_what_is_expected_of_overlapping_disks_is_what_was_recorded(overlapping: Overlapping) -> None:
    """To the noise of the counts, also next to the beam, whose own disk is left out, and where brightness is free."""
    made, _, maps = overlapping
    (entry,) = stored_entries(maps)
    free = np.where(np.isfinite(maps["reflection_spread"].values), 0.0, np.nan)
    free[..., 0] += 0.2
    y, x = np.indices(made.counts.shape[2:])
    for result in (maps, maps.assign(reflection_spread=maps["reflection_spread"].copy(data=free))):
        z = []
        for at in ((2, 3), (7, 6), (4, 8)):
            image = expected(result, cs.read(made.counts), *at).values
            radii = np.hypot(y - maps["centre_y"].values[at], x - maps["centre_x"].values[at])
            seen = np.isfinite(image)
            assert not seen[radii < entry.annulus[0]].any()
            z.append(((made.counts[at] - image) / np.sqrt(image))[seen & (radii < 30)])
        assert np.concatenate(z).std() == pytest.approx(1.0, abs=0.05)
        assert abs(np.concatenate(z).mean()) < 0.06


def test_disks_that_do_not_overlap_have_no_annulus() -> None:
    maps = cs.map(simulated_field(np.tile(np.eye(2), (4, 4, 1, 1)), detector=(64, 64)).scan, progress=False)
    assert "annulus" not in maps
    assert stored_entries(maps)[0].annulus is None


def test_an_entry_whose_disks_overlap_is_not_carried_over() -> None:
    """Neither the network nor a model of another scan fits such disks together: both say so instead of fitting them."""
    overlapping: Any = SimpleNamespace(entries=[SimpleNamespace(overlaps=True, reflections=np.array([[9.0, 0.0]]))])
    made = simulated_field(np.tile(np.eye(2), (2, 2, 1, 1)), detector=(64, 64))
    known: Any = SimpleNamespace(dictionary=overlapping, disk_radius=3.0)
    calibration: Any = SimpleNamespace(disk_radius=3.0, centre=np.full((2, 2, 2), 31.5))
    sample: Any = None
    with pytest.raises(InputError, match=r"overlap.*without a model"):
        course_of(made.scan, known, MapSettings())
    with pytest.raises(InputError, match=r"overlap.*leave out the model"):
        transfer(known, made.scan, sample, calibration, seed=0)


def test_a_pattern_without_any_background_has_deviations_of_its_disks() -> None:
    """Nothing tells its level, and nothing has to: the equations were singular."""
    normal, score = np.diag([4.0, 9.0, 1.0]), np.array([2.0, 9.0, -1.0])
    value, variance = _deviations(normal, score, np.zeros(3), 0.0, 3)
    np.testing.assert_allclose(value, [0.5, 1.0, -1.0], rtol=1e-5)
    np.testing.assert_allclose(variance, [0.25, 1 / 9, 1.0], rtol=1e-5)
    nothing, _ = _deviations(np.zeros((3, 3)), np.zeros(3), np.zeros(3), 0.0, 3)
    assert np.isnan(nothing).all()
