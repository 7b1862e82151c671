"""Absolute strain in sample axes, masks, and pixels that are not square, from patterns to maps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import cyclestrain as cs
from cyclestrain.affine import left_polar, rotation
from cyclestrain.cli import main
from cyclestrain.data import Calibration, FloatArray
from cyclestrain.errors import InputError
from cyclestrain.pipeline import scan_geometry
from cyclestrain.result import load_result
from cyclestrain.settings import MapSettings
from cyclestrain.simulation import Acquisition
from cyclestrain.simulation.patterns import make_pattern_model
from cyclestrain.simulation.sample import Sample
from cyclestrain.simulation.source import SimulatedPatterns

SPACING = 17.0
SILICON = {"a": 5.431, "structure": "diamond", "zone": "110", "name": "Si"}
PIXEL = 10 * 3**0.5 / 5.431 / SPACING
"""1/nm, at which the simulated lattice, drawn without any table of crystals, is silicon along [110]."""
SHAPE = (20, 22)


def strain_field() -> FloatArray:
    """Absolute deformation of the sample in its own axes: 0.6 % larger everywhere, a bent bar under shear."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]] / 20.0
    out = np.broadcast_to(np.eye(2) * 1.006, (*SHAPE, 2, 2)).copy()
    out[..., 1, 1] += 0.008 * (rows - 0.5)
    out[..., 0, 1] += 0.006 * np.sin(3 * columns)
    return np.asarray(rotation(0.02 * (columns - 0.5)) @ out)


def record(
    matrix: FloatArray, deflection: float = 0.3, ratio: float = 1.0, lattice: str = "rhombic", seed: int = 0
) -> np.ndarray:
    """Counts of the sample on a detector on which its axes appear by `matrix`, with pixels `ratio` higher than wide."""
    rng = np.random.default_rng(seed)
    wide = gaussian_filter(rng.normal(size=(SHAPE[0] + 20, SHAPE[1] + 20)), 1.5)[10:-10, 10:-10]
    moves = np.stack(np.gradient(wide), -1)
    moves *= deflection / moves.std()
    acquisition = Acquisition(
        scan=SHAPE, detector=(96, 96), lattice=lattice, spacing=SPACING, radius=2.6, background=0.2, seed=seed
    )
    in_pixels = np.diag([ratio**-0.5, ratio**0.5])  # reflections move as F^-T g
    gradient = np.linalg.inv(in_pixels) @ matrix @ strain_field() @ matrix.T
    model = make_pattern_model(Sample.from_field(acquisition.make_lattice(), gradient), acquisition)
    return np.asarray(SimulatedPatterns(replace(model, centres=model.centres + moves @ matrix.T)))


def check_absolute(maps: Any, scale: float) -> None:
    """Strain in the axes of the sample within 3 sigma everywhere but at few positions, and with no bias."""
    stretch, _ = left_polar(strain_field())
    truth = {"eyy": stretch[..., 0, 0] - 1, "exx": stretch[..., 1, 1] - 1, "exy": stretch[..., 0, 1]}
    valid = maps["valid"].values
    assert valid.mean() > 0.95
    for name, expected in truth.items():
        off = (maps[f"{name}_raw"].values - expected)[valid]
        assert np.mean(np.abs(off) > 3 * maps[f"{name}_raw_sigma"].values[valid]) < 0.01, name
    off = (maps["exx_raw"] - maps["eyy_raw"]).values - truth["exx"] + truth["eyy"]
    assert abs(off[valid].mean()) < 3e-4
    assert abs((maps["exy_raw"].values - truth["exy"])[valid].mean()) < 3e-4
    assert abs((maps["exx_raw"].values - truth["exx"])[valid].mean() - (1 / scale - 1)) < 5e-4


TURNED = [
    pytest.param(37, True),
    *(pytest.param(d, m, marks=pytest.mark.slow) for d, m in ((0, False), (37, False), (90, True))),
]


@pytest.mark.parametrize(("degrees", "mirrored"), TURNED)
def test_absolute_strain_in_the_axes_of_a_turned_and_mirrored_scan(degrees: float, mirrored: bool) -> None:
    matrix = rotation(np.deg2rad(degrees)) @ (np.diag([-1.0, 1.0]) if mirrored else np.eye(2))
    counts, scale = record(matrix), 1.012
    maps = cs.map(
        counts, known=SILICON, pixel=f"{PIXEL * scale:.6f}/nm", axes="scan", scan_rotation="auto", ellipse=(1, 0),
        until="refine", scan_roi=f"0:{SHAPE[0]},0:{SHAPE[1]}",
    )  # fmt: skip
    assert maps.attrs["scan_mirrored"] == mirrored
    turned = (maps.attrs["scan_rotation_deg"] - degrees + 90) % 180 - 90
    assert abs(turned) < 2
    check_absolute(maps, scale)
    assert maps.attrs["phases"] == "Si"
    size, sigma = maps.attrs["lattice_parameter"][0], maps.attrs["lattice_parameter_sigma"][0]
    assert size == pytest.approx(5.431 * 1.006 / scale, rel=1e-3)
    assert sigma == pytest.approx(0.02 * size, rel=0.01)
    # The same, from what is stored: another reference and back, and derived maps.
    again = maps.strain.relative_to("0:20,0:4").strain.relative_to("known")
    np.testing.assert_allclose(again["exx_sigma"], maps["exx_sigma"], rtol=1e-3)
    assert again.attrs["phases"] == maps.attrs["phases"]
    assert "phases" not in maps.strain.relative_to("0:20,0:4").attrs
    principal = maps.strain.principal()
    valid = maps["valid"].values
    assert float(np.median(principal["dilation_sigma"].values[valid])) == pytest.approx(0.04, rel=0.05)
    assert float(np.median(principal["shear_sigma"].values[valid])) < 3e-3
    bend = maps.strain.rotation_gradient()["along_x"].values[2:-2, 2:-2]
    assert float(np.nanmedian(bend)) == pytest.approx(0.02 / 20, abs=3e-4)


