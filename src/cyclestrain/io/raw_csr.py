"""Sparse scans of LiberTEM: a header in TOML beside three raw files, which are a matrix of compressed sparse rows."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any

import numpy as np

from cyclestrain.errors import InputError, first_line
from cyclestrain.io.events import csr_patterns
from cyclestrain.io.loaded import Loaded, check_unpacked
from cyclestrain.io.raw import number_type
from cyclestrain.io.sources import Plain

__all__ = ["load_raw_csr"]

LARGEST_HEADER = 2**16
"""Largest header, bytes."""


def load_raw_csr(path: Path) -> Loaded:
    """Open a sparse scan in the format ``raw_csr`` of LiberTEM, whose events stay on disk.

    Parameters
    ----------
    path
        The header. It names the other files, which lie beside it.

    Raises
    ------
    InputError
        If it is no such header, or the files are missing, truncated or do not belong together.
    """
    header = _header(path)
    files = {name: _file(path, header, name) for name in ("indptr", "indices", "data")}
    scan_shape, detector = (_shape(path, header, name) for name in ("nav_shape", "sig_shape"))
    starts = files["indptr"]
    if starts.shape[0] != math.prod(scan_shape) + 1:
        raise InputError(
            f"{path} declares a scan of {scan_shape[0]}x{scan_shape[1]}, but {starts.path.name} has "
            f"{starts.shape[0] - 1} patterns; correct nav_shape, or copy the file again if it was cut"
        )
    check_unpacked(starts.shape[0] * 8, f"{starts.path}")
    patterns = csr_patterns(starts[:], files["indices"], files["data"], math.prod(detector), str(path))
    return Loaded(patterns.arranged(detector), scan_shape)


def _header(path: Path) -> dict[str, dict[str, Any]]:
    """The two tables of the header."""
    with path.open("rb") as stream:
        content = stream.read(LARGEST_HEADER + 1)
    try:
        if len(content) > LARGEST_HEADER:
            raise ValueError(f"it is longer than {LARGEST_HEADER} bytes")
        found = tomllib.loads(content.decode())
        kind = str(found["params"]["filetype"])
        if kind.lower() != "raw_csr":
            raise ValueError(f"its filetype is {kind[:100]!r}")
        return {"params": dict(found["params"]), "files": dict(found[kind])}
    except (ValueError, KeyError, TypeError, RecursionError) as error:  # which those of tomllib and of text are
        raise InputError(
            f"{path} is no header of a sparse scan ({first_line(error)}); it is TOML with the tables [params] and "
            "[raw_csr], see the documentation of LiberTEM"
        ) from error


def _shape(path: Path, header: dict[str, dict[str, Any]], name: str) -> tuple[int, int]:
    shape = header["params"].get(name)
    if not isinstance(shape, list) or len(shape) != 2 or not all(type(size) is int and size > 0 for size in shape):
        raise InputError(f"{path} needs {name} = [rows, columns] in its table [params], of two whole numbers")
    return shape[0], shape[1]


def _file(path: Path, header: dict[str, dict[str, Any]], name: str) -> Plain:
    """One of the three files, as the array that it is."""
    named, dtype = (header["files"].get(f"{name}_{what}") for what in ("file", "dtype"))
    if not isinstance(named, str) or not isinstance(dtype, str) or "\0" in named:
        raise InputError(f"{path} needs {name}_file and {name}_dtype in its table [raw_csr], as texts")
    file, value_type = path.absolute().parent / named, number_type(dtype)
    if value_type is None:
        raise InputError(f"{path}: {name}_dtype {dtype[:100]!r} is no type of numbers; use for example '<i4'")
    if not file.is_file():  # reading a pipe or a device need never end
        raise InputError(f"{path} keeps its events in {named[:200]!r}, which is missing or no file; put it beside it")
    n, rest = divmod(file.stat().st_size, value_type.itemsize)
    if rest:
        raise InputError(f"{file} is truncated: its size is no multiple of {value_type.itemsize} bytes; copy it again")
    return Plain(file, 0, np.dtype(value_type), (n,), "C")
