"""From patterns to strain maps as a user asks for them, against the simulated truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr

import cyclestrain as cs
from cyclestrain.affine import left_polar, right_polar, rotation
from cyclestrain.boundaries import Sides
from cyclestrain.cli import main
from cyclestrain.evaluation import Accuracy, compare, relative_truth
from cyclestrain.result import load_group, load_result
from cyclestrain.simulation import polycrystal, ripple, two_phase, uniform
from e2e.conftest import QUICK, ROUND, Mapped, largest_grain, mapped

COMPONENTS = ("exx", "eyy", "exy", "rotation")


def interior_z(one: Mapped, suffix: str = "_raw") -> np.ndarray:
    """Error over sigma of all interior positions, shape ``(4, n)``."""
    expected, inside = relative_truth(one.maps, one.truth, suffix), one.truth["interior"].values
    z = []
    for name in COMPONENTS:
        error = (one.maps[name + suffix] - expected[name]).values[inside]
        if name == "rotation":
            error = (error + np.pi / 6) % (np.pi / 3) - np.pi / 6
        z.append(error / one.maps[f"{name}{suffix}_sigma"].values[inside])
    return np.array(z)


@pytest.fixture(scope="module")
def moving() -> Mapped:
    """The beam centre is off by some pixels and drifts; the reference is picked."""
    made = polycrystal(
        **{**QUICK, "scan": (16, 16), "grain_size": 80.0}, background=0.25, seed=4, centre_offset=(5.0, -3.0), drift=3.0
    )
    return Mapped(made, cs.map(made.scan, ellipse=ROUND), Path())


class TestAccuracy:
    def test_every_interior_position_is_measured(self, usual: Mapped) -> None:
        inside = usual.truth["interior"].values
        assert usual.maps["valid"].values[inside].all()
        assert usual.maps["sample"].values[inside].all()
        assert compare(usual.maps, usual.truth, "raw").failures == 0

    def test_raw_errors_are_as_large_as_stated(self, usual: Mapped) -> None:
        z = interior_z(usual)
        assert np.abs(z).max() < 5.5
        std = z.std(1)
        assert (std > 0.85).all()
        assert (std < 1.2).all()

    def test_context_is_at_least_as_good_and_honest(self, usual: Mapped) -> None:
        raw, best = (compare(usual.maps, usual.truth, estimate) for estimate in ("raw", ""))
        for one, other in zip(best.components, raw.components, strict=True):
            assert one.mae_interior <= 1.02 * other.mae_interior
            assert one.mae <= 1.1 * other.mae
        z = interior_z(usual, "")
        assert (z.std(1) > 0.5).all()
        assert (z.std(1) < 1.5).all()

    def test_bias_of_a_grain_is_within_its_noise(self, usual: Mapped) -> None:
        accuracy = compare(usual.maps, usual.truth, "raw")
        assert accuracy.n_grains >= 2
        for component in accuracy.components[:3]:
            # Fifty positions or more in every grain, and as many in the reference.
            assert component.bias_rms < 2.5 * component.scatter / np.sqrt(50)

    def test_beam_centre(self, moving: Mapped) -> None:
        inside = moving.truth["interior"].values
        for name in ("centre_y", "centre_x"):
            error = (moving.maps[name] - moving.truth[name]).values[inside]
            assert np.abs(error).max() < 0.25
            assert abs(error.mean()) < 0.02
        assert compare(moving.maps, moving.truth, "raw").failures == 0
        std = interior_z(moving).std(1)
        assert (std > 0.8).all()
        assert (std < 1.25).all()

    def test_without_noise_next_to_nothing_is_left(self, tmp_path: Path) -> None:
        clean = mapped(tmp_path, background=0.0, seed=5, scan=(16, 16))
        accuracy = compare(clean.maps, clean.truth, "raw")
        assert accuracy.failures == 0
        assert max(component.mae_interior for component in accuracy.components[:3]) < 3e-4

    @pytest.mark.parametrize("lattice", ["square", "oblique"])
    def test_other_lattices_without_a_setting(self, lattice: str, tmp_path: Path) -> None:
        other = mapped(tmp_path, background=0.25, seed=6, lattice=lattice, scan=(14, 14), grain_size=70.0)
        accuracy = compare(other.maps, other.truth, "raw")
        assert accuracy.failures == 0
        assert other.maps.attrs["symmetry"] == {"square": [4], "oblique": [2]}[lattice]
        assert 0.75 < accuracy.exx.z_std < 1.3

    def test_a_slowly_varying_field_is_followed(self) -> None:
        made = ripple(scan=(10, 24), detector=(128, 128), radius=3.0, background=0.25, amplitude=0.012, period=20.0)
        maps = cs.map(made.scan, reference="0:10,0:24")
        expected = relative_truth(maps, made.truth)
        for name in ("exx", "eyy", "exy"):
            slope = np.polyfit(expected[name].values.ravel(), maps[f"{name}_raw"].values.ravel(), 1)[0]
            assert slope == pytest.approx(1.0, abs=0.05)
        accuracy = compare(maps, made.truth)
        assert accuracy.exx.mae_interior <= 1.02 * compare(maps, made.truth, "raw").exx.mae_interior


class TestBoundaries:
    def test_shares_are_as_right_as_they_say(self, usual: Mapped) -> None:
        maps, truth = usual.maps, usual.truth
        several = (maps["share"].values < 1) & maps["valid"].values
        assert several.sum() > 30
        error = (maps["share"] - truth["share"]).values[several] / maps["share_sigma"].values[several]
        assert 0.8 < error.std() < 1.25
        halves = several & (truth["share"].values < 0.8)
        assert halves.sum() > 10
        assert (maps["share"].values[truth["interior"].values] > 0.9).all()
        assert (maps["share"].values[truth["interior"].values] == 1).mean() > 0.98

    def test_strain_is_that_of_the_blend(self, usual: Mapped) -> None:
        """As right as stated, and better than the dominant crystal's by far."""
        expected, valid = relative_truth(usual.maps, usual.truth), usual.maps["valid"].values
        edge = ~usual.truth["interior"].values & valid
        z, errors = [], []
        for name in COMPONENTS[:3]:
            error = (usual.maps[name] - expected[name]).values[edge]
            z.append(error / usual.maps[f"{name}_sigma"].values[edge])
            errors.append(np.abs(error).mean() / np.abs(usual.maps[f"{name}_raw"] - expected[name]).values[edge].mean())
        assert 0.75 < np.std(z) < 1.3
        assert max(errors) < 0.5

    def test_only_mixtures_are_touched(self, usual: Mapped, monkeypatch: pytest.MonkeyPatch) -> None:
        within = Sides.within
        monkeypatch.setattr(Sides, "within", lambda sides, *_: within(sides, 0, -1))  # nothing is near an edge
        plain = cs.map(usual.made.scan, reference=str(usual.reference), ellipse=ROUND)
        assert (plain["share"] == 1).all()
        alone = usual.maps["share"].values == 1
        far = usual.maps["share_sigma"].values == 0
        for name in COMPONENTS:
            np.testing.assert_allclose(usual.maps[name].values[alone], plain[name].values[alone], rtol=0, atol=1e-14)
            np.testing.assert_allclose(
                usual.maps[f"{name}_raw"].values, plain[f"{name}_raw"].values, rtol=0, atol=1e-14
            )
            np.testing.assert_array_equal(usual.maps[f"{name}_sigma"].values[far], plain[f"{name}_sigma"].values[far])

    def test_a_bent_crystal_has_none(self) -> None:
        made = ripple(scan=(12, 30), detector=(128, 128), radius=3.0, background=0.5, period=10.0, bend_deg=6.0)
        assert (cs.map(made.scan)["share"] == 1).all()


