"""Measured files of the instruments, where they are at hand: documented shape and steps, or one clear sentence."""

from pathlib import Path

import numpy as np
import pytest

from cyclestrain.data import Quantity
from cyclestrain.errors import InputError
from cyclestrain.io import check_patterns, check_range, loaded, read
from cyclestrain.result import describe

DATA = Path(__file__).parents[3] / "shared" / "data"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the folder ../shared/data with measured files is not here")

NM, INV_NM = "nm", "1/nm"
SHAPES = {
    "formats/001_4x2_6bit.mib": (2, 4, 256, 256),
    "formats/16x16-diffraction_imagel_5x5x256x256_EDS.emi": (5, 5, 256, 256),
    "formats/16x16-diffraction_imagel_5x5x256x256_EDS_2.ser": (5, 5, 256, 256),
    "formats/fpd_file_test.hdf5": (2, 2, 256, 256),
    "formats/panta_rhei_sample.prz": (1, 1, 16, 16),
    "formats/test_00_master.h5": (4, 4, 192, 192),
    "formats/test_diffraction_pattern.dm3": (1, 1, 87, 87),
    "real/ba50_CCD_512_int32.npy": (1, 1, 512, 512),
    "real/ba50_dd020.dm3": (1, 1, 256, 256),
    "real/merlin_test_CL30cm.mib": (1, 1, 256, 256),
    "real/qem_dp-spots.npy": (1, 1, 580, 580),
    "real/test1.blo": (3, 2, 144, 144),
}
STEPS = {
    "formats/16x16-diffraction_imagel_5x5x256x256_EDS.emi": (
        Quantity(1.87390042372, NM),
        Quantity(0.174353422267, INV_NM),
    ),
    "formats/test_diffraction_pattern.dm3": (None, Quantity(0.174432858825, INV_NM)),
    "real/test1.blo": (Quantity(12.8, NM), None),  # its detector is calibrated in cm on the screen
}
TOO_SMALL = {  # real files of toy size, whose layout is still worth reading
    "formats/20241021_00405_movie.mrc": (None, (4, 8, 4, 8)),
    "formats/real_py4dstem.h5": (None, (2, 2, 4, 4)),
    "formats/test_tvips_2233_000.tvips": ((2, 2), (2, 2, 3, 3)),
    "formats/test_tvips_2345_split_000.tvips": ((2, 3), (2, 3, 4, 5)),
}
REFUSED = {
    "formats/001_4x2_6bit.hdr": "no reader knows",
    "formats/16x16-diffraction_imagel_5x5x256x256_EDS_1.ser": "holds spectra",
    "formats/20241021_00405_info.txt": "no reader knows",
    "formats/EMPAD_v1.2.2_x32_y64_size0.8.xml": r"scan_x32_y64\.raw",
    "formats/map4x4.xml": r"scan_x4_y4\.raw",
    "formats/stack_images.xml": r"series_x10\.raw",
    "formats/Si100_4D.emd": "several arrays .* --dataset",
    "formats/test_00.h5": "no numeric array",
    "formats/test_00_data_000001.h5": "stack of 16 patterns .* --scan 4 4",
    "formats/test_tvips_2345_split_001.tvips": "starting with part 000",
}


@pytest.mark.parametrize("name", SHAPES)
def test_documented_shape(name):
    scan = read(DATA / name)
    assert scan.shape == SHAPES[name]
    pattern = scan.source[0, 0]
    assert pattern.shape == scan.detector_shape
    np.testing.assert_array_equal(scan.row_band(0, scan.shape[0])[0, 0], pattern)
    assert len(describe(scan).rows()) > 10


@pytest.mark.parametrize("name", STEPS)
def test_steps(name):
    scan = read(DATA / name)
    assert (scan.real_step, scan.reciprocal_step) == STEPS[name]


@pytest.mark.parametrize("name", REFUSED)
def test_clear_refusal(name):
    with pytest.raises(InputError, match=REFUSED[name]):
        read(DATA / name)


@pytest.mark.parametrize("name", TOO_SMALL)
def test_toy_files(name, monkeypatch):
    scan_shape, shape = TOO_SMALL[name]
    with pytest.raises(InputError, match="16x16 are needed"):
        read(DATA / name)
    monkeypatch.setattr(loaded, "SMALLEST_DETECTOR", 1)
    assert read(DATA / name, scan_shape=scan_shape).shape == shape


