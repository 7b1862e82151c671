"""What processes pass on through the files of a record arrives as it was, once, and without waiting for LiberTEM."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cyclestrain.data import Block, Scan
from cyclestrain.estimation import BlockFit
from cyclestrain.streaming import fit_block
from cyclestrain.streaming.recording import FITTED, LEFT, RECORDED, Record

pytest.importorskip("libertem_live", reason="LiberTEM-live is not installed: pip install 'cyclestrain[live]'")

from cyclestrain.streaming.detectors import Detector


class Acquisition:
    """As much of LiberTEM's as is asked for before it runs."""

    def get_task_comm_handler(self) -> Any:
        return SimpleNamespace(get_conn_impl=lambda: SimpleNamespace())


@pytest.fixture
def record(sample: Any, tmp_path: Path) -> Record:
    return Record.made(tmp_path / "patterns.npy", tmp_path, sample.patterns.shape, sample.patterns.dtype)


def test_patterns_and_fits_arrive_bit_by_bit(sample: Any, record: Record) -> None:
    patterns = sample.patterns.reshape(-1, 96, 96)
    fit = fit_block(Block(np.arange(40, 60), patterns[40:60]), sample.knowledge)
    record.write(np.arange(20), patterns[:20], left=True)
    record.write(np.arange(40, 60), patterns[40:60], left=False)
    assert (record.state()[[0, 19, 20, 40, 59]] == [LEFT, LEFT, 0, RECORDED, RECORDED]).all()
    record.write_fits(fit)
    assert (record.state()[40:60] == FITTED).all()
    np.testing.assert_array_equal(record[2, 3], sample.patterns[2, 3])
    np.testing.assert_array_equal(np.load(record.path)[:1], sample.patterns[:1])
    found = record.read_fits(np.arange(45, 52))
    np.testing.assert_array_equal(found.positions, np.arange(45, 52))
    for name, values in fit.only(slice(5, 12)).arrays.items():
        np.testing.assert_array_equal(found.arrays[name], values, err_msg=name)
        assert found.arrays[name].dtype == values.dtype
    with pytest.raises(RuntimeError, match="consecutive"):
        record.write(np.array([3, 5]), patterns[:2], left=True)


def test_everything_is_heard_once_as_soon_as_it_is_there(sample: Any, record: Record) -> None:
    patterns = sample.patterns.reshape(-1, 96, 96)
    detector = Detector(None, Acquisition(), Scan(record), record, flip=False)
    detector._connection.count = 70
    record.write(np.arange(20), patterns[:20], left=True)
    record.write(np.arange(20, 40), patterns[20:40], left=False)
    first = detector.listen()
    np.testing.assert_array_equal(first.came, np.arange(70))
    np.testing.assert_array_equal(first.left, np.arange(20))
    assert not first.fits
    record.write_fits(BlockFit.unknown(np.arange(20, 30)))
    second = detector.listen()
    assert (len(second.came), len(second.left)) == (0, 0)
    np.testing.assert_array_equal(second.fits[0].positions, np.arange(20, 30))
    assert not detector.listen().fits
    record.write(np.arange(40, 70), patterns[40:70], left=False)
    np.testing.assert_array_equal(detector.rest(), np.arange(30, 70))  # nobody will fit these any more
