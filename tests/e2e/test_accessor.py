"""``maps.strain``: another reference without a fit, profiles, principal strains, figures, HyperSpy."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import xarray as xr

import cyclestrain as cs
from cyclestrain.errors import InputError
from cyclestrain.pattern import Dictionary
from cyclestrain.result import load_result, save_result
from cyclestrain.result.patterns import stored_entries
from e2e.conftest import ROUND, Mapped

STRAINS = ("exx", "eyy", "exy", "rotation")
MEASURED = [f"{name}{suffix}" for name in STRAINS for suffix in ("", "_raw", "_sigma", "_raw_sigma")]


def same_maps(one: xr.Dataset, other: xr.Dataset) -> None:
    """Strain, uncertainty, validity and doubt agree, up to what single precision of the stored transforms loses."""
    for name in MEASURED:
        np.testing.assert_allclose(one[name], other[name], rtol=2e-4, atol=2e-7, err_msg=name)
    for name in ("valid", "reference", "doubt"):
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    for name in ("reference", "reference_kind", "reference_positions", "choices"):
        assert one.attrs[name] == other.attrs[name]
    assert one.attrs["strain_axes_angle_deg"] == pytest.approx(other.attrs["strain_axes_angle_deg"], abs=1e-5)


class TestRelativeTo:
    def test_as_if_it_had_been_mapped_so(self, usual: Mapped) -> None:
        """With mixtures at the boundaries, and a reference in another, turned grain."""
        grain, inside = usual.truth["grain"].values, usual.truth["interior"].values
        used = set(np.unique(grain[usual.maps["reference"].values]).tolist())
        other = next(k for k in np.unique(grain[inside]).tolist() if k not in used)
        mask = inside & (grain == other)
        direct = cs.map(usual.made.scan, reference=mask, ellipse=ROUND)
        again = usual.maps.strain.relative_to(mask)
        assert (usual.maps["share"].values < 1).sum() > 10
        same_maps(again, direct)
        assert json.loads(again.attrs["settings"]) == json.loads(direct.attrs["settings"]) | {"ellipse": [1.0, 0.0]}

    @pytest.mark.parametrize("axes", ["crystal", "scan"])
    def test_every_axes_and_kind(self, small: Mapped, axes: Any) -> None:
        maps = cs.map(small.made.scan, axes=axes, scan_rotation=20.0)
        same_maps(maps.strain.relative_to("auto"), maps)
        ideal = maps.strain.relative_to("ideal")
        assert ideal.attrs["reference_kind"] == "ideal"
        same_maps(ideal.strain.relative_to("auto"), maps)

    def test_from_the_file_and_back(self, usual: Mapped, tmp_path: Path) -> None:
        save_result(usual.maps, tmp_path / "strain.nc")
        loaded = load_result(tmp_path / "strain.nc")
        again = loaded.strain.relative_to(np.load(usual.reference))
        same_maps(again, usual.maps)
        save_result(again, tmp_path / "again.nc")
        assert load_result(tmp_path / "again.nc").attrs["reference"] == usual.maps.attrs["reference"]

    def test_what_cannot_be_is_said(self, small: Mapped) -> None:
        with pytest.raises(InputError, match="does not lie inside"):
            small.maps.strain.relative_to("0:99,0:99")
        with pytest.raises(InputError, match=r"a part, \(4, 9\), of a result"):
            small.maps.isel(ry=slice(4)).strain.relative_to("auto")
        with pytest.raises(InputError, match=r"--config RESULT\.nc"):
            small.maps.drop_vars("affine_raw").strain.relative_to("auto")
        with pytest.raises(InputError, match="selects 0"):
            small.maps.strain.relative_to(np.zeros((8, 9), bool))
        with pytest.raises(InputError, match="no step"):
            small.maps.strain.relative_to(np.s_[0:4:2, 0:3])


def made_up(exx: np.ndarray, sigma: float = 1e-3, **attrs: Any) -> xr.Dataset:
    maps = {name: (("ry", "rx"), exx * (name == "exx")) for name in STRAINS}
    sigmas = {f"{name}_sigma": (("ry", "rx"), np.full(exx.shape, sigma)) for name in STRAINS}
    raw = {f"{name}_raw{part}": (maps | sigmas)[f"{name}{part}"] for name in STRAINS for part in ("", "_sigma")}
    return xr.Dataset(maps | sigmas | raw, attrs=attrs)


class TestProfile:
    def test_across_a_step(self) -> None:
        exx = np.where(np.arange(20) < 8, 0.0, 0.01) * np.ones((10, 1))
        line = made_up(exx, real_step=0.5, real_step_unit="nm").strain.profile((5, 2), (5, 15), width=3)
        np.testing.assert_allclose(line["exx"], np.where(np.arange(2, 16) < 8, 0.0, 0.01))
        np.testing.assert_array_equal(line["n"], 3)
        np.testing.assert_allclose(line["distance"], 0.5 * np.arange(14))
        assert line["distance"].attrs["units"] == "nm"

    def test_sigma_shrinks_where_patterns_are_independent(self) -> None:
        maps = made_up(np.zeros((10, 20)), sigma=2e-3)
        best, raw = (maps.strain.profile((5, 2), (5, 15), width=5, estimate=kind) for kind in ("", "raw"))
        np.testing.assert_allclose(best["exx_sigma"], 2e-3)
        np.testing.assert_allclose(raw["exx_sigma"], 2e-3 / np.sqrt(5))

    @pytest.mark.parametrize("slope", [(1, 1), (2, -1), (-1, 3)])
    def test_along_any_direction(self, slope: tuple[int, int]) -> None:
        y, x = np.mgrid[:41, :41]
        along = np.array(slope) / np.hypot(*slope)
        maps = made_up(1e-4 * ((y - 20) * along[0] + (x - 20) * along[1]))
        line = maps.strain.profile((20, 20), tuple(20 + 12 * along), width=4)
        assert (line["n"] > 0).all()
        np.testing.assert_allclose(line["exx"], 1e-4 * np.arange(13), atol=0.4e-4)

    def test_rotation_is_averaged_as_an_angle(self) -> None:
        maps = made_up(np.zeros((6, 20)), symmetry=[6])
        period = np.pi / 3
        maps["rotation"] = (("ry", "rx"), np.where(np.arange(6)[:, None] % 2, 0.01, 0.01 + period) * np.ones((1, 20)))
        line = maps.strain.profile((2, 0), (2, 10), width=4)
        away = (line["rotation"].values - 0.01 + period / 2) % period - period / 2
        np.testing.assert_allclose(away, 0, atol=1e-12)

    def test_blank_positions_do_not_count(self) -> None:
        maps = made_up(np.full((10, 20), 0.01))
        maps["valid"] = (("ry", "rx"), np.arange(20) * np.ones((10, 1)) != 6)
        line = maps.strain.profile((5, 2), (5, 10), width=3)
        assert np.isnan(line["exx"].values[4])
        assert line["n"].values.tolist() == [3, 3, 3, 3, 0, 3, 3, 3, 3]
        with pytest.raises(InputError, match="no valid position"):
            maps.strain.profile((5, 6), (9, 6))
        with pytest.raises(InputError, match="two different ends"):
            maps.strain.profile((5, 6), (5, 6))


class TestPrincipal:
    def test_they_are_the_eigenvalues(self) -> None:
        rng = np.random.default_rng(0)
        maps = made_up(np.zeros((5, 6)))
        for name in ("exx", "eyy", "exy"):
            maps[name] = (("ry", "rx"), rng.normal(0, 0.01, (5, 6)))
        found = maps.strain.principal()
        tensor = np.stack([np.stack([maps.exx, maps.exy], -1), np.stack([maps.exy, maps.eyy], -1)], -2)
        values, vectors = np.linalg.eigh(tensor)
        np.testing.assert_allclose(found["smallest"], values[..., 0])
        np.testing.assert_allclose(found["largest"], values[..., 1])
        np.testing.assert_allclose(found["dilation"], values.sum(-1))
        direction = np.stack([np.cos(found["angle"]), np.sin(found["angle"])], -1)
        np.testing.assert_allclose(np.abs((direction * vectors[..., 1]).sum(-1)), 1.0)

    def test_sigma_is_the_scatter_of_noise(self) -> None:
        rng = np.random.default_rng(1)
        maps = made_up(np.zeros((100, 100)), sigma=1e-3)
        for name, middle in (("exx", 0.02), ("eyy", -0.01), ("exy", 0.01)):
            maps[name] = (("ry", "rx"), rng.normal(middle, 1e-3, (100, 100)))
        found = maps.strain.principal()
        for name in ("largest", "smallest", "dilation", "shear", "angle"):
            assert found[name].std() == pytest.approx(float(found[f"{name}_sigma"].mean()), rel=0.05)

    def test_no_direction_without_shear(self) -> None:
        found = made_up(np.zeros((2, 2))).strain.principal()
        np.testing.assert_allclose(found["angle_sigma"], np.pi / np.sqrt(12))


def test_what_is_misspelled_is_said(small: Mapped) -> None:
    """A mask of something else is refused where it is a rectangle as well, and an estimate that is none."""
    maps, wrong = small.maps, np.ones((2, 3), bool)
    with pytest.raises(InputError, match="2 x 3 places"):
        maps.strain.relative_to(wrong)
    for option in ("reference", "sample", "mask"):
        with pytest.raises(InputError, match="2 x 3 places"):
            cs.map(small.made.scan, **{option: wrong})
    for call in (maps.strain.principal, maps.strain.rotation_gradient):
        with pytest.raises(InputError, match="estimate is '' for the best one"):
            call("best")
    with pytest.raises(InputError, match="give its name"):
        cs.report(maps)
    assert len(cs.show(maps, maps="exx").axes) == len(cs.show(maps, maps=("exx",)).axes)


def test_what_is_valid_is_a_crystal(usual: Mapped) -> None:
    assert not (usual.maps.valid & ~usual.maps.sample).any()


def test_a_figure_is_shown_by_a_notebook(small: Mapped) -> None:
    figure = small.maps.strain.show()
    assert figure._repr_png_().startswith(b"\x89PNG")


class Signal2D:
    """Stands in for HyperSpy's where that is not installed: keeps what it was made of."""

    def __init__(self, data: np.ndarray, axes: Any, metadata: Any) -> None:
        self.data, self.axes, self.metadata = data, axes, metadata


