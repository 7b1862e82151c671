"""Who does what takes longer while patterns come: calibration, and the result so far."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = ["Helpers", "Here", "one_process", "one_thread"]

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
def one_process() -> Iterator[Helpers]:
    """For patterns that others fit: a process that leaves this one free to pass them on, and Ctrl+C to it."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_leave_interrupts) as pool:
        pool.submit(_prepared)  # while nothing comes yet
        try:
            yield Helpers(pool, pool)
        finally:
            pool.shutdown(cancel_futures=True)


def _leave_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _prepared() -> None:
    import cyclestrain.streaming.so_far  # noqa: F401
