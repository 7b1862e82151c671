"""Dislocations are found where they were put, with their Burgers vectors, and none where there are none."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import cyclestrain as cs
from cyclestrain.affine import rotation
from cyclestrain.cli import main
from cyclestrain.data import Doubt, FloatArray
from cyclestrain.microstructure import LatticeField, find_cores, find_walls, lattice_field
from cyclestrain.microstructure.circuits import circuits, noise_excess
from cyclestrain.simulation.phantoms import edge_dislocation
from strangers import disk, field, hexagonal, peaked, stranger, turn

B = 0.27
"""Length of the shortest lattice vector, positions."""


def gradient(shape: tuple[int, int], *cores: tuple[float, float, float, float]) -> FloatArray:
    """Displacement gradient of isotropic edge dislocations ``(y, x, by, bx)``."""
    place, out = np.stack(np.indices(shape), -1).astype(float), np.zeros((*shape, 2, 2))
    for y, x, by, bx in cores:
        own = rotation(np.arctan2(by, bx))  # takes +x to the Burgers vector
        out += own @ edge_dislocation((place - (y, x)) @ own, float(np.hypot(by, bx)), 0.4) @ own.T
    return np.asarray(out)


def measured(distortion: FloatArray, scatter: float, seed: int, scaled: bool = True) -> LatticeField:
    """A square lattice along the axes of the scan, as it would be measured with this noise of the affine."""
    shape, noise = distortion.shape[:2], np.random.default_rng(seed).normal(size=distortion.shape)
    affine = np.linalg.inv(np.eye(2) + distortion).swapaxes(-1, -2) + scatter * noise
    size = 1 / B if scaled else 1.0
    covariance = np.broadcast_to((size * scatter) ** 2 * np.eye(4), (*shape, 4, 4))
    vectors = size * affine.swapaxes(-1, -2)[..., ::-1, :]  # rows: planes along x, then along y
    return LatticeField(vectors, covariance, np.zeros(shape, int), np.zeros(shape, bool), scaled)


@pytest.mark.parametrize("burgers", [(0.0, B), (0.0, -B), (B, 0.0), (-B, 0.0)])
def test_place_and_burgers_vector(burgers: tuple[float, float]) -> None:
    (core,) = find_cores(measured(gradient((32, 40), (14.3, 22.8, *burgers)), 4e-3, 1))
    assert np.hypot(core.ry - 14.3, core.rx - 22.8) < 1.0
    np.testing.assert_allclose((core.by, core.bx), burgers, atol=1e-3)
    assert (core.second, core.first) == tuple(np.rint(np.array(burgers) / B).astype(int))
    assert abs(core.measured_by - core.by) < 5 * core.sigma + 0.06 * B
    assert abs(core.measured_bx - core.bx) < 5 * core.sigma + 0.06 * B
    assert core.confidence > 0.95


def test_errors_of_the_measured_vector_are_as_large_as_stated() -> None:
    """Of differences between draws: what circuits near a core miss of it is the same in all."""
    distortion = gradient((30, 30), (14.6, 14.4, 0.0, B))
    found = [find_cores(measured(distortion, 3e-3, seed))[0] for seed in range(16)]
    values = np.array([(one.measured_by, one.measured_bx) for one in found if one.circuits == found[0].circuits])
    assert 0.6 < values.std(0).mean() / found[0].sigma < 1.5
    off = np.array([(one.ry - 14.6, one.rx - 14.4) for one in found])
    assert 0.4 < np.sqrt((off**2).mean()) / found[0].place_sigma < 1.5


def test_one_failed_pattern_is_no_dislocation_and_hides_none() -> None:
    """Its error is many times what it states."""
    for core in ((), ((15.3, 16.1, 0.0, B),)):
        lattice = measured(gradient((32, 32), *core), 4e-3, 5)
        lattice.vectors[17, 18] += np.array([[0.3, -0.2], [0.1, 0.4]]) / B
        found = find_cores(lattice)
        assert [(round(one.ry), round(one.rx), round(one.bx / B)) for one in found] == [(15, 16, 1)] * len(core)


def test_cores_that_share_their_circuits_are_told_apart() -> None:
    found = find_cores(measured(gradient((32, 32), (14.2, 16.4, 0.0, B), (18.9, 16.0, 0.0, B)), 6e-3, 4))
    assert sorted((round(one.ry), round(one.rx), round(one.bx / B)) for one in found) == [(14, 16, 1), (19, 16, 1)]


def test_both_of_a_dipole() -> None:
    found = find_cores(measured(gradient((40, 40), (17.2, 20.4, 0.0, B), (24.3, 21.7, 0.0, -B)), 3e-3, 2))
    assert sorted((round(one.ry), round(one.bx / B)) for one in found) == [(17, 1), (24, -1)]


def test_a_wall_turns_the_lattice_as_frank_says() -> None:
    cores = [(y, 30.3, 0.0, B) for y in np.arange(6.2, 60.0, 8.0)]
    lattice = measured(gradient((64, 60), *cores), 2e-3, 3)
    found = find_cores(lattice)
    assert len(found) == len(cores)
    (wall,) = find_walls(found, lattice)
    assert wall.spacing == pytest.approx(8.0, abs=0.15)
    assert wall.direction_deg == pytest.approx(90.0, abs=2.0)
    assert wall.frank_deg == pytest.approx(np.degrees(B / 8), rel=0.03)
    assert abs(wall.measured_deg) == pytest.approx(wall.frank_deg, rel=0.2)  # it ends


@pytest.mark.parametrize("mosaic", [0.0, 1e-3, 5e-3])
@pytest.mark.parametrize("scatter", [5e-3, 1.2e-2])
def test_no_false_alarm_in_ten_thousand_positions(scatter: float, mosaic: float) -> None:
    for seed in range(3):
        tilt = mosaic * np.random.default_rng(seed + 50).normal(size=(64, 64))
        assert find_cores(measured(rotation(tilt) - np.eye(2), scatter, seed)) == ()


def test_a_closure_failure_that_is_no_lattice_vector_is_not_named() -> None:
    assert find_cores(measured(gradient((32, 32), (15.3, 16.1, 0.0, B / 2)), 2e-3, 4)) == ()


def test_without_a_scale_it_is_told_as_measured() -> None:
    (core,) = find_cores(measured(gradient((32, 32), (15.3, 16.1, 0.0, B)), 2e-3, 4, scaled=False))
    assert (core.first, core.second) == (0, 0)
    assert core.bx == pytest.approx(B, abs=0.03)


@pytest.fixture(scope="module")
def mapped() -> xr.Dataset:
    """A drawn scan with an edge dislocation along a lattice vector of a hexagonal crystal; the step is 1 nm."""
    turned = turn(np.radians(17.0))
    along = turned @ np.array([-B / 2, B * np.sqrt(3) / 2])  # dual to the second reflection
    distortion = gradient((26, 26), (12.7, 13.2, *along))
    made = stranger(
        [hexagonal(18.0, seed=3)], field((np.eye(2) + distortion) @ turned), probe=disk(4.0), background=peaked(12.0),
        backgrounds=0.4, seed=6,
    )  # fmt: skip
    pixel = 1 / (B * np.sqrt(3) / 2) / 18.0
    return cs.map(made.counts, ellipse=(1, 0), step="1nm", pixel=f"{pixel}/nm").assign_attrs(truth=along)


def test_from_a_scan_to_the_table(mapped: xr.Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from cyclestrain.result import load_result, save_result

    file, table, picture = tmp_path / "strain.nc", tmp_path / "cores.csv", tmp_path / "cores.png"
    save_result(mapped, file)
    assert main(["defects", str(file), "-o", str(table), "--figure", str(picture)]) == 0
    (row,) = csv.DictReader(table.read_text().splitlines())
    assert list(row)[:6] == ["ry", "rx", "by", "bx", "sigma", "confidence"]
    assert np.hypot(float(row["ry"]) - 12.7, float(row["rx"]) - 13.2) < 1.0
    np.testing.assert_allclose((float(row["by"]), float(row["bx"])), mapped.attrs["truth"], atol=0.01)
    assert picture.stat().st_size > 1e4
    assert "--scan-rotation" in capsys.readouterr().out  # what was taken for granted is said
    assert main(["defects", str(file), "-o", str(tmp_path / "all.nc")]) == 0
    stored = load_result(tmp_path / "all.nc")
    assert stored.sizes["core"] == 1
    total = stored["alpha_13"].sel(my=slice(8, 18), mx=slice(8, 18)).sum()
    assert float(total) == pytest.approx(mapped.attrs["truth"][1], abs=0.05)


def test_the_figure_names_the_axes_of_its_arrows(mapped: xr.Dataset) -> None:
    from cyclestrain.figures import dislocation_figure

    turned_scan = mapped.assign_attrs(scan_rotation_deg=30.0)
    drawn = dislocation_figure(turned_scan, cs.defects(turned_scan).dataset)
    words = [text.get_text() for text in drawn.texts]
    assert "arrow axes:\nscan" in words
    ends = {text.get_text(): text.get_position() for axes in drawn.axes for text in axes.texts}
    assert ends["x"][1] < ends["y"][1]  # along the picture, not turned with the detector
    assert ends["x"][1] == pytest.approx(0.1)


def on_another_detector(maps: xr.Dataset, degrees: float, mirrored: bool) -> xr.Dataset:
    """The same scan as a detector would have recorded it that is turned, and perhaps mirrored, against the scan."""
    mirror, out = np.diag([-1.0 if mirrored else 1.0, 1.0]), maps.copy(deep=True)
    turned = rotation(np.radians(degrees)) @ mirror
    upper, whole = np.triu_indices(4), np.kron(turned, mirror)
    for name in ("affine", "affine_raw"):
        out[name].values[:] = turned @ maps[name].values @ mirror
        covariance = np.zeros((*maps["class"].shape, 4, 4))
        triangle = maps[f"{name}_covariance"].values
        covariance[..., upper[0], upper[1]] = covariance[..., upper[1], upper[0]] = triangle
        out[f"{name}_covariance"].values[:] = (whole @ covariance @ whole.T)[..., upper[0], upper[1]]
    out["basis"].values[:] = mirror @ maps["basis"].values
    out["operators"].values[:] = mirror @ maps["operators"].values @ mirror
    return out.assign_attrs(scan_rotation_deg=degrees, scan_mirrored=int(mirrored))


@pytest.mark.parametrize(("degrees", "mirrored"), [(0.0, False), (50.0, False), (-110.0, True)])
def test_axes_of_the_scan(mapped: xr.Dataset, degrees: float, mirrored: bool) -> None:
    """However the detector stands, the scan sees the same crystal from its own axes."""
    (before,), (after,) = cs.defects(mapped).cores, cs.defects(on_another_detector(mapped, degrees, mirrored)).cores
    assert (after.ry, after.rx) == pytest.approx((before.ry, before.rx), abs=0.05)
    assert (after.by, after.bx) == pytest.approx((before.by, before.bx), abs=1.5e-4)  # of .27
    assert (after.measured_by, after.measured_bx) == pytest.approx((before.measured_by, before.measured_bx), abs=2e-3)


def test_a_spoilt_position_is_filled_in_from_around_it(mapped: xr.Dataset) -> None:
    spoilt = mapped.copy(deep=True)
    spoilt["affine_raw"].values[12, 16] += 0.2
    spoilt["doubt"].values[12, 16] |= int(Doubt.MIXTURE)
    assert np.argwhere(lattice_field(spoilt).filled).tolist() == [[12, 16]]
    assert (lattice_field(spoilt).area[10:15, 14:19] >= 0).all()
    (before,), (after,) = cs.defects(mapped).cores, cs.defects(spoilt).cores
    assert (after.by, after.bx) == pytest.approx((before.by, before.bx), abs=1e-4)


def test_scatter_beyond_the_noise_is_measured() -> None:
    """A circuit of side 1 has a variance of 2 s^2 by the noise s of an affine, and m^2 by mosaic of m radians."""
    tilt = 8e-3 * np.random.default_rng(9).normal(size=(40, 40))
    for distortion, expected in ((np.zeros((40, 40, 2, 2)), 1.0), (rotation(tilt) - np.eye(2), 3.0)):
        assert np.median(noise_excess(circuits(measured(distortion, 4e-3, 8), 1))) == pytest.approx(expected, rel=0.15)


def test_what_is_not_known_is_said(mapped: xr.Dataset) -> None:
    unscaled = mapped.copy()
    unscaled.attrs = {k: v for k, v in mapped.attrs.items() if not k.startswith("reciprocal_step")}
    assert any("--pixel" in note for note in cs.defects(unscaled).notes)