@pytest.mark.parametrize("name", [name for name in TOO_SMALL if name.endswith((".mrc", ".tvips"))])
def test_what_a_reader_makes_up_is_no_calibration(name, monkeypatch):
    """Readers of RosettaSciIO put a step of 1 nm where their file tells none."""
    monkeypatch.setattr(loaded, "SMALLEST_DETECTOR", 1)
    scan = read(DATA / name, scan_shape=TOO_SMALL[name][0])
    assert scan.real_step is None
    assert scan.reciprocal_step is None


def test_real_py4dstem_calibration(monkeypatch):
    monkeypatch.setattr(loaded, "SMALLEST_DETECTOR", 1)
    scan = read(DATA / "formats/real_py4dstem.h5")
    assert scan.real_step is not None
    assert scan.real_step.unit == NM
    assert scan.reciprocal_step is not None
    assert scan.reciprocal_step.unit == INV_NM


def test_prismatic_depth_by_name(monkeypatch):
    monkeypatch.setattr(loaded, "SMALLEST_DETECTOR", 1)
    scan = read(DATA / "formats/Si100_4D.emd", dataset="4DSTEM_simulation/data/datacubes/CBED_array_depth0001/datacube")
    assert scan.shape == (11, 11, 8, 8)
    assert scan.real_step == Quantity(0.5, NM)


def test_empad_map_with_a_raw_of_the_stated_size(tmp_path):
    xml = (DATA / "formats/map4x4.xml").read_bytes()
    (tmp_path / "map4x4.xml").write_bytes(xml)
    raw = np.random.default_rng(0).poisson(3, (4, 4, 130, 128)).astype(np.float32)
    raw.tofile(tmp_path / "scan_x4_y4.raw")
    scan = read(tmp_path / "map4x4.xml")
    np.testing.assert_array_equal(scan.row_band(0, 4), raw[:, :, :128])
    assert scan.real_step is not None
    assert scan.reciprocal_step == Quantity(0.182653706023, INV_NM)
    (tmp_path / "scan_x4_y4.raw").write_bytes(raw.tobytes()[:100000])
    with pytest.raises(InputError, match="incomplete"):
        read(tmp_path / "map4x4.xml")


@pytest.mark.parametrize("name", [name for name in SHAPES if "master.h5" not in name and "EDS" not in name])
def test_measured_values_pass_the_check(name):
    scan = read(DATA / name)
    values = check_patterns(scan.row_band(0, scan.shape[0]).reshape(-1, *scan.detector_shape))
    check_range(values, name)


def test_all_zero_recording_is_refused():
    scan = read(DATA / "formats/test_00_master.h5")
    with pytest.raises(InputError, match="only zeros"):
        check_range(check_patterns(scan.row_band(0, 4).reshape(-1, 192, 192)), scan.name)


def test_camera_noise_without_signal_is_refused():
    scan = read(DATA / "formats/16x16-diffraction_imagel_5x5x256x256_EDS.emi")
    with pytest.raises(InputError, match="subtract the offset"):
        check_range(check_patterns(scan.row_band(0, 5).reshape(-1, 256, 256)), scan.name)


SHORTENED = [name for name in SHAPES if name.endswith((".mib", ".blo", ".dm3", ".ser", ".prz", ".hdf5"))]


@pytest.mark.parametrize("share", [0.001, 0.05, 0.5, 0.9])
@pytest.mark.parametrize("name", SHORTENED)
def test_truncated_file_is_refused_or_shorter(name, share, tmp_path):
    """A cut file gives a clear error or fewer whole patterns, never wrong shapes or a third party's traceback."""
    whole, path = DATA / name, tmp_path / Path(name).name
    content = whole.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    try:
        scan = read(path)
        rows = scan.row_band(0, scan.shape[0])
    except InputError:
        return
    assert scan.detector_shape == SHAPES[name][2:]
    n = scan.n_positions
    assert n <= np.prod(SHAPES[name][:2])
    full = read(whole)
    expected = full.row_band(0, full.shape[0]).reshape(-1, *full.detector_shape)[:n]
    same = (rows.reshape(n, -1) == expected.reshape(n, -1)).all(1)
    assert same.all() or not rows.reshape(n, -1)[~same].any()
