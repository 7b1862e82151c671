"""A result comes back as it was saved, appears whole or not at all, and overwrites nothing unasked."""

import errno
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from cyclestrain.errors import InputError, OutputError
from cyclestrain.files import check_writable
from cyclestrain.io.hdf5 import new_hdf5
from cyclestrain.result import describe_result, load_group, load_result, save_result
from cyclestrain.settings import MapSettings
from full_disk import largest_file


@pytest.fixture
def maps():
    rng = np.random.default_rng(2)
    exx = rng.normal(0, 1e-3, (40, 50)).astype(np.float32)
    exx[3, 4] = np.nan
    valid = np.isfinite(exx)
    dataset = xr.Dataset(
        {
            "exx": (("ry", "rx"), exx, {"units": "1", "long_name": "strain along x"}),
            "class": (("ry", "rx"), rng.integers(-1, 3, (40, 50)).astype(np.int16)),
            "valid": (("ry", "rx"), valid, {"estimated": True}),
        },
        coords={"y": ("ry", 0.5 * np.arange(40), {"units": "nm"})},
        attrs={
            "reference": "auto",
            "seed": 7,
            "context": True,
            "centre": (127.5, 128.5),
            "settings": MapSettings(),
            "calibration": {"ring": [10.0, 90.0], "hot_pixels": np.arange(3), "ellipse": None},
            "nothing": None,
        },
    )
    return dataset


@pytest.fixture
def dictionary():
    return xr.Dataset({"windows": (("entry", "y", "x"), np.ones((2, 40, 40))), "name": ("entry", ["a", "b"])})


def test_round_trip_with_attributes_and_groups(maps, dictionary, tmp_path):
    path = tmp_path / "strain.nc"
    save_result(maps, path, groups={"dictionary": dictionary})
    loaded = load_result(path)
    xr.testing.assert_equal(loaded, maps)
    assert {name: variable.dtype for name, variable in loaded.items()} == {n: v.dtype for n, v in maps.items()}
    assert loaded["exx"].attrs == maps["exx"].attrs
    assert loaded.attrs["reference"] == "auto"
    assert loaded.attrs["seed"] == 7
    assert loaded.attrs["context"] == 1
    np.testing.assert_array_equal(loaded.attrs["centre"], [127.5, 128.5])
    assert json.loads(loaded.attrs["settings"]) == MapSettings().model_dump(mode="json")
    assert json.loads(loaded.attrs["calibration"]) == {"ring": [10.0, 90.0], "hot_pixels": [0, 1, 2], "ellipse": None}
    assert loaded.attrs["cyclestrain_version"]
    xr.testing.assert_equal(load_group(path, "dictionary"), dictionary)
    with pytest.raises(InputError, match="no group 'network' but dictionary"):
        load_group(path, "network")


def test_any_hdf5_tool_reads_it(maps, tmp_path):
    save_result(maps, tmp_path / "strain.nc")
    with h5py.File(tmp_path / "strain.nc") as file:
        np.testing.assert_array_equal(file["exx"], maps["exx"])
        assert file["exx"].compression == "gzip"
        assert file["valid"].dtype == np.int8


def test_saving_leaves_the_dataset_alone(maps, tmp_path):
    before, attributes = maps.copy(deep=True), dict(maps.attrs)
    save_result(maps, tmp_path / "strain.nc")
    xr.testing.assert_equal(maps, before)
    assert all(maps.attrs[key] is value for key, value in attributes.items())
    assert maps.attrs.keys() == attributes.keys()
    assert maps["valid"].attrs["estimated"] is True


def test_nothing_is_overwritten_without_force(maps, tmp_path):
    path = tmp_path / "strain.nc"
    path.write_text("precious")
    for attempt in (lambda: check_writable(path), lambda: save_result(maps, path)):
        with pytest.raises(OutputError, match="exists already"):
            attempt()
    assert path.read_text() == "precious"
    save_result(maps, path, force=True)
    assert load_result(path).sizes == maps.sizes


def test_no_folder_is_one_sentence(maps, tmp_path):
    with pytest.raises(OutputError, match="does not exist"):
        save_result(maps, tmp_path / "none" / "strain.nc")
    with pytest.raises(OutputError, match="is a folder"):
        check_writable(tmp_path, force=True)


@pytest.mark.parametrize(
    ("code", "match"),
    [
        (errno.EROFS, "read-only"),
        (errno.EACCES, "read-only"),
        (errno.ENOSPC, "disk is full"),
        (errno.EIO, "could not be"),
    ],
)
def test_unwritable_folder_is_told_before_the_computation(tmp_path, monkeypatch, code, match):
    def refuse(*args, **kwargs):
        raise OSError(code, "refused")

    monkeypatch.setattr("cyclestrain.files.os.open", refuse)
    with pytest.raises(OutputError, match=match):
        check_writable(tmp_path / "strain.nc")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("failure", "caught"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), OutputError),
        (RuntimeError("Can't write data (file write failed: No space left on device)"), OutputError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (ValueError("a bug of ours"), ValueError),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
@pytest.mark.parametrize("existing", [None, "precious"])
def test_failing_write_leaves_no_trace(maps, dictionary, tmp_path, monkeypatch, failure, caught, existing):
    path = tmp_path / "strain.nc"
    if existing:
        path.write_text(existing)
    write = Path.write_bytes

    def fail_in_the_middle(self, data):
        write(self, bytes(data)[:1000])
        raise failure

    monkeypatch.setattr(Path, "write_bytes", fail_in_the_middle)
    with pytest.raises(caught):
        save_result(maps, path, force=True, groups={"dictionary": dictionary})
    assert [item.name for item in tmp_path.iterdir()] == ([path.name] if existing else [])
    if existing:
        assert path.read_text() == existing


def test_a_disk_that_fills_up(tmp_path):
    """HDF5 itself, writing to the disk, would end in a crash of the process."""
    maps = xr.Dataset({"exx": (("ry", "rx"), np.random.default_rng(0).normal(size=(200, 200)))})
    with largest_file(50_000), pytest.raises(OutputError, match="could not be written"):
        save_result(maps, tmp_path / "strain.nc", groups={"dictionary": maps})
    with largest_file(50_000), pytest.raises(OSError, match="large"), new_hdf5(tmp_path / "strain.h5") as file:
        file["exx"] = maps["exx"].values
    (tmp_path / "strain.h5").unlink()
    assert list(tmp_path.iterdir()) == []


def test_foreign_and_damaged_results(maps, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_result(tmp_path / "none.nc")
    with pytest.raises(InputError, match="is a folder"):
        load_result(tmp_path)
    (tmp_path / "text.nc").write_text("hello")
    with pytest.raises(InputError, match="not a netCDF"):
        load_result(tmp_path / "text.nc")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = np.arange(3)
    with pytest.raises(InputError, match="not a result that cyclestrain wrote"):
        load_result(tmp_path / "other.h5")
    path = tmp_path / "strain.nc"
    save_result(maps, path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match="truncated"):
        load_result(path)


def test_description_of_a_result(maps, tmp_path):
    save_result(maps, tmp_path / "strain.nc")
    lines = describe_result(load_result(tmp_path / "strain.nc"))
    text = "\n".join(lines)
    assert lines[0] == "maps of 40 ry x 50 rx"
    assert "valid: 100.0 % of the positions" in text or "valid: 99." in text
    assert "exx: median" in text
    assert "  until: context" in lines
    assert any(line.startswith("cyclestrain_version: ") for line in lines)
