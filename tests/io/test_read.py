"""Whatever the file, the scan that comes out is the scan that went in, and it stays on disk."""

import dataclasses
import math

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from cyclestrain.data import Quantity, Scan
from cyclestrain.errors import InputError
from cyclestrain.io import read
from cyclestrain.io.read import factorisations
from cyclestrain.io.sources import Stored

SHAPE = (3, 4, 20, 24)


@pytest.fixture(scope="module")
def patterns():
    """Counts of a bright centre on a weak background, every position different."""
    y, x = np.indices(SHAPE[2:]) - np.array([[[10]], [[12]]])
    expected = 200 * np.exp(-(y**2 + x**2) / 12) + 1
    return np.random.default_rng(5).poisson(expected, SHAPE).astype(np.uint16)


def write_npy(path, array):
    np.save(path, array)


def write_npy_fortran(path, array):
    np.save(path, np.asfortranarray(array))


def write_npz(path, array):
    np.savez(path, other=np.arange(5), patterns=array)


def write_npz_compressed(path, array):
    np.savez_compressed(path, other=np.arange(5), patterns=array)


def write_h5(path, array):
    with h5py.File(path, "w") as file:
        file["data"] = array


def write_h5_compressed(path, array):
    import hdf5plugin

    with h5py.File(path, "w") as file:
        file.create_dataset("a/b/c", data=array, chunks=(1, 2, *array.shape[2:]), **hdf5plugin.Bitshuffle(cname="lz4"))
        file["a/image"] = array[0, 0]


def write_h5_with_truth(path, array):
    with h5py.File(path, "w") as file:
        file["data"] = array
        file["truth/noise_free"] = array.astype(np.float32)


def write_h5_big_endian(path, array):
    with h5py.File(path, "w") as file:
        file["data"] = array.astype(">u2")


def write_h5_five_dimensions(path, array):
    with h5py.File(path, "w") as file:
        file["data"] = array[:, :, None]


def write_nexus(path, array):
    with h5py.File(path, "w") as file:
        file["entry/data/data"] = array
        file["entry"].attrs["NX_class"] = "NXentry"
        file["entry/again"] = h5py.SoftLink("/entry/data/data")


def write_mat(path, array):
    """MATLAB's (ry, rx, qy, qx), stored column by column."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_dataset("output4D", data=array.transpose(3, 2, 1, 0))
        file["output4D"].attrs["MATLAB_class"] = np.bytes_(b"uint16")
    with path.open("rb+") as stream:
        stream.write(b"MATLAB 7.3 MAT-file".ljust(128))


def write_mat_patterns_first(path, array):
    """MATLAB's (qy, qx, ry, rx): the pattern first, as MATLAB code likes it."""
    write_mat(path, array.transpose(2, 3, 0, 1))


def write_emd_0(path, array):
    with h5py.File(path, "w") as file:
        cube = file.create_group("4DSTEM_experiment/data/datacubes/datacube_0")
        cube.attrs["emd_group_type"] = 1
        cube["data"] = array
        units = ("[n_m]", "[n_m]", "[n_m^-1]", "[n_m^-1]")
        for index, (name, step, unit) in enumerate(
            zip(("R_x", "R_y", "Q_x", "Q_y"), (2, 2, 0.1, 0.1), units, strict=True)
        ):
            dim = cube.create_dataset(f"dim{index + 1}", data=step * np.arange(array.shape[index]))
            dim.attrs["name"], dim.attrs["units"] = np.bytes_(name), np.bytes_(unit)


def write_emd_1(path, array):
    with h5py.File(path, "w") as file:
        file.attrs.update(emd_group_type="file", version_major=1, version_minor=0)
        cube = file.create_group("datacube_root/datacube")
        cube.attrs.update(emd_group_type="array", python_class="DataCube")
        cube["data"] = array
        for index, (name, unit) in enumerate(zip(("Rx", "Ry", "Qx", "Qy"), ("A", "A", "A^-1", "A^-1"), strict=True)):
            dim = cube.create_dataset(f"dim{index}", data=np.array([0.0, 1.0]))
            dim.attrs["name"], dim.attrs["units"] = name, unit
        calibration = file.create_group("datacube_root/metadatabundle/calibration")
        stated = {"Q_pixel_size": 0.01, "Q_pixel_units": "A^-1", "R_pixel_size": 20.0, "R_pixel_units": "A"}
        for key, value in {**stated, "QR_rotation": 0.3, "QR_flip": False}.items():
            calibration[key] = value


def write_zarr_2(path, array):
    zarr.save_array(path, array, zarr_format=2)


