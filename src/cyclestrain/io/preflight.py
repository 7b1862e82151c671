"""Check of the sizes that raw formats declare, before a third-party reader plans any work on them.

A damaged header otherwise makes such a reader list billions of chunks, which looks like a hang.
"""

from __future__ import annotations

import struct
from pathlib import Path

from cyclestrain.errors import InputError

__all__ = ["check_declared_size"]

_BLO_MAGIC = 0x0102
_BLO_FRAME_HEADER = 6


def _blo_bytes(head: bytes) -> int | None:
    """Bytes a NanoMEGAS blockfile declares; None where the header is not one."""
    magic, _, offset, _, side, _, n_columns, n_rows = struct.unpack_from("<HIIIHHHH", head, 6)
    if magic != _BLO_MAGIC:
        return None
    return int(offset) + int(n_columns) * int(n_rows) * (int(side) ** 2 + _BLO_FRAME_HEADER)


def _mrc_bytes(head: bytes) -> int | None:
    """Bytes an MRC file declares, at the least (half a byte per value); None where the header is not one."""
    nx, ny, nz = struct.unpack_from("<3i", head, 0)
    return None if min(nx, ny, nz) < 1 else 1024 + nx * ny * nz // 2


def check_declared_size(path: Path) -> None:
    """Make sure that the file `path` holds as much as its header declares; formats without a check pass.

    Raises
    ------
    InputError
        If it does not start like a file of its format, or is truncated.
    """
    measure = {".blo": _blo_bytes, ".mrc": _mrc_bytes}.get(path.suffix.lower())
    if measure is None:
        return
    with path.open("rb") as stream:
        head = stream.read(64)
    declared = measure(head) if len(head) == 64 else None
    if declared is None:
        raise InputError(f"{path} does not start like a {path.suffix} file; copy it again from its origin")
    there = path.stat().st_size
    if declared > there:
        raise InputError(f"{path} is truncated: its header promises {declared} bytes, {there} are there; copy it again")