@pytest.fixture(scope="module")
def two() -> Mapped:
    """Two phases in vacuum."""
    made = two_phase(
        scan=(22, 22), detector=(128, 128), radius=3.0, background=0.2, seed=2, grain_size=70.0, sample_size=0.9
    )
    return Mapped(made, cs.map(made.scan, ellipse=ROUND), Path())


class TestVacuumAndPhases:
    def test_vacuum_is_no_sample(self, two: Mapped) -> None:
        label = two.truth["class"].values
        outside = label < 0
        padded = np.pad(outside, 1, constant_values=True)
        deep = np.min([np.roll(padded, s, (0, 1)) for s in np.ndindex(3, 3)], 0)[2:, 2:]
        assert deep.sum() > 20
        sample = two.maps["sample"].values
        assert sample[deep].mean() < 0.03
        empty = ~sample
        assert (two.maps["class"].values[empty] == -1).all()
        assert np.isnan(two.maps["exx"].values[empty]).all()
        assert sample[two.truth["interior"].values].all()

    def test_the_edge_of_the_sample_fills_a_part_of_the_probe(self, two: Mapped) -> None:
        share, valid = two.truth["share"].values, two.maps["valid"].values
        alone = (two.truth["part_crystal"].values[..., 1] == -1) & (two.truth["part_crystal"].values[..., 0] >= 0)
        edge = valid & alone & (share < 0.9)
        assert edge.sum() > 5
        error = (two.maps["share"] - two.truth["share"]).values[edge]
        assert np.abs(error / two.maps["share_sigma"].values[edge]).mean() < 1.5
        assert np.abs(error).mean() < 0.06

    def test_phases_are_told_apart(self, two: Mapped) -> None:
        inside = two.truth["interior"].values
        found, label = two.maps["class"].values[inside], two.truth["class"].values[inside]
        assert len(two.maps.attrs["symmetry"]) == 2
        assert max(np.mean(found == label), np.mean(found == 1 - label)) > 0.98
        assert np.median(two.maps["class_confidence"].values[inside]) > 0.99

    def test_what_is_mostly_vacuum_is_vacuum(self, two: Mapped) -> None:
        vacuum = two.truth["class"].values == -1
        assert (~two.maps["sample"].values[vacuum]).mean() > 0.97
        assert two.maps["sample"].values[two.truth["interior"].values].all()
        assert not two.maps["valid"].values[~two.maps["sample"].values].any()

    def test_each_phase_has_its_own_reference(self, two: Mapped) -> None:
        accuracy: Accuracy = compare(two.maps, two.truth, "raw")
        assert accuracy.failure_share < 0.01
        assert accuracy.exx.mae_interior < 2.5e-3
        reference = two.maps["reference"].values
        assert {int(k) for k in two.maps["class"].values[reference]} == {0, 1}


