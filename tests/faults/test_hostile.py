"""Files made to do harm: refused in time, within memory, in one sentence; what is missing in a file is said."""

from __future__ import annotations

import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr

import cyclestrain as cs
from cyclestrain import cli
from cyclestrain.errors import InputError
from cyclestrain.io import read
from cyclestrain.result import load_result
from fuzz.harness import try_all

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")

SHAPE = (4, 4, 32, 32)
PATTERNS = np.random.default_rng(0).poisson(3.0, SHAPE).astype(np.uint16)


def virtual(path: Path, source: str, name: str = "data", grows: bool = False) -> None:
    most = (None, *SHAPE[1:]) if grows else None
    with h5py.File(path, "w") as file:
        layout = h5py.VirtualLayout(SHAPE, "u2", maxshape=most)
        part = h5py.VirtualSource(source, name, SHAPE, maxshape=most)
        whole = slice(0, h5py.h5s.UNLIMITED) if grows else slice(None)
        layout[whole] = part[whole]
        file.create_virtual_dataset("data", layout)


def link_to_pipe(home: Path) -> Path:
    os.mkfifo(home / "pipe")
    with h5py.File(home / "a.h5", "w") as file:
        file["g/far"] = h5py.ExternalLink("pipe", "/x")
        file["near"] = h5py.SoftLink("/g/far/x")
        file["data"] = PATTERNS
    return home / "a.h5"


def link_behind_link(home: Path) -> Path:
    link_to_pipe(home)
    with h5py.File(home / "b.h5", "w") as file:
        file["other"] = h5py.ExternalLink("a.h5", "/")
    return home / "b.h5"


def raw_pipe(home: Path) -> Path:
    with h5py.File(home / "a.h5", "w") as file:
        file.create_dataset("data", SHAPE, "u2", external=[("raw", 0, PATTERNS.nbytes)])
    (home / "raw").unlink(missing_ok=True)
    os.mkfifo(home / "raw")
    return home / "a.h5"


def made_of_itself(home: Path) -> Path:
    virtual(home / "a.h5", ".")
    return home / "a.h5"


def growing_out_of_itself(home: Path) -> Path:
    virtual(home / "a.h5", "a.h5", grows=True)
    return home / "a.h5"


def made_of_each_other(home: Path) -> Path:
    virtual(home / "a.h5", "b.h5")
    virtual(home / "b.h5", "a.h5")
    return home / "a.h5"


def made_of_a_pipe(home: Path) -> Path:
    os.mkfifo(home / "pipe")
    virtual(home / "a.h5", "pipe")
    return home / "a.h5"


def made_of_nothing(home: Path) -> Path:
    virtual(home / "a.h5", "gone.h5")
    return home / "a.h5"


def made_of_another_name(home: Path) -> Path:
    with h5py.File(home / "b.h5", "w") as file:
        file["other"] = PATTERNS
    virtual(home / "a.h5", "b.h5")
    return home / "a.h5"


def raw_too_short(home: Path) -> Path:
    raw_pipe(home)
    (home / "raw").unlink()
    (home / "raw").write_bytes(PATTERNS.tobytes()[:-2])
    return home / "a.h5"


def chunk_bomb(home: Path) -> Path:
    with h5py.File(home / "a.h5", "w") as file:
        made = file.create_dataset("data", (4, 4, 16384, 16384), "u1", chunks=(2, 4, 16384, 16384), compression="gzip")
        made.id.write_direct_chunk((0, 0, 0, 0), b"x\x9c\x03\x00\x00\x00\x00\x01")
    return home / "a.h5"


def stored_zarr(home: Path, version: int = 2) -> Path:
    array = zarr.create_array(home / "a.zarr", shape=SHAPE, chunks=(1, 4, 32, 32), dtype="u2", zarr_format=version)
    array[:] = PATTERNS
    return home / "a.zarr"


def zarr_with_a_pipe(home: Path) -> Path:
    path = stored_zarr(home)
    (path / "0.0.0.0").unlink()
    os.mkfifo(path / "0.0.0.0")
    return path


def zarr_described_by_a_pipe(home: Path) -> Path:
    path = stored_zarr(home)
    (path / "sub").mkdir()
    os.mkfifo(path / "sub" / ".zarray")
    return path


def zarr_bomb(home: Path) -> Path:
    path = stored_zarr(home)
    described = json.loads((path / ".zarray").read_text())
    described |= {"shape": [4, 4, 16384, 16384], "chunks": [4, 4, 16384, 16384]}
    (path / ".zarray").write_text(json.dumps(described))
    return path


