"""Files that grow: what is complete is told, what is read is what a reader of the whole file reads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cyclestrain.errors import InputError
from cyclestrain.io import read
from cyclestrain.streaming.growing import GrowingFile, open_growing
from simulators import merlin_frame, write_merlin

PATTERNS = np.random.default_rng(0).integers(0, 4000, (3, 4, 16, 24)).astype(np.uint16)
FRAMES = PATTERNS.reshape(-1, 16, 24)


def opened(path: Path, **options: Any) -> GrowingFile:
    found = open_growing(path, options.pop("scan", None), **options)
    assert found is not None
    return found


@pytest.mark.parametrize("n", [0, 1, 7, 12])
def test_numpy_and_merlin_by_their_size(tmp_path: Path, n: int) -> None:
    whole = tmp_path / "whole.npy"
    np.save(whole, PATTERNS)
    header, part = whole.stat().st_size - PATTERNS.nbytes, FRAMES[0].nbytes
    growing = tmp_path / "growing.npy"
    growing.write_bytes(whole.read_bytes()[: header + n * part + (part // 2 if n < 12 else 0)])
    mib = tmp_path / "growing.mib"
    frames = [merlin_frame(index, frame) for index, frame in enumerate(FRAMES[: n + 1])]
    mib.write_bytes(b"".join(frames[:n]) + (frames[n][:400] if n < 12 else b""))
    for file in (opened(growing), opened(mib, scan=(3, 4))):
        assert file.count == n
        assert file.shape == PATTERNS.shape
        expected = np.where(np.arange(12)[:, None, None] < n, FRAMES, 0).reshape(PATTERNS.shape)
        np.testing.assert_array_equal(file[:], expected)
        np.testing.assert_array_equal(file[1:3, 1:3], expected[1:3, 1:3])
        np.testing.assert_array_equal(file[2, 3], expected[2, 3])
        np.testing.assert_array_equal(file[1], expected[1])


def test_a_merlin_file_reads_as_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "scan.mib"
    write_merlin(path, PATTERNS)
    np.testing.assert_array_equal(opened(path, scan=(3, 4))[:], np.asarray(read(path).source[:]))


@pytest.mark.skipif(not hasattr(os, "SEEK_HOLE"), reason="this system does not tell holes in files")
def test_a_file_of_full_size_counts_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "scan.npy"
    big = np.lib.format.open_memmap(path, "w+", np.uint16, (4, 4, 64, 64))
    file = opened(path)
    assert file.count == 0
    big[:2] = 7
    big.flush()
    assert file.count == 8


WRITER = """
import sys, h5py, numpy as np
patterns = np.load(sys.argv[1])
with h5py.File(sys.argv[2], "w", libver="latest") as file:
    chunks = eval(sys.argv[3])
    shape = patterns.shape[-len(chunks):] if len(chunks) == 4 else (0, *patterns.shape[2:])
    most = (None, *shape[1:]) if len(shape) == 3 else None
    stored = file.create_dataset("a/data", shape, "u2", chunks=chunks, maxshape=most)
    file.swmr_mode = True
    for row in range(4):
        print(row, flush=True)
        if not sys.stdin.readline() or row == 3:
            break
        if len(shape) == 3:
            stored.resize(4 * row + 4, 0)
        stored[slice(4 * row, 4 * row + 4) if len(shape) == 3 else row] = patterns[row]
        stored.flush()
"""


@contextmanager
def written(path: Path, chunks: tuple[int, ...]) -> Iterator[Callable[[], None]]:
    """Another process that writes the patterns to HDF5, a row for every call of what is given."""
    np.save(path.with_suffix(".npy"), PATTERNS)
    arguments = [sys.executable, "-c", WRITER, str(path.with_suffix(".npy")), str(path), repr(chunks)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline()

        def write_row() -> None:
            print(file=process.stdin, flush=True)
            assert process.stdout.readline()

        yield write_row
        process.stdin.close()


@pytest.mark.parametrize(
    ("chunks", "counts"),
    [
        ((1, 1, 16, 24), [0, 4, 8, 12]),
        ((1, 1, 8, 24), [0, 4, 8, 12]),
        ((1, 2, 16, 24), [0, 2, 6, 10]),
        ((2, 4, 16, 24), [0, 0, 0, 8]),
        ((1, 16, 24), [0, 4, 8, 12]),
    ],
)
def test_hdf5_by_the_chunks_that_were_written(tmp_path: Path, chunks: tuple[int, ...], counts: list[int]) -> None:
    """A chunk of several positions may be written in part: the newest one waits until the file rests."""
    path = tmp_path / "scan.h5"
    with written(path, chunks) as write_row:
        file = opened(path, scan=(3, 4))
        found = [file.count]
        for _ in range(3):
            write_row()
            found.append(file.count)
    assert found == counts
    os.utime(path, (0, 0))
    assert file.count == 12
    np.testing.assert_array_equal(file[:], PATTERNS)


def test_a_pattern_of_which_a_chunk_is_missing_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    for rows, count in ((8, 0), (16, 1)):
        with h5py.File(path, "w", libver="latest") as file:
            stored = file.create_dataset("data", PATTERNS.shape, "u2", chunks=(1, 1, 8, 24))
            stored[0, 0, :rows] = 1
        assert opened(path).count == count


def test_what_cannot_be_followed_is_said(tmp_path: Path) -> None:
    assert open_growing(tmp_path / "absent.npy", None) is None
    with pytest.raises(InputError, match=r"live takes \.npy"):
        open_growing(tmp_path / "scan.dm4", None)
    np.save(tmp_path / "stack.npy", FRAMES)
    with pytest.raises(InputError, match="--scan"):
        open_growing(tmp_path / "stack.npy", None)
    with pytest.raises(InputError, match="do not make a scan of 5x5"):
        open_growing(tmp_path / "stack.npy", (5, 5))
    with h5py.File(tmp_path / "flat.h5", "w") as writer:
        writer["data"] = PATTERNS
    with pytest.raises(InputError, match="not stored in chunks"):
        open_growing(tmp_path / "flat.h5", None)
