"""Simulated scans on disk: one HDF5 file with the patterns at ``/data`` and the truth, netCDF style, in ``/truth``."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import h5py
import xarray as xr

from cyclestrain.errors import InputError, OutputError
from cyclestrain.files import check_writable, write_whole
from cyclestrain.simulation.sample import SimulatedScan

__all__ = ["has_truth", "load_truth", "save"]

DATA, TRUTH = "data", "truth"
"""Names of the patterns and of the group of the truth in the file."""
BAND_BYTES = 256 * 2**20
"""Size of the bands of scan rows that are simulated and written at once, bytes."""


def save(simulated: SimulatedScan, path: str | os.PathLike[str], force: bool = False) -> Path:
    """Write a simulated scan; an interrupted or failed write leaves no file behind.

    Parameters
    ----------
    simulated
        The scan and its truth.
    path
        File to write, usually ``.h5``.
    force
        Whether an existing file may be replaced.

    Returns
    -------
    path
        The file.

    Raises
    ------
    OutputError
        If the file exists and not `force`, its folder is missing, or it does not fit or cannot be written.
    """
    target = Path(path)
    check_writable(target, force)
    needed, free = simulated.scan.pattern_bytes * simulated.scan.n_positions, shutil.disk_usage(target.parent).free
    if needed > free:
        raise OutputError(
            f"the scan takes {needed / 1e9:.1f} GB and {target.parent} has {free / 1e9:.1f} GB left: choose another "
            "place, or fewer positions with --scan"
        )
    with write_whole(target, force) as temporary:
        _write(simulated, temporary)
    return target


def has_truth(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a simulated scan that holds its truth."""
    try:
        with h5py.File(path, "r") as file:
            return TRUTH in file and DATA in file
    except OSError:
        return False


def load_truth(path: str | os.PathLike[str]) -> xr.Dataset:
    """Truth of a simulated scan, dims ``(ry, rx)``, in memory.

    Raises
    ------
    InputError
        If there is no such file or it holds no truth.
    """
    if not Path(path).is_file():
        raise InputError(f"there is no file {path}")
    try:
        with xr.open_dataset(path, group=TRUTH, engine="h5netcdf", phony_dims="access") as truth:
            return truth.load()
    except (OSError, KeyError) as error:
        raise InputError(f"{path} holds no simulated truth: it was not written by `cyclestrain simulate`") from error


def _write(simulated: SimulatedScan, path: Path) -> None:
    scan = simulated.scan
    n_rows = scan.scan_shape[0]
    step = max(1, BAND_BYTES // (scan.pattern_bytes * scan.scan_shape[1]))
    with h5py.File(path, "w", locking=False) as file:  # `write_whole` holds the lock
        data = file.create_dataset(DATA, scan.shape, scan.source.dtype)
        data.attrs["dims"] = ["ry", "rx", "qy", "qx"]
        for start in range(0, n_rows, step):
            stop = min(start + step, n_rows)
            data[start:stop] = scan.row_band(start, stop)
    with path.open("r+b") as stream:
        simulated.truth.to_netcdf(stream, mode="a", group=TRUTH, engine="h5netcdf")