def write_zarr_3_group(path, array):
    group = zarr.open_group(path, mode="w", zarr_format=3)
    group.create_array("some/patterns", data=array, chunks=(1, 4, 20, 24))
    group.create_array("some/mask", data=np.ones(array.shape[2:]))


def signal(array):
    steps, units = (2.0, 2.0, 0.1, 0.1), ("nm", "nm", "1/nm", "1/nm")
    axes = [
        {
            "_type": "UniformDataAxis",
            "size": size,
            "index_in_array": index,
            "name": name,
            "scale": steps[index],
            "offset": 0.0,
            "units": units[index],
            "navigate": index < 2,
        }
        for index, (size, name) in enumerate(zip(array.shape, ("y", "x", "ky", "kx"), strict=True))
    ]
    package = {"package": "none", "package_version": "0"}
    metadata = {"General": {"title": "a scan"}, "Signal": {"signal_type": ""}}
    attributes = {"_lazy": False, "ragged": False}
    return {"data": array, "axes": axes, "metadata": metadata, "original_metadata": {}, "learning_results": {}} | {
        "package_info": package,
        "attributes": attributes,
        "models": {},
        "tmp_parameters": {},
    }


def write_hspy(path, array):
    import rsciio.hspy

    rsciio.hspy.file_writer(str(path), signal(array))


def write_zspy(path, array):
    """HyperSpy's Zarr layout by hand: the writer of RosettaSciIO 0.15 needs Zarr before version 3."""
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.attrs["file_format"] = "ZSpy"
    experiment = group.create_group("Experiments/a scan")
    experiment.create_array("data", data=array, chunks=(1, 2, 20, 24))
    for axis in signal(array)["axes"]:
        experiment.create_group(f"axis-{axis['index_in_array']}").attrs.update(axis)


WRITERS = {
    "npy": write_npy,
    "fortran.npy": write_npy_fortran,
    "npz": write_npz,
    "compressed.npz": write_npz_compressed,
    "h5": write_h5,
    "bitshuffle.h5": write_h5_compressed,
    "truth.h5": write_h5_with_truth,
    "big.hdf5": write_h5_big_endian,
    "five.h5": write_h5_five_dimensions,
    "nxs": write_nexus,
    "mat": write_mat,
    "patterns_first.mat": write_mat_patterns_first,
    "emd": write_emd_0,
    "py4dstem": write_emd_1,
    "v2.zarr": write_zarr_2,
    "v3.zarr": write_zarr_3_group,
    "hspy": write_hspy,
    "zspy": write_zspy,
}