def test_hyperspy_signal(small: Mapped, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hyperspy.signals", None)
    with pytest.raises(InputError, match=r"cyclestrain\[hyperspy\]"):
        small.maps.strain.to_hyperspy()
    stand_in = ModuleType("hyperspy.signals")
    stand_in.Signal2D = Signal2D  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hyperspy", ModuleType("hyperspy"))
    monkeypatch.setitem(sys.modules, "hyperspy.signals", stand_in)
    signal = small.maps.strain.to_hyperspy()
    names = signal.metadata["cyclestrain"]["channels"]
    valid = small.maps["valid"].values
    np.testing.assert_array_equal(signal.data[names.index("exx")][valid], small.maps["exx"].values[valid])
    assert [axis["name"] for axis in signal.axes] == ["map", "y", "x"]


def test_a_region_keeps_the_coordinates_of_the_whole_scan(small: Mapped) -> None:
    part = cs.map(small.made.scan, scan_roi="2:8,3:9", reference="0:6,0:6")
    np.testing.assert_array_equal(part["ry"], small.maps["ry"].values[2:8])
    np.testing.assert_array_equal(part["rx"], small.maps["rx"].values[3:9])
    difference = part["centre_y"] - small.maps["centre_y"]  # aligned by their coordinates
    assert difference.shape == (6, 6)
    assert np.abs(difference).max() < 0.5


def test_the_axis_of_the_crystal_is_chosen_and_named(small: Mapped) -> None:
    angles = [
        cs.map(small.made.scan, axes="crystal", along=along, until="refine").attrs["strain_axes_angle_deg"]
        for along in ((1, 0), (2, 0), (0, 1))
    ]
    assert angles[0] == pytest.approx(angles[1])
    assert abs((angles[2] - angles[0] + 30) % 60 - 30) < 2.5  # a hexagonal lattice, strained
    maps = cs.map(small.made.scan, axes="crystal", along=(0, 1), until="refine")
    same_maps(maps.strain.relative_to("auto"), maps)
    assert any("x along (0 1)" in text.get_text() for text in maps.strain.show().texts)


class TestShown:
    """What sessions and notebooks show of the objects."""

    def test_scan(self, small: Mapped) -> None:
        text = repr(small.made.scan)
        assert len(text.splitlines()) < 8
        assert "8 x 9 positions" in text
        assert "<table>" in small.made.scan._repr_html_()

    def test_what_was_learned(self, small: Mapped) -> None:
        (entry,) = stored_entries(small.maps)
        dictionary = Dictionary((entry,), 1.0)
        assert re.fullmatch(r".*Entry\(\d+ reflections, lattice .* px, symmetry 6-fold, .*", repr(dictionary))
        assert len(repr(dictionary)) < 200
        assert "radius 3.0" in repr(entry.probe) or "radius 2.9" in repr(entry.probe)

    def test_result(self, small: Mapped) -> None:
        text = repr(small.maps.strain)
        assert "maps of 8 ry x 9 rx" in text
        assert "median" in text
        assert len(text.splitlines()) < 25
        assert "<table>" in small.maps.strain._repr_html_()