class TestShapes:
    @pytest.mark.parametrize("scan", [(1, 24), (24, 1), (2, 2)])
    def test_lines_and_few_positions(self, scan: tuple[int, int]) -> None:
        made = uniform(scan=scan, detector=(128, 128), radius=3.0, background=0.1, strain=(0.01, -0.01, 0.0), seed=1)
        maps = cs.map(made.scan)
        assert maps["exx"].shape == scan
        assert maps["valid"].all()
        sigma = float(maps["exx_raw_sigma"].median())
        assert float(np.abs(maps["exx_raw"]).max()) < 6 * sigma

    @pytest.mark.parametrize("detector", [(150, 117)])
    def test_oblong_detectors(self, detector: tuple[int, int]) -> None:
        made = polycrystal(scan=(10, 10), detector=detector, grain_size=50.0, radius=3.0, background=0.2, seed=2)
        accuracy = compare(cs.map(made.scan, ellipse=ROUND), made.truth, "raw")
        assert accuracy.failures == 0
        assert 0.75 < accuracy.exx.z_std < 1.3

    def test_a_blank_pattern_is_invalid_and_alone(self) -> None:
        made = uniform(scan=(8, 8), detector=(128, 128), radius=3.0, background=0.2, seed=1)
        patterns = np.asarray(made.scan.source).copy()
        patterns[3, 4] = 0
        maps = cs.map(patterns, reference="0:3,:")
        expected = np.ones((8, 8), bool)
        expected[3, 4] = False
        np.testing.assert_array_equal(maps["valid"], expected)
        np.testing.assert_array_equal(np.isfinite(maps["exx"]), expected)
        assert not maps["sample"].values[3, 4]

    def test_any_type_of_counts(self) -> None:
        made = uniform(scan=(4, 4), detector=(96, 96), radius=3.0, background=0.1, counts=5e3, seed=1)
        patterns = np.asarray(made.scan.source)
        assert patterns.max() < 256
        known = cs.map(patterns, reference="0:2,:")
        for dtype in (np.uint8, np.float32):
            maps = cs.map(patterns.astype(dtype), reference="0:2,:")
            xr.testing.assert_allclose(maps["exx_raw"], known["exx_raw"], atol=1e-7)


