"""Files that are still being written: how many patterns are there, and which."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclestrain.errors import InputError, first_line
from cyclestrain.io import ArrayHeader

__all__ = ["GrowingFile", "Patterns", "open_growing"]

MERLIN_TYPES = {"U08": ">u1", "U8": ">u1", "U16": ">u2", "U32": ">u4"}
"""Types of the values in a Merlin's file by the name in its header; raw modes hold bits in another order."""
SETTLED = 2.0
"""Seconds without a change of the file after which its last chunk counts as complete."""
SUFFIXES = (".npy", ".mib", ".h5", ".hdf5", ".nxs")


@dataclass(frozen=True)
class Patterns:
    """Patterns in a file that grows.

    Attributes
    ----------
    total
        Number of patterns that the file says it will hold, 0 where it does not say.
    detector
        Shape of one, ``(qy, qx)``.
    dtype
        Type of one value, in native byte order.
    count
        Gives how many patterns are complete now.
    read
        Gives the patterns ``first`` to ``stop`` (excluded), shape ``(n, qy, qx)``.
    scan
        Shape of the scan, ``(ry, rx)``, where the file says it.
    """

    total: int
    detector: tuple[int, int]
    dtype: np.dtype[Any]
    count: Callable[[], int]
    read: Callable[[int, int], NDArray[Any]]
    scan: tuple[int, int] | None = None


@dataclass(frozen=True)
class GrowingFile:
    """A scan that is being written: whole in shape, zero where nothing has been written yet.

    Attributes
    ----------
    patterns
        Those of the file.
    scan_shape
        Shape of the scan, ``(ry, rx)``.
    path, dataset
        The file, and the name of the data set in it, None for the only one.
    """

    patterns: Patterns
    scan_shape: tuple[int, int]
    path: Path
    dataset: str | None = None

    def __reduce__(self) -> Any:
        """Another process opens the file anew."""
        return open_growing, (self.path, self.scan_shape, self.dataset)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the scan, ``(ry, rx, qy, qx)``."""
        return (*self.scan_shape, *self.patterns.detector)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of one value."""
        return self.patterns.dtype

    @property
    def count(self) -> int:
        """Number of positions, in order, whose patterns are there."""
        return min(self.patterns.count(), math.prod(self.scan_shape))

    def __getitem__(self, key: Any, /) -> NDArray[Any]:
        rows = key if isinstance(key, tuple) else (key,)
        wanted = np.arange(math.prod(self.scan_shape)).reshape(self.scan_shape)[rows[:2]]
        flat, there = wanted.ravel(), self.count
        out = np.zeros((flat.size, *self.patterns.detector), self.dtype)
        ends = np.flatnonzero(np.diff(flat) != 1) + 1
        for part in np.split(np.arange(flat.size), ends):
            part = part[flat[part] < there]
            if part.size:
                out[part] = self.patterns.read(int(flat[part[0]]), int(flat[part[-1]]) + 1)
        shaped = out.reshape(*wanted.shape, *self.patterns.detector)
        return shaped[(..., *rows[2:])] if rows[2:] else shaped


