"""Blocks: the next one is read while one is worked on, and what lies around one is read where it is asked for."""

from __future__ import annotations

import pickle
import threading
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cyclestrain.data import Block, Scan
from stored import Stored


class Slow(Stored):
    """Tells when a read begins."""

    def __init__(self, patterns: NDArray[Any]) -> None:
        super().__init__(patterns)
        self.begun = [threading.Event() for _ in range(len(patterns))]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        self.begun[key.start].set()
        return super().__getitem__(key)


def test_one_block_is_read_ahead_and_no_more() -> None:
    source = Slow(np.random.default_rng(0).poisson(3, (5, 4, 16, 16)))
    scan = Scan(source)
    for row, block in enumerate(scan.blocks(4 * scan.pattern_bytes)):
        np.testing.assert_array_equal(block.patterns, source.patterns[row])
        if row + 1 < 5:
            assert source.begun[row + 1].wait(10)
        assert not any(event.is_set() for event in source.begun[row + 2 :])


def test_an_error_while_reading_ahead_arrives() -> None:
    class Broken(Slow):
        def __getitem__(self, key: Any) -> NDArray[Any]:
            if key.start == 2:
                raise OSError("gone")
            return super().__getitem__(key)

    scan = Scan(Broken(np.ones((4, 4, 16, 16))))
    blocks = scan.blocks(4 * scan.pattern_bytes)
    assert [int(next(blocks).positions[0]) for _ in range(2)] == [0, 4]
    with pytest.raises(OSError, match="gone"):
        next(blocks)


@pytest.mark.parametrize("patterns", [1, 4, 9, 18, 45])
@pytest.mark.parametrize("reach", [1, 2])
def test_a_block_and_what_lies_around_it_hold_all_neighbours(patterns: int, reach: int) -> None:
    scan = Scan(np.arange(7 * 9 * 16, dtype=np.float32).reshape(7, 9, 4, 4))
    rows, columns = np.divmod(np.arange(scan.n_positions), 9)
    for block in scan.blocks(patterns * scan.pattern_bytes):
        some = block.positions[:: max(1, len(block.positions) // 2)]
        for wanted in (block.positions, block.positions[-1:], block.positions[:1], some):
            halo = scan.around(block, wanted, reach)
            near = block.only(block.near(wanted, reach, 9))
            joined = Block.joined([near, halo] if halo else [near])
            needed = set[int]()
            for at in wanted:
                beside = (abs(rows - rows[at]) <= reach) & (abs(columns - columns[at]) <= reach)
                needed |= set(np.flatnonzero(beside).tolist())
            assert set(near.positions.tolist()) <= needed <= set(joined.positions.tolist())
            assert (np.diff(joined.positions) > 0).all()
            np.testing.assert_array_equal(joined.patterns[:, 0, 0], 16 * joined.positions)
            if halo:
                assert not set(block.positions.tolist()) & set(halo.positions.tolist())
                assert (np.diff(halo.positions) > 0).all()
                np.testing.assert_array_equal(halo.patterns[:, 0, 0], 16 * halo.positions)


@pytest.mark.parametrize("patterns", [4, 9, 27])
def test_what_is_done_is_not_read_again(patterns: int) -> None:
    """All that is wanted is in one block; rows without any are in none, nor are the ends of a row that is alone."""
    scan = Scan(np.arange(7 * 9 * 16, dtype=np.float32).reshape(7, 9, 4, 4))
    wanted = np.array([3, 29, 30, 46, 51, 52])  # rows 0, 3, 5
    done = np.ones(scan.n_positions, bool)
    done[wanted] = False
    read = np.concatenate([block.positions for block in scan.blocks(patterns * scan.pattern_bytes, done)])
    assert len(set(read.tolist())) == len(read)
    assert set(wanted.tolist()) <= set(read.tolist())
    assert set((read // 9).tolist()) <= {0, 3, 4, 5}
    assert read[0] == 3
    assert len(read) <= 28


def test_a_scan_is_sent_to_another_process_whole() -> None:
    scan = Scan(np.arange(64.0).reshape(2, 2, 4, 4), "mine", "scan.npy", memory_bytes=2**20, origin=(3, 4))
    sent = pickle.loads(pickle.dumps(scan))
    for name in {each.name for each in fields(scan)} - {"source", "_reading"}:
        assert getattr(sent, name) == getattr(scan, name)
    np.testing.assert_array_equal(sent.block(0, 4).patterns, scan.block(0, 4).patterns)
