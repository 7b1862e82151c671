"""Scans stored as events are read as the dense scan of the same counts, and what is no such scan is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.sparse

from cyclestrain.errors import InputError
from cyclestrain.io import contents_of, read, watched
from event_files import matrix, write_counted, write_npz, write_raw_csr

COUNTS = np.random.default_rng(0).poisson(0.05, (5, 7, 18, 20)).astype(np.uint16)
COUNTS[1, 2, 3, 4], COUNTS[3, 3] = 9, 0
SHAPE = {"shape": COUNTS.shape}


def counted(version: int) -> Any:
    def write(folder: Path) -> tuple[Path, dict[str, Any]]:
        write_counted(folder / "s.h5", COUNTS, version)
        return folder / "s.h5", {}

    return write


def raw_csr(folder: Path) -> tuple[Path, dict[str, Any]]:
    return write_raw_csr(folder, COUNTS.astype(np.int32)), {}


def npz(compressed: bool) -> Any:
    def write(folder: Path) -> tuple[Path, dict[str, Any]]:
        write_npz(folder / "s.npz", COUNTS.astype(np.int64), compressed)
        return folder / "s.npz", SHAPE

    return write


def coordinates(_: Path) -> tuple[Any, dict[str, Any]]:
    sparse = pytest.importorskip("sparse", reason="the package sparse is not installed")
    return sparse.COO.from_numpy(COUNTS), {}


def rows_of_axes(_: Path) -> tuple[Any, dict[str, Any]]:
    sparse = pytest.importorskip("sparse", reason="the package sparse is not installed")
    return sparse.GCXS.from_numpy(COUNTS), {}


def unordered(_: Path) -> tuple[Any, dict[str, Any]]:
    """Single electrons in any order, those of a pixel not summed."""
    places = np.random.default_rng(1).permutation(np.repeat(np.arange(COUNTS.size), COUNTS.ravel()))
    row, column = np.divmod(places, 18 * 20)
    return scipy.sparse.coo_matrix((np.ones(len(places), int), (row, column)), (35, 360)), SHAPE


WRITERS = {
    "stempy 1": counted(1),
    "stempy 2": counted(2),
    "stempy 3": counted(3),
    "raw_csr": raw_csr,
    "npz": npz(True),
    "npz stored": npz(False),
    "csr_matrix": lambda _: (matrix(COUNTS), {"shape": (18, 20), "scan_shape": (5, 7)}),
    "csc_array": lambda _: (scipy.sparse.csc_array(matrix(COUNTS)), SHAPE),
    "events": unordered,
    "COO": coordinates,
    "GCXS": rows_of_axes,
}
KEYS = (..., 0, (slice(1, 4), 2), (4, slice(1, 7, 3)), (slice(0, 5, 2), slice(1, 6)), np.s_[:, :, 3:11, 5:6],
        np.s_[2:3, :, 1::3, ::4], np.s_[3, 3], np.s_[1, 2, 3, 4], np.s_[1:1])  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_any_part_is_that_of_the_dense_scan(tmp_path: Path, name: str) -> None:
    given, options = WRITERS[name](tmp_path)
    scan = read(given, **options)
    assert (scan.shape, scan.source.dtype) == (COUNTS.shape, np.uint16)
    for key in KEYS:
        np.testing.assert_array_equal(scan.source[key], COUNTS[key], strict=True)
    np.testing.assert_array_equal(contents_of(scan).seen, contents_of(read(COUNTS)).seen)


def test_regions_bins_and_flips_come_out_as_of_the_dense_scan(tmp_path: Path) -> None:
    path, _ = raw_csr(tmp_path)
    how: dict[str, Any] = {"scan_roi": "1:5,0:6", "detector_roi": "1:18,2:19", "flip": "y", "flyback": 1}
    np.testing.assert_array_equal(read(path, **how).source[...], read(COUNTS, **how).source[...])


def test_a_file_that_changes_is_noticed(tmp_path: Path) -> None:
    path, _ = raw_csr(tmp_path)
    scan = watched(read(path))
    scan.row_band(0, 5)
    values = np.fromfile(tmp_path / "data.raw", np.int32)
    values[7] += 1
    values.tofile(tmp_path / "data.raw")
    with pytest.raises(InputError, match="changed while it was worked on"):
        scan.row_band(0, 5)


@pytest.mark.parametrize(
    ("stored", "handed_out"),
    [("u1", "u1"), ("?", "u1"), ("<i2", "i2"), (">u2", "u2"), ("<i4", "u2"), ("<u8", "u2"), ("<f4", "f4")],
)
def test_counts_have_sixteen_bits_where_they_fit(tmp_path: Path, stored: str, handed_out: str) -> None:
    path = write_raw_csr(tmp_path, COUNTS.clip(0, 1).astype(stored))
    scan = read(path)
    assert scan.source.dtype == np.dtype(handed_out)
    np.testing.assert_array_equal(scan.source[...], COUNTS.clip(0, 1))


def test_wide_counts_keep_their_type() -> None:
    wide = COUNTS.astype(np.int64) * 70_000
    np.testing.assert_array_equal(read(matrix(wide), **SHAPE).source[...], wide, strict=True)


def test_sums_that_no_type_holds_are_refused_not_wrapped() -> None:
    twice = scipy.sparse.csr_matrix((np.full(2, 200, np.uint8), [3, 3], [0, 2]), (1, 256))
    with pytest.raises(InputError, match="holds 400 counts in one pixel, more than uint8 holds"):
        read(twice, shape=(1, 1, 16, 16)).source[0, 0]
    once = scipy.sparse.csr_matrix((np.full(2, 100, np.uint8), [3, 3], [0, 2]), (1, 256))
    assert read(once, shape=(1, 1, 16, 16)).source[0, 0, 0, 3] == 200


def test_the_shape_is_asked_for_where_it_is_not_stated(tmp_path: Path) -> None:
    write_npz(tmp_path / "s.npz", np.ones((2, 3, 16, 16), int))
    for options, match in (
        ({}, "6 patterns of 256 pixels and does not say .* --shape 16 16"),
        ({"shape": (16, 16)}, "without a scan shape; .* --scan 2 3"),
        ({"shape": (16, 15), "scan_shape": (2, 3)}, "do not make a detector of 16x15"),
        ({"shape": (5, 16, 16)}, "6 patterns, not 5"),
        ({"shape": (-16, -16)}, "do not make a detector"),
        ({"shape": (256,)}, "--shape is qy qx, n qy qx or ry rx qy qx"),
        ({"dataset": "x"}, "no single data set"),
    ):
        with pytest.raises(InputError, match=match):
            read(tmp_path / "s.npz", **options)
    assert read(tmp_path / "s.npz", shape=(16, 16), scan_shape=(3, 2)).shape == (3, 2, 16, 16)
    with np.load(tmp_path / "s.npz") as arrays:
        np.savez(tmp_path / "t.npz", scan_shape=(2, 3), detector_shape=(16, 16), **arrays)
    assert read(tmp_path / "t.npz").shape == (2, 3, 16, 16)
    np.save(tmp_path / "s.npy", COUNTS)
    with pytest.raises(InputError, match="other files need none"):
        read(tmp_path / "s.npy", **SHAPE)


def patterns_of(folder: Path, **changed: Any) -> None:
    """Write a scan of `raw_csr`, change one of its files, and read it all."""
    path, _ = raw_csr(folder)
    for name, change in changed.items():
        file = folder / f"{name}.raw"
        values = np.fromfile(file, np.int32)
        change(values)
        values.tofile(file)
    read(path).source[...]


def put(at: int, value: int) -> Any:
    def change(values: np.ndarray) -> None:
        values[at] = value

    return change


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"indices": put(40, 360)}, r"names pixel 360 in pattern 2, of a detector of 360 pixels"),
        ({"indices": put(0, -1)}, r"names pixel -1 in pattern 0"),
        ({"indptr": put(4, 0)}, "and go back"),
        ({"indptr": put(4, 2**31 - 1)}, "and go back"),
        ({"indptr": put(0, 1)}, "they run from 1 to"),
        ({"indptr": put(-1, 2**31 - 1)}, "should run from 0"),
        ({"data": put(5, 2**31 - 1)}, None),  # a count that is large, but may be one
    ],
)
def test_events_that_cannot_be_are_refused(tmp_path: Path, changed: dict[str, Any], match: str | None) -> None:
    if match is None:
        patterns_of(tmp_path, **changed)
        return
    with pytest.raises(InputError, match=match):
        patterns_of(tmp_path, **changed)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("nav_shape = [5, 7]", "nav_shape = [5, 8]", "declares a scan of 5x8, but indptr.raw has 35 patterns"),
        ("nav_shape = [5, 7]", "nav_shape = [5, 7.0]", "needs nav_shape"),
        ("sig_shape = [18, 20]", "", "needs sig_shape"),
        ("sig_shape = [18, 20]", "sig_shape = [1000000000, 1000000000]", "no detector has so many"),
        ("sig_shape = [18, 20]", "sig_shape = [17, 20]", "pixel .* of a detector of 340 pixels"),
        ("'raw_csr'", "'hdf5'", "its filetype is 'hdf5'"),
        ("'indices.raw'", "'../nowhere.raw'", "missing or no file"),
        ("'indices.raw'", "'/dev/zero'", "missing or no file"),
        ("'indices.raw'", "'data.raw'", None),
        ("'<i4'", "'O'", "no type of numbers"),
        ("'<i4'", "'<f4'", "at whole ones|at columns of"),
        ("[params]", "[" * 60000, "no header of a sparse scan"),
        ("[params]", "#" * 70000, "longer than"),
    ],
)
def test_headers_that_are_none_are_refused(tmp_path: Path, old: str, new: str, match: str | None) -> None:
    path, _ = raw_csr(tmp_path)
    path.write_text(path.read_text().replace(old, new))
    if match is None:
        read(path).source[...]
        return
    with pytest.raises(InputError, match=match) as caught:
        read(path).source[...]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["indptr", "indices", "data"])
@pytest.mark.parametrize("lost", [1, 4])
def test_cut_files_are_refused(tmp_path: Path, name: str, lost: int) -> None:
    path, _ = raw_csr(tmp_path)
    file = tmp_path / f"{name}.raw"
    file.write_bytes(file.read_bytes()[:-lost])
    with pytest.raises(InputError, match=r"truncated|one is missing|damaged or incomplete|was cut"):
        read(path)


def test_matrices_that_are_not_stored_by_rows_are_refused(tmp_path: Path) -> None:
    for kind in ("csc", "coo", "bsr"):
        scipy.sparse.save_npz(tmp_path / f"{kind}.npz", scipy.sparse.coo_array(matrix(COUNTS)).asformat(kind))
        with pytest.raises(InputError, match=r"not stored by rows; save matrix\.tocsr"):
            read(tmp_path / f"{kind}.npz", **SHAPE)


def test_an_array_filled_with_something_else_is_refused() -> None:
    sparse = pytest.importorskip("sparse", reason="the package sparse is not installed")
    with pytest.raises(InputError, match="filled with 1, not with 0"):
        read(sparse.COO.from_numpy(COUNTS, fill_value=np.uint16(1)))


class TestStempy:
    """Files that stempy would not write."""

    def changed(self, folder: Path, change: Any) -> Path:
        write_counted(folder / "s.h5", COUNTS)
        with h5py.File(folder / "s.h5", "r+") as file:
            change(file["electron_events"])
        return folder / "s.h5"

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            (lambda group: group.pop("scan_positions"), "with its attributes Nx and Ny"),
            (lambda group: group["scan_positions"].attrs.pop("Nx"), "with its attributes Nx and Ny"),
            (lambda group: group["scan_positions"].attrs.modify("Nx", -7), "impossible shape 5x-7"),
            (lambda group: group["scan_positions"].attrs.modify("Nx", 6), "at positions 0 to 34, its scan has 30"),
            (lambda group: group["scan_positions"].attrs.modify("Nx", 2**40), "to unpack"),
            (lambda group: group["scan_positions"].__setitem__(3, -1), "at positions -1 to 34"),
            (lambda group: group["frames"].attrs.modify("Nx", 17), "of a detector of 340 pixels"),
            (lambda group: group["frames"].attrs.modify("Nx", 2**60), "no detector has so many"),
            (lambda group: group["frames"].__setitem__(3, np.array([360], np.uint32)), "names pixel 360 in pattern 3"),
        ],
    )
    def test_are_refused(self, tmp_path: Path, change: Any, match: str) -> None:
        path = self.changed(tmp_path, change)
        with pytest.raises(InputError, match=match):
            read(path).source[...]

    def test_missing_frames_read_as_zero_and_are_told(self, tmp_path: Path) -> None:
        path = self.changed(tmp_path, lambda group: group["scan_positions"].__setitem__(3, 4))
        scan = read(path)
        assert "1 of 35" in scan.metadata["missing"]
        assert not scan.source[0, 3].any()
        np.testing.assert_array_equal(scan.source[0, 4], COUNTS[0, 3] + COUNTS[0, 4])

    def test_the_first_files_do_not_state_the_detector(self, tmp_path: Path) -> None:
        path = self.changed(tmp_path, lambda group: [group["frames"].attrs.pop(name) for name in ("Nx", "Ny")])
        assert read(path).detector_shape == (576, 576)
