"""How compiled loops are put together, and how they run on all threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar, cast

import numba as nb
from numba.core.options import DefaultOptions

from cyclestrain.machine import thread_count

__all__ = ["on_threads", "part"]

P = ParamSpec("P")
R = TypeVar("R")

LEAST_ITEMS, PIECES = 8, 4
"""Least items of one piece of work, and pieces for each thread, so that none waits long for the others."""
_own = threading.local()
"""The pool of each thread that calls loops, and the process and number of threads it is of."""
_UNCALLED: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Numba's options for functions that neither Python nor C calls."""
_UNCOUNTED: dict[str, Any] = {"_nrt": False} if hasattr(DefaultOptions, "_nrt") else {}
"""Numba's option not to count references to arrays. Without it results are the same, up to three times later."""


def part(*, fastmath: bool = False, counted: bool = False) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Compile a function that only compiled loops call, as a part of each of them.

    It is copied into the loop (docs/dev/estimation.md says why), and leaves it to the loop to count references to
    arrays: done in every part, for every array it is given, that takes longer than what the part computes. Division by
    zero gives infinity. Python cannot call a part: compiled for that as well, it would take twice as long to compile.

    Parameters
    ----------
    fastmath
        Let sums be reordered, so that they are vectorised.
    counted
        Count references: for parts that make arrays, which numba refuses otherwise.
    """
    options = _UNCALLED if counted else _UNCALLED | _UNCOUNTED
    compiled = nb.njit(forceinline=True, error_model="numpy", fastmath=fastmath, **options)
    return cast("Callable[[Callable[P, R]], Callable[P, R]]", compiled)


def on_threads(loop: Callable[..., None], n: int, *arguments: Any, least: int = LEAST_ITEMS) -> None:
    """Run a compiled loop over `n` items in pieces, on `cyclestrain.machine.thread_count` threads.

    Numba's own parallel loops do the same, but take three times as long to compile.

    Parameters
    ----------
    loop
        Compiled, releases the interpreter lock, and gives the same bits however the items are cut into pieces.
    n
        Items.
    *arguments
        What the loop is given before the first item of a piece and the one behind its last.
    least
        Items of a piece at least, unless all are fewer: they share its scratch space.
    """
    threads = thread_count()
    if threads == 1 or n <= least:
        loop(*arguments, 0, n)
        return
    size = max(least, -(-n // (PIECES * threads)))
    pieces = range(0, n, size)
    list(_pool(threads).map(lambda start: loop(*arguments, start, min(start + size, n)), pieces))


def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that wait for loops of the calling thread, so that blocks worked on side by side do not share them.

    They end with the calling thread, and a copy of the process, which would have none, starts its own.
    """
    key = os.getpid(), threads
    if getattr(_own, "key", None) != key:
        _own.key, _own.pool = key, ThreadPoolExecutor(threads)
    return cast("ThreadPoolExecutor", _own.pool)
