"""NumPy's own files: `.npy` is read in parts, `.npz` as well where it is not compressed; sparse matrices of SciPy."""

from __future__ import annotations

import math
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from cyclestrain.errors import InputError, first_line
from cyclestrain.io.events import csr_patterns
from cyclestrain.io.loaded import Candidate, Loaded, check_unpacked, choose
from cyclestrain.io.sources import Plain

__all__ = ["ArrayHeader", "load_npy", "load_npz"]

LARGEST_HEADER = 2**16
"""Largest header of an array, bytes."""
SPARSE = frozenset({"indptr", "indices", "data", "shape", "format"})
"""Arrays in a file of `scipy.sparse.save_npz` of a matrix stored by rows or by columns."""
SHAPES = ("scan_shape", "detector_shape")
"""Arrays that may be beside them."""
HOW = "matrix.tocsr() with scipy.sparse.save_npz, one row per position and one column per pixel"


@dataclass(frozen=True)
class ArrayHeader:
    """What the header of an array says, and its length in bytes."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]
    length: int

    @property
    def n_bytes(self) -> int:
        """Size of the array."""
        return math.prod(self.shape) * self.dtype.itemsize

    @classmethod
    def read(cls, stream: IO[bytes], version: tuple[int, int]) -> ArrayHeader:
        """Read the header that follows the magic string, of a version of the format.

        Raises
        ------
        ValueError
            If it is damaged or not there to its end; what is no header raises whatever Python's parser does.
        """
        _check_length(stream, version)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran_order, dtype = read(stream)
        return cls(tuple(int(size) for size in shape), fortran_order, dtype, stream.tell())


def _read_header(stream: IO[bytes], name: str) -> ArrayHeader:
    try:
        version = np.lib.format.read_magic(stream)
    except ValueError as error:
        raise InputError(f"{name} is not a NumPy array; write it with numpy.save") from error
    try:
        header = ArrayHeader.read(stream, version)
    except Exception as error:  # the header is parsed as Python, which fails in every way that parser can
        raise InputError(
            f"{name} starts like a NumPy file but its header cannot be read ({first_line(error)}); write it again"
        ) from error
    if header.dtype.hasobject:
        raise InputError(
            f"{name} holds Python objects (a pickle), which are never loaded; save the patterns as plain numbers"
        )
    if min(header.shape, default=0) < 0:
        raise InputError(f"{name} declares the impossible shape {header.shape}; write it again")
    return header


def _check_length(stream: IO[bytes], version: tuple[int, int]) -> None:
    """Check the length of a header, which NumPy reads whole before it looks at it."""
    start, width = stream.tell(), 2 if version == (1, 0) else 4
    length = int.from_bytes(stream.read(width), "little")
    stream.seek(start)
    if length > LARGEST_HEADER:
        raise ValueError(f"it declares {length} bytes of header")


def _map(path: Path, header: ArrayHeader, name: str, offset: int, available: int) -> Loaded:
    if header.n_bytes > available:
        raise InputError(
            f"{name} is truncated: shape {header.shape} of {header.dtype} needs {header.n_bytes} bytes, "
            f"{max(available, 0)} are there; copy it again"
        )
    if 0 in header.shape:  # beside axes that may be too large for any array of NumPy
        raise InputError(f"{name} is empty: one axis of {header.shape} has size 0; check how it was written")
    return Loaded(Plain(path.absolute(), offset, header.dtype, header.shape, "F" if header.fortran_order else "C"))


def load_npy(path: Path) -> Loaded:
    """Open a `.npy` file; its declared size is checked against the file before anything is allocated.

    Raises
    ------
    InputError
        If the file is damaged or truncated, or holds Python objects.
    """
    with path.open("rb") as stream:
        header = _read_header(stream, str(path))
    return _map(path, header, str(path), header.length, path.stat().st_size - header.length)


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, ArrayHeader]:
    headers = {}
    for member in archive.namelist():
        if member.endswith(".npy"):
            with archive.open(member) as stream:
                headers[member.removesuffix(".npy")] = _read_header(stream, f"{path}, array {member!r}")
    return headers


def _stored_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Where the bytes of an uncompressed member start; the local header may differ from the central one."""
    with path.open("rb") as stream:
        stream.seek(info.header_offset)
        local = stream.read(30)
    name_length, extra_length = struct.unpack("<HH", local[26:30])
    return info.header_offset + 30 + int(name_length) + int(extra_length)


