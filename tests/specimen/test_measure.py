"""Laws of the maps: tilt in the axes of the detector, what is open is told, and a scan at known tilts of the stage."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import cyclestrain as cs
from cyclestrain.affine import rotation
from cyclestrain.data import FloatArray
from cyclestrain.specimen import Axes, Caution, Library, Measured, Zone, fit_library, measure_specimen
from cyclestrain.specimen.bloch import intensities
from cyclestrain.specimen.crystal import Placement, ScanLibrary, _ways_to_lie
from cyclestrain.specimen.fitting import Found, library_misfit
from cyclestrain.specimen.matching import Match
from cyclestrain.specimen.measure import _fill, _Maps, _open_sign
from cyclestrain.specimen.placing import best_placement
from cyclestrain.strain import known_cells

AXES = Axes((15.0, 25.0, 1.0), (3e-3, 1e-3))
SCALE, RADIUS, TURN = 12.0, 4.0, 0.4
"""Pixels of 1/nm, radius of the disks in pixels, and angle from the crystal's axes to those of the detector."""
APERTURE = 0.00084


def silicon(vibration: float) -> Zone:
    (cell,) = known_cells("a=5.431,structure=diamond,zone=110,elements=Si")
    return Zone(cell, vibration, 200e3)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _keep_libraries_apart(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


def scan(points: FloatArray, angles: FloatArray, vibration: float) -> tuple[xr.Dataset, xr.Dataset]:
    """A result of silicon and its intensities, 1 % noise, at thickness and tilt in the crystal and turned by angles."""
    pytest.importorskip("abtem")
    library = Library.computed(silicon(vibration), Axes(AXES.thickness, (4e-3, 1e-3)), APERTURE, 9.0)
    bright = library.at(points)[0] * 1e5
    sigma = 0.01 * bright + 5.0
    value = bright + sigma * np.random.default_rng(0).normal(size=bright.shape)
    shape, n_g = (len(points) // 4, 4), value.shape[1]
    vectors = SCALE * library.vectors @ rotation(TURN).T
    opposite = np.linalg.norm(vectors[:, None] + vectors[None], axis=-1).argmin(1)
    found = xr.Dataset(
        {
            "intensity": (("ry", "rx", "g"), value.reshape(*shape, n_g)),
            "intensity_sigma": (("ry", "rx", "g"), sigma.reshape(*shape, n_g)),
            "labelled_affine": (("ry", "rx", "row", "column"), rotation(angles).reshape(*shape, 2, 2)),
        },
        coords={
            "g_class": ("g", np.zeros(n_g, int)), "g_y": ("g", vectors[:, 0]), "g_x": ("g", vectors[:, 1]),
            "g_friedel": ("g", opposite),
        },
    )  # fmt: skip
    return xr.Dataset(coords={"ry": np.arange(shape[0]), "rx": np.arange(4)}), found


def test_tilt_is_in_the_axes_of_the_detector_and_what_is_beyond_the_library_is_told() -> None:
    rng, n = np.random.default_rng(1), 40
    points = np.stack([rng.uniform(17, 23, n), *rng.uniform(-2e-3, 2e-3, (2, n))], 1)
    points[-4:, 1] = 3.8e-3
    angles = rng.uniform(-0.1, 0.1, n)
    maps, data = scan(points, angles, vibration=0.5)
    found = measure_specimen(maps, data, silicon(0.5), AXES, np.array([RADIUS]), vibration=0.5)
    expected = np.einsum("nij,nj->ni", rotation(angles + TURN), points[:, 1:])
    tilt = np.stack([found["tilt_y"].values.ravel(), found["tilt_x"].values.ravel()], 1)
    sigma = np.stack([found["tilt_y_sigma"].values.ravel(), found["tilt_x_sigma"].values.ravel()], 1)
    good = found["valid"].values.ravel()
    assert good[:-4].mean() > 0.9
    assert np.abs((tilt - expected) / sigma)[good].max() < 4.5
    assert np.abs(tilt - expected)[good].max() < 2e-4
    error = (found["thickness"].values.ravel() - points[:, 0]) / found["thickness_sigma"].values.ravel()
    assert np.abs(error[good]).max() < 4.5
    assert not good[-4:].any()
    assert (found["caution"].values.ravel()[-4:] & int(Caution.EDGE)).any()


def test_vibration_is_found_from_the_scan() -> None:
    rng, n = np.random.default_rng(2), 24
    points = np.stack([rng.uniform(17, 23, n), *rng.uniform(-2e-3, 2e-3, (2, n))], 1)
    maps, data = scan(points, np.zeros(n), vibration=0.9)
    found = measure_specimen(maps, data, silicon(0.5), AXES, np.array([RADIUS]))
    assert float(found.attrs["class_0"].split()[1]) == pytest.approx(0.9, abs=0.15)


def test_a_library_is_the_mean_over_the_aperture() -> None:
    pytest.importorskip("abtem")
    zone, wide = silicon(0.5), 2e-3
    made = Library.computed(zone, Axes((20.0, 21.0, 1.0), (1e-3, 5e-4)), wide, 9.0)
    radius, angle = np.meshgrid(wide * np.sqrt((np.arange(10) + 0.5) / 10), 2 * np.pi * np.arange(24) / 24)
    inside = np.stack([radius * np.sin(angle), radius * np.cos(angle)], -1).reshape(-1, 2)
    waves, alone = (
        intensities(zone, np.array([200.0]), directions, len(made.hkl) + 1)[0, 0, :, 1:].mean(0)
        for directions in (inside, np.zeros((1, 2)))
    )
    found = made.at(np.array([[20.0, 0.0, 0.0]]))[0][0]
    np.testing.assert_allclose(found, waves, rtol=0.02)
    assert np.abs(alone - waves).max() > 30 * np.abs(found - waves).max()


def symmetric_library() -> Library:
    """Brightness does not tell the sign of the first tilt."""
    t, y, x = np.meshgrid(np.arange(10.0, 21.0), 5e-4 * np.arange(-6, 7), 5e-4 * np.arange(-6, 7), indexing="ij")
    each = [1 + 0.1 * t, 2 + (y / 1e-3) ** 2, 2 + x / 2e-3, 3 - x / 2e-3 + 0.05 * t, 1 + 0.5 * (y / 1e-3) ** 2 + 0 * x]
    value = np.stack(each, -1).astype(np.float32)
    grid = (t[:, 0, 0], y[0, :, 0], x[0, 0])
    return Library.tabulated(np.zeros((5, 3), int), np.eye(5)[:, :2] + 1.0, grid, value)


def test_two_explanations_that_are_as_good_are_in_sigma() -> None:
    library = symmetric_library()
    mean = 1e4 * library.at(np.array([[15.0, 1e-3, 5e-4]]))[0]
    found = fit_library(Measured(mean, np.full(mean.shape, 20.0)), library, 0.0)
    np.testing.assert_allclose(np.sort(found.parameters[0, :2, 1]), [-1e-3, 1e-3], atol=2e-5)
    assert np.sqrt(found.covariance[0, 1, 1]) == pytest.approx(np.sqrt(0.5) * 2e-3, rel=0.05)
    assert np.sqrt(found.covariance[0, 2, 2]) < 1e-4


def test_another_tilt_that_explains_it_as_well_is_a_caution() -> None:
    library = symmetric_library()
    mean = 1e4 * library.at(np.array([[15.0, 1e-3, 5e-4], [15.0, 0.0, 5e-4]]))[0]
    place = Placement(Match(np.eye(2), 1.0, np.arange(5)), library)
    laid = ScanLibrary((place,), np.ones(5, bool), 0.5, 0.0, 1e-3, None, np.zeros(len(library.grid[0])))
    maps = _Maps.blank(2)
    _fill(maps, np.arange(2), Measured(mean, np.full(mean.shape, 20.0)), laid, np.tile(np.eye(2), (2, 1, 1)))
    assert maps.caution[0] & Caution.COMPETING
    np.testing.assert_allclose(maps.tilt[0] + maps.rival_tilt[0], [0.0, 1e-3], atol=5e-5)
    assert not maps.caution[1] & Caution.COMPETING


def test_a_sign_is_open_near_zero_and_where_the_other_one_explains_it_as_well() -> None:
    parameters = np.zeros((3, 1, 4))
    parameters[:, 0, 3] = [1.0, 1.0, 0.05]
    opposite, one = np.array([0.3, 1e-5, 1e-5]), np.ones(3)
    found = Found(parameters, one[:, None], np.zeros((3, 4, 4)), one, np.ones(3, bool), 0 * one, opposite)
    assert _open_sign(found, np.full(3, 0.05)).tolist() == [True, False, True]


def test_another_way_to_lay_the_crystal_is_told_if_it_says_another_tilt() -> None:
    library = symmetric_library()
    points = np.array([[15.0, 0.0, 5e-4], [14.0, 0.0, 1e-3], [16.0, 0.0, 1.2e-3]])
    mean = 1e4 * library.at(points)[0]
    data = Measured(mean, np.full(mean.shape, 20.0))
    one, same, other = (Match(turn, 1.0, np.arange(5)) for turn in (np.eye(2), np.diag([-1.0, 1.0]), -np.eye(2)))
    _, rival = _ways_to_lie(data, library, [one, other])
    assert rival is not None
    assert _ways_to_lie(data, library, [one, same])[1] is None


@pytest.mark.parametrize(("axis", "lifted"), [(0.0, (1.0, 0.0)), (90.0, (0.0, -1.0))])
def test_a_slope_has_the_sign_that_the_tilts_of_the_stage_give_it(axis: float, lifted: tuple[float, float]) -> None:
    """Lengths along the lifted direction shrink with the cosine of stage and slope together, which lie in one plane."""
    slope, results, way = np.deg2rad(4.0), [], np.array(lifted)
    for stage in np.deg2rad([-12.0, 0.0, 12.0]):
        strain = np.outer(way, way) * (np.cos(slope + stage) / np.cos(stage) - 1)
        names = {"eyy": strain[0, 0], "exx": strain[1, 1], "exy": strain[0, 1], "rotation": 0.0}
        variables = {name: (("ry", "rx"), np.full((2, 3), value)) for name, value in names.items()}
        variables |= {f"{name}_sigma": (("ry", "rx"), np.full((2, 3), 1e-4)) for name in names}
        variables["valid"] = (("ry", "rx"), np.ones((2, 3), bool))
        results.append(xr.Dataset(variables, coords={"ry": np.arange(2), "rx": np.arange(3)}))
    found = cs.tilt_series(results, tilts=[-12.0, 0.0, 12.0], tilt_axis=axis)
    for name, part in zip(("slope_y", "slope_x"), lifted, strict=True):
        np.testing.assert_allclose(found[name], part * np.tan(slope), atol=1e-3)
    np.testing.assert_allclose(found["exx"], 0.0, atol=1e-4)
    assert found["valid"].all()
    alone = cs.tilt_series(results[1:2], tilts=[0.0])
    assert alone["foreshortened"].all()
    np.testing.assert_allclose(alone["slope_bound"], np.tan(slope), rtol=0.1)


def polar_library() -> Library:
    """Pairs of reflections along both axes of a square; the displacement makes those along x unequal."""
    t, y, x, d = np.meshgrid(
        np.arange(10.0, 21.0), 1e-3 * np.arange(-3, 4), 1e-3 * np.arange(-3, 4), np.linspace(-1, 1, 5), indexing="ij"
    )
    vectors = np.array([[0.0, 1.0], [0.0, -1.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0], [2.0, 0], [-2.0, 0]])
    lean = 100 * (vectors @ np.stack([y, x]).reshape(2, -1)).T
    polar = d.reshape(-1, 1) * np.array([0.3, -0.3, 0.1, 0.1, -0.5, 0.5, 0.2, 0.2])
    value = (2 + np.sin(0.3 * t.reshape(-1, 1) * np.hypot(*vectors.T))) * np.exp(lean) + polar
    grid = (t[:, 0, 0, 0], y[0, :, 0, 0], x[0, 0, :, 0], d[0, 0, 0])
    made = value.reshape(*t.shape, 8).astype(np.float32)
    return Library.tabulated(np.zeros((8, 3), int), vectors, grid, made, np.array([0.0, 1.0]))


def test_the_polar_axis_is_found_at_every_position_where_the_lattice_does_not_tell_it() -> None:
    library, quarter = polar_library(), np.array([[0.0, 1.0], [-1.0, 0.0]])
    matches = []
    for turn in (np.eye(2), quarter, -np.eye(2), -quarter):
        apart = np.linalg.norm(library.vectors[:, None] - library.vectors @ turn.T, axis=-1)
        matches.append(Match(turn, 1.0, apart.argmin(1)))
    here = np.array([[15.0, 1e-3, -5e-4, 0.8], [14.0, 0.0, 1e-3, -0.7], [16.0, -1e-3, 0.0, 0.0]])
    along = [1e4 * library.only(match.reflections).at(here)[0] for match in matches[:2]]
    data = Measured(np.concatenate(along), np.full((6, 8), 20.0))
    chosen, _ = _ways_to_lie(data, library, matches)
    assert len(chosen) == 2
    placements = tuple(Placement(match, library.only(match.reflections)) for match in chosen)
    each = [one.library for one in placements]
    assert library_misfit(data, each) < 0.5 * library_misfit(data, each[:1])
    found, arrow = best_placement([fit_library(data, one.library, 0.01) for one in placements], placements)
    assert arrow is not None
    expected = np.concatenate([here[:, 3:] * (match.turn @ [0.0, 1.0]) for match in matches[:2]])
    np.testing.assert_allclose(found.parameters[:, 0, 3:] * arrow, expected, atol=0.05)
    np.testing.assert_allclose(found.parameters[:3, 0, 1:3], here[:, 1:3], atol=2e-4)
    np.testing.assert_allclose(found.parameters[3:, 0, 1:3], here[:, 1:3] @ quarter.T, atol=2e-4)
    polar = np.array([True, True, False, True, True, False])
    assert (found.opposite[polar] < 1e-3).all()
    assert (found.opposite[~polar] > 0.2).all()  # no axis where there is no displacement


@pytest.mark.parametrize("misfit", [0.04, 0.2])
def test_a_library_that_is_far_off_says_nothing(misfit: float) -> None:
    library = symmetric_library()
    mean = 1e4 * library.at(np.array([[15.0, 0.0, 5e-4]]))[0]
    place = Placement(Match(np.eye(2), 1.0, np.arange(5)), library)
    laid = ScanLibrary((place,), np.ones(5, bool), 0.5, misfit, 1e-3, None, np.zeros(len(library.grid[0])))
    maps = _Maps.blank(1)
    _fill(maps, np.arange(1), Measured(mean, np.full(mean.shape, 1.0)), laid, np.eye(2)[None])
    thickness, sigma = maps.thickness[0]
    assert sigma >= 0.005 * thickness
    assert bool(maps.caution[0] & Caution.MISFIT) == (misfit > 0.1)


def test_surfaces_that_nobody_knows_are_in_sigma() -> None:
    """Crystals that begin between other layers: their displacement is off, by no more than sigma says."""
    library, n = polar_library(), 50
    rng = np.random.default_rng(3)
    change = np.zeros((2, *library.intensity.shape), np.float16)
    change[0, ..., :2] = [0.05, -0.05]  # as a displacement does
    change[1, ..., 2:4] = 0.02
    known = dataclasses.replace(library, surfaces=change)
    points = np.tile([15.0, 0.0, 0.0, 0.6], (n, 1)) + rng.uniform(-1, 1, (n, 4)) * [2, 1e-3, 1e-3, 0.2]
    height = rng.uniform(0, 2 * np.pi, (n, 1))
    first, second = np.moveaxis(known.by_surfaces(points), 1, 0)
    mean = 1e4 * (library.at(points)[0] + np.cos(height) * first + np.sin(height) * second)
    data = Measured(mean + 20.0 * rng.normal(size=mean.shape), np.full(mean.shape, 20.0))

    misfit = library_misfit(data, [library])

    def score(one: Library) -> FloatArray:
        found = fit_library(data, one, misfit)
        error = found.parameters[:, 0, 3] - points[:, 3]
        return np.asarray(error / np.sqrt(found.covariance[:, 3, 3]))

    without, beside = (np.sqrt((score(one) ** 2).mean()) for one in (library, known))
    assert without > 1.25
    assert 0.6 < beside < 1.2


def test_nothing_is_valid_where_higher_laue_zones_take_much_not_even_what_looks_thin() -> None:
    library = symmetric_library()
    mean = 1e4 * library.at(np.array([[11.0, 1e-3, 5e-4], [18.0, 0.0, 5e-4], [18.0, 0.0, 5e-4]]))[0]
    place = Placement(Match(np.eye(2), 1.0, np.arange(5)), library)
    for most, bad in ((0.09, False), (0.2, True)):
        share = np.linspace(0.0, most, len(library.grid[0]))
        laid = ScanLibrary((place,), np.ones(5, bool), 0.5, 0.0, 1e-3, None, share)
        maps = _Maps.blank(3)
        _fill(maps, np.arange(3), Measured(mean, np.full(mean.shape, 20.0)), laid, np.tile(np.eye(2), (3, 1, 1)))
        assert ((maps.caution & Caution.MISFIT > 0) == bad).all()
