"""Our own readers, for any array: what was written is read, and a file that lost its end is refused."""

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cyclestrain.errors import InputError
from cyclestrain.io import read

DTYPES = ["u1", "<u2", ">u2", "<i4", ">f4", "<f8", "?", "<f2", "<u8"]
SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(16, 19), st.integers(16, 19))

usual = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def arrays(draw):
    """Counts of any type, in C or Fortran order."""
    shape, dtype = draw(SHAPES), np.dtype(draw(st.sampled_from(DTYPES)))
    values = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 2 if dtype.kind == "b" else 100, shape)
    return np.asarray(values.astype(dtype), order=draw(st.sampled_from("CF")))


def write_npy(path, array):
    np.save(path, array)


def write_npz(path, array):
    np.savez(path, array)


def write_hdf5(path, array):
    with h5py.File(path, "w") as file:
        file.create_dataset("group/data", data=array, chunks=(1, 1, *array.shape[2:]), compression="gzip")


def write_zarr(path, array):
    with zarr.storage.ZipStore(path, mode="w") as store:
        zarr.create_array(store, data=array.astype(array.dtype.newbyteorder("=")), chunks=(1, *array.shape[1:]))


def write_tiff(path, array):
    stack = array.astype("u1") if array.dtype.kind == "b" else array
    tifffile.imwrite(path, stack.reshape(-1, *array.shape[2:]), photometric="minisblack", metadata=None)


WRITERS = {".npy": write_npy, ".npz": write_npz, ".h5": write_hdf5, ".zip": write_zarr, ".tif": write_tiff}


@pytest.mark.parametrize("suffix", WRITERS)
@usual
@given(array=arrays(), share=st.floats(0.0, 0.95))
def test_whole_files_are_read_and_cut_ones_refused(tmp_path, suffix, array, share):
    path = tmp_path / f"scan{suffix}"
    path.unlink(missing_ok=True)
    WRITERS[suffix](path, array)
    scan = read(path, scan_shape=array.shape[:2])
    assert scan.source.dtype.isnative
    np.testing.assert_array_equal(scan.source[...], array)
    content, cut = path.read_bytes(), tmp_path / f"cut{suffix}"
    cut.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError) as caught:
        read(cut, scan_shape=array.shape[:2]).source[...]
    assert "\n" not in str(caught.value)


@usual
@given(array=arrays(), offset=st.integers(0, 40), missing=st.integers(0, 3), footer=st.integers(0, 40))
def test_raw_numbers_have_to_fill_their_file(tmp_path, array, offset, missing, footer):
    path, order = tmp_path / "scan.raw", "C" if array.flags.c_contiguous else "F"
    content = array.tobytes(order)
    path.write_bytes(bytes(offset) + (content[:-missing] if missing else content + bytes(footer)))
    layout = {"shape": array.shape, "dtype": array.dtype.str, "offset": offset, "order": order}
    if missing:
        with pytest.raises(InputError, match="bytes"):
            read(path, **layout)
    else:
        np.testing.assert_array_equal(read(path, **layout).source[...], array)
