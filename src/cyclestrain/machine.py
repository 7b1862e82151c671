"""Memory and cores of the machine, or of the container where that allows less."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

import psutil

from cyclestrain.errors import InputError

__all__ = ["available_memory", "batch", "most_threads", "take_threads", "thread_count", "threads", "usable_cores"]

CACHE_BYTES = 16 * 2**20
"""What one step after the other may look at before it has to come from memory again: a part of the last cache."""
_taken: ContextVar[int | None] = ContextVar("taken", default=None)
"""Threads that were asked for, None for as many as there may be."""
LARGEST_BATCH, LEAST_OF_A_THREAD = 512, 16
"""Most items of a batch, and items for each thread, so that none waits long for the others."""


def available_memory(root: Path = Path("/")) -> int:
    """Bytes of memory that this process may use at most; 0 where the system does not say.

    Parameters
    ----------
    root
        Folder that holds ``proc`` and ``sys``.
    """
    return min([*_machine(), *_groups(root)], default=0)


def usable_cores() -> int:
    """Cores that this process may use, at least one."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def batch(item_bytes: int, threads: int) -> int:
    """How many items to work on at a time, so that they stay in the processor's cache from one step to the next.

    Parameters
    ----------
    item_bytes
        Size of one.
    threads
        Threads that work on them.
    """
    return min(max(CACHE_BYTES // max(item_bytes, 1), LEAST_OF_A_THREAD * threads), LARGEST_BATCH)


def most_threads() -> int:
    """Most threads that compiled loops run on: ``NUMBA_NUM_THREADS`` where it is set, else one on every core."""
    given = os.environ.get("NUMBA_NUM_THREADS", "")
    return max(1, int(given)) if given.isdigit() else usable_cores()


def thread_count() -> int:
    """Threads that compiled loops run on, where they are called from this thread.

    Numba's own count is not used: asking for it starts numba's threads, which sets those of PyTorch as well.
    """
    return _taken.get() or most_threads()


def take_threads(n: int) -> None:
    """From now on, let compiled loops that are called from this thread run on so many threads, if there are as many.

    Parameters
    ----------
    n
        How many.
    """
    _taken.set(max(1, min(n, most_threads())))


@contextmanager
def threads(jobs: int | None) -> Iterator[None]:
    """Work with so many threads until the ``with`` block ends.

    Parameters
    ----------
    jobs
        Number of threads, of which no more are used than there are cores; None for one on every core.

    Raises
    ------
    InputError
        If it is less than one.
    """
    if jobs is None:
        yield
        return
    if jobs < 1:
        raise InputError(f"--jobs is the number of threads and at least 1, not {jobs}")
    from threadpoolctl import threadpool_limits

    with threadpool_limits(jobs):
        before = _taken.set(min(jobs, most_threads()))
        try:
            yield
        finally:
            _taken.reset(before)


def _machine() -> Iterator[int]:
    with suppress(OSError, RuntimeError):  # psutil where the system hides its memory
        yield int(psutil.virtual_memory().total)


def _groups(root: Path) -> Iterator[int]:
    """Limits of the control groups of this process and of those above it, version 1 and 2."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2) if line.count(":") >= 2 else ("", "none", "")
        if controllers == "":
            top, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            top, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        # Inside a container the path may be that of the host, which is not to be seen: the top is the container's then.
        own = top / group.strip("/")
        for folder in (own, *own.parents):
            limit = _text(folder / name).strip()
            if limit.isdigit():
                yield int(limit)
            if folder == top:
                break


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
