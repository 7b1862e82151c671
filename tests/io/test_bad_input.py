"""Broken, foreign and hostile files: one clear sentence, never a traceback of a third party, never a hang."""

import base64
import json
import os
import pickle
import shutil
import threading
import warnings
import zipfile
import zlib

import h5py
import numpy as np
import pytest

from cyclestrain.errors import InputError
from cyclestrain.io import read
from cyclestrain.io.hdf5 import check_ahead
from cyclestrain.result import load_result


@pytest.fixture
def patterns():
    return np.random.default_rng(1).poisson(5, (3, 4, 32, 32)).astype(np.uint16)


def refused(path, match, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match=match) as caught:
            read(path, **options)
    assert "\n" not in str(caught.value)


def test_missing_empty_and_folder(tmp_path):
    refused(tmp_path / "none.h5", "does not exist")
    refused(tmp_path, "without a single file of patterns")
    (tmp_path / "empty.h5").touch()
    refused(tmp_path / "empty.h5", "is empty")
    refused("", "name of the scan is empty")
    refused(tmp_path / ("x" * 300 + ".h5"), "cannot be opened|does not exist")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in the file system")
def test_a_pipe_would_never_end(tmp_path):
    os.mkfifo(tmp_path / "scan.npy")
    refused(tmp_path / "scan.npy", "a pipe")
    with pytest.raises(InputError, match="is no file"):
        load_result(tmp_path / "scan.npy")


@pytest.mark.parametrize(
    "name", ["scan.xyz", "scan", "scan.h5", "scan.npy", "scan.npz", "scan.mat", "scan.nc", "scan.hspy"]
)
@pytest.mark.parametrize("content", [b"not a scan at all, just text\n" * 40, bytes(range(256)) * 16])
def test_foreign_content(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, "no reader knows|not the content")


@pytest.mark.parametrize(
    "suffix", "mib blo dm3 dm4 emd ser emi tvips prz mrc xml zspy app5 tif rpl bcf de5 pts".split()
)
@pytest.mark.parametrize("content", [b"not a scan at all, just text\n" * 40, bytes(range(256)) * 64, b"\0" * 4096])
def test_foreign_content_with_a_vendors_extension(tmp_path, suffix, content):
    path = tmp_path / f"scan.{suffix}"
    path.write_bytes(content)
    refused(path, ".")


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.99])
def test_truncated_files(tmp_path, patterns, share):
    np.save(tmp_path / "a.npy", patterns)
    np.savez(tmp_path / "b.npz", patterns)
    np.savez_compressed(tmp_path / "c.npz", patterns)
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["data"] = patterns
    for path in sorted(tmp_path.iterdir()):
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        refused(path, "truncated|not a complete|cannot be|damaged")


def test_chunk_lost_after_opening_is_an_input_error(tmp_path, patterns):
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", data=patterns, chunks=(1, 4, 32, 32), compression="gzip")
        chunk = data.id.get_chunk_info(1)
    with path.open("rb+") as stream:
        stream.seek(chunk.byte_offset)
        stream.write(b"\xff" * chunk.size)
    scan = read(path)
    np.testing.assert_array_equal(scan.source[0], patterns[0])
    with pytest.raises(InputError, match="could not be read"):
        scan.source[1]


def test_file_cut_after_opening_is_an_input_error(tmp_path, patterns):
    path = tmp_path / "scan.npy"
    np.save(path, patterns)
    scan = read(path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match="could not be read"):
        scan.source[0]


def test_pickles_are_never_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was loaded",))

    array = np.empty((2, 2, 32, 32), dtype=object)
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    np.savez(tmp_path / "b.npz", array)
    refused(tmp_path / "a.npy", "Python objects")
    refused(tmp_path / "b.npz", "Python objects")
    (tmp_path / "c.npy").write_bytes(pickle.dumps(Bomb()))
    refused(tmp_path / "c.npy", "not the content")


