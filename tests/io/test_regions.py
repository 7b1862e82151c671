"""Raw files, folders of frames, regions, bins and flyback: the same patterns as cutting an array in memory."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import basic_indices

from cyclestrain.data import Quantity, Scan
from cyclestrain.errors import InputError
from cyclestrain.io import read
from cyclestrain.io.regions import Binned, Cropped
from cyclestrain.result import describe

ARRAY = np.random.default_rng(0).poisson(300, (4, 5, 37, 34)).astype(np.uint16)


@pytest.fixture
def raw(tmp_path):
    def write(array, name="scan.raw", before=b"", after=b""):
        (tmp_path / name).write_bytes(before + array.tobytes() + after)
        return tmp_path / name

    return write


@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2", "<f4", "int32", "float64"])
def test_raw_numbers_of_every_type(raw, dtype):
    array = (ARRAY % 200).astype(dtype)
    scan = read(raw(array), shape=ARRAY.shape, dtype=dtype)
    np.testing.assert_array_equal(scan.row_band(0, 4), array)
    assert scan.source.dtype.isnative


def test_raw_offset_order_and_inferred_number_of_patterns(raw):
    np.testing.assert_array_equal(
        read(raw(ARRAY, before=b"x" * 7), shape=ARRAY.shape, dtype="uint16", offset=7).source[1, 2], ARRAY[1, 2]
    )
    turned = raw(ARRAY.T, "fortran.raw")
    np.testing.assert_array_equal(read(turned, shape=ARRAY.shape, dtype="uint16", order="F").source[3], ARRAY[3])
    scan = read(raw(ARRAY, after=b"end"), shape=(37, 34), dtype="uint16", scan_shape=(4, 5))
    np.testing.assert_array_equal(scan.row_band(0, 4), ARRAY)
    assert read(raw(ARRAY[0, 0]), shape=(37, 34), dtype="uint16").shape == (1, 1, 37, 34)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"shape": (4, 5, 37, 34)}, "both --shape and --dtype"),
        ({"dtype": "uint16"}, "both --shape and --dtype"),
        ({"offset": 3}, "both --shape and --dtype"),
        ({"shape": (4, 5, 37, 34), "dtype": "float32"}, "needs 100640"),
        ({"shape": (4, 4, 37, 34), "dtype": "uint16"}, "holds 50320 bytes"),
        ({"shape": (10**6, 10**6, 512, 512), "dtype": "uint16"}, "needs"),
        ({"shape": (4, 5, 37, 34), "dtype": "uint16", "offset": 10**9}, "holds 0 bytes"),
        ({"shape": (4, 5, 37, 34), "dtype": "uint16", "offset": -1}, "offset"),
        ({"shape": (4, 5, 37, 34), "dtype": "u2,f4"}, "no type of numbers"),
        ({"shape": (4, 5, 37, 34), "dtype": "object"}, "no type of numbers"),
        ({"shape": (4, 5, 37, 34), "dtype": "complex64"}, "no type of numbers"),
        ({"shape": (4, 5, 37, 34), "dtype": "counts"}, "no type of numbers"),
        ({"shape": (0, 5, 37, 34), "dtype": "uint16"}, "at least 1"),
        ({"shape": (37,), "dtype": "uint16"}, "--shape is"),
        ({"shape": (37, 34), "dtype": "uint16", "order": "Z"}, "order"),
    ],
)
def test_raw_layouts_that_do_not_fit(raw, options, match):
    with pytest.raises(InputError, match=match):
        read(raw(ARRAY), **options)


@pytest.mark.parametrize("suffix", [".npy", ".tif", ".raw"])
def test_folder_of_frames_in_numerical_order(tmp_path, suffix):
    import tifffile

    options = {"shape": (37, 34), "dtype": "uint16"} if suffix == ".raw" else {}
    for number, pattern in enumerate(ARRAY.reshape(-1, 37, 34)):
        path = tmp_path / f"frame_{number}{suffix}"  # frame_10 comes after frame_9
        if suffix == ".npy":
            np.save(path, pattern)
        elif suffix == ".tif":
            tifffile.imwrite(path, pattern)
        else:
            path.write_bytes(pattern.tobytes())
    (tmp_path / "notes.txt").write_text("not a frame")
    if suffix == ".raw":
        (tmp_path / "notes.txt").unlink()
    scan = read(tmp_path, scan_shape=(4, 5), **options)
    np.testing.assert_array_equal(scan.row_band(0, 4), ARRAY)
    np.testing.assert_array_equal(scan.source[2, 1:4, 3:9], ARRAY[2, 1:4, 3:9])
    assert any("20 files" in sentence for sentence in describe(scan).assumptions)
    with pytest.raises(InputError, match="stack of 20 patterns"):
        read(tmp_path, **options)


def test_folder_of_stacks_and_unequal_files(tmp_path):
    for number, row in enumerate(ARRAY):
        np.save(tmp_path / f"row{number}.npy", row)
    scan = read(tmp_path, scan_shape=(4, 5))
    np.testing.assert_array_equal(scan.row_band(1, 3), ARRAY[1:3])
    np.save(tmp_path / "row3.npy", ARRAY[3, :4])
    with pytest.raises(InputError, match="equal files"):
        read(tmp_path, scan_shape=(4, 5)).row_band(3, 4)


def test_regions_and_bins_are_those_of_the_array(tmp_path):
    np.save(tmp_path / "scan.npy", ARRAY)
    scan = read(tmp_path / "scan.npy", scan_roi="1:3,:4", detector_roi="2:37,0:34", bin=2)
    cut = ARRAY[1:3, :4, 2:36, 0:34].astype(np.uint32)
    expected = cut.reshape(2, 4, 17, 2, 17, 2).sum((3, 5))
    np.testing.assert_array_equal(scan.row_band(0, 2), expected)
    np.testing.assert_array_equal(np.concatenate([b.patterns for b in scan.blocks()]), expected.reshape(8, 17, 17))
    assert scan.source.dtype == np.uint32
    assert any("--scan-roi 1:3,:4" in sentence for sentence in describe(scan).assumptions)


def test_only_the_region_is_read():
    class Watched:
        shape, dtype = ARRAY.shape, ARRAY.dtype

        def __init__(self):
            self.asked = []

        def __getitem__(self, key):
            self.asked.append(key)
            return ARRAY[key]

    source = Watched()
    scan = read(Scan(source), scan_roi="2:4,1:3", detector_roi="4:36,0:32", bin=2)
    assert not source.asked
    scan.source[1, 1]
    assert source.asked == [(slice(3, 4, 1), slice(2, 3, 1), slice(4, 36, 1), slice(0, 32, 1))]


def test_bins_enlarge_the_detector_step_and_keep_counts():
    scan = Scan(
        np.full((2, 2, 64, 64), 65535, np.uint16), real_step=Quantity(2, "nm"), reciprocal_step=Quantity(0.1, "1/nm")
    )
    binned = read(scan, bin=4)
    assert binned.reciprocal_step == Quantity(0.4, "1/nm")
    assert binned.real_step == scan.real_step
    assert binned.source[0, 0].max() == 16 * 65535


@pytest.mark.parametrize("dtype", ["b1", "u1", "i2", "u4", "i4", "f4", "f8"])
def test_bins_of_every_type_hold_their_sums(dtype):
    largest = 1 if dtype == "b1" else 2**20 if dtype[0] == "f" else np.iinfo(dtype).max
    array = np.full((1, 2, 32, 32), largest, dtype)
    assert (read(read(array), bin=2).source[...] == 4 * int(largest)).all()


def test_flyback_columns_are_left_out():
    stack = ARRAY.reshape(20, 37, 34)
    for array in (stack, ARRAY):
        scan = read(array, scan_shape=(4, 3), flyback=2)
        np.testing.assert_array_equal(scan.row_band(0, 4), ARRAY[:, :3])
    np.testing.assert_array_equal(read(ARRAY, flyback=1, scan_roi="0:4,1:4").row_band(0, 4), ARRAY[:, 1:4])
    with pytest.raises(InputError, match="or --flyback 1 if"):
        read(stack, scan_shape=(4, 4))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"scan_roi": "0:9,0:2"}, "does not lie inside 4 rows and 5 columns"),
        ({"scan_roi": "2:2,0:2"}, "does not lie inside"),
        ({"scan_roi": "3:1,0:2"}, "does not lie inside"),
        ({"scan_roi": "everything"}, "is a region"),
        ({"scan_roi": "0:" + "9" * 5000 + ",0:2"}, "does not lie inside"),
        ({"detector_roi": "0:99,0:2"}, "--detector-roi"),
        ({"detector_roi": "0:15,0:30"}, "15x30 pixels left"),
        ({"bin": 3}, "12x11 pixels left"),
        ({"bin": 0}, "bin"),
        ({"bin": 10**9}, "0x0 pixels left"),
        ({"flyback": 5}, "leaves nothing"),
        ({"flyback": -1}, "flyback"),
    ],
)
def test_parts_that_do_not_exist(options, match):
    with pytest.raises(InputError, match=match):
        read(ARRAY, **options)


SMALL = np.arange(3 * 4 * 10 * 9).reshape(3, 4, 10, 9)


@given(basic_indices((3, 4, 10, 9), min_dims=0, allow_newaxis=False, allow_ellipsis=True))
def test_every_slice_of_a_part_is_the_slice_of_the_array(key):
    parts = key if isinstance(key, tuple) else (key,)
    if any(isinstance(part, slice) and (part.step or 1) < 0 for part in parts):
        return
    big = np.pad(SMALL, ((1, 2), (2, 0), (3, 1), (0, 4)))
    window = (slice(1, 4, 1), slice(2, 6, 1), slice(3, 13, 1), slice(0, 9, 1))
    np.testing.assert_array_equal(Cropped(big, window)[key], SMALL[key])
    fine = np.repeat(np.repeat(SMALL, 2, axis=2), 2, axis=3)
    np.testing.assert_array_equal(Binned(fine, 2)[key], 4 * SMALL[key])


def test_tiff_stacks_contiguous_compressed_and_calibrated(tmp_path):
    import tifffile

    stack = ARRAY.reshape(20, 37, 34)
    tifffile.imwrite(tmp_path / "plain.tif", stack)
    tifffile.imwrite(tmp_path / "packed.tif", stack, compression="zlib")
    tifffile.imwrite(tmp_path / "big.tiff", stack, bigtiff=True, byteorder=">")
    metadata = {"axes": "ZYX", "unit": "1/nm"}
    tifffile.imwrite(tmp_path / "imagej.tif", stack, imagej=True, resolution=(50, 50), metadata=metadata)
    for name in ("plain.tif", "packed.tif", "big.tiff", "imagej.tif"):
        scan = read(tmp_path / name, scan_shape=(4, 5))
        np.testing.assert_array_equal(scan.row_band(1, 4), ARRAY[1:4])
        np.testing.assert_array_equal(scan.source[0, ::2, 5:9, 3], ARRAY[0, ::2, 5:9, 3])
        assert scan.reciprocal_step == (Quantity(0.02, "1/nm") if name == "imagej.tif" else None)
    tifffile.imwrite(tmp_path / "colour.tif", np.zeros((64, 64, 3), np.uint8), photometric="rgb")
    with pytest.raises(InputError, match="colour"):
        read(tmp_path / "colour.tif")
