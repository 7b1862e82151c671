"""Sources of a live map: a file that grows, and the record of what a detector sent."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import IntArray, Scan
from cyclestrain.errors import InputError, OutputError
from cyclestrain.estimation import BlockFit
from cyclestrain.files import complaint
from cyclestrain.learning import Knowledge
from cyclestrain.streaming.following import Heard
from cyclestrain.streaming.growing import GrowingFile, open_growing

__all__ = ["FITTED", "LEFT", "RECORDED", "FollowedFile", "Record", "wait_for_file"]

T = TypeVar("T")

NONE: IntArray = np.zeros(0, np.int64)
LOOK = 0.1
"""Seconds between two looks at a file."""


@dataclass
class FollowedFile:
    """A file that grows, as a source of a live map."""

    scan: Scan
    file: GrowingFile
    _seen: int = field(default=0, init=False)
    _looked: float = field(default=0.0, init=False)

    def drive(self, work: Callable[[], T]) -> T:
        """Do the work: nothing else has to run meanwhile."""
        return work()

    def rest(self) -> IntArray:
        """Positions that were completed since the last look."""
        return np.arange(self._seen, max(self.file.count, self._seen))

    def use(self, knowledge: Knowledge) -> None:
        """Nothing: what comes is fitted by who follows it."""

    def listen(self) -> Heard:
        """Patterns that were completed since the last look."""
        now = time.monotonic()
        if now - self._looked < LOOK:
            return Heard(NONE, NONE)
        self._looked = now
        new = self.rest()
        self._seen += len(new)
        return Heard(new, new)


def wait_for_file(path: Path, scan_shape: tuple[int, int] | None, dataset: str | None, timeout: float) -> GrowingFile:
    """Open a file that is being written as soon as its header is there.

    Parameters
    ----------
    path, scan_shape, dataset
        As for `cyclestrain.streaming.growing.open_growing`.
    timeout
        Longest time to wait, seconds.

    Raises
    ------
    InputError
        If it does not come in time, or cannot be followed.
    """
    end = time.monotonic() + timeout
    while (found := open_growing(path, scan_shape, dataset)) is None:
        if time.monotonic() > end:
            what = "holds no patterns yet" if path.is_file() else "does not exist"
            raise InputError(f"{path} {what} after {timeout:g} s; start the recording, or wait longer with --timeout")
        time.sleep(LOOK)
    return found


RECORDED, FITTED, LEFT = 1, 2, 3
"""What the byte of a position says: its pattern is there; its fit is too; its fit is left to who reads this."""
FIT_SHAPES = {name: values.shape[1:] for name, values in BlockFit.unknown(np.arange(1)).arrays.items()}
FIT_BYTES = 8 * sum(math.prod(shape) for shape in FIT_SHAPES.values())
"""Shape of every part of the fit of a pattern, and the bytes that all of them take, as numbers of eight bytes."""


@dataclass(frozen=True)
class Record:
    """Files through which processes pass on what a detector sends, and what they find in it.

    They are the patterns as a ``.npy``, a byte for each position, and a row of numbers for the fit of each. A result of
    LiberTEM comes only when the next patterns have come, one for one: what once lags behind would lag for ever.
    The record is the array of the patterns as well, for a `cyclestrain.data.Scan`.

    Attributes
    ----------
    path, flags, fits
        The three files.
    offset
        Bytes before the first pattern.
    shape, dtype
        Of the scan, ``(ry, rx, qy, qx)``.
    """

    path: Path
    flags: Path
    fits: Path
    offset: int
    shape: tuple[int, int, int, int]
    dtype: np.dtype[Any]

    @classmethod
    def made(cls, path: Path, folder: Path, shape: tuple[int, int, int, int], dtype: np.dtype[Any]) -> Record:
        """New files of their full size, zero wherever nothing has come.

        Parameters
        ----------
        path
            File of the patterns.
        folder
            Folder of the two others.
        shape, dtype
            Of the scan, ``(ry, rx, qy, qx)``.

        Raises
        ------
        OutputError
            If the drive has no room for them.
        """
        size, n = math.prod(shape) * dtype.itemsize, shape[0] * shape[1]
        flags, fits = folder / "there", folder / "fits"
        try:
            with path.open("wb") as stream:
                header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_2_0(stream, header)
                offset = stream.tell()
                _reserve(stream, offset + size)
            with fits.open("wb") as stream:
                _reserve(stream, n * FIT_BYTES)
            flags.write_bytes(bytes(n))
        except OSError as error:
            path.unlink(missing_ok=True)
            raise OutputError(f"{complaint(path, error)}; the patterns take {size / 1e9:.2g} GB") from error
        return cls(path, flags, fits, offset, shape, dtype)

    def __getitem__(self, key: Any, /) -> NDArray[Any]:
        """Patterns, zero where none have come; opened anew each time, so that other processes can do the same."""
        with self.path.open("rb") as stream:
            whole = np.memmap(stream, self.dtype, "r", self.offset, self.shape)
            return np.array(whole[key])

    def state(self) -> NDArray[np.uint8]:
        """`RECORDED`, `FITTED` or `LEFT` for every position, 0 where nothing has come, shape ``(n,)``."""
        return np.fromfile(self.flags, np.uint8)

    def write(self, positions: IntArray, patterns: NDArray[Any], *, left: bool) -> None:
        """Write consecutive patterns, then that they are there; their fits are left to who reads them, or follow.

        Parameters
        ----------
        positions, patterns
            The patterns, shape ``(n, qy, qx)``, and where in the scan they are.
        left
            Whether nobody fits them here.
        """
        first = int(positions[0])
        if not np.array_equal(positions, np.arange(first, first + len(positions))):
            raise RuntimeError("patterns that are recorded have to be consecutive; leave out the region of interest")
        _write(self.path, patterns.data.cast("B"), self.offset + first * patterns[0].nbytes)
        self._mark(first, len(positions), LEFT if left else RECORDED)

    def write_fits(self, fit: BlockFit) -> None:
        """Write the fits of consecutive positions, then that they are there."""
        first, n = int(fit.positions[0]), len(fit.positions)
        rows = np.concatenate([values.reshape(n, -1).astype(float) for values in fit.arrays.values()], 1)
        _write(self.fits, rows.data.cast("B"), first * FIT_BYTES)
        self._mark(first, n, FITTED)

    def read_fits(self, positions: IntArray) -> BlockFit:
        """Fits of some positions that are `FITTED`."""
        with self.fits.open("rb") as stream:
            rows = np.array(np.memmap(stream, np.float64, "r").reshape(-1, FIT_BYTES // 8)[positions])
        ends = np.cumsum([math.prod(shape) for shape in FIT_SHAPES.values()])[:-1]
        parts = zip(FIT_SHAPES.items(), np.split(rows, ends, 1), strict=True)
        found: dict[str, Any] = {name: part.reshape(-1, *shape) for (name, shape), part in parts}
        return BlockFit(positions, **found | {"label": found["label"].astype(np.int64)})

    def _mark(self, first: int, n: int, state: int) -> None:
        _write(self.flags, memoryview(bytes([state]) * n), first)


def _reserve(stream: Any, size: int) -> None:
    """Give a file its full size; a full disk is told now, not in the middle of the scan."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(stream.fileno(), 0, size)
    else:
        stream.truncate(size)


def _write(path: Path, content: memoryview, at: int) -> None:
    """Write into a file that exists: that fails with an error, where a memory map crashes."""
    handle = os.open(path, os.O_WRONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))
    try:
        os.lseek(handle, at, os.SEEK_SET)
        while content:
            content = content[os.write(handle, content) :]
    finally:
        os.close(handle)
