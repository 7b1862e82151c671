"""A result knows its patterns: where every reflection was found, and the counts that were expected there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import cyclestrain as cs
from cyclestrain.affine import reciprocal
from cyclestrain.data import Scan
from cyclestrain.errors import InputError
from cyclestrain.result import expected, load_result, predicted, recorded_pattern, save_result
from cyclestrain.simulation import uniform
from cyclestrain.simulation.lattice import make_lattice
from e2e.conftest import Mapped

SPACING = 37.9 * 128 / 256
"""Distance of the first ring of the simulated hexagonal lattice on a detector of 128 pixels."""


def drawn_disks(truth: xr.Dataset, row: int, column: int) -> np.ndarray:
    """Positions at which the simulator drew the disks of the dominant crystal, shape ``(n, 2)``."""
    vectors = make_lattice("hexagonal", SPACING).vectors
    here = truth.isel(ry=row, rx=column)
    centre = np.array([float(here["centre_y"]), float(here["centre_x"])])
    return centre + vectors @ reciprocal(here["F"].values).T


def off_by(maps: xr.Dataset, truth: xr.Dataset, row: int, column: int) -> np.ndarray:
    """Predicted reflections minus the disks that were drawn nearest to them, pixels, shape ``(reflection, 2)``."""
    found = predicted(maps, row, column)
    places = np.stack([found["y"].values, found["x"].values], 1)
    off = places[:, None] - drawn_disks(truth, row, column)
    return off[np.arange(len(off)), np.linalg.norm(off, axis=-1).argmin(1)]


class TestPredicted:
    def test_reflections_lie_on_the_drawn_disks(self, usual: Mapped) -> None:
        inside = np.argwhere(usual.truth["interior"].values)[::7]
        errors = np.array([off_by(usual.maps, usual.truth, *place) for place in inside])
        assert errors.shape[1] >= 18
        assert np.sqrt((errors**2).mean()) < 0.05  # counting statistics of a beam centre
        assert np.abs(errors).max() < 0.2
        assert np.abs(errors.mean((0, 1))).max() < 0.02

    def test_on_a_distorted_detector_they_lie_where_they_were_recorded(self) -> None:
        made = uniform(
            scan=(6, 6), detector=(128, 128), radius=3.0, background=0.0, rotation_deg=12.0,
            strain=(0.01, 0.0, 0.0), ellipse=(1.03, 25.0), seed=2,
        )  # fmt: skip
        maps = cs.map(made.scan, ellipse=(1.03, 25.0))
        found = predicted(maps, 2, 3)
        counts = recorded_pattern(maps, made.scan, 2, 3).values
        centroids = [_centroid(counts, float(y), float(x)) for y, x in zip(found["y"], found["x"], strict=True)]
        bright = found["intensity"].values > np.median(found["intensity"].values)
        off = (np.array(centroids) - np.stack([found["y"], found["x"]], 1))[bright]
        assert np.abs(off.mean(0)).max() < 0.05
        stretch = np.polyfit(found["x"].values[bright], off[:, 1], 1)[0]
        assert abs(stretch) < 0.004  # an ellipse that were taken out would be 0.015

    def test_indices_and_brightness_belong_to_the_lattice(self, usual: Mapped) -> None:
        found = predicted(usual.maps, 3, 3)
        centre = np.array([found.attrs["centre_y"], found.attrs["centre_x"]])
        hk = np.stack([found["h"], found["k"]], 1)
        g = np.stack([found["y"], found["x"]], 1) - centre
        basis = np.linalg.lstsq(hk, g, rcond=None)[0]
        assert np.abs(hk @ basis - g).max() < 0.3
        assert found.attrs["disk_radius"] == pytest.approx(3.0, abs=0.1)
        assert (found["intensity"].values > 0).all()

    def test_survives_the_file(self, small: Mapped, tmp_path: Path) -> None:
        save_result(small.maps, tmp_path / "strain.nc")
        again = load_result(tmp_path / "strain.nc")
        xr.testing.assert_allclose(predicted(again, 4, 4), predicted(small.maps, 4, 4), rtol=1e-6)
        np.testing.assert_allclose(expected(again, small.made.scan, 4, 4), expected(small.maps, small.made.scan, 4, 4))

    def test_nothing_where_no_crystal_was_fitted(self, small: Mapped) -> None:
        blank = small.maps.copy()
        blank["class"] = xr.where(np.arange(9) == 4, -1, blank["class"]).transpose("ry", "rx")
        found = predicted(blank, 2, 4)
        assert found.sizes["reflection"] == 0
        assert found.attrs["class"] == -1
        assert np.isnan(expected(blank, small.made.scan, 2, 4)).all()

    def test_what_cannot_be_is_said(self, small: Mapped) -> None:
        with pytest.raises(InputError, match=r"no position \(8, 0\).*rows 0 to 7"):
            predicted(small.maps, 8, 0)
        with pytest.raises(InputError, match="older versions did not store: map the scan again"):
            predicted(small.maps.drop_vars("affine"), 0, 0)
        other = Scan(small.made.scan.source[:, :, 2:], name="cropped")
        with pytest.raises(InputError, match="give the scan that was mapped"):
            recorded_pattern(small.maps, other, 0, 0)


class TestExpected:
    def test_residuals_are_noise(self, usual: Mapped) -> None:
        z = []
        for row, column in np.argwhere(usual.truth["interior"].values)[::11]:
            counts = recorded_pattern(usual.maps, usual.made.scan, row, column)
            model = expected(usual.maps, usual.made.scan, row, column)
            z.append(((counts - model) / np.sqrt(model)).values)
        values = np.array(z)[np.isfinite(z)]
        assert abs(values.mean()) < 0.02
        assert values.std() == pytest.approx(1.0, abs=0.05)

    def test_a_transform_that_is_wrong_is_seen(self, small: Mapped) -> None:
        wrong = small.maps.copy(deep=True)
        wrong["affine"] = wrong["affine"] * 1.04
        counts = recorded_pattern(small.maps, small.made.scan, 3, 3)
        right, off = (expected(maps, small.made.scan, 3, 3) for maps in (small.maps, wrong))
        bright = right.values > 4 * np.nanmedian(right.values)
        misfit = [float(np.nanmean(((counts - m) ** 2 / m).values[bright])) for m in (right, off)]
        assert misfit[1] > 1.5 * misfit[0]

    def test_pedestal_comes_back(self, small: Mapped) -> None:
        raised, maps = Scan(np.asarray(small.made.scan.source)[:] + 100.0), small.maps.copy()
        maps.attrs = {
            **maps.attrs,
            "calibration": json.dumps(json.loads(maps.attrs["calibration"]) | {"pedestal": 100}),
        }
        before = expected(small.maps, small.made.scan, 3, 3)
        np.testing.assert_allclose(expected(maps, raised, 3, 3), before + 100.0, rtol=1e-9)


def _centroid(counts: np.ndarray, y: float, x: float) -> tuple[float, float]:
    """Centre of what lies above its surround within 6 pixels, unless at the edge of the detector."""
    row, column = round(y), round(x)
    window = counts[max(row - 6, 0) : row + 7, max(column - 6, 0) : column + 7].astype(float)
    if window.shape != (13, 13):
        return y, x
    rows, columns = np.mgrid[row - 6 : row + 7, column - 6 : column + 7]
    inside = np.hypot(rows - y, columns - x) < 4.5
    weight = np.where(inside, window - np.median(window[~inside]), 0.0)
    return float((weight * rows).sum() / weight.sum()), float((weight * columns).sum() / weight.sum())


class TestAccessor:
    def test_reads_the_scan_as_it_was_read_for_the_map(self, small: Mapped, tmp_path: Path) -> None:
        stored = np.pad(np.asarray(small.made.scan.source), ((1, 0), (0, 2), (0, 0), (0, 0)))
        np.save(tmp_path / "scan.npy", stored)
        maps = small.maps.copy()
        maps.attrs = {**maps.attrs, "reading": json.dumps({"scan_roi": "1:9,0:9"})}
        pattern = maps.strain.pattern(tmp_path / "scan.npy", 2, 3)
        np.testing.assert_array_equal(pattern, small.made.scan.source[2, 3])
        np.testing.assert_array_equal(maps.strain.pattern(small.made.scan, 2, 3), pattern)
        np.testing.assert_allclose(
            maps.strain.expected(tmp_path / "scan.npy", 2, 3), expected(small.maps, small.made.scan, 2, 3)
        )
        xr.testing.assert_equal(maps.strain.predicted(2, 3), predicted(small.maps, 2, 3))

    def test_a_loaded_result_has_it(self, small: Mapped, tmp_path: Path) -> None:
        save_result(small.maps, tmp_path / "strain.nc")
        assert cs.load(tmp_path / "strain.nc").strain.predicted(1, 1).sizes["reflection"] >= 18
