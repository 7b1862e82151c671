"""What runs on a worker: a scan is opened once, then its blocks are read and worked on."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import Any

import numpy as np
from distributed import get_worker
from numpy.typing import NDArray

from cyclestrain.calibration import levelled
from cyclestrain.data import Scan
from cyclestrain.errors import ClusterError, CyclestrainError
from cyclestrain.io import Contents, contents_of, read, watched
from cyclestrain.machine import take_threads
from cyclestrain.settings import ReadSettings
from cyclestrain.version import __version__

__all__ = ["Piece", "Source", "Task", "complaint", "do", "do_piece", "own_version", "unpacked"]

AT_ONCE = 2
"""Blocks that a worker holds at a time: one is read while one is worked on."""
_ROOM, _WORKING = BoundedSemaphore(AT_ONCE), Lock()


@dataclass(frozen=True)
class Source:
    """How every worker opens a scan.

    Attributes
    ----------
    path
        File or folder, absolute.
    reading
        How it is read, as JSON of `cyclestrain.ReadSettings`.
    state
        Hash of its size and time of change where the run began, so that a scan recorded anew is opened anew.
    shape
        Shape ``(ry, rx, qy, qx)`` that it has.
    """

    path: str
    reading: str
    state: str
    shape: tuple[int, int, int, int]


@dataclass(frozen=True)
class Task:
    """A block to be worked on.

    Attributes
    ----------
    source
        The scan.
    pedestal
        Value that stands for zero counts.
    span
        First and last flat position, the last excluded.
    work
        A `cyclestrain.estimation.Work`.
    part
        What belongs to this block.
    version
        Version of cyclestrain that asks.
    """

    source: Source
    pedestal: float
    span: tuple[int, int]
    work: Callable[..., Any]
    part: Any
    version: str = __version__


@dataclass(frozen=True)
class Piece:
    """A part of a field to be worked on, which needs no pattern.

    Attributes
    ----------
    work
        A function of a module.
    part
        What it is given.
    version
        Version of cyclestrain that asks.
    """

    work: Callable[[Any], Any]
    part: Any
    version: str = __version__


@lru_cache(maxsize=2)
def _opened(source: Source) -> Scan:
    return watched(read(source.path, ReadSettings.model_validate_json(source.reading)))


def do(task: Task, *shared: Any) -> tuple[Any, NDArray[np.uint64]]:
    """Read a block and work on it.

    Parameters
    ----------
    task
        Which block, and what to do with it.
    shared
        What all blocks need.

    Returns
    -------
    outcome, hashes
        What the work gives, and the hash of each pattern of the block.

    Raises
    ------
    ClusterError
        If this worker has another version, or cannot open the scan.
    """
    problem = complaint(task.source, task.version)
    if problem:
        raise ClusterError(problem)
    with _ROOM:
        scan = _opened(task.source)
        contents: Contents = contents_of(scan)
        scan = levelled(scan, task.pedestal)
        block = scan.block(*task.span)
        with _WORKING:  # numba's loops take all threads of the worker, and bear one caller at a time
            _use_own_threads()
            outcome = task.work(scan, block, shared, task.part)
    return outcome, contents.seen[slice(*task.span)].copy()


def do_piece(piece: Piece) -> Any:
    """Work on a part of a field.

    Parameters
    ----------
    piece
        The part, and what to do with it.

    Raises
    ------
    ClusterError
        If this worker has another version.
    """
    problem = _other_version(f"the worker {get_worker().address}", piece.version)
    if problem:
        raise ClusterError(problem)
    with _WORKING:
        _use_own_threads()
        return piece.work(piece.part)


def own_version() -> str:
    """Version of cyclestrain where this runs; a scheduler that has none does not tell that it cannot read a task."""
    return __version__


def unpacked(content: bytes) -> Any:
    """What all blocks need, from the bytes in which the client sent it, as it sends every task."""
    return pickle.loads(content)


def complaint(source: Source, version: str, dask_worker: Any = None) -> str:
    """Why this worker can not read a scan, or is not to, in a sentence; empty where it can.

    Parameters
    ----------
    source
        The scan.
    version
        Version of cyclestrain that asks.
    dask_worker
        This worker, which dask gives to a function that names it so, except within a task.
    """
    place = f"the worker {(dask_worker or get_worker()).address}"
    if problem := _other_version(place, version):
        return problem
    if not Path(source.path).exists():
        return (
            f"{place} does not see {source.path}; put the scan where all workers see it under the same name, "
            "on a shared file system"
        )
    try:
        shape = _opened(source).shape
    except CyclestrainError as error:
        return f"{place} cannot read the scan: {error}"
    if shape != source.shape:
        return f"{source.path} is another scan on {place}: {shape} there, {source.shape} here; copy it again"
    return ""


def _other_version(place: str, version: str) -> str:
    """That what runs here is not the version that asks, in a sentence; empty where it is."""
    if version == __version__:
        return ""
    return f"cyclestrain {__version__} runs on {place}, {version} here; install the same on all workers"


def _use_own_threads() -> None:
    """Let compiled loops take as many threads as the worker has, not as many as the machine."""
    take_threads(get_worker().state.nthreads)
