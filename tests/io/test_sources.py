"""Arrays stored plainly: any key gives what NumPy gives, and a file that is cut is noticed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyclestrain.errors import ReadError
from cyclestrain.io.sources import Plain, Stored

SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


@st.composite
def keys(draw, shape):
    """A tuple of integers and slices, with an ellipsis at times."""
    part = [st.integers(-size, size - 1) | st.slices(size).filter(lambda each: (each.step or 1) > 0) for size in shape]
    key = [draw(each) for each in part][: draw(st.integers(0, len(shape)))]
    return (*key, ...) if draw(st.booleans()) else tuple(key)


@settings(deadline=None, max_examples=300)
@given(data=st.data(), shape=SHAPES, order=st.sampled_from("CF"), offset=st.integers(0, 9))
def test_any_key_gives_what_numpy_gives(tmp_path_factory, data, shape, order, offset):
    array = np.arange(np.prod(shape), dtype=">u2").reshape(shape)
    path = tmp_path_factory.getbasetemp() / "plain.raw"
    path.write_bytes(bytes(offset) + array.tobytes(order))
    plain = Plain(path, offset, array.dtype, shape, order)
    key = data.draw(keys(shape))
    np.testing.assert_array_equal(plain[key], array[key])


def test_only_what_is_wanted_is_read(tmp_path, monkeypatch):
    array = np.arange(6 * 5 * 4 * 3, dtype=np.uint16).reshape(6, 5, 4, 3)
    array.tofile(tmp_path / "plain.raw")
    plain, read, sizes = Plain(tmp_path / "plain.raw", 0, array.dtype, array.shape, "C"), Plain._read, []

    def counted(self, stream, first, run):
        sizes.append(run.size)
        read(self, stream, first, run)

    monkeypatch.setattr(Plain, "_read", counted)
    for key, runs in (
        (np.s_[2:4], [2 * 60]),  # whole rows: one read
        (np.s_[1, 1:3], [2 * 12]),  # part of a row: one read
        (np.s_[::5], [60, 60]),  # rows between are left out
        (np.s_[0, :2, 1:3, 1], [6, 6]),  # of each pattern the rows that are wanted
        (np.s_[3:3], []),
    ):
        sizes.clear()
        np.testing.assert_array_equal(plain[key], array[key])
        assert sizes == runs


def test_a_file_that_is_cut_meanwhile(tmp_path):
    array = np.ones((3, 4, 5, 6))
    array.tofile(tmp_path / "plain.raw")
    plain = Plain(tmp_path / "plain.raw", 0, array.dtype, array.shape, "C")
    with (tmp_path / "plain.raw").open("rb+") as stream:
        stream.truncate(array.nbytes // 2)
    assert plain[0].sum() == 120
    with pytest.raises(EOFError, match="too early"):
        plain[2]


class Short:
    """Storage that declares more than it gives, or raises what a list would."""

    shape, dtype = (4, 5, 6), np.dtype(np.uint16)

    def __init__(self, error=None):
        self.error = error

    def __getitem__(self, key):
        if self.error:
            raise self.error
        return np.zeros((1, 5, 6), np.uint16)


@pytest.mark.parametrize("base", [Short(), Short(IndexError("index 0 is out of bounds")), Short(KeyError("chunk"))])
def test_storage_that_does_not_hold_what_it_declares(base):
    stored = Stored(base, "scan.unf", base.dtype)
    with pytest.raises(ReadError, match=r"scan\.unf: patterns could not be read"):
        stored[1:3]
    with pytest.raises(IndexError, match="outside axis"):
        stored[4]
