"""Electron-counted scans of stempy (4D Camera): HDF5 with the pixels that were hit, frame by frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import IntArray
from cyclestrain.errors import InputError
from cyclestrain.io.events import EventPatterns, Events
from cyclestrain.io.loaded import Loaded, check_unpacked, missing_parts

__all__ = ["is_counted", "load_counted"]

FRAMES = "electron_events/frames"
POSITIONS = "electron_events/scan_positions"
CAMERA = (576, 576)
"""Detector of the 4D Camera, which its first files do not state."""


def is_counted(file: Any) -> bool:
    """Whether an open HDF5 file has the layout of stempy."""
    import h5py

    frames = file.get(FRAMES)
    return isinstance(frames, h5py.Dataset) and h5py.check_vlen_dtype(frames.dtype) is not None


@dataclass(frozen=True)
class _Frames:
    """Frames of a detector, of which every position of the scan has some.

    Attributes
    ----------
    base
        The frames, each a list of the flat pixels that were hit; those hit twice are listed twice.
    order
        The frames, sorted by their position.
    starts
        First place in `order` of each position, and the number of frames, shape ``(n_rows + 1,)``.
    """

    base: Any
    order: IntArray
    starts: IntArray

    @property
    def n_rows(self) -> int:
        """Number of positions."""
        return len(self.starts) - 1

    def read(self, first: int, stop: int) -> Events:
        """Events of the positions from `first` to `stop` (excluded), of all frames of each."""
        frames = self.order[self.starts[first] : self.starts[stop]]
        runs = np.split(frames, np.flatnonzero(np.diff(frames) != 1) + 1)
        found = [pixels for run in runs if run.size for pixels in self.base[int(run[0]) : int(run[-1]) + 1]]
        ends = np.concatenate([[0], np.cumsum([len(pixels) for pixels in found], dtype=np.int64)])
        lengths = np.diff(ends[self.starts[first : stop + 1] - self.starts[first]])
        return Events(lengths, np.concatenate([*found, np.empty(0, _pixel_type(self.base))]))


def _pixel_type(frames: Any) -> np.dtype[Any]:
    import h5py

    return np.dtype(h5py.check_vlen_dtype(frames.dtype))


def load_counted(file: Any, path: Path) -> Loaded:
    """Open an electron-counted scan; its events stay on disk.

    Frames may come in any order, several for a position, as in all versions of the layout: what a position counted is
    the sum of its frames.

    Parameters
    ----------
    file
        Open HDF5 file for which `is_counted` holds.
    path
        Its name.

    Raises
    ------
    InputError
        If the shape of the scan is missing, or the positions of the frames do not fit it.
    """
    frames, positions = file[FRAMES], file.get(POSITIONS)
    if _pixel_type(frames).kind not in "iu" or len(frames.shape) != 1:
        raise InputError(f"{path}: {FRAMES} does not list pixels, frame by frame; write it again with stempy")
    scan_shape = None if positions is None else _sizes(positions, ("Ny", "Nx"), path)
    if scan_shape is None:
        raise InputError(f"{path} has no {POSITIONS} with its attributes Nx and Ny; write it again with stempy")
    detector = _sizes(frames, ("Nx", "Ny"), path) or CAMERA  # sic: stempy calls the rows of a frame Nx
    n_rows = math.prod(scan_shape)
    check_unpacked(8 * max(n_rows, frames.shape[0]), f"{path}: {FRAMES}")
    owners = _owners(positions, frames.shape[0], n_rows, path)
    order = np.argsort(owners, kind="stable")
    starts = np.searchsorted(owners[order], np.arange(n_rows + 1))
    rows = _Frames(frames, order, starts)
    patterns = EventPatterns(rows, np.dtype(np.uint16), str(path), math.prod(detector), detector)
    n_there = int(np.count_nonzero(np.diff(starts)))
    return Loaded(patterns, scan_shape, metadata={"dataset": f"/{FRAMES}", **missing_parts(n_there, n_rows)})


def _sizes(dataset: Any, names: tuple[str, str], path: Path) -> tuple[int, int] | None:
    """Two sizes that a data set states, None where it does not."""
    try:
        first, second = (int(dataset.attrs[name]) for name in names)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    if min(first, second) < 1:
        raise InputError(f"{path} states the impossible shape {first}x{second} for {dataset.name}; write it again")
    return first, second


def _owners(positions: Any, n_frames: int, n_rows: int, path: Path) -> NDArray[np.int64]:
    """Flat position of every frame; where each position is listed once, all have as many frames, one after another."""
    if len(positions.shape) != 1 or positions.dtype.kind not in "iu" or positions.shape[0] > n_frames:
        raise InputError(f"{path}: {POSITIONS} does not list one position per frame; write it again with stempy")
    listed = positions[...].astype(np.int64)
    each, rest = divmod(n_frames, max(1, len(listed)))
    if rest or not len(listed):
        raise InputError(f"{path} has {n_frames} frames at {len(listed)} positions; frames are missing, copy it again")
    if listed.min() < 0 or listed.max() >= n_rows:
        raise InputError(
            f"{path} has frames at positions {listed.min()} to {listed.max()}, its scan has {n_rows}; write it again "
            "with stempy"
        )
    return np.repeat(listed, each)