def header(shape, descr="<u2"):
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def test_huge_declared_shapes_are_refused_before_allocation(tmp_path):
    (tmp_path / "a.npy").write_bytes(header((100000, 100000, 4096, 4096)) + bytes(1000))
    refused(tmp_path / "a.npy", "truncated")
    with zipfile.ZipFile(tmp_path / "b.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header((10000, 10000, 512, 512)) + bytes(10**6))
    refused(tmp_path / "b.npz", "memory to unpack")
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file.create_dataset("data", (10**6, 10**6, 512, 512), "u2", chunks=(1, 1, 512, 512))
    refused(tmp_path / "c.h5", "never written")
    (tmp_path / "d.npy").write_bytes(header((-3, 4, 32, 32)) + bytes(1000))
    refused(tmp_path / "d.npy", ".")


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.zeros((2, 2, 2, 32, 32)), "5 dimensions"),
        (np.zeros(32), "1 dimensions"),
        (np.zeros((2, 2, 32, 32), complex), "complex"),
        (np.zeros((2, 2, 32, 32), "U3"), "type <U3"),
        (np.zeros((2, 2, 32, 32), "M8[s]"), "type datetime"),
        (np.zeros((2, 2, 32, 32), [("a", "f4")]), "type"),
        (np.zeros((0, 2, 32, 32)), "size 0"),
        (np.zeros((2, 2, 32, 0)), "size 0"),
        (np.zeros((64, 64, 8, 32)), "8x32 pixels"),
        (np.zeros((1, 1, 16, 40000), np.uint8), "no detector has"),
    ],
    ids=str,
)
def test_arrays_that_are_no_scan(array, match, tmp_path):
    refused(array, match)
    np.save(tmp_path / "scan.npy", array)
    refused(tmp_path / "scan.npy", match)


def test_raw_formats_that_declare_more_than_they_hold(tmp_path):
    import struct

    head = b"IMGBLO" + struct.pack("<HIIIHHHH", 0x0102, 4096, 8192, 131141, 65535, 0, 65535, 65535)
    (tmp_path / "a.blo").write_bytes(head + bytes(20000))
    refused(tmp_path / "a.blo", "truncated: its header promises")
    (tmp_path / "b.mrc").write_bytes(struct.pack("<4i", 2**30, 2**30, 2**30, 1) + bytes(20000))
    refused(tmp_path / "b.mrc", "truncated: its header promises")


def test_damaged_zarr(tmp_path, patterns):
    import zarr

    path = tmp_path / "scan.zarr"
    zarr.save_array(path, patterns)
    (path / "zarr.json").write_text("{nonsense")
    refused(path, "not a readable Zarr store")
    shutil.rmtree(path)
    zarr.open_group(path, mode="w")
    refused(path, "no array at all")


def test_links_to_nowhere_and_in_circles(tmp_path, patterns):
    path = tmp_path / "links.h5"
    with h5py.File(path, "w") as file:
        file["data"] = patterns
        file["a/self"] = file["/"]
        file["a/soft"] = h5py.SoftLink("/nothing")
        file["a/outside"] = h5py.ExternalLink("nothing.h5", "/x")
    np.testing.assert_array_equal(read(path).source[0, 0], patterns[0, 0])


def test_data_set_without_a_shape(tmp_path):
    path = tmp_path / "null.h5"
    with h5py.File(path, "w") as file:
        file["data"] = h5py.Empty("f4")
    refused(path, "no array at all")


HEADER_THAT_LOOPS = (
    "c-rlly-EW?6ov2nM3%&mRU!ndEv@1f8?aMJR<{r%YGLVug+USmiC|-Ap$}o7NAXd7i#0QQFV2pjScpaL*BtK8&aj86&Pz5pYSy>w"
    "U<d-x5Q0mAyl+)&nqQ*|)MwO%q`tDV4)#Ml{{hdNV*m0yP0e=ULHERM`kq-uvh?uG=oQux>YJ?Y-Q@G!>S!Dr-Syt*-Y@SJuvUI6"
    "sLo2&WkcbfhU)ty{dpeRqfITHNeu$qmrB};0_<xQYxj>fmlLWUyN$a~hyI4+{_sRNKR~`F;2E8FZ+lDkmD3_W-1@0EeXU&3;<wH)"
    "48t%C!!QiPF#pZP>2M%GV(I`8sqgnG=b$`~;+oEi`?!J5_<89%*qF=aPHotM`^jiNGyBm#dVT;&1Cj!L7iByIUJUl7{s8_-L=p"
)
"""An HDF5 file of 5608 bytes, compressed: with two bytes of a header set to 0, opening an object of it never ends."""


def test_a_damaged_header_on_which_the_library_hangs(tmp_path, monkeypatch):
    monkeypatch.setattr("cyclestrain.io.soundness.SECONDS", 1.0)
    path = tmp_path / "scan.h5"
    path.write_bytes(zlib.decompress(base64.b85decode(HEADER_THAT_LOOPS)))
    refused(path, "is a damaged HDF5 file")


def test_the_file_that_hangs_is_named(tmp_path, monkeypatch):
    """Files that belong together are looked at in one process; what is damaged may be the part beside the master."""
    monkeypatch.setattr("cyclestrain.io.soundness.SECONDS", 1.0)
    (tmp_path / "data_2.h5").write_bytes(zlib.decompress(base64.b85decode(HEADER_THAT_LOOPS)))
    with h5py.File(tmp_path / "data_1.h5", "w") as file:
        file["data"] = np.zeros((4, 4, 8, 8), np.uint16)
    with h5py.File(tmp_path / "master.h5", "w") as file:
        for k in (1, 2):
            file[f"entry/data_{k}"] = h5py.ExternalLink(f"data_{k}.h5", "/data")
    refused(tmp_path / "master.h5", "data_2.h5 is a damaged HDF5 file")


