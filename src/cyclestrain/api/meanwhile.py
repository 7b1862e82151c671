"""What a run needs later, loaded in another thread while it reads: a second or two in which a core is idle."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from io import BytesIO
from threading import Thread

__all__ = ["load_meanwhile"]


@cache
def load_meanwhile() -> None:
    """Begin to load what compiled loops and writing a result need; once in a process.

    At its first array xarray looks for every library of arrays that is installed, and at its first file for every
    library of files and scheduler. That cannot be asked for otherwise than by writing one.
    """
    Thread(target=_load, name="cyclestrain loads").start()  # a daemon might be in HDF5 while the process ends


def _load() -> None:
    import xarray as xr

    from cyclestrain.estimation import wake_compiler

    with suppress(Exception):  # where it fails, the run does too, and says why
        wake_compiler()
        xr.Dataset({"nothing": ("nowhere", [0.0])}).to_netcdf(BytesIO(), engine="h5netcdf")
