"""Check that the annotations of an HDF5 file can be read, in another process, where a hang can be stopped.

Text of variable length lies in heaps that carry no checksum. Damage there leads the HDF5 library into an endless loop
or a crash, from which no exception returns.
"""

from __future__ import annotations

import subprocess
import sys
from functools import lru_cache
from pathlib import Path

from cyclestrain.errors import InputError

__all__ = ["ensure_sound"]

SECONDS = 8
"""Longest time to wait; reading the annotations takes milliseconds, on a slow network drive some seconds."""

# Every object, its attributes and its small data sets, as the readers of calibrations look at them. What raises is left
# to those readers: they say it better.
_PROGRAM = """
import sys
import h5py
left = 50_000
def look(name, item):
    global left
    left -= 1
    for key in item.attrs:
        try:
            item.attrs[key]
        except Exception:
            pass
    try:
        if isinstance(item, h5py.Dataset) and item.size is not None and item.size < 4096:
            item[()]
    except Exception:
        pass
    return None if left else True
try:
    with h5py.File(sys.argv[1], "r") as file:
        file.visititems(look)
except Exception:
    pass
"""


@lru_cache(maxsize=256)
def _survives(path: str, size: int, changed: int) -> bool:
    """Whether reading ends, for the file of this size and time of change; the answer is kept."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _PROGRAM, path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    except OSError:  # no interpreter to start, in a bundled program: nothing can be tried
        return True
    return done.returncode >= 0  # negative: ended by a signal


def ensure_sound(path: Path) -> None:
    """Make sure that reading the annotations of the HDF5 file `path` neither hangs nor crashes.

    Raises
    ------
    InputError
        If it does: the file is damaged.
    """
    state = path.stat()
    if not _survives(str(path), state.st_size, state.st_mtime_ns):
        raise InputError(f"{path} is a damaged HDF5 file (its annotations lead nowhere); copy it again")