class TestReference:
    def test_automatic_one_is_the_largest_coherent_area(self, moving: Mapped) -> None:
        reference, grain = moving.maps["reference"].values, moving.truth["grain"].values
        inside = reference & moving.truth["interior"].values
        assert np.bincount(grain[inside]).max() / inside.sum() > 0.97  # one grain
        assert inside.sum() > 0.8 * largest_grain(moving.truth).sum()
        assert "largest coherent area" in moving.maps.attrs["reference"]

    def test_region_and_mask_of_it_are_the_same(self, small: Mapped, tmp_path: Path) -> None:
        rows, columns = np.nonzero(largest_grain(small.truth))
        y, x = int(np.median(rows)), int(np.median(columns))
        mask = np.zeros(small.maps["exx"].shape, bool)
        mask[y - 1 : y + 2, x - 1 : x + 2] = True
        np.save(tmp_path / "mask.npy", mask)
        one = cs.map(small.made.scan, reference=f"{y - 1}:{y + 2},{x - 1}:{x + 2}")
        two = cs.map(small.made.scan, reference=str(tmp_path / "mask.npy"))
        xr.testing.assert_equal(one, two)
        assert not (one["reference"].values & ~mask).any()
        assert abs(float(one["exx_raw"].values[one["reference"].values].mean())) < 2e-4

    @pytest.mark.parametrize("reference", ["5", "a:b,c:d", "40:50,0:3", "3:3,0:2", "none.npy"])
    def test_one_that_cannot_be_is_refused_at_once(self, reference: str, small: Mapped) -> None:
        with pytest.raises(cs.InputError, match="reference"):
            cs.map(small.made.scan, reference=reference)


class TestAxes:
    def gradient(self, maps: xr.Dataset) -> np.ndarray:
        """``F_rel`` from the maps in detector axes."""
        yy, xx, xy = (maps[name].values for name in ("eyy_raw", "exx_raw", "exy_raw"))
        stretch = np.stack([np.stack([1 + yy, xy], -1), np.stack([xy, 1 + xx], -1)], -2)
        return stretch @ rotation(maps["rotation_raw"].values)

    def tensor(self, maps: xr.Dataset) -> np.ndarray:
        yy, xx, xy = (maps[name].values for name in ("eyy_raw", "exx_raw", "exy_raw"))
        return np.stack([np.stack([yy, xy], -1), np.stack([xy, xx], -1)], -2)

    def test_scan_axes_turn_the_strain(self, small: Mapped) -> None:
        maps = cs.map(small.made.scan, reference=str(small.reference), ellipse=ROUND, axes="scan", scan_rotation=30.0)
        basis = rotation(np.deg2rad(30.0))
        valid = small.maps["valid"].values
        expected = basis.T @ self.tensor(small.maps) @ basis
        np.testing.assert_allclose(self.tensor(maps)[valid], expected[valid], atol=1e-9)
        np.testing.assert_allclose(maps["rotation_raw"], small.maps["rotation_raw"], atol=1e-9)
        assert maps.attrs["scan_rotation_deg"] == pytest.approx(30.0)

    def test_crystal_axes_are_the_right_stretch(self, small: Mapped) -> None:
        maps = cs.map(small.made.scan, reference=str(small.reference), ellipse=ROUND, axes="crystal")
        valid = small.maps["valid"].values
        stretch = right_polar(self.gradient(small.maps))[0] - np.eye(2)
        basis = rotation(np.deg2rad(maps.attrs["strain_axes_angle_deg"]))
        np.testing.assert_allclose(self.tensor(maps)[valid], (basis.T @ stretch @ basis)[valid], atol=1e-9)
        # Its x axis lies along a first-ring reflection of the reference.
        reference = largest_grain(small.truth)
        turn = left_polar(small.truth["F"].values[reference])[1].mean()
        apart = np.deg2rad(maps.attrs["strain_axes_angle_deg"]) - turn
        assert abs((apart + np.pi / 6) % (np.pi / 3) - np.pi / 6) < np.deg2rad(2.5)

    def test_rotation_of_the_file_is_the_default(self, small: Mapped) -> None:
        from dataclasses import replace

        turned = replace(small.made.scan, scan_rotation=np.deg2rad(30.0))
        given = cs.map(small.made.scan, reference=str(small.reference), ellipse=ROUND, axes="scan", scan_rotation=30.0)
        xr.testing.assert_allclose(cs.map(turned, reference=str(small.reference), ellipse=ROUND, axes="scan"), given)