def test_zarr_array_without_a_shape(tmp_path):
    """Zarr takes what is no array for a group."""
    zarr = pytest.importorskip("zarr")
    root = zarr.open_group(tmp_path / "scan.zarr", mode="w", zarr_format=2)
    root.create_array("data", shape=(3, 4, 16, 16), dtype="u2")[:] = 1
    described = tmp_path / "scan.zarr/data/.zarray"
    without = json.loads(described.read_text())
    del without["shape"]
    described.write_text(json.dumps(without))
    refused(tmp_path / "scan.zarr", "is not a readable Zarr store")


def test_zarr_chunk_without_size(tmp_path):
    zarr = pytest.importorskip("zarr")
    root = zarr.open_group(tmp_path / "scan.zarr", mode="w", zarr_format=3)
    root.create_array("data", shape=(3, 4, 16, 16), chunks=(1, 4, 16, 16), dtype="u2")[:] = 1
    described = tmp_path / "scan.zarr/data/zarr.json"
    changed = json.loads(described.read_text())
    changed["chunk_grid"]["configuration"]["chunk_shape"][0] = 0
    described.write_text(json.dumps(changed))
    refused(tmp_path / "scan.zarr", "a side of 0 values|not a readable Zarr store")


def test_annotations_of_a_vendor_that_never_end(tmp_path, monkeypatch):
    """Velox keeps its metadata as text in the heaps of HDF5, where damage can hang the library."""
    with h5py.File(tmp_path / "scan.emd", "w") as file:
        file["Version"], file["Data/Image/a/Data"] = "1.0", np.zeros((32, 32, 2), np.uint16)

    def hangs(paths):
        raise InputError(f"{paths[0]} is a damaged HDF5 file")

    monkeypatch.setattr("cyclestrain.io.hdf5_links.ensure_sound", hangs)
    refused(tmp_path / "scan.emd", "is a damaged HDF5 file")


def test_files_checked_ahead_are_not_checked_again(tmp_path, monkeypatch, patterns):
    """The explorer checks its files while it is imported; what is wrong with one is said where it is opened."""
    asked = []

    def looks(paths):
        asked.extend(paths)
        if "broken" in paths[0]:
            raise InputError(f"{paths[0]} is a damaged HDF5 file")

    monkeypatch.setattr("cyclestrain.io.hdf5_links.ensure_sound", looks)
    for name in ("scan.h5", "broken.h5"):
        with h5py.File(tmp_path / name, "w") as file:
            file["data"] = patterns
    np.save(tmp_path / "scan.npy", patterns)
    before = set(threading.enumerate())
    check_ahead([tmp_path / name for name in ("scan.h5", "broken.h5", "scan.npy", "none.h5", ".")])
    for each in set(threading.enumerate()) - before:
        each.join(30)
    assert sorted(asked) == [str(tmp_path / "broken.h5"), str(tmp_path / "scan.h5")]
    read(tmp_path / "scan.h5")
    refused(tmp_path / "broken.h5", "is a damaged HDF5 file")
    assert len(asked) == 2


def test_more_patterns_than_any_scan_has(tmp_path):
    """How they could be arranged must not be looked for: with damaged numbers it takes years."""
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        data = file.create_dataset("data", (2**40, 32, 32), np.uint8, chunks=(1, 32, 32))
        data[0] = 1
    refused(tmp_path / "scan.h5", "which no scan has")


def test_a_matlab_array_with_a_side_that_no_detector_has(tmp_path):
    """Its axes are told by reading slices: not where one alone would fill the memory."""
    path = tmp_path / "scan.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        data = file.create_dataset("data", (3, 4, 2**28, 16), np.uint16, chunks=(1, 1, 16, 16))
        data.attrs["MATLAB_class"] = np.bytes_("uint16")
        data[0, 0, :16] = 1
    path.write_bytes(b"MATLAB 7.3 MAT-file " + path.read_bytes()[20:])
    refused(path, "which no detector has")


def test_a_reader_that_takes_all_is_not_given_too_much(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "scan.app5", "w") as file:
        file["a"] = np.zeros((20, 20))
    monkeypatch.setattr("cyclestrain.io.vendor.LARGEST_EAGER", 1000)
    refused(tmp_path / "scan.app5", "refused beyond")
