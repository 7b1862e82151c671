"""Files that RosettaSciIO writes: the patterns that went in come out, every axis in its place, with the steps."""

import numpy as np
import pytest

from cyclestrain.data import Quantity
from cyclestrain.io import read
from fuzz.samples import WRITTEN, Written

SCAN, DETECTOR = Quantity(0.5, "nm"), Quantity(0.25, "1/nm")


# The reader of Semper leaves its file to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("written", WRITTEN, ids=lambda written: written.writer)
def test_what_was_written_is_read(tmp_path, written: Written):
    written.write(tmp_path)
    needed = written.array.ndim == 3 or written.writer == "tvips"
    shape = written.array.shape[:-2]
    scan = read(tmp_path / written.file, scan_shape=(1, *shape)[-2:] if needed else None)
    np.testing.assert_array_equal(scan.source[...].reshape(written.array.shape), written.array)
    assert (scan.real_step, scan.reciprocal_step) == tuple(
        step if told else None for step, told in zip((SCAN, DETECTOR), written.steps, strict=True)
    )