NAMES = [f"{name}{suffix}" for suffix in ("", "_raw", "_sigma", "_raw_sigma") for name in COMPONENTS] + [
    "class", "class_confidence", "share", "share_sigma", "sample", "valid", "reference", "centre_y", "centre_x", "gain",
    "log_likelihood", "doubt", "class_raw",
]  # fmt: skip
WHOLE = {
    *(f"affine{suffix}" for suffix in ("", "_covariance", "_raw", "_raw_covariance")),
    *(f"reflection_{name}" for name in ("y", "x", "h", "k", "intensity", "spread")),
    *("strain_covariance", "strain_raw_covariance"),
    *("basis", "operators", "background", "probe", "good_pixel"),
    *(f"mixture_{name}" for name in ("position", "source", "vacuum", "amplitude", "covariance", "changed")),
}
"""Beside the maps: what the patterns and another reference are made from."""


class TestResult:
    def test_variables_are_those_that_are_promised(self, small: Mapped) -> None:
        assert set(small.maps.data_vars) == set(NAMES) | WHOLE
        for name, variable in small.maps.data_vars.items():
            assert (variable.dims == ("ry", "rx")) == (name in NAMES), name
            assert variable.attrs.get("long_name"), name
        assert small.maps["valid"].dtype == bool
        assert small.maps["sample"].dtype == bool
        assert small.maps["exx"].attrs["units"] == "1"
        assert small.maps["rotation"].attrs["units"] == "rad"
        for sigma in (f"{name}{suffix}_sigma" for name in COMPONENTS for suffix in ("", "_raw")):
            assert (small.maps[sigma].values[small.maps["valid"].values] > 0).all()

    def test_it_says_where_it_comes_from(self, small: Mapped) -> None:
        attrs = small.maps.attrs
        for name in ("conventions", "axes", "reference", "settings", "calibration", "versions", "input_fingerprint"):
            assert attrs[name]
        assert json.loads(attrs["settings"])["seed"] == 0
        assert set(json.loads(attrs["versions"])) >= {"cyclestrain", "numpy"}
        calibration = json.loads(attrs["calibration"])
        assert calibration["disk_radius"] == pytest.approx(3.0, abs=0.6)
        for choice in ("bad pixels", "beam centre", "ring", "reference"):
            assert choice in attrs["choices"]

    def test_misfit_and_gain_are_those_of_a_perfect_model(self, usual: Mapped) -> None:
        inside = usual.truth["interior"].values
        assert float(np.median(usual.maps["log_likelihood"].values[inside])) == pytest.approx(-0.5, abs=0.03)
        assert float(np.median(usual.maps["gain"].values[inside])) == pytest.approx(1.0, abs=0.03)

    @pytest.mark.parametrize("jobs", [None, 1])
    def test_same_seed_same_result_bit_for_bit(self, jobs: int | None, small: Mapped) -> None:
        """With any number of threads."""
        again = cs.map(small.made.scan, reference=str(small.reference), ellipse=ROUND, jobs=jobs)
        xr.testing.assert_equal(again, small.maps)

    def test_it_does_not_depend_on_how_the_scan_is_read(self, small: Mapped, tmp_path: Path) -> None:
        """From memory, from a file, and in small blocks."""
        np.save(tmp_path / "scan.npy", np.asarray(small.made.scan.source))
        from_file = cs.map(tmp_path / "scan.npy", reference=str(small.reference), ellipse=ROUND)
        for name in ("exx_raw", "eyy_raw", "exy_raw", "rotation_raw", "exx_raw_sigma", "valid"):
            xr.testing.assert_equal(from_file[name], small.maps[name])

    def test_saved_and_loaded_it_is_the_same(self, tmp_path: Path) -> None:
        made = uniform(scan=(5, 6), detector=(128, 128), radius=3.0, background=0.2, seed=1)
        maps = cs.map(made.scan, tmp_path / "strain.nc", reference="0:2,:")
        loaded = load_result(tmp_path / "strain.nc")
        xr.testing.assert_equal(loaded, maps)
        assert [path.name for path in tmp_path.iterdir()] == ["strain.nc"]
        dictionary = load_group(tmp_path / "strain.nc", "dictionary")
        assert {"average", "reflection_y", "reflection_x", "reflection_intensity", "basis", "probe"} <= set(dictionary)
        with h5py.File(tmp_path / "strain.nc") as file:  # any HDF5 tool
            np.testing.assert_array_equal(file["exx"][...], maps["exx"])
            np.testing.assert_array_equal(file["dictionary/probe"][...], dictionary["probe"])

    @pytest.mark.parametrize("until", ["refine", "context"])
    def test_stages_end_where_asked(self, until: str) -> None:
        made = uniform(scan=(6, 6), detector=(128, 128), radius=3.0, background=0.3, seed=1)
        maps = cs.map(made.scan, until=until)  # type: ignore[arg-type]
        assert maps.attrs["stage"] == until
        same = maps["exx"].equals(maps["exx_raw"])
        assert same == (until == "refine")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a simulated scan and its map, made on the command line."""
    home = tmp_path_factory.mktemp("home")
    options = "--scan 8 9 --detector 128 128 --radius 3 --background 0.1 --grain-size 40 --seed 2".split()
    assert main(["simulate", "polycrystal", *options, "-o", str(home / "scan.h5")]) == 0
    assert main(["map", str(home / "scan.h5"), "-o", str(home / "strain.nc")]) == 0
    return home


class TestCommandLine:
    """As a user types it."""

    def test_map_tells_its_choices_and_writes_one_file(self, home: Path, capsys: Any) -> None:
        assert main(["map", str(home / "scan.h5"), "-o", str(home / "again.nc")]) == 0
        told = capsys.readouterr()
        assert "wrote" in told.out
        for choice in ("beam centre", "bad pixels", "ring used", "reflections", "symmetry", "reference"):
            assert choice in told.err
        one, two = load_result(home / "strain.nc"), load_result(home / "again.nc")
        xr.testing.assert_equal(one, two)
        assert sorted(path.name for path in home.iterdir() if not path.name.startswith("f")) == [
            "again.nc", "scan.h5", "strain.nc",
        ]  # fmt: skip

    def test_python_and_shell_give_the_same(self, home: Path) -> None:
        xr.testing.assert_equal(cs.map(home / "scan.h5"), load_result(home / "strain.nc"))

    def test_show_draws_every_figure(self, home: Path) -> None:
        assert main(["show", str(home / "strain.nc"), "-o", str(home / "figures"), "--formats", "png"]) == 0
        names = {path.name for path in (home / "figures").iterdir()}
        assert {"strain.png", "strain_raw.png", "uncertainty.png", "dictionary.png"} <= names
        assert all(path.stat().st_size > 5000 for path in (home / "figures").iterdir())

    def test_info_of_scan_and_result(self, home: Path, capsys: Any) -> None:
        assert main(["info", str(home / "scan.h5")]) == 0
        assert "8 x 9 positions" in capsys.readouterr().out
        assert main(["info", str(home / "strain.nc")]) == 0
        assert "maps of 8 ry x 9 rx" in capsys.readouterr().out

    def test_demo_compares_with_the_truth(self, tmp_path: Path, capsys: Any) -> None:
        assert main(["demo", str(tmp_path / "demo"), "--scan", "12", "12"]) == 0
        told = capsys.readouterr().out
        for line in ("MAE, interior", "bias", "scatter", "std of error/sigma"):
            assert line in told
        assert {"scan.h5", "strain.nc", "strain.png"} <= {path.name for path in (tmp_path / "demo").iterdir()}
        accuracy = compare(load_result(tmp_path / "demo" / "strain.nc"), cs_truth(tmp_path / "demo" / "scan.h5"), "raw")
        assert accuracy.failures == 0


def cs_truth(path: Path) -> xr.Dataset:
    from cyclestrain.simulation import load_truth

    return load_truth(path)


def test_quick_scan_is_the_benchmark_on_a_small_detector() -> None:
    """The scans above are not easier than they look: at least three grains, up to 2 % strain."""
    truth = polycrystal(**QUICK, background=0.25, seed=3).truth
    assert len(np.unique(truth["grain"].values[truth["interior"].values])) >= 3
    assert float(np.abs(truth["exx"]).max()) >= 0.009
