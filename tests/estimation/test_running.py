"""Blocks in this process: in order, each with what belongs to it, those that are done left out."""

from __future__ import annotations

import numpy as np

from cyclestrain.data import Scan
from cyclestrain.estimation.running import HERE


def test_blocks_that_are_done_are_left_out() -> None:
    scan = Scan(np.ones((6, 4, 4, 4), np.float32), memory_bytes=16 * 2 * 4 * 64)
    done = np.isin(np.arange(24), np.arange(8, 16))
    found = list(HERE.run(lambda *given: given[1:], scan, ("shared",), len, done))
    assert [(block.positions.tolist(), shared, part) for block, shared, part in found] == [
        (list(range(first, first + 8)), ("shared",), 8) for first in (0, 16)
    ]
