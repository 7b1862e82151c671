"""Blocks in this process: in order, each with what belongs to it, those that are done left out."""

from __future__ import annotations

from threading import Barrier

import numpy as np
import pytest

from cyclestrain.data import Block, Scan
from cyclestrain.errors import InputError
from cyclestrain.estimation.running import AT_ONCE, HERE
from cyclestrain.machine import thread_count, threads


def test_blocks_that_are_done_are_left_out() -> None:
    scan = Scan(np.ones((6, 4, 4, 4), np.float32), memory_bytes=16 * 2 * 4 * 64)
    done = np.isin(np.arange(24), np.arange(8, 16))
    found = list(HERE.run(lambda *given: given[1:], scan, ("shared",), len, done))
    assert [(block.positions.tolist(), shared, part) for block, shared, part in found] == [
        (list(range(first, first + 8)), ("shared",), 8) for first in (0, 16)
    ]


@pytest.mark.parametrize("jobs", [1, 2, 3, 9])
def test_blocks_come_in_order_however_many_are_worked_on_at_a_time(jobs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for each thread, `AT_ONCE` at most, are under way together, and share the threads for their loops."""
    monkeypatch.setenv("NUMBA_NUM_THREADS", "9")
    scan = Scan(np.ones((12, 4, 2, 2)), memory_bytes=16 * 4 * 32)
    together = Barrier(min(jobs, AT_ONCE))

    def work(_scan: Scan, block: Block, _shared: tuple[()], part: int) -> tuple[int, int, int]:
        together.wait(10)
        return int(block.positions[0]), part, thread_count()

    with threads(jobs):
        found = list(HERE.run(work, scan, (), len))
    assert found == [(first, 4, {1: 1, 2: 1, 3: 1, 9: 3}[jobs]) for first in range(0, 48, 4)]


def test_what_fails_in_a_block_is_told_and_ends_the_run() -> None:
    started = []

    def work(_scan: Scan, block: Block, _shared: tuple[()], _part: int) -> int:
        started.append(int(block.positions[0]))
        if block.positions[0] == 4:
            raise InputError("this block is bad")
        return started[-1]

    scan = Scan(np.ones((8, 4, 2, 2)), memory_bytes=16 * 4 * 32)
    with threads(2), pytest.raises(InputError, match="this block is bad"):
        list(HERE.run(work, scan, (), len))
    assert len(started) <= 4
