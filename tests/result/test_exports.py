"""Exported files, read back with what every machine has: same numbers, names, axes, units and notes."""

import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest

from cyclestrain.errors import InputError, OutputError
from cyclestrain.result import export_maps
from cyclestrain.result.exports.export import FORMATS, format_of
from cyclestrain.result.exports.notes import NOTES
from made_up import SHAPE, made_up_result

ORDER = ["exx", "eyy", "exy", "rotation"]
SUFFIX = {"hspy": "hspy", "zspy": "zspy", "py4dstem": "emd", "tiff": "tif", "csv": "csv", "mat": "mat"}
FLOAT32 = 1e-7  # relative: half a unit in the last place of single precision


@pytest.fixture
def result():
    return made_up_result()


def expected(result, name):
    return np.where(result["valid"].values, result[name].values, np.nan)


def written(tmp_path, result, kind, **options):
    path = tmp_path / f"strain.{SUFFIX[kind]}"
    export_maps(result, path, **options)
    return path


@pytest.mark.parametrize("kind", ["hspy", "zspy"])
def test_hyperspy_files_are_read_by_its_own_reader_and_ours(tmp_path, result, kind):
    path = written(tmp_path, result, kind)
    if kind == "hspy":
        from rsciio.hspy import file_reader

        (signal,) = file_reader(path)
    else:  # the reader of RosettaSciIO needs zarr 2: the slow test runs it in its own environment
        import zarr

        root = zarr.open_group(path, mode="r")
        group = root["Experiments/strain"]
        axes = [dict(group[f"axis-{index}"].attrs) for index in range(3)]
        signal = {
            "data": group["data"][:],
            "axes": axes,
            "metadata": {"cyclestrain": group["metadata/cyclestrain"].attrs},
        }
        assert (path / "Experiments/strain/data/0/0/0").is_file()
    names = signal["metadata"]["cyclestrain"]["channels"].split(", ")
    assert names[:5] == [*ORDER, "exx_sigma"]
    for name in ORDER:
        np.testing.assert_array_equal(signal["data"][names.index(name)], expected(result, name))
    np.testing.assert_array_equal(signal["data"][names.index("valid")], result["valid"])
    said = [(axis["name"], axis["size"], axis["scale"], axis["units"]) for axis in signal["axes"]]
    assert said == [("map", len(names), 1.0, ""), ("y", SHAPE[0], 0.5, "nm"), ("x", SHAPE[1], 0.5, "nm")]
    assert [axis["navigate"] for axis in signal["axes"]] == [True, False, False]
    assert signal["metadata"]["cyclestrain"]["notes"].splitlines() == list(NOTES["hspy"])
    assert signal["metadata"]["cyclestrain"]["seed"] == 3


@pytest.mark.parametrize("mirrored", [0, 1])
def test_py4dstem_is_told_of_a_mirrored_scan(tmp_path, result, mirrored):
    with h5py.File(written(tmp_path, result.assign_attrs(scan_mirrored=mirrored), "py4dstem")) as file:
        assert bool(file["strain_map_root/metadatabundle/calibration/QR_flip"][()]) == bool(mirrored)


def test_py4dstem_swaps_the_names_and_keeps_the_numbers(tmp_path, result):
    with h5py.File(written(tmp_path, result, "py4dstem")) as file:
        group = file["strain_map_root/strain_map"]
        labels = [label.decode() for label in group["dim2"]]
        slices = dict(zip(labels, group["data"][:], strict=True))
        metadata = group["metadatabundle/cyclestrain"]
        assert metadata["notes"][()].decode().splitlines() == list(NOTES["py4dstem"])
        assert file["strain_map_root/metadatabundle/calibration/R_pixel_size"][()] == 0.5
    assert labels == ["e_xx", "e_yy", "e_xy", "theta", "mask"]
    for name, ours in {"e_xx": "eyy", "e_yy": "exx", "e_xy": "exy", "theta": "rotation"}.items():
        np.testing.assert_array_equal(slices[name], np.nan_to_num(expected(result, ours)))
    np.testing.assert_array_equal(slices["mask"], result["valid"])