def open_growing(path: Path, scan_shape: tuple[int, int] | None, dataset: str | None = None) -> GrowingFile | None:
    """Open a file that is being written; None while its header is not there yet.

    Parameters
    ----------
    path
        A ``.npy``, a Merlin's ``.mib`` or an HDF5 file.
    scan_shape
        Shape of the scan, ``(ry, rx)``; None where the file says it.
    dataset
        Name of the data set in an HDF5 file that holds several.

    Raises
    ------
    InputError
        If the file is of another kind, or does not fit the shape of the scan.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{path.name} cannot be followed while it grows; live takes {', '.join(SUFFIXES)} files, "
            "others are mapped when they are complete"
        )
    if not path.is_file() or path.stat().st_size == 0:
        return None
    kind = {".npy": _npy, ".mib": _mib}.get(path.suffix.lower())
    found = kind(path) if kind else _hdf5(path, dataset)
    if found is None:
        return None
    shape = scan_shape or found.scan
    if shape is None:
        raise InputError(f"{path.name} does not say the shape of its scan; give its rows and columns with --scan")
    if found.total and found.total != math.prod(shape):
        raise InputError(
            f"{path.name} is to hold {found.total} patterns, which do not make a scan of {shape[0]}x{shape[1]}; "
            "give its rows and columns with --scan"
        )
    return GrowingFile(found, shape, path, dataset)


def _plain(path: Path, offset: int, skip: int, detector: tuple[int, int], dtype: np.dtype[Any]) -> Any:
    """How many frames of equal size are complete in a file, and a reader of them; `skip` bytes precede each."""
    size = skip + math.prod(detector) * dtype.itemsize

    def count() -> int:
        return max(0, _end(path, offset) - offset) // size

    def read(first: int, stop: int) -> NDArray[Any]:
        with path.open("rb") as stream:
            stream.seek(offset + first * size)
            content = np.frombuffer(stream.read((stop - first) * size), np.uint8)
        if content.size < (stop - first) * size:
            raise InputError(f"{path.name} became shorter while it was read; start again when it grows")
        pixels = np.ascontiguousarray(content.reshape(stop - first, size)[:, skip:]).view(dtype)
        return pixels.reshape(-1, *detector).astype(dtype.newbyteorder("="), copy=False)

    return count, read


def _end(path: Path, offset: int) -> int:
    """Where a file ends, or has its first hole: a file of full size may have been made before it was written."""
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if not hasattr(os, "SEEK_HOLE") or size <= offset:
            return size
        return os.lseek(stream.fileno(), offset, os.SEEK_HOLE)


def _npy(path: Path) -> Patterns | None:
    with path.open("rb") as stream:
        try:
            header = ArrayHeader.read(stream, np.lib.format.read_magic(stream))
        except (ValueError, EOFError):  # not yet written to its end
            return None
    shape, dtype = header.shape, header.dtype
    if header.fortran_order or dtype.hasobject or len(shape) not in (3, 4):
        raise InputError(
            f"{path.name} holds an array {shape} of {dtype}; to be followed it must be (ry, rx, qy, qx) or "
            "(n, qy, qx) numbers in C order"
        )
    detector = (shape[-2], shape[-1])
    count, read = _plain(path, header.length, 0, detector, dtype)
    scan = (shape[0], shape[1]) if len(shape) == 4 else None
    return Patterns(math.prod(shape[:-2]), detector, dtype.newbyteorder("="), count, read, scan)


def _mib(path: Path) -> Patterns | None:
    with path.open("rb") as stream:
        parts = stream.read(384).decode("latin1").split(",")
    if len(parts) < 7:
        return None
    try:
        skip, detector = int(parts[2]), (int(parts[5]), int(parts[4]))
        dtype = np.dtype(MERLIN_TYPES[parts[6].strip()])
    except (ValueError, KeyError) as error:
        raise InputError(
            f"{path.name} is no Merlin file that can be followed ({first_line(error)} in its header); "
            "map it when it is complete"
        ) from error
    count, read = _plain(path, 0, skip, detector, dtype)

    def upright(first: int, stop: int) -> NDArray[Any]:
        """Rows of the detector in the order of RosettaSciIO, with which complete files are read."""
        return np.ascontiguousarray(read(first, stop)[:, ::-1])

    return Patterns(0, detector, dtype.newbyteorder("="), count, upright)


def _hdf5(path: Path, dataset: str | None) -> Patterns | None:
    import h5py

    try:
        file = h5py.File(path, "r", libver="latest", swmr=True, locking=False)
    except OSError:  # its header is being written
        return None
    found: dict[str, Any] = {}
    file.visititems(lambda name, item: found.update({name: item}) if _holds_patterns(item) else None)
    names = [dataset] if dataset in found else [] if dataset else list(found)
    if not names:
        file.close()
        return None
    if len(names) > 1:
        raise InputError(f"{path.name} holds {', '.join(names)}; say which one with --dataset")
    stored = found[names[0]]
    if not isinstance(stored, h5py.Dataset) or stored.dtype.kind not in "uif":
        raise InputError(f"{names[0]} in {path.name} is no array of numbers; say which one is with --dataset")
    return _of_dataset(stored, f"{names[0]} in {path.name}")


def _holds_patterns(item: Any) -> bool:
    return getattr(item, "ndim", 0) in (3, 4) and item.dtype.kind in "uif"


def _of_dataset(stored: Any, name: str) -> Patterns:
    *lead, qy, qx = stored.shape
    per_row = 1 if len(lead) == 1 else int(lead[1])
    fixed = stored.maxshape[0] is not None
    if stored.chunks is None:
        raise InputError(
            f"{name} is not stored in chunks, so nobody can tell how much of it is written; map it when it is complete"
        )
    written = _Chunks(stored)

    def read(first: int, stop: int) -> NDArray[Any]:
        low, high = first // per_row, -(-stop // per_row)
        rows = np.asarray(stored[low:high]).reshape(-1, qy, qx)
        return rows[first - low * per_row : stop - low * per_row]

    total = int(stored.shape[0]) * per_row if fixed else 0
    scan = (int(lead[0]), per_row) if fixed and len(lead) == 2 else None
    return Patterns(total, (int(qy), int(qx)), stored.dtype.newbyteorder("="), written.count, read, scan)


class _Chunks:
    """How far the chunks of a data set have been written, in the order of its positions.

    Parameters
    ----------
    stored
        Data set of h5py, opened for reading while another process writes.
    """

    def __init__(self, stored: Any) -> None:
        self._stored, self._done, self._newest = stored, 0, 0

    def count(self) -> int:
        """Number of positions, in order, all of whose chunks are there."""
        stored, lead = self._stored, self._stored.chunks[:-2]
        stored.refresh()
        shape = stored.shape[:-2]
        total = math.prod(shape)
        # A chunk of several rows ends with its last row, one of several columns of a row with the last of these.
        step = lead[0] * math.prod(shape[1:]) if lead[0] > 1 else lead[-1]
        while self._done < total and self._has(self._done, shape):
            self._newest, column = self._done, self._done % shape[-1]
            self._done += min(step, shape[-1] - column) if lead[0] == 1 and len(shape) == 2 else step
        self._done = min(self._done, total)
        if math.prod(lead) == 1 or self._settled(total):
            return self._done
        return self._newest  # this chunk may be written in part

    def _settled(self, total: int) -> bool:
        age = time.time() - os.stat(self._stored.file.filename).st_mtime
        return self._done == total and age > SETTLED

    def _has(self, position: int, shape: tuple[int, ...]) -> bool:
        """Whether the chunks of a position are there, all of its detector."""
        row, column = divmod(position, shape[1]) if len(shape) == 2 else (position, 0)
        last = shape[-1] - 1 if self._stored.chunks[0] > 1 and len(shape) == 2 else column
        qy, qx = self._stored.shape[-2:]
        corners = ((row, column, 0, 0), (row, last, qy - 1, qx - 1))
        return all(self._is_there(corner if len(shape) == 2 else (row, *corner[2:])) for corner in corners)

    def _is_there(self, place: tuple[int, ...]) -> bool:
        start = tuple(at // part * part for at, part in zip(place, self._stored.chunks, strict=True))
        found = self._stored.id.get_chunk_info_by_coord(start)
        return found.size > 0 and found.byte_offset is not None