def load_npz(path: Path, dataset: str | None) -> Loaded:
    """Open one array of a `.npz` archive, in parts where it is not compressed, unpacked where it is.

    Parameters
    ----------
    path
        The archive; one of `scipy.sparse.save_npz` is a scan with a row per position and a column per pixel.
    dataset
        Name of the array; None to choose by shape.

    Raises
    ------
    InputError
        If the archive is damaged, an array is too large to unpack or holds Python objects, or which one is the scan is
        not clear.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            headers = _members(archive, path)
            if dataset is None and _is_sparse(headers):
                return _sparse(archive, path, headers)
            picked = choose(
                [Candidate(key, head.shape, head.dtype) for key, head in headers.items()], str(path), dataset
            )
            return _member(archive, path, picked.name, headers[picked.name])
    except InputError:
        raise
    except Exception as error:  # zipfile and its decompressors raise errors of a dozen unrelated types
        raise InputError(
            f"{path} is not a complete .npz archive ({first_line(error)}); write or copy it again"
        ) from error


def _member(archive: zipfile.ZipFile, path: Path, key: str, header: ArrayHeader) -> Loaded:
    name, info = f"{path}, array {key!r}", archive.getinfo(key + ".npy")
    if info.compress_type == zipfile.ZIP_STORED:
        offset = _stored_offset(path, info) + header.length
        return _map(path, header, name, offset, min(info.file_size, path.stat().st_size) - header.length)
    return Loaded(_unpacked(archive, path, key, header))


def _unpacked(archive: zipfile.ZipFile, path: Path, key: str, header: ArrayHeader) -> NDArray[Any]:
    """An array of an archive, in memory."""
    name, info = f"{path}, array {key!r}", archive.getinfo(key + ".npy")
    check_unpacked(header.n_bytes, name)
    if header.n_bytes > info.file_size:
        raise InputError(f"{name} declares {header.n_bytes} bytes in {info.file_size}; copy it again")
    with archive.open(info) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def _is_sparse(headers: dict[str, ArrayHeader]) -> bool:
    """Whether these are the arrays of `scipy.sparse.save_npz`, of a matrix stored in whatever way."""
    return {"format", "shape", "data"} <= set(headers) and headers["format"].dtype.kind in "SU"


def _sparse(archive: zipfile.ZipFile, path: Path, headers: dict[str, ArrayHeader]) -> Loaded:
    """The scan in a sparse matrix of SciPy, with the shapes that may have been added to it."""
    if not SPARSE <= set(headers) or any(len(headers[key].shape) != 1 for key in ("indptr", "indices", "data")):
        raise InputError(f"{path} holds a sparse matrix that is not stored by rows; save {HOW}")
    kind = _unpacked(archive, path, "format", headers["format"])
    if kind.astype(str).item() != "csr":
        raise InputError(f"{path} holds a sparse matrix that is not stored by rows; save {HOW}")
    n_rows, n_pixels = _pair(archive, path, "shape", headers)
    starts = _unpacked(archive, path, "indptr", headers["indptr"])
    if len(starts) != n_rows + 1:
        raise InputError(f"{path} declares {n_rows} rows and holds {len(starts) - 1}; copy it again")
    columns, values = (_member(archive, path, key, headers[key]).source for key in ("indices", "data"))
    patterns = csr_patterns(starts, columns, values, n_pixels, str(path))
    scan, detector = (_pair(archive, path, key, headers) if key in headers else None for key in SHAPES)
    return Loaded(patterns if detector is None else patterns.arranged(detector), scan)


def _pair(archive: zipfile.ZipFile, path: Path, key: str, headers: dict[str, ArrayHeader]) -> tuple[int, int]:
    """An array of two whole numbers."""
    if headers[key].shape != (2,) or headers[key].dtype.kind not in "iu":
        raise InputError(f"{path}, array {key!r} should be two whole numbers, rows and columns; write it again")
    first, second = _unpacked(archive, path, key, headers[key])
    return int(first), int(second)
