"""A result remembers its run: `--config` repeats it, `info` tells whether its scan is still the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import cyclestrain as cs
from cyclestrain.result import load_result


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a scan and its map, made with settings away from the defaults."""
    folder = tmp_path_factory.mktemp("run")
    cs.simulate("uniform", folder / "scan.h5", scan=(6, 7), detector=(128, 128), background=0.1, seed=2)
    options = {"scan_roi": "0:6,1:7", "detector_roi": "0:128,0:127", "reference": "0:3,0:3", "seed": 5, "axes": "scan"}
    cs.map(folder / "scan.h5", folder / "strain.nc", scan_rotation=20.0, **options)
    return folder


def without_time(maps: xr.Dataset) -> xr.Dataset:
    return maps.drop_attrs().assign_attrs({k: v for k, v in maps.attrs.items() if k not in ("created", "input_path")})


def test_config_repeats_the_run_exactly(home: Path) -> None:
    first, again = load_result(home / "strain.nc"), cs.map(config=home / "strain.nc")
    assert first["exx"].sizes == {"ry": 6, "rx": 6}
    xr.testing.assert_equal(again, first)
    for name in ("settings", "reading", "input_fingerprint", "reference"):
        assert again.attrs[name] == first.attrs[name]


@pytest.mark.slow
def test_the_first_run_after_installation_is_like_all_others(home: Path, tmp_path: Path) -> None:
    """Loops compiled in this process and those loaded from numba's cache give the same bits."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "compiled")}
    results = []
    for k in range(2):
        command = [sys.executable, "-m", "cyclestrain.cli", "map", home / "scan.h5", "-o", tmp_path / f"{k}.nc"]
        subprocess.run(command, check=True, env=environment, capture_output=True)
        results.append(without_time(load_result(tmp_path / f"{k}.nc")))
    xr.testing.assert_equal(*results)


def test_arguments_away_from_their_defaults_win(home: Path) -> None:
    again = cs.map(config=home / "strain.nc", scan_roi="0:4,0:4", scan_rotation=0.0)
    assert again["exx"].sizes == {"ry": 4, "rx": 4}
    assert '"axes":"scan"' in again.attrs["settings"]
    assert '"scan_rotation":0.0' in again.attrs["settings"]


def test_a_changed_or_lost_scan_is_told(home: Path, tmp_path: Path) -> None:
    assert "the same as when it was mapped" in cs.info(home / "strain.nc")
    assert "repeat: cyclestrain map --config" in cs.info(home / "strain.nc")
    maps = load_result(home / "strain.nc").assign_attrs(input_path="gone.h5", cyclestrain_version="0")
    maps.to_netcdf(tmp_path / "moved.nc", engine="h5netcdf")
    assert "not found from here" in cs.info(tmp_path / "moved.nc")
    with pytest.raises(cs.InputError, match="is not found"):
        cs.map(config=tmp_path / "moved.nc")
    np.save(tmp_path / "gone.h5.npy", np.asarray(cs.read(home / "scan.h5").source[...])[::-1])
    (tmp_path / "gone.h5.npy").rename(tmp_path / "gone.h5")
    assert "NOT the one that was mapped" in cs.info(tmp_path / "moved.nc")


def test_only_results_of_map_can_be_repeated(tmp_path: Path) -> None:
    with pytest.raises(cs.InputError, match="nothing to map"):
        cs.map()
    bare = xr.Dataset({"exx": (("ry", "rx"), np.zeros((2, 2)))}, attrs={"cyclestrain_version": "0"})
    bare.to_netcdf(tmp_path / "bare.nc", engine="h5netcdf")
    with pytest.raises(cs.InputError, match="no settings of a run"):
        cs.map(config=tmp_path / "bare.nc")
    for settings in ("{", "[]", '{"seed": "x"}', '{"nonsense": 1}'):
        bare.assign_attrs(settings=settings).to_netcdf(tmp_path / "odd.nc", engine="h5netcdf")
        with pytest.raises(cs.InputError):
            cs.map(config=tmp_path / "odd.nc")


@pytest.mark.parametrize(("memory", "match"), [(0.2, "at least 1"), (float("nan"), "at least 1")])
def test_memory_has_a_floor(memory: float, match: str) -> None:
    with pytest.raises(cs.InputError, match=match):
        cs.map(np.ones((2, 2, 32, 32)), memory=memory)
