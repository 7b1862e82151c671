"""A simulated scan survives the way to disk, or leaves nothing there."""

from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import xarray as xr

from cyclestrain.errors import InputError, OutputError
from cyclestrain.simulation import SimulatedScan, load_truth, phantoms, save, storage, two_phase


@pytest.fixture(scope="module")
def simulated() -> SimulatedScan:
    return two_phase(scan=(6, 5), detector=(32, 32), counts=100, grain_size=10)


def test_round_trip(simulated: SimulatedScan, tmp_path: Path) -> None:
    path = save(simulated, tmp_path / "scan.h5")
    with h5py.File(path) as file:
        assert np.array_equal(file["data"][...], simulated.scan.source[:])
    truth = load_truth(path)
    xr.testing.assert_equal(truth, simulated.truth)
    assert truth["interior"].dtype == bool
    assert truth.attrs["symmetry"].tolist() == [6, 4]
    assert truth.attrs["background"] == 0.25
    assert [entry.name for entry in tmp_path.iterdir()] == ["scan.h5"]


def test_an_existing_file_is_replaced_only_by_force(simulated: SimulatedScan, tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    path.write_text("precious")
    with pytest.raises(OutputError, match="exists already"):
        save(simulated, path)
    assert path.read_text() == "precious"
    assert save(simulated, path, force=True) == path
    load_truth(path)


def test_a_missing_folder_is_named(simulated: SimulatedScan, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        save(simulated, tmp_path / "nowhere" / "scan.h5")


def test_a_full_disk_leaves_nothing(simulated: SimulatedScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(xr.Dataset, "to_netcdf", full)
    with pytest.raises(OutputError, match="disk is full"):
        save(simulated, tmp_path / "scan.h5")
    assert not list(tmp_path.iterdir())


def test_a_scan_larger_than_the_disk_is_not_begun(
    simulated: SimulatedScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(OutputError, match=r"takes .* GB and .* has 0\.0 GB left: choose another place"):
        save(simulated, tmp_path / "scan.h5")
    assert not list(tmp_path.iterdir())


def test_truth_of_a_foreign_file_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(InputError, match="no simulated truth"):
        load_truth(tmp_path / "foreign.h5")
    with pytest.raises(InputError, match="no file"):
        load_truth(tmp_path / "missing.h5")


def test_a_scan_too_large_for_memory_is_simulated_while_it_is_written(
    simulated: SimulatedScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phantoms, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(storage, "BAND_BYTES", 1)
    lazy = two_phase(scan=(6, 5), detector=(32, 32), counts=100, grain_size=10)
    assert not isinstance(lazy.scan.source, np.ndarray)
    with h5py.File(save(lazy, tmp_path / "scan.h5")) as file:
        assert np.array_equal(file["data"][...], simulated.scan.source[:])