@pytest.mark.slow
@pytest.mark.parametrize("until", ["refine", "context"])
def test_gold_along_001(until: Any) -> None:
    pixel = 20 / 4.0782 / SPACING
    maps = cs.map(
        record(np.eye(2), 0.0, lattice="square"), known="a=4.0782,structure=fcc,zone=001,name=Au", until=until,
        pixel=f"{pixel:.6f}+-0.5%/nm", ellipse=(1, 0),
    )  # fmt: skip
    assert maps.attrs["phases"] == "Au"
    assert maps.attrs["lattice_parameter_sigma"][0] == pytest.approx(0.005 * 4.1, rel=0.02)
    check_absolute(maps, 1.0)


@pytest.mark.slow
def test_a_mirror_image_is_undone_while_it_is_read() -> None:
    counts = record(rotation(np.deg2rad(37)) @ np.diag([-1.0, 1.0]))
    maps = cs.map(
        counts, known=SILICON, pixel=f"{PIXEL:.6f}/nm", axes="scan", scan_rotation=-37, flip="y", ellipse=(1, 0),
        until="refine",
    )  # fmt: skip
    check_absolute(maps, 1.0)


def test_masks_pixels_and_steps_on_the_command_line_and_in_python(tmp_path: Path) -> None:
    """Half of the scan is rubbish and a corner of the detector is broken; pixels are 5 % higher than wide."""
    counts = record(np.eye(2), 0.0, ratio=1.05)
    rng = np.random.default_rng(1)
    counts[:, 14:] = rng.poisson(3.0, counts[:, 14:].shape)
    counts[:, :, :14, :14] = rng.poisson(400.0, counts[:, :, :14, :14].shape)
    sample, mask = np.zeros(SHAPE, bool), np.ones((96, 96), bool)
    sample[:, :14], mask[:14, :14] = True, False
    sample[0, 0] = False  # no rectangle
    np.save(tmp_path / "scan.npy", counts)
    np.save(tmp_path / "sample.npy", sample)
    np.save(tmp_path / "mask.npy", mask)
    pixel = f"{PIXEL * 1.05**0.5:.6f},{PIXEL / 1.05**0.5:.6f}+-0/nm"
    common = ["--until", "refine", "--ellipse", "1", "0", "--step", "0.5nm", "--pixel", pixel, "--scan-roi", "2:,:"]
    known = [
        "--known",
        "a=4.0782,structure=fcc,zone=110,name=Au",
        "--known",
        "a=5.431,structure=diamond,zone=110,name=Si",
    ]
    np.save(tmp_path / "sample.npy", sample[2:])
    files = ["--mask", str(tmp_path / "mask.npy"), "--sample", str(tmp_path / "sample.npy")]
    arguments = ["map", str(tmp_path / "scan.npy"), "-o", str(tmp_path / "strain.nc"), *common, *known, *files]
    assert main([*arguments, "--scan-rotation", "auto"]) == 0
    maps = load_result(tmp_path / "strain.nc")
    np.testing.assert_array_equal(maps["valid"].values & ~sample[2:], False)
    assert maps["valid"].values[sample[2:]].mean() > 0.95
    assert maps["ry"].values[0] == 1.0
    assert maps["rx"].attrs["units"] == "nm"
    assert not maps["good_pixel"].values[:14, :14].any()
    assert maps.attrs["scan_rotation_known"] == 0
    assert "scan rotation: unknown" in maps.attrs["choices"]
    assert maps.attrs["phases"] == "Si"
    stretch, _ = left_polar(strain_field()[2:])
    for name, expected in (
        ("exx", stretch[..., 1, 1] - 1),
        ("eyy", stretch[..., 0, 0] - 1),
        ("exy", stretch[..., 0, 1]),
    ):
        off = (maps[f"{name}_raw"].values - expected)[maps["valid"].values]
        assert abs(off.mean()) < 4e-4, name
    np.save(tmp_path / "other.npy", np.ones((4, 4)))
    with pytest.raises(InputError, match=r"--sample: the mask has shape \(4, 4\)"):
        cs.map(counts, sample=tmp_path / "other.npy")
    again = cs.map(
        config=tmp_path / "strain.nc", mask=mask, sample=sample[2:], known=[known[1], SILICON], step="0.5nm",
    )  # fmt: skip
    for name in ("exx", "exy_sigma", "rotation"):
        np.testing.assert_array_equal(again[name], maps[name])


def test_strain_in_axes_that_the_scan_does_not_tell_is_refused() -> None:
    scan = cs.read(record(np.eye(2), 0.0)[:16, :16])
    middle = np.full((16, 16, 2), 47.5)
    calibration = Calibration(np.ones((96, 96), bool), middle, 0.01, 2.6, (8.0, 40.0), np.zeros((96, 96)))
    everywhere = np.ones((16, 16), bool)
    with pytest.raises(InputError, match=r"scan rotation: unknown.*give --scan-rotation in degrees"):
        scan_geometry(scan, MapSettings(axes="scan", scan_rotation="auto"), calibration, everywhere)
    assert scan_geometry(scan, MapSettings(scan_rotation="auto"), calibration, everywhere).angle is None
