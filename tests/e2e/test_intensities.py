"""Intensities of a mapped scan: right, as uncertain as they say, the same reflection over a grain, stored apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import cyclestrain as cs
from cyclestrain.affine import rotation
from cyclestrain.cli import main
from cyclestrain.data import FloatArray
from cyclestrain.result import Transforms, virtual_dark_field
from cyclestrain.strain import parse_reference
from strangers import deformed, disk, field, grains, hexagonal, peaked, square, stranger


def lopsided(h: int, k: int) -> float:
    """Friedel partners differ, as where the crystal is tilted."""
    return 1.5 if h > 0 or (h == 0 and k > 0) else 1.0


def truth_of(maps: xr.Dataset, phase: Any, gradient: FloatArray, counts: float, fold: int = 6) -> FloatArray:
    """Expected counts of every `g`, shape ``(g,)``, in the labelling that fits best."""
    affine = np.median(maps["affine"].values[np.isfinite(maps["exx"].values)], axis=0)
    at, value = phase.reflections @ np.linalg.inv(gradient), np.nanmean(maps["intensity"].values, (0, 1))
    g, options = np.stack([maps["g_y"].values, maps["g_x"].values], 1), []
    for turn in np.arange(fold) * 2 * np.pi / fold:
        apart = np.hypot(*((g @ rotation(turn).T @ affine.T)[:, None] - at[None]).T).T
        options.append(np.where(apart.min(1) < 2.0, counts * phase.intensity[apart.argmin(1)], 0.0))
    return np.asarray(min(options, key=lambda truth: float(np.nansum((value - truth) ** 2))))


@pytest.mark.parametrize("backgrounds", [0.25, 0.6])
def test_z_of_known_intensities(backgrounds: float) -> None:
    crystal, gradient = hexagonal(18.0, seed=3, form=lopsided), deformed(0.005, -0.003, 0.002, 17.0)
    sample = field(np.broadcast_to(gradient, (12, 12, 2, 2)).copy())
    made = stranger(
        [crystal],
        sample,
        probe=disk(4.0),
        background=peaked(12.0),
        backgrounds=backgrounds,
        seed=int(100 * backgrounds),
    )
    maps = cs.map(made.counts, intensities=True, ellipse=(1, 0))
    truth = truth_of(maps, crystal, gradient, 1e5 * (1 - backgrounds))
    z = (maps["intensity"].values - truth) / maps["intensity_sigma"].values
    assert np.isfinite(z).mean() > 0.99
    assert 0.9 < np.nanstd(z) < 1.1
    assert np.sqrt(np.mean(np.nanmean(z, (0, 1)) ** 2)) < 2.5 / 12


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hexagonal and a square crystal beside each other, Friedel partners unlike, in one file."""
    number = np.zeros((10, 14), int)
    number[:, 7:] = 1
    made = stranger(
        [hexagonal(19.0, seed=3, form=lopsided), square(23.0, seed=5, form=lopsided)],
        grains(number, np.stack([deformed(degrees=10.0), deformed(degrees=-25.0)]), [0, 1], blur=0.4),
        probe=disk(4.0), background=peaked(12.0), backgrounds=0.25, seed=4,
    )  # fmt: skip
    output = tmp_path_factory.mktemp("intensities") / "strain.nc"
    cs.map(made.counts, output, intensities=True, ellipse=(1, 0))
    return output


class TestGrains:
    def test_g_runs_over_the_reflections_of_all_classes(self, file: Path) -> None:
        found, maps = cs.intensities(file), cs.load(file)
        assert "intensity" not in maps
        there = np.isfinite(found["intensity"].values)
        label = maps["class"].values
        assert set(np.unique(found["g_class"])) == {0, 1}
        assert not (there & (found["g_class"].values != label[..., None])).any()
        assert there[(label == 0)][:, found["g_class"].values == 0].mean() > 0.95

    def test_friedel_partners_are_linked(self, file: Path) -> None:
        found = cs.intensities(file)
        partner = found["g_friedel"].values
        linked = np.flatnonzero(partner >= 0)
        assert len(linked) > 0.9 * len(partner)
        np.testing.assert_array_equal(partner[partner[linked]], linked)
        for name in ("g_h", "g_k"):
            np.testing.assert_array_equal(found[name].values[partner[linked]], -found[name].values[linked])

    def test_a_reflection_is_the_same_one_over_a_grain(self, file: Path) -> None:
        """Pairs differ by half: a labelling that jumped by a turn would spread each over both values."""
        found, maps = cs.intensities(file), cs.load(file)
        for columns in (slice(1, 5), slice(9, 13)):
            own = found.isel(g=found["g_class"].values == int(maps["class"][5, columns].values[0]))
            value, sigma = (own[name].isel(rx=columns).values for name in ("intensity", "intensity_sigma"))
            z = (value - np.nanmean(value, (0, 1))) / sigma
            assert np.nanstd(z) < 1.15

    def test_a_grain_has_one_labelling_whichever_the_patterns_were_fitted_in(self, file: Path) -> None:
        maps, rng = cs.load(file), np.random.default_rng(6)
        mixed = maps.copy(deep=True)
        for k, operators in enumerate(maps["operators"].values):
            here = maps["class"].values == k
            own = operators[np.isfinite(operators).all((1, 2))]
            mixed["affine"].values[here] = maps["affine"].values[here] @ own[rng.integers(len(own), size=here.sum())]
        found = []
        for one in (maps, mixed):
            transforms = Transforms.stored(one)
            wanted = parse_reference("auto", maps["class"].shape)
            found.append(transforms.labelled(transforms.relative_to(wanted)).affine)
        for columns in (slice(1, 5), slice(9, 13)):
            between = np.linalg.inv(found[0][:, columns]) @ found[1][:, columns]
            assert np.abs(between - between[0, 0]).max() < 0.05

    def test_it_is_read_where_it_is_used(self, file: Path) -> None:
        found = cs.intensities(file)
        assert not found["intensity"].variable._in_memory
        assert found["intensity"].encoding["chunksizes"][:2] == (10, 14)
        assert found["intensity"].encoding["zlib"]

    def test_one_reflection_is_drawn(self, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        picture = file.with_suffix(".png")
        assert main(["show", str(file), "-o", str(picture), "--intensity", "1", "0"]) == 0
        assert picture.stat().st_size > 1e4
        assert main(["show", str(file), "-o", str(picture), "--intensity", "9", "9"]) == 1
        assert "there is no reflection 9 9 in this result" in capsys.readouterr().err

    def test_a_virtual_dark_field_is_of_every_class_that_has_the_reflection(self, file: Path) -> None:
        field, maps = virtual_dark_field(cs.intensities(file), 1, 0), cs.load(file)
        for label in (0, 1):
            assert np.isfinite(field["intensity"].values[maps["class"].values == label]).mean() > 0.95

    def test_a_result_without_says_how_to_get_them(self, file: Path) -> None:
        maps = cs.load(file)
        with pytest.raises(cs.InputError, match="intensities=True"):
            cs.intensities(maps)
        other = file.with_name("without.nc")
        from cyclestrain.result import save_result

        save_result(maps, other)
        with pytest.raises(cs.InputError, match="map the scan again with --intensities"):
            cs.intensities(other)
