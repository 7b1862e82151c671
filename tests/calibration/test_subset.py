"""The sample of a scan that calibration and learning rest on."""

from __future__ import annotations

import numpy as np
import pytest

from cyclestrain.calibration import draw_sample, held
from cyclestrain.data import Scan
from cyclestrain.errors import InputError
from stored import Stored


class TestSample:
    def test_a_small_scan_is_taken_whole_in_order(self) -> None:
        scan = Scan(np.random.default_rng(0).poisson(3, (5, 7, 16, 16)).astype(np.uint16))
        sample = draw_sample(scan)
        assert sample.complete
        np.testing.assert_array_equal(sample.patterns, np.asarray(scan.source).reshape(-1, 16, 16))
        np.testing.assert_array_equal(sample.rows * 7 + sample.columns, np.arange(35))

    @pytest.mark.parametrize("shape", [(40, 64), (3, 900), (900, 3), (1, 2000)])
    def test_a_large_one_in_tiles_spread_over_it(self, shape: tuple[int, int]) -> None:
        n_rows, n_columns = shape
        index = np.arange(n_rows * n_columns).reshape(shape)
        scan = Scan(np.broadcast_to(1 + index[..., None, None], (*shape, 4, 4)).astype(np.uint32))
        sample = draw_sample(scan, max_positions=640)
        n = len(sample.rows)
        assert not sample.complete
        assert 320 < n <= 640
        np.testing.assert_array_equal(sample.patterns[:, 2, 2], 1 + index[sample.rows, sample.columns])
        assert len(np.unique(index[sample.rows, sample.columns])) == n  # no position twice
        for values, size in ((sample.rows, n_rows), (sample.columns, n_columns)):
            assert values.min() < 0.3 * size
            assert values.max() >= 0.7 * size - 1

    def test_one_pattern_is_no_scan(self) -> None:
        with pytest.raises(InputError, match="at least two positions"):
            draw_sample(Scan(np.ones((1, 1, 16, 16))))


class TestHeld:
    def test_what_was_read_as_a_whole_is_not_read_again(self) -> None:
        patterns = np.random.default_rng(0).poisson(3, (5, 7, 16, 16)).astype(np.uint16)
        scan = Scan(Stored(patterns))
        sample = draw_sample(scan)
        again = held(scan, sample).source
        np.testing.assert_array_equal(np.asarray(again), patterns)
        assert np.shares_memory(np.asarray(again), sample.patterns)

    @pytest.mark.parametrize(("memory", "in_memory"), [(5, True), (4, False)])
    def test_a_fifth_of_the_memory_may_be_held(self, memory: int, in_memory: bool) -> None:
        patterns = np.random.default_rng(0).poisson(3, (40, 64, 4, 4)).astype(np.uint16)
        scan = Scan(Stored(patterns), memory_bytes=memory * patterns.nbytes)
        again = held(scan, draw_sample(scan, max_positions=640))
        assert isinstance(again.source, np.ndarray) == in_memory
        np.testing.assert_array_equal(np.asarray(again.source[:]), patterns)
