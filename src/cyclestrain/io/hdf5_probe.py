"""Program that looks at every object of HDF5 files, run by `cyclestrain.io.soundness` in a process of its own.

It imports nothing of the package, follows no link out of a file, and says ``begun``, and ``ended`` after each file. An
object on which the HDF5 library hangs ends the process after the seconds that are given.
"""

from __future__ import annotations

import faulthandler
import sys
from contextlib import suppress
from typing import Any

MOST_OBJECTS = 50_000
"""Largest number of names that are looked at."""
SMALL = 4096
"""Values of a data set up to which it is read, as readers of calibrations do."""


def look(item: Any) -> None:
    """Read the attributes of an object, and its values where they are few and in this file."""
    import h5py

    for key in item.attrs:
        with suppress(Exception):  # what raises is left to the readers: they say it better
            item.attrs[key]
    is_data = isinstance(item, h5py.Dataset) and item.size is not None
    if is_data and item.size < SMALL and not item.is_virtual and not item.external:
        item[()]


def walk(file: Any, seconds: float) -> bool:
    """Look at all objects of a file that are reached through hard links; whether its groups name each object once."""
    import h5py

    todo, seen, left = [file["/"]], set(), MOST_OBJECTS
    while todo and left > 0:
        item = todo.pop()
        faulthandler.dump_traceback_later(seconds, exit=True)
        names: list[str] = []
        with suppress(Exception):
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                continue
            seen.add(address)
            look(item)
            names = list(item) if isinstance(item, h5py.Group) else []
        if len(set(names)) < len(names):  # read in circles
            return False
        for name in names[:left]:
            left -= 1
            faulthandler.dump_traceback_later(seconds, exit=True)
            with suppress(Exception):
                if isinstance(item.get(name, getlink=True), h5py.HardLink):
                    todo.append(item[name])
    return True


def main(seconds: float, paths: list[str]) -> None:
    """Look at the files one after the other."""
    import h5py

    with suppress(ImportError):
        import hdf5plugin  # noqa: F401  (filters, as where the file is read)
    print("begun", flush=True)
    for path in paths:
        faulthandler.dump_traceback_later(seconds, exit=True)
        with suppress(Exception), h5py.File(path, "r") as file:
            if not walk(file, seconds):
                return
        print("ended", flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.stdin.read().split("\0"))
