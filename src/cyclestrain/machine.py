"""Memory and cores of the machine, or of the container where that allows less."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from cyclestrain.errors import InputError

__all__ = ["available_memory", "batch", "threads", "usable_cores"]

CACHE_BYTES = 16 * 2**20
"""What one step after the other may look at before it has to come from memory again: a part of the last cache."""
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
    import numba
    from threadpoolctl import threadpool_limits

    before, most = numba.get_num_threads(), int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    with threadpool_limits(jobs):
        numba.set_num_threads(min(jobs, most))
        try:
            yield
        finally:
            numba.set_num_threads(before)


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
