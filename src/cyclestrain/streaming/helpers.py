"""Who does what takes longer while patterns come: calibration, and the result so far."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = ["BEHIND", "Helpers", "Here", "in_another", "one_thread", "processes"]

BEHIND = 10
"""By how much the fits of new patterns are preferred to what is made of them: a tenth of a processor is left to it."""

T = TypeVar("T")


class Here(Executor):
    """An executor that does everything at once, where it is asked for."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Call a function; what comes of it is there when this returns."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@dataclass(frozen=True)
class Helpers:
    """Executors of calibrations, and of results so far."""

    learning: Executor
    saving: Executor


@contextmanager
def one_thread() -> Iterator[Helpers]:
    """For patterns that are fitted in this process: loops compiled for several threads do not run twice at a time."""
    with ThreadPoolExecutor(1) as pool:
        yield Helpers(Here(), pool)


@contextmanager
def processes() -> Iterator[Helpers]:
    """For patterns that others fit: processes that leave this one free to pass them on, and Ctrl+C to it.

    A result so far takes every core for seconds; it is made with what the fits of new patterns leave of them.
    """
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        pools = [
            stack.enter_context(ProcessPoolExecutor(1, mp_context=context, initializer=in_another, initargs=(behind,)))
            for behind in (0, BEHIND)
        ]
        for pool in pools:
            pool.submit(_prepared)  # while nothing comes yet
        try:
            yield Helpers(*pools)
        finally:
            for pool in pools:
                pool.shutdown(cancel_futures=True)


def in_another(behind: int) -> None:
    """Make this process one that helps another: Ctrl+C is left to that, and processors where it needs them.

    Parameters
    ----------
    behind
        By how much the system prefers others, 0 to 19.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(behind)


def _prepared() -> None:
    import cyclestrain.streaming.so_far  # noqa: F401