def test_imagej_stack_has_labels_pixel_size_and_notes(tmp_path, result):
    import tifffile
    from rsciio.tiff import file_reader

    path = written(tmp_path, result, "tiff")
    with tifffile.TiffFile(path) as file:
        stack, imagej = file.asarray(), file.imagej_metadata
    assert stack.dtype == np.float32
    assert imagej is not None
    assert imagej["Labels"][3] == "rotation (rad)"
    for index, name in enumerate(ORDER):
        np.testing.assert_allclose(stack[index], expected(result, name), rtol=FLOAT32)
    for sentence in NOTES["tiff"]:
        assert sentence in imagej["Info"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (signal,) = file_reader(path)  # what HyperSpy makes of it
    assert [axis["scale"] for axis in signal["axes"][1:]] == [0.5, 0.5]
    assert imagej["unit"] == "nm"


def test_table_has_a_line_per_position(tmp_path, result):
    path = written(tmp_path, result, "csv")
    table = np.genfromtxt(path, names=True, delimiter=",", comments="#", skip_header=n_comments(path))
    assert table.dtype.names[:8] == ("row", "column", "y_nm", "x_nm", "exx", "eyy", "exy", "rotation_rad")
    assert len(table) == SHAPE[0] * SHAPE[1]
    at = (table["row"].astype(int), table["column"].astype(int))
    np.testing.assert_array_equal(table["y_nm"], 0.5 * at[0])
    np.testing.assert_array_equal(table["x_nm"], 0.5 * at[1])
    for name in ORDER:
        values = table[name if name != "rotation" else "rotation_rad"]
        np.testing.assert_allclose(values, expected(result, name)[at], rtol=1e-8)
    comments = [line[2:] for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
    assert comments[: len(NOTES["csv"])] == list(NOTES["csv"])


def n_comments(path: Path) -> int:
    return sum(line.startswith("#") for line in path.read_text(encoding="utf-8").splitlines())


def test_matlab_struct(tmp_path, result):
    from scipy.io import loadmat

    strain = loadmat(written(tmp_path, result, "mat"), squeeze_me=True, struct_as_record=False)["strain"]
    for name in ORDER:
        np.testing.assert_array_equal(getattr(strain, name), expected(result, name))
    assert strain.units.rotation == "rad"
    assert (strain.step, strain.step_unit) == (0.5, "nm")
    assert strain.notes.splitlines() == list(NOTES["mat"])
    assert strain.attributes.reference == "the region given"


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_whole_or_not_at_all(tmp_path, kind, result, monkeypatch):
    path = written(tmp_path, result, kind)
    with pytest.raises(OutputError, match="--force"):
        export_maps(result, path)
    export_maps(result, path, force=True)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(FORMATS, kind, full)
    with pytest.raises(OutputError, match="disk is full"):
        export_maps(result, path, force=True)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", FORMATS)
def test_raw_estimate_without_a_probe_step(tmp_path, kind):
    result = made_up_result(step=None)
    path = written(tmp_path, result, kind, estimate="raw")
    if kind == "mat":
        from scipy.io import loadmat

        strain = loadmat(path, squeeze_me=True, struct_as_record=False)["strain"]
        np.testing.assert_array_equal(strain.exx, expected(result, "exx_raw"))
        np.testing.assert_array_equal(strain.exx_sigma, expected(result, "exx_raw_sigma"))
        assert strain.step_unit == "positions"


def test_wrong_wishes_are_told(tmp_path, result):
    with pytest.raises(OutputError, match=r"extension \.xyz"):
        export_maps(result, tmp_path / "a.xyz")
    with pytest.raises(OutputError, match="not as 'ogg'"):
        export_maps(result, tmp_path / "a.csv", "ogg")
    with pytest.raises(InputError, match="no exx"):
        export_maps(result.drop_vars("exx"), tmp_path / "a.csv")
    assert format_of("A.TIFF") == "tiff"


def test_the_notes_in_the_files_are_those_of_the_manual():
    text = " ".join((Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8").split())
    for sentences in NOTES.values():
        for sentence in sentences:
            assert sentence in text