def packed(home: Path, content: Callable[[zipfile.ZipFile], None]) -> Path:
    with zipfile.ZipFile(home / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        content(archive)
    return home / "a.npz"


def npz_bomb(home: Path) -> Path:
    def write(archive: zipfile.ZipFile) -> None:
        with archive.open("x.npy", "w", force_zip64=True) as stream:
            header = {"descr": "|u1", "fortran_order": False, "shape": (2, 5, 8192, 16384)}
            np.lib.format.write_array_header_1_0(stream, header)
            stream.write(bytes(2**24))

    return packed(home, write)


def header_bomb(home: Path) -> Path:
    def write(archive: zipfile.ZipFile) -> None:
        with archive.open("x.npy", "w", force_zip64=True) as stream:
            stream.write(b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31 - 1))
            stream.write(bytes(2**27))

    return packed(home, write)


HOSTILE = [
    link_to_pipe, link_behind_link, raw_pipe, made_of_itself, growing_out_of_itself, made_of_each_other, made_of_a_pipe,
    made_of_nothing, made_of_another_name, raw_too_short, chunk_bomb, zarr_with_a_pipe, zarr_described_by_a_pipe,
    zarr_bomb, npz_bomb, header_bomb,
]  # fmt: skip


def test_hostile_files_are_refused_in_time_and_within_memory(tmp_path: Path) -> None:
    paths = []
    for make in HOSTILE:
        home = tmp_path / make.__name__
        home.mkdir()
        here = os.getcwd()
        os.chdir(home)  # h5py makes the file of raw data where the process is
        paths.append(make(home))
        os.chdir(here)
    verdict = try_all(paths, seconds=10, memory=3 * 2**29)
    assert not verdict.wrong, "\n".join(verdict.wrong)
    assert verdict.counts == {"refused": len(HOSTILE)}


def test_a_hostile_result_is_refused(tmp_path: Path) -> None:
    with h5py.File(link_to_pipe(tmp_path), "a") as file:
        file.attrs["cyclestrain_version"] = "0.1"
    with pytest.raises(InputError, match="pipe, which is no regular file"):
        load_result(tmp_path / "a.h5")


def test_files_that_belong_together_are_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["data"] = PATTERNS
    virtual(tmp_path / "a.h5", "b.h5")
    virtual(tmp_path / "c.h5", "a.h5")
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["link"] = h5py.ExternalLink("c.h5", "/data")
        file["round"] = h5py.SoftLink("/")
    for name in "abcd":
        np.testing.assert_array_equal(read(tmp_path / f"{name}.h5").source[:], PATTERNS)


@pytest.mark.parametrize("kind", ["zarr2", "zarr3", "zip", "hdf5"])
def test_chunks_that_are_missing_are_said(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.h5"
    if kind == "hdf5":
        with h5py.File(path, "w") as file:
            file.create_dataset("data", SHAPE, "u2", chunks=(1, 4, 32, 32))[:3] = PATTERNS[:3]
    else:
        path = stored_zarr(tmp_path, 3 if kind == "zarr3" else 2)
        assert "Incomplete" not in cs.info(path)
        (path / ("c/3/0/0/0" if kind == "zarr3" else "3.0.0.0")).unlink()
        if kind == "zip":
            with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
                for file in path.iterdir():
                    archive.write(file, file.name)
            path = tmp_path / "a.zip"
    said = "1 of 4 parts of the file were never written and read as zero"
    assert said in cs.info(path)
    cli.main(["map", str(path), "-o", str(tmp_path / "a.nc")])
    assert said in capsys.readouterr().err


def test_names_in_a_file_do_not_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b[2J\nerror: all is well\r"
    with h5py.File(tmp_path / "one.h5", "w") as file:
        file[f"{evil}/data"] = PATTERNS
        file[f"{evil}/data"].attrs["units"] = evil
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file[f"{evil}a"] = PATTERNS
        file[f"{evil}b"] = PATTERNS
    strange = tmp_path / os.fsdecode(b"caf\xe9 \x1b[31m.npy")
    np.save(strange, PATTERNS)
    for path, code in ((tmp_path / "one.h5", 0), (tmp_path / "two.h5", 1), (strange, 0)):
        assert cli.main(["info", str(path)]) == code
        said = "".join(capsys.readouterr())
        assert "\x1b[2J" not in said
        assert "\x1b[31m.npy" not in said
        assert "\nerror: all is well" not in said
    assert "caf\\xe9 \\x1b[31m.npy" in said


def test_an_empty_array_of_boundless_axes_is_refused(tmp_path: Path) -> None:
    """NumPy makes no array of shape (0, 2**31 - 1, 2**31 - 1, 16), although it is empty."""
    header = repr({"descr": "<u2", "fortran_order": False, "shape": (0, 2**31 - 1, 2**31 - 1, 16)}).encode() + b"\n"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"12")
    with pytest.raises(InputError, match="is empty"):
        read(tmp_path / "a.npy")