@pytest.fixture(scope="module", params=WRITERS)
def written(request, patterns, tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / f"scan.{request.param}"
    WRITERS[request.param](path, patterns)
    return path


def test_round_trip(written, patterns):
    scan = read(written)
    assert scan.shape == SHAPE
    assert scan.source.dtype == np.uint16
    assert scan.source.dtype.isnative
    assert scan.name == "scan"
    assert scan.path == str(written)
    np.testing.assert_array_equal(scan.row_band(0, 3), patterns)


def test_every_slice_equals_the_slice_of_the_whole(written, patterns):
    source = read(written).source
    for key in (
        (1, 2),
        2,
        slice(1, 3),
        (slice(0, 2), 3),
        (1, slice(1, 4)),
        (..., 5),
        (slice(0, 3, 2), slice(1, 4, 2)),
        -1,
    ):
        np.testing.assert_array_equal(source[key], patterns[key])


def test_blocks_cover_the_scan_in_order(written, patterns):
    scan = read(written)
    for max_bytes in (1, 3 * scan.pattern_bytes, 9 * scan.pattern_bytes, 2**20):
        blocks = list(scan.blocks(max_bytes))
        np.testing.assert_array_equal(np.concatenate([block.positions for block in blocks]), np.arange(12))
        np.testing.assert_array_equal(np.concatenate([block.patterns for block in blocks]).reshape(SHAPE), patterns)
        assert all(block.patterns.flags.writeable for block in blocks)


def test_the_scan_stays_on_disk(written):
    source = read(written).source
    if "compressed" in written.name:  # the one format that cannot be read in parts
        assert isinstance(source, np.ndarray)
        return
    assert isinstance(source, Stored)
    base = source.base
    while not isinstance(base, np.ndarray) and dataclasses.is_dataclass(base):
        base = getattr(base, "base", None) or getattr(base, "array", None)
    assert not isinstance(base, np.ndarray)


def test_calibration_of_emd_and_hyperspy(written):
    scan = read(written)
    if written.suffix in (".emd", ".py4dstem", ".hspy", ".zspy"):
        assert scan.real_step == Quantity(2.0, "nm")
        assert scan.reciprocal_step == Quantity(0.1, "1/nm")
    else:
        assert scan.real_step is None
        assert scan.reciprocal_step is None
    assert scan.scan_rotation == (0.3 if written.suffix == ".py4dstem" else 0.0)


def test_detector_axes_first_are_put_last(patterns, tmp_path):
    path = tmp_path / "q_first.h5"
    with h5py.File(path, "w") as file:
        cube = file.create_group("cube")
        cube.attrs["emd_group_type"] = "array"
        cube["data"] = patterns.transpose(2, 3, 0, 1)
        for index, name in enumerate(("Qx", "Qy", "Rx", "Ry")):
            cube.create_dataset(f"dim{index}", data=[0.0, 1.0]).attrs["name"] = name
    np.testing.assert_array_equal(read(path).row_band(0, 3), patterns)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_blockfile_written_by_rosettasciio(patterns, tmp_path):
    import rsciio.blockfile

    square = np.ascontiguousarray(patterns[..., :20]).clip(0, 255).astype(np.uint8)
    path = tmp_path / "scan.blo"
    rsciio.blockfile.file_writer(str(path), signal(square), show_progressbar=False)
    scan = read(path)
    np.testing.assert_array_equal(scan.row_band(0, 3), square)
    assert scan.real_step == Quantity(2.0, "nm")


def test_empad_raw_with_its_header(patterns, tmp_path):
    header = """<?xml version="1.0" ?><root><raw_file filename="scan.raw"/><iom_measurements><a>1</a>
    </iom_measurements><scan_parameters mode="acquire"><scan_resolution_x>4</scan_resolution_x>
    <scan_resolution_y>3</scan_resolution_y></scan_parameters><pix_x>4</pix_x><pix_y>3</pix_y></root>"""
    raw = np.zeros((3, 4, 130, 128), np.float32)
    raw[:, :, :20, :24] = patterns
    raw.tofile(tmp_path / "scan.raw")
    (tmp_path / "scan.xml").write_text(header)
    scan = read(tmp_path / "scan.xml")
    assert scan.shape == (3, 4, 128, 128)
    np.testing.assert_array_equal(scan.row_band(0, 3)[:, :, :20, :24], patterns)


def dectris(folder, patterns, notes):
    stack = patterns.reshape(-1, *SHAPE[2:])
    for index, part in enumerate((stack[:5], stack[5:6], stack[6:])):
        with h5py.File(folder / f"run_data_{index + 1:06d}.h5", "w") as file:
            file["entry/data/data"] = part
    with h5py.File(folder / "run_master.h5", "w") as file:
        for index in range(3):
            link = h5py.ExternalLink(f"run_data_{index + 1:06d}.h5", "/entry/data/data")
            file[f"entry/data/data_{index + 1:06d}"] = link
        file["entry/instrument/detector/flatfield"] = np.ones(SHAPE[2:])
    if notes:
        with h5py.File(folder / "run.h5", "w") as file:
            file.create_group("STEM Metadata").attrs.update(NumPixelsX=4, NumPixelsY=3)
    return folder / "run_master.h5"


def test_dectris_parts_are_one_stack(patterns, tmp_path):
    path = dectris(tmp_path, patterns, notes=False)
    with pytest.raises(InputError, match="stack of 12 patterns"):
        read(path)
    source = read(path, scan_shape=(3, 4)).source
    for key in ((1, 2), 2, slice(0, 3), (slice(0, 3, 2), slice(1, 4, 2)), (..., 5), (0, slice(2, 2))):
        np.testing.assert_array_equal(source[key], patterns[key])


def test_arina_notes_give_the_scan_shape(patterns, tmp_path):
    path = dectris(tmp_path, patterns, notes=True)
    np.testing.assert_array_equal(read(path).row_band(0, 3), patterns)


def test_dectris_without_its_data_files(patterns, tmp_path):
    path = dectris(tmp_path, patterns, notes=True)
    for part in tmp_path.glob("run_data_*"):
        part.unlink()
    with pytest.raises(InputError, match="put them beside it"):
        read(path)


def test_stack_needs_a_scan_shape(patterns, tmp_path):
    path = tmp_path / "stack.npy"
    np.save(path, patterns.reshape(12, 20, 24))
    with pytest.raises(InputError, match=r"stack of 12 patterns of 20x24 .* --scan 3 4 or --scan 2 6"):
        read(path)
    with pytest.raises(InputError, match="holds 12 patterns, which do not make a scan of 5x5"):
        read(path, scan_shape=(5, 5))
    np.testing.assert_array_equal(read(path, scan_shape=(3, 4)).row_band(0, 3), patterns)


def test_scan_shape_overrides_the_one_of_the_file(patterns, tmp_path):
    for name in ("npy", "h5", "mat"):
        path = tmp_path / f"scan.{name}"
        WRITERS[name](path, patterns)
        scan = read(path, scan_shape=(2, 6))
        np.testing.assert_array_equal(scan.row_band(0, 2), patterns.reshape(2, 6, 20, 24))
        np.testing.assert_array_equal(scan.source[1, 2:5], patterns.reshape(2, 6, 20, 24)[1, 2:5])


def test_single_pattern_is_a_scan_of_one_position(patterns, tmp_path):
    np.save(tmp_path / "one.npy", patterns[0, 0])
    with h5py.File(tmp_path / "one.h5", "w") as file:
        file["image"] = patterns[0, 0]
    for name in ("one.npy", "one.h5"):
        scan = read(tmp_path / name)
        assert scan.shape == (1, 1, 20, 24)
        np.testing.assert_array_equal(scan.source[0, 0], patterns[0, 0])


def test_arrays_and_scans_pass_through(patterns):
    scan = read(patterns)
    assert scan.source is patterns
    assert read(scan) is scan
    assert read(scan, scan_shape=(4, 3)).scan_shape == (4, 3)
    assert read(patterns.reshape(12, 20, 24), scan_shape=(4, 3)).shape == (4, 3, 20, 24)
    import dask.array

    lazy = read(dask.array.from_array(patterns, chunks=(1, 4, 20, 24)))
    np.testing.assert_array_equal(lazy.source[1, 2], patterns[1, 2])
    with pytest.raises(InputError, match="not a dict"):
        read({"data": 1})


@pytest.mark.parametrize(("given", "out"), [("?", "u1"), (">i4", "i4"), ("f2", "f4"), ("u1", "u1"), (">f8", "f8")])
def test_values_come_out_as_native_numbers(patterns, given, out, tmp_path):
    array = (patterns % 2).astype(given)
    np.save(tmp_path / "scan.npy", array)
    for scan in (read(array), read(tmp_path / "scan.npy")):
        assert scan.source.dtype == np.dtype(out)
        assert scan.source.dtype.isnative
        assert scan.source[0, 0].dtype == np.dtype(out)
        np.testing.assert_array_equal(scan.row_band(0, 3), patterns % 2)


def test_several_scans_want_a_name(patterns, tmp_path):
    path = tmp_path / "two.h5"
    with h5py.File(path, "w") as file:
        file["a/data"], file["b/data"] = patterns, patterns + 1
        file["labels"] = np.array([b"x", b"y"])
    with pytest.raises(InputError, match=r"/a/data .*/b/data .*--dataset"):
        read(path)
    for name in ("b/data", "/b/data", "b"):
        np.testing.assert_array_equal(read(path, dataset=name).source[0], patterns[0] + 1)
    with pytest.raises(InputError, match="no single data set 'c'"):
        read(path, dataset="c")
    with pytest.raises(InputError, match="type"):
        read(path, dataset="labels")


def test_factorisations_are_squarest_first():
    assert factorisations(64 * 64)[0] == (64, 64)
    assert factorisations(13) == [(1, 13)]
    assert all(math.prod(pair) == 360 for pair in factorisations(360))


def test_read_is_a_scan(patterns):
    assert isinstance(read(patterns), Scan)


@pytest.mark.parametrize("kind", ["npy", "tif", "raw", "array"])
def test_a_name_where_nothing_has_one_is_refused(kind, patterns, tmp_path):
    layout = {}
    if kind == "npy":
        np.save(tmp_path / "scan.npy", patterns)
    elif kind == "tif":
        tifffile.imwrite(tmp_path / "scan.tif", patterns[0], photometric="minisblack")
    else:
        patterns.tofile(tmp_path / "scan.raw")
        layout = {"shape": patterns.shape, "dtype": "uint16"} if kind == "raw" else {}
    given = patterns if kind == "array" else tmp_path / f"scan.{kind}"
    with pytest.raises(InputError, match=r"leave .*out"):
        read(given, dataset="data", **layout)


def test_zarr_beside_python_objects(tmp_path, patterns):
    """HyperSpy keeps markers as arrays of objects: they are left alone, and the patterns beside them are read."""
    root = zarr.open_group(str(tmp_path / "s.zarr"), mode="w", zarr_format=2)
    root.create_array("a/data", data=patterns)
    objects = tmp_path / "s.zarr" / "a" / "markers"
    objects.mkdir()
    description = '{"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "compressor": null, "order": "C", '
    (objects / ".zarray").write_text(
        description + '"fill_value": 0, "filters": [{"id": "vlen-array", "dtype": "<f8"}]}'
    )
    np.testing.assert_array_equal(read(tmp_path / "s.zarr").source[...], patterns)
