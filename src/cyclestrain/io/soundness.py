"""Check that an HDF5 file can be read, in another process, where a hang can be stopped.

The headers of objects and the heaps of text of variable length carry no checksum in most files. Damage there leads the
HDF5 library into an endless loop or a crash, from which no exception returns.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cyclestrain.errors import InputError

__all__ = ["ensure_sound"]

SECONDS = 5.0
"""Longest time for one object; it takes much less than a millisecond, on a slow network drive some more."""
PROGRAM = Path(__file__).with_name("hdf5_probe.py")


def ensure_sound(paths: Sequence[str]) -> None:
    """Make sure that looking at the objects of HDF5 files neither hangs nor crashes; other files are sound.

    Parameters
    ----------
    paths
        Regular files. They share one process, which takes a tenth of a second to start.

    Raises
    ------
    InputError
        If a file hangs or crashes it: the file is damaged.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(PROGRAM), str(SECONDS)],
            input=os.fsencode("\0".join(paths)),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    except OSError:  # no interpreter to start, in a bundled program: nothing can be tried
        return
    said = done.stdout.split()
    if said and len(said) <= len(paths):  # nothing is said without h5py: there nothing can be tried either
        damaged = paths[len(said) - 1]
        raise InputError(f"{damaged} is a damaged HDF5 file (some of its objects lead nowhere); copy it again")
