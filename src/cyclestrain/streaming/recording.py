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

from cyclestrain.data import BoolArray, IntArray, Scan
from cyclestrain.errors import InputError, OutputError
from cyclestrain.files import complaint
from cyclestrain.learning import Knowledge
from cyclestrain.streaming.following import Heard
from cyclestrain.streaming.growing import GrowingFile, open_growing

__all__ = ["FollowedFile", "Record", "wait_for_file"]

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


@dataclass(frozen=True)
class Record:
    """Files that take what a detector sends: the patterns as a ``.npy``, and a byte for each that is there.

    It is the array of the patterns as well, for a `cyclestrain.data.Scan`.

    Attributes
    ----------
    path, flags
        The two files.
    offset
        Bytes before the first pattern.
    shape, dtype
        Of the scan, ``(ry, rx, qy, qx)``.
    """

    path: Path
    flags: Path
    offset: int
    shape: tuple[int, int, int, int]
    dtype: np.dtype[Any]

    @classmethod
    def made(cls, path: Path, flags: Path, shape: tuple[int, int, int, int], dtype: np.dtype[Any]) -> Record:
        """New files of their full size, zero wherever nothing has come.

        Raises
        ------
        OutputError
            If the drive has no room for them.
        """
        size = math.prod(shape) * dtype.itemsize
        try:
            with path.open("wb") as stream:
                header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_2_0(stream, header)
                offset = stream.tell()
                if hasattr(os, "posix_fallocate"):  # a full disk is told now, not in the middle of the scan
                    os.posix_fallocate(stream.fileno(), 0, offset + size)
                else:
                    stream.truncate(offset + size)
            flags.write_bytes(bytes(shape[0] * shape[1]))
        except OSError as error:
            path.unlink(missing_ok=True)
            raise OutputError(f"{complaint(path, error)}; the patterns take {size / 1e9:.2g} GB") from error
        return cls(path, flags, offset, shape, dtype)

    def __getitem__(self, key: Any, /) -> NDArray[Any]:
        """Patterns, zero where none have come; opened anew each time, so that other processes can do the same."""
        with self.path.open("rb") as stream:
            whole = np.memmap(stream, self.dtype, "r", self.offset, self.shape)
            return np.array(whole[key])

    def there(self) -> BoolArray:
        """Which positions were recorded, shape ``(n,)``."""
        return np.fromfile(self.flags, np.uint8) > 0
